import type { MetricResult } from "../query/engine.ts";
import { sampleText, seconds } from "./samples.ts";

/*
 * Answers of metric queries as JSON text in pieces. Source: "Loki's HTTP contract", 5.1 and 5.2, and "LogQL", 7.
 */

/** Samples that make one piece of text. */
const SAMPLES_AT_ONCE = 256;
/** Bytes of memory that a sample of an answer takes until it has been written. */
const SAMPLE_BYTES = 16;
const SERIES_BYTES = 500;

export interface PointTimes {
  readonly startNs: bigint;
  readonly stepNs: bigint;
}

/** Points from `startNs` down to `endNs` up at multiples of the step since 1970, as Loki's front end has them. */
export function alignToStep<T extends PointTimes & { readonly endNs: bigint }>(times: T): T {
  const { startNs, endNs, stepNs } = times;
  const down = (ns: bigint) => ns - (((ns % stepNs) + stepNs) % stepNs);
  const end = down(endNs);
  return { ...times, startNs: down(startNs), endNs: end === endNs ? end : end + stepNs };
}

/** Bytes that a result holds in memory, about. */
export function metricBytes({ series }: MetricResult): number {
  return series.reduce((sum, { points }) => sum + SERIES_BYTES + points.length * SAMPLE_BYTES, 0);
}

/** The answer to an instant query: `vector`, or `scalar` for a number by itself. */
export function* instantAnswer(result: MetricResult, timeNs: bigint): Generator<string> {
  const time = seconds(timeNs);
  yield head(result, result.isScalar ? "scalar" : "vector");
  if (result.isScalar) yield JSON.stringify([time, sampleText(result.series[0]?.values[0] ?? Number.NaN)]);
  else {
    yield "[";
    for (let i = 0; i < result.series.length; i++) {
      const { labels, values } = result.series[i];
      yield `${i === 0 ? "" : ","}{"metric":${labelsJson(labels)},"value":[${time},"${sampleText(values[0])}"]}`;
    }
    yield "]";
  }
  yield tail(result);
}

/** The answer to a range query: `matrix`. */
export function* matrixAnswer(result: MetricResult, { startNs, stepNs }: PointTimes): Generator<string> {
  yield head(result, "matrix");
  yield "[";
  // The times of all points are written once: series share them.
  const times: (string | undefined)[] = [];
  const timeOf = (point: number): string => {
    times[point] ??= String(seconds(startNs + BigInt(point) * stepNs));
    return times[point];
  };
  for (let i = 0; i < result.series.length; i++) {
    const { labels, points, values } = result.series[i];
    yield `${i === 0 ? "" : ","}{"metric":${labelsJson(labels)},"values":[`;
    for (let from = 0; from < points.length; from += SAMPLES_AT_ONCE) {
      const some: string[] = [];
      const to = Math.min(points.length, from + SAMPLES_AT_ONCE);
      for (let p = from; p < to; p++) some.push(`[${timeOf(points[p])},"${sampleText(values[p])}"]`);
      yield (from === 0 ? "" : ",") + some.join(",");
    }
    yield "]}";
  }
  yield "]";
  yield tail(result);
}

function head({ warnings }: MetricResult, type: string): string {
  const said = warnings.length === 0 ? "" : `"warnings":${JSON.stringify(warnings)},`;
  return `{"status":"success",${said}"data":{"resultType":"${type}","result":`;
}

function tail({ stats }: MetricResult): string {
  return `,"stats":${JSON.stringify(stats.toLoki())}}}\n`;
}

/** JSON of a label set with its names in order. */
function labelsJson(labels: Readonly<Record<string, string>>): string {
  const parts = Object.keys(labels)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${JSON.stringify(labels[name])}`);
  return `{${parts.join(",")}}`;
}
