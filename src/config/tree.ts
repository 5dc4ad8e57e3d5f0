import { setField } from "../core/fields.ts";

/** Where a value came from: an offset in the file's text, or the flag or variable that replaced the file's value. */
export type Origin = number | string;

interface Node {
  readonly at: Origin;
  /** Nodes in it, itself included, with aliases written out; Infinity is possible. */
  readonly size: number;
  /** Levels of nesting, itself included. */
  readonly depth: number;
}

export interface ScalarTree extends Node {
  readonly kind: "scalar";
  readonly value: unknown;
  /** As it was written, where that is not `value` itself: `1.50`, or what a reference or a flag held. */
  readonly text?: string;
  /** The environment variables in it. */
  readonly variables: readonly string[];
}

export interface MapEntry {
  readonly keyAt: Origin;
  readonly value: Tree;
}

export interface MapTree extends Node {
  readonly kind: "map";
  readonly entries: ReadonlyMap<string, MapEntry>;
}

export interface ListTree extends Node {
  readonly kind: "list";
  readonly items: readonly Tree[];
}

/**
 * A YAML value that remembers where each part of it stands. Aliases share the tree of their anchor, so a tree is
 * small even where the value that it stands for would be huge: `size` tells before anything is written out.
 */
export type Tree = ScalarTree | MapTree | ListTree;

export function scalar(at: Origin, value: unknown, text?: string, variables: readonly string[] = []): ScalarTree {
  return { kind: "scalar", at, size: 1, depth: 1, value, variables, ...(text === undefined ? {} : { text }) };
}

export function map(at: Origin, entries: ReadonlyMap<string, MapEntry>): MapTree {
  return { kind: "map", at, entries, ...measure([...entries.values()].map((entry) => entry.value)) };
}

export function list(at: Origin, items: readonly Tree[]): ListTree {
  return { kind: "list", at, items, ...measure(items) };
}

function measure(children: readonly Tree[]): { size: number; depth: number } {
  let size = 1;
  let depth = 1;
  for (const child of children) {
    size += child.size;
    depth = Math.max(depth, child.depth + 1);
  }
  return { size, depth };
}

/** The plain value, each alias written out as a copy of its own. The caller has looked at `size` and `depth`. */
export function toValue(tree: Tree): unknown {
  if (tree.kind === "scalar") return tree.value;
  if (tree.kind === "list") return tree.items.map(toValue);
  const value: Record<string, unknown> = {};
  for (const [key, entry] of tree.entries) setField(value, key, toValue(entry.value));
  return value;
}

export function isEmpty(tree: Tree): boolean {
  return tree.kind === "scalar" && tree.value === null;
}

/** A place on the way from `tree` along `path`. */
export interface Place {
  /** The value there; undefined when the document lacks it. */
  readonly tree: Tree | undefined;
  /** The deepest value on the way that the document has. */
  readonly nearest: Tree;
  /** The key that the deepest value stands behind. */
  readonly nearestKeyAt: Origin;
}

export function locate(tree: Tree, keyAt: Origin, path: readonly PropertyKey[]): Place {
  let nearest = tree;
  let nearestKeyAt = keyAt;
  for (const key of path) {
    const entry = nearest.kind === "map" ? nearest.entries.get(String(key)) : undefined;
    const next = entry?.value ?? (nearest.kind === "list" ? nearest.items[Number(key)] : undefined);
    if (next === undefined) return { tree: undefined, nearest, nearestKeyAt };
    nearest = next;
    nearestKeyAt = entry?.keyAt ?? next.at;
  }
  return { tree: nearest, nearest, nearestKeyAt };
}

/**
 * A tree like `tree` with `value` at `path`; maps on the way are made where they are missing. What is shared with
 * other places by an alias is not changed there. Undefined when something on the way is neither a map nor empty.
 */
export function replaceAt(tree: Tree | undefined, path: readonly string[], value: Tree): Tree | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  if (tree !== undefined && tree.kind !== "map" && !isEmpty(tree)) return undefined;
  const entries = new Map(tree?.kind === "map" ? tree.entries : []);
  const old = entries.get(key);
  const inner = replaceAt(old?.value, rest, value);
  if (inner === undefined) return undefined;
  entries.set(key, { keyAt: old?.keyAt ?? value.at, value: inner });
  return map(tree?.at ?? value.at, entries);
}
