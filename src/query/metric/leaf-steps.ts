import type { Labels } from "../../core/labels.ts";
import type { Slices } from "../../core/slices.ts";
import { splitNs } from "../../core/time.ts";
import type { CellTable, SampleList } from "./cells.ts";
import { counterRate } from "./counter-rate.ts";
import { resultOf } from "./kinds.ts";
import type { Leaf } from "./plan-metric.ts";
import { quantile, RankWindow } from "./quantile.ts";
import { inParts, radixOrder } from "./radix.ts";
import { SERIES_AT_ONCE } from "./series-table.ts";
import { CellQueue, MergedWindow, type SlidingWindow } from "./sliding.ts";
import type { Windows } from "./windows.ts";

/** The samples of one step: series ids[i] has values[i]. Valid until the next step; nobody but its maker changes it. */
export interface StepVector {
  readonly ids: readonly number[];
  readonly values: readonly number[];
}

/** Something that has a vector at each step. `step` is called with 0, 1, 2, … or with the same number again. */
export interface VectorSource {
  /** To be awaited before the first step: work on all series at once, in slices. */
  prepare(slices: Slices): Promise<void>;
  /** The labels of each series, by its id. Grows as steps bring new series. */
  readonly labels: readonly Labels[];
  step(point: number): StepVector;
}

/** The results of a range aggregation at each step, from its cells. */
export class LeafSteps implements VectorSource {
  readonly labels: Labels[] = [];
  private readonly leaf: Leaf;
  private readonly table: CellTable;
  private readonly windows: Windows;
  /** Cells in the order of their intervals. */
  private order: Uint32Array = new Uint32Array(0);
  private samples: CellSamples | null = null;
  private isPrepared = false;
  private bySeries: number[][] | null = null;
  private readonly sliding: (SlidingWindow | undefined)[] = [];
  /** Series whose window holds something, and where each stands in that list. */
  private readonly active: number[] = [];
  private readonly activeAt: number[] = [];
  private entered = 0;
  private left = 0;
  private point = -1;
  private ids: number[] = [];
  private values: number[] = [];

  constructor(leaf: Leaf, windows: Windows, table: CellTable) {
    this.leaf = leaf;
    this.table = table;
    this.windows = windows;
  }

  async prepare(slices: Slices): Promise<void> {
    // A leaf that stands at two places of a query is one.
    if (this.isPrepared) return;
    this.isPrepared = true;
    const { texts, kept, interval, count } = this.table;
    this.order = await radixOrder(interval, count, slices);
    if (kept !== null) this.samples = await CellSamples.of(kept, count, slices);
    while (this.labels.length < texts.length) {
      this.labels.push(JSON.parse(texts[this.labels.length]) as Labels);
      if (this.labels.length % SERIES_AT_ONCE === 0) await slices.turn();
    }
  }

  step(point: number): StepVector {
    if (point !== this.point) {
      this.point = point;
      this.ids = [];
      this.values = [];
      if (this.windows.length === 1) this.singleIntervals(point);
      else this.slide(point);
    }
    return { ids: this.ids, values: this.values };
  }

  /** Windows of one interval: each cell is a result. */
  private singleIntervals(point: number): void {
    const { table, order } = this;
    const wanted = this.windows.from(point);
    while (this.entered < order.length && table.interval[order[this.entered]] <= wanted) {
      const cell = order[this.entered++];
      if (table.interval[cell] !== wanted) continue;
      this.ids.push(table.series[cell]);
      this.values.push(this.cellValue(cell, point));
    }
  }

  private cellValue(cell: number, point: number): number {
    const { leaf, table, samples, windows } = this;
    if (samples === null) return resultOf(leaf.op, table.states, cell * table.kind.size, windows.rangeSeconds);
    if (leaf.op === "quantile_over_time") return quantile(leaf.parameter ?? 0, samples.valuesOf(cell));
    return this.rate([cell], samples, point);
  }

  private slide(point: number): void {
    const { table, order, windows } = this;
    const from = windows.from(point);
    const to = from + windows.length;
    for (; this.entered < order.length && table.interval[order[this.entered]] < to; this.entered++) {
      const cell = order[this.entered];
      const series = table.series[cell];
      const window = this.windowOf(series);
      if (window.size === 0) {
        this.activeAt[series] = this.active.length;
        this.active.push(series);
      }
      window.push(cell);
    }
    for (; this.left < this.entered && table.interval[order[this.left]] < from; this.left++) {
      const series = table.series[order[this.left]];
      const window = this.windowOf(series);
      window.pop();
      if (window.size === 0) this.retire(series);
    }
    for (const series of this.active) {
      this.ids.push(series);
      this.values.push(this.windowValue(this.windowOf(series), point));
    }
  }

  private retire(series: number): void {
    const last = this.active.pop();
    if (last === undefined || last === series) return;
    this.active[this.activeAt[series]] = last;
    this.activeAt[last] = this.activeAt[series];
  }

  private windowOf(series: number): SlidingWindow {
    let window = this.sliding[series];
    if (window === undefined) {
      window = this.newWindow(series);
      this.sliding[series] = window;
    }
    return window;
  }

  private newWindow(series: number): SlidingWindow {
    const { table, samples, leaf } = this;
    if (samples === null) return new MergedWindow(table);
    if (leaf.op !== "quantile_over_time") return new CellQueue();
    return new RankWindow(this.cellsOf(series).map((cell) => samples.valuesOf(cell)));
  }

  /** The cells of a series in the order of their intervals. */
  private cellsOf(series: number): readonly number[] {
    if (this.bySeries === null) {
      this.bySeries = this.table.texts.map(() => []);
      for (const cell of this.order) this.bySeries[this.table.series[cell]].push(cell);
    }
    return this.bySeries[series];
  }
  private windowValue(window: SlidingWindow, point: number): number {
    const { leaf, windows, samples } = this;
    if (window instanceof MergedWindow) return resultOf(leaf.op, window.state(), 0, windows.rangeSeconds);
    if (window instanceof RankWindow) return window.quantile(leaf.parameter ?? 0);
    return samples !== null && window instanceof CellQueue ? this.rate(window, samples, point) : Number.NaN;
  }

  private rate(cells: Iterable<number>, samples: CellSamples, point: number): number {
    const { sec, nsec } = splitNs(this.windows.bounds(point).beginNs);
    const places: number[] = [];
    for (const cell of cells) for (const place of samples.inTime(cell)) places.push(place);
    const { list } = samples;
    return counterRate(
      {
        count: places.length,
        at: (index) => {
          const place = places[index];
          const seconds = list.sec[place] - sec + (list.nsec[place] - nsec) / 1e9;
          return { seconds, value: list.value[place] };
        },
      },
      this.windows.rangeSeconds,
    );
  }
}

/** Kept samples by cell. */
class CellSamples {
  readonly list: SampleList;
  /** Where the samples of each cell begin when they are put in order of cells. */
  private readonly starts: Uint32Array;
  /** The values in that order, where their times don't matter. */
  private readonly byCell: Float64Array;
  /** The samples in that order, those of a cell as they came, where their times matter. */
  private readonly order: Uint32Array;
  private readonly sorted = new Map<number, readonly number[]>();

  private constructor(list: SampleList, starts: Uint32Array, byCell: Float64Array, order: Uint32Array) {
    this.list = list;
    this.starts = starts;
    this.byCell = byCell;
    this.order = order;
  }

  static async of(list: SampleList, cells: number, slices: Slices): Promise<CellSamples> {
    const { cell, count, isTimed } = list;
    const starts = new Uint32Array(cells + 1);
    await inParts(count, slices, (from, to) => {
      for (let i = from; i < to; i++) starts[cell[i] + 1]++;
    });
    for (let i = 0; i < cells; i++) starts[i + 1] += starts[i];
    if (isTimed) return new CellSamples(list, starts, new Float64Array(0), await radixOrder(cell, count, slices));
    return new CellSamples(list, starts, await valuesByCell(list, starts, slices), new Uint32Array(0));
  }

  /** A view of what is kept here, for samples without times: the caller may change its order. */
  valuesOf(cell: number): Float64Array {
    return this.byCell.subarray(this.starts[cell], this.starts[cell + 1]);
  }

  /** Places of a cell's samples in the order of their times, equal times in order of arrival. */
  inTime(cell: number): readonly number[] {
    const known = this.sorted.get(cell);
    if (known !== undefined) return known;
    const { sec, nsec, order, row } = this.list;
    const places = [...this.order.subarray(this.starts[cell], this.starts[cell + 1])].sort(
      (a, b) => sec[a] - sec[b] || nsec[a] - nsec[b] || order[a] - order[b] || row[a] - row[b],
    );
    this.sorted.set(cell, places);
    return places;
  }
}

/** In one pass over the samples, without their order: that is all that a quantile needs. */
async function valuesByCell({ cell, value, count }: SampleList, starts: Uint32Array, slices: Slices) {
  const next = starts.slice();
  const values = new Float64Array(count);
  await inParts(count, slices, (from, to) => {
    for (let i = from; i < to; i++) values[next[cell[i]]++] = value[i];
  });
  return values;
}
