/*
 * Bit packing: values of `bits` bits one after the other, least significant bit first, padded with zero bits to a
 * whole byte at the end. 0 bits take no byte at all.
 *
 *   5, 2, 7 in 3 bits  ->  d5 01       (101, 010, 111 from the lowest bit up: 1 1101 0101)
 */

/** No column holds values above 2^24: more would not fit the accumulators below. */
export const BITS_MAX = 24;

/** Bits that hold 0 to `max`. */
export function bitsFor(max: number): number {
  return 32 - Math.clz32(max);
}

export function packedBytes(count: number, bits: number): number {
  return Math.ceil((count * bits) / 8);
}

/** Packs values[0, count) at `at` and returns the offset after them. */
export function pack(values: Uint32Array, count: number, bits: number, out: Uint8Array, at: number): number {
  if (bits === 0) return at;
  let acc = 0;
  let held = 0;
  for (let i = 0; i < count; i++) {
    acc |= values[i] << held;
    held += bits;
    while (held >= 8) {
      out[at++] = acc & 0xff;
      acc >>>= 8;
      held -= 8;
    }
  }
  if (held > 0) out[at++] = acc;
  return at;
}

/** The `count` values that stand at `at`; the caller has checked that `packedBytes` are there. */
export function unpack(bytes: Uint8Array, at: number, count: number, bits: number): Uint32Array {
  const out = new Uint32Array(count);
  if (bits === 0) return out;
  const mask = (1 << bits) - 1;
  let acc = 0;
  let held = 0;
  for (let i = 0; i < count; i++) {
    while (held < bits) {
      acc |= bytes[at++] << held;
      held += 8;
    }
    out[i] = acc & mask;
    acc >>>= bits;
    held -= bits;
  }
  return out;
}
