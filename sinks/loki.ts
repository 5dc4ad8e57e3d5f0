import { z } from "zod";
import { PbfWriter } from "../src/codec/protobuf.ts";
import { compressSnappy } from "../src/codec/snappy.ts";
import { formatLabels, type Labels, sanitizeLabelName } from "../src/core/labels.ts";
import { defineRecordSink, type SinkRecord } from "../src/core/sink.ts";
import { sendByTenant, tenantTemplate } from "./shared/by-tenant.ts";
import { HttpClient } from "./shared/http-client.ts";
import { httpTarget, httpUrl } from "./shared/http-options.ts";
import { compileTemplate } from "./shared/template.ts";

const options = z.strictObject({
  url: httpUrl.describe("The push address, as `http://loki:3100/loki/api/v1/push`."),
  tenant: tenantTemplate,
  labels: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "want a label's name"), z.string().min(1))
    .default({})
    .describe(
      "Labels that every stream gets, for instance to tell several Weirs apart. The record's own go before them.",
    ),
  metadata: z
    .boolean()
    .default(true)
    .describe("Whether structured metadata goes along. Loki before version 3 refuses it."),
  ...httpTarget,
});

/*
 * The body: package logproto, snappy-compressed as one block.
 *   PushRequest       1 streams: StreamAdapter
 *   StreamAdapter     1 labels: text such as {a="b"}   2 entries: EntryAdapter
 *   EntryAdapter      1 timestamp: Timestamp           2 line           3 structuredMetadata: LabelPairAdapter
 *   Timestamp         1 seconds: int64                 2 nanos: int32
 *   LabelPairAdapter  1 name                           2 value
 * Source: "Loki's HTTP contract", 3.2.
 */
type Pair = readonly [name: string, value: string];
interface Stream {
  readonly labels: string;
  readonly records: readonly SinkRecord[];
}

export default defineRecordSink({
  name: "loki",
  summary:
    "Pushes to Loki, or to another Weir, by Loki's push API (protobuf and snappy); within a request each stream is in order of time. Where the answer is 400, the good lines are stored already: the batch is sent again in halves until each refused line stands alone and goes to the dead letters with Loki's own words, and Loki drops the repeats. A repeat after a crash is dropped in the same way, because it has the same time, line and metadata.",
  options,
  open: (own, { now }) => {
    const client = new HttpClient(own, now);
    const tenantOf = compileTemplate(own.tenant);
    return {
      write: (batch, signal) =>
        sendByTenant(batch, tenantOf, async (part, header) => {
          const body = compressSnappy(encodePush(streamsOf(part, own.labels), own.metadata));
          const headers = { "content-type": "application/x-protobuf", ...header };
          const answer = await client.post(body, headers, signal);
          return answer === null ? { taken: true } : { taken: false, reason: answer.text };
        }),
      close: async () => client.close(),
    };
  },
});

/** The records by stream, each in order of time; equal times as they came. */
function streamsOf(batch: readonly SinkRecord[], further: Labels): Stream[] {
  const streams = new Map<string, SinkRecord[]>();
  for (const record of batch) {
    const records = streams.get(record.canonical);
    if (records === undefined) streams.set(record.canonical, [record]);
    else records.push(record);
  }
  return [...streams.values()].map((records) => ({
    labels: formatLabels({ ...further, ...valid(records[0].labels) }),
    records: records.sort((a, b) => a.sec - b.sec || a.nsec - b.nsec),
  }));
}

/** Loki refuses a whole request for one label whose name is none. */
function valid(labels: Labels): Labels {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(labels)) {
    const clean = sanitizeLabelName(name);
    if (clean !== "" && value !== "") out[clean] = value;
  }
  return out;
}

function encodePush(streams: readonly Stream[], withMetadata: boolean): Buffer {
  const out = new PbfWriter();
  for (const stream of streams) {
    out.writeMessage(
      1,
      ({ labels, records }: Stream, pbf) => {
        pbf.writeStringField(1, labels);
        for (const record of records) pbf.writeMessage(2, withMetadata ? entryWithMetadata : entry, record);
      },
      stream,
    );
  }
  return Buffer.from(out.finish());
}

function entry({ sec, nsec, line }: SinkRecord, pbf: PbfWriter): void {
  pbf.writeMessage(1, timestamp, { sec, nsec });
  pbf.writeBytesField(2, line);
}

function entryWithMetadata(record: SinkRecord, pbf: PbfWriter): void {
  entry(record, pbf);
  for (const pair of record.metadata) pbf.writeMessage(3, labelPair, pair);
}

function timestamp({ sec, nsec }: { sec: number; nsec: number }, pbf: PbfWriter): void {
  if (sec !== 0) pbf.writeVarintField(1, sec);
  if (nsec !== 0) pbf.writeVarintField(2, nsec);
}

function labelPair([name, value]: Pair, pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  pbf.writeStringField(2, value);
}
