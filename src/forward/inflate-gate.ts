import type { MemoryBudget } from "./memory.ts";

/** Messages that are inflated at the same time: enough to keep both a core and the pool's threads busy. */
const AT_ONCE = 2;

/**
 * Lets few messages be inflated at a time, since nobody knows before how much memory each takes: at most `AT_ONCE`
 * times the limit for one, and over the memory limit one at a time.
 */
export class InflateGate {
  private readonly memory: MemoryBudget;
  private running = 0;
  private waiting: (() => void)[] = [];

  constructor(memory: MemoryBudget) {
    this.memory = memory;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    while (this.running >= (this.memory.isOver ? 1 : AT_ONCE)) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
    this.running++;
    try {
      return await work();
    } finally {
      this.running--;
      // All of them look again: how many may go on depends on the memory. There are few.
      for (const resolve of this.waiting.splice(0)) resolve();
    }
  }
}
