import type { Labels } from "../../../src/core/labels.ts";
import { compileLog } from "../../../src/query/compile.ts";
import { compileLabelFilter } from "../../../src/query/stages/label-filter.ts";
import type { Grouping, Matcher, MetricExpr, MetricOf, Unwrap } from "../../../src/query/syntax/ast.ts";
import { isLog } from "../../../src/query/syntax/ast.ts";
import { parseQuery } from "../../../src/query/syntax/parse.ts";
import { formatFilter } from "../../../src/query/syntax/print.ts";
import {
  goDurationError,
  goSeconds,
  parseByteSize,
  parseGoDuration,
  parseGoFloat,
} from "../../../src/query/syntax/units.ts";

/*
 * Metric queries the plain way: at each point in time every entry goes through the whole pipeline, samples stand in
 * lists, and each operator does by the letter what the specification says. Slow, and nothing to it.
 */

export interface PlainEntry {
  readonly labels: Labels;
  readonly metadata: Labels;
  readonly ns: bigint;
  readonly text: string | Buffer;
}

interface Sample {
  readonly labels: Labels;
  readonly ns: bigint;
  readonly value: number;
}

interface Point {
  readonly labels: Labels;
  readonly value: number;
}

/**
 * What a query gives, series by their labels as JSON; or that it fails. `mayPass`: by an error that a parser may not have come to,
 * since it need not read further than to the labels that are asked for.
 */
export type PlainResult =
  | { readonly series: Map<string, Map<number, number>> }
  | { readonly error: string; readonly mayPass: boolean };

class Failure extends Error {
  readonly mayPass: boolean;

  constructor(message: string, mayPass = false) {
    super(message);
    this.mayPass = mayPass;
  }
}

/** `entries` in order of arrival. Point i is at `startNs + i * stepNs`. */
export function plainQuery(
  query: string,
  entries: readonly PlainEntry[],
  { startNs, endNs, stepNs }: { startNs: bigint; endNs: bigint; stepNs: bigint },
): PlainResult {
  const expr = parseQuery(query);
  if (isLog(expr)) throw new Error("not a metric query");
  const series = new Map<string, Map<number, number>>();
  const evaluation = new Evaluation(entries);
  try {
    for (let point = 0, t = startNs; t <= endNs; point++, t += stepNs) {
      const value = evaluation.at(expr, t, null);
      for (const { labels, value: v } of typeof value === "number" ? [{ labels: {}, value }] : value) {
        const key = keyOf(labels);
        const known = series.get(key) ?? new Map<number, number>();
        if (known.has(point)) throw new Failure("vector cannot contain metrics with the same labelset");
        series.set(key, known.set(point, v));
      }
    }
  } catch (error) {
    if (error instanceof Failure) return { error: error.message, mayPass: error.mayPass };
    throw error;
  }
  return { series };
}

export function keyOf(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

class Evaluation {
  private readonly entries: readonly PlainEntry[];
  private readonly samples = new Map<string, readonly Sample[]>();

  constructor(entries: readonly PlainEntry[]) {
    this.entries = entries;
  }

  /** `outer`: the grouping of a `sum` right around a range aggregation, which Loki hands to the parsers. */
  at(expr: MetricExpr, t: bigint, outer: Grouping | null): number | Point[] {
    switch (expr.type) {
      case "number":
        return expr.value;
      case "vector":
        return [{ labels: {}, value: expr.value }];
      case "range_aggregation":
        return this.range(expr, t, outer);
      case "vector_aggregation":
        return aggregate(expr, this.vector(expr.inner, t, isHanded(expr) ? (expr.grouping ?? NO_GROUPS) : null));
      case "label_replace":
        return this.vector(expr.inner, t, null).map(({ labels, value }) => ({ labels: replaced(labels, expr), value }));
      case "binary":
        return binary(expr, this.at(expr.left, t, null), this.at(expr.right, t, null));
    }
  }

  private vector(expr: MetricExpr, t: bigint, outer: Grouping | null): Point[] {
    const value = this.at(expr, t, outer);
    return typeof value === "number" ? [{ labels: {}, value }] : value;
  }

  private range(expr: MetricOf<"range_aggregation">, t: bigint, outer: Grouping | null): Point[] {
    const { op, range } = expr;
    const end = t - BigInt(range.offsetNs);
    const begin = end - BigInt(range.rangeNs);
    const seconds = range.rangeNs / 1e9;
    const inside = this.samplesOf(expr, outer).filter(({ ns }) => ns > begin && ns <= end);
    const asked = (outer ?? expr.grouping)?.labels.includes("__error__") === true;
    const failed = asked ? undefined : inside.find(({ labels }) => labels.__error__ !== undefined);
    if (failed !== undefined) {
      const isLimited = (outer ?? expr.grouping)?.without === false;
      throw new Failure(`pipeline error: '${failed.labels.__error__}'`, isLimited);
    }
    if (op === "absent_over_time") {
      return inside.length > 0 ? [] : [{ labels: certain(range.log.matchers), value: 1 }];
    }
    const groups = new Map<string, { labels: Labels; samples: Sample[] }>();
    for (const sample of inside) {
      const labels = grouped(withoutUnwrapped(sample.labels, expr, outer), expr.grouping);
      const group = groups.get(keyOf(labels)) ?? { labels, samples: [] };
      group.samples.push(sample);
      groups.set(keyOf(labels), group);
    }
    return [...groups.values()].map(({ labels, samples }) => {
      const inOrder = samples
        .map((sample, i) => ({ sample, i }))
        .sort((a, b) => (a.sample.ns < b.sample.ns ? -1 : a.sample.ns > b.sample.ns ? 1 : a.i - b.i))
        .map(({ sample }) => sample);
      return { labels, value: reduce(expr, inOrder, begin, seconds) };
    });
  }

  private samplesOf(expr: MetricOf<"range_aggregation">, outer: Grouping | null): readonly Sample[] {
    const key = JSON.stringify([expr, outer]);
    let samples = this.samples.get(key);
    if (samples === undefined) {
      samples = this.makeSamples(expr, outer);
      this.samples.set(key, samples);
    }
    return samples;
  }

  private makeSamples({ op, range }: MetricOf<"range_aggregation">, outer: Grouping | null): Sample[] {
    // A parser none of whose labels is needed does not run.
    const isBlind =
      outer !== null &&
      outer.labels.length === 0 &&
      !outer.without &&
      range.unwrap === null &&
      range.log.stages.every(({ type }) => PARSERS.has(type) || type === "line_filter" || type === "drop");
    const stages = isBlind ? range.log.stages.filter(({ type }) => type === "line_filter") : range.log.stages;
    const compiled = compileLog({ ...range.log, stages });
    const { entry } = compiled;
    const filters = (range.unwrap?.filters ?? []).map((filter) =>
      compileLabelFilter(filter, entry, formatFilter(filter)),
    );
    return this.entries.flatMap(({ labels, metadata, ns, text }) => {
      if (!compiled.matchesStream(labels)) return [];
      const bytes = Buffer.concat([Buffer.from(text), Buffer.from("\n")]);
      entry.openBlock(bytes, labels, { metadata: () => Object.entries(metadata) });
      entry.openLine(0, bytes.length - 1);
      if (!compiled.process()) return [];
      let value = op === "bytes_over_time" || op === "bytes_rate" ? entry.line.length : 1;
      if (range.unwrap !== null) {
        const unwrapped = entry.labels()[range.unwrap.label] ?? "";
        if (unwrapped === "") return [];
        const converted = convert(unwrapped, range.unwrap.conversion);
        if (typeof converted === "string") entry.fail("SampleExtractionErr", converted);
        value = typeof converted === "number" ? converted : 0;
        if (!filters.every((filter) => filter(entry))) return [];
      }
      return [{ labels: entry.labels(), ns, value }];
    });
  }
}

const NO_GROUPS: Grouping = { without: false, labels: [] };
const PARSERS: ReadonlySet<string> = new Set(["json", "logfmt", "regexp", "pattern"]);

function isHanded({ op, inner }: MetricOf<"vector_aggregation">): boolean {
  return (
    op === "sum" &&
    inner.type === "range_aggregation" &&
    ["count_over_time", "rate", "bytes_over_time", "bytes_rate", "sum_over_time"].includes(inner.op)
  );
}

function withoutUnwrapped(
  labels: Labels,
  { range, grouping }: MetricOf<"range_aggregation">,
  outer: Grouping | null,
): Labels {
  const groups = outer ?? grouping;
  const isAsked = groups !== null && !groups.without && groups.labels.includes(range.unwrap?.label ?? "");
  if (range.unwrap === null || isAsked) return labels;
  return Object.fromEntries(Object.entries(labels).filter(([name]) => name !== range.unwrap?.label));
}

function convert(text: string, conversion: Unwrap["conversion"]): number | string {
  if (conversion === "bytes") {
    const size = parseByteSize(text);
    return "error" in size ? size.error : size.bytes;
  }
  if (conversion === "") return parseGoFloat(text) ?? "no float";
  const ns = parseGoDuration(text);
  return ns === null ? goDurationError(text) : goSeconds(ns);
}

function reduce(
  { op, parameter, range }: MetricOf<"range_aggregation">,
  samples: readonly Sample[],
  begin: bigint,
  seconds: number,
): number {
  const values = samples.map(({ value }) => value);
  const sum = values.reduce((a, b) => a + b, 0);
  switch (op) {
    case "count_over_time":
      return values.length;
    case "bytes_over_time":
    case "sum_over_time":
      return sum;
    case "rate":
      return (range.unwrap === null ? values.length : sum) / seconds;
    case "bytes_rate":
      return sum / seconds;
    case "avg_over_time":
      return sum / values.length;
    case "min_over_time":
      return least(values);
    case "max_over_time":
      return -least(values.map((value) => -value));
    case "stdvar_over_time":
      return variance(values);
    case "stddev_over_time":
      return Math.sqrt(variance(values));
    case "first_over_time":
      return values[0];
    case "last_over_time":
      return values[values.length - 1];
    case "quantile_over_time":
      return quantile(parameter ?? 0, values);
    case "rate_counter":
      return counterRate(
        samples.map(({ ns, value }) => ({ at: Number(ns - begin) / 1e9, value })),
        seconds,
      );
    case "absent_over_time":
      return 1;
  }
}

function least(values: readonly number[]): number {
  const numbers = values.filter((value) => !Number.isNaN(value));
  return numbers.length === 0 ? Number.NaN : Math.min(...numbers);
}

function variance(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
}

function quantile(q: number, values: readonly number[]): number {
  if (q > 1) return Number.POSITIVE_INFINITY;
  const nans = values.filter((value) => Number.isNaN(value));
  const sorted = [...nans, ...values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b)];
  const rank = q * (sorted.length - 1);
  const low = Math.floor(rank);
  const high = Math.min(sorted.length - 1, low + 1);
  return sorted[low] * (1 - (rank - low)) + sorted[high] * (rank - low);
}

function counterRate(samples: readonly { at: number; value: number }[], range: number): number {
  if (samples.length < 2) return 0;
  const first = samples[0];
  const last = samples[samples.length - 1];
  let increase = last.value - first.value;
  for (let i = 1; i < samples.length; i++) {
    if (samples[i].value < samples[i - 1].value) increase += samples[i - 1].value;
  }
  const sampled = last.at - first.at;
  const average = sampled / (samples.length - 1);
  let toStart = first.at;
  if (increase > 0 && first.value >= 0) toStart = Math.min(toStart, sampled * (first.value / increase));
  const toEnd = range - last.at;
  const reach =
    sampled + (toStart < average * 1.1 ? toStart : average / 2) + (toEnd < average * 1.1 ? toEnd : average / 2);
  return (increase * (reach / sampled)) / range;
}

function certain(matchers: readonly Matcher[]): Labels {
  const labels: Record<string, string> = {};
  for (const { name, op, value } of matchers) {
    if (op === "=" && value !== "" && matchers.filter((other) => other.name === name).length === 1)
      labels[name] = value;
  }
  return labels;
}

function grouped(labels: Labels, grouping: Grouping | null): Labels {
  if (grouping === null) return labels;
  return Object.fromEntries(
    Object.entries(labels).filter(([name]) => grouping.labels.includes(name) !== grouping.without),
  );
}

function aggregate(expr: MetricOf<"vector_aggregation">, points: readonly Point[]): Point[] {
  const { grouping } = expr;
  const groups = new Map<string, { labels: Labels; points: Point[] }>();
  for (const point of points) {
    const labels = grouped(point.labels, grouping ?? NO_GROUPS);
    const group = groups.get(keyOf(labels)) ?? { labels, points: [] };
    group.points.push(point);
    groups.set(keyOf(labels), group);
  }
  return [...groups.values()].flatMap(({ labels, points: some }) => aggregated(expr, labels, some));
}

/** What one group comes to. */
function aggregated(
  { op, parameter }: MetricOf<"vector_aggregation">,
  labels: Labels,
  some: readonly Point[],
): readonly Point[] {
  const values = some.map(({ value }) => value);
  const sum = values.reduce((a, b) => a + b, 0);
  switch (op) {
    case "sum":
      return [{ labels, value: sum }];
    case "avg":
      return [{ labels, value: sum / values.length }];
    case "count":
      return [{ labels, value: values.length }];
    case "min":
      return [{ labels, value: least(values) }];
    case "max":
      return [{ labels, value: -least(values.map((value) => -value)) }];
    case "stddev":
      return [{ labels, value: Math.sqrt(variance(values)) }];
    case "stdvar":
      return [{ labels, value: variance(values) }];
    case "topk":
    case "approx_topk":
      return [...some]
        .sort((a, b) => byValue(a.value, b.value, -1) || inOrder(a.labels, b.labels))
        .slice(0, parameter ?? 1);
    case "bottomk":
      return [...some]
        .sort((a, b) => byValue(a.value, b.value, 1) || inOrder(a.labels, b.labels))
        .slice(0, parameter ?? 1);
    case "sort":
    case "sort_desc":
      return some;
  }
}

/** NaN comes last, whichever way. */
function byValue(a: number, b: number, sign: 1 | -1): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a === b ? 0 : a < b ? -sign : sign;
}

/** Ties are anybody's choice; ours is the order of labels: by the first name, then the first value that differs. */
function inOrder(a: Labels, b: Labels): number {
  const [x, y] = [a, b].map((labels) =>
    Object.entries(labels)
      .sort(([m], [n]) => (m < n ? -1 : 1))
      .flat(),
  );
  const at = x.findIndex((text, i) => text !== y[i]);
  return at === -1 || (at < y.length && x[at] < y[at]) ? -1 : 1;
}

function calculate(op: string, a: number, b: number): number {
  switch (op) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return b === 0 ? Number.NaN : a / b;
    case "%":
      return b === 0 ? Number.NaN : a % b;
    case "^":
      // Go's math.Pow has 1 where JavaScript has NaN.
      return a === 1 || (a === -1 && Math.abs(b) === Number.POSITIVE_INFINITY) ? 1 : a ** b;
    case "==":
      return Number(a === b);
    case "!=":
      return Number(a !== b);
    case "<":
      return Number(a < b);
    case "<=":
      return Number(a <= b);
    case ">":
      return Number(a > b);
    default:
      return Number(a >= b);
  }
}

function binary(expr: MetricOf<"binary">, left: number | Point[], right: number | Point[]): number | Point[] {
  const { op, returnBool, matching } = expr;
  const filters = ["==", "!=", "<", "<=", ">", ">="].includes(op) && !returnBool;
  if (typeof left === "number" && typeof right === "number") return calculate(op, left, right);
  if (typeof left === "number" || typeof right === "number") {
    const vector = typeof left === "number" ? (right as Point[]) : left;
    return vector.flatMap(({ labels, value }) => {
      const result = typeof left === "number" ? calculate(op, left, value) : calculate(op, value, right as number);
      if (filters) return result === 1 ? [{ labels, value }] : [];
      return [{ labels, value: result }];
    });
  }
  const signature = (labels: Labels): string => {
    const some = Object.entries(labels).filter(([name, value]) => {
      if (value === "") return false;
      return matching === null || matching.labels.includes(name) === matching.on;
    });
    return keyOf(Object.fromEntries(some));
  };
  const has = (points: readonly Point[], labels: Labels) =>
    points.some((point) => signature(point.labels) === signature(labels));
  if (op === "and") return left.filter(({ labels }) => has(right, labels));
  if (op === "unless") return left.filter(({ labels }) => !has(right, labels));
  if (op === "or") return [...left, ...right.filter(({ labels }) => !has(left, labels))];
  const isRight = matching?.group === "right";
  const many = isRight ? right : left;
  const one = isRight ? left : right;
  for (const { labels } of one) {
    if (one.filter((other) => signature(other.labels) === signature(labels)).length > 1) {
      throw new Failure("found duplicate series");
    }
  }
  const matched: Labels[] = [];
  const results: string[] = [];
  return many.flatMap((point) => {
    const partner = one.find(({ labels }) => signature(labels) === signature(point.labels));
    if (partner === undefined) return [];
    let { labels } = point;
    if (matching !== null && matching.group === "") {
      if (matched.some((other) => signature(other) === signature(labels)))
        throw new Failure("multiple matches for labels");
      matched.push(labels);
      labels = grouped(labels, { without: !matching.on, labels: matching.labels });
    } else if (matching !== null) {
      for (const name of matching.include) {
        labels = grouped(labels, { without: true, labels: [name] });
        if (partner.labels[name] !== undefined && partner.labels[name] !== "") {
          labels = { ...labels, [name]: partner.labels[name] };
        }
      }
      if (results.includes(keyOf(labels))) throw new Failure("multiple matches for labels");
      results.push(keyOf(labels));
    }
    const [a, b] = isRight ? [partner.value, point.value] : [point.value, partner.value];
    const value = calculate(op, a, b);
    if (filters) return value === 1 ? [{ labels, value: a }] : [];
    return [{ labels, value }];
  });
}

/** Only for patterns that JavaScript reads as RE2 does, and replacements of `$1` and text. */
function replaced(labels: Labels, { target, replacement, source, regex }: MetricOf<"label_replace">): Labels {
  const match = new RegExp(`^(?:${regex})$`, "s").exec(labels[source] ?? "");
  if (match === null) return labels;
  const value = replacement.replace(/\$(\d)/g, (_, group) => match[Number(group)] ?? "");
  const { [target]: _, ...rest } = labels;
  return value === "" ? rest : { ...rest, [target]: value };
}
