import { RANGE_OPS, VECTOR_OPS } from "./ast.ts";
import { parseError, type QueryError } from "./errors.ts";
import { unquote } from "./strings.ts";
import { parseByteSize, parseGoDuration, parsePromDuration } from "./units.ts";

/*
 * Tokens of LogQL. A token's type is the name that error messages use for it: the text itself for punctuation and
 * keywords, upper case for functions (SUM, RATE) and classes (STRING, NUMBER, IDENTIFIER, DURATION, BYTES, RANGE).
 */
export interface Token {
  readonly type: string;
  /** Text of an identifier, number or flag; value of a string. */
  readonly text: string;
  /** Nanoseconds of a DURATION or RANGE, bytes of a BYTES. */
  readonly value: number;
  readonly offset: number;
  /**
   * Loki loses the line of tokens for which it had to read ahead (`!=`, `[5m]`, `5m`) and reports them as line 0. Clients and
   * tests know those texts, so they are kept.
   */
  readonly lineKnown: boolean;
}

const END = "$end";

/** Names that are functions only when `(`, `by (` or `without (` follows; plain identifiers otherwise. */
const FUNCTIONS = new Map<string, string>([
  ...[...RANGE_OPS, ...VECTOR_OPS, "vector"].map((name): [string, string] => [name, name.toUpperCase()]),
  ["bytes", "BYTES_CONV"],
  ["duration", "DURATION_CONV"],
  ["duration_seconds", "DURATION_SECONDS_CONV"],
  ["label_replace", "label_replace"],
  ["ip", "ip"],
]);

const KEYWORDS = new Set(
  (
    "by without bool on ignoring group_left group_right and or unless offset unwrap json logfmt regexp pattern unpack " +
    "line_format label_format decolorize drop keep"
  ).split(" "),
);

const PUNCTUATION = new Set(["!=", "=~", "!~", "!>", "|=", "|~", "|>", "==", ">=", "<=", ..."=<>|{}()[],.+-*/%^"]);
const FLAGS = /--(?:strict|keep-empty)(?![A-Za-z-])/y;

const BLANK = /(?:[ \t\n\r]+|#[^\n]*)+/y;
const IDENTIFIER = /[\p{L}_][\p{L}\p{Nd}_]*/uy;
const NUMBER =
  /0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[oO][0-7_]*|0[bB][01][01_]*|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]*)?/y;
const DURATION_TAIL = /[\p{N}nuµmshdwy.]+/uy;
const SIGNED_DURATION = /-[\p{N}nuµmshdwy.]+/uy;
const BYTES_TAIL = /[\p{N}BikKMGTP.]+/uy;
const ESCAPE = /\\(?:[abfnrtv\\]|[0-7]{3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})/y;
const CALL = /\s*(?:\(|(?:by|without)\s*\()/iy;

export class Lexer {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
    // A byte order mark is passed over, as Go's scanner does.
    if (text.startsWith("\ufeff")) this.at = 1;
  }

  /** The next token; `$end` again and again at the end. Throws QueryError for what can't be a token. */
  next(): Token {
    this.match(BLANK);
    const offset = this.at;
    const c = this.text[offset];
    if (c === undefined) return this.token(END, "", offset);
    if (c === '"' || c === "`") return this.string(c, offset);
    if (c === "'") return this.charLiteral(offset);
    if (c === "[") return this.range(offset);
    const number = this.match(NUMBER);
    if (number !== null) return this.number(number, offset);
    const name = this.match(IDENTIFIER);
    if (name !== null) return this.name(name, offset);
    if (c === "-") {
      const flag = this.match(FLAGS);
      if (flag !== null) return this.token("FUNCTION_FLAG", flag, offset, 0, false);
      const ns = this.durationAt(SIGNED_DURATION, "");
      if (ns !== null) return this.token("DURATION", "", offset, ns, false);
    }
    const two = this.text.slice(offset, offset + 2);
    if (PUNCTUATION.has(two) && two.length === 2) {
      this.at += 2;
      return this.token(two, two, offset, 0, false);
    }
    const char = String.fromCodePoint(this.text.codePointAt(offset)!);
    if (char === "\0") throw this.error("invalid character NUL", offset);
    this.at += char.length;
    // Any other character passes for an identifier in Loki's lexer, which then has no place for it.
    return this.token(PUNCTUATION.has(char) ? char : "IDENTIFIER", char, offset);
  }

  /** An error at a token, with the position as Loki gives it. */
  errorAt(token: Token, message: string): QueryError {
    return this.error(message, token.offset, token.lineKnown);
  }

  private error(message: string, offset: number, lineKnown = true): QueryError {
    if (this.text === "") return parseError(message);
    const before = this.text.slice(0, offset);
    const lineStart = before.lastIndexOf("\n") + 1;
    const line = lineKnown ? before.split("\n").length : 0;
    return parseError(message, line, [...before.slice(lineStart)].length + 1);
  }

  private token(type: string, text: string, offset: number, value = 0, lineKnown = true): Token {
    return { type, text, value, offset, lineKnown };
  }

  /** Matches a sticky expression here and steps over it. */
  private match(pattern: RegExp): string | null {
    pattern.lastIndex = this.at;
    const m = pattern.exec(this.text);
    if (m === null) return null;
    this.at += m[0].length;
    return m[0];
  }

  private string(quote: string, offset: number): Token {
    const end = quote === "`" ? this.text.indexOf("`", offset + 1) : this.endOfString(quote, offset);
    if (end === -1) throw this.error("literal not terminated", offset);
    this.at = end + 1;
    const value = unquote(this.text.slice(offset, this.at));
    if (value === null) throw this.error("invalid syntax", offset);
    return this.token("STRING", value, offset);
  }

  /** Where the closing quote stands; -1 when the line or the text ends before it. */
  private endOfString(quote: string, offset: number): number {
    for (let i = offset + 1; i < this.text.length; i++) {
      const c = this.text[i];
      if (c === quote) return i;
      if (c === "\n") return -1;
      if (c === "\0") throw this.error("invalid character NUL", offset);
      if (c !== "\\") continue;
      if (this.text[i + 1] === quote) {
        i++;
        continue;
      }
      ESCAPE.lastIndex = i;
      if (!ESCAPE.test(this.text)) throw this.error("invalid char escape", offset);
      i = ESCAPE.lastIndex - 1;
    }
    return -1;
  }

  /** Single quotes are Go's characters, which no rule of the grammar takes. */
  private charLiteral(offset: number): Token {
    const end = this.endOfString("'", offset);
    if (end === -1) throw this.error("literal not terminated", offset);
    this.at = end + 1;
    const text = this.text.slice(offset, this.at);
    if (!/^'(?:\\.+|[^\\])'$/u.test(text)) throw this.error("invalid char literal", offset);
    return this.token("IDENTIFIER", text, offset);
  }

  private range(offset: number): Token {
    const end = this.text.indexOf("]", offset);
    if (end === -1) throw this.error("missing closing ']' in duration", offset, false);
    const duration = parsePromDuration(this.text.slice(offset + 1, end));
    if ("error" in duration) throw this.error(duration.error, offset, false);
    this.at = end + 1;
    return this.token("RANGE", "", offset, duration.ns, false);
  }

  private number(text: string, offset: number): Token {
    const problem = numberProblem(text);
    if (problem !== null) throw this.error(problem, offset);
    const ns = this.durationAt(DURATION_TAIL, text);
    if (ns !== null) return this.token("DURATION", text, offset, ns, false);
    const from = this.at;
    const tail = this.match(BYTES_TAIL);
    if (tail !== null) {
      const size = parseByteSize(text + tail);
      if ("bytes" in size) return this.token("BYTES", text, offset, size.bytes, false);
      this.at = from;
    }
    return this.token("NUMBER", text, offset);
  }

  /** Nanoseconds of a duration here, in Prometheus or Go form; nothing is read where there is none. */
  private durationAt(tail: RegExp, head: string): number | null {
    const from = this.at;
    const rest = this.match(tail);
    if (rest !== null && rest !== "-0") {
      const text = head + rest;
      const isNegative = text[0] === "-";
      const prom = parsePromDuration(isNegative ? text.slice(1) : text);
      const ns = !("ns" in prom) ? parseGoDuration(text) : isNegative ? -prom.ns : prom.ns;
      if (ns !== null) return ns;
    }
    this.at = from;
    return null;
  }

  private name(text: string, offset: number): Token {
    const lower = text.toLowerCase();
    const type = FUNCTIONS.get(lower);
    if (type !== undefined) {
      CALL.lastIndex = this.at;
      return CALL.test(this.text) ? this.token(type, lower, offset) : this.token("IDENTIFIER", text, offset);
    }
    return this.token(KEYWORDS.has(lower) ? lower : "IDENTIFIER", text, offset);
  }
}

/** What Go's scanner says of a malformed number, or null. */
function numberProblem(text: string): string | null {
  if (/__|_$|_\.|\._/.test(text)) return "'_' must separate successive digits";
  if (/^0[xX]/.test(text)) {
    if (!/^0[xX]_?(?:[0-9a-fA-F]|\.[0-9a-fA-F])/.test(text)) return "hexadecimal literal has no digits";
    if (/[pP][+-]?$/.test(text)) return "exponent has no digits";
    if (text.includes(".") && !/[pP]/.test(text)) return "hexadecimal mantissa requires a 'p' exponent";
    return null;
  }
  if (/[eE][+-]?$/.test(text)) return "exponent has no digits";
  const bad = /^0[0-9_]*?([89])[0-9_]*$/.exec(text);
  return bad === null ? null : `invalid digit '${bad[1]}' in octal literal`;
}
