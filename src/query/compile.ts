import type { Labels } from "../core/labels.ts";
import type { LineSearch } from "./line-search.ts";
import { compilePattern, compileRegexp } from "./stages/capture.ts";
import { decolorize } from "./stages/decolorize.ts";
import { compileDrop, compileKeep } from "./stages/drop-keep.ts";
import { Entry, ERROR_DETAILS_LABEL, ERROR_LABEL } from "./stages/entry.ts";
import { compileLabelFormat, compileLineFormat } from "./stages/format.ts";
import { compileGate } from "./stages/gate.ts";
import { compileJson } from "./stages/json.ts";
import { compileJsonExtract } from "./stages/json-extract.ts";
import { compileLabelFilter, compileTextTest } from "./stages/label-filter.ts";
import { compileLineFilter, type LineTest } from "./stages/line-filter.ts";
import { compileLogfmt } from "./stages/logfmt.ts";
import { type Live, liveAfter, NEEDS_ALL, type Needs } from "./stages/needs.ts";
import type { LineStage } from "./stages/stage.ts";
import { compileUnpack } from "./stages/unpack.ts";
import type { LabelFilter, LogExpr, Matcher, Stage, StageOf } from "./syntax/ast.ts";
import { parseLogQuery } from "./syntax/parse.ts";
import { formatStage } from "./syntax/print.ts";
import { templateNames } from "./template/template.ts";

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

/** A search that says of all rows of a block whether they pass a line filter, and whether there is no other filter. */
export interface RowSearch {
  readonly search: LineSearch;
  readonly isAll: boolean;
}

/**
 * What the caller knows of a line: that it has a literal of every group of `prefilter`, or that it was found by `rowSearch`; so that
 * this is not looked for again.
 */
export type Seen = "nothing" | "literals" | "match";

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
  /** For finding rows where `prefilter` does not. */
  readonly rowSearch: RowSearch | null;
  /** Whether any stage looks at the line's text. */
  readonly needsText: boolean;
  /** Whether any stage looks at labels, and so at structured metadata. */
  readonly needsLabels: boolean;
  /** Whether some line may not pass. */
  readonly mayDrop: boolean;
  readonly entry: Entry;
  /** Whether the stream is selected. */
  matchesStream(labels: Labels): boolean;
  /** Runs the stages on the entry's line; false drops it. */
  process(seen?: Seen): boolean;
}

/** Compiles from the query's text, which is all that a worker thread needs. Throws QueryError. */
export function compileLogText(query: string, needs: Needs = NEEDS_ALL): CompiledLog {
  return compileLog(parseLogQuery(query), needs);
}

/**
 * Compiles a log query. `needs`: what will be looked at of the result; what is not, need not be right.
 * Throws QueryError for what a stage can't do, with Loki's text where Loki can't either.
 */
export function compileLog(expr: LogExpr, needs: Needs = NEEDS_ALL): CompiledLog {
  const entry = new Entry();
  const matchers = expr.matchers.map(compileMatcher);
  const { leading, rest } = splitLineFilters(expr.stages);
  const leadingText = leading.map(formatStage).join(" ");
  const tests = leading.map((filter) => compileLineFilter(filter, leadingText));
  const live = liveAfter(rest, needs, templateNames);
  const compiled = rest.map((stage, i) => compileStage(stage, live[i], needs, entry));
  const stages = compiled.flatMap((stage, i) => {
    if (stage === null) return [];
    const gate = compileGateBefore(rest, i, live[i], entry);
    return gate === null ? [stage] : [gate, stage];
  });
  /** The stages that do something. */
  const active = rest.filter((_, i) => compiled[i] !== null);
  const run = (first: readonly LineTest[]) => {
    const line = first.filter((test) => test.constant !== true).map((test) => test.test);
    return chain(entry, [...line, ...stages]);
  };
  const whole = run(tests);
  const prefilter = prefilterOf(tests);
  const reduced = prefilter === null ? whole : run(tests.filter((test) => !test.isCovered));
  const rowSearch = rowSearchOf(tests);
  const found = rowSearch === null ? whole : run(tests.filter(({ search }) => search !== rowSearch.search));
  return {
    matchers,
    prefilter,
    rowSearch,
    needsText: tests.some((test) => test.constant !== true) || active.some(readsLine),
    needsLabels: active.some((stage) => stage.type !== "line_filter"),
    mayDrop:
      tests.some((test) => test.constant !== true) ||
      rest.some(({ type }) => type === "line_filter" || type === "label_filter"),
    entry,
    matchesStream: compileSelector(expr.matchers),
    process: (seen = "nothing") => (seen === "nothing" ? whole() : seen === "literals" ? reduced() : found()),
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

function rowSearchOf(tests: readonly LineTest[]): RowSearch | null {
  const active = tests.filter(({ constant }) => constant !== true);
  const search = active.find((test) => test.search !== null)?.search ?? null;
  return search === null ? null : { search, isAll: active.length === 1 };
}

function readsLine({ type }: Stage): boolean {
  return type !== "label_filter" && type !== "label_format" && type !== "drop" && type !== "keep";
}

/** For a parser at `at`: a stage that drops lines before it on behalf of the filters behind it. Null where there is none. */
function compileGateBefore(stages: readonly Stage[], at: number, { names }: Live, entry: Entry): LineStage | null {
  const parser = stages[at];
  if ((parser.type !== "json" && parser.type !== "logfmt") || parser.extractions !== null) return null;
  const filters: LabelFilter[] = [];
  for (let i = at + 1; i < stages.length; i++) {
    const stage = stages[i];
    if (stage.type !== "label_filter") break;
    filters.push(stage.filter);
  }
  if (filters.length === 0) return null;
  return compileGate(
    {
      parser: parser.type,
      filters,
      isFirst: stages.findIndex(({ type }) => type !== "label_filter" && type !== "line_filter") === at,
      compileProbe(wanted) {
        if (names !== null && [...names].every((name) => wanted.has(name))) return null;
        return parser.type === "json"
          ? compileJson(entry, wanted, true)
          : compileLogfmt(parser, entry, wanted, true, formatStage(parser));
      },
      compileFilter: (filter) => compileLabelFilter(filter, entry, formatStage({ type: "label_filter", filter })),
    },
    entry,
  );
}

/** `live`: what is needed behind the stage. Null for a stage that makes no difference to that. */
function compileStage(stage: Stage, live: Live, needs: Needs, entry: Entry): LineStage | null {
  const text = formatStage(stage);
  // Who names the labels to look at leaves it to us to see no more of a line than these need.
  const mayStop = needs.labels !== null;
  const { names } = live;
  switch (stage.type) {
    case "line_filter":
      return compileLineFilter(stage, text).test;
    case "json":
    case "logfmt": {
      if (stage.extractions !== null) {
        const compiled =
          stage.type === "json"
            ? compileJsonExtract(stage.extractions, entry, text)
            : compileLogfmt(stage, entry, null, false, text);
        const isIdle =
          mayStop &&
          !isAnyWanted(
            stage.extractions.map(({ name }) => name),
            names,
          );
        return isIdle ? null : compiled;
      }
      if (mayStop && names?.size === 0) return null;
      if (stage.type === "json") return compileJson(entry, names, mayStop);
      return compileLogfmt(stage, entry, names, mayStop, text);
    }
    case "regexp":
      return compileRegexp(stage.pattern, entry);
    case "pattern":
      return compilePattern(stage.pattern, entry);
    case "unpack":
      return mayStop && names?.size === 0 && !live.line ? null : compileUnpack(entry);
    case "label_filter":
      return compileLabelFilter(stage.filter, entry, text);
    case "drop":
      return compileDrop(stage.items, entry);
    case "keep":
      return compileKeep(stage.items, entry);
    case "line_format":
      return compileLineFormat(stage.template, entry, text);
    case "label_format":
      return compileLabelFormat(stage.formats, entry, text);
    case "decolorize":
      return live.line ? decolorize() : null;
  }
}

/** Whether a parser that gives `names` gives anything that is looked at, an error among it. */
function isAnyWanted(names: readonly string[], wanted: ReadonlySet<string> | null): boolean {
  if (wanted === null) return true;
  if (wanted.has(ERROR_LABEL) || wanted.has(ERROR_DETAILS_LABEL)) return true;
  return names.some((name) => wanted.has(name) || wanted.has(`${name}_extracted`));
}
