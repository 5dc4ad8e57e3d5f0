import { sortRows } from "../sort-rows.ts";
import type { StreamBlock } from "./pieces.ts";
import type { RowSource } from "./row-source.ts";

/** The rows that stay of some blocks, in order of time; equal times in order of the blocks, and in a block as they stand. */
export interface RowOrder {
  readonly count: number;
  /** For each row the place of its block, and its number there. */
  readonly sources: Uint16Array;
  readonly rows: Uint32Array;
}

export function orderRows(blocks: readonly StreamBlock[], sources: readonly RowSource[]): RowOrder {
  const total = blocks.reduce((sum, { rows }) => sum + rows, 0);
  const order = { count: 0, sources: new Uint16Array(total), rows: new Uint32Array(total) };
  const sec = new Float64Array(total);
  const nsec = new Uint32Array(total);
  let count = 0;
  for (let s = 0; s < blocks.length; s++) {
    const { view } = sources[s];
    const { drops } = blocks[s];
    const { rows, sec: viewSec, nsec: viewNsec } = view;
    for (let row = 0; row < rows; row++) {
      if (drops !== null && drops[row] !== 0) continue;
      sec[count] = viewSec[row];
      nsec[count] = viewNsec[row];
      order.sources[count] = s;
      order.rows[count++] = row;
    }
  }
  order.count = count;
  if (blocks.length === 1) return order;
  const sorted = sortRows(sec, nsec, count);
  const out = { count, sources: new Uint16Array(count), rows: new Uint32Array(count) };
  for (let i = 0; i < count; i++) {
    out.sources[i] = order.sources[sorted[i]];
    out.rows[i] = order.rows[sorted[i]];
  }
  return out;
}
