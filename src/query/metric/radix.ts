import type { Slices } from "../../core/slices.ts";

const DIGIT = 1 << 16;
/** Items that are looked at before others may have a turn: below a millisecond. */
const ITEMS_AT_ONCE = 1 << 16;

/** Does work on items 0 to `count` in parts, [from, to) each, between which others have their turns. */
export async function inParts(count: number, slices: Slices, work: (from: number, to: number) => void): Promise<void> {
  for (let from = 0; from < count; from += ITEMS_AT_ONCE) {
    work(from, Math.min(count, from + ITEMS_AT_ONCE));
    await slices.turn();
  }
}

/** The places 0 to `count` in ascending order of their keys, equal keys in the order given. Linear in time. */
export async function radixOrder(keys: Uint32Array, count: number, slices: Slices): Promise<Uint32Array> {
  let order = new Uint32Array(count);
  let most = 0;
  await inParts(count, slices, (from, to) => {
    for (let i = from; i < to; i++) {
      order[i] = i;
      if (keys[i] > most) most = keys[i];
    }
  });
  for (let shift = 0; shift === 0 || (shift < 32 && most >>> shift > 0); shift += 16) {
    order = await byDigit(keys, order, shift, slices);
  }
  return order;
}

/** Puts places in the order of 16 bits of their keys. */
async function byDigit(keys: Uint32Array, order: Uint32Array, shift: number, slices: Slices) {
  const starts = new Uint32Array(DIGIT + 1);
  const next = new Uint32Array(order.length);
  await inParts(order.length, slices, (from, to) => {
    for (let i = from; i < to; i++) starts[((keys[i] >>> shift) & (DIGIT - 1)) + 1]++;
  });
  for (let digit = 0; digit < DIGIT; digit++) starts[digit + 1] += starts[digit];
  await inParts(order.length, slices, (from, to) => {
    for (let i = from; i < to; i++) next[starts[(keys[order[i]] >>> shift) & (DIGIT - 1)]++] = order[i];
  });
  return next;
}
