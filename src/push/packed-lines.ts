import { encodeLineItem, lineItemBytesMax } from "../codec/push-batch.ts";
import type { LineTime } from "./distinct-times.ts";

/** First and largest memory of a push's lines: a small push takes little, and a large one is never copied to grow. */
const CHUNK_BYTES_MIN = 4096;
const CHUNK_BYTES_MAX = 256 << 10;
const GROWTH = 4;
/** Bytes of a line's length in front of it. */
const LENGTH_BYTES = 4;
/** A place is the chunk's number times this, and the byte in it: exact for two million chunks. */
const CHUNK_STEP = 2 ** 32;
/** Lines whose places are told of together, and what a place takes while its list grows. */
const PLACES_STEP = 1024;
const PLACE_BYTES = 16;

/**
 * Lines as the intake log has them, in few pieces of memory: what millions of objects would cost the garbage collector stops
 * everything else for tenths of a second.
 */
export class PackedLines {
  private readonly hold: (bytes: number) => void;
  private readonly chunks: Buffer[] = [];
  private chunk = Buffer.alloc(0);
  private at = 0;
  private count = 0;

  /** `hold` is told of the memory, and throws when there is none. */
  constructor(hold: (bytes: number) => void) {
    this.hold = hold;
  }

  /** Adds a line, and gives its place. */
  add({ sec, nsec }: LineTime, metadata: Buffer, line: Buffer): number {
    if (++this.count % PLACES_STEP === 0) this.hold(PLACES_STEP * PLACE_BYTES);
    const most = LENGTH_BYTES + lineItemBytesMax(metadata.length, line.length);
    if (this.at + most > this.chunk.length) this.grow(most);
    const { chunk, at } = this;
    const start = at + LENGTH_BYTES;
    this.at = encodeLineItem(chunk, start, sec, nsec, metadata, line);
    chunk.writeUInt32LE(this.at - start, at);
    return (this.chunks.length - 1) * CHUNK_STEP + at;
  }

  /** What an entry has of the line, behind its kind. */
  item(place: number): Buffer {
    const chunk = this.chunks[Math.floor(place / CHUNK_STEP)];
    const at = place % CHUNK_STEP;
    const start = at + LENGTH_BYTES;
    return chunk.subarray(start, start + chunk.readUInt32LE(at));
  }

  /** Bytes of what `item` gives. */
  itemBytes(place: number): number {
    return this.chunks[Math.floor(place / CHUNK_STEP)].readUInt32LE(place % CHUNK_STEP);
  }

  private grow(least: number): void {
    const usual = Math.min(CHUNK_BYTES_MAX, Math.max(CHUNK_BYTES_MIN, this.chunk.length * GROWTH));
    const bytes = Math.max(usual, least);
    this.hold(bytes);
    this.chunk = Buffer.allocUnsafeSlow(bytes);
    this.chunks.push(this.chunk);
    this.at = 0;
  }
}
