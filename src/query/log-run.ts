import { messageOf, WeirError } from "../core/errors.ts";
import { Slices } from "../core/slices.ts";
import { joinNs } from "../core/time.ts";
import type { Cut } from "./cut.ts";
import { MergedEntries } from "./merge.ts";
import type { BlockPlan, PlannedBlock } from "./plan.ts";
import { RowBound } from "./row-bound.ts";
import { BlockScanner } from "./scan.ts";
import {
  addStats,
  type BatchBlock,
  type BatchResult,
  ScanControl,
  type ScanExecutor,
  type ScanJob,
} from "./scan-job.ts";
import type { QueryStats } from "./stats.ts";

/**
 * Compressed bytes of a query's first batch and of its largest. The first is one block, because the newest lines may
 * be all that is wanted; 1 MiB is some 10 ms of work, so that workers end together and others get their turn.
 */
const FIRST_BATCH_BYTES = 64 * 1024;
const BATCH_BYTES_MAX = 1024 * 1024;
/** Text that counts as one compressed byte, so that a batch of lines that compress to nothing is no giant. */
const TEXT_BYTES_A_BYTE = 8;
/** Blocks of a batch of mode `times`, which reads headers only. */
const TIMES_FIRST_BLOCKS = 32;
const TIMES_BLOCKS_MAX = 512;
/** Blocks that a warning counts but does not list. */
const WARNINGS_MAX = 10;

export interface LogRunDeps {
  readonly executor: ScanExecutor;
  readonly plan: BlockPlan;
  readonly stats: QueryStats;
  readonly maxBytesRead: number;
  readonly maxResultBytes: number;
  readonly signal: AbortSignal;
  /** Set for a query that gives what it has when it reaches a limit. */
  readonly cut?: Cut | null;
}

/** One pass over the blocks of a plan: the best entries, and what could not be read. */
export interface PassResult {
  readonly entries: MergedEntries;
  /** Each block that was looked at and may hold one of the entries, by its order. */
  readonly blocks: ReadonlyMap<number, PlannedBlock>;
  readonly lost: readonly LostBlock[];
}

export interface LostBlock {
  readonly block: PlannedBlock;
  readonly reason: string;
}

/**
 * Runs `job` over a plan: open blocks here in slices, everything else in batches on the executor. Stops as soon as no
 * block that is left can hold a better entry.
 */
export class LogPass {
  private readonly job: ScanJob;
  private readonly deps: LogRunDeps;
  private readonly control: ScanControl;
  private readonly entries: MergedEntries;
  private readonly blocks = new Map<number, PlannedBlock>();
  private readonly lost: LostBlock[] = [];
  private readonly running = new Set<Promise<void>>();
  private failure: unknown = null;
  private scanner: BlockScanner | null = null;

  constructor(job: ScanJob, deps: LogRunDeps) {
    this.job = job;
    this.deps = deps;
    this.control = new ScanControl(job.control, job.backward);
    this.entries = new MergedEntries(job.limit, job.backward, deps.maxResultBytes);
  }

  async run(): Promise<PassResult> {
    const { plan, executor, signal, cut } = this.deps;
    const onAbort = () => this.stop();
    const forget = cut?.onOver(onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await this.scan(plan);
      await Promise.all(this.running);
      if (this.failure !== null) throw this.failure;
      signal.throwIfAborted();
      return { entries: this.entries, blocks: this.blocks, lost: this.lost };
    } finally {
      signal.removeEventListener("abort", onAbort);
      forget?.();
      this.control.stop();
      executor.end(this.job);
    }
  }

  private async scan(plan: BlockPlan): Promise<void> {
    const { signal, stats } = this.deps;
    const growth = new BatchGrowth(this.job.mode === "times");
    // Only where every line is wanted do blocks say what they will bring.
    const bound = this.job.mode === "times" ? new RowBound(this.job) : null;
    let batch: PlannedBlock[] = [];
    for (;;) {
      const block = await plan.next();
      if (this.failure !== null || signal.aborted || this.deps.cut?.isOver === true) return;
      // Blocks come best first, so the first that can't help is the end.
      if (block === null || !this.canHelp(block) || bound?.canHelp(block) === false) break;
      // Rows of which some are hidden are no promise of so many lines.
      if (block.hide === null) bound?.add(block);
      stats.plannedBlocks++;
      if (block.open !== null) {
        await this.scanOpen(block);
        continue;
      }
      batch.push(block);
      if (growth.isEnough(batch)) {
        await this.submit(batch);
        batch = [];
      }
    }
    await this.submit(batch);
  }

  /** Whether the best line that the block can hold would be kept. */
  private canHelp({ timeMinNs, timeMaxNs, order }: PlannedBlock): boolean {
    const { backward } = this.job;
    const ns = backward ? timeMaxNs : timeMinNs;
    const row = backward ? Number.MAX_SAFE_INTEGER : 0;
    const sec = ns / 1_000_000_000n;
    return this.entries.wants({ sec: Number(sec), nsec: Number(ns - sec * 1_000_000_000n), block: order, row });
  }

  private async submit(planned: readonly PlannedBlock[]): Promise<void> {
    const { executor, stats } = this.deps;
    while (this.running.size >= executor.ahead) await Promise.race(this.running);
    // Others may have come back meanwhile with all that is wanted.
    const blocks = planned.filter((block) => this.canHelp(block));
    if (blocks.length === 0 || this.failure !== null || this.deps.signal.aborted) return;
    for (const block of blocks) this.blocks.set(block.order, block);
    stats.batches++;
    const done = executor
      .run(this.job, blocks.map(batchBlock))
      .then((result) => this.take(result))
      .catch((error: unknown) => this.fail(error))
      .finally(() => this.running.delete(done));
    this.running.add(done);
  }

  private take(result: BatchResult): void {
    const { stats } = this.deps;
    stats.addBatch(result);
    for (const { order, reason } of result.lost) {
      const block = this.blocks.get(order);
      if (block !== undefined) this.lost.push({ block, reason });
    }
    if (result.entries !== null) this.merge(result.entries);
    this.checkBytes();
  }

  private checkBytes(): void {
    const { stats, maxBytesRead, cut } = this.deps;
    checkBytesRead(bytesRead(stats, this.control), maxBytesRead, cut);
  }

  private merge(entries: NonNullable<BatchResult["entries"]>): void {
    this.entries.merge(entries);
    const worst = this.entries.worst();
    if (worst === null) return;
    const bound = joinNs(worst.sec, worst.nsec);
    if (bound === this.control.boundNs) return;
    this.control.bound(bound);
    this.deps.executor.bounded?.(this.job);
  }

  private fail(error: unknown): void {
    this.failure ??= error;
    this.stop();
  }

  private stop(): void {
    this.control.stop();
    this.deps.executor.stop(this.job);
  }

  private async scanOpen(block: PlannedBlock): Promise<void> {
    const { open } = block;
    if (open === null) return;
    this.scanner ??= new BlockScanner(this.job);
    const slices = new Slices();
    for (let row = 0; row < open.rows; ) {
      row = this.scanner.scanSlice(open, block, row, slices.deadline());
      await slices.turn();
      if (this.deps.signal.aborted) return;
    }
    const result = this.scanner.take();
    addStats(this.deps.stats.open, result.stats);
    this.control.addText(result.stats.textBytes);
    if (result.entries !== null) this.merge(result.entries);
    this.blocks.set(block.order, block);
    this.checkBytes();
  }
}

/** How large the next batch may be. */
class BatchGrowth {
  private readonly byBlocks: boolean;
  private enough: number;

  constructor(byBlocks: boolean) {
    this.byBlocks = byBlocks;
    this.enough = byBlocks ? TIMES_FIRST_BLOCKS : FIRST_BATCH_BYTES;
  }

  /** True when the batch is large enough; the next one may then be larger. */
  isEnough(batch: readonly PlannedBlock[]): boolean {
    const size = this.byBlocks
      ? batch.length
      : batch.reduce((sum, { length, textBytes }) => sum + Math.max(length, textBytes / TEXT_BYTES_A_BYTE), 0);
    if (size < this.enough) return false;
    this.enough = Math.min(this.enough * 1.5, this.byBlocks ? TIMES_BLOCKS_MAX : BATCH_BYTES_MAX);
    return true;
  }
}

/** A planned block as a worker gets it. The bytes of one that is not in the store are copied, to be handed over. */
export function batchBlock(block: PlannedBlock): BatchBlock {
  const { order, offset, length, timeMinNs, timeMaxNs, segment, pending, hide } = block;
  const bytes = pending === null ? null : new Uint8Array(pending.bytes);
  return { key: segment?.key ?? "", offset, length, order, timeMinNs, timeMaxNs, bytes, rows: null, hide };
}

/** Text that a query has read: what came back, or what batches under way have counted, whichever is more. */
export function bytesRead({ stored, open }: QueryStats, control: ScanControl): number {
  return Math.max(stored.textBytes + open.textBytes, control.textBytes);
}

/** Throws `query_bytes_limit`. */
export function checkBytesRead(bytes: number, bytesMax: number, cut: Cut | null = null): void {
  if (bytesMax === 0 || bytes <= bytesMax) return;
  if (cut !== null) {
    cut.stop(`it had read more bytes than it may (query: ${bytes}B, max_query_bytes_read: ${bytesMax}B)`);
    return;
  }
  throw new WeirError(
    "query_bytes_limit",
    `the query would read too many bytes (query: ${bytes}B, limit: ${bytesMax}B); consider adding more specific stream selectors or reduce the time range of the query`,
  );
}

/** Sentences about blocks whose lines are missing. */
export function lostWarnings(lost: readonly LostBlock[]): string[] {
  const lines = lost.slice(0, WARNINGS_MAX).map(({ block, reason }) => {
    const where = block.segment === null ? "a block in memory" : `${block.segment.key} at byte ${block.offset}`;
    return `${block.rows} lines are missing, because they could not be read: ${where}: ${reason}`;
  });
  if (lost.length > WARNINGS_MAX) lines.push(`and ${lost.length - WARNINGS_MAX} more blocks like these`);
  return lines;
}

/** What a segment whose index can't be read costs. */
export function lostSegmentWarning(key: string, lines: number, error: unknown): string {
  return `up to ${lines} lines are missing, because the index of ${key} could not be read: ${messageOf(error)}`;
}

/** What a page of the catalog that can't be read costs. */
export function lostPartWarning(key: string, lines: number, error: unknown): string {
  return `up to ${lines} lines are missing, because ${key}, a part of the catalog, could not be read: ${messageOf(error)}`;
}
