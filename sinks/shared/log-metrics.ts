import { WeirError } from "../../src/core/errors.ts";
import { labelValue, type Metrics } from "../../src/core/metrics.ts";
import type { RecordSinkDeps, SinkRecord } from "../../src/core/sink.ts";
import { BUCKETS, exposedNames, type MetricOptions } from "./metric-options.ts";
import { compileValue, type ReadValue, RecordValues, readNumber } from "./record-value.ts";

/** Label values of what is beyond `series_max`. */
export const OVERFLOW = "__overflow__";
const LABEL_CHARS_MAX = 256;
const GAUGE_EXPIRE_MS = 600_000;
/** Between two looks for series that are over. */
const EXPIRE_EVERY_MS = 1000;

/** A metric of prom-client, as far as it is used here. */
interface Instrument {
  add(labels: Record<string, string>, value: number): void;
  remove(labels: Record<string, string>): void;
}

interface Series {
  readonly labels: Record<string, string>;
  lastMs: number;
  /** What a gauge shows. */
  value: number;
}

interface Declared {
  readonly options: MetricOptions;
  readonly instrument: Instrument;
  readonly labels: readonly (readonly [name: string, read: ReadValue])[];
  readonly value: ReadValue | null;
  readonly expireMs: number;
  /** By the values of their labels. */
  readonly series: Map<string, Series>;
  readonly skipped: { readonly noValue: Count; readonly badValue: Count };
  readonly overflow: Count;
}

interface Count {
  inc(): void;
}

/** Metrics that are declared by configuration and made from records, within bounds. */
export class LogMetrics {
  private readonly declared: readonly Declared[];
  private readonly now: () => number;
  private lookedMs = Number.NEGATIVE_INFINITY;

  /**
   * `into`: where the metrics are kept; those about them go to the process's own. Throws `bad_sink` when a name is taken there.
   */
  constructor(options: readonly MetricOptions[], into: Metrics, { name, metrics, now }: RecordSinkDeps) {
    this.now = now;
    const skipped = metrics.counter(
      "weir_log_metric_skipped_total",
      "Records that a metric left out: no_value (the record has none), bad_value (it is no number, or less than 0 for a counter).",
      ["sink", "metric", "reason"],
    );
    const overflow = metrics.counter(
      "weir_log_metric_overflow_total",
      "Records that would have made a series beyond series_max.",
      ["sink", "metric"],
    );
    this.declared = options.map((one): Declared => {
      const taken = exposedNames(one).find((exposed) => into.has(exposed));
      if (taken !== undefined) throw new WeirError("bad_sink", `sink ${name}: there is a metric ${taken} already`);
      const metric = one.name;
      return {
        options: one,
        instrument: instrumentOf(one, into),
        labels: Object.entries(one.labels).map(([label, source]) => [label, compileValue(source)] as const),
        value: one.value === undefined ? null : compileValue(one.value),
        expireMs: one.expire_ms ?? (one.type === "gauge" ? GAUGE_EXPIRE_MS : 0),
        series: new Map(),
        skipped: {
          noValue: skipped.labels({ sink: name, metric, reason: "no_value" }),
          badValue: skipped.labels({ sink: name, metric, reason: "bad_value" }),
        },
        overflow: overflow.labels({ sink: name, metric }),
      };
    });
  }

  count(batch: readonly SinkRecord[]): void {
    this.expire();
    const nowMs = this.now();
    for (const record of batch) {
      const values = new RecordValues(record);
      for (const declared of this.declared) countOne(declared, values, nowMs);
    }
  }

  /** Lets go of series that are over. */
  expire(): void {
    const nowMs = this.now();
    if (nowMs - this.lookedMs < EXPIRE_EVERY_MS) return;
    this.lookedMs = nowMs;
    for (const { series, expireMs, instrument } of this.declared) {
      if (expireMs === 0) continue;
      for (const [key, { labels, lastMs }] of series) {
        if (nowMs - lastMs < expireMs) continue;
        series.delete(key);
        instrument.remove(labels);
      }
    }
  }
}

function countOne(declared: Declared, values: RecordValues, nowMs: number): void {
  const { options, skipped, instrument } = declared;
  const value = numberOf(declared, values);
  if (value === null) return;
  if (options.type === "counter" && value < 0) {
    skipped.badValue.inc();
    return;
  }
  const series = seriesOf(declared, values);
  if (series === null) return;
  series.lastMs = nowMs;
  if (options.type === "gauge") series.value = shown(options.sets ?? "last", series.value, value);
  instrument.add(series.labels, options.type === "gauge" ? series.value : value);
}

function numberOf({ value: read, options, skipped }: Declared, values: RecordValues): number | null {
  if (read === null) return options.scale;
  const text = read(values);
  if (text === undefined || text === "") {
    skipped.noValue.inc();
    return null;
  }
  const value = readNumber(text, options.reads);
  if (value === null || !Number.isFinite(value * options.scale)) {
    skipped.badValue.inc();
    return null;
  }
  return value * options.scale;
}

/** The series that a record belongs to, or null where there may be no further one. */
function seriesOf({ labels, series, options, overflow }: Declared, values: RecordValues): Series | null {
  const texts = labels.map(([, read]) => (read(values) ?? "").slice(0, LABEL_CHARS_MAX));
  const key = keyOf(texts);
  const known = series.get(key);
  if (known !== undefined) return known;
  if (series.size < options.series_max) return begin(series, key, labels, texts);
  overflow.inc();
  if (options.type === "gauge") return null;
  const rest = labels.map(() => OVERFLOW);
  const restKey = keyOf(rest);
  return series.get(restKey) ?? begin(series, restKey, labels, rest);
}

/** With their lengths: a value may hold any character. */
function keyOf(texts: readonly string[]): string {
  let key = "";
  for (const text of texts) key += `${text.length}:${text}`;
  return key;
}

function begin(series: Map<string, Series>, key: string, labels: Declared["labels"], texts: readonly string[]): Series {
  const made = {
    labels: Object.fromEntries(labels.map(([name], i) => [name, labelValue(texts[i])])),
    lastMs: 0,
    value: Number.NaN,
  };
  series.set(key, made);
  return made;
}

function shown(sets: "last" | "sum" | "max" | "min", before: number, value: number): number {
  if (sets === "last" || Number.isNaN(before)) return value;
  return sets === "sum" ? before + value : sets === "max" ? Math.max(before, value) : Math.min(before, value);
}

function instrumentOf(options: MetricOptions, into: Metrics): Instrument {
  const { name, help, type, buckets = BUCKETS } = options;
  const labels = Object.keys(options.labels);
  if (type === "counter") {
    const counter = into.counter(name, help, labels);
    return { add: (own, value) => counter.inc(own, value), remove: (own) => counter.remove(own) };
  }
  if (type === "gauge") {
    const gauge = into.gauge(name, help, labels);
    return { add: (own, value) => gauge.set(own, value), remove: (own) => gauge.remove(own) };
  }
  const histogram = into.histogram(name, help, buckets, labels);
  return { add: (own, value) => histogram.observe(own, value), remove: (own) => histogram.remove(own) };
}
