import { Slices } from "../core/slices.ts";
import { batchBlock, bytesRead, checkBytesRead, type LogRunDeps, type LostBlock, type PassResult } from "./log-run.ts";
import { MergedEntries } from "./merge.ts";
import type { PlannedBlock } from "./plan.ts";
import { BlockScanner } from "./scan.ts";
import { addStats, type BatchBlock, type BatchResult, ScanControl, type ScanJob } from "./scan-job.ts";

/** Rows of an open block that are made entries of before others may have a turn: about a millisecond. */
const ROWS_AT_ONCE = 64;
/** Entries that are packed and merged at once: some 2 ms where each has labels of its own. All 5000 of an answer held others up for 10 to 25. */
const ENTRIES_AT_ONCE = 512;

/**
 * Makes entries of the rows that a pass of mode `times` found: only the blocks that hold them are inflated. `job` has
 * mode `rows` and the same limit and direction.
 */
export async function fetchRows(
  pass: PassResult,
  job: ScanJob,
  { executor, stats, maxBytesRead, maxResultBytes, signal, cut }: LogRunDeps,
): Promise<{ entries: MergedEntries; lost: LostBlock[] }> {
  const entries = new MergedEntries(job.limit, job.backward, maxResultBytes);
  const lost: LostBlock[] = [];
  const stored: BatchBlock[] = [];
  const slices = new Slices();
  const control = new ScanControl(job.control, job.backward);
  let scanner: BlockScanner | null = null;
  const take = (result: BatchResult) => {
    stats.addBatch(result);
    // Batches end where they have read so much, and what is left of them is then missing.
    checkBytesRead(bytesRead(stats, control), maxBytesRead, cut);
    if (result.entries !== null) entries.merge(result.entries);
    for (const { order, reason } of result.lost) {
      const block = pass.blocks.get(order);
      if (block !== undefined) lost.push({ block, reason });
    }
  };
  const takeOwn = () => {
    const found = scanner?.take() ?? null;
    if (found === null) return;
    addStats(stats.open, found.stats);
    control.addText(found.stats.textBytes);
    if (found.entries !== null) entries.merge(found.entries);
  };
  let untaken = 0;
  for (const [block, rows] of rowsByBlock(pass)) {
    if (block.open === null) {
      // The rows have been chosen among those that may be seen.
      stored.push({ ...batchBlock(block), rows, hide: null });
      continue;
    }
    scanner ??= new BlockScanner(job);
    for (let at = 0; at < rows.length; at += ROWS_AT_ONCE) {
      const some = { order: block.order, rows: rows.subarray(at, at + ROWS_AT_ONCE), hide: null };
      scanner.scanBlock(block.open, some, at === 0);
      untaken += some.rows.length;
      if (untaken >= ENTRIES_AT_ONCE) {
        await slices.turn();
        takeOwn();
        untaken = 0;
      }
      await slices.turn();
    }
  }
  takeOwn();
  checkBytesRead(bytesRead(stats, control), maxBytesRead, cut);
  signal.throwIfAborted();
  const onAbort = () => {
    control.stop();
    executor.stop(job);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const batches = evenly(stored, executor.parallel * 2);
    for (const result of await Promise.all(batches.map((batch) => executor.run(job, batch)))) take(result);
    signal.throwIfAborted();
    return { entries, lost };
  } finally {
    signal.removeEventListener("abort", onAbort);
    executor.end(job);
  }
}

/** The rows wanted of each block, in ascending order. */
function rowsByBlock({ entries, blocks }: PassResult): Map<PlannedBlock, Uint32Array> {
  const rows = new Map<number, number[]>();
  for (let i = 0; i < entries.size; i++) {
    const { block, row } = entries.key(i);
    const known = rows.get(block);
    if (known === undefined) rows.set(block, [row]);
    else known.push(row);
  }
  const found = new Map<PlannedBlock, Uint32Array>();
  for (const [order, list] of rows) {
    const block = blocks.get(order);
    if (block !== undefined) found.set(block, Uint32Array.from(list).sort());
  }
  return found;
}

/** At most `parts` batches of about the same number of blocks. */
function evenly(blocks: readonly BatchBlock[], parts: number): BatchBlock[][] {
  const size = Math.max(1, Math.ceil(blocks.length / parts));
  const batches: BatchBlock[][] = [];
  for (let i = 0; i < blocks.length; i += size) batches.push(blocks.slice(i, i + size));
  return batches;
}
