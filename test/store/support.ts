import zlib from "node:zlib";
import { expect } from "vitest";
import { canonicalLabels, type Labels } from "../../src/core/labels.ts";
import {
  ID_ABSENT,
  ID_BYTES,
  ID_ELSEWHERE,
  ID_NAMES,
  ID_SLOTS,
  Line,
  type LineSink,
  NO_SOURCE,
  REQUEST_ID,
  type SharedMetadata,
} from "../../src/core/line.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { encodeBlock, encodeStream, finishBlock } from "../../src/store/block-encode.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { type Catalog, openCatalog } from "../../src/store/catalog.ts";
import { OpenBlock } from "../../src/store/open-block.ts";
import { defaultStoreOptions, type StoreOptions } from "../../src/store/options.ts";
import { SegmentReader } from "../../src/store/reader.ts";
import { byArrival } from "../../src/store/segment-order.ts";
import { takeSnapshot } from "../../src/store/snapshot.ts";
import { TextBuffers } from "../../src/store/text-buffers.ts";
import type { BlockView, SegmentInfo, SegmentView } from "../../src/store/view.ts";
import { openStreamWriter, type StreamWriter, type WriterDeps } from "../../src/store/writer.ts";

/** A line as a test knows it, in plain values. */
export interface TestLine {
  readonly tenant: string;
  readonly labels: Labels;
  readonly sec: number;
  readonly nsec: number;
  readonly bytes: Buffer;
  readonly shared: SharedMetadata;
  readonly level: string;
  /** For each slot the id, and where its text stands in the line (-1: nowhere). */
  readonly ids: readonly ({ readonly id: Buffer; readonly at: number } | null)[];
  readonly extra: readonly (readonly [string, string])[];
}

export const NO_SHARED: SharedMetadata = { pairs: [] };
export const NO_IDS: TestLine["ids"] = [null, null, null, null];

export function testLine(text: string | Buffer, more: Partial<TestLine> = {}): TestLine {
  return {
    tenant: "fake",
    labels: { app: "web" },
    sec: 1_700_000_000,
    nsec: 0,
    bytes: Buffer.from(text),
    shared: NO_SHARED,
    level: "",
    ids: NO_IDS,
    extra: [],
    ...more,
  };
}

/** The canonical text of an id, written down independently of the store. */
export function idTextOf(slot: number, id: Buffer): string {
  const hex = id.toString("hex");
  if (slot !== REQUEST_ID) return hex;
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Puts a line into the reused object, as the pipeline does: the bytes stand somewhere in a larger buffer. */
export function fill(line: Line, from: TestLine): Line {
  line.clear();
  line.sec = from.sec;
  line.nsec = from.nsec;
  const padded = Buffer.concat([Buffer.from("before"), from.bytes, Buffer.from("after")]);
  line.bytes = padded;
  line.start = 6;
  line.end = 6 + from.bytes.length;
  line.shared = from.shared;
  line.level = from.level;
  for (let slot = 0; slot < ID_SLOTS; slot++) {
    const id = from.ids[slot];
    line.idAt[slot] = id === null ? ID_ABSENT : id.at < 0 ? ID_ELSEWHERE : id.at;
    if (id !== null) line.ids.set(id.id.subarray(0, ID_BYTES[slot]), slot * 16);
  }
  for (const [name, value] of from.extra) line.addExtra(name, value);
  return line;
}

const byText = (a: readonly [string, string], b: readonly [string, string]) => {
  const left = JSON.stringify(a);
  const right = JSON.stringify(b);
  return left < right ? -1 : left > right ? 1 : 0;
};

export function metadataOf(line: TestLine): (readonly [string, string])[] {
  const out: (readonly [string, string])[] = [...line.shared.pairs, ...line.extra];
  if (line.level !== "") out.push(["detected_level", line.level]);
  line.ids.forEach((id, slot) => {
    if (id !== null) out.push([ID_NAMES[slot], idTextOf(slot, id.id)]);
  });
  return out.sort(byText);
}

/** A row as it comes back, comparable with `toEqual`. */
export interface Row {
  readonly stream: string;
  readonly time: string;
  readonly line: string;
  readonly metadata: readonly (readonly [string, string])[];
}

export function rowOf(line: TestLine): Row {
  return {
    stream: `${line.tenant} ${canonicalLabels(line.labels)}`,
    time: `${line.sec}.${String(line.nsec).padStart(9, "0")}`,
    line: line.bytes.toString("latin1"),
    metadata: metadataOf(line),
  };
}

export function rowsOf(view: BlockView): Row[] {
  const { text, lineStarts } = view;
  return Array.from({ length: view.rows }, (_, row) => ({
    stream: `${view.tenant} ${view.canonical}`,
    time: `${view.sec[row]}.${String(view.nsec[row]).padStart(9, "0")}`,
    line: text.toString("latin1", lineStarts[row], lineStarts[row + 1] - 1),
    metadata: [...view.metadata(row)].sort(byText),
  }));
}

/** Sorts by stream and time; rows of the same stream and time stay in order. */
export function inOrder(rows: readonly Row[]): Row[] {
  const key = ({ time }: Row) => {
    const [sec, nsec] = time.split(".");
    return BigInt(sec) * 1_000_000_000n + BigInt(nsec);
  };
  return rows
    .map((row) => ({ row, key: key(row) }))
    .sort((a, b) => {
      if (a.row.stream !== b.row.stream) return a.row.stream < b.row.stream ? -1 : 1;
      return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
    })
    .map(({ row }) => row);
}

export function streamOf(line: TestLine): { tenant: string; labels: Labels; canonical: string } {
  return { tenant: line.tenant, labels: line.labels, canonical: canonicalLabels(line.labels) };
}

/** An open block with as many of the lines as go in. */
export function openBlock(lines: readonly TestLine[], textMax = 256 * 1024): { block: OpenBlock; taken: number } {
  const block = new OpenBlock(new TextBuffers(textMax), encodeStream(streamOf(lines[0])).length, 0);
  const line = new Line();
  let taken = 0;
  while (taken < lines.length && block.append(fill(line, lines[taken]))) taken++;
  return { block, taken };
}

/** The bytes of a block. */
export function sealBlock(block: OpenBlock, line: TestLine, level = 1): Buffer {
  const encoded = encodeBlock(block, encodeStream(streamOf(line)));
  return finishBlock(encoded, zlib.gzipSync(encoded.text, { level }));
}

/** Blocks, read back, that all of the lines of one stream make. */
export function throughBlocks(lines: readonly TestLine[], textMax?: number): { views: BlockView[]; bytes: Buffer[] } {
  const views: BlockView[] = [];
  const bytes: Buffer[] = [];
  for (let at = 0; at < lines.length; ) {
    const { block, taken } = openBlock(lines.slice(at), textMax);
    const member = sealBlock(block, lines[0]);
    bytes.push(member);
    views.push(parseBlock(member));
    at += taken;
  }
  return { views, bytes };
}

/** A store with one writer. */
export class TestStore {
  readonly objects: ObjectStore;
  readonly catalog: Catalog;
  readonly writer: StreamWriter;
  readonly reader: SegmentReader;
  readonly metrics: Metrics;
  nowMs = 1_700_000_000_000;
  private readonly line = new Line();

  private constructor(
    objects: ObjectStore,
    catalog: Catalog,
    metrics: Metrics,
    options: StoreOptions,
    deps: Partial<WriterDeps>,
  ) {
    this.objects = objects;
    this.catalog = catalog;
    this.metrics = metrics;
    this.writer = openStreamWriter(options, {
      objects,
      catalog,
      metrics,
      log: silentLogger,
      now: () => this.nowMs,
      partition: 0,
      sleep: async () => {
        await new Promise((resolve) => setImmediate(resolve));
      },
      ...deps,
    });
    this.reader = new SegmentReader(objects, { cacheBytes: 1 << 20 });
  }

  static async open(
    objects: ObjectStore,
    options: Partial<StoreOptions> = {},
    deps: Partial<WriterDeps> = {},
  ): Promise<TestStore> {
    const metrics = new Metrics();
    const catalog = await openCatalog(objects, metrics, silentLogger);
    return new TestStore(objects, catalog, metrics, { ...defaultStoreOptions, level: 1, ...options }, deps);
  }

  append(lines: readonly TestLine[], sink: LineSink = this.writer): void {
    for (const line of lines) {
      const { tenant, labels, canonical } = streamOf(line);
      sink.append(sink.stream(tenant, labels, canonical), fill(this.line, line), NO_SOURCE);
    }
  }

  /** Every line of the store in order of streams and time, as a query would put them together. */
  async rows(): Promise<Row[]> {
    const { segments, pending, open } = takeSnapshot(this.catalog, [this.writer]);
    const out: Row[] = [];
    for (const segment of await allSegments(segments)) {
      const index = await this.reader.index(segment);
      const bytes = await this.reader.readBlocks(segment, index.blocks);
      index.blocks.forEach((info, i) => {
        const view = parseBlock(bytes[i], { key: segment.key, offset: info.offset });
        if (view.rows !== info.rows || view.canonical !== index.streams[info.stream].canonical) {
          throw new Error(`index and block differ in ${segment.key}`);
        }
        out.push(...rowsOf(view));
      });
    }
    for (const { bytes } of pending) out.push(...rowsOf(parseBlock(bytes)));
    for (const view of open) out.push(...rowsOf(view));
    return inOrder(out);
  }

  async segmentBytes(): Promise<Buffer[]> {
    return Promise.all(this.catalog.tail().map(({ key }) => this.objects.get(key)));
  }
}

/** All of them, in order of arrival. */
export async function allSegments(view: SegmentView): Promise<SegmentInfo[]> {
  const all = { startNs: -(2n ** 100n), endNs: 2n ** 100n };
  const lists = await Promise.all(view.tenants.map((tenant) => view.segments({ tenant, ...all })));
  return lists.flat().sort(byArrival);
}

/** `toEqual` for many rows: vitest compares deeply only when something differs, which is what takes its time. */
export function expectRows(got: readonly Row[], want: readonly Row[], hint = ""): void {
  expect(JSON.stringify(got) === JSON.stringify(want) ? want : got, hint).toEqual(want);
}
