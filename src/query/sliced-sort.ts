import type { Slices } from "../core/slices.ts";

/** Items that are sorted, or merged, before others may have a turn: below a millisecond where a comparison is one of long texts. */
const ITEMS_AT_ONCE = 512;

/** The items in order, equal ones as they came, with turns for others: parts that are sorted by themselves, and merged two by two. */
export async function sortedInSlices<T>(
  items: readonly T[],
  compare: (a: T, b: T) => number,
  slices: Slices,
): Promise<readonly T[]> {
  let sorted: T[] = [];
  for (let from = 0; from < items.length; from += ITEMS_AT_ONCE) {
    sorted.push(...items.slice(from, from + ITEMS_AT_ONCE).sort(compare));
    await slices.turn();
  }
  for (let size = ITEMS_AT_ONCE; size < items.length; size *= 2) {
    const merged: T[] = [];
    for (let from = 0; from < items.length; from += 2 * size) {
      const middle = Math.min(items.length, from + size);
      const end = Math.min(items.length, middle + size);
      for (let left = from, right = middle; left < middle || right < end; ) {
        const takesLeft = right === end || (left < middle && compare(sorted[left], sorted[right]) <= 0);
        merged.push(takesLeft ? sorted[left++] : sorted[right++]);
        if (merged.length % ITEMS_AT_ONCE === 0) await slices.turn();
      }
    }
    sorted = merged;
  }
  return sorted;
}
