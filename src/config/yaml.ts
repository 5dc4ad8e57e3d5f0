import type { ParsedNode, Scalar, YAMLMap } from "yaml";
import { Composer, type Document, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, Parser } from "yaml";
import { formatPath, type Position, type Problem } from "./problem.ts";
import { expand, readPlain } from "./scalar.ts";
import { list, type MapEntry, map, type Origin, scalar, type Tree } from "./tree.ts";

/*
 * Bounds, so that no file can hold up or end the process. Real pipelines are a few KB, a few levels deep.
 * The library composes recursively and near the end of the stack V8 ends the process, so depth is counted while
 * the (iterative) parser runs, before anything is composed.
 */
const TEXT_LENGTH_MAX = 256 * 1024;
const LEXEMES_MAX = 100_000;
const DEPTH_MAX = 50;
/** Syntax errors that are listed; after a few, more of them follow from the first. */
const FAULTS_MAX = 20;
/** Values after aliases are written out. */
const NODES_MAX = 50_000;

type Env = Readonly<Record<string, string | undefined>>;

/** Reads one YAML 1.2 document to a tree, keeping every complaint. */
export class YamlReader {
  readonly problems: Problem[] = [];
  private readonly fileName: string;
  private readonly env: Env;
  private readonly lines = new LineCounter();
  private readonly anchors = new Map<string, Tree | "unfinished">();
  /** Entries that `<<` went through. */
  private mergedEntries = 0;

  constructor(fileName: string, env: Env) {
    this.fileName = fileName;
    this.env = env;
  }

  /** The document, or undefined when it can't be read to its end; `problems` then has at least one. */
  read(text: string): Tree | undefined {
    if (text.length > TEXT_LENGTH_MAX) {
      return this.refuse(0, `found ${text.length} characters, want at most ${TEXT_LENGTH_MAX}`);
    }
    const document = this.compose(text);
    if (document === undefined) return undefined;
    for (const { pos, message } of [...document.errors, ...document.warnings].slice(0, FAULTS_MAX)) {
      this.complain(pos[0], [], `not valid YAML: ${firstLine(message)}${quoteHint(text, pos[0])}`);
    }
    if (document.errors.length > 0) return undefined;
    if (document.contents === null) return scalar(0, null);
    const tree = this.node(document.contents, []);
    if (tree.size > NODES_MAX || this.mergedEntries > NODES_MAX) {
      return this.refuse(0, `found more than ${NODES_MAX} values with the aliases written out, want at most that many`);
    }
    if (tree.depth > DEPTH_MAX) return this.refuse(0, this.tooDeep());
    return tree;
  }

  complain(at: Origin, path: readonly PropertyKey[], message: string): void {
    this.problems.push({ ...this.whereIs(at), path: formatPath(path), message });
  }

  whereIs(at: Origin): { where: string; position: Position } {
    if (typeof at === "string") return { where: at, position: { line: 0, column: 0 } };
    const { line, col } = this.lines.linePos(at);
    const position = { line: Math.max(line, 1), column: Math.max(col, 1) };
    return { where: `${this.fileName}:${position.line}:${position.column}`, position };
  }

  private compose(text: string): Document.Parsed | undefined {
    this.lines.addNewLine(0);
    const parser = new Parser(this.lines.addNewLine);
    const tokens = [];
    let lexemes = 0;
    for (const lexeme of new Lexer().lex(text)) {
      for (const token of parser.next(lexeme)) tokens.push(token);
      if (++lexemes > LEXEMES_MAX) {
        return this.refuse(parser.offset, `found more than ${LEXEMES_MAX} pieces of YAML, want at most that many`);
      }
      // Each level of nesting is a collection on the parser's stack, below the document and above a scalar.
      if (parser.stack.length > DEPTH_MAX + 2) return this.refuse(parser.offset, this.tooDeep());
    }
    for (const token of parser.end()) tokens.push(token);
    const composer = new Composer({
      version: "1.2",
      schema: "core",
      // The library's own check compares each key with all others; ours is a set.
      uniqueKeys: false,
    });
    const [document, second] = composer.compose(tokens, true, text.length);
    if (second !== undefined) {
      return this.refuse(second.range[0], "found a second document, want one document in a file");
    }
    return document;
  }

  private node(node: ParsedNode, path: readonly PropertyKey[]): Tree {
    const at = node.range[0];
    if (isAlias(node)) {
      const anchored = this.anchors.get(node.source);
      if (anchored !== undefined && anchored !== "unfinished") return anchored;
      const what = anchored === undefined ? "an alias without an anchor before it" : "an alias inside its own anchor";
      this.complain(at, path, `found *${node.source}, ${what}`);
      return scalar(at, null);
    }
    const anchor = node.anchor;
    if (anchor !== undefined) this.anchors.set(anchor, "unfinished");
    let tree: Tree;
    if (isScalar(node)) tree = this.scalar(node, at, path);
    else if (isSeq(node))
      tree = list(
        at,
        node.items.map((item, i) => this.child(item, at, [...path, i])),
      );
    else tree = this.map(node, at, path);
    if (anchor !== undefined) this.anchors.set(anchor, tree);
    return tree;
  }

  private child(value: unknown, at: number, path: readonly PropertyKey[]): Tree {
    return isParsedNode(value) ? this.node(value, path) : scalar(at, null);
  }

  private map(node: YAMLMap.Parsed, at: number, path: readonly PropertyKey[]): Tree {
    const entries = new Map<string, MapEntry>();
    const merged: Tree[] = [];
    for (const { key: keyNode, value } of node.items) {
      const keyAt = keyNode.range[0];
      const keyTree = this.node(keyNode, path);
      if (keyTree.kind !== "scalar") {
        this.complain(keyAt, path, `found a ${keyTree.kind} as a key, want text`);
        continue;
      }
      const key = keyTree.text ?? String(keyTree.value);
      const tree = this.child(value, keyAt, [...path, key]);
      const first = entries.get(key);
      if (key === "<<" && isScalar(keyNode) && keyNode.type === "PLAIN") merged.push(tree);
      else if (first === undefined) entries.set(key, { keyAt, value: tree });
      else {
        const { position } = this.whereIs(first.keyAt);
        this.complain(keyAt, [...path, key], `found this key a second time (the first is in line ${position.line})`);
      }
    }
    for (const tree of merged) this.merge(tree, entries, at, path);
    return map(at, entries);
  }

  /** `<<: *base` adds what the map itself does not have. Not part of YAML 1.2, but what people know anchors for. */
  private merge(tree: Tree, into: Map<string, MapEntry>, at: number, path: readonly PropertyKey[]): void {
    const sources = tree.kind === "list" ? tree.items : [tree];
    for (const source of sources) {
      if (source.kind !== "map")
        this.complain(at, [...path, "<<"], "found something that is no map, want maps to merge");
      else {
        this.mergedEntries += source.entries.size;
        if (this.mergedEntries > NODES_MAX) return;
        for (const [key, entry] of source.entries) if (!into.has(key)) into.set(key, entry);
      }
    }
  }

  private scalar(node: Scalar.Parsed, at: number, path: readonly PropertyKey[]): Tree {
    const { value } = node;
    if (typeof value !== "string") return scalar(at, value, node.source);
    if (!value.includes("${")) return scalar(at, value);
    const { text, variables, whole, faults } = expand(value, this.env);
    for (const fault of faults) this.complain(at, path, fault);
    const typed = whole && node.type === "PLAIN" ? readPlain(text) : text;
    return scalar(at, typed, text, variables);
  }

  private refuse(at: number, message: string): undefined {
    this.complain(at, [], message);
    return undefined;
  }

  private tooDeep(): string {
    return `found more than ${DEPTH_MAX} levels of nesting, want at most that many`;
  }
}

/** In `[…]` and `{…}` a brace ends a plain scalar, and the library's words for what follows don't lead there. */
function quoteHint(text: string, at: number): string {
  const start = text.lastIndexOf("\n", at - 1) + 1;
  const before = text.slice(start, at + 1);
  const isReference = text.startsWith("{env:", at) || text.startsWith("${env:", at) || before.includes("${env:");
  return isReference && /[[{]/.test(before) ? `; inside [ ] and { } put "\${env:…}" in quotes` : "";
}

function isParsedNode(value: unknown): value is ParsedNode {
  return isAlias(value) || isScalar(value) || isMap(value) || isSeq(value);
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? text;
}
