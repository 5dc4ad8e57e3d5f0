import { PbfReader } from "../../src/codec/protobuf.ts";
import { uncompressSnappy } from "../../src/codec/snappy.ts";
import type { Got } from "./destinations.ts";

export interface Received {
  /** As the series is written in PromQL, labels in the order in which they came. */
  readonly series: string;
  readonly labels: readonly (readonly [string, string])[];
  readonly samples: readonly { readonly value: number; readonly isStale: boolean; readonly ms: number }[];
}

const STALE_BITS = 0x7ff0_0000_0000_0002n;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/**
 * Takes a request apart as a strict receiver of remote write 1.0 does. Throws for whatever the specification forbids: headers,
 * labels without a name or out of order, samples out of order.
 */
export function receive({ headers, body }: Got): Received[] {
  const want = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
  };
  for (const [name, value] of Object.entries(want)) {
    if (headers[name] !== value) throw new Error(`${name}: ${String(headers[name])}`);
  }
  if (headers["user-agent"] === undefined) throw new Error("no user agent");
  const all: Received[] = [];
  const plain = uncompressSnappy(body, 1 << 26);
  new PbfReader(plain).readFields((field, _, pbf) => {
    if (field !== 1) throw new Error(`field ${field} of the request`);
    all.push(readSeries(pbf, pbf.readVarint() + pbf.pos));
  }, null);
  return all;
}

function readSeries(pbf: PbfReader, end: number): Received {
  const labels: [string, string][] = [];
  const samples: { value: number; isStale: boolean; ms: number }[] = [];
  pbf.readFields(
    (field) => {
      const inner = pbf.readVarint() + pbf.pos;
      if (field === 1) {
        const label: [string, string] = ["", ""];
        pbf.readFields(
          (part) => {
            label[part - 1] = pbf.readString();
          },
          null,
          inner,
        );
        labels.push(label);
      } else if (field === 2) {
        const sample = { value: 0, isStale: false, ms: 0 };
        pbf.readFields(
          (part) => {
            if (part === 1) {
              sample.isStale = Buffer.from(pbf.buf).readBigUInt64LE(pbf.pos) === STALE_BITS;
              sample.value = pbf.readDouble();
            } else sample.ms = pbf.readVarint();
          },
          null,
          inner,
        );
        samples.push(sample);
      } else throw new Error(`field ${field} of a series`);
    },
    null,
    end,
  );
  check(labels, samples);
  const name = labels.find(([label]) => label === "__name__")?.[1] ?? "";
  const rest = labels
    .filter(([label]) => label !== "__name__")
    .map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  return { series: `${name}{${rest.join(",")}}`, labels, samples };
}

function check(labels: readonly (readonly [string, string])[], samples: Received["samples"]): void {
  const names = labels.map(([name]) => name);
  if (
    JSON.stringify(names) !==
    JSON.stringify([...new Set(names)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))))
  ) {
    throw new Error(`labels out of order: ${names.join()}`);
  }
  for (const [name, value] of labels) {
    if (!LABEL_NAME.test(name) || value === "") throw new Error(`label ${name}=${JSON.stringify(value)}`);
    if (name === "__name__" && !METRIC_NAME.test(value)) throw new Error(`metric ${value}`);
  }
  if (!names.includes("__name__")) throw new Error("a series without a name");
  if (samples.length === 0) throw new Error("a series without a sample");
  for (const [i, { ms }] of samples.entries()) {
    if (i > 0 && ms <= samples[i - 1].ms) throw new Error("samples out of order");
  }
}
