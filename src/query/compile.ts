import type { Labels } from "../core/labels.ts";
import { compilePattern, compileRegexp } from "./stages/capture.ts";
import { compileDrop, compileKeep } from "./stages/drop-keep.ts";
import { Entry } from "./stages/entry.ts";
import { compileJson } from "./stages/json.ts";
import { compileJsonExtract } from "./stages/json-extract.ts";
import { compileLabelFilter, compileTextTest } from "./stages/label-filter.ts";
import { compileLineFilter, type LineTest } from "./stages/line-filter.ts";
import { compileLogfmt } from "./stages/logfmt.ts";
import type { LineStage } from "./stages/stage.ts";
import { compileUnpack } from "./stages/unpack.ts";
import type { LabelFilter, LogExpr, Matcher, Stage, StageOf } from "./syntax/ast.ts";
import { QueryError } from "./syntax/errors.ts";
import { parseLogQuery } from "./syntax/parse.ts";
import { formatStage } from "./syntax/print.ts";

export interface CompiledMatcher {
  readonly name: string;
  /** An absent label counts as empty. */
  matchesLabels(labels: Labels): boolean;
}

/**
 * What the line filters say about a line's bytes, fit for searching a whole block at once: every line that can pass has, of each
 * group, at least one literal. Groups with the longest literals, which are mostly the rarest, come first.
 */
export interface ByteFilter {
  readonly requiredLiterals: readonly (readonly Buffer[])[];
  /** A hit of the one group there is proves that the line passes all line filters. */
  readonly isExact: boolean;
  /** The same for all groups together. */
  readonly isCovered: boolean;
}

/**
 * A log query ready to run over lines, for one thread and one line at a time:
 *
 *     entry.openBlock(bytes, streamLabels, block);
 *     entry.openLine(start, end, row);
 *     if (process()) … entry.line, entry.labels() or entry.labelClasses()
 */
export interface CompiledLog {
  readonly matchers: readonly CompiledMatcher[];
  readonly prefilter: ByteFilter | null;
  /** Whether any stage looks at the line's text. */
  readonly needsText: boolean;
  /** Whether any stage looks at labels, and so at structured metadata. */
  readonly needsLabels: boolean;
  /** Whether some line may not pass. */
  readonly mayDrop: boolean;
  readonly entry: Entry;
  /** Whether the stream is selected. */
  matchesStream(labels: Labels): boolean;
  /**
   * Runs the stages on the entry's line; false drops it. `prefiltered`: the caller has seen a literal of every group of
   * `prefilter` in this very line, so they are not looked for again.
   */
  process(prefiltered?: boolean): boolean;
}

/** Compiles from the query's text, which is all that a worker thread needs. Throws QueryError. */
export function compileLogText(query: string): CompiledLog {
  return compileLog(parseLogQuery(query));
}

/** Compiles a log query. Throws QueryError for what a stage can't do, with Loki's text where Loki can't either. */
export function compileLog(expr: LogExpr): CompiledLog {
  const entry = new Entry();
  const matchers = expr.matchers.map(compileMatcher);
  const { leading, rest } = splitLineFilters(expr.stages);
  const leadingText = leading.map(formatStage).join(" ");
  const tests = leading.map((filter) => compileLineFilter(filter, leadingText));
  const stages = rest.map((stage, i) => compileStage(stage, rest, i, entry));
  const run = (first: readonly LineTest[]) => {
    const line = first.filter((test) => test.constant !== true).map((test) => test.test);
    return chain(entry, [...line, ...stages]);
  };
  const whole = run(tests);
  const prefilter = prefilterOf(tests);
  const reduced = prefilter === null ? whole : run(tests.filter((test) => !test.isCovered));
  return {
    matchers,
    prefilter,
    needsText: tests.some((test) => test.constant !== true) || rest.some(readsLine),
    needsLabels: rest.some((stage) => stage.type !== "line_filter"),
    mayDrop:
      tests.some((test) => test.constant !== true) ||
      rest.some(({ type }) => type === "line_filter" || type === "label_filter"),
    entry,
    matchesStream: compileSelector(expr.matchers),
    process: (prefiltered = false) => (prefiltered ? reduced() : whole()),
  };
}

export function compileMatcher(matcher: Matcher): CompiledMatcher {
  const test = compileTextTest(matcher);
  const { name } = matcher;
  return {
    name,
    matchesLabels(labels) {
      return test(Object.hasOwn(labels, name) ? labels[name] : "");
    },
  };
}

/** Whether a stream is selected: all matchers hold. */
export function compileSelector(matchers: readonly Matcher[]): (labels: Labels) => boolean {
  const tests = matchers.map(compileMatcher);
  return (labels) => tests.every((test) => test.matchesLabels(labels));
}

/**
 * Line filters that see the line as it was stored, wherever they stand before the first stage that changes it: they neither
 * look at labels nor change them, so they come first.
 */
function splitLineFilters(stages: readonly Stage[]): { leading: StageOf<"line_filter">[]; rest: Stage[] } {
  const leading: StageOf<"line_filter">[] = [];
  const rest: Stage[] = [];
  let original = true;
  for (const stage of stages) {
    if (stage.type === "line_filter" && original) leading.push(stage);
    else rest.push(stage);
    if (stage.type === "unpack" || stage.type === "line_format" || stage.type === "decolorize") original = false;
  }
  return { leading, rest };
}

function chain(entry: Entry, stages: readonly LineStage[]): () => boolean {
  if (stages.length === 0) return () => true;
  const [only] = stages;
  if (stages.length === 1) return () => only(entry);
  return () => {
    for (const stage of stages) if (!stage(entry)) return false;
    return true;
  };
}

function prefilterOf(tests: readonly LineTest[]): ByteFilter | null {
  const groups = tests.flatMap((test) => test.groups);
  if (groups.length === 0) return null;
  const shortest = (group: readonly Buffer[]) => Math.min(...group.map((literal) => literal.length));
  const requiredLiterals = groups.sort((a, b) => shortest(b) - shortest(a));
  const isCovered = tests.every((test) => test.constant === true || test.isCovered);
  return { requiredLiterals, isCovered, isExact: isCovered && groups.length === 1 };
}

function readsLine({ type }: Stage): boolean {
  return type !== "label_filter" && type !== "label_format" && type !== "drop" && type !== "keep";
}

/** `stages[at]` is the stage. */
function compileStage(stage: Stage, stages: readonly Stage[], at: number, entry: Entry): LineStage {
  const text = formatStage(stage);
  switch (stage.type) {
    case "line_filter":
      return compileLineFilter(stage, text).test;
    case "json":
      if (stage.extractions !== null) return compileJsonExtract(stage.extractions, entry, text);
      return compileJson(entry, namesBeforeKeep(stages, at + 1));
    case "logfmt":
      return compileLogfmt(stage, entry, namesBeforeKeep(stages, at + 1), text);
    case "regexp":
      return compileRegexp(stage.pattern, entry);
    case "pattern":
      return compilePattern(stage.pattern, entry);
    case "unpack":
      return compileUnpack(entry);
    case "label_filter":
      return compileLabelFilter(stage.filter, entry, text);
    case "drop":
      return compileDrop(stage.items, entry);
    case "keep":
      return compileKeep(stage.items, entry);
    case "line_format":
    case "label_format":
    case "decolorize":
      throw new QueryError(`stage '${text}' : ${stage.type} is not supported yet by this version of Weir`);
  }
}

/**
 * Where a `keep` comes at `from` or later, the names that anybody can see of what a parser finds before: those that the `keep`
 * and the stages between mention. Null: all of them.
 */
function namesBeforeKeep(stages: readonly Stage[], from: number): ReadonlySet<string> | null {
  const names = new Set<string>();
  for (let i = from; i < stages.length; i++) {
    const stage = stages[i];
    switch (stage.type) {
      case "label_filter":
        for (const name of filterNames(stage.filter)) names.add(name);
        break;
      case "drop":
      case "keep":
        for (const item of stage.items) names.add(typeof item === "string" ? item : item.name);
        if (stage.type === "keep") return names;
        break;
      case "line_filter":
        break;
      default:
        // Another parser's labels can be shut out by ours; don't try to be clever about that.
        return null;
    }
  }
  return null;
}

function filterNames(filter: LabelFilter): string[] {
  switch (filter.type) {
    case "and":
    case "or":
      return [...filterNames(filter.left), ...filterNames(filter.right)];
    case "string":
      return [filter.matcher.name];
    default:
      return [filter.name];
  }
}
