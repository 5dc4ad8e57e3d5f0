import type { Codes, Entry } from "./entry.ts";

/**
 * Takes a line apart into `key=value` pairs: one after the other, without building anything but key and value.
 * Values are bare or in double quotes with Go's escapes. A malformed pair (`=x`, `a=1=2`, an unterminated quote, a key that is not
 * UTF-8) gives an error, and reading goes on after the next space.
 * The rules are those of github.com/go-logfmt/logfmt as Loki has them, error texts included.
 */
export class LogfmtScanner {
  private text = "";
  private codes: Codes = new Uint8Array(0);
  /** The text is codes[from, to). `at` and the parameters below are places in `codes`. */
  private from = 0;
  private to = 0;
  private at = 0;
  /** Some of the text is not UTF-8. */
  private isBroken = false;
  /** Places in the text. */
  keyFrom = 0;
  keyTo = 0;
  /** The value as it stands; for a quoted one what is between the quotes. */
  valueFrom = 0;
  valueTo = 0;
  /** The value's text where it had escapes; null for text[valueFrom, valueTo). */
  unescaped: string | null = null;
  private problem = "";
  private problemAt = 0;

  open(entry: Entry): void {
    entry.loadCodes();
    this.text = entry.text;
    this.codes = entry.codes;
    this.from = entry.codesFrom;
    this.to = entry.codesTo;
    this.at = this.from;
    this.isBroken = !entry.codesAreText && this.text.includes("\ufffd");
  }

  /** Goes to the next pair. "end" after the last; "bad" for a malformed one, which is stepped over. */
  next(): "pair" | "bad" | "end" {
    const { codes, from, to } = this;
    let at = this.at;
    while (at < to && codes[at] <= 0x20) at++;
    const start = at;
    this.keyFrom = start - from;
    this.unescaped = null;
    if (at === to) {
      this.at = at;
      return "end";
    }
    for (; at < to; at++) {
      const c = codes[at];
      if (c === 0x3d) {
        if (at === start) return this.unexpected("=", at);
        this.keyTo = at - from;
        return this.isBroken && this.isKeyBroken() ? this.bad("invalid key", at) : this.value(at + 1);
      }
      if (c === 0x22) return this.unexpected('"', at);
      if (c <= 0x20) break;
    }
    this.keyTo = at - from;
    this.valueFrom = at - from;
    this.valueTo = at - from;
    this.at = at;
    return this.isBroken && this.isKeyBroken() ? this.bad("invalid key", at) : "pair";
  }

  private isKeyBroken(): boolean {
    return this.text.slice(this.keyFrom, this.keyTo).includes("\ufffd");
  }

  private value(at: number): "pair" | "bad" {
    const { codes, from, to } = this;
    if (at < to && codes[at] === 0x22) return this.quoted(at);
    this.valueFrom = at - from;
    for (; at < to; at++) {
      const c = codes[at];
      if (c <= 0x20) break;
      if (c === 0x3d || c === 0x22) return this.unexpected(c === 0x3d ? "=" : '"', at);
    }
    this.valueTo = at - from;
    this.at = at;
    return "pair";
  }

  private quoted(quote: number): "pair" | "bad" {
    const { codes, from, to } = this;
    let escaped = false;
    for (let at = quote + 1; at < to; at++) {
      const c = codes[at];
      if (c === 0x5c) {
        escaped = true;
        at++;
      } else if (c === 0x22) {
        this.valueFrom = quote + 1 - from;
        this.valueTo = at - from;
        this.at = at + 1;
        if (!escaped) return "pair";
        this.unescaped = unquoteLogfmt(this.text.slice(this.valueFrom, this.valueTo));
        if (this.unescaped !== null) return "pair";
        this.note("invalid quoted value", at + 1);
        return "bad";
      }
    }
    this.note("unterminated quoted value", to);
    return this.skip(quote);
  }

  private unexpected(char: string, at: number): "bad" {
    return this.bad(`unexpected '${char}'`, at);
  }

  private bad(what: string, at: number): "bad" {
    this.note(what, at);
    return this.skip(at);
  }

  private skip(at: number): "bad" {
    while (at < this.to && this.codes[at] > 0x20) at++;
    this.at = at;
    return "bad";
  }

  private note(what: string, at: number): void {
    this.problem = what;
    this.problemAt = at - this.from;
  }

  /** What is wrong with the pair that was stepped over last. */
  get error(): string {
    // Positions count bytes, from 1.
    const position = 1 + Buffer.byteLength(this.text.slice(0, this.problemAt));
    return `logfmt syntax error at pos ${position} : ${this.problem}`;
  }
}

const ESCAPE = /\\(?:(["\\/'])|([bfnrt])|u([0-9a-fA-F]{4}))|\\/g;
const LETTERS: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/** Resolves the escapes of a quoted value, which are JSON's and `\'`; null for any other. */
function unquoteLogfmt(content: string): string | null {
  let valid = true;
  const out = content.replace(ESCAPE, (_, plain?: string, letter?: string, unicode?: string) => {
    if (plain !== undefined) return plain;
    if (letter !== undefined) return LETTERS[letter];
    if (unicode !== undefined) return String.fromCharCode(Number.parseInt(unicode, 16));
    valid = false;
    return "";
  });
  if (!valid || /[\x00-\x1f]/.test(content)) return null;
  // Surrogates that found no partner.
  return Buffer.from(out, "utf8").toString("utf8");
}
