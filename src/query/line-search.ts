import { isAscii } from "node:buffer";
import type { Regex } from "../codec/re2.ts";
import type { LinesPattern } from "../codec/re2-lines.ts";
import type { BlockView } from "../store/view.ts";

/** Bytes of text that are searched at once: long enough to pay for the call, short enough for the cache. */
const PIECE_BYTES = 65_536;
/** Lines after which it shows whether too many have to be looked at by themselves, and how large a part that is. */
const LINES_MIN = 4096;
const ODD_MAX = 0.5;

/** What a search needs of a block. */
export type SearchedView = Pick<BlockView, "text" | "lineStarts" | "hasNewlines">;

/**
 * The rows of a block that a regular expression matches, or does not match, found by running it over many lines at a time.
 *
 * That saves making a string of each line, and the call. Node 20, ns of CPU a byte of text, lines of 250 bytes, of which nearly all match
 * `[0-9]{5}[^0-9]`: 0.9 instead of 1.9; `[0-9]{9}[a-f]{9}`, which none does: 1.5 instead of 2.5 (bench/query.ts, "a regex
 * without a literal"). It loses where most lines have bytes beyond ASCII or are very long, since these are looked at
 * by themselves all the same; where that is so it is given up (`isVain`).
 */
export class LineSearch {
  private readonly regex: Regex;
  private readonly pattern: RegExp;
  private readonly lineBytesMax: number;
  private readonly wanted: boolean;
  private lines = 0;
  private odd = 0;
  private found = 0;
  private out: Uint32Array = new Uint32Array(0);

  /** `wanted`: whether rows are found that match, or those that don't. */
  constructor(regex: Regex, { source, lineBytesMax }: LinesPattern, wanted: boolean) {
    this.regex = regex;
    this.pattern = new RegExp(source, "g");
    this.lineBytesMax = lineBytesMax;
    this.wanted = wanted;
  }

  /** Whether it had better be used for a block; not when line by line is the faster way. */
  suits({ hasNewlines }: SearchedView): boolean {
    return !hasNewlines && !(this.lines >= LINES_MIN && this.odd > this.lines * ODD_MAX);
  }

  /** Puts the rows from `from` up to `to` into `out`, which has room for them, in ascending order. Gives how many there are. */
  find({ text, lineStarts }: SearchedView, from: number, to: number, out: Uint32Array): number {
    this.out = out;
    this.found = 0;
    this.lines += to - from;
    for (let row = from; row < to; ) {
      const next = this.pieceEnd(lineStarts, row, to);
      if (next === row) {
        this.judge(text, lineStarts, row++);
        continue;
      }
      this.search(text, lineStarts, row, next);
      row = next;
    }
    return this.found;
  }

  /** The row behind the last one that is searched together with `from`; `from` itself when that is too long a line. */
  private pieceEnd(starts: Uint32Array, from: number, to: number): number {
    const { lineBytesMax } = this;
    const most = starts[from] + PIECE_BYTES;
    let row = from;
    while (row < to && starts[row + 1] - starts[row] <= lineBytesMax && (starts[row + 1] <= most || row === from))
      row++;
    return row;
  }

  private search(text: Buffer, starts: Uint32Array, from: number, to: number): void {
    const { pattern } = this;
    const base = starts[from];
    const bytes = text.subarray(base, starts[to]);
    const piece = bytes.toString("latin1");
    const rest = isAscii(bytes) ? (a: number, b: number) => this.miss(a, b) : this.judgeOdd(text, starts);
    let row = from;
    pattern.lastIndex = 0;
    while (row < to && pattern.test(piece)) {
      // Where the match ends is still in its line, whose LF it can't hold.
      const end = pattern.lastIndex + base;
      const before = row;
      while (starts[row + 1] < end) row++;
      if (before < row) rest(before, row);
      if (this.wanted) this.out[this.found++] = row;
      row++;
      pattern.lastIndex = starts[row] - base;
    }
    if (row < to) rest(row, to);
  }

  /** Rows that don't match. */
  private miss(from: number, to: number): void {
    if (this.wanted) return;
    for (let row = from; row < to; row++) this.out[this.found++] = row;
  }

  /** For rows without a match in ASCII alone: those with other bytes are looked at as text. */
  private judgeOdd(text: Buffer, starts: Uint32Array): (from: number, to: number) => void {
    return (from, to) => {
      for (let row = from; row < to; row++) {
        if (isAscii(text.subarray(starts[row], starts[row + 1]))) this.miss(row, row + 1);
        else this.judge(text, starts, row);
      }
    };
  }

  private judge(text: Buffer, starts: Uint32Array, row: number): void {
    this.odd++;
    const line = text.toString("utf8", starts[row], starts[row + 1] - 1);
    if (this.regex.test(line) === this.wanted) this.out[this.found++] = row;
  }
}
