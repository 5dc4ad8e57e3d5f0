import { WeirError } from "../../core/errors.ts";
import { type Body, TemplateCompiler } from "./compile.ts";
import type { TemplateSource } from "./compile-values.ts";
import { isFunction } from "./functions.ts";
import type { Command, Node, Operand, Pipe } from "./nodes.ts";
import { parseTemplate } from "./parser.ts";
import { CallFailure, Run, TemplateFailure } from "./run.ts";
import type { LabelMap } from "./values.ts";

export type { TemplateSource } from "./compile-values.ts";
export { TemplateFailure } from "./run.ts";

/**
 * A Go template over one entry after the other. Made for one `source`, whose present entry each `run` looks at.
 */
export class Template {
  private readonly name: string;
  private readonly labels: LabelMap;
  private readonly body: Body;
  private readonly slots: number;
  private readonly source: TemplateSource;
  private readonly state = new Run();

  /** `name` stands in error texts. Throws WeirError `bad_template` with Go's text. */
  constructor(name: string, text: string, source: TemplateSource) {
    this.name = name;
    this.source = source;
    const compiler = new TemplateCompiler(parseTemplate(name, text, isFunction), source);
    const { body, slots } = compiler.root();
    this.labels = compiler.labels;
    this.body = body;
    this.slots = slots;
  }

  /** The text for the source's entry, or why there is none, in Go's words. */
  run(): string | TemplateFailure {
    const { state } = this;
    state.begin(this.labels, this.slots, this.source.lineBytes());
    try {
      this.body(state);
      return state.out;
    } catch (error) {
      if (error instanceof TemplateFailure) return error;
      if (error instanceof CallFailure) return new TemplateFailure(`template: ${this.name}: ${error.message}`);
      // Blocks in blocks in templates that call each other: the bounds on each are there, the stack ends earlier.
      if (error instanceof RangeError) return new TemplateFailure(`template: ${this.name}: it nests too deeply`);
      throw error;
    }
  }
}

/**
 * What a template looks at: the labels that it names, null for all of them, and whether the line. For a template that can't
 * be parsed: everything, since somebody else will say so.
 */
export function templateNames(text: string): { names: ReadonlySet<string> | null; line: boolean } {
  const names = new Set<string>();
  let all = false;
  let line = false;
  // Inside `with`, `range` and sub-templates dot is something else, but to take its fields for labels does no harm.
  const operand = (node: Operand): void => {
    if (node.type === "dot") all = true;
    else if (node.type === "field") names.add(node.path[0]);
    else if (node.type === "variable" && node.name === "$") {
      if (node.path.length === 0) all = true;
      else names.add(node.path[0]);
    } else if (node.type === "identifier") line ||= node.name === "__line__";
    else if (node.type === "chain") operand(node.inner);
    else if (node.type === "pipe") pipe(node);
  };
  const command = (node: Command): void => node.args.forEach(operand);
  const pipe = (node: Pipe): void => node.commands.forEach(command);
  const walk = (node: Node): void => {
    switch (node.type) {
      case "action":
        pipe(node.pipe);
        break;
      case "if":
      case "with":
      case "range":
        pipe(node.pipe);
        node.list.forEach(walk);
        node.otherwise?.forEach(walk);
        break;
      case "template":
        if (node.pipe !== null) pipe(node.pipe);
    }
  };
  try {
    const { root, defined } = parseTemplate("", text, isFunction);
    root.forEach(walk);
    for (const nodes of defined.values()) nodes.forEach(walk);
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    return { names: null, line: true };
  }
  return { names: all ? null : names, line };
}
