import type { ItemBudget } from "./item-budget.ts";
import { unescapeJson } from "./json-escapes.ts";
import { PushError, type Sliced } from "./stream.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const POINT = 0x2e;
const LETTER_E = 0x65;
const DEPTH_MAX = 128;
/** Longest run of space: far more than an indentation, and soon passed over. */
const SPACE_MAX = 64 << 10;
/** JSON's numbers and literals, at the cursor. */
const PLAIN = /(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)/y;
/** Longest number or literal that is read: digits beyond that mean nothing. Nearly all are much shorter. */
const PLAIN_BYTES_MAX = 1024;
const PLAIN_BYTES_USUAL = 24;

/** Bytes of a string that are looked at in one go where `attempt` lets others have a turn: about three milliseconds. */
const STRING_SLICE_BYTES = 1 << 20;
/** The same of values that nobody wants: their parts may be two bytes each. */
const SKIP_SLICE_BYTES = 64 << 10;
/** Thrown within `attempt` for a string, or a value to be skipped, that goes on. */
const PAUSE = Symbol("pause");

/** A string of more than a slice, as far as it is known. */
interface LongString {
  /** Looked at up to here. */
  at: number;
  /** Behind its quote; -1 while that was not found. */
  end: number;
  escapes: boolean;
  /** What it is without its escapes, as far as it was made. */
  plain: { out: Buffer; length: number; at: number } | null;
}

/** A value that is gone over, as far as that has come. */
interface SkippedValue {
  at: number;
  /** Objects and arrays around the place. */
  readonly open: (typeof OBJECT | typeof ARRAY)[];
  next: "value" | "first" | "more" | "done";
}

export const OBJECT = 0x7b;
export const ARRAY = 0x5b;
export const STRING = QUOTE;

/**
 * Walks JSON text as it stands in bytes, so that strings without escapes are never copied and numbers keep their text.
 * Every method throws PushError 400 for what is not JSON, or not what it wants.
 */
export class JsonCursor {
  readonly bytes: Buffer;
  /** Counts what is decoded, for decoders that have no place of their own to. */
  readonly items: ItemBudget | null;
  at = 0;
  private mayPause = false;
  /** By their places, within `attempt`. At most as many as the body has slices. */
  private readonly long = new Map<number, LongString>();
  private readonly skipped = new Map<number, SkippedValue>();

  constructor(bytes: Buffer, items: ItemBudget | null = null) {
    this.bytes = bytes;
    this.items = items;
  }

  /**
   * Runs `read` in such a way that no long string holds up others. Null when there is more to do: the cursor is where it was then, and
   * the call is to be repeated, once others had a turn, until it gives something; what was found of long strings is not lost.
   */
  attempt<T>(read: (cursor: this) => NonNullable<T>): NonNullable<T> | null {
    const start = this.at;
    this.mayPause = true;
    try {
      const value = read(this);
      if (this.long.size > 0) this.long.clear();
      if (this.skipped.size > 0) this.skipped.clear();
      return value;
    } catch (error) {
      if (error !== PAUSE) throw error;
      this.at = start;
      return null;
    } finally {
      this.mayPause = false;
    }
  }

  /** The same to its end. */
  *whole<T>(read: (cursor: this) => NonNullable<T>): Sliced<NonNullable<T>> {
    for (let value = this.attempt(read); ; value = this.attempt(read)) {
      if (value !== null) return value;
      yield;
    }
  }

  /** The first byte of the next value or sign; -1 at the end. */
  peek(): number {
    const { bytes } = this;
    let c = bytes[this.at];
    if (c <= 0x20) {
      const stop = this.at + SPACE_MAX;
      while (c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09) {
        if (this.at >= stop) throw this.bad(`want no more than ${SPACE_MAX} bytes of space on end`);
        c = bytes[++this.at];
      }
    }
    return this.at < bytes.length ? c : -1;
  }

  /** Goes into an object or array. */
  open(sign: typeof OBJECT | typeof ARRAY): void {
    if (this.peek() !== sign) throw this.bad(`want ${sign === OBJECT ? "an object" : "an array"}`);
    this.at++;
  }

  /**
   * Whether another member of the opened object or array follows; goes behind its end otherwise. `isFirst`: none was read yet.
   */
  more(sign: typeof OBJECT | typeof ARRAY, isFirst: boolean): boolean {
    const c = this.peek();
    if (c === sign + 2) {
      this.at++;
      return false;
    }
    if (isFirst) return true;
    if (c !== COMMA) throw this.bad("want a comma or an end");
    this.at++;
    if (this.peek() === sign + 2) throw this.bad("want a value after the comma");
    return true;
  }

  /** A member's name, and goes behind its colon. */
  key(): string {
    const text = this.text();
    this.colon();
    return text;
  }

  private colon(): void {
    if (this.peek() !== COLON) throw this.bad("want a colon");
    this.at++;
  }

  text(): string {
    const { bytes } = this;
    this.peek();
    const start = this.at;
    const escapes = this.skipString();
    this.items?.takeText(this.at - start);
    if (escapes) return this.unescape(start).toString("utf8");
    return bytes.toString("utf8", start + 1, this.at - 1);
  }

  /** A string's bytes: a view where it has no escapes. */
  textBytes(): Buffer {
    this.peek();
    const start = this.at;
    return this.skipString() ? this.unescape(start) : this.bytes.subarray(start + 1, this.at - 1);
  }

  /** The next value as its text in the JSON. */
  raw(): string {
    this.peek();
    const start = this.at;
    this.skip();
    return this.bytes.toString("utf8", start, this.at);
  }

  /** Goes behind the next value, whatever it is. */
  skip(): void {
    const c = this.peek();
    if (c !== OBJECT && c !== ARRAY) {
      this.skipScalar(c);
      return;
    }
    const start = this.at;
    const state = this.skipped.get(start) ?? { at: start, open: [], next: "value" };
    this.at = state.at;
    try {
      const stop = this.mayPause ? state.at + SKIP_SLICE_BYTES : Number.POSITIVE_INFINITY;
      while (state.next !== "done") {
        if (this.at > stop) throw PAUSE;
        state.next = this.skipStep(state);
        // Only what is done as a whole counts: a pause within a step has it done again.
        state.at = this.at;
      }
    } catch (error) {
      if (error === PAUSE) this.skipped.set(start, state);
      throw error;
    }
    if (state.at - start > SKIP_SLICE_BYTES && this.mayPause) this.skipped.set(start, state);
  }

  /** Reads one value or sign of what is skipped, and says what comes after it. */
  private skipStep({ open, next }: SkippedValue): SkippedValue["next"] {
    if (next === "value") {
      const c = this.peek();
      if (c === OBJECT || c === ARRAY) {
        if (open.length === DEPTH_MAX) throw this.bad("nested too deep");
        this.at++;
        open.push(c);
        return "first";
      }
      this.skipScalar(c);
      return open.length === 0 ? "done" : "more";
    }
    const sign = open[open.length - 1];
    if (this.more(sign, next === "first")) {
      if (sign === OBJECT) {
        this.skipString();
        this.colon();
      }
      return "value";
    }
    open.pop();
    return open.length === 0 ? "done" : "more";
  }

  /** A string, number or literal, whose first byte is `c`. */
  private skipScalar(c: number): void {
    if (c === STRING) {
      this.skipString();
      return;
    }
    // Most numbers are whole ones, which need no look at the pattern.
    if (c >= 0x31 && c <= 0x39) {
      let end = this.at + 1;
      while (isDigit(this.bytes[end])) end++;
      const next = this.bytes[end];
      if (next !== POINT && (next | 0x20) !== LETTER_E) {
        this.at = end;
        return;
      }
    }
    this.plain();
  }

  /** The same in slices, for values that may be as large as a body. */
  skipping(): Sliced<true> {
    return this.whole(skipOne);
  }

  /** A number, `true`, `false` or `null` as its text. */
  plain(): string {
    this.peek();
    const read = (most: number) => {
      PLAIN.lastIndex = 0;
      return PLAIN.exec(this.bytes.toString("latin1", this.at, this.at + most));
    };
    let match = read(PLAIN_BYTES_USUAL);
    if (match?.[0].length === PLAIN_BYTES_USUAL) match = read(PLAIN_BYTES_MAX);
    if (match === null) throw this.bad("want a value");
    this.at += match[0].length;
    return match[0];
  }

  /** Whether the next value is `null`; goes behind it then. */
  takeNull(): boolean {
    if (this.peek() !== 0x6e) return false;
    this.plain();
    return true;
  }

  /** To be called at the end: nothing but space may follow. */
  end(): void {
    if (this.peek() !== -1) throw this.bad("want the end");
  }

  bad(wanted: string): PushError {
    const { bytes, at } = this;
    const found = at < bytes.length ? JSON.stringify(bytes.toString("utf8", at, at + 20)) : "the end";
    return new PushError(
      400,
      `couldn't read the JSON body: ${wanted}, got ${found}, at byte ${Math.min(at, bytes.length)}`,
    );
  }

  /** Goes behind a string; true when it has escapes. */
  private skipString(): boolean {
    if (this.peek() !== QUOTE) throw this.bad("want a string");
    const { bytes } = this;
    const { length } = bytes;
    const known = this.long.size === 0 ? undefined : this.long.get(this.at);
    if (known !== undefined && known.end !== -1) {
      this.at = known.end;
      return known.escapes;
    }
    let escapes = known?.escapes ?? false;
    let at = known?.at ?? this.at + 1;
    const mayStop = this.mayPause || this.items !== null;
    const stop = mayStop ? Math.min(length, at + STRING_SLICE_BYTES) : length;
    for (; at < stop; at++) {
      const c = bytes[at];
      if (c === QUOTE) {
        if (known !== undefined) Object.assign(known, { end: at + 1, escapes });
        this.at = at + 1;
        return escapes;
      }
      if (c === BACKSLASH) {
        escapes = true;
        at++;
      } else if (c < 0x20) break;
    }
    if (at >= stop && stop < length) {
      if (!this.mayPause) {
        // A name of a megabyte, where nobody can be given a turn.
        this.items?.takeText(at - this.at);
        throw this.bad("want a shorter name");
      }
      this.long.set(this.at, { at, end: -1, escapes, plain: null });
      throw PAUSE;
    }
    this.at = at;
    throw this.bad(at < length ? "want an escape for a control character" : "want the string's end");
  }

  /** The string from `start` to before the cursor without its escapes. */
  private unescape(start: number): Buffer {
    const end = this.at - 1;
    const long = this.long.size === 0 ? undefined : this.long.get(start);
    const plain = long?.plain ?? { out: Buffer.allocUnsafe(end - start - 1), length: 0, at: start + 1 };
    if (long !== undefined) long.plain = plain;
    const stop = this.mayPause && long !== undefined ? Math.min(end, plain.at + STRING_SLICE_BYTES) : end;
    if (!unescapeJson(this.bytes, stop, end, plain)) {
      this.at = start;
      throw this.bad("want a string with JSON's escapes");
    }
    if (plain.at < end) throw PAUSE;
    return plain.out.subarray(0, plain.length);
  }
}

const isDigit = (c: number): boolean => c >= 0x30 && c <= 0x39;

/** A member's name, for `whole`. */
export const keyOf = (cursor: JsonCursor): string => cursor.key();

function skipOne(cursor: JsonCursor): true {
  cursor.skip();
  return true;
}
