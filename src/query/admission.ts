import { WeirError } from "../core/errors.ts";

/** A query that waits; `go` tells it that its turn has come. */
interface Waiting {
  readonly go: () => void;
}

/**
 * Lets a number of queries run at one time; further ones wait their turn, and beyond a limit for each tenant are refused. Turns go
 * round over the tenants that wait, so that one with a thousand queries costs another no more than one turn.
 */
export class Admission {
  private readonly runningMax: number;
  private readonly waitingMax: number;
  private running = 0;
  /** Queries that wait, by tenant, in the order of the turns: the tenant that has had one goes to the end. */
  private readonly queues = new Map<string, Waiting[]>();

  constructor(runningMax: number, waitingMax: number) {
    this.runningMax = runningMax;
    this.waitingMax = waitingMax;
  }

  get runningCount(): number {
    return this.running;
  }

  get waitingCount(): number {
    let count = 0;
    for (const queue of this.queues.values()) count += queue.length;
    return count;
  }

  /** Runs `work` when it is its turn. Rejects with `query_busy`, or with what `signal` was aborted for. */
  async run<T>(tenant: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    // Whoever comes while others wait goes behind them, even if a place is free this very moment.
    if (this.running < this.runningMax && this.queues.size === 0) this.running++;
    else await this.wait(tenant, signal);
    try {
      return await work();
    } finally {
      this.running--;
      this.next();
    }
  }

  /** Gives free places to those that wait; a place is taken for them at once. */
  private next(): void {
    while (this.running < this.runningMax) {
      const [first] = this.queues;
      if (first === undefined) return;
      const [tenant, queue] = first;
      const waiting = queue.shift();
      this.queues.delete(tenant);
      if (queue.length > 0) this.queues.set(tenant, queue);
      if (waiting === undefined) continue;
      this.running++;
      waiting.go();
    }
  }

  /** Resolves with a place taken. */
  private async wait(tenant: string, signal: AbortSignal): Promise<void> {
    const queue = this.queues.get(tenant) ?? [];
    if (queue.length >= this.waitingMax) {
      throw new WeirError("query_busy", "too many outstanding requests: try again when fewer queries run", {
        retriable: true,
      });
    }
    let isTurn = false;
    await new Promise<void>((resolve) => {
      const waiting: Waiting = {
        go: () => {
          isTurn = true;
          signal.removeEventListener("abort", leave);
          resolve();
        },
      };
      const leave = () => {
        this.forget(tenant, waiting);
        resolve();
      };
      signal.addEventListener("abort", leave, { once: true });
      queue.push(waiting);
      this.queues.set(tenant, queue);
    });
    if (!isTurn) signal.throwIfAborted();
    else if (signal.aborted) {
      // Told and gone in the same moment: the place goes to the next.
      this.running--;
      this.next();
      signal.throwIfAborted();
    }
  }

  private forget(tenant: string, waiting: Waiting): void {
    const queue = this.queues.get(tenant);
    const place = queue?.indexOf(waiting) ?? -1;
    if (queue === undefined || place === -1) return;
    queue.splice(place, 1);
    if (queue.length === 0) this.queues.delete(tenant);
  }
}
