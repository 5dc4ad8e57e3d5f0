import { literalsOf } from "./re2-literals.ts";
import type { Ranges } from "./re2-ranges.ts";
import type { Node } from "./re2-tree.ts";

/**
 * A literal at a fixed distance from where every match begins: each match is one character of each of `before`, then one of
 * `literals`, then the rest. So a search for the literals finds all the places where a match can begin.
 */
export interface LiteralAnchor {
  /** The characters before the literal, as sets of code points, each of one UTF-16 unit. */
  readonly before: readonly Ranges[];
  readonly literals: readonly string[];
  /** Nothing follows the literal, so what stands before it decides. */
  readonly isWhole: boolean;
}

/** Elements that are looked at; and shorter literals are too common to be of use. */
const ELEMENTS_MAX = 24;
const LITERAL_MIN = 2;

/** The anchor with the longest literals, or null where a pattern has none. */
export function anchorOf(tree: Node): LiteralAnchor | null {
  const elements = flatten(tree);
  if (elements.length > ELEMENTS_MAX) return null;
  let best: LiteralAnchor | null = null;
  let longest = LITERAL_MIN - 1;
  const before: Ranges[] = [];
  for (let from = 0; from < elements.length; from++) {
    for (let to = from + 1; to <= elements.length; to++) {
      const { choice } = literalsOf({ type: "cat", nodes: elements.slice(from, to) });
      if (choice === null) break;
      const shortest = Math.min(...choice.map((text) => text.length));
      if (shortest < longest || (shortest === longest && to < elements.length)) continue;
      best = { before: [...before], literals: choice, isWhole: to === elements.length };
      longest = shortest;
    }
    const ranges = unitOf(elements[from]);
    if (ranges === null) break;
    before.push(ranges);
  }
  return longest < LITERAL_MIN ? null : best;
}

/** The tree as a row of elements: groups opened, counted repetitions of one character written out. */
function flatten(node: Node): Node[] {
  switch (node.type) {
    case "empty":
      return [];
    case "group":
      return flatten(node.node);
    case "cat":
      return node.nodes.flatMap(flatten);
    case "repeat":
      if (node.min !== node.max || node.min > ELEMENTS_MAX || unitOf(node.node) === null) return [node];
      return new Array<Node>(node.min).fill(node.node);
    default:
      return [node];
  }
}

/** The code points of an element that takes one UTF-16 unit; null for any other. */
function unitOf(node: Node): Ranges | null {
  if (node.type === "char") return node.code <= 0xffff ? [node.code, node.code] : null;
  if (node.type !== "set" || node.ranges.length === 0) return null;
  return node.ranges[node.ranges.length - 1] <= 0xffff ? node.ranges : null;
}
