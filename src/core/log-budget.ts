import type { Logger } from "./log.ts";

/** Lines of a kind at once; as many agents may be wrong for as many reasons before any is left out. */
const BURST = 20;
/** Then one in so many milliseconds. */
const REFILL_MS = 10_000;

interface Bucket {
  lines: number;
  filledAt: number;
  leftOut: number;
}

/**
 * Warnings that strangers bring about, as often as they like: of each kind 20 lines, then one in 10 s, whose field `left_out` says
 * how many there would have been between. The kinds are the caller's own, so there are few. `now`: milliseconds.
 */
export class LogBudget {
  private readonly log: Logger;
  private readonly now: () => number;
  private readonly buckets = new Map<string, Bucket>();

  constructor(log: Logger, now: () => number = () => performance.now()) {
    this.log = log;
    this.now = now;
  }

  warn(kind: string, fields: object, message: string): void {
    const now = this.now();
    const bucket = this.buckets.get(kind) ?? { lines: BURST, filledAt: now, leftOut: 0 };
    this.buckets.set(kind, bucket);
    const due = Math.floor((now - bucket.filledAt) / REFILL_MS);
    bucket.lines = Math.min(BURST, bucket.lines + due);
    bucket.filledAt = bucket.lines === BURST ? now : bucket.filledAt + due * REFILL_MS;
    if (bucket.lines === 0) {
      bucket.leftOut++;
      return;
    }
    bucket.lines--;
    this.log.warn(bucket.leftOut === 0 ? fields : { ...fields, left_out: bucket.leftOut }, message);
    bucket.leftOut = 0;
  }
}
