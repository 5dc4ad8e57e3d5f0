import { WeirError } from "../core/errors.ts";

/*
 * Unsigned LEB128: seven bits a byte, least significant first, the high bit set on every byte but the last.
 * Values up to 2^53-1 as numbers; `writeVarintBig` and `readVarintBig` take any unsigned 64-bit value.
 *
 *   300  ->  ac 02
 */

/** Writes `value` (an integer, 0 to 2^53-1) at `at` and returns the offset after it. At most 8 bytes. */
export function writeVarint(out: Uint8Array, at: number, value: number): number {
  while (value >= 0x80) {
    if (value < 0x80000000) {
      out[at++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    } else {
      out[at++] = (value % 0x80) | 0x80;
      value = Math.floor(value / 0x80);
    }
  }
  out[at++] = value;
  return at;
}

/** Reads numbers one after the other from bytes that another wrote; every reach past the end is an error. */
export class VarintReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** The next value; throws `bad_varint` when it is cut or above 2^53-1. */
  next(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      if (this.at >= this.end) throw this.bad("cut");
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw this.bad("above 2^53-1");
        return value;
      }
      scale *= 0x80;
    }
    throw this.bad("too long");
  }

  /** The next value up to 2^64-1. */
  nextBig(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.at >= this.end) throw this.bad("cut");
      const byte = this.bytes[this.at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value > 0xffff_ffff_ffff_ffffn) throw this.bad("above 2^64-1");
        return value;
      }
    }
    throw this.bad("too long");
  }

  private bad(what: string): WeirError {
    return new WeirError("bad_varint", `varint: ${what}, at byte ${this.at}`);
  }
}

/** Writes an unsigned 64-bit value and returns the offset after it. At most 10 bytes. */
export function writeVarintBig(out: Uint8Array, at: number, value: bigint): number {
  while (value >= 0x80n) {
    out[at++] = Number(value & 0x7fn) | 0x80;
    value >>= 7n;
  }
  out[at++] = Number(value);
  return at;
}
