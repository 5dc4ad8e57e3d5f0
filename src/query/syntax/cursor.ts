import { isPlainChoice } from "../../codec/re2.ts";
import type { QueryError } from "./errors.ts";
import { Lexer, type Token } from "./lexer.ts";

/**
 * Deepest nesting of parentheses, operators and filters. Real queries stay below 20; a bound keeps a hostile one from
 * exhausting the stack, here and in whoever walks the tree later.
 */
export const DEPTH_MAX = 500;

/**
 * Most tokens of a query: real ones have some dozens, and a list of a thousand ids has 2000. What is built of so many takes some 50 ms at most;
 * of the 40,000 that 128 KiB may hold it would take most of a second.
 */
const TOKENS_MAX = 4000;
/** Most characters of all texts of a query that are compiled: regular expressions, templates, patterns, paths. */
const COMPILED_MAX = 16_384;
/** What a text counts for besides its characters: to compile a short regular expression takes up to 0.3 ms. */
const COMPILED_BASE = 100;

/** What has been read of a query, or of several that are one request: it has bounds. */
export class Spent {
  tokens = 0;
  compiled = 0;
}

/** One token of look-ahead over a query, and the error texts that Loki's grammar gives. */
export class Cursor {
  private readonly lexer: Lexer;
  private ahead: Token | null = null;
  private depth = 0;
  private readonly spent: Spent;
  /** What is to be made sure of once it is known that the query is not too large: in the order of the text. */
  private readonly checks: (() => void)[] = [];
  private isTooMuch = false;

  constructor(text: string, spent = new Spent()) {
    this.lexer = new Lexer(text);
    this.spent = spent;
  }

  peek(): Token {
    if (this.ahead === null) {
      this.ahead = this.lexer.next();
      if (++this.spent.tokens > TOKENS_MAX) {
        this.isTooMuch = true;
        throw this.lexer.errorAt(
          this.ahead,
          `query has too many parts (more than ${TOKENS_MAX} words, texts and signs)`,
        );
      }
    }
    return this.ahead;
  }

  next(): Token {
    const token = this.peek();
    this.ahead = null;
    return token;
  }

  is(type: string): boolean {
    return this.peek().type === type;
  }

  /** The next token, which must be a string that is going to be compiled. */
  compiledText(): string {
    const token = this.expect("STRING");
    this.chargeCompiled(token, token.text.length);
    return token.text;
  }

  /** The same for a regular expression that has to match the whole of a text, of which long plain choices cost little. */
  anchoredRegex(): string {
    const token = this.expect("STRING");
    this.chargeCompiled(token, isPlainChoice(token.text) ? 0 : token.text.length);
    return token.text;
  }

  /** Counts a string that has been read to what the query has to compile. Throws when that comes to too much. */
  chargeCompiled(token: Token, characters: number): void {
    this.spent.compiled += COMPILED_BASE + characters;
    if (this.spent.compiled <= COMPILED_MAX) return;
    this.isTooMuch = true;
    const what = "characters of regular expressions, templates and patterns";
    throw this.lexer.errorAt(token, `query has too much to compile (more than ${COMPILED_MAX} ${what})`);
  }

  /** Leaves what takes time, such as compiling, until `checked` does it. */
  later(check: () => void): void {
    this.checks.push(check);
  }

  /**
   * Runs `parse`, and what it has left for later. That comes before what `parse` fails with, since it stands before it in the text;
   * but a query that is too large is refused without.
   */
  checked<T>(parse: () => T): T {
    try {
      return parse();
    } finally {
      if (!this.isTooMuch) for (const check of this.checks) check();
    }
  }

  /** Steps over a token of this type, if it is the next. */
  take(type: string): boolean {
    if (!this.is(type)) return false;
    this.next();
    return true;
  }

  /** The next token, which must be of one of these types; they are named in the error where there are at most four. */
  expect(...types: string[]): Token {
    if (!types.includes(this.peek().type)) throw this.unexpected(types);
    return this.next();
  }

  /** A label name. Loki's lexer lets other letters and characters pass as identifiers and fails later. */
  identifier(): string {
    const token = this.expect("IDENTIFIER");
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(token.text)) return token.text;
    throw this.lexer.errorAt(token, `invalid label name: ${JSON.stringify(token.text)}`);
  }

  /** The error for the next token. Like Bison, the grammar's tool says nothing of what it wanted beyond four choices. */
  unexpected(expected: readonly string[] = []): QueryError {
    const token = this.peek();
    const wanted = expected.length > 0 && expected.length <= 4 ? `, expecting ${expected.join(" or ")}` : "";
    return this.lexer.errorAt(token, `syntax error: unexpected ${token.type}${wanted}`);
  }

  /** Runs `inner` one level deeper. */
  nested<T>(inner: () => T): T {
    this.checkDepth(1);
    this.depth++;
    const result = inner();
    this.depth--;
    return result;
  }

  /** Throws when `more` levels on top of the present ones are too many. */
  checkDepth(more: number): void {
    if (this.depth + more <= DEPTH_MAX) return;
    this.isTooMuch = true;
    throw this.lexer.errorAt(this.peek(), `query nests too deeply (more than ${DEPTH_MAX} levels)`);
  }
}
