import { quote, unquote } from "../syntax/strings.ts";
import type { Token, TokenType } from "./lexer.ts";
import type { Branch, Command, Node, Operand, Pipe } from "./nodes.ts";
import { parseNumber } from "./numbers.ts";
import { DEPTH_MAX, TokenReader } from "./token-reader.ts";

export interface ParsedTemplate {
  readonly name: string;
  readonly text: string;
  readonly root: readonly Node[];
  /** What `define` and `block` made. */
  readonly defined: ReadonlyMap<string, readonly Node[]>;
}

/**
 * Parses a Go template. `name` stands in error texts; `isFunction` says which functions there are.
 * Throws WeirError `bad_template` with Go's text: "template: line:1: unclosed action".
 */
export function parseTemplate(name: string, text: string, isFunction: (name: string) => boolean): ParsedTemplate {
  const parser = new TemplateParser(name, text, isFunction);
  const root = parser.root();
  return { name, text, root, defined: parser.defined };
}

type ListEnd = "end" | "else" | "else if" | "else with";

class TemplateParser extends TokenReader {
  readonly defined = new Map<string, readonly Node[]>();
  private readonly isFunction: (name: string) => boolean;
  private vars: string[] = ["$"];
  private ranges = 0;

  constructor(name: string, text: string, isFunction: (name: string) => boolean) {
    super(name, text);
    this.isFunction = isFunction;
  }

  root(): Node[] {
    const nodes: Node[] = [];
    while (this.peek().type !== "eof") {
      const found = this.textOrAction();
      if (typeof found === "string") throw this.error(`unexpected {{${found}}}`);
      if (found !== null) nodes.push(found);
    }
    return nodes;
  }

  // Lists and actions

  private list(): { nodes: Node[]; end: ListEnd } {
    const nodes: Node[] = [];
    while (this.peekNonSpace().type !== "eof") {
      const found = this.textOrAction();
      if (typeof found === "string") return { nodes, end: found };
      if (found !== null) nodes.push(found);
    }
    this.next();
    throw this.error("unexpected EOF");
  }

  /** A node; null for a definition, which leaves nothing; or the word that ends a list. */
  private textOrAction(): Node | ListEnd | null {
    const token = this.nextNonSpace();
    if (token.type === "text") return { type: "text", pos: token.pos, text: token.text };
    if (token.type !== "leftDelim") throw this.unexpected(token, "input");
    this.actionLine = token.line;
    const node = this.action();
    this.actionLine = 0;
    return node;
  }

  private action(): Node | ListEnd | null {
    const token = this.peekNonSpace();
    if (token.type === "keyword") {
      const word = token.text;
      if (word !== "." && word !== "nil") this.next();
      switch (word) {
        case "if":
        case "with":
        case "range":
          return this.nested(() => this.control(word));
        case "end":
          this.expect("rightDelim", "end");
          return "end";
        case "else":
          return this.otherwise();
        case "break":
        case "continue":
          return this.jump(word, token.pos);
        case "define":
          return this.define();
        case "block":
          return this.nested(() => this.block());
        case "template":
          return this.invoke();
      }
    }
    return { type: "action", pos: token.pos, pipe: this.pipeline("command", "rightDelim") };
  }

  private jump(word: "break" | "continue", pos: number): Node {
    const token = this.nextNonSpace();
    if (token.type !== "rightDelim") throw this.unexpected(token, `{{${word}}}`);
    if (this.ranges === 0) throw this.error(`{{${word}}} outside {{range}}`);
    return { type: word, pos };
  }

  private otherwise(): ListEnd {
    const token = this.peekNonSpace();
    if (token.type === "keyword" && (token.text === "if" || token.text === "with")) return `else ${token.text}`;
    this.expect("rightDelim", "else");
    return "else";
  }

  private control(type: Branch["type"]): Branch {
    const scope = this.vars.length;
    const pipe = this.pipeline(type, "rightDelim");
    if (type === "range") this.ranges++;
    const { nodes, end } = this.list();
    if (type === "range") this.ranges--;
    let otherwise: Node[] | null = null;
    if (end === `else ${type}` && type !== "range") {
      this.nextNonSpace();
      otherwise = [this.nested(() => this.control(type))];
    } else if (end !== "end") {
      const rest = this.list();
      if (rest.end !== "end") throw this.error(`expected end; found {{${rest.end}}}`);
      otherwise = rest.nodes;
    }
    this.vars.length = scope;
    return { type, pos: pipe.pos, pipe, list: nodes, otherwise };
  }

  private define(): null {
    const context = "define clause";
    // Only at the top level, as Go has it.
    if (this.depth > 0) throw this.error("unexpected <define> in command");
    const name = this.templateName(context);
    this.expect("rightDelim", context);
    this.body(name, context);
    return null;
  }

  private block(): Node {
    const context = "block clause";
    const { pos } = this.peekNonSpace();
    const name = this.templateName(context);
    const pipe = this.pipeline(context, "rightDelim");
    this.body(name, context);
    return { type: "template", pos, name, pipe };
  }

  private body(name: string, context: string): void {
    const { vars, ranges } = this;
    this.vars = ["$"];
    this.ranges = 0;
    const { nodes, end } = this.nested(() => this.list());
    if (end !== "end") throw this.error(`unexpected {{${end}}} in ${context}`);
    this.vars = vars;
    this.ranges = ranges;
    const known = this.defined.get(name);
    if (known === undefined || isEmpty(known)) this.defined.set(name, nodes);
    else if (!isEmpty(nodes)) throw this.error(`template: multiple definition of template ${quote(name)}`);
  }

  private invoke(): Node {
    const context = "template clause";
    const { pos } = this.peekNonSpace();
    const name = this.templateName(context);
    if (this.peekNonSpace().type === "rightDelim") {
      this.next();
      return { type: "template", pos, name, pipe: null };
    }
    return { type: "template", pos, name, pipe: this.pipeline(context, "rightDelim") };
  }

  private templateName(context: string): string {
    const token = this.nextNonSpace();
    if (token.type !== "string" && token.type !== "rawString") throw this.unexpected(token, context);
    return this.unquoted(token.text);
  }

  private unquoted(text: string): string {
    const value = unquote(text);
    if (value === null) throw this.error("invalid syntax");
    return value;
  }

  // Pipelines

  private pipeline(context: string, end: TokenType): Pipe {
    const { pos } = this.peekNonSpace();
    const { declares, isAssignment } = this.declarations(context);
    const commands: Command[] = [];
    for (;;) {
      const token = this.peekNonSpace();
      if (token.type === end) {
        this.next();
        break;
      }
      if (!beginsOperand(token)) {
        this.next();
        throw this.unexpected(token, context);
      }
      commands.push(this.command());
    }
    if (commands.length === 0) throw this.error(`missing value for ${context}`);
    for (let i = 1; i < commands.length; i++) {
      const { type } = commands[i].args[0];
      if (type === "bool" || type === "dot" || type === "nil" || type === "number" || type === "string") {
        throw this.error(`non executable command in pipeline stage ${i + 1}`);
      }
    }
    return { type: "pipe", pos, declares, isAssignment, commands };
  }

  private declarations(context: string): { declares: string[]; isAssignment: boolean } {
    const declares: string[] = [];
    for (;;) {
      const variable = this.peekNonSpace();
      if (variable.type !== "variable") return { declares, isAssignment: false };
      const from = this.at;
      this.next();
      const token = this.peekNonSpace();
      if (token.type === "assign" || token.type === "declare") {
        this.next();
        declares.push(variable.text);
        this.vars.push(variable.text);
        return { declares, isAssignment: token.type === "assign" };
      }
      if (token.type !== "char" || token.text !== ",") {
        this.at = from;
        return { declares, isAssignment: false };
      }
      this.next();
      declares.push(variable.text);
      this.vars.push(variable.text);
      if (context !== "range" || declares.length > 1) throw this.error(`too many declarations in ${context}`);
      const { type } = this.peekNonSpace();
      if (type !== "variable" && type !== "rightDelim" && type !== "rightParen") {
        throw this.error("range can only initialize variables");
      }
    }
  }

  private command(): Command {
    const { pos } = this.peekNonSpace();
    const args: Operand[] = [];
    for (;;) {
      this.skipSpace();
      const operand = this.operand();
      if (operand !== null) args.push(operand);
      const token = this.peek();
      if (token.type === "space") {
        this.next();
        continue;
      }
      if (token.type === "pipe") this.next();
      else if (token.type !== "rightDelim" && token.type !== "rightParen") {
        this.next();
        throw this.unexpected(token, "operand");
      }
      break;
    }
    if (args.length === 0) throw this.error("empty command");
    return { type: "command", pos, args };
  }

  private operand(): Operand | null {
    const term = this.term();
    if (term === null || this.peek().type !== "field") return term;
    const { pos } = this.peek();
    const path: string[] = [];
    while (this.peek().type === "field") path.push(this.next().text.slice(1));
    if (path.length > DEPTH_MAX) throw this.error("max expression depth exceeded");
    switch (term.type) {
      case "field":
      case "variable":
        return { ...term, pos, path: [...term.path, ...path] };
      case "bool":
      case "string":
      case "number":
      case "nil":
      case "dot":
        throw this.error(`unexpected . after term ${quote(termText(term))}`);
      default:
        return { type: "chain", pos, inner: term, path };
    }
  }

  private term(): Operand | null {
    const token = this.peekNonSpace();
    const { pos, text } = token;
    this.next();
    switch (token.type) {
      case "identifier":
        if (!this.isFunction(text)) throw this.error(`function ${quote(text)} not defined`);
        return { type: "identifier", pos, name: text };
      case "keyword":
        if (text === ".") return { type: "dot", pos };
        if (text === "nil") return { type: "nil", pos };
        break;
      case "variable":
        if (!this.vars.includes(text)) throw this.error(`undefined variable ${quote(text)}`);
        return { type: "variable", pos, name: text, path: [] };
      case "field":
        return { type: "field", pos, path: [text.slice(1)] };
      case "bool":
        return { type: "bool", pos, value: text === "true" };
      case "number":
      case "complex":
      case "charConstant": {
        const number = parseNumber(text, pos);
        if (typeof number === "string") throw this.error(number);
        return number;
      }
      case "string":
      case "rawString":
        return { type: "string", pos, quoted: text, value: this.unquoted(text) };
      case "leftParen":
        return this.nested(() => this.pipeline("parenthesized pipeline", "rightParen"));
    }
    this.at--;
    return null;
  }
}

function beginsOperand({ type, text }: Token): boolean {
  switch (type) {
    case "bool":
    case "charConstant":
    case "complex":
    case "field":
    case "identifier":
    case "number":
    case "rawString":
    case "string":
    case "variable":
    case "leftParen":
      return true;
    case "keyword":
      return text === "." || text === "nil";
    default:
      return false;
  }
}

function termText(term: Operand): string {
  return term.type === "string"
    ? term.quoted
    : term.type === "number"
      ? term.text
      : term.type === "dot"
        ? "."
        : term.type === "nil"
          ? "nil"
          : term.type === "bool"
            ? String(term.value)
            : "";
}

/** Nothing but white space, so that a later definition of the name may take its place. */
function isEmpty(nodes: readonly Node[]): boolean {
  return nodes.every((node) => node.type === "text" && node.text.trim() === "");
}
