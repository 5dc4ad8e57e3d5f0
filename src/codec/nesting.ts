import { CUT, itemCount, itemHead, skip, u16, u32 } from "./msgpack.ts";

/** `skipNested` met a value that is nested deeper than allowed. */
export const TOO_DEEP = -2;

/** The deepest nesting that may be asked for: what takes a record apart later (`decode`) goes no deeper by itself. */
export const NESTING_LIMIT = 64;

/**
 * As `skip`, and checks how deep maps and arrays stand inside each other: a lone map has depth 1.
 * The offset after the value at `at`, CUT, or TOO_DEEP. Throws `bad_msgpack` for the byte 0xc1.
 */
export function skipNested(bytes: Uint8Array, at: number, end: number, depthMax: number): number {
  // A value of n containers is at most n deep. Log records have few, so counting them is nearly always enough, and
  // costs a third less than keeping a stack.
  const start = at;
  let containersLeft = depthMax;
  let todo = 1;
  while (todo > 0) {
    if (at >= end) return CUT;
    todo--;
    const c = bytes[at];
    // What log records are made of comes first: keys and values as short text, then longer text, then the rest.
    if (c >= 0xa0 && c < 0xc0) {
      at += c - 0x9f;
    } else if (c === 0xd9) {
      if (at + 1 === end) return CUT;
      at += 2 + bytes[at + 1];
    } else if (c < 0x80 || c >= 0xe0) {
      at += 1;
    } else if (c < 0xa0 || c >= 0xdc) {
      if (containersLeft-- === 0) return skipWithStack(bytes, start, end, depthMax);
      if (c < 0x90) {
        todo += (c & 0x0f) << 1;
        at += 1;
      } else if (c < 0xa0) {
        todo += c & 0x0f;
        at += 1;
      } else {
        const head = itemHead(c);
        if (at + head > end) return CUT;
        const count = head === 3 ? u16(bytes, at + 1) : u32(bytes, at + 1);
        todo += c >= 0xde ? count * 2 : count;
        at += head;
      }
    } else {
      at = skip(bytes, at, end);
      if (at === CUT) return CUT;
    }
  }
  return at <= end ? at : CUT;
}

/** Values left at each level above the present one. One array for all calls: the walk never yields. */
const left = new Float64Array(NESTING_LIMIT);

/** The same for values with many containers. */
function skipWithStack(bytes: Uint8Array, at: number, end: number, depthMax: number): number {
  let depth = 0;
  let todo = 1;
  for (;;) {
    while (todo === 0) {
      if (depth === 0) return at;
      todo = left[--depth];
    }
    if (at >= end) return CUT;
    todo--;
    const head = itemHead(bytes[at]);
    if (head === 0) {
      at = skip(bytes, at, end);
      if (at === CUT) return CUT;
      continue;
    }
    if (depth === depthMax) return TOO_DEEP;
    if (at + head > end) return CUT;
    const c = bytes[at];
    const count = itemCount(bytes, at);
    at += head;
    left[depth++] = todo;
    todo = c < 0x90 || c >= 0xde ? count * 2 : count;
  }
}
