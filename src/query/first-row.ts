import type { BlockView } from "../store/view.ts";

/** The first row of a sorted block at or after a time; `rows` when there is none. */
export function firstRowAt({ sec, nsec, rows }: BlockView, wantSec: number, wantNsec: number): number {
  let low = 0;
  let high = rows;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sec[middle] < wantSec || (sec[middle] === wantSec && nsec[middle] < wantNsec)) low = middle + 1;
    else high = middle;
  }
  return low;
}
