import type { ObjectStore } from "../../objects/store.ts";
import { corrupt } from "../errors.ts";
import type { PackedIndex } from "./packed-index.ts";

/** Consecutive blocks that were read together: blocks `first` up to `end`. */
interface Window {
  readonly first: number;
  readonly end: number;
  readonly bytes: Promise<Buffer>;
}

/**
 * A segment that compaction reads from its first block to its last. Some blocks are read at a time, and the next ones
 * while those are looked at, so that a far store's latency is paid once.
 */
export class SegmentInput {
  readonly key: string;
  readonly index: PackedIndex;
  /** Place of the segment among the inputs, in order of arrival. */
  readonly arrival: number;
  /** Bytes read. */
  bytesRead = 0;
  private readonly objects: ObjectStore;
  private readonly windowBytes: number;
  private current: Window | null = null;
  private ahead: Window | null = null;

  constructor(objects: ObjectStore, key: string, index: PackedIndex, arrival: number, windowBytes: number) {
    this.objects = objects;
    this.key = key;
    this.index = index;
    this.arrival = arrival;
    this.windowBytes = windowBytes;
  }

  /** The bytes of a block: a view, which keeps all that was read with it from the collector. */
  async block(b: number): Promise<Buffer> {
    if (this.current === null || !contains(this.current, b)) {
      this.current = this.ahead !== null && contains(this.ahead, b) ? this.ahead : this.read(b);
      this.ahead = this.current.end < this.index.offsets.length ? this.read(this.current.end) : null;
    }
    const { offsets, lengths } = this.index;
    const { first, bytes } = this.current;
    const at = offsets[b] - offsets[first];
    // Of many segments that hold one stream after another, only those hold memory whose turn it is.
    if (b === offsets.length - 1) this.current = null;
    return (await bytes).subarray(at, at + lengths[b]);
  }

  /** Forgets what was read. */
  release(): void {
    this.current = null;
    this.ahead = null;
  }

  private read(first: number): Window {
    const { offsets, lengths } = this.index;
    const start = offsets[first];
    let end = first + 1;
    while (end < offsets.length && offsets[end] + lengths[end] - start <= this.windowBytes) end++;
    const length = offsets[end - 1] + lengths[end - 1] - start;
    const bytes = this.range(start, length);
    // Nobody may come to wait for what is read ahead; whoever does gets the error.
    bytes.catch(() => undefined);
    return { first, end, bytes };
  }

  private async range(start: number, length: number): Promise<Buffer> {
    const bytes = await this.objects.getRange(this.key, start, length);
    if (bytes.length !== length) {
      throw corrupt("segment_corrupt", "bytes of a range", bytes.length, length, { key: this.key, offset: start });
    }
    this.bytesRead += length;
    return bytes;
  }
}

const contains = ({ first, end }: Window, b: number) => b >= first && b < end;
