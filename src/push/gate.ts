/** Lets few bodies be inflated at one time, since nobody knows before how much memory each takes. */
export class InflateGate {
  private readonly atOnce: number;
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(atOnce: number) {
    this.atOnce = atOnce;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.running >= this.atOnce) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.running++;
    try {
      return await work();
    } finally {
      // The place goes to the next one that waits.
      const next = this.waiting.shift();
      if (next === undefined) this.running--;
      else next();
    }
  }
}
