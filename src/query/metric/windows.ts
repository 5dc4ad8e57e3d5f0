import { joinNs, splitNs } from "../../core/time.ts";

/** The points in time at which a metric query is evaluated: `startNs`, `startNs + stepNs`, … up to `endNs`. */
export interface EvalTimes {
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** Above 0. */
  readonly stepNs: bigint;
}

/** The step of an instant query: it has one point, and no use for a step. */
export const INSTANT_STEP_NS = 1n;

/** Longest stretch of time that is looked at as one, 52 days: in it a double counts nanoseconds exactly. */
const STRETCH_MAX_NS = 2n ** 52n;

/** How many points there are; 0 when the end is before the start. */
export function pointCount({ startNs, endNs, stepNs }: EvalTimes): number {
  return endNs < startNs ? 0 : Number((endNs - startNs) / stepNs) + 1;
}

/**
 * The windows of a range selector at all points of a query, cut into intervals such that each window is a run of whole
 * intervals. At a point t with range r and offset o the window is (t - o - r, t - o]: left open, right closed.
 *
 * All windows begin at the same phase of the step and end at the same phase, so two intervals for each step are enough,
 * and one where the range is a multiple of the step. With a range shorter than the step, every second interval is a gap
 * that no window holds.
 *
 *   step 4, range 6:    |--0--|--1--|--2--|--3--|--4--|      each of 2 units; window 0 is 0 to 2, window 1 is 2 to 4
 *
 * Where the last window begins before the first one ends, all between is in every window: one interval.
 *
 *   step 2, range 9, 3 points:    |-0-|-1-|----2----|-3-|-4-|      window 0 is 0 to 2, window 2 is 2 to 4
 */
export class Windows {
  /** Samples at `firstNs` up to `lastNs`, both inclusive, are in some window; `firstNs` is above `lastNs` when none are. */
  readonly firstNs: bigint;
  readonly lastNs: bigint;
  readonly points: number;
  /** Intervals of one window. */
  readonly length: number;
  /** From the first interval of one window to the first of the next. */
  readonly stride: number;
  readonly intervals: number;
  readonly rangeSeconds: number;

  private readonly baseNs: bigint;
  private readonly stepNs: bigint;
  private readonly rangeNs: bigint;
  /** From the begin of the first window to that of the last one. */
  private readonly spanNs: bigint;
  /** Some times are in all windows. */
  private readonly isWide: boolean;
  /** Nanoseconds from the begin of a step to where windows end in it; 0 when they end where others begin. */
  private readonly phaseNs: bigint;
  // The interval that was found last: it begins behind (anchorSec, anchorNsec) and is `width` nanoseconds long.
  private anchorSec = 0;
  private anchorNsec = 0;
  private width = -1;
  private current = -1;

  constructor(times: EvalTimes, rangeNs: number, offsetNs: number) {
    const range = BigInt(Math.round(rangeNs));
    const { stepNs } = times;
    this.points = range > 0n ? pointCount(times) : 0;
    this.rangeNs = range;
    this.rangeSeconds = rangeNs / 1e9;
    this.stepNs = stepNs;
    this.baseNs = times.startNs - BigInt(Math.round(offsetNs)) - range;
    this.spanNs = this.points === 0 ? 0n : BigInt(this.points - 1) * stepNs;
    this.isWide = range >= this.spanNs;
    this.phaseNs = range % stepNs;
    const isEven = this.isWide || this.phaseNs === 0n;
    this.stride = isEven ? 1 : 2;
    const steps = this.isWide ? this.points : Number(range / stepNs);
    this.length = isEven ? steps : 2 * steps + 1;
    this.intervals = this.points === 0 ? 0 : (this.points - 1) * this.stride + this.length;
    this.firstNs = this.baseNs + 1n;
    this.lastNs = this.points === 0 ? this.baseNs : this.baseNs + this.spanNs + range;
  }

  /** The first interval of the window of a point; `length` of them are in it. */
  from(point: number): number {
    return point * this.stride;
  }

  /** Where the window of a point begins (samples there are outside) and ends (samples there are inside). */
  bounds(point: number): { beginNs: bigint; endNs: bigint } {
    const beginNs = this.baseNs + BigInt(point) * this.stepNs;
    return { beginNs, endNs: beginNs + this.rangeNs };
  }

  /** Whether some window may hold samples at times from `minNs` to `maxNs`, both inclusive. */
  overlaps(minNs: bigint, maxNs: bigint): boolean {
    if (this.points === 0 || maxNs < this.firstNs || minNs > this.lastNs) return false;
    if (this.isWide || this.rangeNs >= this.stepNs) return true;
    // With gaps: unless both lie in the same one, a window is between them.
    const a = this.place(minNs);
    return a.index >= 0 || maxNs > a.endNs;
  }

  /** Whether no time from `minNs` to `maxNs`, both inclusive, is before all windows or behind them. */
  spans(minNs: bigint, maxNs: bigint): boolean {
    return minNs >= this.firstNs && maxNs <= this.lastNs;
  }

  /** The interval that holds all times from `minNs` to `maxNs`, -1 when that is not one, or is in no window. */
  single(minNs: bigint, maxNs: bigint): number {
    const { index, endNs } = this.place(minNs);
    return maxNs <= endNs ? index : -1;
  }

  /**
   * The interval of a time, -1 when no window holds it. Times that follow each other mostly lie in the same interval,
   * so the last one is looked at first, in doubles that are exact there.
   */
  find(sec: number, nsec: number): number {
    const since = (sec - this.anchorSec) * 1e9 + (nsec - this.anchorNsec);
    if (since > 0 && since <= this.width) return this.current;
    return this.relocate(joinNs(sec, nsec));
  }

  /** Nanoseconds after (sec, nsec), which `find` was just asked for, that lie in the same interval. */
  ahead(sec: number, nsec: number): number {
    return this.width - ((sec - this.anchorSec) * 1e9 + (nsec - this.anchorNsec));
  }

  private relocate(ns: bigint): number {
    const { index, beginNs, endNs } = this.place(ns);
    // Of a longer interval only what is around the time.
    const from = endNs - beginNs > STRETCH_MAX_NS ? ns - 1n : beginNs;
    const { sec, nsec } = splitNs(from);
    this.anchorSec = sec;
    this.anchorNsec = nsec;
    this.width = Number(least(endNs, from + STRETCH_MAX_NS) - from);
    this.current = index;
    return index;
  }

  /** The interval (beginNs, endNs] of a time, with index -1 for what is in no window. */
  private place(ns: bigint): { index: number; beginNs: bigint; endNs: bigint } {
    const { baseNs, stepNs, phaseNs, spanNs, rangeNs, points } = this;
    if (ns <= baseNs) return { index: -1, beginNs: ns - 1n, endNs: baseNs };
    if (ns > this.lastNs) return { index: -1, beginNs: ns - 1n, endNs: ns + STRETCH_MAX_NS };
    const at = ns - 1n - baseNs;
    if (this.isWide && at >= spanNs) {
      if (at < rangeNs) return { index: points - 1, beginNs: baseNs + spanNs, endNs: baseNs + rangeNs };
      const after = (at - rangeNs) / stepNs;
      const endOf = baseNs + rangeNs + after * stepNs;
      return { index: points + Number(after), beginNs: endOf, endNs: endOf + stepNs };
    }
    const step = at / stepNs;
    const begin = baseNs + step * stepNs;
    if (this.stride === 1) return { index: Number(step), beginNs: begin, endNs: begin + stepNs };
    if (at - step * stepNs < phaseNs) return { index: Number(step) * 2, beginNs: begin, endNs: begin + phaseNs };
    const index = rangeNs < stepNs ? -1 : Number(step) * 2 + 1;
    return { index, beginNs: begin + phaseNs, endNs: begin + stepNs };
  }
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
