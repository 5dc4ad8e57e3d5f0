import { CUT, itemCount, itemHead, skip } from "./msgpack.ts";

/** `skipNested` met a value that is nested deeper than allowed. */
export const TOO_DEEP = -2;

/** The deepest nesting that may be asked for: what takes a record apart later (`decode`) goes no deeper by itself. */
export const NESTING_LIMIT = 64;

/** Values left at each level above the present one. One array for all calls: the walk never yields. */
const left = new Float64Array(NESTING_LIMIT);

/**
 * As `skip`, and checks how deep maps and arrays stand inside each other: a lone map has depth 1.
 * The offset after the value at `at`, CUT, or TOO_DEEP. Throws `bad_msgpack` for the byte 0xc1.
 */
export function skipNested(bytes: Uint8Array, at: number, end: number, depthMax: number): number {
  let depth = 0;
  let todo = 1;
  for (;;) {
    while (todo === 0) {
      if (depth === 0) return at;
      todo = left[--depth];
    }
    if (at >= end) return CUT;
    todo--;
    const c = bytes[at];
    // The short forms first: nearly every value of a log record is one.
    if (c < 0x80 || c >= 0xe0) {
      at += 1;
    } else if (c >= 0xa0 && c < 0xc0) {
      at += 1 + (c & 0x1f);
      if (at > end) return CUT;
    } else if (c < 0xa0 || c >= 0xdc) {
      if (depth === depthMax) return TOO_DEEP;
      const head = itemHead(c);
      if (at + head > end) return CUT;
      const count = itemCount(bytes, at);
      at += head;
      left[depth++] = todo;
      todo = c < 0x90 || c >= 0xde ? count * 2 : count;
    } else {
      at = skip(bytes, at, end);
      if (at === CUT) return CUT;
    }
  }
}
