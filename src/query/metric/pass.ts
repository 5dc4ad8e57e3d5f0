import { WeirError } from "../../core/errors.ts";
import { Slices } from "../../core/slices.ts";
import { batchBlock, bytesRead, checkBytesRead, type LogRunDeps, type LostBlock } from "../log-run.ts";
import type { PlannedBlock } from "../plan.ts";
import { addStats, type BatchResult, ScanControl, type ScanJob } from "../scan-job.ts";
import { QueryError } from "../syntax/errors.ts";
import { CellTable, type PackedCells } from "./cells.ts";
import { kindOf } from "./kinds.ts";
import type { Leaf } from "./plan-metric.ts";
import { MetricScanner } from "./scanner.ts";
import type { EvalTimes } from "./windows.ts";

/** Blocks that are sorted by place before they are cut into batches, so that a batch reads neighbours. */
const BLOCKS_AT_ONCE = 2048;
/**
 * Work of a batch: compressed bytes to inflate, and what a header alone counts. 1 MiB is some 15 ms of work, so that
 * workers end together and others get their turn; the first ones are smaller, so that all threads begin at once.
 */
const BATCH_WORK_FIRST = 128 * 1024;
const BATCH_WORK_MAX = 1024 * 1024;
const HEADER_WORK = 4 * 1024;
/** Text that counts as one compressed byte, so that a batch of lines that compress to nothing is no giant. */
const TEXT_BYTES_A_BYTE = 8;
/** Series or cells that are merged before others may have a turn: about a millisecond. */
const MERGE_AT_ONCE = 2000;

export interface MetricDeps extends LogRunDeps {
  /** Most bytes of partial results. */
  readonly maxPartialBytes: number;
  /** Series of a leaf above which the query has failed for sure; null when it can't be told. */
  readonly maxLeafSeries: number | null;
}

/** The partial results of all blocks, for each leaf. */
export interface MetricPassResult {
  readonly tables: readonly CellTable[];
  readonly lost: readonly LostBlock[];
}

/**
 * Reduces all blocks of a plan to partial results: from the index alone where that says all, open blocks here in slices,
 * everything else in batches on the executor. Batches are merged in the order in which they were made, whichever came back
 * first, so that the same query over the same data has the same result to the last digit.
 */
export class MetricPass {
  private readonly job: ScanJob;
  private readonly deps: MetricDeps;
  private readonly control: ScanControl;
  private readonly scanner: MetricScanner;
  private readonly tables: readonly CellTable[];
  private readonly blocks = new Map<number, PlannedBlock>();
  private readonly lost: LostBlock[] = [];
  private readonly running = new Set<Promise<void>>();
  /** Ends when all batches so far are merged. */
  private merged: Promise<void> = Promise.resolve();
  private work = BATCH_WORK_FIRST;
  private failure: unknown = null;
  private readonly slices = new Slices();

  /** Throws QueryError when the query can't be run. */
  constructor(job: ScanJob, times: EvalTimes, leaves: readonly Leaf[], deps: MetricDeps) {
    this.job = job;
    this.deps = deps;
    this.control = new ScanControl(job.control, job.backward);
    this.scanner = new MetricScanner(job, times);
    this.tables = leaves.map(({ op }) => new CellTable(kindOf(op)));
  }

  /** Errors: QueryError for samples with errors and for too many series, `query_bytes_limit`, `query_partial_size`. */
  async run(): Promise<MetricPassResult> {
    const { executor, signal, cut } = this.deps;
    const onAbort = () => this.stop();
    const forget = cut?.onOver(onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await this.scan();
      await Promise.all(this.running);
      if (this.failure !== null) throw this.failure;
      signal.throwIfAborted();
      return { tables: this.tables, lost: this.lost };
    } finally {
      forget?.();
      signal.removeEventListener("abort", onAbort);
      forget?.();
      this.control.stop();
      executor.end(this.job);
    }
  }

  private async scan(): Promise<void> {
    const { plan, stats } = this.deps;
    let planned: PlannedBlock[] = [];
    for (let block = await plan.next(); block !== null && !this.isOver; block = await plan.next()) {
      if (this.deps.cut?.isOver === true) break;
      const { canonical, labels } = block.stream;
      const leaves = this.scanner.wanting(canonical, labels, block);
      if (leaves.length === 0) {
        stats.plan.pruned.time++;
        continue;
      }
      stats.plannedBlocks++;
      if (block.open !== null) await this.scanOpen(block);
      else if (block.hide === null && leaves.every((leaf) => leaf.canCount(labels, block))) {
        for (const leaf of leaves) leaf.count(labels, block);
        stats.fromIndex++;
        stats.stored.lines += block.rows;
        stats.stored.matched += block.rows;
        await this.slices.turn();
      } else {
        planned.push(block);
        if (planned.length < BLOCKS_AT_ONCE) continue;
        await this.submitAll(planned);
        planned = [];
      }
    }
    await this.submitAll(planned);
    await this.takeOwn();
  }

  private get isLost(): boolean {
    return this.failure !== null || this.deps.signal.aborted;
  }

  /** Nothing more is looked at: the query has failed, or gives what it has. */
  private get isOver(): boolean {
    return this.isLost || this.deps.cut?.isOver === true;
  }

  private async submitAll(planned: readonly PlannedBlock[]): Promise<void> {
    const inPlace = [...planned].sort(
      (a, b) => compareTexts(a.segment?.key ?? "", b.segment?.key ?? "") || a.offset - b.offset,
    );
    let batch: PlannedBlock[] = [];
    let work = 0;
    for (const block of inPlace) {
      batch.push(block);
      work += this.scanner.headersOnly ? HEADER_WORK : Math.max(block.length, block.textBytes / TEXT_BYTES_A_BYTE);
      if (work < this.work) continue;
      await this.submit(batch);
      batch = [];
      work = 0;
      this.work = Math.min(this.work * 1.5, BATCH_WORK_MAX);
    }
    if (batch.length > 0) await this.submit(batch);
  }

  private async submit(blocks: readonly PlannedBlock[]): Promise<void> {
    const { executor, stats } = this.deps;
    while (this.running.size >= executor.ahead) await Promise.race(this.running);
    if (this.isOver) return;
    for (const block of blocks) this.blocks.set(block.order, block);
    stats.batches++;
    const before = this.merged;
    const done = executor
      .run(this.job, blocks.map(batchBlock))
      .then(async (result) => {
        await before;
        await this.take(result, blocks);
      })
      .catch((error: unknown) => this.fail(error))
      .finally(() => this.running.delete(done));
    this.merged = done;
    this.running.add(done);
  }

  private async take(result: BatchResult, blocks: readonly PlannedBlock[]): Promise<void> {
    if (this.isLost) return;
    const { stats, maxBytesRead, cut } = this.deps;
    stats.addBatch(result);
    for (const { order, reason } of result.lost) {
      const block = this.blocks.get(order);
      if (block !== undefined) this.lost.push({ block, reason });
    }
    for (const { order } of blocks) this.blocks.delete(order);
    const { partial } = result;
    if (partial !== null) await this.mergeAll(partial);
    checkBytesRead(bytesRead(stats, this.control), maxBytesRead, cut);
  }

  private async mergeAll({ leaves, error }: NonNullable<BatchResult["partial"]>): Promise<void> {
    if (error !== null) throw new QueryError(error);
    for (let i = 0; i < leaves.length; i++) {
      const cells = leaves[i];
      if (cells !== null) await this.merge(this.tables[i], cells);
    }
    this.checkSize();
  }

  private async merge(table: CellTable, packed: PackedCells): Promise<void> {
    const ids = new Uint32Array(packed.texts.length);
    for (let i = 0; i < ids.length; i++) {
      ids[i] = table.seriesOf(packed.texts[i]);
      if (i % MERGE_AT_ONCE === MERGE_AT_ONCE - 1) await this.slices.turn();
    }
    const count = packed.series.length;
    const cells = new Uint32Array(count);
    for (let from = 0; from < count; from += MERGE_AT_ONCE) {
      table.merge(packed, ids, from, Math.min(count, from + MERGE_AT_ONCE), cells);
      await this.slices.turn();
    }
    if (packed.kept !== null) table.kept?.append(packed.kept, cells);
    await this.slices.turn();
  }

  private checkSize(): void {
    const { maxPartialBytes, maxLeafSeries } = this.deps;
    for (const { texts } of this.tables) {
      if (maxLeafSeries !== null && texts.length > maxLeafSeries) throw seriesLimit(maxLeafSeries);
    }
    const bytes = this.tables.reduce((sum, table) => sum + table.bytes, 0);
    if (bytes <= maxPartialBytes) return;
    throw new WeirError(
      "query_partial_size",
      `the query needs too much memory for its series and samples (got: ${bytes}B, limit: ${maxPartialBytes}B); consider aggregating by fewer labels, dropping labels that parsers find, or reducing the time range`,
    );
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
    const { order, hide, timeMinNs, timeMaxNs } = block;
    const scanned = { order, rows: null, hide, timeMinNs, timeMaxNs };
    const before = this.scanner.textBytes;
    for (let row = 0; row < open.rows && !this.isOver; ) {
      row = this.scanner.scanSlice(open, scanned, row, this.slices.deadline());
      await this.slices.turn();
    }
    const { stats, maxBytesRead, cut } = this.deps;
    this.control.addText(this.scanner.textBytes - before);
    checkBytesRead(bytesRead(stats, this.control), maxBytesRead, cut);
  }

  /** What was counted in this thread: open blocks, and blocks whose index said all. */
  private async takeOwn(): Promise<void> {
    await this.merged;
    const { partial, stats } = this.scanner.take();
    addStats(this.deps.stats.open, stats);
    await this.mergeAll(partial);
  }
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Loki's text for a result of more series than a query may have. */
export function seriesLimit(most: number): QueryError {
  return new QueryError(
    `maximum number of series (${most}) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()`,
  );
}

/** What is said instead when an answer is cut to so many series. */
export function seriesCut(most: number): string {
  return `maximum number of series (${most}) reached for a single query; returning partial results`;
}
