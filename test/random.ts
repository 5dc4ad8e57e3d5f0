/**
 * The seed of this run, for all that tests draw. It is WEIR_TEST_SEED; vitest.config.ts draws and prints one where that is not set.
 */
export const SEED = seedOfRun();

function seedOfRun(): number {
  const seed = Number(process.env.WEIR_TEST_SEED || Number.NaN);
  if (!Number.isInteger(seed) || seed < 0) {
    throw new Error(`WEIR_TEST_SEED: got ${process.env.WEIR_TEST_SEED ?? "none"}, want a whole number`);
  }
  return seed;
}

/** Random numbers that a seed repeats (mulberry32). */
export class Random {
  readonly seed: number;
  private state: number;

  constructor(seed: number = SEED) {
    this.seed = seed;
    this.state = seed >>> 0;
  }

  u32(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 or more, below 1. */
  readonly fraction = (): number => this.u32() / 2 ** 32;

  /** An integer, 0 to `limit` - 1. */
  readonly below = (limit: number): number => Math.floor(this.fraction() * limit);

  readonly chance = (part: number): boolean => this.fraction() < part;

  readonly pick = <T>(items: readonly T[]): T => {
    if (items.length === 0) throw new Error("nothing to pick from");
    return items[this.below(items.length)];
  };

  bytes(length: number): Buffer {
    const out = Buffer.allocUnsafe(length);
    let at = 0;
    for (; at + 4 <= length; at += 4) out.writeUInt32LE(this.u32(), at);
    for (; at < length; at++) out[at] = this.u32() & 0xff;
    return out;
  }

  /** The bytes in pieces: few or many, long or short. */
  split(bytes: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    const longest = this.pick([1, 3, 17, 200, 4096, 70_000]) + 1;
    // Now and then everything after a point in one piece, so that long inputs are not all short pieces.
    for (let at = 0; at < bytes.length; ) {
      const end = this.below(40) === 0 ? bytes.length : at + 1 + this.below(longest);
      pieces.push(bytes.subarray(at, Math.min(end, bytes.length)));
      at = end;
    }
    return pieces;
  }

  /** `line` with one to six characters or runs of it replaced, removed, doubled or moved. */
  mutate(line: string, alphabet: readonly string[]): string {
    let text = line;
    for (let i = this.below(6); i >= 0; i--) {
      const at = this.below(text.length + 1);
      const end = Math.min(text.length, at + this.below(8));
      const run = text.slice(at, end);
      const kind = this.below(5);
      if (kind === 0) text = text.slice(0, at) + this.pick(alphabet) + text.slice(at);
      else if (kind === 1) text = text.slice(0, at) + text.slice(end);
      else if (kind === 2) text = text.slice(0, at) + run + run + text.slice(end);
      else if (kind === 3) text = text.slice(0, at) + this.pick(alphabet) + text.slice(at + 1);
      else {
        const to = this.below(text.length + 1);
        text = text.slice(0, to) + run + text.slice(to);
      }
    }
    return text;
  }
}
