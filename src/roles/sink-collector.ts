import { crc32 } from "../codec/crc32.ts";
import type { Labels } from "../core/labels.ts";
import { type Line, type LineSink, type LineSource, lineMetadata, type StreamHandle } from "../core/line.ts";
import type { SinkRecord } from "../core/sink.ts";

export interface CollectorOptions {
  /** Whether records are wanted whole, as JSON. */
  readonly wantsJson: boolean;
  /** Names of the record's fields that go into it; absent: all. */
  readonly keep?: ReadonlySet<string>;
  /** Part of the records that goes on, 0 to 1. */
  readonly sample?: number;
}

/** Bytes that a record takes beside its texts, roughly. */
const RECORD_BYTES = 256;

/** A record with its place in the intake log: the place of the one behind it is where a sink goes on after this one. */
export interface Collected {
  readonly record: SinkRecord;
  readonly offset: number;
  /** Place of the record in its entry. */
  readonly place: number;
  /** When its entry was received, milliseconds since 1970. */
  readonly receivedMs: number;
  readonly bytes: number;
}

/** The end of a sink's own pipelines: turns lines into records with ids, and keeps them until they are taken. */
export class SinkCollector implements LineSink {
  /** Collected and not taken yet, oldest first. */
  records: Collected[] = [];
  bytes = 0;
  private readonly partition: number;
  private readonly options: CollectorOptions;
  private offset = 0;
  private receivedMs = 0;
  private place = 0;
  private skip = 0;

  constructor(partition: number, options: CollectorOptions) {
    this.partition = partition;
    this.options = options;
  }

  /** The lines that come now are those of the entry at `offset`; the first `skip` of them are delivered already. */
  begin(offset: number, receivedMs: number, skip: number): void {
    this.offset = offset;
    this.receivedMs = receivedMs;
    this.place = 0;
    this.skip = skip;
  }

  take(): Collected[] {
    const { records } = this;
    this.records = [];
    this.bytes = 0;
    return records;
  }

  stream(tenant: string, labels: Labels, canonical: string): StreamHandle {
    return { tenant, labels, canonical };
  }

  append({ tenant, labels, canonical }: StreamHandle, line: Line, source: LineSource): void {
    const place = this.place++;
    if (place < this.skip) return;
    const { wantsJson, keep, sample = 1 } = this.options;
    const id = `${this.partition}-${this.offset}-${place}`;
    const metadata = lineMetadata(line);
    if (sample < 1 && !isInSample(metadata, id, sample)) return;
    const record: SinkRecord = {
      id,
      tenant,
      sec: line.sec,
      nsec: line.nsec,
      labels,
      canonical,
      metadata,
      line: Buffer.from(line.bytes.subarray(line.start, line.end)),
      json: wantsJson ? source.json(keep) : "",
    };
    let bytes = RECORD_BYTES + record.line.length + record.json.length + canonical.length;
    for (const [name, value] of record.metadata) bytes += name.length + value.length;
    this.records.push({ record, offset: this.offset, place, receivedMs: this.receivedMs, bytes });
    this.bytes += bytes;
  }
}

/** By the trace id where there is one, so that of a trace all or nothing goes on; the same at each try. */
function isInSample(metadata: SinkRecord["metadata"], id: string, part: number): boolean {
  const trace = metadata.find(([name]) => name === "trace_id")?.[1] ?? id;
  return crc32(Buffer.from(trace)) < part * 2 ** 32;
}
