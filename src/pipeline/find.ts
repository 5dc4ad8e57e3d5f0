import { itemCount, itemHead, skip, textHead, textLength } from "../codec/msgpack.ts";

/** Whether the bytes at `at` are `wanted`. The caller knows that there are as many. */
export function bytesAre(bytes: Uint8Array, at: number, wanted: Uint8Array): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}

/** Whether the value at `at` is a map. */
export function isMap(c: number): boolean {
  return (c & 0xf0) === 0x80 || c === 0xde || c === 0xdf;
}

/** Calls `visit(key start, key end, value start, value end)` for each pair of the map at `at` whose key is text. */
export function eachPair(
  bytes: Uint8Array,
  at: number,
  end: number,
  visit: (keyStart: number, keyEnd: number, start: number, end: number) => void,
): void {
  if (at < 0 || !isMap(bytes[at])) return;
  const count = itemCount(bytes, at);
  let cursor = at + itemHead(bytes[at]);
  for (let i = 0; i < count; i++) {
    const head = textHead(bytes[cursor]);
    const key = cursor + head;
    const value = head > 0 ? key + textLength(bytes, cursor) : skip(bytes, cursor, end);
    if (value < 0 || value >= end) return;
    const next = skip(bytes, value, end);
    if (next < 0) return;
    if (head > 0) visit(key, value, value, next);
    cursor = next;
  }
}

/**
 * The offset of the value that the path `keys` (from `from` on) leads to, from the value at `at`, or -1. Where a key stands twice
 * the last one counts, as every JSON reader has it.
 */
export function findPath(bytes: Uint8Array, at: number, end: number, keys: readonly Buffer[], from = 0): number {
  for (let k = from; k < keys.length && at >= 0; k++) at = findKey(bytes, at, end, keys[k]);
  return at;
}

function findKey(bytes: Uint8Array, at: number, end: number, wanted: Buffer): number {
  if (!isMap(bytes[at])) return -1;
  const count = itemCount(bytes, at);
  let cursor = at + itemHead(bytes[at]);
  let found = -1;
  for (let i = 0; i < count; i++) {
    const head = textHead(bytes[cursor]);
    let value: number;
    if (head > 0) {
      value = cursor + head + textLength(bytes, cursor);
      if (value - cursor - head === wanted.length && bytesAre(bytes, cursor + head, wanted)) found = value;
    } else {
      value = skip(bytes, cursor, end);
    }
    if (value < 0) return -1;
    cursor = skip(bytes, value, end);
    if (cursor < 0) return -1;
  }
  return found;
}
