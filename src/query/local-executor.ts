import { Slices } from "../core/slices.ts";
import type { SegmentReader } from "../store/reader.ts";
import { BatchScan } from "./batch-scan.ts";
import {
  type BatchBlock,
  type BatchResult,
  emptyResult,
  ScanControl,
  type ScanExecutor,
  type ScanJob,
} from "./scan-job.ts";

/** Scans in this thread, block after block with turns for others between: for `threads: 0` and for stores in memory. */
export class LocalExecutor implements ScanExecutor {
  readonly parallel = 1;
  readonly ahead = 3;
  private readonly reader: SegmentReader;
  private readonly scans = new Map<number, BatchScan>();
  private work: Promise<unknown> = Promise.resolve();

  constructor(reader: SegmentReader) {
    this.reader = reader;
  }

  run(job: ScanJob, blocks: readonly BatchBlock[]): Promise<BatchResult> {
    const result = this.work.then(() => this.scan(job, blocks));
    // The next batch runs whatever became of this one; whoever asked for it hears of its error.
    this.work = result.catch(() => undefined);
    return result;
  }

  /** The scan sees the control by itself. */
  stop(): void {}

  end(job: ScanJob): void {
    this.scans.delete(job.id);
  }

  async close(): Promise<void> {
    await this.work;
  }

  private async scan(job: ScanJob, blocks: readonly BatchBlock[]): Promise<BatchResult> {
    // A batch that waited behind the end of its query.
    if (new ScanControl(job.control, job.backward).stopped) return emptyResult();
    let scan = this.scans.get(job.id);
    if (scan === undefined) {
      scan = new BatchScan(job);
      this.scans.set(job.id, scan);
    }
    const slices = new Slices();
    return scan.run(blocks, this.reader.prefetch(scan.toRead(blocks)), () => slices.turn());
  }
}
