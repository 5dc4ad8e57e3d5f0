import {
  DIGIT,
  foldAscii,
  MAX_CODE_POINT,
  NOT_NEWLINE,
  negate,
  normalize,
  POSIX,
  type Ranges,
  SPACE,
  union,
  WORD,
} from "./re2-ranges.ts";

/** A pattern as a tree, with flags, escapes and classes already resolved. */
export type Node =
  | { readonly type: "empty" }
  /** One code point, exactly this. */
  | { readonly type: "char"; readonly code: number }
  /** One code point out of a set. `folded`: made from a letter by `(?i)`. */
  | { readonly type: "set"; readonly ranges: Ranges; readonly folded: boolean }
  /** Zero width. */
  | { readonly type: "assert"; readonly what: "begin" | "end" | "word" | "not_word" }
  | { readonly type: "cat"; readonly nodes: readonly Node[] }
  | { readonly type: "alt"; readonly nodes: readonly Node[] }
  | { readonly type: "group"; readonly name: string; readonly node: Node }
  | {
      readonly type: "repeat";
      readonly node: Node;
      readonly min: number;
      readonly max: number;
      readonly lazy: boolean;
    };

export const EMPTY: Node = { type: "empty" };

/** Patterns beyond these are left to re2js alone; what follows here walks trees by recursion. */
const DEPTH_MAX = 100;
const PATTERN_MAX = 8192;

interface Flags {
  fold: boolean;
  dotAll: boolean;
  multiline: boolean;
}

/** Thrown inside this file when a pattern has something that only re2js handles. */
class NotHandled extends Error {}

/**
 * Reads an RE2 pattern that re2js has accepted. Null when it has a construct whose meaning we don't want to rebuild:
 * multi-line mode, `(?U)`, Unicode classes, folding outside ASCII.
 */
export function parseTree(pattern: string, dotAll: boolean): Node | null {
  if (pattern.length > PATTERN_MAX) return null;
  try {
    const reader = new TreeReader(pattern);
    const node = reader.alternation({ fold: false, dotAll, multiline: false }, 0);
    return reader.atEnd() ? node : null;
  } catch (error) {
    if (error instanceof NotHandled) return null;
    throw error;
  }
}

class TreeReader {
  private readonly chars: readonly string[];
  private at = 0;

  constructor(pattern: string) {
    this.chars = [...pattern];
  }

  atEnd(): boolean {
    return this.at === this.chars.length;
  }

  alternation(flags: Flags, depth: number): Node {
    if (depth > DEPTH_MAX) throw new NotHandled();
    const branches: Node[] = [];
    let parts: Node[] = [];
    while (!this.atEnd() && this.peek() !== ")") {
      if (this.take("|")) {
        branches.push(concat(parts));
        parts = [];
      } else {
        this.term(parts, flags, depth);
      }
    }
    branches.push(concat(parts));
    return branches.length === 1 ? branches[0]! : { type: "alt", nodes: branches };
  }

  /** One atom or flag group, and the repetition after it. `(?i)` changes `flags` for the rest of the group. */
  private term(parts: Node[], flags: Flags, depth: number): void {
    const c = this.next();
    switch (c) {
      case "(":
        this.group(parts, flags, depth);
        return;
      case "[":
        parts.push(set(this.charClass(flags), false));
        break;
      case ".":
        parts.push(set(flags.dotAll ? [0, MAX_CODE_POINT] : NOT_NEWLINE, false));
        break;
      case "^":
      case "$":
        if (flags.multiline) throw new NotHandled();
        parts.push({ type: "assert", what: c === "^" ? "begin" : "end" });
        break;
      case "\\":
        this.escape(parts, flags);
        break;
      default:
        parts.push(literal(c.codePointAt(0)!, flags));
    }
    this.repetition(parts);
  }

  private group(parts: Node[], flags: Flags, depth: number): void {
    if (!this.take("?")) {
      this.close(parts, "", { ...flags }, depth, true);
    } else if (this.peek() === "P" || this.peek() === "<") {
      this.take("P");
      this.take("<");
      let name = "";
      while (!this.atEnd() && this.peek() !== ">") name += this.next();
      this.next();
      this.close(parts, name, { ...flags }, depth, true);
    } else {
      const inner = { ...flags };
      let on = true;
      for (;;) {
        const c = this.next();
        if (c === "-") on = false;
        else if (c === "i") inner.fold = on;
        else if (c === "s") inner.dotAll = on;
        else if (c === "m") inner.multiline = on;
        else if (c === ":") {
          this.close(parts, "", inner, depth, false);
          return;
        } else if (c === ")") {
          Object.assign(flags, inner);
          return;
        } else throw new NotHandled();
      }
    }
  }

  private close(parts: Node[], name: string, flags: Flags, depth: number, captures: boolean): void {
    const node = this.alternation(flags, depth + 1);
    if (!this.take(")")) throw new NotHandled();
    parts.push(captures ? { type: "group", name, node } : node);
    this.repetition(parts);
  }

  private repetition(parts: Node[]): void {
    const bounds = this.bounds();
    if (bounds === null) return;
    const node = parts.pop();
    if (node === undefined) throw new NotHandled();
    const lazy = this.take("?");
    // A repeated assertion, or a second repetition straight after this one, is odd enough to leave to re2js.
    if (node.type === "assert" || this.bounds() !== null) throw new NotHandled();
    parts.push({ type: "repeat", node, min: bounds[0], max: bounds[1], lazy });
  }

  /** `*`, `+`, `?` or `{n,m}` here; null (and nothing read) for anything else, `{` as a plain character included. */
  private bounds(): [min: number, max: number] | null {
    if (this.take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.take("?")) return [0, 1];
    if (this.atEnd() || this.peek() !== "{") return null;
    const m = /^\{(\d{1,4})(?:(,)(\d{0,4}))?\}/.exec(this.chars.slice(this.at, this.at + 12).join(""));
    if (m === null) return null;
    this.at += m[0].length;
    const min = Number(m[1]);
    if (m[2] === undefined) return [min, min];
    return [min, m[3] === "" ? Number.POSITIVE_INFINITY : Number(m[3])];
  }

  private escape(parts: Node[], flags: Flags): void {
    const c = this.next();
    if (c === "Q") {
      while (!this.atEnd()) {
        if (this.peek() === "\\" && this.chars[this.at + 1] === "E") {
          this.at += 2;
          break;
        }
        parts.push(literal(this.next().codePointAt(0)!, flags));
      }
    } else if (c === "A") parts.push({ type: "assert", what: "begin" });
    else if (c === "z") parts.push({ type: "assert", what: "end" });
    else if (c === "b") parts.push({ type: "assert", what: "word" });
    else if (c === "B") parts.push({ type: "assert", what: "not_word" });
    else {
      const ranges = perlClass(c, flags.fold);
      if (ranges !== null) parts.push(set(ranges, false));
      else parts.push(literal(this.escaped(c), flags));
    }
  }

  /** The code point of the escape that begins with `c`. */
  private escaped(c: string): number {
    const simple = SIMPLE_ESCAPES[c];
    if (simple !== undefined) return simple;
    if (c === "x") {
      let digits = "";
      if (this.take("{")) {
        while (this.peek() !== "}") digits += this.next();
        this.next();
      } else digits = this.next() + this.next();
      return Number.parseInt(digits, 16);
    }
    if (c >= "0" && c <= "7") {
      let digits = c;
      while (digits.length < 3 && !this.atEnd() && this.peek() >= "0" && this.peek() <= "7") digits += this.next();
      return Number.parseInt(digits, 8);
    }
    if (/^[^0-9A-Za-z]$/u.test(c) && c.codePointAt(0)! < 0x80) return c.codePointAt(0)!;
    throw new NotHandled();
  }

  /** A bracket expression; the opening bracket has been read. */
  private charClass(flags: Flags): Ranges {
    const not = this.take("^");
    let ranges: Ranges = [];
    let first = true;
    while (first || this.peek() !== "]") {
      first = false;
      ranges = union(ranges, this.classItem(flags));
    }
    this.next();
    return not ? negate(ranges) : ranges;
  }

  private classItem(flags: Flags): Ranges {
    const rest = this.chars.slice(this.at, this.at + 12).join("");
    const posix = /^\[:(\^?)([a-z]+):\]/.exec(rest);
    if (posix !== null) {
      this.at += posix[0].length;
      const found = POSIX[posix[2]!];
      if (found === undefined) throw new NotHandled();
      const ranges = flags.fold ? fold(found) : found;
      return posix[1] === "^" ? negate(ranges) : ranges;
    }
    const lo = this.classChar(flags);
    if (typeof lo !== "number") return lo;
    if (this.peek() !== "-" || this.chars[this.at + 1] === "]") return flags.fold ? fold([lo, lo]) : [lo, lo];
    this.next();
    const hi = this.classChar(flags);
    if (typeof hi !== "number" || hi < lo) throw new NotHandled();
    return flags.fold ? fold([lo, hi]) : [lo, hi];
  }

  private classChar(flags: Flags): number | Ranges {
    const c = this.next();
    if (c !== "\\") return c.codePointAt(0)!;
    const e = this.next();
    return perlClass(e, flags.fold) ?? this.escaped(e);
  }

  private peek(): string {
    const c = this.chars[this.at];
    if (c === undefined) throw new NotHandled();
    return c;
  }

  private next(): string {
    const c = this.peek();
    this.at++;
    return c;
  }

  private take(c: string): boolean {
    if (this.chars[this.at] !== c) return false;
    this.at++;
    return true;
  }
}

const SIMPLE_ESCAPES: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

const PERL: Readonly<Record<string, Ranges>> = { d: DIGIT, w: WORD, s: SPACE };

/** `\\d` and its like, or null. A class is folded before it is negated, as RE2 does. */
function perlClass(c: string, folding: boolean): Ranges | null {
  const positive = PERL[c.toLowerCase()];
  if (positive === undefined) return null;
  const ranges = folding ? fold(positive) : positive;
  return c === c.toLowerCase() ? ranges : negate(ranges);
}

function fold(ranges: Ranges): Ranges {
  const folded = foldAscii(ranges);
  if (folded === null) throw new NotHandled();
  return folded;
}

function set(ranges: Ranges, folded: boolean): Node {
  return { type: "set", ranges: normalize(ranges), folded };
}

function literal(code: number, flags: Flags): Node {
  if (!flags.fold) return { type: "char", code };
  const ranges = fold([code, code]);
  return ranges.length === 2 && ranges[0] === ranges[1] ? { type: "char", code } : set(ranges, true);
}

function concat(parts: readonly Node[]): Node {
  return parts.length === 0 ? EMPTY : parts.length === 1 ? parts[0]! : { type: "cat", nodes: parts };
}
