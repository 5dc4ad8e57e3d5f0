import { countOf } from "./re2-ranges.ts";
import type { Node } from "./re2-tree.ts";

/**
 * What every match contains: of each group at least one literal. A conjunction of disjunctions, so each group alone
 * may be used to rule a text out.
 */
export type LiteralGroups = readonly (readonly string[])[];

interface Found {
  /** All texts that the node matches, when they are few and nothing else narrows them; null otherwise. */
  exact: readonly string[] | null;
  /** Whether `exact` is all that the node asks: no assertion in it. */
  plain: boolean;
  groups: (readonly string[])[];
}

const EXACT_MAX = 8;
const EXACT_CHARS_MAX = 1024;
/** Sets of a letter or two, as in `[Ee]rror`. */
const SET_MAX = 4;

/**
 * The literals that every match of `tree` contains, longest first, and, when the pattern is nothing but a choice of
 * literals, that choice: then a search for them is a search for the pattern.
 * Folded letters give no literals: a case-insensitive search needs the engine.
 */
export function literalsOf(tree: Node): { groups: LiteralGroups; choice: readonly string[] | null } {
  const found = find(tree);
  const groups = finish(found);
  const useful = groups.filter((group) => group.every((text) => text !== "" && !text.includes("\ufffd")));
  useful.sort((a, b) => shortest(b) - shortest(a) || a.length - b.length);
  const choice =
    found.exact !== null && found.plain && !found.exact.some((text) => text.includes("\ufffd")) ? found.exact : null;
  return { groups: useful, choice };
}

function shortest(group: readonly string[]): number {
  return group.reduce((least, text) => Math.min(least, text.length), Number.POSITIVE_INFINITY);
}

/** The groups, the exact texts among them. */
function finish({ exact, groups }: Found): (readonly string[])[] {
  return exact === null || exact.includes("") ? groups : [...groups, exact];
}

function find(node: Node): Found {
  switch (node.type) {
    case "empty":
      return { exact: [""], plain: true, groups: [] };
    case "assert":
      return { exact: [""], plain: false, groups: [] };
    case "char":
      return { exact: [String.fromCodePoint(node.code)], plain: true, groups: [] };
    case "set": {
      if (node.folded || countOf(node.ranges) > SET_MAX || node.ranges.length === 0) return unknown();
      const exact: string[] = [];
      for (let i = 0; i < node.ranges.length; i += 2) {
        for (let code = node.ranges[i]!; code <= node.ranges[i + 1]!; code++) exact.push(String.fromCodePoint(code));
      }
      return { exact, plain: true, groups: [] };
    }
    case "group":
      return find(node.node);
    case "cat":
      return findCat(node.nodes);
    case "alt":
      return findAlt(node.nodes);
    case "repeat": {
      const once = find(node.node);
      if (node.min === 0) {
        if (node.max !== 1 || once.exact === null || once.exact.length === EXACT_MAX) return unknown();
        return { exact: [...new Set([...once.exact, ""])], plain: once.plain, groups: [] };
      }
      if (node.min === 1 && node.max === 1) return once;
      return { exact: null, plain: false, groups: finish(once) };
    }
  }
}

function unknown(): Found {
  return { exact: null, plain: false, groups: [] };
}

/** Multiplies out neighbours while that stays small; what has grown so far becomes a group when it can't go on. */
function findCat(nodes: readonly Node[]): Found {
  const groups: (readonly string[])[] = [];
  let run: readonly string[] = [""];
  let whole = true;
  let plain = true;
  for (const node of nodes) {
    const part = find(node);
    plain &&= part.plain;
    groups.push(...part.groups);
    const product = part.exact === null ? null : multiply(run, part.exact);
    if (product !== null) {
      run = product;
      continue;
    }
    whole = false;
    if (!run.includes("")) groups.push(run);
    run = part.exact ?? [""];
  }
  if (whole) return { exact: run, plain, groups };
  if (!run.includes("")) groups.push(run);
  return { exact: null, plain: false, groups };
}

function multiply(heads: readonly string[], tails: readonly string[]): readonly string[] | null {
  if (heads.length * tails.length > EXACT_MAX) return null;
  const out = heads.flatMap((head) => tails.map((tail) => head + tail));
  return out.reduce((sum, text) => sum + text.length, 0) > EXACT_CHARS_MAX ? null : out;
}

/** One group that has a literal of each branch, the best each has. */
function findAlt(nodes: readonly Node[]): Found {
  const branches = nodes.map(find);
  const all = [...new Set(branches.flatMap((branch) => branch.exact ?? []))];
  if (branches.every((branch) => branch.exact !== null) && all.length <= EXACT_MAX) {
    return { exact: all, plain: branches.every((branch) => branch.plain), groups: [] };
  }
  const group: string[] = [];
  for (const branch of branches) {
    const best = finish(branch).reduce<readonly string[]>(
      (a, b) => (a.length === 0 || shortest(b) > shortest(a) ? b : a),
      [],
    );
    if (best.length === 0) return unknown();
    group.push(...best);
  }
  return group.length > EXACT_MAX ? unknown() : { exact: null, plain: false, groups: [[...new Set(group)]] };
}
