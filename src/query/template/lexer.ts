/*
 * Tokens of Go's text/template, with the positions, trimming and error texts of its own lexer.
 * Positions are places in the JavaScript string.
 */
export type TokenType =
  | "error"
  | "eof"
  | "text"
  | "space"
  | "leftDelim"
  | "rightDelim"
  | "leftParen"
  | "rightParen"
  | "pipe"
  | "assign"
  | "declare"
  | "char"
  | "charConstant"
  | "number"
  | "complex"
  | "string"
  | "rawString"
  | "bool"
  | "identifier"
  | "field"
  | "variable"
  | "keyword";

export interface Token {
  readonly type: TokenType;
  readonly pos: number;
  readonly text: string;
  /** Counted from 1. */
  readonly line: number;
}

const KEYWORDS = new Set("block break continue define else end if range nil template with".split(" "));
const WORD = /[\p{L}\p{Nd}_]*/uy;
const SPACES = /[ \t\r\n]*/y;
const NUMBER =
  /[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[oO][0-7_]*(?:\.[0-7_]*)?|0[bB][01_]*(?:\.[01_]*)?|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?/y;
const QUOTED = /"(?:[^"\\\n]|\\[^\n])*"/y;
const CHARACTER = /'(?:[^'\\\n]|\\[^\n])*'/y;
/** What may follow a name. */
const TERMINATOR = /[ \t\r\n.,|:)(]|\}\}|$/y;

/** All tokens of a template; an "error" or "eof" is the last. */
export function lexTemplate(input: string): Token[] {
  return new TemplateLexer(input).run();
}

class TemplateLexer {
  private readonly input: string;
  private readonly tokens: Token[] = [];
  private at = 0;
  private start = 0;
  private line = 1;
  private parens = 0;

  constructor(input: string) {
    this.input = input;
  }

  run(): Token[] {
    while (this.text()) {
      // An action follows.
      while (!this.atRightDelim()) {
        const problem = this.inside();
        if (problem !== null) return this.fails(problem);
      }
      if (this.parens > 0) return this.fails("unclosed left paren");
      this.rightDelim();
    }
    return this.tokens;
  }

  private emit(type: TokenType): void {
    const text = this.input.slice(this.start, this.at);
    this.tokens.push({ type, pos: this.start, text, line: this.line });
    this.skip();
  }

  /** Steps over input[start, at) without a token. */
  private skip(): void {
    for (let i = this.input.indexOf("\n", this.start); i !== -1 && i < this.at; i = this.input.indexOf("\n", i + 1)) {
      this.line++;
    }
    this.start = this.at;
  }

  private fails(message: string): Token[] {
    this.tokens.push({ type: "error", pos: this.start, text: message, line: this.line });
    return this.tokens;
  }

  private matches(pattern: RegExp, at: number): string | null {
    pattern.lastIndex = at;
    return pattern.exec(this.input)?.[0] ?? null;
  }

  /** Text and comments up to the next action; false at the end. */
  private text(): boolean {
    const { input } = this;
    for (;;) {
      const open = input.indexOf("{{", this.at);
      if (open === -1) {
        this.at = input.length;
        if (this.at > this.start) this.emit("text");
        this.emit("eof");
        return false;
      }
      const trims = input[open + 2] === "-" && isSpace(input[open + 3]);
      let end = open;
      if (trims) while (end > this.start && isSpace(input[end - 1])) end--;
      this.at = end;
      if (end > this.start) this.emit("text");
      this.at = open;
      this.skip();
      const inside = open + (trims ? 4 : 2);
      if (!input.startsWith("/*", inside)) {
        this.at = open + 2;
        this.emit("leftDelim");
        this.at = inside;
        this.skip();
        this.parens = 0;
        return true;
      }
      this.at = inside;
      this.skip();
      const close = input.indexOf("*/", inside + 2);
      if (close === -1) {
        this.fails("unclosed comment");
        return false;
      }
      this.at = close + 2;
      if (!this.atRightDelim()) {
        this.fails("comment ends before closing delimiter");
        return false;
      }
      this.stepOverRightDelim();
    }
  }

  private atRightDelim(): boolean {
    return this.input.startsWith("}}", this.at) || this.atTrimmedDelim();
  }

  private atTrimmedDelim(): boolean {
    return isSpace(this.input[this.at]) && this.input.startsWith("-}}", this.at + 1);
  }

  private rightDelim(): void {
    const trims = this.atTrimmedDelim();
    if (trims) {
      this.at += 2;
      this.skip();
    }
    this.at += 2;
    this.emit("rightDelim");
    if (trims) this.trimAfter();
  }

  private stepOverRightDelim(): void {
    const trims = this.atTrimmedDelim();
    this.at += trims ? 4 : 2;
    this.skip();
    if (trims) this.trimAfter();
  }

  private trimAfter(): void {
    this.at += this.matches(SPACES, this.at)?.length ?? 0;
    this.skip();
  }

  /** One token of an action. Gives what is wrong, or null. */
  private inside(): string | null {
    const { input, at } = this;
    const c = input[at];
    if (c === undefined) return "unclosed action";
    if (isSpace(c)) return this.space();
    this.at++;
    switch (c) {
      case "=":
        return this.done("assign");
      case ":":
        if (input[this.at] !== "=") return "expected :=";
        this.at++;
        return this.done("declare");
      case "|":
        return this.done("pipe");
      case '"':
        return this.pattern(QUOTED, "string", "unterminated quoted string");
      case "'":
        return this.pattern(CHARACTER, "charConstant", "unterminated character constant");
      case "`": {
        const end = input.indexOf("`", this.at);
        if (end === -1) return "unterminated raw quoted string";
        this.at = end + 1;
        return this.done("rawString");
      }
      case "$":
        return this.name("variable");
      case "(":
        this.parens++;
        return this.done("leftParen");
      case ")":
        if (--this.parens < 0) return "unexpected right paren";
        return this.done("rightParen");
      case ".":
        if (!isDigit(input[this.at])) return this.name("field");
    }
    if (c === "." || c === "+" || c === "-" || isDigit(c)) return this.number(at);
    const char = String.fromCodePoint(input.codePointAt(at) ?? 0);
    if (/[\p{L}\p{Nd}_]/u.test(char)) return this.identifier(at);
    if (c > " " && c <= "~") return this.done("char");
    return `unrecognized character in action: ${unicodeName(char)}`;
  }

  private done(type: TokenType): null {
    this.emit(type);
    return null;
  }

  /** A run of spaces, but for the one that belongs to a trimming delimiter. */
  private space(): null {
    this.at += this.matches(SPACES, this.at)?.length ?? 0;
    if (this.input.startsWith("-}}", this.at)) {
      this.at--;
      if (this.at === this.start) return null;
    }
    return this.done("space");
  }

  private pattern(pattern: RegExp, type: TokenType, problem: string): string | null {
    const text = this.matches(pattern, this.at - 1);
    if (text === null) return problem;
    this.at += text.length - 1;
    return this.done(type);
  }

  /** A field or a variable, whose first character has been read. */
  private name(type: "field" | "variable"): string | null {
    if (this.atTerminator()) {
      if (type === "variable") return this.done("variable");
      return this.done("keyword"); // The dot.
    }
    this.at += this.matches(WORD, this.at)?.length ?? 0;
    return this.atTerminator() ? this.done(type) : this.badCharacter();
  }

  private identifier(at: number): string | null {
    this.at = at + (this.matches(WORD, at)?.length ?? 0);
    if (!this.atTerminator()) return this.badCharacter();
    const word = this.input.slice(this.start, this.at);
    return this.done(KEYWORDS.has(word) ? "keyword" : word === "true" || word === "false" ? "bool" : "identifier");
  }

  private badCharacter(): string {
    return `bad character ${unicodeName(String.fromCodePoint(this.input.codePointAt(this.at) ?? 0))}`;
  }

  private atTerminator(): boolean {
    return this.matches(TERMINATOR, this.at) !== null;
  }

  private number(at: number): string | null {
    const first = this.matches(NUMBER, at) ?? "";
    this.at = at + first.length;
    let type: TokenType = "number";
    if (!this.atWord() && (this.input[this.at] === "+" || this.input[this.at] === "-")) {
      const second = this.matches(NUMBER, this.at) ?? "";
      this.at += second.length;
      type = "complex";
      if (!second.endsWith("i")) return this.badNumber();
    }
    return this.atWord() ? this.badNumber() : this.done(type);
  }

  private atWord(): boolean {
    return (this.matches(WORD, this.at)?.length ?? 0) > 0;
  }

  private badNumber(): string {
    if (this.atWord()) this.at++;
    return `bad number syntax: ${JSON.stringify(this.input.slice(this.start, this.at))}`;
  }
}

function isSpace(c: string | undefined): boolean {
  return c === " " || c === "\t" || c === "\r" || c === "\n";
}

function isDigit(c: string | undefined): boolean {
  return c !== undefined && c >= "0" && c <= "9";
}

/** As Go's `%#U`: `U+0040 '@'`. */
function unicodeName(char: string): string {
  const code = (char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  return /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u.test(char) ? `U+${code}` : `U+${code} '${char}'`;
}
