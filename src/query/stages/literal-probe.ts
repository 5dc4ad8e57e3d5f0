import type { Entry } from "./entry.ts";

/** Bytes that one search may read ahead: enough for the native search to pay, little for a lone line of a large block. */
const WINDOW_BYTES = 16_384;

/**
 * Tells for line after line of a block whether it holds a literal. Searching each line by itself costs 0.4 us a line, most
 * of it for the call; so this searches ahead (or back, when lines come in falling order) natively and remembers the gap in
 * which there is no hit. Lines inside the gap cost two comparisons.
 */
export class LiteralProbe {
  private readonly needle: Buffer;
  private block = -1;
  /** No hit begins in [gapFrom, gapTo). */
  private gapFrom = 0;
  private gapTo = 0;
  private hit = -1;
  private lastStart = 0;
  private window: Buffer = Buffer.alloc(0);
  private windowFrom = 0;
  private windowTo = 0;

  /** `needle` is not empty. */
  constructor(needle: Buffer) {
    this.needle = needle;
  }

  isIn(entry: Entry): boolean {
    if (entry.lineChanged) return entry.line.includes(this.needle);
    const { bytes, start, end } = entry;
    if (entry.block !== this.block) this.begin(entry.block);
    const last = end - this.needle.length;
    if (last < start || (start >= this.gapFrom && last < this.gapTo)) return false;
    if (this.hit >= start && this.hit <= last) return true;
    const ahead = start >= this.lastStart;
    this.lastStart = start;
    return ahead ? this.searchAhead(bytes, start, last) : this.searchBack(bytes, start, last);
  }

  private begin(block: number): void {
    this.block = block;
    this.gapFrom = 0;
    this.gapTo = 0;
    this.hit = -1;
    this.lastStart = 0;
    this.windowTo = 0;
  }

  private searchAhead(bytes: Buffer, start: number, last: number): boolean {
    const end = last + this.needle.length;
    if (start < this.windowFrom || end > this.windowTo) this.open(bytes, start, Math.max(end, start + WINDOW_BYTES));
    const at = this.window.indexOf(this.needle, start - this.windowFrom);
    this.gapFrom = start;
    if (at === -1) {
      this.gapTo = this.windowTo - this.needle.length + 1;
      return false;
    }
    this.hit = this.windowFrom + at;
    this.gapTo = this.hit;
    return this.hit <= last;
  }

  private searchBack(bytes: Buffer, start: number, last: number): boolean {
    const end = last + this.needle.length;
    if (start < this.windowFrom || end > this.windowTo) this.open(bytes, Math.min(start, end - WINDOW_BYTES), end);
    const at = this.window.lastIndexOf(this.needle, last - this.windowFrom);
    this.gapTo = last + 1;
    if (at === -1) {
      this.gapFrom = this.windowFrom;
      return false;
    }
    this.hit = this.windowFrom + at;
    this.gapFrom = this.hit + 1;
    return this.hit >= start;
  }

  private open(bytes: Buffer, from: number, to: number): void {
    this.windowFrom = Math.max(0, from);
    this.windowTo = Math.min(bytes.length, to);
    this.window = bytes.subarray(this.windowFrom, this.windowTo);
  }
}
