import type { Ranges } from "./re2-ranges.ts";
import type { Node } from "./re2-tree.ts";
import { beginsAtStart, type Dialect, STEPS_PER_CHAR_MAX, translate } from "./re2-v8.ts";

/*
 * Searching many lines at once, instead of each by itself, for whether a pattern matches in them.
 *
 * The text is the bytes of some lines, each with its LF, one character for each byte (latin1). The pattern is narrowed to
 * ASCII without LF, so that a match lies inside one line, and its characters are the line's own: a byte below 0x80 is never part of another
 * character. So what is found is a match of the line. What is not found is none of a line of ASCII; of a line with
 * other bytes nothing is known.
 */
export interface LinesPattern {
  /** Source for `new RegExp(source, "g")`. */
  readonly source: string;
  /** A longer line might take more steps than it may, so it is to be looked at by itself. */
  readonly lineBytesMax: number;
}

/** Below this nearly every line would be too long. */
const LINE_BYTES_MIN = 512;
const LF = 0x0a;

/** Edges of the text are edges of a line here. Bytes beyond ASCII are no word characters, as their characters are none in RE2. */
const LINES: Dialect = {
  assertions: { begin: "(?<![^\\n])", end: "(?![^\\n])", word: "\\b", not_word: "\\B" },
  escape: (code) => `\\x${code.toString(16).padStart(2, "0")}`,
};

/**
 * For asking whether the pattern matches somewhere in a line; null where V8 can't be trusted with it, or where it gains nothing: what
 * begins at a line's start is seen at once line by line.
 */
export function linesPattern(tree: Node): LinesPattern | null {
  if (beginsAtStart(tree)) return null;
  const translation = translate(narrow(tree), false, LINES);
  if (translation === null) return null;
  const { source, constant, stops } = translation;
  // All of its characters are of one line, so the steps are bounded by the line's length, as for a line by itself.
  const lineBytesMax =
    stops.length === 0
      ? Number.MAX_SAFE_INTEGER
      : Math.floor((STEPS_PER_CHAR_MAX / constant) ** (1 / stops.length)) - 1;
  return lineBytesMax < LINE_BYTES_MIN ? null : { source, lineBytesMax };
}

function narrow(node: Node): Node {
  switch (node.type) {
    case "char":
      return node.code < 0x80 && node.code !== LF ? node : { type: "set", ranges: [], folded: false };
    case "set":
      return { ...node, ranges: narrowRanges(node.ranges) };
    case "group":
    case "repeat":
      return { ...node, node: narrow(node.node) };
    case "cat":
    case "alt":
      return { ...node, nodes: node.nodes.map(narrow) };
    default:
      return node;
  }
}

function narrowRanges(ranges: Ranges): Ranges {
  const out: number[] = [];
  const add = (lo: number, hi: number) => {
    if (lo <= hi) out.push(lo, hi);
  };
  for (let i = 0; i < ranges.length && ranges[i] < 0x80; i += 2) {
    const lo = ranges[i];
    const hi = Math.min(ranges[i + 1], 0x7f);
    if (lo <= LF && LF <= hi) {
      add(lo, LF - 1);
      add(LF + 1, hi);
    } else add(lo, hi);
  }
  return out;
}
