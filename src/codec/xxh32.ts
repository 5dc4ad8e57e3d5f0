/*
 * XXH32 with seed 0, of bytes that come in pieces. Source: "xxHash fast digest algorithm", XXH32, doc/xxhash_spec.md of the
 * xxHash project.
 */
const P1 = 0x9e3779b1 | 0;
const P2 = 0x85ebca77 | 0;
const P3 = 0xc2b2ae3d | 0;
const P4 = 0x27d4eb2f | 0;
const P5 = 0x165667b1 | 0;
const STRIPE_BYTES = 16;

const rotate = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));
const wordAt = (bytes: Uint8Array, at: number): number =>
  bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
const round = (lane: number, word: number): number => Math.imul(rotate((lane + Math.imul(word, P2)) | 0, 13), P1);

/** Hashes bytes that come in pieces. */
export class Xxh32 {
  private length = 0;
  private lane1 = (P1 + P2) | 0;
  private lane2 = P2;
  private lane3 = 0;
  private lane4 = -P1 | 0;
  /** Bytes of a stripe that isn't full yet. */
  private readonly rest = new Uint8Array(STRIPE_BYTES);
  private restBytes = 0;

  update(bytes: Uint8Array): void {
    this.length += bytes.length;
    let at = 0;
    if (this.restBytes > 0) {
      at = Math.min(STRIPE_BYTES - this.restBytes, bytes.length);
      this.rest.set(bytes.subarray(0, at), this.restBytes);
      this.restBytes += at;
      if (this.restBytes < STRIPE_BYTES) return;
      this.stripes(this.rest, 0, STRIPE_BYTES);
      this.restBytes = 0;
    }
    const whole = at + Math.floor((bytes.length - at) / STRIPE_BYTES) * STRIPE_BYTES;
    this.stripes(bytes, at, whole);
    this.restBytes = bytes.length - whole;
    this.rest.set(bytes.subarray(whole), 0);
  }

  /** Of all bytes so far, 0 to 2^32 - 1. */
  digest(): number {
    let hash =
      this.length < STRIPE_BYTES
        ? P5
        : (rotate(this.lane1, 1) + rotate(this.lane2, 7) + rotate(this.lane3, 12) + rotate(this.lane4, 18)) | 0;
    hash = (hash + this.length) | 0;
    const { rest, restBytes } = this;
    let at = 0;
    for (; at + 4 <= restBytes; at += 4) {
      hash = Math.imul(rotate((hash + Math.imul(wordAt(rest, at), P3)) | 0, 17), P4);
    }
    for (; at < restBytes; at++) hash = Math.imul(rotate((hash + Math.imul(rest[at], P5)) | 0, 11), P1);
    hash = Math.imul(hash ^ (hash >>> 15), P2);
    hash = Math.imul(hash ^ (hash >>> 13), P3);
    return (hash ^ (hash >>> 16)) >>> 0;
  }

  private stripes(bytes: Uint8Array, start: number, end: number): void {
    let { lane1, lane2, lane3, lane4 } = this;
    for (let at = start; at < end; at += STRIPE_BYTES) {
      lane1 = round(lane1, wordAt(bytes, at));
      lane2 = round(lane2, wordAt(bytes, at + 4));
      lane3 = round(lane3, wordAt(bytes, at + 8));
      lane4 = round(lane4, wordAt(bytes, at + 12));
    }
    this.lane1 = lane1;
    this.lane2 = lane2;
    this.lane3 = lane3;
    this.lane4 = lane4;
  }
}

export function xxh32(bytes: Uint8Array): number {
  const hash = new Xxh32();
  hash.update(bytes);
  return hash.digest();
}
