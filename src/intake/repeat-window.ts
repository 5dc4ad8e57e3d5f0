import { WeirError } from "../core/errors.ts";
import type { RoomUser, WindowRoom } from "./window-room.ts";

/** Bytes of what stands for a chunk, an append or a line. */
export const SEEN_BYTES = 16;
const ITEM_BYTES = SEEN_BYTES + 8;
/** Things that are kept for nothing before room is made. */
const SPARE = 1024;

export interface WindowBounds {
  /** How many offsets back a thing may stand for the next one to be its repeat. */
  readonly entries: number;
  /** Most things that are remembered; those seen longest ago are forgotten first. */
  readonly max: number;
}

/**
 * What of a partition was seen lately, and where. Whether something is a repeat is a matter of the partition's log alone: it is
 * one when the same thing stands at most `entries` offsets before it, and not more than `max` others were seen since. So whoever
 * reads the log from `entries` offsets before comes to the same verdicts, at every start. (So it is as long as the room is enough
 * that it shares with others; beyond that it forgets earlier.)
 */
export class RepeatWindow implements RoomUser {
  private readonly bounds: WindowBounds;
  private readonly room: WindowRoom | null;
  /** By the 16 bytes as latin1, which of all things ever seen it was, the last time. */
  private readonly latest = new Map<string, number>();
  /*
   * What was seen, in order, from the `first` on; what was seen again since counts no more. A Map alone would do, if looking for
   * its oldest member did not cost a walk over all that were removed before it.
   */
  private keys: string[] = [];
  private offsets: number[] = [];
  private head = 0;
  private first = 0;

  constructor(bounds: WindowBounds, room: WindowRoom | null = null) {
    this.bounds = bounds;
    this.room = room;
    room?.enter(this);
  }

  get size(): number {
    return this.latest.size;
  }

  /** Notes that `id` stands at `offset`, which is never below that of the call before. True when it is a repeat there. */
  see(id: Buffer, offset: number): boolean {
    const { latest, bounds } = this;
    const key = id.toString("latin1");
    const { size } = latest;
    const before = latest.get(key);
    const last = before === undefined ? -1 : this.offsets[before - this.first];
    latest.set(key, this.first + this.keys.length);
    this.keys.push(key);
    this.offsets.push(offset);
    this.forget(offset);
    this.room?.changed(this, latest.size - size);
    return last !== -1 && offset - last <= bounds.entries;
  }

  shed(count: number): number {
    const { latest, keys } = this;
    const sizeMin = Math.max(0, latest.size - count);
    const before = latest.size;
    for (; this.head < keys.length && latest.size > sizeMin; this.head++) {
      const key = keys[this.head];
      if (latest.get(key) === this.first + this.head) latest.delete(key);
    }
    this.tidy();
    return before - latest.size;
  }

  /** Takes no more of the room, and is of no use any more but to be dumped. */
  leaveRoom(): void {
    this.room?.leave(this);
  }

  private forget(offset: number): void {
    const { latest, keys, offsets, bounds } = this;
    for (; this.head < keys.length; this.head++) {
      const key = keys[this.head];
      if (latest.get(key) !== this.first + this.head) continue;
      if (latest.size <= bounds.max && offset - offsets[this.head] <= bounds.entries) break;
      latest.delete(key);
    }
    this.tidy();
  }

  private tidy(): void {
    const { latest, keys } = this;
    if (this.head > SPARE && this.head * 2 > keys.length) this.cut();
    else if (keys.length - this.head > SPARE + 2 * latest.size) this.compact();
  }

  /** Gives back the room of what is forgotten. */
  private cut(): void {
    this.keys = this.keys.slice(this.head);
    this.offsets = this.offsets.slice(this.head);
    this.first += this.head;
    this.head = 0;
  }

  /** Leaves out what was seen again since. */
  private compact(): void {
    const kept = [...this.live()];
    this.keys = kept.map(([key]) => key);
    this.offsets = kept.map(([, offset]) => offset);
    this.head = 0;
    for (const [i, key] of this.keys.entries()) this.latest.set(key, this.first + i);
  }

  private *live(): Generator<[key: string, offset: number]> {
    for (let i = this.head; i < this.keys.length; i++) {
      if (this.latest.get(this.keys[i]) === this.first + i) yield [this.keys[i], this.offsets[i]];
    }
  }

  /** All that is remembered, as `load` takes it: each 16 bytes and the offset as u64, little-endian, oldest first. */
  dump(): Buffer {
    const out = Buffer.allocUnsafe(this.latest.size * ITEM_BYTES);
    let at = 0;
    for (const [key, offset] of this.live()) {
      out.write(key, at, "latin1");
      out.writeUInt32LE(offset % 0x1_0000_0000, at + SEEN_BYTES);
      out.writeUInt32LE(Math.floor(offset / 0x1_0000_0000), at + SEEN_BYTES + 4);
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
    this.room?.changed(this, -this.latest.size);
    this.latest.clear();
    this.keys = [];
    this.offsets = [];
    this.head = 0;
  }
}
