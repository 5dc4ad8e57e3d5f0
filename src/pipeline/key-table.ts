/** Distinct keys that a table remembers before it starts anew: far above what the records of one plan have. */
const KEYS_MAX = 2048;
const SLOTS = 8192; // A power of two, four times KEYS_MAX, so that probing stays short.
/** Longer keys are not remembered, only classified. */
const KEY_BYTES_MAX = 128;
/** Slots looked at for one key. A hash of so few bytes is easily met on purpose, and then every key would be compared with all others. */
const PROBES_MAX = 16;
const UNKNOWN = -1;

/**
 * What each top-level key of a record means to a plan, by its bytes. The first sight of a key asks `classify`; after
 * that its class comes from a hash of length and three bytes, and one comparison: about 10 ns for the keys of
 * Kubernetes records, where decoding the key to a string costs 60.
 */
export class KeyTable {
  private readonly classify: (key: string) => number;
  private readonly classes = new Int32Array(SLOTS);
  private readonly starts = new Int32Array(SLOTS).fill(UNKNOWN);
  private readonly lengths = new Uint8Array(SLOTS);
  private readonly text = new Uint8Array(KEYS_MAX * KEY_BYTES_MAX);
  private used = 0;
  private count = 0;

  constructor(classify: (key: string) => number) {
    this.classify = classify;
  }

  /** The class of the key bytes[at, at + length). */
  lookup(bytes: Buffer, at: number, length: number): number {
    if (length === 0 || length >= KEY_BYTES_MAX) return this.classify(bytes.toString("utf8", at, at + length));
    let slot =
      ((length * 0x9e5 + bytes[at] * 0x1f3 + bytes[at + (length >> 1)]) * 0x3d + bytes[at + length - 1]) & (SLOTS - 1);
    for (let probes = 0; probes < PROBES_MAX; probes++) {
      const start = this.starts[slot];
      if (start === UNKNOWN) return this.remember(slot, bytes, at, length);
      if (this.lengths[slot] === length) {
        let i = 0;
        while (i < length && this.text[start + i] === bytes[at + i]) i++;
        if (i === length) return this.classes[slot];
      }
      slot = (slot + 1) & (SLOTS - 1);
    }
    return this.classify(bytes.toString("utf8", at, at + length));
  }

  private remember(slot: number, bytes: Buffer, at: number, length: number): number {
    const found = this.classify(bytes.toString("utf8", at, at + length));
    if (this.count === KEYS_MAX) {
      // Keys that never repeat (ids as keys, say) would fill it for good: forget all, those in use come back.
      this.starts.fill(UNKNOWN);
      this.count = 0;
      this.used = 0;
      return found;
    }
    this.starts[slot] = this.used;
    this.lengths[slot] = length;
    this.classes[slot] = found;
    for (let i = 0; i < length; i++) this.text[this.used + i] = bytes[at + i];
    this.used += length;
    this.count++;
    return found;
  }
}
