import { compileRegex } from "../../codec/re2.ts";
import type { LabelFilter } from "../syntax/ast.ts";
import type { Entry } from "./entry.ts";
import { COMPARE, comparison } from "./label-filter.ts";
import { LiteralProbe } from "./literal-probe.ts";
import { NONE, Occurrences, SEVERAL } from "./occurrences.ts";

/*
 * Label filters behind `json` or `logfmt`, tried on a line's bytes before it is parsed: `| json | status >= 500` needs no more
 * than the number behind `"status":`.
 *
 * Why that is right. A label named http_status comes from keys that are made of its parts, http and status: keys lose or change
 * no ASCII letter or digit on their way to a name. So every key, or path of keys, that gives the label holds its longest part,
 * the *stem*, unless it is spelt with a `\u` escape.
 * - A line without stem and escape lacks the label, and a filter that an absent label can't satisfy drops the line.
 * - With the stem in one place only, and there as part of the very key `"http_status":`, nothing else in the line can give the
 *   label. It has the value behind the key, or, when the key is not where labels come from (inside an array, a
 *   text, another object), it is absent. If the value would be dropped as well, the line is dropped.
 * None of it holds for a label that the stream or the line's metadata may have; `isOpen` asks for these block by block.
 */
export type Verdict = "drop" | "keep" | "unknown";
/** "drop" is certain. "keep" is a guess that parsing it all won't be in vain. */
export type QuickTest = (entry: Entry) => Verdict;

/** A test for a filter right behind the parser; null where lines can't be told by their bytes. */
export function compileQuickTest(filter: LabelFilter, parser: "json" | "logfmt", entry: Entry): QuickTest | null {
  switch (filter.type) {
    case "and":
    case "or": {
      const left = compileQuickTest(filter.left, parser, entry);
      const right = compileQuickTest(filter.right, parser, entry);
      if (filter.type === "or") return left === null || right === null ? null : either(left, right);
      return left === null || right === null ? (left ?? right) : both(left, right);
    }
    case "ip":
      return null;
    case "string": {
      const passes = textTest(filter.matcher);
      return passes === null ? null : new ValueTest(filter.matcher.name, passes, null, parser, entry).asTest();
    }
    default: {
      const { convert, wanted } = comparison(filter);
      const compare = COMPARE[filter.op];
      // What doesn't convert is kept, with an error.
      const passes = (text: string) => {
        const value = convert(text);
        return typeof value !== "number" || compare(value, wanted);
      };
      const plain = filter.type === "number" ? (value: number) => compare(value, wanted) : null;
      return new ValueTest(filter.name, passes, plain, parser, entry).asTest();
    }
  }
}

/** For the two forms that an absent label can't satisfy. */
function textTest({
  op,
  value,
}: Extract<LabelFilter, { type: "string" }>["matcher"]): ((text: string) => boolean) | null {
  if (op === "=") return value === "" ? null : (text) => text === value;
  if (op !== "=~") return null;
  const regex = compileRegex(value, { anchored: true, dotAll: true });
  return regex.test("") ? null : (text) => regex.test(text);
}

function both(left: QuickTest, right: QuickTest): QuickTest {
  return (entry) => {
    const first = left(entry);
    if (first === "drop") return first;
    const second = right(entry);
    return second === "keep" ? first : second;
  };
}

function either(left: QuickTest, right: QuickTest): QuickTest {
  return (entry) => {
    const first = left(entry);
    if (first === "keep") return first;
    const second = right(entry);
    return second === "drop" ? first : second;
  };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ESCAPE = Buffer.from("\\u");

class ValueTest {
  private readonly name: string;
  private readonly id: number;
  private readonly passes: (text: string) => boolean;
  /** The same for a number that needs no text. */
  private readonly plain: ((value: number) => boolean) | null;
  private readonly json: boolean;
  private readonly stem: string;
  private readonly stemAt: number;
  private readonly key: Buffer;
  private readonly stems: Occurrences | null;
  private readonly escapes = new LiteralProbe(ESCAPE);
  private block = -1;
  private open = false;

  constructor(
    name: string,
    passes: (text: string) => boolean,
    plain: ((value: number) => boolean) | null,
    parser: "json" | "logfmt",
    entry: Entry,
  ) {
    this.name = name;
    this.id = entry.reserve(name);
    this.passes = passes;
    this.plain = plain;
    this.json = parser === "json";
    this.stem = name.split("_").reduce((longest, part) => (part.length > longest.length ? part : longest), "");
    this.stemAt = name.indexOf(this.stem);
    this.key = Buffer.from(this.json ? `"${name}"` : `${name}=`);
    // `x_extracted` comes from keys named x. A stem of a letter is everywhere.
    const isTelling = this.stem.length >= 2 && !name.endsWith("_extracted");
    this.stems = isTelling ? new Occurrences(Buffer.from(this.stem)) : null;
  }

  asTest(): QuickTest | null {
    const { stems } = this;
    return stems === null ? null : (entry) => this.test(entry, stems);
  }

  private test(entry: Entry, stems: Occurrences): Verdict {
    if (!this.isOpen(entry)) return "unknown";
    const at = stems.only(entry);
    if (at === SEVERAL || (this.json && this.escapes.isIn(entry))) return "unknown";
    if (at === NONE) return "drop";
    const valueAt = this.json ? this.jsonValueAt(entry, at) : this.logfmtValueAt(entry, at);
    return valueAt === -1 ? "unknown" : this.judge(entry, valueAt);
  }

  /** Whether in this block only the parser can give the label. */
  private isOpen(entry: Entry): boolean {
    if (entry.block !== this.block) {
      this.block = entry.block;
      this.open = !entry.isStreamName(this.id) && !entry.mayHaveMetadata(this.name);
    }
    return this.open;
  }

  /** Where the value begins when the stem at `at` is part of the key, or -1. */
  private jsonValueAt({ bytes, start, end }: Entry, at: number): number {
    const from = at - this.stemAt - 1;
    if (from < start || !this.isKey(bytes, from)) return -1;
    let next = from + this.key.length;
    while (next < end && isSpace(bytes[next])) next++;
    if (next >= end || bytes[next] !== 0x3a) return -1;
    next++;
    while (next < end && isSpace(bytes[next])) next++;
    return next;
  }

  private logfmtValueAt({ bytes, start }: Entry, at: number): number {
    const from = at - this.stemAt;
    if (from < start || (from > start && bytes[from - 1] > 0x20) || !this.isKey(bytes, from)) return -1;
    return from + this.key.length;
  }

  private isKey(bytes: Buffer, from: number): boolean {
    const { key } = this;
    for (let i = 0; i < key.length; i++) if (bytes[from + i] !== key[i]) return false;
    return true;
  }

  private judge({ bytes, end }: Entry, at: number): Verdict {
    let from = at;
    let to = at;
    if (at < end && bytes[at] === QUOTE) {
      from = ++to;
      for (; ; to++) {
        // No end, an escape, or a character whose bytes may be ill-formed.
        if (to >= end || bytes[to] === BACKSLASH || bytes[to] >= 0x80) return "unknown";
        if (bytes[to] === QUOTE) break;
      }
    } else {
      if (this.plain !== null) {
        const found = this.number(bytes, at, end);
        if (found !== "unknown") return found;
      }
      if (this.json && at < end && (bytes[at] === 0x7b || bytes[at] === 0x5b)) return "unknown";
      for (; to < end && !this.endsToken(bytes[to]); to++) {
        if (bytes[to] >= 0x80 || bytes[to] === QUOTE || bytes[to] === 0x3d) return "unknown";
      }
    }
    if (from === to) return "unknown";
    return this.passes(bytes.toString("latin1", from, to)) ? "keep" : "drop";
  }

  private endsToken(c: number): boolean {
    return this.json ? c === 0x2c || c === 0x7d || c === 0x5d || isSpace(c) : c <= 0x20;
  }

  /** A plain decimal of at most 15 digits, whose value two exact numbers and one division give. */
  private number(bytes: Buffer, at: number, end: number): Verdict {
    let sign = 1;
    if (bytes[at] === 0x2d) {
      sign = -1;
      at++;
    }
    let value = 0;
    let digits = 0;
    let scale = 1;
    for (; at < end && bytes[at] >= 0x30 && bytes[at] <= 0x39; at++, digits++) value = value * 10 + (bytes[at] - 0x30);
    if (digits === 0) return "unknown";
    if (at < end && bytes[at] === 0x2e) {
      for (at++; at < end && bytes[at] >= 0x30 && bytes[at] <= 0x39; at++, digits++) {
        value = value * 10 + (bytes[at] - 0x30);
        scale *= 10;
      }
    }
    if (digits > 15 || at >= end ? digits > 15 : !this.endsToken(bytes[at])) return "unknown";
    return this.plain?.((sign * value) / scale) ? "keep" : "drop";
  }
}

function isSpace(c: number): boolean {
  return c === 0x20 || c === 0x09 || c === 0x0a || c === 0x0d;
}
