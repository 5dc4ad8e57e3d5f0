import { messageOf } from "../core/errors.ts";
import { parseBlock } from "../store/block-view.ts";
import type { ReadBlock } from "../store/thread-reader.ts";
import { BlockScanner } from "./scan.ts";
import type { BatchBlock, BatchResult, ScanJob } from "./scan-job.ts";

/** One query's scans of batches, in a worker thread or in the main thread. */
export class BatchScan {
  private readonly scanner: BlockScanner;
  private readonly read: ReadBlock;

  /** Throws QueryError when the job's query can't be run. */
  constructor(job: ScanJob, read: ReadBlock) {
    this.scanner = new BlockScanner(job);
    this.read = read;
  }

  /** Scans the blocks one after the other; `afterBlock` may give others a turn. A block that can't be read costs its own lines only. */
  async run(blocks: readonly BatchBlock[], afterBlock?: () => Promise<void>): Promise<BatchResult> {
    const { scanner } = this;
    const lost: { order: number; reason: string }[] = [];
    let readBytes = 0;
    for (const block of blocks) {
      if (scanner.stopped) break;
      if (block.rows === null && !scanner.wantsBlock(block.timeMinNs, block.timeMaxNs)) continue;
      try {
        const reading = block.bytes === null ? this.read(block) : asBuffer(block.bytes);
        const bytes = reading instanceof Promise ? await reading : reading;
        readBytes += bytes.length;
        scanner.scanBlock(parseBlock(bytes, { key: block.key, offset: block.offset }), block.order, block.rows);
      } catch (error) {
        lost.push({ order: block.order, reason: messageOf(error) });
      }
      if (afterBlock !== undefined) await afterBlock();
    }
    const { entries, stats } = scanner.take();
    return { entries, stats: { ...stats, readBytes: stats.readBytes + readBytes }, lost };
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
