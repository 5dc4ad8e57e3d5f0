import snappy from "snappyjs";
import { WeirError } from "../core/errors.ts";

/** Compresses into a snappy block. */
export function compressSnappy(bytes: Buffer): Buffer {
  return snappy.compress(bytes);
}

/*
 * A snappy block: its length as a varint, then elements until that many bytes are there. The low two bits of an element's first
 * byte say what it is. Source: snappy's format_description.txt.
 *
 *   0  literal  length - 1 in the upper six bits; 60 to 63 there: it stands in the 1 to 4 bytes that follow. Then its bytes
 *   1  copy     length - 4 in three bits, offset in eleven: the upper three, and one byte
 *   2  copy     length - 1 in the upper six bits, offset in two bytes
 *   3  copy     the same with an offset of four bytes
 *
 * The library that Weir compresses with is not used this way round: it trusts lengths and offsets, and holds the event loop from the
 * beginning to the end of a body (1.1 s for 60 MiB).
 */

/** Bytes of the largest length. */
const LENGTH_BYTES_MAX = 5;
/** No byte of a block becomes more than this many: a copy of 64 in 3 bytes. */
const RATIO_MAX = 22;
/** Elements between two chances for others: a quarter MiB of copies at most. */
const ELEMENTS_A_SLICE = 4096;
/** Shorter literals are copied byte by byte, which is faster than a call. */
const CALL_BYTES_MIN = 32;

/**
 * Inflates a block to at most `bytesMax`, in steps between which a caller can let others have a turn. Throws `bad_snappy`, with
 * `reason` in its context: `inflated_too_long` for one that says it is longer; `corrupt` for one that is cut, has an element beyond its
 * edges, or does not become what it says.
 */
export function* snappySteps(body: Buffer, bytesMax: number): Generator<undefined, Buffer> {
  const { length, at: start } = readLength(body);
  if (length > bytesMax) throw bad("inflated_too_long", `got ${length} bytes, want at most ${bytesMax}`);
  if (length > body.length * RATIO_MAX) throw corrupt();
  const out = Buffer.allocUnsafeSlow(length);
  const end = body.length;
  let made = 0;
  let elements = 0;
  for (let at = start; at < end; ) {
    if (++elements % ELEMENTS_A_SLICE === 0) yield;
    const tag = body[at++];
    const kind = tag & 3;
    if (kind === 0) {
      let size = (tag >>> 2) + 1;
      if (size > 60) {
        const bytes = size - 60;
        if (at + bytes > end) throw corrupt();
        size = body.readUIntLE(at, bytes) + 1;
        at += bytes;
      }
      if (at + size > end || made + size > length) throw corrupt();
      if (size < CALL_BYTES_MIN) for (let i = 0; i < size; i++) out[made + i] = body[at + i];
      else body.copy(out, made, at, at + size);
      at += size;
      made += size;
    } else {
      const bytes = kind === 1 ? 1 : kind === 2 ? 2 : 4;
      if (at + bytes > end) throw corrupt();
      const offset = kind === 1 ? body[at] + ((tag >>> 5) << 8) : body.readUIntLE(at, bytes);
      const size = kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1;
      if (offset === 0 || offset > made || made + size > length) throw corrupt();
      // Byte by byte, because a copy may reach into what it makes.
      for (let from = made - offset, to = made + size; made < to; ) out[made++] = out[from++];
      at += bytes;
    }
  }
  if (made !== length) throw corrupt();
  return out;
}

/** The same at once. */
export function uncompressSnappy(body: Buffer, bytesMax: number): Buffer {
  const steps = snappySteps(body, bytesMax);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

function corrupt(): WeirError {
  return bad("corrupt", "corrupt input");
}

function bad(reason: string, what: string): WeirError {
  return new WeirError("bad_snappy", `snappy: ${what}`, { context: { reason } });
}

function readLength(body: Buffer): { length: number; at: number } {
  let length = 0;
  for (let at = 0; at < LENGTH_BYTES_MAX && at < body.length; at++) {
    length += (body[at] & 0x7f) * 2 ** (7 * at);
    if (body[at] < 0x80) {
      if (length > 0xffff_ffff) break;
      return { length, at: at + 1 };
    }
  }
  throw corrupt();
}
