import { crc32 } from "../codec/crc32.ts";
import type { Labels } from "../core/labels.ts";
import { type Line, type LineSink, type LineSource, lineMetadata, type StreamHandle } from "../core/line.ts";
import type { SinkRecord } from "../core/sink.ts";
import type { SinkPosition } from "./sink-position.ts";

/** Bytes that a record takes beside its texts, roughly. */
const RECORD_BYTES = 256;

/** A record on its way to a sink. */
export interface Collected {
  readonly record: SinkRecord;
  /** Where the sink goes on once it has this record and all before it. */
  readonly after: SinkPosition;
  /** When its entry was received, milliseconds since 1970. */
  readonly receivedMs: number;
  readonly bytes: number;
}

/** What a collector has to know of an entry of the intake log. */
export interface EntryAt {
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly receivedMs: number;
}

/** The end of a sink's own pipelines: keeps what is to be sent until it is taken. */
export interface Collector extends LineSink {
  /** Records that are ready to be sent. */
  readonly count: number;
  /** What those take, roughly. */
  readonly bytes: number;
  /** When the oldest entry was received whose records are here, milliseconds since 1970; null when nothing is here. */
  readonly oldestMs: number | null;
  /** Whether what is here has to go out before the entry comes. */
  endsBefore(entry: EntryAt): boolean;
  /** Whether what is here has to go out, although no entry comes. */
  endsBy(nowMs: number): boolean;
  /** The lines that come now are those of `entry`; the first `skip` of them are delivered already. */
  begin(entry: EntryAt, skip: number): void;
  /** Everything that is here; entries below `until` are collected whole. */
  take(until: number): Collected[];
}

export interface CollectorOptions {
  /** Whether records are wanted whole, as JSON. */
  readonly wantsJson: boolean;
  /** Names of the record's fields that go into it; absent: all. */
  readonly keep?: ReadonlySet<string>;
  /** Part of the records that goes on, 0 to 1. */
  readonly sample?: number;
}

/** Turns lines into records with ids. */
export class SinkCollector implements Collector {
  bytes = 0;
  private records: Collected[] = [];
  private readonly partition: number;
  private readonly options: CollectorOptions;
  private entry: EntryAt = { offset: 0, receivedMs: 0 };
  private place = 0;
  private skip = 0;

  constructor(partition: number, options: CollectorOptions) {
    this.partition = partition;
    this.options = options;
  }

  get count(): number {
    return this.records.length;
  }

  get oldestMs(): number | null {
    return this.records.length === 0 ? null : this.records[0].receivedMs;
  }

  endsBefore(): boolean {
    return false;
  }

  endsBy(): boolean {
    return false;
  }

  begin(entry: EntryAt, skip: number): void {
    const { offset, receivedMs } = entry;
    this.entry = { offset, receivedMs };
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
    const { offset, receivedMs } = this.entry;
    const id = `${this.partition}-${offset}-${place}`;
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
      receivedMs,
    };
    const bytes = recordBytes(record);
    this.records.push({ record, after: { offset, place: place + 1 }, receivedMs, bytes });
    this.bytes += bytes;
  }
}

/** What a record takes, roughly. */
export function recordBytes({ line, json, canonical, metadata }: SinkRecord): number {
  let bytes = RECORD_BYTES + line.length + json.length + canonical.length;
  for (const [name, value] of metadata) bytes += name.length + value.length;
  return bytes;
}

/** By the trace id where there is one, so that of a trace all or nothing goes on; the same at each try. */
export function isInSample(metadata: SinkRecord["metadata"], id: string, part: number): boolean {
  const trace = metadata.find(([name]) => name === "trace_id")?.[1] ?? id;
  return crc32(Buffer.from(trace)) < part * 2 ** 32;
}
