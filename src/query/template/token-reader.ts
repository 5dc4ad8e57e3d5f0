import { WeirError } from "../../core/errors.ts";
import { quote } from "../syntax/strings.ts";
import { lexTemplate, type Token, type TokenType } from "./lexer.ts";

/** Nesting of parentheses, blocks, else-if chains and fields; keeps a hostile template from exhausting the stack. */
export const DEPTH_MAX = 200;

/** The tokens of a template, with any look-ahead, and the parser's error texts. */
export class TokenReader {
  protected at = 0;
  protected depth = 0;
  /** Where the action began that is being read; 0 outside of actions. */
  protected actionLine = 0;
  private readonly name: string;
  private readonly tokens: readonly Token[];

  constructor(name: string, text: string) {
    this.name = name;
    this.tokens = lexTemplate(text);
  }

  protected peek(): Token {
    return this.tokens[Math.min(this.at, this.tokens.length - 1)];
  }

  protected next(): Token {
    const token = this.peek();
    this.at++;
    return token;
  }

  protected skipSpace(): void {
    while (this.peek().type === "space") this.at++;
  }

  protected nextNonSpace(): Token {
    this.skipSpace();
    return this.next();
  }

  protected peekNonSpace(): Token {
    this.skipSpace();
    return this.peek();
  }

  protected expect(type: TokenType, context: string): Token {
    const token = this.nextNonSpace();
    if (token.type !== type) throw this.unexpected(token, context);
    return token;
  }

  protected error(message: string): WeirError {
    const last = this.tokens[Math.max(0, Math.min(this.at, this.tokens.length) - 1)];
    return new WeirError("bad_template", `template: ${this.name}:${last?.line ?? 1}: ${message}`);
  }

  protected unexpected(token: Token, context: string): WeirError {
    if (token.type !== "error") return this.error(`unexpected ${tokenText(token)} in ${context}`);
    let extra = "";
    if (this.actionLine !== 0 && this.actionLine !== token.line) {
      extra = `${token.text.endsWith(" action") ? "" : " in action"} started at ${this.name}:${this.actionLine}`;
    }
    return this.error(token.text + extra);
  }

  protected nested<T>(inner: () => T): T {
    if (this.depth >= DEPTH_MAX) throw this.error("max expression depth exceeded");
    this.depth++;
    const result = inner();
    this.depth--;
    return result;
  }
}

/** A token in error messages. */
function tokenText({ type, text }: Token): string {
  if (type === "eof") return "EOF";
  if (type === "keyword") return `<${text}>`;
  return [...text].length > 10 ? `${quote([...text].slice(0, 10).join(""))}...` : quote(text);
}
