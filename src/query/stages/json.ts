import { AllFound } from "./all-found.ts";
import type { Codes, Entry } from "./entry.ts";
import {
  BACKSLASH,
  BRACE,
  BRACE_END,
  BRACKET,
  BRACKET_END,
  blockEnd,
  COLON,
  COMMA,
  hasQuoteOrBrace,
  MALFORMED_ARRAY,
  MALFORMED_ESCAPE,
  MALFORMED_OBJECT,
  MALFORMED_STRING,
  QUOTE,
  skipSpace,
  stringEnd,
  tokenEnd,
  UNKNOWN_VALUE,
  unescapeJson,
} from "./json-scan.ts";
import { JSON_ERROR, type LineStage, labelText, sanitizePart } from "./stage.ts";
import { plainEnd, standsAt, type WordText, wordText } from "./word-scan.ts";

/** Deeper objects are taken for broken ones; agents nest a handful of levels. */
const DEPTH_MAX = 128;
/** Not said to anybody: where a nested object ends can't be told by reading it. */
const UNCLEAR = "unclear";
/** Distinct keys that are remembered; lines with ids as keys would fill the memory otherwise. */
const KEYS_MAX = 20_000;

/**
 * Up to so many wanted values are made one by one. Node 20, lines of 300 characters: `rate` by one of eleven keys then takes 0.95 of the
 * CPU that it takes with a string of each line (bench/query.ts); with more keys it would lose, a call for each.
 */
const SPARING_MAX = 2;

/** A key at its place in the tree of keys that lines have had. */
interface Key {
  /** The key with its quotes as it stands in the text, to be compared in place. */
  readonly quoted: string;
  /** The same to be compared with bytes; null where it can't stand in ASCII. */
  readonly word: WordText | null;
  readonly parent: Key | null;
  /** Label name for a value. */
  readonly name: string;
  /** Number of `name`, -1 for a value that gets no label or that nobody wants. */
  readonly id: number;
  readonly children: Map<string, Key>;
}

/**
 * `| json`: every string, number and boolean of an object becomes a label; nested keys are joined by `_`; arrays and nulls are
 * skipped. `wanted`, when given, says which names anybody will look at. `mayStop`: nobody minds when a line is read no further
 * than to the last of these, so that what is broken behind it goes unnoticed.
 */
export function compileJson(entry: Entry, wanted: ReadonlySet<string> | null, mayStop: boolean): LineStage {
  const found = mayStop && wanted !== null ? new AllFound(entry, wanted) : null;
  const reader = new JsonReader(entry, wanted, found);
  return () => {
    const problem = reader.read();
    if (problem !== null) entry.fail(JSON_ERROR, problem);
    return true;
  };
}

/**
 * Reads lines in one pass. Consecutive lines mostly have the same keys in the same order, so the n-th key is first
 * compared, in place, with the n-th key of the line before: no substring, no hashing.
 */
class JsonReader {
  private readonly entry: Entry;
  private readonly wanted: ReadonlySet<string> | null;
  /** Whether so few values are wanted that making each by itself is cheaper than making a string of the line. */
  private readonly isSparing: boolean;
  private root: Key = newRoot();
  private generation: number;
  private keyCount = 0;
  /** The keys of the last line in the order in which they came. */
  private readonly expected: Key[] = [];
  private keyAt = 0;
  private key: Key = this.root;
  private codes: Codes = new Uint8Array(0);
  /** The same, to be read several at once; null where characters are two bytes each. */
  private words: DataView | null = null;
  /** Whether the text is ASCII, so that `words` are all of it. */
  private isAscii = false;
  /** The line's text, null where its characters are taken from `codes`. */
  private text: string | null = null;
  /** The text is codes[from, to). All places below are places in `codes`. */
  private from = 0;
  private to = 0;
  private problem = "";
  /** Where a nested object ends is looked for before it is read. */
  private isCareful = false;
  /** What is read may count for the end of an object around it, though it does not for itself. */
  private mayMislead = false;
  /** Open nested objects: where each begins, and how much had been set before it. */
  private readonly openAt: number[] = [];
  private readonly marks: number[] = [];

  /** Tells when a line needs to be read no further; null when it is always read to its end. */
  private readonly found: AllFound | null;
  /** Whether a label has been set since `found` was asked. */
  private isNews = false;

  constructor(entry: Entry, wanted: ReadonlySet<string> | null, found: AllFound | null) {
    this.entry = entry;
    this.wanted = wanted;
    this.isSparing = wanted !== null && wanted.size <= SPARING_MAX;
    this.found = found;
    this.generation = entry.generation;
  }

  /** Sets the labels of the entry's line. Gives what is wrong with it, or null. */
  read(): string | null {
    const { entry } = this;
    if (this.generation !== entry.generation || this.keyCount > KEYS_MAX) this.forget();
    entry.loadLabels();
    if (this.found?.isDone()) return null;
    entry.loadCodes();
    // Of a line in ASCII no string is made where so little of it is looked at.
    this.text = this.isSparing && entry.codesAreText ? null : entry.text;
    this.codes = entry.codes;
    this.words = entry.words;
    this.isAscii = entry.codesAreText;
    this.from = entry.codesFrom;
    this.to = entry.codesTo;
    this.keyAt = 0;
    const at = skipSpace(this.codes, this.from, this.to);
    if (at === this.to || this.codes[at] !== BRACE) return MALFORMED_OBJECT;
    const { mark } = entry;
    this.isCareful = false;
    this.mayMislead = false;
    if (this.object(this.root, at) !== -1) return null;
    if (this.problem === UNCLEAR) {
      entry.takeBack(mark);
      this.openAt.length = 0;
      this.marks.length = 0;
      this.keyAt = 0;
      this.isCareful = true;
      this.mayMislead = false;
      if (this.object(this.root, at) !== -1) return null;
    }
    this.undoUnclosed();
    return this.problem;
  }

  private forget(): void {
    this.generation = this.entry.generation;
    this.root = newRoot();
    this.expected.length = 0;
    this.keyCount = 0;
  }

  private fails(problem: string): -1 {
    this.problem = problem;
    return -1;
  }

  /** The object whose brace is at `at`. Gives the place behind it, or -1 when it is broken. */
  private object(parent: Key, at: number): number {
    const { codes, to } = this;
    at++;
    for (;;) {
      if (at < to && codes[at] <= 0x20) at = skipSpace(codes, at, to);
      // Nothing inside, or a comma before the end, which is let pass.
      if (at < to && codes[at] === BRACE_END) return at + 1;
      if (at >= to || codes[at] !== QUOTE) return this.fails(MALFORMED_OBJECT);
      at = this.readKey(parent, at);
      if (at === -1) return -1;
      if (at < to && codes[at] <= 0x20) at = skipSpace(codes, at, to);
      if (at >= to || codes[at] !== COLON) return this.fails(MALFORMED_OBJECT);
      at++;
      if (at < to && codes[at] <= 0x20) at = skipSpace(codes, at, to);
      at = this.value(this.key, at);
      if (at === -1) return -1;
      // Not inside a nested object, which may turn out to have no end.
      if (this.isNews && this.openAt.length === 0) {
        this.isNews = false;
        if (this.found?.isDone()) return at;
      }
      if (at < to && codes[at] <= 0x20) at = skipSpace(codes, at, to);
      if (at >= to) return this.fails(MALFORMED_ARRAY);
      if (codes[at] === BRACE_END) return at + 1;
      if (codes[at] !== COMMA) return this.fails(MALFORMED_OBJECT);
      at++;
    }
  }

  /** Reads the key whose quote is at `at` into `key`. Gives the place behind it, or -1. */
  private readKey(parent: Key, at: number): number {
    const { expected } = this;
    const index = this.keyAt++;
    if (index < expected.length) {
      const guess = expected[index];
      if (guess.parent === parent && this.isAt(guess, at)) {
        this.key = guess;
        return at + guess.quoted.length;
      }
    }
    const end = stringEnd(this.codes, at + 1, this.to);
    if (end === -1) return this.fails(MALFORMED_STRING);
    const quoted = this.slice(at, end + 1);
    const key = parent.children.get(quoted) ?? this.learn(parent, quoted);
    if (key === null) return this.fails(MALFORMED_ESCAPE);
    if (index <= expected.length) expected[index] = key;
    this.key = key;
    return end + 1;
  }

  /** Whether the key stands at `at`. */
  private isAt({ quoted, word }: Key, at: number): boolean {
    const { words } = this;
    if (this.isAscii && words !== null) return word !== null && standsAt(word, words, at, this.to);
    return this.text?.startsWith(quoted, at - this.from) === true;
  }

  private slice(from: number, to: number): string {
    return this.text === null ? this.entry.textBetween(from, to) : this.text.slice(from - this.from, to - this.from);
  }

  private learn(parent: Key, slice: string): Key | null {
    // A copy: a slice would keep the whole line alive.
    const quoted = Buffer.from(slice, "utf8").toString("utf8");
    const plain = unescapeJson(quoted.slice(1, -1));
    if (plain === null) return null;
    const part = sanitizePart(plain);
    const joined = parent.name === "" ? part : `${parent.name}_${part}`;
    const name = /^[0-9]/.test(joined) ? `_${joined}` : joined;
    const { wanted } = this;
    const isUseful = part !== "" && (wanted === null || wanted.has(name) || wanted.has(`${name}_extracted`));
    const id = isUseful ? this.entry.id(name) : -1;
    const key: Key = { quoted, word: wordText(quoted), parent, name, id, children: new Map() };
    parent.children.set(quoted, key);
    this.keyCount++;
    return key;
  }

  /** The value at `at`. Gives the place behind it, or -1 when it is broken. */
  private value(key: Key, at: number): number {
    const { codes, to } = this;
    const c = at < to ? codes[at] : 0;
    if (c === QUOTE) return this.string(key, at + 1);
    if (c === BRACE) return this.nested(key, at);
    if (c === BRACKET) return this.array(at);
    const isNumber = c === 0x2d || (c >= 0x30 && c <= 0x39);
    let plain = at;
    if (isNumber) while (plain < to && codes[plain] >= 0x2d && codes[plain] <= 0x39) plain++;
    const end = tokenEnd(codes, plain, to);
    if (isNumber && end > plain && this.mayMislead && hasQuoteOrBrace(codes, plain, end)) return this.fails(UNCLEAR);
    if (isNumber && key.id === -1) return end;
    if (isNumber && this.text === null) {
      this.setAt(key.id, at, end);
      return end;
    }
    const word = this.slice(at, end);
    if (isNumber || word === "true" || word === "false") {
      if (key.id !== -1) this.set(key.id, word);
    } else if (word !== "null") return this.fails(UNKNOWN_VALUE);
    return end;
  }

  /** The array at `at`, stepped over. */
  private array(at: number): number {
    const { codes, to } = this;
    let level = 0;
    let braces = 0;
    let arePaired = true;
    for (; at < to; at++) {
      const c = codes[at];
      if (c === QUOTE) {
        at = stringEnd(codes, at + 1, to);
        if (at === -1) break;
      } else if (c === BRACKET) level++;
      else if (c === BRACKET_END) {
        if (--level > 0) continue;
        return this.mayMislead && (!arePaired || braces !== 0) ? this.fails(UNCLEAR) : at + 1;
      } else if (c === BRACE) braces++;
      else if (c === BRACE_END && --braces < 0) arePaired = false;
    }
    return this.fails(MALFORMED_ARRAY);
  }

  private string(key: Key, start: number): number {
    const { codes, words, to } = this;
    let isPlain = true;
    let at = start;
    for (;;) {
      if (words !== null) at = plainEnd(words, at, to);
      else while (at < to && codes[at] !== QUOTE && codes[at] !== BACKSLASH) at++;
      if (at >= to) return this.fails(MALFORMED_STRING);
      if (codes[at] === QUOTE) break;
      isPlain = false;
      at += 2;
    }
    if (key.id === -1) return at + 1;
    if (isPlain && this.text === null) this.setAt(key.id, start, at);
    else {
      const content = this.slice(start, at);
      this.set(key.id, labelText(isPlain ? content : (unescapeJson(content) ?? "")));
    }
    return at + 1;
  }

  /** A value that stands in the line as it is; only where `text` is null. */
  private setAt(id: number, from: number, to: number): void {
    this.entry.setParsedAt(id, from, to);
    this.isNews = this.found !== null;
  }

  private set(id: number, value: string): void {
    this.entry.setParsed(id, value);
    this.isNews = this.found !== null;
  }

  private nested(key: Key, at: number): number {
    if (this.openAt.length === DEPTH_MAX) return this.fails(MALFORMED_OBJECT);
    this.openAt.push(at);
    this.marks.push(this.entry.mark);
    const { mayMislead } = this;
    this.mayMislead = !this.isCareful;
    const end = this.isCareful ? this.objectWithin(key, at) : this.object(key, at);
    if (end === -1) return -1;
    this.openAt.pop();
    this.marks.pop();
    this.mayMislead = mayMislead;
    return end;
  }

  /** The same as `object`, for one that ends where its brackets say so, whatever it is found to hold. */
  private objectWithin(key: Key, at: number): number {
    const { to } = this;
    const end = blockEnd(this.codes, at, to);
    if (end === -1) return this.fails(MALFORMED_OBJECT);
    this.to = end;
    const found = this.object(key, at);
    this.to = to;
    return found === -1 ? -1 : end;
  }

  /**
   * Labels read before a break stay, but Loki looks for an object's end before it looks inside: those of an object that has
   * no end, as in a line that was cut, were never set.
   */
  private undoUnclosed(): void {
    const open = this.openAt.findIndex((at) => blockEnd(this.codes, at, this.to) === -1);
    if (open !== -1) {
      this.entry.takeBack(this.marks[open]);
      this.problem = MALFORMED_OBJECT;
    }
    this.openAt.length = 0;
    this.marks.length = 0;
  }
}

function newRoot(): Key {
  return { quoted: "", word: wordText(""), parent: null, name: "", id: -1, children: new Map() };
}
