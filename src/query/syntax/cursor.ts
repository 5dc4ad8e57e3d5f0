import type { QueryError } from "./errors.ts";
import { Lexer, type Token } from "./lexer.ts";

/**
 * Deepest nesting of parentheses, operators and filters. Real queries stay below 20; a bound keeps a hostile one from
 * exhausting the stack, here and in whoever walks the tree later.
 */
export const DEPTH_MAX = 500;

/** One token of look-ahead over a query, and the error texts that Loki's grammar gives. */
export class Cursor {
  private readonly lexer: Lexer;
  private ahead: Token | null = null;
  private depth = 0;

  constructor(text: string) {
    this.lexer = new Lexer(text);
  }

  peek(): Token {
    this.ahead ??= this.lexer.next();
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
    throw this.lexer.errorAt(this.peek(), `query nests too deeply (more than ${DEPTH_MAX} levels)`);
  }
}
