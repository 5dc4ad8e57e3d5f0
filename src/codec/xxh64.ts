/*
 * XXH64 with seed 0, of bytes that come in pieces. Source: "xxHash fast digest algorithm", XXH64, doc/xxhash_spec.md of the
 * xxHash project.
 *
 * The bulk is done with pairs of 32-bit numbers: 0.5 GB/s on Node 20. BigInt reaches 0.8 GB/s where V8 keeps all of it in
 * registers, and 0.03 where a small change of the code keeps it from doing so. The end, once a frame, is written with BigInt.
 */
const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;
const P1_LOW = 0x85ebca87 | 0;
const P1_HIGH = 0x9e3779b1 | 0;
const P2_LOW = 0x27d4eb4f | 0;
const P2_HIGH = 0xc2b2ae3d | 0;
const LANES = 4;
const STRIPE_BYTES = 32;

const cut = (value: bigint) => BigInt.asUintN(64, value);
const rotate = (value: bigint, bits: bigint) => cut((value << bits) | (value >> (64n - bits)));
const round = (lane: bigint, input: bigint) => cut(rotate(cut(lane + input * P2), 31n) * P1);

/** The upper half of a * b, both taken as unsigned. */
function upperOfProduct(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  // Neither sum reaches 2^32: (2^16 - 1)^2 + 2^16 - 1.
  const first = (Math.imul(aHigh, bLow) >>> 0) + ((Math.imul(aLow, bLow) >>> 0) >>> 16);
  const second = (Math.imul(aLow, bHigh) >>> 0) + (first & 0xffff);
  return (Math.imul(aHigh, bHigh) + (first >>> 16) + (second >>> 16)) | 0;
}

/** Hashes bytes that come in pieces. */
export class Xxh64 {
  private length = 0;
  /** For each lane the lower and the upper half. */
  private readonly lanes = new Int32Array(LANES * 2);
  /** Bytes of a stripe that isn't full yet. */
  private readonly rest = new Uint8Array(STRIPE_BYTES);
  private restBytes = 0;

  constructor() {
    [P1 + P2, P2, 0n, -P1].forEach((start, lane) => {
      this.lanes[lane * 2] = Number(BigInt.asIntN(32, start));
      this.lanes[lane * 2 + 1] = Number(BigInt.asIntN(32, start >> 32n));
    });
  }

  update(bytes: Uint8Array): void {
    this.length += bytes.length;
    let at = 0;
    if (this.restBytes > 0) {
      at = Math.min(STRIPE_BYTES - this.restBytes, bytes.length);
      this.rest.set(bytes.subarray(0, at), this.restBytes);
      this.restBytes += at;
      if (this.restBytes < STRIPE_BYTES) return;
      this.takeStripes(this.rest, 0, STRIPE_BYTES);
    }
    const end = at + Math.floor((bytes.length - at) / STRIPE_BYTES) * STRIPE_BYTES;
    this.takeStripes(bytes, at, end);
    this.rest.set(bytes.subarray(end));
    this.restBytes = bytes.length - end;
  }

  /** The hash of all bytes so far. */
  digest(): bigint {
    const view = new DataView(this.rest.buffer);
    let hash = cut(this.start() + BigInt(this.length));
    let at = 0;
    for (; at + 8 <= this.restBytes; at += 8) {
      hash = cut(rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4);
    }
    if (at + 4 <= this.restBytes) {
      hash = cut(rotate(hash ^ cut(BigInt(view.getUint32(at, true)) * P1), 23n) * P2 + P3);
      at += 4;
    }
    for (; at < this.restBytes; at++) hash = cut(rotate(hash ^ cut(BigInt(this.rest[at]) * P5), 11n) * P1);
    hash = cut((hash ^ (hash >> 33n)) * P2);
    hash = cut((hash ^ (hash >> 29n)) * P3);
    return hash ^ (hash >> 32n);
  }

  private start(): bigint {
    if (this.length < STRIPE_BYTES) return P5;
    const lanes = [0, 2, 4, 6].map((i) => cut((BigInt(this.lanes[i + 1]) << 32n) | BigInt(this.lanes[i] >>> 0)));
    const [a, b, c, d] = lanes;
    const hash = cut(rotate(a, 1n) + rotate(b, 7n) + rotate(c, 12n) + rotate(d, 18n));
    return lanes.reduce((sum, lane) => cut((sum ^ round(0n, lane)) * P1 + P4), hash);
  }

  /** Whole stripes: four lanes, each of which takes 8 bytes of every stripe. */
  private takeStripes(bytes: Uint8Array, from: number, to: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let lane = 0; lane < LANES; lane++) {
      let low = this.lanes[lane * 2];
      let high = this.lanes[lane * 2 + 1];
      for (let at = from + lane * 8; at < to; at += STRIPE_BYTES) {
        const wordLow = view.getInt32(at, true);
        const wordHigh = view.getInt32(at + 4, true);
        // lane += word * P2
        const productLow = Math.imul(wordLow, P2_LOW);
        const sum = (low >>> 0) + (productLow >>> 0);
        high += upperOfProduct(wordLow, P2_LOW) + Math.imul(wordLow, P2_HIGH) + Math.imul(wordHigh, P2_LOW);
        high = (high + (sum > 0xffff_ffff ? 1 : 0)) | 0;
        low = sum | 0;
        // lane = rotate(lane, 31) * P1
        const turnedLow = (low << 31) | (high >>> 1);
        const turnedHigh = (high << 31) | (low >>> 1);
        low = Math.imul(turnedLow, P1_LOW);
        high = (upperOfProduct(turnedLow, P1_LOW) + Math.imul(turnedLow, P1_HIGH) + Math.imul(turnedHigh, P1_LOW)) | 0;
      }
      this.lanes[lane * 2] = low;
      this.lanes[lane * 2 + 1] = high;
    }
  }
}
