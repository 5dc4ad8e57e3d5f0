import { compileRegex, type Regex } from "../../codec/re2.ts";
import type { LiteralAnchor } from "../../codec/re2-anchor.ts";
import type { Ranges } from "../../codec/re2-ranges.ts";
import { messageOf } from "../../core/errors.ts";
import { LineSearch } from "../line-search.ts";
import type { LineFilterOp, LineFilterOperand, StageOf } from "../syntax/ast.ts";
import { stageError } from "../syntax/errors.ts";
import { hasRawBytes, utf8Bytes } from "../syntax/strings.ts";
import type { Entry } from "./entry.ts";
import { containsAddress, parseIpPattern } from "./ip.ts";
import { LiteralProbe } from "./literal-probe.ts";
import { Occurrences } from "./occurrences.ts";
import { checkLinePattern, splitPattern } from "./pattern-text.ts";
import type { LineStage } from "./stage.ts";

/** One line filter, ready to run. */
export interface LineTest {
  readonly test: LineStage;
  /** Literals of which each line that passes has at least one of every group. */
  readonly groups: readonly (readonly Buffer[])[];
  /** The groups say all: a line that has one of each passes. */
  readonly isCovered: boolean;
  /** Every line passes, or none does. */
  readonly constant: boolean | null;
  /** Finds the lines of a block that pass; null where they are looked at one by one. */
  readonly search: LineSearch | null;
}

/** Compiles a line filter. `stage` is its text for errors. Throws QueryError. */
export function compileLineFilter(filter: StageOf<"line_filter">, stage: string): LineTest {
  const operands = filter.operands.map((operand) => compileOperand(filter.op, operand, stage));
  const isPositive = filter.op[0] === "|";
  if (operands.some((one) => one.constant === true)) return always(isPositive);
  const tests = operands.map((one) => one.test);
  const test: LineStage = tests.length === 1 ? tests[0] : (entry) => tests.some((one) => one(entry));
  if (!isPositive) {
    const search = operands.length === 1 ? searchFor(filter.op, filter.operands[0], false) : null;
    return { test: (entry) => !test(entry), groups: [], isCovered: false, constant: null, search };
  }
  if (operands.length === 1) return operands[0];
  // A choice of operands needs a literal of one of them: a group made of one group of each, if each has one.
  const covered = operands.every((one) => one.isCovered && one.groups.length === 1);
  const lists = operands.map((one) => one.groups[0]);
  const group = lists.every((list) => list !== undefined) ? lists.flat() : null;
  return { test, groups: group === null ? [] : [group], isCovered: covered, constant: null, search: null };
}

function always(passes: boolean): LineTest {
  return { test: () => passes, groups: [], isCovered: false, constant: passes, search: null };
}

/** Whether a line has what the operand says, the filter's negation aside. */
function compileOperand(op: LineFilterOp, { text, ip }: LineFilterOperand, stage: string): LineTest {
  if (ip) return compileIp(op, text, stage);
  switch (op) {
    case "|=":
    case "!=":
      return literalTest([utf8Bytes(text)]);
    case "|~":
    case "!~":
      return regexTest(compileOrFail(text, stage));
    case "|>":
    case "!>":
      return patternTest(text, stage);
  }
}

function compileIp(op: LineFilterOp, pattern: string, stage: string): LineTest {
  if (op !== "|=" && op !== "!=") throw stageError(stage, "ip: invalid operation");
  const range = parseIpPattern(pattern);
  if (range === null) throw stageError(stage, `ip: invalid pattern: ${JSON.stringify(pattern)}`);
  const test = (entry: Entry) => {
    if (!entry.lineChanged) return containsAddress(entry.bytes, entry.start, entry.end, range);
    const { line } = entry;
    return containsAddress(line, 0, line.length, range);
  };
  return { test, groups: [], isCovered: false, constant: null, search: null };
}

function compileOrFail(pattern: string, stage: string): Regex {
  try {
    return compileRegex(pattern);
  } catch (error) {
    throw stageError(stage, messageOf(error), error);
  }
}

/** At least one of the literals, byte for byte. */
function literalTest(literals: readonly Buffer[]): LineTest {
  if (literals.some((literal) => literal.length === 0)) return always(true);
  const test = anyOf(literals);
  return { test, groups: [literals], isCovered: true, constant: null, search: null };
}

function anyOf(literals: readonly Buffer[]): LineStage {
  const probes = literals.map((literal) => new LiteralProbe(literal));
  const [only] = probes;
  if (probes.length === 1) return (entry) => only.isIn(entry);
  return (entry) => {
    for (const probe of probes) if (probe.isIn(entry)) return true;
    return false;
  };
}

function regexTest(regex: Regex): LineTest {
  if (regex.choice !== null) return literalTest(regex.choice.map((text) => Buffer.from(text, "utf8")));
  const groups = regex.literalGroups.map((group) => group.map((text) => Buffer.from(text, "utf8")));
  const search = lineSearch(regex, true);
  if (regex.anchor !== null) {
    return { test: anchoredTest(regex, regex.anchor), groups, isCovered: false, constant: null, search };
  }
  // The most telling group stands before the engine; the others would cost more than they save.
  const first = groups.length > 0 ? anyOf(groups[0]) : null;
  const test: LineStage =
    first === null ? (entry) => regex.test(entry.text) : (entry) => first(entry) && regex.test(entry.text);
  return { test, groups, isCovered: false, constant: null, search };
}

function lineSearch(regex: Regex, wanted: boolean): LineSearch | null {
  return regex.lines === null ? null : new LineSearch(regex, regex.lines, wanted);
}

/** For a filter with one operand, which has been compiled. */
function searchFor(op: LineFilterOp, { text, ip }: LineFilterOperand, wanted: boolean): LineSearch | null {
  return ip || (op !== "|~" && op !== "!~") ? null : lineSearch(compileRegex(text), wanted);
}

/** Looks only where a literal says that a match may begin. */
function anchoredTest(regex: Regex, { before, literals, isWhole }: LiteralAnchor): LineStage {
  const tables = before.map(byteTable);
  const found = literals.map((text) => new Occurrences(Buffer.from(text, "utf8")));
  const atPlace = (entry: Entry, at: number): boolean | null => {
    const from = at - tables.length;
    // Each of the characters takes a byte at least.
    if (from < entry.start) return false;
    for (let i = 0; i < tables.length; i++) {
      const byte = entry.bytes[from + i];
      // A character of several bytes: only the text tells.
      if (byte >= 0x80) return null;
      if (tables[i][byte] === 0) return false;
    }
    if (isWhole) return true;
    const { text } = entry;
    return text.length === entry.end - entry.start ? regex.testAt(text, from - entry.start) : null;
  };
  return (entry) => {
    if (entry.lineChanged) return regex.test(entry.text);
    for (const occurrences of found) {
      const last = occurrences.lastIn(entry);
      for (let i = occurrences.first(entry); i < occurrences.count && occurrences.places[i] <= last; i++) {
        const matches = atPlace(entry, occurrences.places[i]);
        if (matches === null) return regex.test(entry.text);
        if (matches) return true;
      }
    }
    return false;
  };
}

/** For each ASCII character whether it is in the set. */
function byteTable(ranges: Ranges): Uint8Array {
  const table = new Uint8Array(128);
  for (let i = 0; i < ranges.length; i += 2) {
    for (let code = ranges[i]; code <= Math.min(ranges[i + 1], 127); code++) table[code] = 1;
  }
  return table;
}

function patternTest(pattern: string, stage: string): LineTest {
  const problem = checkLinePattern(pattern);
  if (problem !== null) throw stageError(stage, problem);
  const parts = splitPattern(pattern);
  const literals = parts.flatMap((part) => ("literal" in part ? [utf8Bytes(part.literal)] : []));
  const bytes = literals.map((literal) => literal.toString("latin1"));
  const endsInCapture = parts.length > 0 && "capture" in parts[parts.length - 1];
  const beginsWithLiteral = parts.length > 0 && "literal" in parts[0];
  const test = (entry: Entry) => matchesPattern(entry.latin1, bytes, beginsWithLiteral, endsInCapture);
  const groups = hasRawBytes(pattern) ? [] : literals.map((literal) => [literal]);
  return { test, groups, isCovered: false, constant: null, search: null };
}

/**
 * The literals in order, each at its first place after the one before; captures between them take at least one byte.
 * The line must end with the pattern, but it need not begin with it: a leading literal may stand anywhere.
 */
function matchesPattern(
  line: string,
  literals: readonly string[],
  beginsWithLiteral: boolean,
  endsInCapture: boolean,
): boolean {
  if (line === "" || (literals.length === 0 && !endsInCapture)) {
    return line === "" && literals.length === 0 && !endsInCapture;
  }
  let at = 0;
  for (let i = 0; i < literals.length; i++) {
    const found = line.indexOf(literals[i], at);
    if (found === -1 || (found === at && !(i === 0 && beginsWithLiteral))) return false;
    at = found + literals[i].length;
  }
  return endsInCapture === at < line.length;
}
