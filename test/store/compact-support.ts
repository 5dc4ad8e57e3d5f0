import { canonicalLabels } from "../../src/core/labels.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { type MergeDeps, type MergeOptions, type MergeResult, mergeSegments } from "../../src/store/compact/merge.ts";
import { Pace } from "../../src/store/compact/pace.ts";
import { NO_REMOVALS } from "../../src/store/compact/removals.ts";
import { parseFooter } from "../../src/store/footer.ts";
import { segmentKey } from "../../src/store/keys.ts";
import { describeSegment } from "../../src/store/reader.ts";
import { buildSegment, parseIndex, type SegmentBlock } from "../../src/store/segment.ts";
import type { BlockView, SegmentInfo } from "../../src/store/view.ts";
import type { Random } from "../random.ts";
import { drawHabit, drawLine, type Habit } from "./random-lines.ts";
import { type Row, rowsOf, type TestLine, throughBlocks } from "./support.ts";

export const MERGE_OPTIONS: MergeOptions = {
  level: 1,
  blockBytes: 4096,
  segmentBytes: 1 << 20,
  fullPart: 0.5,
  indexMemoryBytes: 1 << 24,
  readMemoryBytes: 1 << 20,
};

export const freePace = (): Pace =>
  new Pace(1, { sleep: async () => {}, now: () => performance.now(), signal: new AbortController().signal });

export function mergeIn(
  objects: ObjectStore,
  segments: readonly SegmentInfo[],
  options: Partial<MergeOptions> = {},
  deps: Partial<MergeDeps> = {},
): Promise<MergeResult> {
  return mergeSegments(
    segments,
    { ...MERGE_OPTIONS, ...options },
    { objects, pace: freePace(), filter: NO_REMOVALS.filter, ...deps },
  );
}

/** Puts a segment as a flush would: blocks of a stream in order of arrival, streams sorted. */
export async function putFlush(
  objects: ObjectStore,
  lines: readonly TestLine[],
  partition: number,
  firstOffset: number,
  textMax: number,
): Promise<SegmentInfo> {
  const [{ tenant }] = lines;
  const byStream = new Map<string, TestLine[]>();
  for (const line of lines) {
    const canonical = canonicalLabels(line.labels);
    const known = byStream.get(canonical);
    if (known === undefined) byStream.set(canonical, [line]);
    else known.push(line);
  }
  const labels: { readonly labels: TestLine["labels"] }[] = [];
  const blocks: SegmentBlock[] = [];
  for (const canonical of [...byStream.keys()].sort((a, b) => (a < b ? -1 : 1))) {
    const own = byStream.get(canonical) ?? [];
    labels.push({ labels: own[0].labels });
    for (const bytes of throughBlocks(own, textMax).bytes) blocks.push(segmentBlock(canonical, bytes));
  }
  const covers = { partition, firstOffset, nextOffset: firstOffset + 10 };
  const { parts, footer } = buildSegment(tenant, blocks, covers);
  const key = segmentKey(tenant, footer.minSec, covers);
  await objects.put(key, parts);
  const bytes = parts.reduce((sum, { length }) => sum + length, 0);
  return describeSegment(key, bytes, { tenant, streams: labels, sources: null }, footer);
}

function segmentBlock(canonical: string, bytes: Buffer): SegmentBlock {
  const view = parseBlock(bytes);
  const last = view.rows - 1;
  return {
    canonical,
    bytes,
    rows: view.rows,
    textBytes: view.textBytes,
    metadataBytes: metadataBytesOf(view),
    minSec: view.sec[0],
    minNsec: view.nsec[0],
    maxSec: view.sec[last],
    maxNsec: view.nsec[last],
    ids: view.ids,
  };
}

/** Bytes of names and values of all rows, counted row by row. */
export function metadataBytesOf(view: BlockView): number {
  let bytes = 0;
  for (let row = 0; row < view.rows; row++) {
    for (const [name, value] of view.metadata(row)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  return bytes;
}

/** Segments as a query orders them: by partition and first offset, and those of one compaction by their numbers. */
export function inArrival(segments: readonly SegmentInfo[]): SegmentInfo[] {
  return [...segments].sort(
    (a, b) => a.partition - b.partition || a.firstOffset - b.firstOffset || (a.key < b.key ? -1 : 1),
  );
}

export interface ReadBack {
  readonly rows: Row[];
  readonly streams: string[];
  /** For each block its stream, times, and what its text takes. */
  readonly blocks: {
    readonly stream: string;
    readonly minNs: bigint;
    readonly maxNs: bigint;
    readonly textBytes: number;
  }[];
}

/** All that stands in a segment, held to what its index says. */
export async function readSegment(objects: ObjectStore, info: SegmentInfo): Promise<ReadBack> {
  const bytes = await objects.get(info.key);
  if (bytes.length !== info.bytes) throw new Error(`${info.key} has ${bytes.length} bytes, not ${info.bytes}`);
  const footer = parseFooter(bytes, { key: info.key, offset: 0 });
  const members = bytes.subarray(footer.indexAt, footer.indexAt + footer.indexBytes);
  const index = await parseIndex(members, footer, { key: info.key, offset: footer.indexAt });
  const rows: Row[] = [];
  const blocks: ReadBack["blocks"] = [];
  index.blocks.forEach((block, i) => {
    const view = parseBlock(bytes.subarray(block.offset, block.offset + block.length));
    const stream = index.streams[block.stream].canonical;
    if (view.rows !== block.rows || view.canonical !== stream) throw new Error(`index and block ${i} differ`);
    if (view.timeMinNs !== block.timeMinNs || view.timeMaxNs !== block.timeMaxNs) throw new Error(`times ${i} differ`);
    rows.push(...rowsOf(view));
    blocks.push({ stream, minNs: view.timeMinNs, maxNs: view.timeMaxNs, textBytes: view.textBytes });
  });
  if (rows.length !== info.lines) throw new Error(`${info.key} has ${rows.length} lines, not ${info.lines}`);
  return { rows, streams: index.streams.map(({ canonical }) => canonical), blocks };
}

/** Every line of some segments, in order of streams and time, equal times as they stand. */
export async function rowsIn(objects: ObjectStore, segments: readonly SegmentInfo[]): Promise<Row[]> {
  const out: Row[] = [];
  for (const info of inArrival(segments)) out.push(...(await readSegment(objects, info)).rows);
  return out;
}

/** Lines of several streams as they arrive, in so many flushes. */
export function drawFlushes(
  random: Random,
  flushes: number,
  linesMax: number,
  habit: Partial<Habit> = {},
): TestLine[][] {
  const streams = Array.from({ length: 1 + random.below(6) }, (_, i) => ({
    labels: { app: `app-${i}`, env: random.pick(["prod", "dev", "žluť \u{1f40e}", "\uffee"]) },
    habit: { ...drawHabit(random), ...habit },
    next: 0,
  }));
  return Array.from({ length: flushes }, () => {
    const lines: TestLine[] = [];
    for (let left = 1 + random.below(linesMax); left > 0; left--) {
      const stream = random.pick(streams);
      lines.push(drawLine(random, stream.habit, stream.labels, "fake", stream.next++));
    }
    return lines;
  });
}
