import { selectRank } from "./select.ts";
import type { SlidingWindow } from "./sliding.ts";

/** Order for quantiles: NaN below everything else, as Loki has it. */
function nanFirst(values: Float64Array): void {
  values.sort(); // NaN last.
  let nans = 0;
  while (nans < values.length && Number.isNaN(values[values.length - 1 - nans])) nans++;
  if (nans === 0 || nans === values.length) return;
  values.copyWithin(nans, 0, values.length - nans);
  values.fill(Number.NaN, 0, nans);
}

/** The quantile of `count` values, `at(rank)` giving them in ascending order: linear between the ranks around q(n - 1). */
function interpolated(q: number, count: number, at: (rank: number) => number): number {
  if (Number.isNaN(q)) return Number.NaN;
  if (q < 0) return Number.NEGATIVE_INFINITY;
  if (q > 1) return Number.POSITIVE_INFINITY;
  const rank = q * (count - 1);
  const lower = Math.floor(rank);
  const upper = Math.min(count - 1, lower + 1);
  const weight = rank - lower;
  return at(lower) * (1 - weight) + at(upper) * weight;
}

/** The quantile of values, which are moved about. */
export function quantile(q: number, values: Float64Array): number {
  let nans = 0;
  for (let i = 0; i < values.length; i++) {
    if (!Number.isNaN(values[i])) continue;
    values[i] = values[nans];
    values[nans++] = Number.NaN;
  }
  // Ranks are asked for in ascending order, and behind one are all that come later.
  let done = nans;
  return interpolated(q, values.length, (rank) => {
    if (rank >= done) {
      selectRank(values.subarray(done), rank - done);
      done = rank + 1;
    }
    return values[rank];
  });
}

/**
 * Quantiles of a window that slides over the values of one series. A value is its rank among all of the series; a binary indexed
 * tree counts the ranks inside. So a value costs a few steps when it comes and when it goes, and nothing in between,
 * where sorting each window anew would cost it once for each window that it is in.
 */
export class RankWindow implements SlidingWindow {
  private readonly sorted: Float64Array;
  /** Ranks of the values of each cell, in the order of cells. */
  private readonly ranks: Uint32Array;
  private readonly starts: readonly number[];
  private readonly counts: Int32Array;
  private first = 0;
  private next = 0;
  private inside = 0;

  /** `cells`: the values of each cell of the series, in the order in which the cells will come. */
  constructor(cells: readonly Float64Array[]) {
    const total = cells.reduce((sum, { length }) => sum + length, 0);
    this.sorted = new Float64Array(total);
    const starts = [0];
    let at = 0;
    for (const values of cells) {
      this.sorted.set(values, at);
      at += values.length;
      starts.push(at);
    }
    this.starts = starts;
    const given = this.sorted.slice();
    nanFirst(this.sorted);
    let nans = 0;
    while (nans < total && Number.isNaN(this.sorted[nans])) nans++;
    this.ranks = Uint32Array.from(given, (value) =>
      Number.isNaN(value) ? 0 : firstAtOrAbove(this.sorted, nans, value),
    );
    this.counts = new Int32Array(total + 1);
  }

  get size(): number {
    return this.next - this.first;
  }

  push(): void {
    this.change(this.next++, 1);
  }

  pop(): void {
    this.change(this.first++, -1);
  }

  quantile(q: number): number {
    return interpolated(q, this.inside, (rank) => this.sorted[this.rankAt(rank)]);
  }

  private change(cell: number, by: 1 | -1): void {
    const { counts, ranks, starts } = this;
    for (let i = starts[cell]; i < starts[cell + 1]; i++) {
      for (let at = ranks[i] + 1; at < counts.length; at += at & -at) counts[at] += by;
      this.inside += by;
    }
  }

  /** The rank in `sorted` of the value inside that has `index` values inside before it. */
  private rankAt(index: number): number {
    const { counts } = this;
    let at = 0;
    let left = index;
    for (let bit = 1 << (31 - Math.clz32(counts.length - 1)); bit > 0; bit >>= 1) {
      const to = at + bit;
      if (to < counts.length && counts[to] <= left) {
        at = to;
        left -= counts[to];
      }
    }
    return at;
  }
}

function firstAtOrAbove(sorted: Float64Array, from: number, value: number): number {
  let low = from;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
