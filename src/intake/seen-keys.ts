import { createHash } from "node:crypto";

const WORDS = 4;
export const DIGEST_BYTES = WORDS * 4;

/** 16 bytes that stand for a key of a tenant: the start of SHA-1, so that nobody can find two keys alike by accident. */
export function digestOf(tenant: string, key: string): Buffer {
  return createHash("sha1").update(tenant).update("\0").update(key).digest().subarray(0, DIGEST_BYTES);
}

/**
 * The last `max` digests, oldest dropped first. A ring of digests and a hash table of places in it, in typed arrays:
 * 24 to 32 bytes a digest, allocated as it grows, where a Set of strings takes about 100 and slows down as its
 * oldest members are deleted.
 */
export class SeenKeys {
  readonly max: number;
  size = 0;
  private ring = new Uint32Array(0);
  private oldest = 0;
  /** Place in the ring + 1, or 0; open addressing, always at most half full. */
  private table = new Int32Array(16);
  private readonly words = new Uint32Array(WORDS);

  constructor(max: number) {
    this.max = max;
  }

  has(digest: Uint8Array): boolean {
    return this.table[this.find(this.wordsOf(digest))] !== 0;
  }

  /** Adds a digest as the newest. False when it was there already; it then keeps its age. */
  add(digest: Uint8Array): boolean {
    const words = this.wordsOf(digest);
    if (this.table[this.find(words)] !== 0) return false;
    if (this.size === this.max) this.dropOldest();
    else if ((this.size + 1) * WORDS > this.ring.length) this.grow();
    const place = (this.oldest + this.size) % this.capacity;
    this.ring.set(words, place * WORDS);
    this.size++;
    this.table[this.find(words)] = place + 1;
    return true;
  }

  /** All digests, oldest first, 16 bytes each. */
  dump(): Buffer {
    const out = Buffer.allocUnsafe(this.size * DIGEST_BYTES);
    for (let i = 0; i < this.size; i++) {
      const from = ((this.oldest + i) % this.capacity) * WORDS;
      for (let w = 0; w < WORDS; w++) out.writeUInt32LE(this.ring[from + w], i * DIGEST_BYTES + w * 4);
    }
    return out;
  }

  private get capacity(): number {
    return this.ring.length / WORDS;
  }

  private wordsOf(digest: Uint8Array): Uint32Array {
    for (let w = 0; w < WORDS; w++) {
      const at = w * 4;
      this.words[w] = digest[at] | (digest[at + 1] << 8) | (digest[at + 2] << 16) | (digest[at + 3] << 24);
    }
    return this.words;
  }

  /** The slot that holds the digest, or the free one where it belongs. */
  private find(words: Uint32Array): number {
    const mask = this.table.length - 1;
    let slot = words[0] & mask;
    for (; this.table[slot] !== 0; slot = (slot + 1) & mask) {
      const at = (this.table[slot] - 1) * WORDS;
      const { ring } = this;
      if (
        ring[at] === words[0] &&
        ring[at + 1] === words[1] &&
        ring[at + 2] === words[2] &&
        ring[at + 3] === words[3]
      ) {
        break;
      }
    }
    return slot;
  }

  private dropOldest(): void {
    const at = this.oldest * WORDS;
    this.free(this.find(this.ring.slice(at, at + WORDS)));
    this.oldest = (this.oldest + 1) % this.capacity;
    this.size--;
  }

  /** Empties a slot and moves those behind it that would no longer be found (Knuth, 6.4, algorithm R). */
  private free(start: number): void {
    const mask = this.table.length - 1;
    let hole = start;
    for (let slot = (hole + 1) & mask; this.table[slot] !== 0; slot = (slot + 1) & mask) {
      const home = this.ring[(this.table[slot] - 1) * WORDS] & mask;
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      this.table[hole] = this.table[slot];
      hole = slot;
    }
    this.table[hole] = 0;
  }

  /** Doubles the ring, up to `max`. Only called before anything was dropped, so `oldest` is 0. */
  private grow(): void {
    const capacity = Math.min(this.max, Math.max(1024, this.capacity * 2));
    const ring = new Uint32Array(capacity * WORDS);
    ring.set(this.ring);
    this.ring = ring;
    let slots = 16;
    while (slots < capacity * 2) slots *= 2;
    this.table = new Int32Array(slots);
    for (let place = 0; place < this.size; place++) {
      this.table[this.find(ring.subarray(place * WORDS, (place + 1) * WORDS))] = place + 1;
    }
  }
}
