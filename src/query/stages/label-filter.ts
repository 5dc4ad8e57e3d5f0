import { compileRegex } from "../../codec/re2.ts";
import type { CompareOp, LabelFilter, Matcher } from "../syntax/ast.ts";
import { stageError } from "../syntax/errors.ts";
import { goDurationError, goFloatError, parseByteSize, parseGoDuration, parseGoFloat } from "../syntax/units.ts";
import { type Entry, ERROR_DETAILS_LABEL, ERROR_LABEL } from "./entry.ts";
import { containsAddress, parseIpPattern } from "./ip.ts";
import { LABEL_FILTER_ERROR, type LineStage } from "./stage.ts";

/** Whether a text satisfies the matcher; regexes match the whole of it, `.` a newline too. */
export function compileTextTest({ op, value }: Matcher): (text: string) => boolean {
  switch (op) {
    case "=":
      return (text) => text === value;
    case "!=":
      return (text) => text !== value;
    default: {
      const regex = compileRegex(value, { anchored: true, dotAll: true });
      const { choice } = regex;
      const matches = choice === null ? (text: string) => regex.test(text) : (text: string) => choice.includes(text);
      return op === "=~" ? matches : (text) => !matches(text);
    }
  }
}

/** The present text of a label; undefined when it is absent. */
export function compileValue(entry: Entry, name: string): () => string | undefined {
  if (name === ERROR_LABEL) return () => entry.error || undefined;
  if (name === ERROR_DETAILS_LABEL) return () => entry.errorDetails || undefined;
  const id = entry.reserve(name);
  return () => entry.value(id);
}

/** Compiles a label filter for `entry`. `stage` is its text for errors. Throws QueryError. */
export function compileLabelFilter(filter: LabelFilter, entry: Entry, stage: string): LineStage {
  const test = compile(filter, entry, stage);
  return () => {
    entry.loadLabels();
    return test();
  };
}

function compile(filter: LabelFilter, entry: Entry, stage: string): () => boolean {
  switch (filter.type) {
    case "and": {
      const left = compile(filter.left, entry, stage);
      const right = compile(filter.right, entry, stage);
      // Both sides are always looked at, since either may note a conversion error.
      return () => {
        const passes = left();
        return right() && passes;
      };
    }
    case "or": {
      const left = compile(filter.left, entry, stage);
      const right = compile(filter.right, entry, stage);
      return () => left() || right();
    }
    case "string": {
      const value = compileValue(entry, filter.matcher.name);
      const test = compileTextTest(filter.matcher);
      return () => test(value() ?? "");
    }
    case "ip":
      return compileIp(filter.name, filter.op, filter.pattern, entry, stage);
    default: {
      const { wanted, convert } = comparison(filter);
      return compareWith(entry, filter.name, filter.op, wanted, convert);
    }
  }
}

/** How a filter on a number, a duration or a size reads a label's text, and with what it compares it. */
export function comparison(filter: Extract<LabelFilter, { type: "number" | "duration" | "bytes" }>): {
  wanted: number;
  convert: (text: string) => number | { error: string };
} {
  switch (filter.type) {
    case "number":
      return { wanted: filter.value, convert: (text) => parseGoFloat(text) ?? { error: goFloatError(text) } };
    case "duration":
      return { wanted: filter.ns, convert: (text) => parseGoDuration(text) ?? { error: goDurationError(text) } };
    case "bytes":
      return {
        wanted: filter.bytes,
        convert: (text) => {
          const size = parseByteSize(text);
          return "error" in size ? size : size.bytes;
        },
      };
  }
}

/**
 * Compares a label's value as a number. An absent label drops the line; one that does not convert keeps it and notes the
 * error, unless there is one already.
 */
function compareWith(
  entry: Entry,
  name: string,
  op: CompareOp,
  wanted: number,
  convert: (text: string) => number | { error: string },
): () => boolean {
  const value = compileValue(entry, name);
  const compare = COMPARE[op];
  return () => {
    const text = value();
    if (text === undefined) return false;
    const number = convert(text);
    if (typeof number === "number") return compare(number, wanted);
    if (entry.error === "") entry.fail(LABEL_FILTER_ERROR, number.error);
    return true;
  };
}

export const COMPARE: Readonly<Record<CompareOp, (a: number, b: number) => boolean>> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
};

/** Looks for addresses inside the value. After an earlier error the line is kept: only text filters see errors. */
function compileIp(name: string, op: "=" | "!=", pattern: string, entry: Entry, stage: string): () => boolean {
  const range = parseIpPattern(pattern);
  if (range === null) throw stageError(stage, `ip: invalid pattern: ${JSON.stringify(pattern)}`);
  const value = compileValue(entry, name);
  return () => {
    if (entry.error !== "") return true;
    const text = value();
    if (text === undefined) return false;
    const bytes = Buffer.from(text, "utf8");
    return containsAddress(bytes, 0, bytes.length, range) === (op === "=");
  };
}
