import { quote } from "../syntax/strings.ts";
import { textOf } from "./format-value.ts";
import { FUNCTIONS } from "./functions.ts";
import { TIME_METHODS } from "./functions-time.ts";
import { type Command, type Node, type NumberNode, nodeText, type Operand, type Pipe } from "./nodes.ts";
import type { ParsedTemplate } from "./parser.ts";
import { CallFailure, type Run, TemplateFailure, UNSET } from "./run.ts";
import { fits, KIND_NAMES, type Kind, type TemplateFunction } from "./signature.ts";
import { GoTime } from "./time.ts";
import { isTrue, LabelMap, typeName, type Value } from "./values.ts";
import { UTC } from "./zones.ts";

/** Where a template finds the entry. */
export interface TemplateSource {
  /** A way to a label's value, "" when it is absent. Asked for once for each name that the template writes out. */
  label(name: string): () => string;
  /** The same for a name that only the entry tells. */
  find(name: string): string;
  /** All labels, sorted by name. */
  labels(): readonly (readonly [string, string])[];
  line(): string;
  /** About how many bytes the line has. */
  lineBytes(): number;
  /** Nanoseconds since 1970. */
  timeNs(): bigint;
}

/** Gives a value. `before` is what the command before it in the pipeline gave, where there is one: the last argument. */
export type Eval = (run: Run, before?: Value) => Value;

export interface Scope {
  /** Whether dot is the entry's labels here. */
  readonly rootDot: boolean;
  /** Whether `$` is. */
  readonly rootDollar: boolean;
  readonly vars: Map<string, number>;
  /** Slots for variables in this template. */
  readonly frame: { slots: number };
}

/** Turns pipelines and what they are made of into closures. `name` is everywhere the template's that they stand in, for errors. */
export class ValueCompiler {
  readonly labels: LabelMap;
  protected readonly template: ParsedTemplate;
  private readonly source: TemplateSource;

  constructor(template: ParsedTemplate, source: TemplateSource) {
    this.template = template;
    this.source = source;
    this.labels = new LabelMap(
      (name) => source.find(name),
      () => source.labels(),
    );
  }

  protected fail(node: Operand | Command | Node, message: string, name: string): TemplateFailure {
    const { text } = this.template;
    const before = text.slice(0, node.pos);
    const lineStart = before.lastIndexOf("\n") + 1;
    const line = before.split("\n").length;
    const column = Buffer.byteLength(before.slice(lineStart));
    const where = `${this.template.name}:${line}:${column}`;
    return new TemplateFailure(`template: ${where}: executing ${quote(name)} at <${nodeText(node)}>: ${message}`);
  }

  protected pipe(pipe: Pipe, scope: Scope, name: string): Eval {
    const steps = pipe.commands.map((command, i) => this.command(command, i > 0, scope, name));
    const [first, ...rest] = steps;
    const value: Eval =
      rest.length === 0 ? first : (run) => rest.reduce((before, step) => step(run, before), first(run));
    if (pipe.declares.length === 0) return value;
    const slots = pipe.declares.map((variable) =>
      pipe.isAssignment ? slotOf(scope, variable) : declare(scope, variable),
    );
    const evaluate = value;
    return (run) => {
      const got = evaluate(run);
      for (const slot of slots) run.vars[slot] = got;
      return got;
    };
  }

  /** `isPiped`: there is a command before it. */
  private command(command: Command, isPiped: boolean, scope: Scope, name: string): Eval {
    const [first, ...args] = command.args;
    switch (first.type) {
      case "identifier":
        return this.call(first.name, command, args, isPiped, scope, name);
      case "field":
        return this.fields(this.dot(scope), first.path, first, args, isPiped, scope, name, scope.rootDot);
      case "chain":
        return this.fields(
          this.operand(first.inner, scope, name),
          first.path,
          first,
          args,
          isPiped,
          scope,
          name,
          false,
        );
      case "variable":
        if (first.path.length > 0) {
          const isRoot = first.name === "$" && scope.rootDollar;
          const variable = this.variable(first, scope, name);
          return this.fields(variable, first.path, first, args, isPiped, scope, name, isRoot);
        }
    }
    if (args.length > 0 || isPiped) {
      return () => {
        throw this.fail(first, `can't give argument to non-function ${nodeText(first)}`, name);
      };
    }
    if (first.type === "nil") {
      return () => {
        throw this.fail(first, "nil is not a command", name);
      };
    }
    return this.operand(first, scope, name);
  }

  private dot(scope: Scope): Eval {
    if (!scope.rootDot) return (run) => run.dot;
    const { labels } = this;
    return () => labels;
  }

  /** The value of an operand that stands by itself or as an argument of any type. */
  private operand(node: Operand, scope: Scope, name: string): Eval {
    switch (node.type) {
      case "dot":
        return this.dot(scope);
      case "nil":
        return () => undefined;
      case "bool":
      case "string": {
        const { value } = node;
        return () => value;
      }
      case "number": {
        const value = idealConstant(node);
        return () => value;
      }
      case "field":
        return this.fields(this.dot(scope), node.path, node, [], false, scope, name, scope.rootDot);
      case "variable": {
        const variable = this.variable(node, scope, name);
        if (node.path.length === 0) return variable;
        const isRoot = node.name === "$" && scope.rootDollar;
        return this.fields(variable, node.path, node, [], false, scope, name, isRoot);
      }
      case "identifier":
        return this.call(node.name, node, [], false, scope, name);
      case "chain":
        if (node.inner.type === "nil") {
          return () => {
            throw this.fail(node, `indirection through explicit nil in ${nodeText(node)}`, name);
          };
        }
        return this.fields(this.operand(node.inner, scope, name), node.path, node, [], false, scope, name, false);
      case "pipe":
        return this.pipe(node, scope, name);
    }
  }

  private variable(node: Extract<Operand, { type: "variable" }>, scope: Scope, name: string): Eval {
    if (node.name === "$" && scope.rootDollar) {
      const { labels } = this;
      return () => labels;
    }
    const slot = slotOf(scope, node.name);
    return (run) => {
      const value = run.vars[slot];
      if (value === UNSET) throw this.fail(node, `undefined variable: ${node.name}`, name);
      return value;
    };
  }

  /** `.a.b.c`: keys of maps or methods of times; the last gets the arguments. `isRoot`: the receiver is the entry's labels. */
  private fields(
    receiver: Eval,
    path: readonly string[],
    node: Operand,
    args: readonly Operand[],
    isPiped: boolean,
    scope: Scope,
    name: string,
    isRoot: boolean,
  ): Eval {
    if (isRoot && path.length === 1 && args.length === 0 && !isPiped) {
      const read = this.source.label(path[0]);
      return (run) => {
        run.node();
        return read();
      };
    }
    const at = lastOperand(node);
    const reads = path.map((field, i) => (isRoot && i === 0 ? this.source.label(field) : null));
    const values = args.map((arg) => this.operand(arg, scope, name));
    const hasArgs = args.length > 0 || isPiped;
    return (run, before) => {
      let value = receiver(run);
      // Of nothing at all every field is nothing; what a map has no value for has no fields.
      if (value === undefined) return undefined;
      let isOfMap = false;
      for (let i = 0; i < path.length; i++) {
        run.node();
        const field = path[i];
        const takesArgs = hasArgs && i === path.length - 1;
        if (value instanceof GoTime) {
          const given = takesArgs ? values.map((one) => one(run)) : [];
          if (takesArgs && isPiped) given.push(before);
          value = this.method(run, value, field, given, at, name);
        } else if (value instanceof LabelMap || value instanceof Map) {
          if (takesArgs) throw this.fail(at, `${field} is not a method but has arguments`, name);
          isOfMap = value instanceof Map;
          value = reads[i]?.() ?? value.get(field);
        } else if (value === undefined) {
          throw this.fail(at, `nil pointer evaluating interface {}.${field}`, name);
        } else {
          const type = isOfMap ? "interface {}" : typeName(value);
          throw this.fail(at, `can't evaluate field ${field} in type ${type}`, name);
        }
      }
      return value;
    };
  }

  private method(run: Run, time: GoTime, field: string, given: Value[], node: Operand, name: string): Value {
    const method = TIME_METHODS.get(field);
    if (method === undefined) throw this.fail(node, `can't evaluate field ${field} in type time.Time`, name);
    if (!isCount(method, given.length)) throw this.wrongCount(method, given.length, field, node, name);
    given.forEach((value, i) => {
      this.check(value, method.params[i], node, name);
    });
    return this.invokeFunction(run, method, [time, ...given], field, node, name);
  }

  // Functions

  private call(
    fn: string,
    node: Command | Operand,
    args: readonly Operand[],
    isPiped: boolean,
    scope: Scope,
    name: string,
  ): Eval {
    if (fn === "and" || fn === "or") return this.shortCircuit(fn, node, args, isPiped, scope, name);
    if (fn === "__line__" || fn === "__timestamp__") return this.special(fn, node, args, isPiped, name);
    const signature = FUNCTIONS.get(fn);
    if (signature === undefined) throw new Error(`the parser let function ${fn} pass`);
    const { params, rest } = signature;
    const kindOf = (i: number): Kind => (i < params.length ? params[i] : (rest ?? "any"));
    const values = args.map((arg, i) => this.argument(arg, kindOf(i), scope, name));
    const count = values.length + (isPiped ? 1 : 0);
    if (!isCount(signature, count)) {
      return () => {
        // With any number of arguments Go does not count the one that was piped in.
        throw this.wrongCount(signature, signature.rest === null ? count : values.length, fn, node, name);
      };
    }
    const lastKind = kindOf(count - 1);
    // Where Go stands when it looks at the value that was piped in.
    const lastArg =
      args.length > 0 ? lastOperand(args[args.length - 1]) : node.type === "command" ? node.args[0] : node;
    return (run, before) => {
      const given = new Array<Value>(count);
      for (let i = 0; i < values.length; i++) given[i] = values[i](run);
      if (isPiped) {
        this.check(before, lastKind, lastArg, name);
        given[count - 1] = before;
      }
      return this.invokeFunction(run, signature, given, fn, node, name);
    };
  }

  private invokeFunction(
    run: Run,
    { call }: TemplateFunction,
    args: readonly Value[],
    fn: string,
    node: Command | Operand,
    name: string,
  ): Value {
    try {
      run.node();
      for (const arg of args) if (typeof arg === "string") run.spend(arg.length);
      return call(args, run);
    } catch (error) {
      if (!(error instanceof CallFailure)) throw error;
      throw this.fail(node, `error calling ${fn}: ${error.message}`, name);
    }
  }

  private shortCircuit(
    fn: "and" | "or",
    node: Command | Operand,
    args: readonly Operand[],
    isPiped: boolean,
    scope: Scope,
    name: string,
  ): Eval {
    const values = args.map((arg) => this.operand(arg, scope, name));
    if (values.length === 0 && !isPiped) {
      return () => {
        throw this.fail(node, `wrong number of args for ${fn}: want at least 1 got 0`, name);
      };
    }
    return (run, before) => {
      let got: Value;
      for (const value of values) {
        got = value(run);
        if (isTrue(got) === (fn === "or")) return got;
      }
      return isPiped ? before : got;
    };
  }

  private special(
    fn: "__line__" | "__timestamp__",
    node: Command | Operand,
    args: readonly Operand[],
    isPiped: boolean,
    name: string,
  ): Eval {
    const count = args.length + (isPiped ? 1 : 0);
    if (count > 0) {
      return () => {
        const where = node.type === "command" ? node.args[0] : node;
        throw this.fail(where, `wrong number of args for ${fn}: want 0 got ${count}`, name);
      };
    }
    const { source } = this;
    return fn === "__line__" ? () => source.line() : () => GoTime.ofNs(source.timeNs(), UTC);
  }

  /** An argument as a parameter of this kind wants it; what can't fit fails when it is run, as in Go. */
  private argument(node: Operand, kind: Kind, scope: Scope, name: string): Eval {
    const wrong = (message: string) => () => {
      throw this.fail(node, message, name);
    };
    if (kind === "any") return this.operand(node, scope, name);
    switch (node.type) {
      case "nil":
        return wrong(`cannot assign nil to ${KIND_NAMES[kind]}`);
      case "bool":
      case "string":
      case "number": {
        const value = constantAs(node, kind);
        if (value !== null) return () => value;
        if (kind === "time") return wrong(`can't handle ${nodeText(node)} for arg of type time.Time`);
        return wrong(
          `expected ${kind === "int" ? "integer" : kind === "float64" ? "float" : kind}; found ${nodeText(node)}`,
        );
      }
    }
    const value = this.operand(node, scope, name);
    const last = lastOperand(node);
    return (run) => {
      const got = value(run);
      this.check(got, kind, last, name);
      return got;
    };
  }

  private check(value: Value, kind: Kind, node: Command | Operand, name: string): void {
    if (fits(value, kind)) return;
    if (value === undefined) throw this.fail(node, `invalid value; expected ${KIND_NAMES[kind]}`, name);
    throw this.fail(node, `wrong type for value; expected ${KIND_NAMES[kind]}; got ${typeName(value)}`, name);
  }

  private wrongCount(
    { params, rest }: TemplateFunction,
    count: number,
    fn: string,
    node: Command | Operand,
    name: string,
  ): TemplateFailure {
    const want = rest === null ? `${params.length}` : `at least ${params.length}`;
    return this.fail(
      node.type === "command" ? node.args[0] : node,
      `wrong number of args for ${fn}: want ${want} got ${count}`,
      name,
    );
  }
}

/** What is looked at last of an operand, which is where Go stands when the value turns out to be of no use. */
export function lastOperand(operand: Operand): Operand {
  if (operand.type === "chain") return lastOperand(operand.inner);
  if (operand.type !== "pipe") return operand;
  const { args } = operand.commands[operand.commands.length - 1];
  return lastOperand(args[args.length - 1]);
}

function isCount({ params, rest }: TemplateFunction, count: number): boolean {
  return rest === null ? count === params.length : count >= params.length;
}

export function declare(scope: Scope, variable: string): number {
  const slot = scope.frame.slots++;
  scope.vars.set(variable, slot);
  return slot;
}

/** A variable that only another branch declares has a slot that is never set. */
export function slotOf(scope: Scope, variable: string): number {
  return scope.vars.get(variable) ?? declare(scope, variable);
}

export function printed(value: Value): string {
  return value === undefined ? "<no value>" : textOf(value);
}

/** A constant where nothing says what type is wanted: its spelling does. */
function idealConstant({ text, int, float }: NumberNode): Value {
  const isFloat = /[.eEpP]/.test(text) && !/^[+-]?0[xX][0-9a-fA-F_]*$/.test(text) && text[0] !== "'";
  return isFloat || int === null ? (float ?? undefined) : int;
}

function constantAs(node: Extract<Operand, { type: "bool" | "string" | "number" }>, kind: Kind): Value | null {
  switch (kind) {
    case "string":
      return node.type === "string" ? node.value : null;
    case "int":
      return node.type === "number" ? node.int : null;
    case "float64":
      return node.type === "number" ? node.float : null;
    default:
      return null;
  }
}
