import { codeOf, messageOf } from "../core/errors.ts";
import { parseBlock, type StoredBlock } from "../store/block-view.ts";
import type { Place } from "../store/errors.ts";
import type { ReadBlock } from "../store/prefetch.ts";
import { MetricScanner } from "./metric/scanner.ts";
import { BlockScanner } from "./scan.ts";
import { type BatchBlock, type BatchResult, ScanControl, type ScanJob } from "./scan-job.ts";

/** Where only the header of a block is needed, so much of it is read: that holds nearly all headers, and is a quarter of a block. */
const HEAD_BYTES = 16 * 1024;

/** One query's scans of batches, in a worker thread or in the main thread. */
export class BatchScan {
  private readonly scanner: BlockScanner | MetricScanner;
  private readonly control: ScanControl;
  private readonly textBytesMax: number;

  /** Throws QueryError when the job's query can't be run. */
  constructor(job: ScanJob) {
    this.control = new ScanControl(job.control, job.backward);
    this.textBytesMax = job.textBytesMax;
    this.scanner = job.evaluate === undefined ? new BlockScanner(job) : new MetricScanner(job, job.evaluate);
  }

  /** Those of the blocks that are in the store and, as far as is known now, are going to be read. */
  toRead(blocks: readonly BatchBlock[]): readonly BatchBlock[] {
    return this.scanner.stopped ? [] : blocks.filter((block) => block.bytes === null && this.wants(block));
  }

  /** Scans the blocks one after the other; `afterBlock` may give others a turn. A block that can't be read costs its own lines only. */
  async run(blocks: readonly BatchBlock[], read: ReadBlock, afterBlock?: () => Promise<void>): Promise<BatchResult> {
    const { scanner } = this;
    const lost: { order: number; reason: string }[] = [];
    let readBytes = 0;
    for (const block of blocks) {
      // The query fails by it, or gives what it has; the control's count says so.
      if (scanner.stopped || this.isOver) break;
      if (!this.wants(block)) continue;
      try {
        const place = { key: block.key, offset: block.offset };
        let view: StoredBlock | null = null;
        if (scanner.headersOnly && block.hide === null && block.bytes === null && block.length > HEAD_BYTES) {
          const reading = read({ ...place, length: HEAD_BYTES });
          const head = reading instanceof Promise ? await reading : reading;
          readBytes += head.length;
          view = parseHead(head, place);
        }
        if (view === null) {
          const reading = block.bytes === null ? read(block) : asBuffer(block.bytes);
          const bytes = reading instanceof Promise ? await reading : reading;
          readBytes += bytes.length;
          view = parseBlock(bytes, place);
        }
        const before = scanner.textBytes;
        scanner.scanBlock(view, block);
        this.control.addText(scanner.textBytes - before);
      } catch (error) {
        lost.push({ order: block.order, reason: messageOf(error) });
      }
      if (afterBlock !== undefined) await afterBlock();
    }
    const { entries, partial, stats } = scanner.take();
    return { entries, partial, stats: { ...stats, readBytes: stats.readBytes + readBytes }, lost };
  }

  private get isOver(): boolean {
    return this.textBytesMax > 0 && this.control.textBytes > this.textBytesMax;
  }

  private wants({ rows, timeMinNs, timeMaxNs }: BatchBlock): boolean {
    return rows !== null || this.scanner.wantsBlock(timeMinNs, timeMaxNs);
  }
}

/** The block whose first bytes these are; null when its header is longer. */
function parseHead(head: Buffer, place: Place): StoredBlock | null {
  try {
    return parseBlock(head, place);
  } catch (error) {
    // If it is damaged rather than long, reading all of it will show.
    if (codeOf(error) === "block_corrupt") return null;
    throw error;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
