/** Lets at most `max` pieces of work run at one time; others wait their turn, first come, first served. */
export class Limiter {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(max: number) {
    this.free = max;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      // The place is handed on, so that nobody who comes later gets in between.
      if (next === undefined) this.free++;
      else next();
    }
  }
}
