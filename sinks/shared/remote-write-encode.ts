import { PbfWriter } from "../../src/codec/protobuf.ts";
import type { Sample } from "../../src/core/metrics.ts";

/*
 * prometheus.WriteRequest, to be compressed as one snappy block.
 *   WriteRequest   1 timeseries
 *   TimeSeries     1 labels   2 samples
 *   Label          1 name     2 value
 *   Sample         1 value: double   2 timestamp: int64, milliseconds since 1970
 * Labels stand in the order of their names and have a value; samples of a series in the order of their times.
 * Source: "Prometheus Remote-Write 1.0 specification".
 */
const FIXED64 = 1;

/** Says that a series is over. Its bits tell it from any other value that is no number. */
export const STALE = Symbol("stale");

export interface Point {
  readonly value: number | typeof STALE;
  readonly ms: number;
}

export interface TimeSeries {
  /** `labelsOf`. */
  readonly labels: readonly (readonly [name: string, value: string])[];
  readonly points: readonly Point[];
}

/** All labels of a series, its name among them, in the order of their names; `external` where it has none of that name. */
export function labelsOf(
  { name, labels }: Pick<Sample, "name" | "labels">,
  external: Readonly<Record<string, string>>,
): readonly (readonly [string, string])[] {
  const all = { ...external, ...labels, __name__: name };
  return Object.entries(all)
    .filter(([, value]) => value !== "") // One without a value is one that is not there.
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

export function encodeWrite(all: readonly TimeSeries[]): Buffer {
  const out = new PbfWriter();
  for (const series of all) out.writeMessage(1, writeSeries, series);
  return Buffer.from(out.finish());
}

function writeSeries({ labels, points }: TimeSeries, pbf: PbfWriter): void {
  for (const label of labels) pbf.writeMessage(1, writeLabel, label);
  for (const point of points) pbf.writeMessage(2, writePoint, point);
}

function writeLabel([name, value]: readonly [string, string], pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  pbf.writeStringField(2, value);
}

function writePoint({ value, ms }: Point, pbf: PbfWriter): void {
  if (value === STALE) {
    // 0x7ff0000000000002. A number on the way could lose the bits that make it.
    pbf.writeTag(1, FIXED64);
    pbf.writeFixed32(2);
    pbf.writeFixed32(0x7ff0_0000);
  } else pbf.writeDoubleField(1, value);
  pbf.writeVarintField(2, ms);
}
