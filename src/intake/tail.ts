import type { IntakeEntry } from "../core/intake-entry.ts";

/**
 * Durable entries that nobody has taken yet, kept in memory up to a number of bytes so that the pipeline need not
 * read them from disk. When it is full, newer entries are left out (they are read from disk) rather than older ones
 * thrown away: the reader needs the oldest next, and a reader that can't keep up then still finds many here.
 */
export class Tail {
  bytes = 0;
  private readonly bytesMax: number;
  private readonly entries = new Map<number, IntakeEntry>();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  add(entry: IntakeEntry): void {
    const size = sizeOf(entry);
    if (this.bytes + size > this.bytesMax) return;
    this.entries.set(entry.offset, entry);
    this.bytes += size;
  }

  /** Removes and gives the entry with this offset, if it is here. */
  take(offset: number): IntakeEntry | undefined {
    const entry = this.entries.get(offset);
    if (entry !== undefined) this.remove(entry);
    return entry;
  }

  dropBelow(offset: number): void {
    // Entries stand in the order of their offsets.
    for (const entry of this.entries.values()) {
      if (entry.offset >= offset) break;
      this.remove(entry);
    }
  }

  clear(): void {
    this.entries.clear();
    this.bytes = 0;
  }

  private remove(entry: IntakeEntry): void {
    this.entries.delete(entry.offset);
    this.bytes -= sizeOf(entry);
  }
}

// What the objects around the bytes take, roughly, so that many tiny entries are bounded too.
const OVERHEAD_BYTES = 512;

function sizeOf({ payload, inflated }: IntakeEntry): number {
  return payload.length + (inflated?.length ?? 0) + OVERHEAD_BYTES;
}
