import { NESTING_LIMIT } from "./nesting.ts";
import type { Packer } from "./pack.ts";

/*
 * From JSON to MessagePack without JavaScript's numbers in between: integers of up to 64 bits keep all digits, and names keep
 * their order. The JSON is well-formed: Weir's own (LineSource.json), or text that `JSON.parse` has taken.
 */
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const INTEGER = /^-?\d+$/;
const INT64_MIN = -(1n << 63n);
const UINT64_MAX = (1n << 64n) - 1n;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** A member of an object that its reader wants to know of. */
export interface Watched {
  readonly name: string;
  /** Whether it is written as well. */
  readonly isKept: boolean;
}

/**
 * Writes a JSON object as a MessagePack map. Gives the JSON of the value of the member that is watched; null where there is none.
 * Throws for text that is none, and for one that is nested deeper than NESTING_LIMIT; what was written by then is to be dropped.
 */
export function packJson(text: string, out: Packer, watched?: Watched): string | null {
  return new Transcoder(text, out).root(watched);
}

class Transcoder {
  private readonly text: string;
  private readonly out: Packer;
  private at = 0;
  private depth = 0;

  constructor(text: string, out: Packer) {
    this.text = text;
    this.out = out;
  }

  root(watched?: Watched): string | null {
    let seen: string | null = null;
    this.object((name, start, before) => {
      if (watched === undefined || name !== watched.name) return true;
      seen = this.text.slice(start, this.at).trim();
      if (!watched.isKept) this.out.rewind(before);
      return watched.isKept;
    });
    return seen;
  }

  /** `keeps` is told of each member, where its value starts, and the length of the output before it. */
  private object(keeps: (name: string, start: number, before: number) => boolean = () => true): void {
    this.blank();
    this.expect("{");
    this.enter();
    const map = this.out.begin("map");
    let count = 0;
    for (let isFirst = true; ; isFirst = false) {
      this.blank();
      if (this.text[this.at] === "}") break;
      if (!isFirst) {
        this.expect(",");
        this.blank();
      }
      const before = this.out.length;
      const name = this.string();
      this.blank();
      this.expect(":");
      const start = this.at;
      this.value();
      if (keeps(name, start, before)) count++;
    }
    this.at++;
    this.depth--;
    this.out.end(map, count);
  }

  private value(): void {
    this.blank();
    const first = this.text[this.at];
    if (first === '"') this.string();
    else if (first === "{") this.object();
    else if (first === "[") this.list();
    else if (first === "t") this.word("true", 0xc3);
    else if (first === "f") this.word("false", 0xc2);
    else if (first === "n") this.word("null", 0xc0);
    else this.number();
  }

  private enter(): void {
    if (++this.depth > NESTING_LIMIT) throw new Error(`a record is nested deeper than ${NESTING_LIMIT}`);
  }

  private list(): void {
    this.at++;
    this.enter();
    const array = this.out.begin("array");
    let count = 0;
    for (this.blank(); this.text[this.at] !== "]"; this.blank()) {
      if (count > 0) this.expect(",");
      this.value();
      count++;
    }
    this.at++;
    this.depth--;
    this.out.end(array, count);
  }

  private string(): string {
    const { text } = this;
    const start = this.at;
    this.expect('"');
    let escaped = false;
    for (; ; this.at++) {
      if (this.at >= text.length) throw this.bad();
      const code = text.charCodeAt(this.at);
      if (code === QUOTE) break;
      if (code === BACKSLASH) {
        escaped = true;
        this.at++;
      }
    }
    this.at++;
    const raw = text.slice(start, this.at);
    const value = escaped ? (JSON.parse(raw) as string) : raw.slice(1, -1);
    this.out.text(value);
    return value;
  }

  private number(): void {
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text)?.[0];
    if (found === undefined) throw this.bad();
    this.at += found.length;
    this.out.number(exact(found));
  }

  private word(word: string, byte: number): void {
    if (!this.text.startsWith(word, this.at)) throw this.bad();
    this.at += word.length;
    this.out.byte(byte);
  }

  private blank(): void {
    while (this.text.charCodeAt(this.at) <= 0x20) this.at++;
  }

  private expect(char: string): void {
    if (this.text[this.at] !== char) throw this.bad();
    this.at++;
  }

  private bad(): Error {
    return new Error(`a record's JSON is broken at character ${this.at}`);
  }
}

function exact(text: string): number | bigint {
  const number = Number(text);
  if (Number.isSafeInteger(number) || !INTEGER.test(text)) return number;
  const whole = BigInt(text);
  return whole >= INT64_MIN && whole <= UINT64_MAX ? whole : number;
}
