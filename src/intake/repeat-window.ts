import { WeirError } from "../core/errors.ts";

/** Bytes of what stands for a chunk, an append or a line. */
export const SEEN_BYTES = 16;

export interface WindowBounds {
  /** How many offsets back a thing may stand for the next one to be its repeat. */
  readonly entries: number;
  /** Most things that are remembered; those seen longest ago are forgotten first. */
  readonly max: number;
}

/**
 * What of a partition was seen lately, and where. Whether something is a repeat is a matter of the partition's log alone: it is
 * one when the same thing stands at most `entries` offsets before it, and not more than `max` others were seen since. So whoever
 * reads the log from `entries` offsets before comes to the same verdicts, at every start.
 */
export class RepeatWindow {
  private readonly bounds: WindowBounds;
  /** By the 16 bytes as latin1, the last offset. Whatever was seen last stands last. */
  private readonly places = new Map<string, number>();

  constructor(bounds: WindowBounds) {
    this.bounds = bounds;
  }

  get size(): number {
    return this.places.size;
  }

  /** Notes that `id` stands at `offset`, which is never below that of the call before. True when it is a repeat there. */
  see(id: Buffer, offset: number): boolean {
    const { places, bounds } = this;
    const key = id.toString("latin1");
    const last = places.get(key);
    // Set anew, it moves to the end: the map stays in the order of offsets.
    if (last !== undefined) places.delete(key);
    places.set(key, offset);
    for (const [oldest, place] of places) {
      if (places.size <= bounds.max && offset - place <= bounds.entries) break;
      places.delete(oldest);
    }
    return last !== undefined && offset - last <= bounds.entries;
  }

  /** All that is remembered, as `load` takes it: each 16 bytes and the offset as u64, little-endian, oldest first. */
  dump(): Buffer {
    const out = Buffer.allocUnsafe(this.places.size * ITEM_BYTES);
    let at = 0;
    for (const [key, offset] of this.places) {
      out.write(key, at, "latin1");
      out.writeBigUInt64LE(BigInt(offset), at + SEEN_BYTES);
      at += ITEM_BYTES;
    }
    return out;
  }

  /** Takes in what another window has dumped. Throws `repeat_window` for bytes that are none. */
  load(bytes: Buffer): void {
    if (bytes.length % ITEM_BYTES !== 0)
      throw new WeirError(
        "repeat_window",
        `window of repeats: got ${bytes.length} bytes, want a multiple of ${ITEM_BYTES}`,
      );
    let last = 0;
    for (let at = 0; at < bytes.length; at += ITEM_BYTES) {
      const offset = Number(bytes.readBigUInt64LE(at + SEEN_BYTES));
      if (offset < last)
        throw new WeirError("repeat_window", `window of repeats: offset ${offset} after ${last}, at byte ${at}`);
      last = offset;
      this.see(bytes.subarray(at, at + SEEN_BYTES), offset);
    }
  }

  clear(): void {
    this.places.clear();
  }
}

const ITEM_BYTES = SEEN_BYTES + 8;
