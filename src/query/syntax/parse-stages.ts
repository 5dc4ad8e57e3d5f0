import { compileRegex } from "../../codec/re2.ts";
import { messageOf } from "../../core/errors.ts";
import { checkPattern } from "../stages/pattern-text.ts";
import type {
  CompareOp,
  Extraction,
  LabelFilter,
  LabelFormat,
  LineFilterOp,
  LineFilterOperand,
  Matcher,
  MatchOp,
  Stage,
} from "./ast.ts";
import type { Cursor } from "./cursor.ts";
import { parseError } from "./errors.ts";
import { goFloatError, parseGoFloat } from "./units.ts";

const LINE_FILTER_OPS = new Set(["|=", "!=", "|~", "!~", "|>", "!>"]);

/** `{a="b", c=~"d"}` */
export function parseSelectorTokens(cursor: Cursor): Matcher[] {
  cursor.expect("{");
  const matchers: Matcher[] = [];
  if (!cursor.is("IDENTIFIER")) {
    cursor.expect("IDENTIFIER", "}");
    return matchers;
  }
  do matchers.push(parseMatcher(cursor));
  while (cursor.expect("}", ",").type === ",");
  return matchers;
}

function parseMatcher(cursor: Cursor): Matcher {
  const name = cursor.identifier();
  const op = cursor.expect("=", "=~", "!~", "!=").type as MatchOp;
  return matcher(cursor, name, op);
}

/** A matcher, whose text comes next. A regular expression is compiled, and counts as such. */
function matcher(cursor: Cursor, name: string, op: MatchOp): Matcher {
  if (op === "=" || op === "!=") return { name, op, value: cursor.expect("STRING").text };
  const value = cursor.anchoredRegex();
  cursor.later(() => {
    try {
      compileRegex(value, { anchored: true, dotAll: true });
    } catch (error) {
      throw parseError(messageOf(error), 0, 0, error);
    }
  });
  return { name, op, value };
}

/** Whether the next token begins a stage. `unwrap` begins with a pipe too, so the caller looks for it. */
export function atStage(cursor: Cursor): boolean {
  const { type } = cursor.peek();
  return type === "|" || LINE_FILTER_OPS.has(type);
}

/** One stage. For `| unwrap` it gives "unwrap", both words read, where `allowUnwrap` says so. */
export function parseStage(cursor: Cursor, allowUnwrap: boolean): Stage | "unwrap" {
  if (!cursor.is("|")) return parseLineFilter(cursor);
  cursor.next();
  const token = cursor.peek();
  switch (token.type) {
    case "json":
      cursor.next();
      return { type: "json", extractions: parseExtractions(cursor) };
    case "logfmt":
      cursor.next();
      return parseLogfmt(cursor);
    case "regexp":
      cursor.next();
      return { type: "regexp", pattern: checkRegexp(cursor.compiledText()) };
    case "pattern": {
      cursor.next();
      const pattern = cursor.compiledText();
      const problem = checkPattern(pattern);
      if (problem !== null) throw parseError(`invalid pattern parser: ${problem}`);
      return { type: "pattern", pattern };
    }
    case "unpack":
    case "decolorize":
      cursor.next();
      return { type: token.type };
    case "line_format":
      cursor.next();
      return { type: "line_format", template: cursor.compiledText() };
    case "label_format":
      cursor.next();
      return { type: "label_format", formats: parseFormats(cursor) };
    case "drop":
    case "keep":
      cursor.next();
      return { type: token.type, items: parseItems(cursor) };
    case "IDENTIFIER":
    case "(":
      return { type: "label_filter", filter: parseLabelFilter(cursor) };
    case "unwrap":
      if (!allowUnwrap) throw cursor.unexpected();
      cursor.next();
      return "unwrap";
    default:
      throw cursor.unexpected();
  }
}

function parseLineFilter(cursor: Cursor): Stage {
  const op = cursor.next().type as LineFilterOp;
  const operands: LineFilterOperand[] = [];
  do {
    const token = cursor.expect("STRING", "ip");
    if (token.type === "STRING") {
      if (op !== "|=" && op !== "!=") cursor.chargeCompiled(token, token.text.length);
      operands.push({ text: token.text, ip: false });
    } else operands.push({ text: parseIp(cursor), ip: true });
  } while (cursor.take("or"));
  return { type: "line_filter", op, operands };
}

/** The rest of `ip("...")`. */
function parseIp(cursor: Cursor): string {
  cursor.expect("(");
  const pattern = cursor.expect("STRING").text;
  cursor.expect(")");
  return pattern;
}

function parseExtractions(cursor: Cursor): Extraction[] | null {
  if (!cursor.is("IDENTIFIER")) return null;
  const extractions: Extraction[] = [];
  do {
    const name = cursor.identifier();
    extractions.push({ name, path: cursor.take("=") ? cursor.compiledText() : name });
  } while (cursor.take(","));
  return extractions;
}

function parseLogfmt(cursor: Cursor): Stage {
  const flags = new Set<string>();
  while (cursor.is("FUNCTION_FLAG")) flags.add(cursor.next().text);
  return {
    type: "logfmt",
    strict: flags.has("--strict"),
    keepEmpty: flags.has("--keep-empty"),
    extractions: parseExtractions(cursor),
  };
}

function checkRegexp(pattern: string): string {
  const problem = regexpProblem(pattern);
  if (problem !== null) throw parseError(`invalid regexp parser: ${problem}`);
  return pattern;
}

function regexpProblem(pattern: string): string | null {
  let names: readonly string[];
  try {
    names = compileRegex(pattern).groupNames;
  } catch (error) {
    const text = messageOf(error);
    // RE2 itself allows a name twice; our engine and this stage don't.
    const twice = /duplicate capture group name: `(.*)`$/.exec(text);
    return twice === null ? text : `duplicate extracted label name '${twice[1]}'`;
  }
  const odd = names.find((name) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name));
  if (odd !== undefined) return `invalid extracted label name '${odd}'`;
  return names.length === 0 ? "at least one named capture must be supplied" : null;
}

function parseFormats(cursor: Cursor): LabelFormat[] {
  const formats: LabelFormat[] = [];
  do {
    const name = cursor.identifier();
    cursor.expect("=");
    if (cursor.is("IDENTIFIER")) formats.push({ name, from: cursor.identifier() });
    else {
      if (!cursor.is("STRING")) cursor.expect("IDENTIFIER", "STRING");
      formats.push({ name, template: cursor.compiledText() });
    }
  } while (cursor.take(","));
  return formats;
}

function parseItems(cursor: Cursor): (string | Matcher)[] {
  const items: (string | Matcher)[] = [];
  do {
    const name = cursor.identifier();
    const { type } = cursor.peek();
    if (type === "=" || type === "!=" || type === "=~" || type === "!~") {
      cursor.next();
      items.push(matcher(cursor, name, type));
    } else items.push(name);
  } while (cursor.take(","));
  return items;
}

const AND = 2;
const OR = 1;

/**
 * Label filters joined by `and` (tighter) and `or`. A comma, or nothing, means `and` as well but binds in no order of its
 * own: everything to its right is grouped first. `above` is the precedence of the operator to the left.
 */
export function parseLabelFilter(cursor: Cursor, above = 0): LabelFilter {
  return cursor.nested(() => {
    let left = parseOneFilter(cursor);
    for (let terms = 1; ; terms++) {
      cursor.checkDepth(terms);
      const { type } = cursor.peek();
      if (type === "and" && AND > above) {
        cursor.next();
        left = { type: "and", left, right: parseLabelFilter(cursor, AND) };
      } else if (type === "or" && OR > above) {
        cursor.next();
        left = { type: "or", left, right: parseLabelFilter(cursor, OR) };
      } else if (type === "," || type === "IDENTIFIER" || type === "(") {
        if (type === ",") cursor.next();
        left = { type: "and", left, right: parseLabelFilter(cursor) };
      } else return left;
    }
  });
}

function parseOneFilter(cursor: Cursor): LabelFilter {
  if (cursor.is("(")) {
    cursor.next();
    const inner = parseLabelFilter(cursor);
    if (!cursor.is(")")) throw cursor.unexpected();
    cursor.next();
    return inner;
  }
  if (!cursor.is("IDENTIFIER")) throw cursor.unexpected(["IDENTIFIER", "("]);
  const name = cursor.identifier();
  const op = cursor.peek().type;
  if (op === "=~" || op === "!~") {
    cursor.next();
    return { type: "string", matcher: matcher(cursor, name, op) };
  }
  if (op !== "=" && op !== "!=" && !COMPARE.has(op)) throw cursor.unexpected();
  cursor.next();
  if (op === "=" || op === "!=") {
    if (cursor.is("STRING")) return { type: "string", matcher: { name, op, value: cursor.next().text } };
    if (cursor.take("ip")) return { type: "ip", name, op, pattern: parseIp(cursor) };
  }
  const compare = (op === "=" ? "==" : op) as CompareOp;
  const token = cursor.peek();
  if (token.type === "DURATION") return { type: "duration", name, op: compare, ns: cursor.next().value };
  if (token.type === "BYTES") return { type: "bytes", name, op: compare, bytes: cursor.next().value };
  return { type: "number", name, op: compare, value: parseNumber(cursor) };
}

const COMPARE = new Set(["==", ">", ">=", "<", "<="]);

/** A number with an optional sign. */
export function parseNumber(cursor: Cursor): number {
  const { type } = cursor.peek();
  if (type !== "NUMBER" && type !== "+" && type !== "-") throw cursor.unexpected();
  if (type !== "NUMBER") cursor.next();
  const value = numberOf(cursor.expect("NUMBER").text);
  return type === "-" ? -value : value;
}

export function numberOf(text: string): number {
  const value = parseGoFloat(text);
  if (value === null) throw parseError(`unable to parse literal as a float: ${goFloatError(text)}`);
  return value;
}
