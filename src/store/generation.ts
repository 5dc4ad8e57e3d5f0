import type { IntakeRange } from "./footer.ts";
import type { OpenBlock } from "./open-block.ts";
import { type CompressedBlock, type OpenStream, SealedBlock } from "./sealed-block.ts";
import type { SegmentInfo } from "./view.ts";

/** The lines between two flushes: what becomes one catalog entry. */
export class Generation {
  /** Streams that got a line. */
  readonly streams = new Set<OpenStream>();
  /** When the first line came, in milliseconds since 1970. */
  oldestMs: number | null = null;
  /** Compressed bytes of closed blocks. */
  pendingBytes = 0;
  /** Set by the flush. */
  covers: IntakeRange | null = null;
  /** Segments that are written already, by tenant. */
  readonly segments = new Map<string, SegmentInfo>();
  /** When the first of them was, by the writer's clock, and in milliseconds since 1970: a machine that sleeps may stop the former. */
  writtenMs = 0;
  writtenAtMs = 0;
  /** Closed blocks by stream, in order of arrival. */
  private readonly chunks = new Map<OpenStream, SealedBlock[]>();
  private uncompressed = 0;
  private onCompressed: () => void = () => {};

  /** The stream's closed blocks. */
  chunk(stream: OpenStream): readonly SealedBlock[] {
    return this.chunks.get(stream) ?? [];
  }

  seal(stream: OpenStream, block: OpenBlock): SealedBlock {
    const sealed = new SealedBlock(stream, block, this);
    const chunk = this.chunks.get(stream);
    if (chunk === undefined) this.chunks.set(stream, [sealed]);
    else chunk.push(sealed);
    this.uncompressed++;
    return sealed;
  }

  /** A sealed block has its compressed bytes now. */
  compressed(block: CompressedBlock): void {
    this.pendingBytes += block.bytes.length;
    this.uncompressed--;
    if (this.uncompressed === 0) this.onCompressed();
  }

  /** Resolves when all closed blocks are compressed, or `signal` is aborted. */
  whenCompressed(signal: AbortSignal): Promise<void> {
    if (this.uncompressed === 0 || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = () => {
        // The signal lives as long as the writer, and with a listener this generation would too.
        signal.removeEventListener("abort", finish);
        resolve();
      };
      this.onCompressed = finish;
      signal.addEventListener("abort", finish);
    });
  }

  /** All blocks by tenant, those of a stream together and in order of arrival. */
  blocksByTenant(): Map<string, CompressedBlock[]> {
    const out = new Map<string, CompressedBlock[]>();
    const streams = [...this.chunks.keys()].sort((a, b) =>
      a.canonical < b.canonical ? -1 : a.canonical > b.canonical ? 1 : 0,
    );
    for (const stream of streams) {
      const blocks = out.get(stream.tenant) ?? [];
      out.set(stream.tenant, blocks);
      for (const { pending } of this.chunk(stream)) {
        if (pending === null) throw new Error("commit: a block is not compressed yet");
        blocks.push(pending);
      }
    }
    return out;
  }
}
