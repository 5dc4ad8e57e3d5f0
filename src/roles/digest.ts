import { crc32 } from "../codec/crc32.ts";
import { canonicalLabels, type Labels } from "../core/labels.ts";
import { type Line, lineMetadata, type StreamHandle } from "../core/line.ts";
import type { SinkRecord } from "../core/sink.ts";
import { formatRfc3339, joinNs, splitNs } from "../core/time.ts";
import type { DigestOptions } from "./digest-options.ts";
import { lineShape } from "./line-shape.ts";
import { type Collected, type Collector, type EntryAt, isInSample, recordBytes } from "./sink-collector.ts";
import type { SinkPosition } from "./sink-position.ts";

/** Bytes of a line that its shape is made from. */
const SHAPE_BYTES_MAX = 4096;
/** Levels that a digest counts by name; there are eight, but a pushed line may bring any. */
const LEVELS_MAX = 16;
const OTHER = "other";
/** So many times `groups_max` groups end an interval; within an entry, further ones have no level of their own any more. */
const GROUPS_MAX_TIMES = 2;

/** What the records of one group have come to. */
interface Group {
  readonly stream: StreamHandle;
  readonly level: string;
  /** null for what is left when there are too many shapes. */
  readonly shape: string | null;
  readonly example: Buffer;
  readonly levels: Map<string, number>;
  count: number;
  bytes: number;
  first: bigint;
  last: bigint;
}

/**
 * Gathers records into one record for each group and interval, in place of SinkCollector:
 *
 *   {"count":12,"bytes":3456,"first":"2026-01-02T03:04:05Z","last":"…","levels":{"error":12},"shape":"…","example":"…"}
 *
 * `other` stands for `shape` where there were too many. An interval is a run of whole entries of the intake log, by the time at
 * which they were received, and a digest's id is `<partition>-<first offset>-<place>-d<sum of options>`, the place counting
 * groups in the order of their first record: the same entries give the same ids.
 */
export class DigestCollector implements Collector {
  readonly bytes = 0;
  private readonly partition: number;
  private readonly options: DigestOptions;
  private readonly sample: number;
  /** Tells the digests of several sinks apart that may go to one destination. */
  private readonly suffix: string;
  private readonly groups = new Map<string, Group>();
  /** Number of the interval, and where it begins; null before its first entry. */
  private interval: number | null = null;
  private from: SinkPosition = { offset: 0, place: 0 };
  private entry: EntryAt = { offset: 0, receivedMs: 0 };
  private firstMs: number | null = null;
  private lastMs = 0;
  private place = 0;
  private skip = 0;

  constructor(partition: number, sink: string, options: DigestOptions, sample: number) {
    this.partition = partition;
    this.options = options;
    this.sample = sample;
    const sum = crc32(Buffer.from(`${sink} ${JSON.stringify(options)}`));
    this.suffix = `d${sum.toString(16).padStart(8, "0")}`;
  }

  get count(): number {
    return this.groups.size;
  }

  get oldestMs(): number | null {
    return this.firstMs;
  }

  endsBefore({ receivedMs }: EntryAt): boolean {
    return this.interval !== null && this.numberOf(receivedMs) > this.interval;
  }

  endsBy(nowMs: number): boolean {
    if (this.interval === null) return false;
    if (this.groups.size >= GROUPS_MAX_TIMES * this.options.groups_max) return true;
    const now = this.numberOf(nowMs);
    // A clock that was set back is no reason to wait for it.
    return now > this.interval || now < this.interval - 1;
  }

  begin(entry: EntryAt, skip: number): void {
    const { offset, receivedMs } = entry;
    this.entry = { offset, receivedMs };
    if (this.interval === null) {
      this.interval = this.numberOf(receivedMs);
      this.from = { offset, place: skip };
    }
    this.place = 0;
    this.skip = skip;
  }

  /** The handle has only the labels that tell groups apart. */
  stream(tenant: string, labels: Labels, canonical: string): StreamHandle {
    const { by } = this.options;
    if (by === undefined) return { tenant, labels, canonical };
    const kept = Object.fromEntries(by.flatMap((name) => (Object.hasOwn(labels, name) ? [[name, labels[name]]] : [])));
    return { tenant, labels: kept, canonical: canonicalLabels(kept) };
  }

  append(stream: StreamHandle, line: Line): void {
    const place = this.place++;
    if (place < this.skip) return;
    const { sample, entry } = this;
    if (sample < 1 && !isInSample(lineMetadata(line), `${this.partition}-${entry.offset}-${place}`, sample)) return;
    this.firstMs ??= entry.receivedMs;
    this.lastMs = entry.receivedMs;
    const group = this.groupOf(stream, line);
    const time = joinNs(line.sec, line.nsec);
    group.count++;
    group.bytes += line.end - line.start;
    if (time < group.first) group.first = time;
    if (time > group.last) group.last = time;
    const level = levelOf(line);
    const name = group.levels.has(level) || group.levels.size < LEVELS_MAX ? level : OTHER;
    group.levels.set(name, (group.levels.get(name) ?? 0) + 1);
  }

  take(until: number): Collected[] {
    const { from, lastMs } = this;
    const groups = [...this.groups.values()];
    this.groups.clear();
    this.interval = null;
    this.firstMs = null;
    return groups.map((group, i) => {
      const record = this.recordOf(group, i);
      // Only all of them together are what the entries have come to.
      const after = i === groups.length - 1 ? { offset: until, place: 0 } : from;
      return { record, after, receivedMs: lastMs, bytes: recordBytes(record) };
    });
  }

  private numberOf(ms: number): number {
    return Math.floor(ms / this.options.interval_ms);
  }

  private groupOf(stream: StreamHandle, line: Line): Group {
    const { groups, options } = this;
    const own = options.level ? levelOf(line) : "";
    const shape = options.shape ? shapeOf(line) : "";
    const keyOf = (name: string) => `${stream.tenant}\n${stream.canonical}\n${name}\n`;
    const known = groups.get(keyOf(own) + shape);
    if (known !== undefined) return known;
    // No shape has a newline at its end: lines are told apart from what is left of them.
    const isOther = groups.size >= options.groups_max;
    // An entry is never in two intervals, and a push may bring as many levels as it has lines.
    const isFull = groups.size >= GROUPS_MAX_TIMES * options.groups_max && !groups.has(`${keyOf(own)}${OTHER}\n`);
    const level = isFull && own !== "" ? OTHER : own;
    const name = isOther ? `${keyOf(level)}${OTHER}\n` : keyOf(level) + shape;
    const found = groups.get(name);
    if (found !== undefined) return found;
    const end = Math.min(line.end, line.start + options.example_bytes_max);
    const time = joinNs(line.sec, line.nsec);
    const group: Group = {
      stream,
      level,
      shape: isOther ? null : shape,
      example: Buffer.from(line.bytes.subarray(line.start, end)),
      levels: new Map(),
      count: 0,
      bytes: 0,
      first: time,
      last: time,
    };
    groups.set(name, group);
    return group;
  }

  private recordOf({ stream, level, shape, example, ...sums }: Group, index: number): SinkRecord {
    const { count, bytes, first, last, levels } = sums;
    const { tenant, labels, canonical } = stream;
    const body = {
      count,
      bytes,
      first: formatRfc3339(first),
      last: formatRfc3339(last),
      levels: Object.fromEntries([...levels].filter(([name]) => name !== "")),
      ...(this.options.shape ? (shape === null ? { other: true } : { shape }) : {}),
      example: example.toString(),
    };
    const json = JSON.stringify(body);
    const { sec, nsec } = splitNs(last);
    return {
      id: `${this.partition}-${this.from.offset}-${this.from.place + index}-${this.suffix}`,
      tenant,
      sec,
      nsec,
      labels,
      canonical,
      metadata: level === "" ? [] : [["detected_level", level]],
      line: Buffer.from(json),
      json,
    };
  }
}

function levelOf(line: Line): string {
  if (line.level !== "") return line.level;
  for (let i = 0; i < line.extraCount; i++) if (line.extraNames[i] === "detected_level") return line.extraValues[i];
  return "";
}

function shapeOf({ bytes, start, end }: Line): string {
  return lineShape(bytes.toString("utf8", start, Math.min(end, start + SHAPE_BYTES_MAX))).trimEnd();
}
