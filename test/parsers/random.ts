/** A seeded source of chance (mulberry32), so that a failing line can be made again. */
export class Random {
  readonly seed: number;
  private state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.state = seed >>> 0;
  }

  /** A whole number from 0 to below `n`. */
  below(n: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
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

/** The seed of this run: WEIR_TEST_SEED, or a new one, which is printed. */
export function newRandom(what: string): Random {
  const seed = Number(process.env.WEIR_TEST_SEED ?? Math.floor(Math.random() * 2 ** 32));
  console.log(`${what}: WEIR_TEST_SEED=${seed}`);
  return new Random(seed);
}
