import { ANY, countOf, NO_RANGES, overlaps, type Ranges, union } from "./re2-ranges.ts";
import type { Node } from "./re2-tree.ts";

/*
 * When V8's backtracking engine may stand in for RE2.
 *
 * Meaning: the translation uses no flag but `u`, writes every class out as code points, and refuses what the two engines
 * treat differently: repetition of something that can be empty, and (for captures) groups inside a repetition, which
 * JavaScript resets in each round.
 *
 * Time: V8 tries every start, and for each start every way to divide the text among the loops. A loop over one class is
 * *settled* when what follows it can't begin with a member of the class: it can only stop where the class ends, so it
 * costs one walk and leaves nothing to try. Any other loop may stop anywhere, or, where a literal follows it, wherever
 * that literal stands. So the steps for a text of n characters are at most
 *
 *     n * constant * starts * product over unsettled loops of (places to stop + 1)
 *
 * The constant counts branches of alternations and bounded repetitions. `stops` has one literal per unsettled loop and one for the
 * starts, "" where there is none, and is counted on each text before the engine runs (`withinBudget`). Where it comes out
 * above STEPS_PER_CHAR_MAX, re2js runs instead. Loops over anything but one class are never translated.
 */
export const STEPS_PER_CHAR_MAX = 1024;
const CONSTANT_MAX = 64;
/** A loop over one class with a higher bound counts as unbounded. */
const SHORT_LOOP_MAX = 16;
/** Characters of source up to which a counted repetition of one class is written out. */
const WRITTEN_OUT_MAX = 256;
/** Characters that a match may need outside its loops; what one start costs at least. */
const SPAN_MAX = 512;

export interface Translation {
  /** Source for `new RegExp(source, "u")`; groups are numbered as in RE2, without names. */
  readonly source: string;
  /** Whether groups come out as RE2's would. Without it only `test` may be used. */
  readonly capturesAgree: boolean;
  readonly constant: number;
  readonly stops: readonly string[];
}

/** What comes after a node, as far as it matters to a loop before it. */
interface Follow {
  /** Code points with which it can begin. */
  readonly first: Ranges;
  /** It succeeds whatever the text is, so nothing before it is ever tried again. */
  readonly succeeds: boolean;
  /** Literal with which it must begin, "" for none. */
  readonly literal: string;
}

const NOTHING_LEFT: Follow = { first: NO_RANGES, succeeds: true, literal: "" };
const END_OF_TEXT: Follow = { first: NO_RANGES, succeeds: false, literal: "" };

class Refused extends Error {}

/** How the parts of a pattern are written that depend on what is searched. */
export interface Dialect {
  readonly assertions: Readonly<Record<Extract<Node, { type: "assert" }>["what"], string>>;
  escape(code: number): string;
}

/** For a text by itself, with the flag `u`. */
const TEXT: Dialect = {
  assertions: { begin: "^", end: "$", word: "\\b", not_word: "\\B" },
  escape: (code) => (isPlain(code) ? String.fromCharCode(code) : `\\u{${code.toString(16)}}`),
};

/** Null where V8 can't be trusted with the pattern, in meaning or in time. */
export function translate(tree: Node, anchored: boolean, dialect: Dialect = TEXT): Translation | null {
  if (span(tree) > SPAN_MAX) return null;
  // Looking for an empty match, V8 tries the middle of a surrogate pair too.
  if (!anchored && nullable(tree) && !beginsAtStart(tree)) return null;
  const walk = new Walk(dialect);
  try {
    const body = walk.emit(tree, anchored ? END_OF_TEXT : NOTHING_LEFT);
    const begins = anchored || beginsAtStart(tree);
    if (!begins && walk.loops.length > 0 && !startsAreApart(walk, firstOf(tree))) walk.stops.push(leadingLiteral(tree));
    if (walk.constant > CONSTANT_MAX) return null;
    return {
      source: anchored ? `^(?:${body})$` : body,
      capturesAgree: walk.capturesAgree,
      constant: walk.constant,
      stops: walk.stops,
    };
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

/** Whether the steps on `text` stay below the bound above. Linear in the text: a few `indexOf`. */
export function withinBudget(text: string, { constant, stops }: Translation): boolean {
  let steps = constant;
  for (const literal of stops) {
    const most = STEPS_PER_CHAR_MAX / steps;
    // No more places than characters, so short texts need no counting.
    if (text.length < most) {
      steps *= text.length + 1;
      continue;
    }
    if (literal === "") return false;
    let count = 1;
    for (let at = text.indexOf(literal); at !== -1; at = text.indexOf(literal, at + 1)) {
      if (++count > most) return false;
    }
    steps *= count;
  }
  return true;
}

/**
 * With settled loops only, and none of them able to pass over a character that begins a match, the walks of different
 * starts hardly overlap: at most as many as the pattern has characters outside its loops. So starts don't multiply.
 */
function startsAreApart(walk: Walk, first: Ranges): boolean {
  return walk.stops.length === 0 && !walk.loops.some((loop) => overlaps(loop, first));
}

class Walk {
  constant = 1;
  capturesAgree = true;
  readonly stops: string[] = [];
  /** The classes of all unbounded loops. */
  readonly loops: Ranges[] = [];
  private readonly dialect: Dialect;

  constructor(dialect: Dialect) {
    this.dialect = dialect;
  }

  emit(node: Node, follow: Follow): string {
    switch (node.type) {
      case "empty":
        return "";
      case "char":
        return this.dialect.escape(node.code);
      case "set":
        return emitSet(node.ranges, this.dialect);
      case "assert":
        return this.dialect.assertions[node.what];
      case "group":
        return `(${this.emit(node.node, follow)})`;
      case "alt":
        this.constant *= node.nodes.length;
        return `(?:${node.nodes.map((branch) => this.emit(branch, follow)).join("|")})`;
      case "cat": {
        const out: string[] = [];
        let after = follow;
        for (let i = node.nodes.length - 1; i >= 0; i--) {
          out.push(this.emit(node.nodes[i]!, after));
          after = before(node.nodes[i]!, after);
        }
        return out.reverse().join("");
      }
      case "repeat":
        return this.repeat(node.node, node.min, node.max, node.lazy, follow);
    }
  }

  private repeat(node: Node, min: number, max: number, lazy: boolean, follow: Follow): string {
    if (this.constant > CONSTANT_MAX) throw new Refused();
    const mark = quantifier(min, max) + (lazy ? "?" : "");
    const ranges = oneOf(node);
    if (ranges !== null) {
      if (node.type === "group" && max > 1) this.capturesAgree = false;
      const body = this.emit(node, END_OF_TEXT);
      const settled = follow.succeeds || !overlaps(ranges, follow.first);
      if (max > SHORT_LOOP_MAX) {
        this.loops.push(ranges);
        if (!settled) this.stops.push(follow.literal);
      } else if (!settled) {
        this.constant *= max - min + 1;
      }
      if (node.type !== "group" && min >= 2 && body.length * min <= WRITTEN_OUT_MAX) {
        // Written out, V8 sees what stands at each of these places and skips ahead by it, as Boyer and Moore do; a loop
        // hides that. Node 20, `[0-9]{5}[^0-9]` on lines of 250 characters: 1.9 ns a character instead of 2.5, and
        // `[0-9]{9}[a-f]{9}` 2.5 instead of 6.0. It loses nothing but length.
        return max === min ? body.repeat(min) : body.repeat(min) + body + quantifier(0, max - min) + (lazy ? "?" : "");
      }
      return body + mark;
    }
    if (max === Number.POSITIVE_INFINITY || nullable(node)) throw new Refused();
    if (max > 1 && hasGroup(node)) this.capturesAgree = false;
    const inside: Follow =
      max <= 1 ? follow : { first: union(firstOf(node), follow.first), succeeds: false, literal: "" };
    const outer = this.constant;
    const stopsBefore = this.stops.length;
    this.constant = 1;
    const body = this.emit(node, inside);
    // Each round may take each way through the body, and there may be any number of rounds from min to max.
    this.constant = outer * this.constant ** max * (max - min + 1);
    if (max > 1 && this.stops.length > stopsBefore) throw new Refused();
    return `(?:${body})${mark}`;
  }
}

/** What an outside loop sees when `node` comes before `after`. */
function before(node: Node, after: Follow): Follow {
  switch (node.type) {
    case "empty":
      return after;
    case "char": {
      const text = String.fromCodePoint(node.code);
      return { first: [node.code, node.code], succeeds: false, literal: text + after.literal };
    }
    case "set":
      return { first: node.ranges, succeeds: false, literal: "" };
    case "assert":
      if (node.what === "end") return END_OF_TEXT;
      return { first: after.succeeds ? ANY : after.first, succeeds: false, literal: "" };
    case "group":
      return before(node.node, after);
    case "cat":
      return node.nodes.reduceRight((next, part) => before(part, next), after);
    case "alt": {
      const branches = node.nodes.map((branch) => before(branch, after));
      return {
        first: branches.reduce<Ranges>((all, branch) => union(all, branch.first), NO_RANGES),
        succeeds: branches.some((branch) => branch.succeeds),
        literal: "",
      };
    }
    case "repeat": {
      const once = before(node.node, { first: ANY, succeeds: false, literal: "" });
      if (node.min > 0) return { ...once, literal: "" };
      return { first: union(once.first, after.first), succeeds: after.succeeds, literal: "" };
    }
  }
}

function firstOf(node: Node): Ranges {
  return before(node, { first: ANY, succeeds: false, literal: "" }).first;
}

function leadingLiteral(node: Node): string {
  return before(node, { first: ANY, succeeds: false, literal: "" }).literal;
}

/** The class that a node of exactly one code point stands for, through groups. */
function oneOf(node: Node): Ranges | null {
  if (node.type === "char") return [node.code, node.code];
  if (node.type === "set") return node.ranges;
  return node.type === "group" ? oneOf(node.node) : null;
}

function nullable(node: Node): boolean {
  switch (node.type) {
    case "empty":
    case "assert":
      return true;
    case "char":
    case "set":
      return false;
    case "group":
      return nullable(node.node);
    case "cat":
      return node.nodes.every(nullable);
    case "alt":
      return node.nodes.some(nullable);
    case "repeat":
      return node.min === 0 || nullable(node.node);
  }
}

/** The most characters that a match takes outside of its long loops. */
function span(node: Node): number {
  switch (node.type) {
    case "empty":
    case "assert":
      return 0;
    case "char":
    case "set":
      return 1;
    case "group":
      return span(node.node);
    case "cat":
      return node.nodes.reduce((sum, part) => sum + span(part), 0);
    case "alt":
      return Math.max(...node.nodes.map(span));
    case "repeat":
      return oneOf(node.node) !== null ? Math.min(node.max, SHORT_LOOP_MAX) : span(node.node) * node.max;
  }
}

function hasGroup(node: Node): boolean {
  switch (node.type) {
    case "group":
      return true;
    case "repeat":
      return hasGroup(node.node);
    case "cat":
    case "alt":
      return node.nodes.some(hasGroup);
    default:
      return false;
  }
}

/** Whether every match must begin at the start of the text. */
export function beginsAtStart(node: Node): boolean {
  switch (node.type) {
    case "assert":
      return node.what === "begin";
    case "group":
      return beginsAtStart(node.node);
    case "cat":
      return beginsAtStart(node.nodes[0]!);
    case "alt":
      return node.nodes.every(beginsAtStart);
    default:
      return false;
  }
}

function quantifier(min: number, max: number): string {
  if (max === Number.POSITIVE_INFINITY) return min === 0 ? "*" : min === 1 ? "+" : `{${min},}`;
  return min === 0 && max === 1 ? "?" : min === max ? `{${min}}` : `{${min},${max}}`;
}

/** ASCII letters and digits, which stand for themselves. */
function isPlain(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

function emitSet(ranges: Ranges, dialect: Dialect): string {
  if (countOf(ranges) === countOf(ANY)) return "[^]";
  let out = "[";
  for (let i = 0; i < ranges.length; i += 2) {
    const lo = ranges[i]!;
    const hi = ranges[i + 1]!;
    out += lo === hi ? dialect.escape(lo) : `${dialect.escape(lo)}-${dialect.escape(hi)}`;
  }
  return `${out}]`;
}
