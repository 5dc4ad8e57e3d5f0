import { EMPTY, type Node } from "./re2-tree.ts";

/**
 * A smaller pattern that matches somewhere in exactly the same texts: loops at its edges need no more than their least number of
 * rounds, since what they take beyond that is anybody's. `[a-z]+[0-9]{7,}` becomes `[a-z][0-9]{7}`, which a backtracking engine
 * searches in one walk instead of one for each letter, and `.*x.*` becomes `x`.
 * Only for asking whether an unanchored pattern matches: where it does, and what its groups hold, changes.
 */
export function trimEdges(tree: Node): Node {
  return trim(trim(tree, "first"), "last");
}

function trim(node: Node, edge: "first" | "last"): Node {
  switch (node.type) {
    case "repeat": {
      const { min } = node;
      if (min === 0) return EMPTY;
      if (min === 1) return trim(node.node, edge);
      return node.max === min ? node : { ...node, max: min };
    }
    case "group":
      return { ...node, node: trim(node.node, edge) };
    case "alt":
      return { ...node, nodes: node.nodes.map((branch) => trim(branch, edge)) };
    case "cat": {
      const nodes = [...node.nodes];
      while (nodes.length > 0) {
        const at = edge === "first" ? 0 : nodes.length - 1;
        const trimmed = trim(nodes[at], edge);
        if (trimmed.type !== "empty") {
          nodes[at] = trimmed;
          break;
        }
        // Nothing is left of it, so its neighbour is at the edge.
        nodes.splice(at, 1);
      }
      return nodes.length === 0 ? EMPTY : nodes.length === 1 ? nodes[0] : { ...node, nodes };
    }
    default:
      return node;
  }
}
