import type { StoredBlock } from "../block-view.ts";
import type { MergedStream } from "./block-maker.ts";
import { type DayTest, dayOfSec } from "./days.ts";
import type { Pace } from "./pace.ts";
import type { StreamBlock } from "./pieces.ts";
import type { RemovedCounts, StreamFilter } from "./removals.ts";
import { readStreamBlock } from "./stream-block.ts";

/** Rows that are tested before others get a turn. */
const ROWS_A_TURN = 256;

/**
 * The blocks of a stream without those of which every line goes, and with the rows noted that go of the others. What goes is
 * added to `counts`.
 */
export async function applyFilter(
  blocks: readonly StreamBlock[],
  stream: MergedStream,
  filter: StreamFilter,
  pace: Pace,
  counts: RemovedCounts,
): Promise<StreamBlock[]> {
  const out: StreamBlock[] = [];
  for (const block of blocks) {
    const verdict = filter.block(minNs(block), maxNs(block));
    if (verdict === null) out.push(block);
    else if (verdict !== "rows" && block.drops === null) counts.add(verdict.all, block.rows, block.textBytes);
    else {
      const bytes = await pace.wait(block.input.block(block.block));
      const view = readStreamBlock(bytes, block, stream);
      const test = verdict === "rows" ? filter.rows(view) : () => verdict.all;
      const kept = await applyToRows(block, view, test, pace, counts);
      if (kept !== null) out.push(kept);
    }
  }
  return out;
}

/** The block with the rows that go noted beside those that were to be left out already; null when none stays. */
async function applyToRows(
  block: StreamBlock,
  view: StoredBlock,
  test: (row: number) => string | null,
  pace: Pace,
  counts: RemovedCounts,
): Promise<StreamBlock | null> {
  const drops = block.drops === null ? new Uint8Array(view.rows) : Uint8Array.from(block.drops);
  let dropped = 0;
  let left = 0;
  for (let row = 0; row < view.rows; row++) {
    if (drops[row] === 0) {
      const id = test(row);
      if (id === null) left++;
      else {
        drops[row] = 1;
        dropped++;
        counts.add(id, 1, view.lineStarts[row + 1] - view.lineStarts[row]);
      }
    }
    if (row % ROWS_A_TURN === ROWS_A_TURN - 1) await pace.turn();
  }
  if (dropped === 0) return block;
  return left === 0 ? null : { ...block, drops };
}

/** The block with the rows noted that are of no day of the pass; null when all are. Blocks of one day are passed on. */
export async function applyDays(
  block: StreamBlock,
  stream: MergedStream,
  takesDay: DayTest,
  pace: Pace,
): Promise<StreamBlock | null> {
  if (dayOfSec(block.minSec) === dayOfSec(block.maxSec)) return block;
  const { sec, rows } = readStreamBlock(await pace.wait(block.input.block(block.block)), block, stream);
  const drops = new Uint8Array(rows);
  let left = rows;
  for (let row = 0; row < rows; row++) {
    if (takesDay(dayOfSec(sec[row]))) continue;
    drops[row] = 1;
    left--;
  }
  await pace.turn();
  if (left === rows) return block;
  return left === 0 ? null : { ...block, drops };
}

const NS = 1_000_000_000n;
export const minNs = ({ minSec, minNsec }: StreamBlock): bigint => BigInt(minSec) * NS + BigInt(minNsec);
export const maxNs = ({ maxSec, maxNsec }: StreamBlock): bigint => BigInt(maxSec) * NS + BigInt(maxNsec);
