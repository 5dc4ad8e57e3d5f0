import { ID_SLOTS, REQUEST_ID, TRACE_ID } from "../core/line.ts";
import { mix } from "./hash.ts";

/*
 * Which ids a block may hold: a Bloom filter over the low 8 bytes of its trace and request ids together with their slot.
 * Further trace ids of a line (id-alt.ts) count as trace ids. 12 bits an id and 6 probes let 0.4% of the absent ids pass.
 *
 *   offset  size  field
 *        0     1  probes   6
 *        1     n  bits     bit b is bit (b mod 8) of byte floor(b / 8)
 *
 * An id sets `probes` bits. With lo and hi the two halves of its low 8 bytes as u32, mix the final mixer of MurmurHash3,
 * and all arithmetic modulo 2^32:
 *   h = mix(lo + mix(hi + slot * 0x9e3779b9)),  g = mix(h + hi) | 1
 *   bit i (0 to probes - 1) is floor((h + i * g) * 8n / 2^32)
 */
const BITS_AN_ID = 12;
const PROBES = 6;
const MIN_BYTES = 8;

/** Slots whose ids are in the filter. */
export const FILTERED_SLOTS: readonly number[] = [TRACE_ID, REQUEST_ID];
export const ALL_SLOTS: number = (1 << ID_SLOTS) - 1;

/** Bytes of a filter for `ids` ids. */
export function filterBytes(ids: number): number {
  return 1 + Math.max(MIN_BYTES, Math.ceil((ids * BITS_AN_ID) / 8));
}

const first = (lo: number, hi: number, slot: number) => mix(lo + mix(hi + Math.imul(slot, 0x9e3779b9)));
const step = (h: number, hi: number) => (mix(h + hi) | 1) >>> 0;

/** Collects the distinct ids of one block, then writes their filter. Reused from block to block. */
export class IdFilterBuilder {
  private count = 0;
  /** Pairs (h, g) of distinct ids. */
  private hashes = new Uint32Array(4096);
  /** Open addressing over indices + 1 into `hashes`; a power of two, at most half full. */
  private table = new Uint32Array(8192);

  clear(): void {
    this.count = 0;
    this.table.fill(0);
  }

  get ids(): number {
    return this.count;
  }

  add(slot: number, lo: number, hi: number): void {
    const h = first(lo, hi, slot);
    const g = step(h, hi);
    const mask = this.table.length - 1;
    let i = h & mask;
    for (let found = this.table[i]; found !== 0; found = this.table[i]) {
      if (this.hashes[found * 2 - 2] === h && this.hashes[found * 2 - 1] === g) return;
      i = (i + 1) & mask;
    }
    if (this.count * 2 + 2 > this.hashes.length) this.hashes = grown(this.hashes);
    this.hashes[this.count * 2] = h;
    this.hashes[this.count * 2 + 1] = g;
    this.table[i] = ++this.count;
    if (this.count * 2 > this.table.length) this.rehash();
  }

  /** Writes the filter at `at` and returns the offset after it. */
  write(out: Uint8Array, at: number): number {
    const bytes = filterBytes(this.count) - 1;
    out[at++] = PROBES;
    out.fill(0, at, at + bytes);
    const bits = bytes * 8;
    for (let i = 0; i < this.count; i++) {
      let h = this.hashes[i * 2];
      const g = this.hashes[i * 2 + 1];
      for (let p = 0; p < PROBES; p++) {
        const bit = Math.floor((h * bits) / 0x1_0000_0000);
        out[at + (bit >>> 3)] |= 1 << (bit & 7);
        h = (h + g) >>> 0;
      }
    }
    return at + bytes;
  }

  private rehash(): void {
    this.table = new Uint32Array(this.table.length * 2);
    const mask = this.table.length - 1;
    for (let n = 0; n < this.count; n++) {
      let i = this.hashes[n * 2] & mask;
      while (this.table[i] !== 0) i = (i + 1) & mask;
      this.table[i] = n + 1;
    }
  }
}

function grown(array: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(array.length * 2);
  out.set(array);
  return out;
}

/** What a block says of its ids: the slots that any row fills (bit 1 << slot), and the filter, if it has one. */
export interface IdPresence {
  readonly slots: number;
  readonly filter: Uint8Array | null;
}

/** False when a block with this presence certainly has no id in `slot` that ends in `low8`. */
export function mayHoldId({ slots, filter }: IdPresence, slot: number, low8: Uint8Array): boolean {
  if ((slots & (1 << slot)) === 0) return false;
  if (filter === null || filter.length < 2 || !FILTERED_SLOTS.includes(slot)) return true;
  const lo = (low8[0] | (low8[1] << 8) | (low8[2] << 16) | (low8[3] << 24)) >>> 0;
  const hi = (low8[4] | (low8[5] << 8) | (low8[6] << 16) | (low8[7] << 24)) >>> 0;
  const bits = (filter.length - 1) * 8;
  let h = first(lo, hi, slot);
  const g = step(h, hi);
  for (let p = filter[0]; p > 0; p--) {
    const bit = Math.floor((h * bits) / 0x1_0000_0000);
    if ((filter[1 + (bit >>> 3)] & (1 << (bit & 7))) === 0) return false;
    h = (h + g) >>> 0;
  }
  return true;
}
