/** Sorted, disjoint, inclusive ranges of code points: lo, hi, lo, hi, … */
export type Ranges = readonly number[];

export const MAX_CODE_POINT = 0x10ffff;
export const ANY: Ranges = [0, MAX_CODE_POINT];
export const NO_RANGES: Ranges = [];

/** Sorts and merges pairs that may overlap. */
export function normalize(pairs: readonly number[]): Ranges {
  const order: [number, number][] = [];
  for (let i = 0; i < pairs.length; i += 2) order.push([pairs[i]!, pairs[i + 1]!]);
  order.sort((a, b) => a[0] - b[0]);
  const out: number[] = [];
  for (const [lo, hi] of order) {
    const last = out.length - 1;
    if (last > 0 && lo <= out[last]! + 1) out[last] = Math.max(out[last]!, hi);
    else out.push(lo, hi);
  }
  return out;
}

/** All code points that are not in `ranges`. */
export function negate(ranges: Ranges): Ranges {
  const out: number[] = [];
  let next = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    if (ranges[i]! > next) out.push(next, ranges[i]! - 1);
    next = ranges[i + 1]! + 1;
  }
  if (next <= MAX_CODE_POINT) out.push(next, MAX_CODE_POINT);
  return out;
}

export function union(a: Ranges, b: Ranges): Ranges {
  return a.length === 0 ? b : b.length === 0 ? a : normalize([...a, ...b]);
}

export function overlaps(a: Ranges, b: Ranges): boolean {
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i + 1]! < b[j]!) i += 2;
    else if (b[j + 1]! < a[i]!) j += 2;
    else return true;
  }
  return false;
}

/** How many code points there are in all. */
export function countOf(ranges: Ranges): number {
  let count = 0;
  for (let i = 0; i < ranges.length; i += 2) count += ranges[i + 1]! - ranges[i]! + 1;
  return count;
}

const KELVIN = 0x212a; // folds to k
const LONG_S = 0x17f; // folds to s

/**
 * ASCII ranges with both cases of each letter, and the two characters outside ASCII that fold to k and s.
 * Null when the ranges go beyond ASCII: folding all of Unicode is left to re2js.
 */
export function foldAscii(ranges: Ranges): Ranges | null {
  const out: number[] = [...ranges];
  for (let i = 0; i < ranges.length; i += 2) {
    if (ranges[i + 1]! > 0x7f) return null;
    for (let cp = ranges[i]!; cp <= ranges[i + 1]!; cp++) {
      const lower = cp | 0x20;
      if (lower < 0x61 || lower > 0x7a) continue;
      out.push(cp ^ 0x20, cp ^ 0x20);
      if (lower === 0x6b) out.push(KELVIN, KELVIN);
      if (lower === 0x73) out.push(LONG_S, LONG_S);
    }
  }
  return normalize(out);
}

export const DIGIT: Ranges = [0x30, 0x39];
export const WORD: Ranges = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
export const SPACE: Ranges = [0x09, 0x0a, 0x0c, 0x0d, 0x20, 0x20]; // RE2's \s has no vertical tab.
export const NOT_NEWLINE: Ranges = negate([0x0a, 0x0a]);

/** The ASCII classes of `[[:name:]]`. Source: RE2 syntax page, "ASCII character classes". */
export const POSIX: Readonly<Record<string, Ranges>> = {
  alnum: [0x30, 0x39, 0x41, 0x5a, 0x61, 0x7a],
  alpha: [0x41, 0x5a, 0x61, 0x7a],
  ascii: [0x00, 0x7f],
  blank: [0x09, 0x09, 0x20, 0x20],
  cntrl: [0x00, 0x1f, 0x7f, 0x7f],
  digit: DIGIT,
  graph: [0x21, 0x7e],
  lower: [0x61, 0x7a],
  print: [0x20, 0x7e],
  punct: [0x21, 0x2f, 0x3a, 0x40, 0x5b, 0x60, 0x7b, 0x7e],
  space: [0x09, 0x0d, 0x20, 0x20],
  upper: [0x41, 0x5a],
  word: WORD,
  xdigit: [0x30, 0x39, 0x41, 0x46, 0x61, 0x66],
};
