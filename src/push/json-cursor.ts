import type { ItemBudget } from "./item-budget.ts";
import { PushError } from "./stream.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const DEPTH_MAX = 128;
/** JSON's numbers and literals, at the cursor. */
const PLAIN = /(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)/y;
/** Longest number or literal that is read: digits beyond that mean nothing. */
const PLAIN_BYTES_MAX = 1024;

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

  constructor(bytes: Buffer, items: ItemBudget | null = null) {
    this.bytes = bytes;
    this.items = items;
  }

  /** The first byte of the next value or sign; -1 at the end. */
  peek(): number {
    const { bytes } = this;
    let c = bytes[this.at];
    while (c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09) c = bytes[++this.at];
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
    if (this.peek() !== COLON) throw this.bad("want a colon");
    this.at++;
    return text;
  }

  text(): string {
    const { bytes } = this;
    this.peek();
    const start = this.at;
    return this.skipString() ? this.unescape(start) : bytes.toString("utf8", start + 1, this.at - 1);
  }

  /** A string's bytes: a view where it has no escapes. */
  textBytes(): Buffer {
    this.peek();
    const start = this.at;
    return this.skipString() ? Buffer.from(this.unescape(start)) : this.bytes.subarray(start + 1, this.at - 1);
  }

  /** The next value as its text in the JSON. */
  raw(): string {
    this.peek();
    const start = this.at;
    this.skip();
    return this.bytes.toString("utf8", start, this.at);
  }

  /** Goes behind the next value, whatever it is. */
  skip(depth = 0): void {
    const c = this.peek();
    if (c === STRING) {
      this.skipString();
      return;
    }
    if (c !== OBJECT && c !== ARRAY) {
      this.plain();
      return;
    }
    if (depth === DEPTH_MAX) throw this.bad("nested too deep");
    this.at++;
    for (let isFirst = true; this.more(c, isFirst); isFirst = false) {
      if (c === OBJECT) this.key();
      this.skip(depth + 1);
    }
  }

  /** A number, `true`, `false` or `null` as its text. */
  plain(): string {
    this.peek();
    const text = this.bytes.toString("latin1", this.at, this.at + PLAIN_BYTES_MAX);
    PLAIN.lastIndex = 0;
    const match = PLAIN.exec(text);
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
    let escapes = false;
    let at = this.at + 1;
    for (; at < length; at++) {
      const c = bytes[at];
      if (c === QUOTE) {
        this.at = at + 1;
        return escapes;
      }
      if (c === BACKSLASH) {
        escapes = true;
        at++;
      } else if (c < 0x20) break;
    }
    this.at = at;
    throw this.bad(at < length ? "want an escape for a control character" : "want the string's end");
  }

  private unescape(start: number): string {
    const text = this.bytes.toString("utf8", start, this.at);
    try {
      return JSON.parse(text) as string; // It begins with a quote.
    } catch {
      this.at = start;
      throw this.bad("want a string with JSON's escapes");
    }
  }
}
