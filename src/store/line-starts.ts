import type { VarintReader } from "../codec/varint.ts";

const LF = 0x0a;
/** Lines shorter than this on average are told apart faster by a loop over bytes than by a native search for each. */
const SHORT_LINE_BYTES = 48;

/**
 * Fills in where lines begin (`starts` has one more than there are lines) in text without newlines inside lines. Gives the
 * end of the last line, or -1 when there are fewer lines.
 */
export function linesByNewline(text: Buffer, starts: Uint32Array): number {
  const rows = starts.length - 1;
  if (text.length < rows * SHORT_LINE_BYTES) {
    let row = 0;
    for (let at = 0; at < text.length; at++) {
      if (text[at] === LF && row < rows) starts[++row] = at + 1;
    }
    return row === rows ? starts[rows] : -1;
  }
  let at = 0;
  for (let row = 1; row <= rows; row++) {
    at = text.indexOf(LF, at) + 1;
    if (at === 0) return -1;
    starts[row] = at;
  }
  return at;
}

/** The same for lines whose lengths are known. -1 when a line does not end in its LF. */
export function linesByLength(lengths: VarintReader, text: Buffer, starts: Uint32Array): number {
  let at = 0;
  for (let row = 1; row < starts.length; row++) {
    at += lengths.next() + 1;
    if (text[at - 1] !== LF) return -1;
    starts[row] = at;
  }
  return at;
}

/** The row whose line holds byte `at`, which is not before the line of row `from`. */
export function rowAt(starts: Uint32Array, from: number, rows: number, at: number): number {
  let low = from;
  let high = rows - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (starts[middle] <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}
