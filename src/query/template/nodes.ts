/*
 * A parsed template. `pos` is the place in the template's text, for errors.
 */
export type Operand =
  | { readonly type: "dot"; readonly pos: number }
  | { readonly type: "nil"; readonly pos: number }
  | { readonly type: "bool"; readonly pos: number; readonly value: boolean }
  | NumberNode
  | { readonly type: "string"; readonly pos: number; readonly quoted: string; readonly value: string }
  | { readonly type: "field"; readonly pos: number; readonly path: readonly string[] }
  | { readonly type: "variable"; readonly pos: number; readonly name: string; readonly path: readonly string[] }
  | { readonly type: "identifier"; readonly pos: number; readonly name: string }
  | { readonly type: "chain"; readonly pos: number; readonly inner: Operand; readonly path: readonly string[] }
  | Pipe;

/** A constant under all the types that can hold it. */
export interface NumberNode {
  readonly type: "number";
  readonly pos: number;
  readonly text: string;
  readonly int: bigint | null;
  readonly float: number | null;
}

export interface Command {
  readonly type: "command";
  readonly pos: number;
  readonly args: readonly Operand[];
}

export interface Pipe {
  readonly type: "pipe";
  readonly pos: number;
  /** Names of variables, `$` included. */
  readonly declares: readonly string[];
  readonly isAssignment: boolean;
  readonly commands: readonly Command[];
}

export type Node =
  | { readonly type: "text"; readonly pos: number; readonly text: string }
  | { readonly type: "action"; readonly pos: number; readonly pipe: Pipe }
  | Branch
  | { readonly type: "break" | "continue"; readonly pos: number }
  | { readonly type: "template"; readonly pos: number; readonly name: string; readonly pipe: Pipe | null };

export interface Branch {
  readonly type: "if" | "with" | "range";
  readonly pos: number;
  readonly pipe: Pipe;
  readonly list: readonly Node[];
  readonly otherwise: readonly Node[] | null;
}

/** A node's text as Go's error messages show it. */
export function nodeText(node: Operand | Command | Node): string {
  switch (node.type) {
    case "dot":
      return ".";
    case "nil":
      return "nil";
    case "bool":
      return String(node.value);
    case "number":
      return node.text;
    case "string":
      return node.quoted;
    case "field":
      return `.${node.path.join(".")}`;
    case "variable":
      return [node.name, ...node.path].join(".");
    case "identifier":
      return node.name;
    case "chain":
      return [node.inner.type === "pipe" ? `(${nodeText(node.inner)})` : nodeText(node.inner), ...node.path].join(".");
    case "command":
      return node.args.map((arg) => (arg.type === "pipe" ? `(${nodeText(arg)})` : nodeText(arg))).join(" ");
    case "pipe": {
      const head = node.declares.length === 0 ? "" : `${node.declares.join(", ")} ${node.isAssignment ? "=" : ":="} `;
      return head + node.commands.map(nodeText).join(" | ");
    }
    case "text":
      return JSON.stringify(node.text);
    case "action":
      return `{{${nodeText(node.pipe)}}}`;
    case "break":
    case "continue":
      return `{{${node.type}}}`;
    case "template":
      return `{{template ${JSON.stringify(node.name)}${node.pipe === null ? "" : ` ${nodeText(node.pipe)}`}}}`;
    default:
      return `{{${node.type} ${nodeText(node.pipe)}}}${node.list.map(nodeText).join("")}${
        node.otherwise === null ? "" : `{{else}}${node.otherwise.map(nodeText).join("")}`
      }{{end}}`;
  }
}
