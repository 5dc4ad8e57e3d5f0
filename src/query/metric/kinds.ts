import type { RangeOp } from "../syntax/ast.ts";

/*
 * How a range aggregation is reduced. Samples of one series in one interval become a state of a few numbers, in the
 * thread that reads their block; states of the same series and interval are merged, and so are those of the intervals
 * that make a window. Merging is associative, and its outcome does not depend on which block came first, rounding aside.
 */

/** Where a sample stands in time and in order of arrival. */
export interface SamplePlace {
  readonly sec: number;
  readonly nsec: number;
  /** PlannedBlock.order. */
  readonly order: number;
  readonly row: number;
}

/** States stand one after the other in an array; a state is `size` numbers of it. */
export interface Kind {
  readonly size: number;
  /** Values are kept one by one beside the state: `values` without, `timed` with the times of their samples. */
  readonly keeps: "nothing" | "values" | "timed";
  /** The state of a single sample. */
  start(states: Float64Array, at: number, value: number, place: SamplePlace): void;
  /** One more sample. */
  add(states: Float64Array, at: number, value: number, place: SamplePlace): void;
  merge(into: Float64Array, at: number, from: Float64Array, fromAt: number): void;
}

/** Counts and sums: one number. */
const sumKind: Kind = {
  size: 1,
  keeps: "nothing",
  start(states, at, value) {
    states[at] = value;
  },
  add(states, at, value) {
    states[at] += value;
  },
  merge(into, at, from, fromAt) {
    into[at] += from[fromAt];
  },
};

/** Sum and count. */
const meanKind: Kind = {
  size: 2,
  keeps: "nothing",
  start(states, at, value) {
    states[at] = value;
    states[at + 1] = 1;
  },
  add(states, at, value) {
    states[at] += value;
    states[at + 1]++;
  },
  merge(into, at, from, fromAt) {
    into[at] += from[fromAt];
    into[at + 1] += from[fromAt + 1];
  },
};

/** The least (`sign` -1) or greatest value; NaN only while there is nothing else. */
function extremeKind(sign: 1 | -1): Kind {
  const take = (states: Float64Array, at: number, value: number) => {
    if (value * sign > states[at] * sign || Number.isNaN(states[at])) states[at] = value;
  };
  return {
    size: 1,
    keeps: "nothing",
    start(states, at, value) {
      states[at] = value;
    },
    add: take,
    merge: (into, at, from, fromAt) => take(into, at, from[fromAt]),
  };
}

/**
 * Count, mean and sum of squared differences from the mean: Welford's way for one more sample, Chan's for two sets, both
 * of which keep their digits when the spread is small beside the mean.
 */
const spreadKind: Kind = {
  size: 3,
  keeps: "nothing",
  start(states, at, value) {
    states[at] = 1;
    states[at + 1] = value;
    // Infinities and NaN have no spread, however few they are.
    states[at + 2] = value - value;
  },
  add(states, at, value) {
    const count = ++states[at];
    const delta = value - states[at + 1];
    states[at + 1] += delta / count;
    states[at + 2] += delta * (value - states[at + 1]);
  },
  merge(into, at, from, fromAt) {
    const a = into[at];
    const b = from[fromAt];
    const count = a + b;
    const delta = from[fromAt + 1] - into[at + 1];
    into[at] = count;
    into[at + 1] += (delta * b) / count;
    into[at + 2] += from[fromAt + 2] + (delta * delta * a * b) / count;
  },
};

/** The earliest (`sign` -1) or latest sample: value, seconds, nanoseconds, and its place in order of arrival. */
function edgeKind(sign: 1 | -1): Kind {
  const set = (states: Float64Array, at: number, value: number, place: SamplePlace) => {
    states[at] = value;
    states[at + 1] = place.sec;
    states[at + 2] = place.nsec;
    states[at + 3] = place.order;
    states[at + 4] = place.row;
  };
  return {
    size: 5,
    keeps: "nothing",
    start: set,
    add(states, at, value, place) {
      const by =
        place.sec - states[at + 1] ||
        place.nsec - states[at + 2] ||
        place.order - states[at + 3] ||
        place.row - states[at + 4];
      if (by * sign > 0) set(states, at, value, place);
    },
    merge(into, at, from, fromAt) {
      let by = 0;
      for (let i = 1; i < 5 && by === 0; i++) by = from[fromAt + i] - into[at + i];
      if (by * sign > 0) into.set(from.subarray(fromAt, fromAt + 5), at);
    },
  };
}

/** No state: the samples themselves are kept. */
function keepingKind(keeps: "values" | "timed"): Kind {
  const nothing = () => undefined;
  return { size: 0, keeps, start: nothing, add: nothing, merge: nothing };
}

const KINDS: Readonly<Record<RangeOp, Kind>> = {
  count_over_time: sumKind,
  rate: sumKind,
  bytes_over_time: sumKind,
  bytes_rate: sumKind,
  sum_over_time: sumKind,
  absent_over_time: sumKind,
  avg_over_time: meanKind,
  min_over_time: extremeKind(-1),
  max_over_time: extremeKind(1),
  stddev_over_time: spreadKind,
  stdvar_over_time: spreadKind,
  first_over_time: edgeKind(-1),
  last_over_time: edgeKind(1),
  quantile_over_time: keepingKind("values"),
  rate_counter: keepingKind("timed"),
};

export function kindOf(op: RangeOp): Kind {
  return KINDS[op];
}

/** The value of a window from its state; for those that keep no samples. `rangeSeconds`: the window's length. */
export function resultOf(op: RangeOp, states: Float64Array, at: number, rangeSeconds: number): number {
  switch (op) {
    case "rate":
    case "bytes_rate":
      return states[at] / rangeSeconds;
    case "avg_over_time":
      return states[at] / states[at + 1];
    case "stdvar_over_time":
      return states[at + 2] / states[at];
    case "stddev_over_time":
      return Math.sqrt(states[at + 2] / states[at]);
    default:
      return states[at];
  }
}
