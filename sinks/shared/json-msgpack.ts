import type { Packer } from "./pack.ts";

/*
 * From JSON to MessagePack without JavaScript's numbers in between: integers of up to 64 bits keep all digits, and names keep
 * their order. The JSON is Weir's own (LineSource.json), so it is well-formed.
 */
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const INTEGER = /^-?\d+$/;
const INT64_MIN = -(1n << 63n);
const UINT64_MAX = (1n << 64n) - 1n;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Writes a JSON object as a MessagePack map. Throws for text that is none; what was written by then is to be dropped. */
export function packJson(text: string, out: Packer): void {
  new Transcoder(text, out).object();
}

class Transcoder {
  private readonly text: string;
  private readonly out: Packer;
  private at = 0;

  constructor(text: string, out: Packer) {
    this.text = text;
    this.out = out;
  }

  object(): void {
    this.blank();
    this.expect("{");
    const map = this.out.begin("map");
    let count = 0;
    for (this.blank(); this.text[this.at] !== "}"; this.blank()) {
      if (count > 0) {
        this.expect(",");
        this.blank();
      }
      this.string();
      this.blank();
      this.expect(":");
      this.value();
      count++;
    }
    this.at++;
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

  private list(): void {
    this.at++;
    const array = this.out.begin("array");
    let count = 0;
    for (this.blank(); this.text[this.at] !== "]"; this.blank()) {
      if (count > 0) this.expect(",");
      this.value();
      count++;
    }
    this.at++;
    this.out.end(array, count);
  }

  private string(): void {
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
    this.out.text(escaped ? (JSON.parse(raw) as string) : raw.slice(1, -1));
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
