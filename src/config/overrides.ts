import type { Checker } from "./checker.ts";
import { readPlain } from "./scalar.ts";
import { list, replaceAt, scalar, type Tree } from "./tree.ts";

/** A setting of the deployment, by a flag or an environment variable, that goes before the file's. */
export interface Override {
  /** Dotted: `http.listen`. `receivers.@forward.listen` is for the first receiver of that type, or a new one. */
  readonly path: string;
  /** As given. One text is read as YAML reads it, so `8` becomes a number where one is wanted. */
  readonly value: string | readonly string[];
  /** What messages name: `--http`, `WEIR_HTTP`. */
  readonly source: string;
}

/** The document with the overrides in it. One that fits nowhere is a complaint. */
export function applyOverrides(checker: Checker, root: Tree, overrides: readonly Override[]): Tree {
  return overrides.reduce((tree, { path, value, source }) => {
    const names = resolveTypes(tree, path.split("."));
    const made = names.flatMap((name, i) => (isNewOf(path, name, i) ? [name] : []));
    const next = replaceAt(tree, names, valueTree(value, source));
    if (next === undefined) {
      checker.complain({
        at: source,
        path: names,
        message: "can't be set: something on the way to it is no map in the file",
      });
      return tree;
    }
    return made.reduce((done, type) => withType(done, names, type, source), next);
  }, root);
}

function valueTree(value: string | readonly string[], source: string): Tree {
  if (typeof value === "string") return scalar(source, readPlain(value), value);
  return list(
    source,
    value.map((item) => scalar(source, item, item)),
  );
}

/** Puts the name of the first component of a type in place of `@type`, or the type's own name where there is none. */
function resolveTypes(tree: Tree, path: readonly string[]): string[] {
  const [block = "", second] = path;
  if (second === undefined || !second.startsWith("@")) return [...path];
  const type = second.slice(1);
  const components = tree.kind === "map" ? tree.entries.get(block)?.value : undefined;
  if (components?.kind !== "map") return [block, type, ...path.slice(2)];
  for (const [name, { value }] of components.entries) {
    const own = value.kind === "map" ? value.entries.get("type")?.value : undefined;
    if (own?.kind === "scalar" && own.value === type) return [block, name, ...path.slice(2)];
  }
  return [block, type, ...path.slice(2)];
}

function isNewOf(path: string, name: string, i: number): boolean {
  return i === 1 && path.split(".")[1] === `@${name}`;
}

/** Gives a component that an override made its type; one that has a type keeps it. */
function withType(tree: Tree, names: readonly string[], type: string, source: string): Tree {
  const [block = "", name = ""] = names;
  const components = tree.kind === "map" ? tree.entries.get(block)?.value : undefined;
  const component = components?.kind === "map" ? components.entries.get(name)?.value : undefined;
  if (component?.kind !== "map" || component.entries.has("type")) return tree;
  return replaceAt(tree, [block, name, "type"], scalar(source, type)) ?? tree;
}
