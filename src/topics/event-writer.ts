import { Packer } from "../codec/pack.ts";
import type { Pair } from "./facts.ts";

/** Seconds that an EventTime can say; the two above are taken for markers of groups. */
const SEC_MAX = 0xffff_fffd;

export interface EventTime {
  readonly sec: number;
  readonly nsec: number;
}

/** Whether a forward message can say this time. */
export function isEventTime({ sec }: EventTime): boolean {
  return sec >= 0 && sec <= SEC_MAX;
}

/** Writes a message of the forward protocol: `[tag, [[[time, metadata], record], …]]`. */
export class EventWriter {
  readonly packer = new Packer();
  private readonly message: number;
  private readonly entries: number;
  private count = 0;

  constructor(tag: string) {
    const { packer } = this;
    this.message = packer.begin("array");
    packer.text(tag);
    this.entries = packer.begin("array");
  }

  get size(): number {
    return this.count;
  }

  /**
   * Adds an event; `record` writes its map, and may give a better time than `time`. When it throws nothing was added.
   */
  add(time: EventTime, metadata: readonly Pair[], record: (packer: Packer) => EventTime | null): void {
    const { packer } = this;
    const before = packer.length;
    try {
      packer.byte(0x92);
      packer.byte(0x92);
      const timeAt = packer.length;
      packer.time(time.sec, time.nsec);
      packer.texts(metadata);
      const better = record(packer);
      if (better !== null) {
        const end = packer.length;
        packer.rewind(timeAt);
        packer.time(better.sec, better.nsec);
        packer.rewind(end);
      }
    } catch (error) {
      packer.rewind(before);
      throw error;
    }
    this.count++;
  }

  mark(): { readonly length: number; readonly count: number } {
    return { length: this.packer.length, count: this.count };
  }

  /** Forgets what was added since the mark was taken. */
  rewind({ length, count }: { readonly length: number; readonly count: number }): void {
    this.packer.rewind(length);
    this.count = count;
  }

  finish(): Buffer {
    this.packer.end(this.entries, this.count);
    this.packer.end(this.message, 2);
    return this.packer.take();
  }
}
