import { writeVarint, writeVarintBig } from "../codec/varint.ts";
import { corrupt, type Place } from "./errors.ts";

/*
 * TIMES section: the times of a block's rows, in order. The first is the header's least time and is not repeated.
 *
 *   offset  size  field
 *        0     1  unit     0 nanoseconds, 1 microseconds, 2 milliseconds, 3 seconds: the coarsest that is exact for all rows
 *        1        deltas   for each row but the first an unsigned varint (LEB128): units since the row before
 *
 *   Times 5 s, 5.25 s, 6 s  ->  02 fa01 ee05     (milliseconds; 250, 750)
 */
const UNIT_NS: readonly number[] = [1, 1_000, 1_000_000, 1_000_000_000];
/** 2^84: the longest span that seconds up to 2^53 can make, so 12 varint bytes; each row takes at most this many. */
export const TIME_BYTES_MAX = 13;
/** Seconds between two rows up to which a delta in nanoseconds, below 2^35, takes 5 bytes at most. */
export const SHORT_DELTA_SEC = 33;
export const SHORT_DELTA_BYTES = 5;
/** Seconds between two rows up to which the delta in nanoseconds is an exact double. */
const EXACT_DELTA_SEC = 9_000_000;
/** Blocks of less than so many seconds can be walked through. */
export const WALK_SEC_MAX: number = EXACT_DELTA_SEC;

/** Writes the section's data at `at` and returns the offset after it. Row i of the block is row order[i] of the arrays. */
export function encodeTimes(
  out: Uint8Array,
  at: number,
  sec: Float64Array,
  nsec: Uint32Array,
  order: Uint32Array | null,
  rows: number,
): number {
  let unit = UNIT_NS[3];
  for (let i = 0; i < rows && unit > 1; i++) {
    while (nsec[i] % unit !== 0) unit /= 1000;
  }
  out[at++] = UNIT_NS.indexOf(unit);
  let row = order === null ? 0 : order[0];
  let lastSec = sec[row];
  let lastNsec = nsec[row];
  for (let i = 1; i < rows; i++) {
    row = order === null ? i : order[i];
    const seconds = sec[row] - lastSec;
    const rest = nsec[row] - lastNsec;
    if (seconds < EXACT_DELTA_SEC) at = writeVarint(out, at, (seconds * 1e9 + rest) / unit);
    else {
      // Beyond 2^53 the difference itself is not exact.
      const wide = (BigInt(sec[row]) - BigInt(lastSec)) * 1_000_000_000n + BigInt(rest);
      at = writeVarintBig(out, at, wide / BigInt(unit));
    }
    lastSec = sec[row];
    lastNsec = nsec[row];
  }
  return at;
}

export interface Times {
  readonly sec: Float64Array;
  readonly nsec: Uint32Array;
}

/** Reads the data bytes[at, end) of `rows` rows that begin at a time. Throws `block_corrupt`. */
export function decodeTimes(
  bytes: Uint8Array,
  at: number,
  end: number,
  rows: number,
  minSec: number,
  minNsec: number,
  place: Place,
): Times {
  const sec = new Float64Array(rows);
  const nsec = new Uint32Array(rows);
  const unitNs = at < end ? UNIT_NS[bytes[at++]] : undefined;
  if (unitNs === undefined) throw corrupt("block_corrupt", "time unit", "another", "0 to 3", place, at);
  const unitsASecond = 1e9 / unitNs;
  let s = minSec;
  let n = minNsec;
  sec[0] = s;
  nsec[0] = n;
  for (let i = 1; i < rows; i++) {
    const start = at;
    let byte = at < end ? bytes[at++] : 0x80;
    let delta = byte & 0x7f;
    // Five bytes hold any nanoseconds up to half a minute. The first four are 28 bits, which stay a small integer.
    if (byte >= 0x80 && at < end) {
      byte = bytes[at++];
      delta |= (byte & 0x7f) << 7;
      if (byte >= 0x80 && at < end) {
        byte = bytes[at++];
        delta |= (byte & 0x7f) << 14;
        if (byte >= 0x80 && at < end) {
          byte = bytes[at++];
          delta |= (byte & 0x7f) << 21;
          if (byte >= 0x80 && at < end) {
            byte = bytes[at++];
            delta += (byte & 0x7f) * 0x1000_0000;
          }
        }
      }
    }
    if (byte >= 0x80) {
      const wide = readWide(bytes, start, end);
      if (wide === null) throw corrupt("block_corrupt", "time delta", "cut or too long", "a varint", place, start);
      at = wide.at;
      const ns = wide.value * BigInt(unitNs) + BigInt(n);
      s = Number(BigInt(s) + ns / 1_000_000_000n);
      n = Number(ns % 1_000_000_000n);
    } else {
      if (delta >= unitsASecond) {
        const seconds = Math.floor(delta / unitsASecond);
        s += seconds;
        delta -= seconds * unitsASecond;
      }
      n += delta * unitNs;
      if (n >= 1e9) {
        n -= 1e9;
        s++;
      }
    }
    sec[i] = s;
    nsec[i] = n;
  }
  if (at !== end) throw corrupt("block_corrupt", "end of the times", at, end, place, at);
  return { sec, nsec };
}

/**
 * Goes through the times of a block without making arrays of them, to count rows: half the time of `decodeTimes`. Only for blocks
 * that are shorter than WALK_SEC_MAX. Throws `block_corrupt`.
 */
export class TimesWalk {
  /** Rows passed. */
  row = 0;
  /** Nanoseconds from the first row to the next one; of no meaning behind the last. */
  since = 0;
  private readonly bytes: Uint8Array;
  private at: number;
  private readonly end: number;
  private readonly rows: number;
  private readonly unitNs: number;
  private readonly place: Place;

  constructor(bytes: Uint8Array, at: number, end: number, rows: number, place: Place) {
    this.bytes = bytes;
    this.end = end;
    this.rows = rows;
    this.place = place;
    const unitNs = at < end ? UNIT_NS[bytes[at]] : undefined;
    if (unitNs === undefined) throw corrupt("block_corrupt", "time unit", "another", "0 to 3", place, at);
    this.unitNs = unitNs;
    this.at = at + 1;
  }

  /** Passes all rows at most `ns` nanoseconds after the first row. Gives how many rows have been passed in all. */
  passTo(ns: number): number {
    const { bytes, end, rows, unitNs } = this;
    if (this.row === rows || this.since > ns) return this.row;
    const limit = Math.floor(ns / unitNs);
    let { at, row } = this;
    let units = this.since / unitNs;
    while (units <= limit) {
      if (++row === rows) break;
      let byte = at < end ? bytes[at++] : 0x80;
      let delta = byte & 0x7f;
      for (let factor = 0x80; byte >= 0x80; factor *= 0x80) {
        if (at >= end) throw corrupt("block_corrupt", "time delta", "cut", "a varint", this.place, at);
        byte = bytes[at++];
        delta += (byte & 0x7f) * factor;
      }
      units += delta;
    }
    if (row === rows && at !== end) throw corrupt("block_corrupt", "end of the times", at, end, this.place, at);
    this.at = at;
    this.row = row;
    this.since = units * unitNs;
    return row;
  }
}

function readWide(bytes: Uint8Array, at: number, end: number): { value: bigint; at: number } | null {
  let value = 0n;
  for (let i = 0; i < TIME_BYTES_MAX && at < end; i++) {
    const byte = bytes[at++];
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return { value, at };
  }
  return null;
}
