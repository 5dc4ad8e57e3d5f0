import { WeirError } from "../core/errors.ts";
import type { BlockInfo } from "./view.ts";

/** Bytes between two blocks that are read along rather than paid for with another request. */
const GAP_BYTES = 64 * 1024;
/** Bytes of one read at most, so that a query holds little more than it looks at. */
const RUN_BYTES = 4 * 1024 * 1024;

export type BlockRange = Pick<BlockInfo, "offset" | "length">;

/** Blocks of one object that are read together. */
export interface Run {
  readonly start: number;
  end: number;
  readonly blocks: BlockRange[];
}

/** The reads that give `blocks`, which come in order of their offsets: blocks with no more than `gapBytes` between them in one. */
export function runsOf(blocks: readonly BlockRange[], gapBytes: number = GAP_BYTES): Run[] {
  const runs: Run[] = [];
  for (const block of blocks) {
    const { offset, length } = block;
    const run = runs.at(-1);
    if (run !== undefined && offset < run.end) {
      throw new WeirError("bad_range", `blocks to read: got offset ${offset} after ${run.end}, want ascending offsets`);
    }
    if (run !== undefined && offset - run.end <= gapBytes && offset + length - run.start <= RUN_BYTES) {
      run.end = offset + length;
      run.blocks.push(block);
    } else runs.push({ start: offset, end: offset + length, blocks: [block] });
  }
  return runs;
}
