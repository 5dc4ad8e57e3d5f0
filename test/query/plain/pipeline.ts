import { isIPv4 } from "node:net";
import { compileRegex } from "../../../src/codec/re2.ts";
import type { Labels } from "../../../src/core/labels.ts";
import type { CompareOp, LabelFilter, LogExpr, Matcher, Stage } from "../../../src/query/syntax/ast.ts";
import { parseByteSize, parseGoDuration, parseGoFloat } from "../../../src/query/syntax/units.ts";
import { readJson, readLogfmt } from "./readers.ts";

/*
 * A log pipeline as the description of LogQL says it, sentence by sentence, with no thought of speed: every stage makes a new
 * state out of the old one.
 *
 * Templates are taken to be texts with `{{.name}}` in them, and `ip` to be about IPv4 addresses that stand between blanks: that is
 * all that the queries of these tests have.
 */

type Kind = "stream" | "metadata" | "parsed";
type Pairs = readonly (readonly [string, string])[];

interface State {
  readonly line: string;
  readonly labels: ReadonlyMap<string, { readonly kind: Kind; readonly value: string }>;
  readonly error: string;
}

export interface PlainResult {
  readonly line: string;
  /** All labels, `__error__` among them, but not `__error_details__`. */
  readonly labels: Labels;
}

/** A case that this evaluator has no opinion on. */
export class NoOpinion extends Error {}

/** What the pipeline makes of one line of a stream; null when it is dropped. */
export function runPlain(expr: LogExpr, line: string, stream: Labels, metadata: Pairs): PlainResult | null {
  const labels = new Map<string, { kind: Kind; value: string }>();
  for (const [name, value] of Object.entries(stream)) if (value !== "") labels.set(name, { kind: "stream", value });
  for (const [name, value] of metadata) {
    if (value !== "") labels.set(stream[name] ? `${name}_extracted` : name, { kind: "metadata", value });
  }
  let state: State | null = { line, labels, error: "" };
  for (const stage of expr.stages) {
    state = runStage(stage, state, stream);
    if (state === null) return null;
  }
  const out = [...state.labels].map(([name, { value }]): [string, string] => [name, value]);
  if (state.error !== "") out.push(["__error__", state.error]);
  return { line: state.line, labels: Object.fromEntries(out.sort(([a], [b]) => (a < b ? -1 : 1))) };
}

function runStage(stage: Stage, state: State, stream: Labels): State | null {
  const parsed = (pairs: Pairs): State =>
    pairs.reduce((now, [name, value]) => setParsed(now, stream, name, value), state);
  switch (stage.type) {
    case "line_filter": {
      const has = stage.operands.some(({ text, ip }) => lineHas(stage.op, text, ip, state.line));
      return has === stage.op.startsWith("|") ? state : null;
    }
    case "json": {
      if (stage.extractions !== null) return extractJson(stage.extractions, state, stream);
      const found = readJson(state.line);
      if (found === null) return { ...state, error: "JSONParserErr" };
      // A number with broken bytes in it is none in JSON, so whatever it is taken for will do.
      if (found.pairs.some(([, value]) => /^[-0-9][^ ]*\ufffd/.test(value))) throw new NoOpinion();
      const now = parsed(found.pairs.flatMap(([path, value]) => pairOf(path.map(clean), whole(value))));
      return found.broken ? { ...now, error: "JSONParserErr" } : now;
    }
    case "logfmt": {
      const { pairs: read, broken } = readLogfmt(state.line, stage.strict);
      const pairs = read.map(([key, value]): [string, string] => [key, whole(value)]);
      const error = broken && stage.strict ? "LogfmtParserErr" : state.error;
      if (stage.extractions === null) {
        const kept = pairs.filter(([, value]) => stage.keepEmpty || value !== "");
        return { ...parsed(kept.flatMap(([key, value]) => pairOf([clean(key)], value))), error };
      }
      const wanted = stage.extractions.map(({ name, path }): [string, string | undefined] => [
        name,
        pairs.findLast(([key]) => key === path || nameOf([clean(key)]) === path)?.[1],
      ]);
      return { ...wanted.reduce((now, [name, value]) => setWanted(now, stream, name, value), state), error };
    }
    case "regexp": {
      const regex = compileRegex(stage.pattern);
      const values = regex.capturesRe2(state.line)?.values;
      return values === undefined
        ? state
        : parsed(regex.groups.flatMap((name, i) => (name === "" ? [] : [[name, values[i] ?? ""] as const])));
    }
    case "pattern":
      return parsed(readPattern(stage.pattern, state.line));
    case "unpack":
      return unpack(state, stream);
    case "label_filter":
      return filter(stage.filter, state);
    case "drop": {
      let now = state;
      for (const item of stage.items) {
        const name = typeof item === "string" ? item : item.name;
        if (typeof item === "string" || matches(item, labelValue(now, name) ?? "")) now = remove(now, name);
      }
      return now;
    }
    case "keep": {
      const keeps = (name: string, value: string) =>
        stage.items.some((item) =>
          typeof item === "string" ? item === name : item.name === name && matches(item, value),
        );
      return { ...state, labels: new Map([...state.labels].filter(([name, { value }]) => keeps(name, value))) };
    }
    case "decolorize":
      return { ...state, line: state.line.replace(ANSI, "") };
    case "line_format":
      return { ...state, line: expand(stage.template, state) };
    case "label_format": {
      let now = state;
      for (const format of stage.formats) {
        const value = "from" in format ? labelValue(now, format.from) : expand(format.template, now);
        if (value === undefined) continue;
        now = set(now, format.name, "parsed", value);
        if ("from" in format) now = remove(now, format.from);
      }
      return now;
    }
  }
}

/** What `decolorize` takes away, as it says itself. */
const ANSI = /[\x1b\x9b][[\]()#;?]*(?:[a-zA-Z\d;]*\x07|(?:\d{1,4}(?:;\d{0,4})*)?[\dA-PRZcf-ntqry=><~])/gu;

// Labels

function labelValue(state: State, name: string): string | undefined {
  if (name === "__error__") return state.error === "" ? undefined : state.error;
  if (name === "__error_details__") throw new NoOpinion();
  return state.labels.get(name)?.value;
}

function set(state: State, name: string, kind: Kind, value: string): State {
  return { ...state, labels: new Map(state.labels).set(name, { kind, value }) };
}

function remove(state: State, name: string): State {
  if (name === "__error__") return { ...state, error: "" };
  const labels = new Map(state.labels);
  labels.delete(name);
  return { ...state, labels };
}

/** Beside a stream label (be it dropped since) or metadata the value goes to `_extracted`; an earlier parsed value stays. */
function setParsed(state: State, stream: Labels, name: string, value: string): State {
  const isTaken = (stream[name] ?? "") !== "" || state.labels.get(name)?.kind === "metadata";
  const target = isTaken ? `${name}_extracted` : name;
  if (state.labels.get(target)?.kind === "parsed") return state;
  return set(state, target, "parsed", value);
}

/** An explicitly named label: empty when nothing was found, unless the name has a value. */
function setWanted(state: State, stream: Labels, name: string, value: string | undefined): State {
  if (value !== undefined) return setParsed(state, stream, name, value);
  return state.labels.has(name) ? state : setParsed(state, stream, name, "");
}

/** What JSON and logfmt give of a text with broken bytes. */
function whole(value: string): string {
  return value.replaceAll("\ufffd", " ");
}

function clean(key: string): string {
  return key.trim().replace(/[^A-Za-z0-9_]/gu, "_");
}

function nameOf(parts: readonly string[]): string {
  const joined = parts.reduce((prefix, part) => {
    const next = prefix === "" ? part : `${prefix}_${part}`;
    return /^[0-9]/.test(next) ? `_${next}` : next;
  }, "");
  return joined;
}

/** A label for a value under these keys; none where the last key is empty. */
function pairOf(parts: readonly string[], value: string): [string, string][] {
  return parts[parts.length - 1] === "" ? [] : [[nameOf(parts), value]];
}

function expand(template: string, state: State): string {
  return template.replace(/\{\{\s*\.([A-Za-z0-9_]+)\s*\}\}/g, (_, name: string) => labelValue(state, name) ?? "");
}

// Parsers

function extractJson(extractions: readonly { name: string; path: string }[], state: State, stream: Labels): State {
  if (state.line === "") return state;
  if (!/^[{["]/.test(state.line)) return { ...state, error: "JSONParserErr" };
  let value: unknown;
  try {
    value = JSON.parse(state.line, undefined);
  } catch {
    throw new NoOpinion();
  }
  if (JSON.stringify(value) !== state.line) throw new NoOpinion(); // Numbers and spaces are given as they stand.
  let now = state;
  for (const { name, path } of extractions) {
    let found: unknown = value;
    for (const [, key, index] of path.matchAll(/([A-Za-z_]\w*)|\[(\d+)\]/g)) {
      if (index !== undefined) found = Array.isArray(found) ? found[Number(index)] : undefined;
      else if (typeof found === "object" && found !== null && !Array.isArray(found))
        found = new Map(Object.entries(found)).get(key);
      else found = undefined;
    }
    const text =
      typeof found === "string"
        ? whole(found)
        : found === null
          ? ""
          : found === undefined
            ? undefined
            : JSON.stringify(found);
    now = setWanted(now, stream, name, text);
  }
  return now;
}

function readPattern(pattern: string, line: string): [string, string][] {
  const parts = pattern.split(/(<[A-Za-z_]\w*>)/).filter((part) => part !== "");
  const isCapture = (part: string | undefined) => part !== undefined && /^<[A-Za-z_]\w*>$/.test(part);
  let rest = line;
  if (rest === "") return [];
  if (!isCapture(parts[0])) {
    if (!rest.startsWith(parts[0])) return [];
    rest = rest.slice(parts[0].length);
  }
  const out: [string, string][] = [];
  for (let i = 0; i < parts.length; i++) {
    if (!isCapture(parts[i])) continue;
    const end = i + 1 < parts.length ? rest.indexOf(parts[i + 1]) : -1;
    const value = end === -1 ? rest : rest.slice(0, end);
    if (parts[i] !== "<_>") out.push([parts[i].slice(1, -1), value]);
    if (end === -1) return out;
    rest = rest.slice(end + parts[i + 1].length);
  }
  return out;
}

function unpack(state: State, stream: Labels): State {
  if (state.line === "") return state;
  let value: unknown;
  try {
    value = JSON.parse(state.line);
  } catch {
    if (!state.line.startsWith("{")) return { ...state, error: "JSONParserErr" };
    throw new NoOpinion();
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return { ...state, error: "JSONParserErr" };
  const pairs = readJson(state.line)?.pairs.filter(([path]) => path.length === 1) ?? [];
  // The reader does not tell "1" from 1.
  const texts = pairs.filter(([[key]]) => typeof new Map(Object.entries(value)).get(key) === "string");
  // Keys that stand twice.
  if (JSON.stringify(value).length < state.line.replaceAll(', "', ',"').length) throw new NoOpinion();
  const line = texts.find(([[key]]) => key === "_entry")?.[1];
  if (line === undefined) return state;
  const labels = texts
    .filter(([[key]]) => key !== "_entry")
    .flatMap(([[key], text]) => pairOf([clean(key)], whole(text)));
  return { ...labels.reduce((now, [name, text]) => setParsed(now, stream, name, text), state), line: whole(line) };
}

// Filters

function lineHas(op: string, text: string, ip: boolean, line: string): boolean {
  if (ip) return inRange(text, line);
  if (op === "|=" || op === "!=") return line.includes(text);
  if (op === "|~" || op === "!~") return compileRegex(text).testRe2(line);
  // A pattern: each capture takes at least one character, the end is the line's end, the start may be anywhere.
  if (line === "" || text === "") return line === text;
  const source = text
    .split(/(<_>)/)
    .map((part) => (part === "<_>" ? "<" : part))
    .filter((part) => part !== "");
  return patternEnds(source, line);
}

/** Each literal at its first place behind the one before. */
function patternEnds(parts: readonly string[], line: string): boolean {
  let at = 0;
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] === "<") continue;
    const found = line.indexOf(parts[i], at);
    if (found === -1 || (i > 0 && found === at)) return false;
    at = found + parts[i].length;
  }
  return parts[parts.length - 1] === "<" ? at < line.length : at === line.length;
}

function inRange(pattern: string, text: string): boolean {
  const value = (address: string) => address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const [base, bits = "32"] = pattern.split("/");
  const size = 2 ** (32 - Number(bits));
  return (text.match(/\d+\.\d+\.\d+\.\d+/g) ?? []).some(
    (address) => isIPv4(address) && Math.floor(value(address) / size) === Math.floor(value(base) / size),
  );
}

function matches({ op, value }: Matcher, text: string): boolean {
  switch (op) {
    case "=":
      return text === value;
    case "!=":
      return text !== value;
    case "=~":
      return compileRegex(value, { anchored: true, dotAll: true }).testRe2(text);
    case "!~":
      return !compileRegex(value, { anchored: true, dotAll: true }).testRe2(text);
  }
}

function filter(expr: LabelFilter, state: State): State | null {
  const { passes, error } = judge(expr, state);
  return passes ? { ...state, error: state.error === "" ? error : state.error } : null;
}

/** Whether the filter lets the line pass, and the error that it notes. */
function judge(expr: LabelFilter, state: State): { passes: boolean; error: string } {
  switch (expr.type) {
    case "and": {
      const left = judge(expr.left, state);
      const right = judge(expr.right, { ...state, error: state.error || left.error });
      return { passes: left.passes && right.passes, error: left.error || right.error };
    }
    case "or": {
      const left = judge(expr.left, state);
      if (left.passes) return left;
      // What the left side noted stays, though it did not pass.
      const right = judge(expr.right, { ...state, error: state.error || left.error });
      return { passes: right.passes, error: left.error || right.error };
    }
    case "string":
      return { passes: matches(expr.matcher, labelValue(state, expr.matcher.name) ?? ""), error: "" };
    case "ip": {
      if (state.error !== "") return { passes: true, error: "" };
      const text = labelValue(state, expr.name);
      return { passes: text !== undefined && inRange(expr.pattern, text) === (expr.op === "="), error: "" };
    }
    case "number":
      return compare(labelValue(state, expr.name), parseGoFloat, expr.op, expr.value);
    case "duration":
      return compare(labelValue(state, expr.name), parseGoDuration, expr.op, expr.ns);
    case "bytes": {
      const size = (text: string) => {
        const found = parseByteSize(text);
        return "error" in found ? null : found.bytes;
      };
      return compare(labelValue(state, expr.name), size, expr.op, expr.bytes);
    }
  }
}

function compare(
  text: string | undefined,
  convert: (text: string) => number | null,
  op: CompareOp,
  wanted: number,
): { passes: boolean; error: string } {
  if (text === undefined) return { passes: false, error: "" };
  const value = convert(text);
  if (value === null) return { passes: true, error: "LabelFilterErr" };
  const passes = {
    "==": value === wanted,
    "!=": value !== wanted,
    ">": value > wanted,
    ">=": value >= wanted,
    "<": value < wanted,
    "<=": value <= wanted,
  };
  return { passes: passes[op], error: "" };
}
