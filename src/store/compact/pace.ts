import { setImmediate as nextTurn } from "node:timers/promises";
import { WeirError } from "../../core/errors.ts";

/** How long compaction works on one thing before others get a turn. */
const SLICE_MS = 4;
/** How often it is asked whether the work is still wanted. */
const LOOK_MS = 10_000;

export interface PaceDeps {
  /** Waits so long, or until the signal is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
  /** Ends the work: `turn` and `wait` throw `aborted` from then on. */
  readonly signal: AbortSignal;
}

/**
 * Cuts work into slices, so that receiving and queries never wait long for compaction, and rests between them, so that
 * work takes no more than a share of one core. Time that compaction spends waiting counts as rest.
 */
export class Pace {
  private readonly share: number;
  private readonly deps: PaceDeps;
  private since: number;
  /** Milliseconds of work that are not made up for by rest. */
  private owed = 0;
  private look: (() => Promise<void>) | null = null;
  private lookedMs = 0;

  /** `share`: 0 to 1 of a core. */
  constructor(share: number, deps: PaceDeps) {
    this.share = share;
    this.deps = deps;
    this.since = deps.now();
  }

  /** Gives others a turn when the slice is used up. */
  readonly turn = async (): Promise<void> => {
    this.throwIfAborted();
    const spent = this.deps.now() - this.since;
    if (spent < SLICE_MS) return;
    if (this.look !== null && this.deps.now() - this.lookedMs >= LOOK_MS) {
      this.lookedMs = this.deps.now();
      await this.wait(this.look());
    }
    this.owed += spent * (1 / this.share - 1);
    await this.rest();
  };

  /** Does work that `look` is asked about now and then: what that throws ends the work. */
  async whileWanted<T>(look: () => Promise<void>, work: () => Promise<T>): Promise<T> {
    this.look = look;
    this.lookedMs = this.deps.now();
    try {
      return await work();
    } finally {
      this.look = null;
    }
  }

  /** Waits for something that others do. */
  async wait<T>(work: Promise<T>): Promise<T> {
    // It was begun before this call, and may well fail for the same reason.
    if (this.deps.signal.aborted) work.catch(() => undefined);
    this.throwIfAborted();
    const { now } = this.deps;
    const { since } = this;
    const before = now();
    try {
      return await work;
    } finally {
      // Work that took turns has accounted for its time; added once more, others would get no turn for as long again.
      if (this.since === since) this.waited(now() - before);
    }
  }

  /** Work that another thread has done for compaction. */
  worked(ms: number): void {
    this.owed += ms * (1 / this.share - 1);
  }

  private waited(ms: number): void {
    // What was there already gave nobody a turn, so the slice goes on; it does not count as work.
    this.since += ms;
    this.owed = Math.max(0, this.owed - ms);
  }

  private throwIfAborted(): void {
    if (this.deps.signal.aborted) throw new WeirError("aborted", "compaction was stopped; what it did is dropped");
  }

  private async rest(): Promise<void> {
    const { now, sleep, signal } = this.deps;
    const before = now();
    if (this.owed >= 1) await sleep(this.owed, signal);
    else await nextTurn();
    this.since = now();
    this.owed = Math.max(0, this.owed - (this.since - before));
  }
}
