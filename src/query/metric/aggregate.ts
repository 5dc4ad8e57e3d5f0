import type { Labels } from "../../core/labels.ts";
import type { Slices } from "../../core/slices.ts";
import type { MetricOf } from "../syntax/ast.ts";
import type { StepVector, VectorSource } from "./leaf-steps.ts";
import { compareLabels, dropLabels, keepLabels, PerSeries, SeriesTable } from "./series-table.ts";

type Aggregation = MetricOf<"vector_aggregation">;

/** What a group's values have come to so far. */
interface Group {
  readonly id: number;
  count: number;
  value: number;
  mean: number;
}

/** A vector aggregation, step by step; those that keep the series they are given are in SelectSteps. */
export class AggregateSteps implements VectorSource {
  private readonly inner: VectorSource;
  private readonly op: Aggregation["op"];
  private readonly groups = new SeriesTable();
  private readonly groupOf: PerSeries<number>;

  constructor({ op, grouping }: Aggregation, inner: VectorSource) {
    this.inner = inner;
    this.op = op;
    this.groupOf = new PerSeries((id) => this.groups.idOf(groupLabels(inner.labels[id], grouping)));
  }

  get labels(): readonly Labels[] {
    return this.groups.labels;
  }

  async prepare(slices: Slices): Promise<void> {
    await this.inner.prepare(slices);
    await this.groupOf.fill(this.inner.labels.length, slices);
  }

  step(point: number): StepVector {
    const { ids, values } = this.inner.step(point);
    const groups = new Map<number, Group>();
    for (let i = 0; i < ids.length; i++) {
      const id = this.groupOf.of(ids[i]);
      const value = values[i];
      const group = groups.get(id);
      if (group === undefined)
        groups.set(id, { id, count: 1, value: this.isSpread ? value - value : value, mean: value });
      else this.add(group, value);
    }
    const found = [...groups.values()];
    return { ids: found.map(({ id }) => id), values: found.map((group) => this.result(group)) };
  }

  private get isSpread(): boolean {
    return this.op === "stddev" || this.op === "stdvar";
  }

  private add(group: Group, value: number): void {
    group.count++;
    switch (this.op) {
      case "sum":
        group.value += value;
        return;
      case "avg":
        group.mean = nextMean(group.mean, value, group.count);
        return;
      case "max":
        if (group.value < value || Number.isNaN(group.value)) group.value = value;
        return;
      case "min":
        if (group.value > value || Number.isNaN(group.value)) group.value = value;
        return;
      case "stddev":
      case "stdvar": {
        const delta = value - group.mean;
        group.mean += delta / group.count;
        group.value += delta * (value - group.mean);
        return;
      }
      default:
        return;
    }
  }

  private result({ count, value, mean }: Group): number {
    switch (this.op) {
      case "avg":
        return mean;
      case "count":
        return count;
      case "stdvar":
        return value / count;
      case "stddev":
        return Math.sqrt(value / count);
      default:
        return value;
    }
  }
}

/** A mean that stays infinite once it is, unless the other infinity or NaN comes. */
function nextMean(mean: number, value: number, count: number): number {
  if (Math.abs(mean) === Number.POSITIVE_INFINITY && (value === mean || Number.isFinite(value))) return mean;
  return mean + (value - mean) / count;
}

function groupLabels(labels: Labels, grouping: Aggregation["grouping"]): Labels {
  if (grouping === null) return {};
  const names = new Set(grouping.labels);
  return grouping.without ? dropLabels(labels, names) : keepLabels(labels, names);
}

/** `topk`, `bottomk`, `approx_topk`, `sort`, `sort_desc`: some of the given series, as they are. */
export class SelectSteps implements VectorSource {
  private readonly inner: VectorSource;
  private readonly most: number;
  /** 1 for the greatest first, -1 for the least. */
  private readonly sign: number;
  private readonly groups = new SeriesTable();
  private readonly groupOf: PerSeries<number>;

  constructor({ op, parameter, grouping }: Aggregation, inner: VectorSource) {
    this.inner = inner;
    this.most = op === "sort" || op === "sort_desc" ? Number.POSITIVE_INFINITY : (parameter ?? 1);
    this.sign = op === "bottomk" || op === "sort" ? -1 : 1;
    this.groupOf = new PerSeries((id) => this.groups.idOf(groupLabels(inner.labels[id], grouping)));
  }

  get labels(): readonly Labels[] {
    return this.inner.labels;
  }

  async prepare(slices: Slices): Promise<void> {
    await this.inner.prepare(slices);
    await this.groupOf.fill(this.inner.labels.length, slices);
  }

  step(point: number): StepVector {
    const { ids, values } = this.inner.step(point);
    const before = (a: number, b: number) => this.compare(ids, values, a, b);
    const kept = new Map<number, Best>();
    for (let i = 0; i < ids.length; i++) {
      const group = this.groupOf.of(ids[i]);
      let best = kept.get(group);
      if (best === undefined) {
        best = new Best(this.most, before);
        kept.set(group, best);
      }
      best.add(i);
    }
    const places = [...kept.values()].flatMap((best) => best.places).sort(before);
    return { ids: places.map((i) => ids[i]), values: places.map((i) => values[i]) };
  }

  /** NaN comes last in either direction; equal values in the order of their labels, so that an answer can be repeated. */
  private compare(ids: readonly number[], values: readonly number[], a: number, b: number): number {
    const x = values[a];
    const y = values[b];
    if (x !== y && !(Number.isNaN(x) && Number.isNaN(y))) {
      if (Number.isNaN(x)) return 1;
      if (Number.isNaN(y)) return -1;
      return x > y ? -this.sign : this.sign;
    }
    return compareLabels(this.inner.labels[ids[a]], this.inner.labels[ids[b]]);
  }
}

/** The first `most` of the places given, by an order. Looks at no more than it must: few of many are kept. */
class Best {
  readonly places: number[] = [];
  private readonly most: number;
  private readonly compare: (a: number, b: number) => number;

  constructor(most: number, compare: (a: number, b: number) => number) {
    this.most = most;
    this.compare = compare;
  }

  add(place: number): void {
    const { places, most, compare } = this;
    // All are kept, and sorted at the end.
    if (most === Number.POSITIVE_INFINITY) {
      places.push(place);
      return;
    }
    if (places.length === most && compare(place, places[most - 1]) >= 0) return;
    let low = 0;
    let high = places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare(places[middle], place) <= 0) low = middle + 1;
      else high = middle;
    }
    places.splice(low, 0, place);
    if (places.length > most) places.pop();
  }
}
