import type { LabelFilter, LogExpr, LogRange, Stage, Unwrap } from "./ast.ts";
import type { Cursor } from "./cursor.ts";
import { atStage, parseLabelFilter, parseSelectorTokens, parseStage } from "./parse-stages.ts";

const CONVERSIONS = new Map<string, Exclude<Unwrap["conversion"], "">>([
  ["BYTES_CONV", "bytes"],
  ["DURATION_CONV", "duration"],
  ["DURATION_SECONDS_CONV", "duration_seconds"],
]);

/**
 * A log query with its range: the range stands after the selector or after the pipeline, and selector and pipeline
 * (or the whole) may be in parentheses.
 */
export function parseLogRange(cursor: Cursor): LogRange {
  if (cursor.is("{")) return bareRange(cursor);
  if (!cursor.is("(")) throw cursor.unexpected(["{", "("]);
  return cursor.nested(() => {
    cursor.next();
    if (cursor.is("(")) {
      const inner = parseLogRange(cursor);
      cursor.expect(")");
      return inner;
    }
    if (!cursor.is("{")) throw cursor.unexpected(["{", "("]);
    const matchers = parseSelectorTokens(cursor);
    if (cursor.is("RANGE")) {
      const inner = rangeAfterSelector(cursor, matchers);
      cursor.expect(")");
      return inner;
    }
    const { stages, unwrap } = pipeline(cursor);
    if (cursor.is("RANGE") && (stages.length > 0 || unwrap !== null)) {
      const inner = rangeAfterPipeline(cursor, matchers, stages, unwrap);
      cursor.expect(")");
      return inner;
    }
    if (!cursor.is(")")) throw cursor.unexpected();
    cursor.next();
    const rangeNs = cursor.expect("RANGE").value;
    const offsetNs = offset(cursor);
    // `({a="b"})[5m] | unwrap x` is in the grammar, with other stages it is not.
    const late = unwrap === null && stages.length === 0 && cursor.is("|") ? unwrapOnly(cursor) : unwrap;
    return { log: { type: "log", matchers, stages }, unwrap: late, rangeNs, offsetNs };
  });
}

function bareRange(cursor: Cursor): LogRange {
  const matchers = parseSelectorTokens(cursor);
  if (cursor.is("RANGE")) return rangeAfterSelector(cursor, matchers);
  const { stages, unwrap } = pipeline(cursor);
  if (!cursor.is("RANGE")) throw cursor.unexpected();
  return rangeAfterPipeline(cursor, matchers, stages, unwrap);
}

function rangeAfterSelector(cursor: Cursor, matchers: LogExpr["matchers"]): LogRange {
  const rangeNs = cursor.next().value;
  const offsetNs = offset(cursor);
  const { stages, unwrap } = pipeline(cursor);
  return { log: { type: "log", matchers, stages }, unwrap, rangeNs, offsetNs };
}

function rangeAfterPipeline(
  cursor: Cursor,
  matchers: LogExpr["matchers"],
  stages: Stage[],
  unwrap: Unwrap | null,
): LogRange {
  const rangeNs = cursor.next().value;
  return { log: { type: "log", matchers, stages }, unwrap, rangeNs, offsetNs: offset(cursor) };
}

function offset(cursor: Cursor): number {
  return cursor.take("offset") ? cursor.expect("DURATION").value : 0;
}

function pipeline(cursor: Cursor): { stages: Stage[]; unwrap: Unwrap | null } {
  const stages: Stage[] = [];
  while (atStage(cursor)) {
    const stage = parseStage(cursor, true);
    if (stage === "unwrap") return { stages, unwrap: parseUnwrap(cursor) };
    stages.push(stage);
  }
  return { stages, unwrap: null };
}

function unwrapOnly(cursor: Cursor): Unwrap {
  cursor.next();
  cursor.expect("unwrap");
  return parseUnwrap(cursor);
}

/** After `| unwrap`. Only label filters may follow. */
function parseUnwrap(cursor: Cursor): Unwrap {
  const token = cursor.peek();
  const conversion = CONVERSIONS.get(token.type);
  let label: string;
  if (conversion !== undefined) {
    cursor.next();
    cursor.expect("(");
    label = cursor.identifier();
    cursor.expect(")");
  } else {
    if (token.type !== "IDENTIFIER") throw cursor.unexpected(["IDENTIFIER", ...CONVERSIONS.keys()]);
    label = cursor.identifier();
  }
  const filters: LabelFilter[] = [];
  while (cursor.take("|")) filters.push(parseLabelFilter(cursor));
  return { label, conversion: conversion ?? "", filters };
}
