/** Random numbers that a seed repeats (mulberry32). The seed is WEIR_TEST_SEED, or the time; a test prints it. */
export class Random {
  readonly seed: number;
  private state: number;

  constructor(seed: number = Number(process.env.WEIR_TEST_SEED ?? Date.now() % 0x7fffffff)) {
    this.seed = seed;
    this.state = seed >>> 0;
  }

  /** An integer, 0 to `below` - 1. */
  next(below: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.next(items.length)];
  }

  /** The bytes in pieces: few or many, long or short. */
  split(bytes: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    const longest = this.pick([1, 3, 17, 200, 4096, 70_000]) + 1;
    // Now and then everything after a point in one piece, so that long inputs are not all short pieces.
    for (let at = 0; at < bytes.length; ) {
      const end = this.next(40) === 0 ? bytes.length : at + 1 + this.next(longest);
      pieces.push(bytes.subarray(at, Math.min(end, bytes.length)));
      at = end;
    }
    return pieces;
  }
}
