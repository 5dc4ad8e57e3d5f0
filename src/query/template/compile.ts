import { quote } from "../syntax/strings.ts";
import { declare, lastOperand, printed, type Scope, slotOf, ValueCompiler } from "./compile-values.ts";
import type { Branch, Node, Pipe } from "./nodes.ts";
import { CallFailure, type Run, UNSET } from "./run.ts";
import { isTrue, LabelMap, sortedPairs, type Value } from "./values.ts";

export type Body = (run: Run) => "" | "break" | "continue";

/** One template with its sub-templates, turned into closures. */
export class TemplateCompiler extends ValueCompiler {
  private readonly bodies = new Map<string, { body: Body; slots: number }>();

  /** The whole template, and how many variables it has. */
  root(): { body: Body; slots: number } {
    const frame = { slots: 0 };
    const scope: Scope = { rootDot: true, rootDollar: true, vars: new Map(), frame };
    const body = this.list(this.template.root, scope, this.template.name);
    return { body, slots: frame.slots };
  }

  private list(nodes: readonly Node[], scope: Scope, name: string): Body {
    const bodies = nodes.map((node) => this.node(node, scope, name));
    if (bodies.length === 1) return bodies[0];
    return (run) => {
      for (const body of bodies) {
        const jump = body(run);
        if (jump !== "") return jump;
      }
      return "";
    };
  }

  private node(node: Node, scope: Scope, name: string): Body {
    switch (node.type) {
      case "text": {
        const { text } = node;
        return (run) => {
          run.write(text);
          return "";
        };
      }
      case "action":
        return this.action(node.pipe, scope, name);
      case "if":
      case "with":
        return this.condition(node, scope, name);
      case "range":
        return this.range(node, scope, name);
      case "break":
      case "continue":
        return () => node.type;
      case "template":
        return this.invoke(node, scope, name);
    }
  }

  private action(pipe: Pipe, scope: Scope, name: string): Body {
    const value = this.pipe(pipe, scope, name);
    if (pipe.declares.length > 0) {
      return (run) => {
        value(run);
        return "";
      };
    }
    return (run) => {
      const got = value(run);
      run.write(typeof got === "string" ? got : printed(got));
      return "";
    };
  }

  private condition(node: Branch, outer: Scope, name: string): Body {
    const scope = inner(outer);
    const value = this.pipe(node.pipe, scope, name);
    const changesDot = node.type === "with";
    const list = this.list(node.list, inner(changesDot ? { ...scope, rootDot: false } : scope), name);
    const otherwise = node.otherwise === null ? null : this.list(node.otherwise, inner(scope), name);
    return (run) => {
      const got = value(run);
      if (!isTrue(got)) return otherwise === null ? "" : otherwise(run);
      if (!changesDot) return list(run);
      const { dot } = run;
      run.dot = got;
      const jump = list(run);
      run.dot = dot;
      return jump;
    };
  }

  private range(node: Branch, outer: Scope, name: string): Body {
    const scope = inner(outer);
    const { declares, isAssignment } = node.pipe;
    const value = this.pipe({ ...node.pipe, declares: [] }, scope, name);
    const slots = declares.map((variable) => (isAssignment ? slotOf(scope, variable) : declare(scope, variable)));
    const list = this.list(node.list, inner({ ...scope, rootDot: false }), name);
    const otherwise = node.otherwise === null ? null : this.list(node.otherwise, inner(scope), name);
    const each = (run: Run, key: Value, item: Value): boolean => {
      if (slots.length === 1) run.vars[slots[0]] = item;
      else if (slots.length === 2) {
        run.vars[slots[0]] = key;
        run.vars[slots[1]] = item;
      }
      run.node();
      run.dot = item;
      return list(run) !== "break";
    };
    return (run) => {
      const got = value(run);
      const { dot } = run;
      const count = this.iterate(run, got, each, node, declares.length, name);
      run.dot = dot;
      return count || otherwise === null ? "" : otherwise(run);
    };
  }

  /** Whether there was anything to go through. */
  private iterate(
    run: Run,
    value: Value,
    each: (run: Run, key: Value, item: Value) => boolean,
    node: Branch,
    variables: number,
    name: string,
  ): boolean {
    if (value === undefined) return false;
    if (typeof value === "bigint") {
      if (variables > 1) {
        throw this.fail(lastOperand(node.pipe), `can't use ${value} to iterate over more than one variable`, name);
      }
      for (let i = 0n; i < value; i++) if (!each(run, undefined, i)) break;
      return value > 0n;
    }
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) if (!each(run, BigInt(i), value[i])) break;
      return value.length > 0;
    }
    if (value instanceof LabelMap || value instanceof Map) {
      const pairs = sortedPairs(value);
      for (const [key, item] of pairs) if (!each(run, key, item)) break;
      return pairs.length > 0;
    }
    throw this.fail(lastOperand(node.pipe), `range can't iterate over ${printed(value)}`, name);
  }

  private invoke(node: Extract<Node, { type: "template" }>, scope: Scope, name: string): Body {
    const value = node.pipe === null ? () => undefined : this.pipe(node.pipe, scope, name);
    const find = () => this.defined(node.name);
    if (!this.template.defined.has(node.name)) {
      return () => {
        throw this.fail(node, `template ${quote(node.name)} not defined`, name);
      };
    }
    return (run) => {
      const { body, slots } = find();
      const dot = value(run);
      const { dot: outerDot, vars } = run;
      this.guard(run, node, name, () => run.enter());
      run.dot = dot;
      // `$` of the sub-template is what it was given.
      run.vars = new Array<Value | typeof UNSET>(slots).fill(UNSET);
      run.vars[0] = dot;
      body(run);
      run.dot = outerDot;
      run.vars = vars;
      run.depth--;
      return "";
    };
  }

  /** Compiled when it is first called: templates may call each other. */
  private defined(name: string): { body: Body; slots: number } {
    const known = this.bodies.get(name);
    if (known !== undefined) return known;
    const frame = { slots: 1 };
    const scope: Scope = { rootDot: false, rootDollar: false, vars: new Map([["$", 0]]), frame };
    const body = this.list(this.template.defined.get(name) ?? [], scope, name);
    const made = { body, slots: frame.slots };
    this.bodies.set(name, made);
    return made;
  }

  private guard(run: Run, node: Node, name: string, act: (run: Run) => void): void {
    try {
      act(run);
    } catch (error) {
      if (!(error instanceof CallFailure)) throw error;
      throw this.fail(node, error.message, name);
    }
  }
}

/** A scope inside another: what it declares is gone behind it. */
function inner(scope: Scope): Scope {
  return { ...scope, vars: new Map(scope.vars) };
}
