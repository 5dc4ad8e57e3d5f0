import { canonicalLabels, DEFAULT_TENANT, type Labels } from "../src/core/labels.ts";
import { Line, type SharedMetadata, TRACE_ID } from "../src/core/line.ts";
import { silentLogger } from "../src/core/log.ts";
import { Metrics } from "../src/core/metrics.ts";
import type { Catalog } from "../src/store/catalog.ts";
import { putEntry } from "../src/store/commit.ts";
import type { MergeResult, mergeSegments } from "../src/store/compact/merge.ts";
import { compactedKey, segmentKey } from "../src/store/keys.ts";
import { labelFilter } from "../src/store/label-filter.ts";
import { defaultStoreOptions } from "../src/store/options.ts";
import type { SegmentInfo } from "../src/store/view.ts";
import { openStreamWriter, type StreamWriter } from "../src/store/writer.ts";
import type { CountingStore } from "./counting-store.ts";
import { makeLine, makeSources, Random, type Source } from "./lines.ts";

export const DAY_START_SEC = 1_767_225_600; // 2026-01-01
const NS = 1_000_000_000n;
/** One read of a segment's end; a longer index takes another. */
const SUFFIX_BYTES = 256 * 1024;
/** Text of a block of the default size. */
const BLOCK_BYTES = defaultStoreOptions.block_bytes;

export interface BenchStream {
  readonly labels: Labels;
  readonly canonical: string;
  readonly source: Source;
  readonly shared: SharedMetadata;
}

/** Streams in the order in which segments have them: 100 apps, each in as many clusters as it takes. */
export function makeStreams(count: number, random: Random): BenchStream[] {
  const sources = makeSources(random);
  return Array.from({ length: count }, (_, i): BenchStream => {
    const source = sources[i % sources.length];
    const { namespace, app, container, pods, node } = source;
    const labels = { app, cluster: `cluster-${Math.floor(i / sources.length)}`, container, namespace };
    const pairs = [
      ["pod", pods[0]],
      ["node", node],
    ] as const;
    return { labels, canonical: canonicalLabels(labels), source, shared: { pairs } };
  }).sort((a, b) => (a.canonical < b.canonical ? -1 : 1));
}

/** Writes flushes of real lines: so many of each stream a flush, one a second. */
export class RealFlushes {
  textBytes = 0;
  private readonly streams: readonly BenchStream[];
  private readonly writer: StreamWriter;
  private readonly random: Random;
  private readonly line = new Line();

  constructor(objects: CountingStore, catalog: Catalog, streams: readonly BenchStream[], seed: number) {
    this.streams = streams;
    this.random = new Random(seed);
    this.writer = openStreamWriter(
      { ...defaultStoreOptions, memory_bytes: 2 ** 31 },
      { objects, catalog, metrics: new Metrics(), log: silentLogger, now: objects.nowMs, partition: 0 },
    );
  }

  async flush(number: number, fromSec: number, seconds: number): Promise<void> {
    const { writer, line, random } = this;
    for (const { labels, canonical, source, shared } of this.streams) {
      const handle = writer.stream(DEFAULT_TENANT, labels, canonical);
      for (let s = 0; s < seconds; s++) {
        const trace = random.hex(4);
        const bytes = Buffer.from(makeLine(random, source, (fromSec + s) * 1000, trace));
        line.clear();
        line.sec = fromSec + s;
        line.nsec = random.below(1e9);
        line.bytes = bytes;
        line.start = 0;
        line.end = bytes.length;
        line.shared = shared;
        line.level = "info";
        if (source.kind === "json") {
          line.ids.set(Buffer.from(trace, "hex"), TRACE_ID * 16);
          line.idAt[TRACE_ID] = bytes.indexOf(trace);
        }
        writer.append(handle, line);
        this.textBytes += bytes.length + 1;
      }
      const pressure = writer.pressure();
      if (pressure !== null) await pressure;
    }
    await writer.flush(number + 1);
  }
}

/** What real merges of a sample showed. */
export interface Calibration {
  readonly textPerLine: number;
  /** Bytes of a fresh segment's index for each stream. */
  readonly indexBytesAStream: number;
  /** Compressed bytes of a line in blocks of so many lines, index included: pairs in ascending order. */
  readonly bytesPerLine: readonly (readonly [lines: number, bytes: number])[];
}

/** Compressed bytes of a line in a block of so many, between and beyond what was measured. */
export function bytesPerLine({ bytesPerLine: points, textPerLine }: Calibration, lines: number): number {
  const wanted = Math.min(lines, BLOCK_BYTES / textPerLine);
  const last = points[points.length - 1];
  let before = points[0];
  for (const point of points) {
    if (point[0] >= wanted) {
      const part = before === point ? 0 : Math.log(wanted / before[0]) / Math.log(point[0] / before[0]);
      return before[1] + (point[1] - before[1]) * part;
    }
    before = point;
  }
  return last[1];
}

/** Segments of which only the catalog's part is real. */
export class SimulatedStore {
  bytesRewritten = 0;
  bytesWritten = 0;
  private readonly objects: CountingStore;
  private readonly catalog: Catalog;
  /** Of each partition. */
  private readonly streams: readonly (readonly BenchStream[])[];
  private readonly calibration: Calibration;
  private readonly filters = new Map<string, Uint8Array>();
  private merges = 0;

  constructor(
    objects: CountingStore,
    catalog: Catalog,
    streams: readonly BenchStream[],
    partitions: number,
    calibration: Calibration,
  ) {
    this.objects = objects;
    this.catalog = catalog;
    this.streams = Array.from({ length: partitions }, (_, p) => streams.filter((_stream, i) => i % partitions === p));
    this.calibration = calibration;
  }

  async flush(number: number, fromSec: number, seconds: number): Promise<void> {
    for (let partition = 0; partition < this.streams.length; partition++) {
      await this.flushPartition(partition, number, fromSec, seconds);
    }
  }

  private async flushPartition(partition: number, number: number, fromSec: number, seconds: number): Promise<void> {
    const { objects, catalog, calibration } = this;
    const streams = this.streams[partition];
    const covers = { partition, firstOffset: number, nextOffset: number + 1 };
    const key = segmentKey(DEFAULT_TENANT, fromSec, covers);
    const bytes = Math.round(bytesPerLine(calibration, seconds) * seconds * streams.length);
    const lines = streams.length * seconds;
    const info: SegmentInfo = {
      ...covers,
      key,
      bytes,
      tenant: DEFAULT_TENANT,
      timeMinNs: BigInt(fromSec) * NS,
      timeMaxNs: BigInt(fromSec + seconds) * NS - 1n,
      lines,
      textBytes: Math.round(lines * calibration.textPerLine),
      streams: streams.length,
      level: 0,
      labelFilter: this.filterOf(partition, 0, streams.length),
    };
    await objects.pretendPut(key, bytes);
    const entry = { partition, first: number, next: number + 1, segments: [info] };
    await putEntry(objects, entry);
    catalog.add(entry);
    await catalog.confirm(partition, number);
  }

  /** Stands in for a merge: the same requests, and segments as large as a real one's would be. */
  readonly merge: typeof mergeSegments = async (segments, options): Promise<MergeResult> => {
    const { objects, calibration } = this;
    let lines = 0;
    let bytes = 0;
    let text = 0;
    let full = true;
    /** Lines of a stream in all. */
    let depth = 0;
    const offsets = new Set<number>();
    for (const info of segments) {
      lines += info.lines;
      bytes += info.bytes;
      text += info.textBytes;
      const linesAStream = info.lines / info.streams;
      if (linesAStream * calibration.textPerLine < options.fullPart * options.blockBytes) full = false;
      if (!offsets.has(info.firstOffset)) depth += linesAStream;
      offsets.add(info.firstOffset);
    }
    const windowBytes = Math.min(4 << 20, Math.max(64 << 10, options.readMemoryBytes / offsets.size / 2));
    for (const info of segments) {
      const indexReads = info.streams * calibration.indexBytesAStream > SUFFIX_BYTES ? 2 : 1;
      objects.pretendGets(indexReads + Math.ceil(info.bytes / windowBytes), info.bytes);
    }
    const lineBytes = full ? bytes / lines : bytesPerLine(calibration, depth);
    if (!full) this.bytesRewritten += text;
    const streamCount = Math.round(lines / depth);
    const perSegment = Math.max(1, Math.ceil(options.segmentBytes / (depth * lineBytes)));
    const [first] = segments;
    const { partition } = first;
    const covers = {
      partition,
      firstOffset: Math.min(...segments.map(({ firstOffset }) => firstOffset)),
      nextOffset: Math.max(...segments.map(({ nextOffset }) => nextOffset)),
    };
    const level = Math.max(...segments.map((info) => info.level)) + 1;
    const merge = (this.merges++).toString(16).padStart(12, "0");
    const outputs: SegmentInfo[] = [];
    for (let from = 0; from < streamCount; from += perSegment) {
      const to = Math.min(streamCount, from + perSegment);
      const key = compactedKey(first.tenant, DAY_START_SEC, covers, { merge, output: outputs.length });
      const info: SegmentInfo = {
        ...covers,
        key,
        bytes: Math.round((to - from) * depth * lineBytes),
        tenant: first.tenant,
        timeMinNs: segments.reduce((min, it) => (it.timeMinNs < min ? it.timeMinNs : min), first.timeMinNs),
        timeMaxNs: segments.reduce((max, it) => (it.timeMaxNs > max ? it.timeMaxNs : max), first.timeMaxNs),
        lines: Math.round((to - from) * depth),
        textBytes: Math.round((to - from) * depth * calibration.textPerLine),
        streams: to - from,
        level,
        labelFilter: this.filterOf(partition, from, to),
      };
      await objects.pretendPut(key, info.bytes);
      this.bytesWritten += info.bytes;
      outputs.push(info);
    }
    const none = { blocksRead: 0, blocksCopied: 0, bytesCopied: 0, textBytesRewritten: full ? 0 : text };
    const stats = { lines, bytesRead: bytes, bytesWritten: outputs.reduce((sum, it) => sum + it.bytes, 0), ...none };
    return { inputs: segments, outputs, removed: new Map(), stats };
  };

  private filterOf(partition: number, from: number, to: number): Uint8Array {
    const name = `${partition} ${from}-${to}`;
    const known = this.filters.get(name) ?? labelFilter(this.streams[partition].slice(from, to));
    this.filters.set(name, known);
    return known;
  }
}
