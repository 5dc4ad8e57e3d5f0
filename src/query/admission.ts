import { WeirError } from "../core/errors.ts";

/** Lets a number of queries run at one time; further ones wait their turn, and beyond a limit are refused. */
export class Admission {
  private readonly runningMax: number;
  private readonly waitingMax: number;
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(runningMax: number, waitingMax: number) {
    this.runningMax = runningMax;
    this.waitingMax = waitingMax;
  }

  get runningCount(): number {
    return this.running;
  }

  /** Runs `work` when it is its turn. Rejects with `query_busy`, or with what `signal` was aborted for. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    while (this.running >= this.runningMax && !signal.aborted) await this.wait(signal);
    signal.throwIfAborted();
    this.running++;
    try {
      return await work();
    } finally {
      this.running--;
      this.waiting.shift()?.();
    }
  }

  private async wait(signal: AbortSignal): Promise<void> {
    if (this.waiting.length >= this.waitingMax) {
      throw new WeirError("query_busy", "too many outstanding requests: try again when fewer queries run", {
        retriable: true,
      });
    }
    let wake: () => void = () => undefined;
    const turn = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.waiting.push(wake);
    const left = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    await Promise.race([turn, left]);
    const place = this.waiting.indexOf(wake);
    if (place !== -1) this.waiting.splice(place, 1);
    // Woken and gone in the same moment: the turn goes to the next.
    else if (signal.aborted) this.waiting.shift()?.();
  }
}
