import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { canonicalLabels, DEFAULT_TENANT, type Labels } from "../src/core/labels.ts";
import { Line } from "../src/core/line.ts";
import { silentLogger } from "../src/core/log.ts";
import { Metrics } from "../src/core/metrics.ts";
import { openObjectStore } from "../src/objects/open.ts";
import type { ObjectStore } from "../src/objects/store.ts";
import { openCatalog } from "../src/store/catalog.ts";
import { labelFilter } from "../src/store/label-filter.ts";
import { cutPages, encodePage, pageDay } from "../src/store/manifest-page.ts";
import { encodeRoot, NO_ROOT, nextRoot, type PageRef, rootKey } from "../src/store/manifest-root.ts";
import { defaultStoreOptions } from "../src/store/options.ts";
import type { SegmentInfo } from "../src/store/view.ts";
import { openStreamWriter } from "../src/store/writer.ts";
import { median, row, section } from "./print.ts";

const STREAMS = 1_000_000;
const STREAMS_AN_APP = 500;
const APPS_A_NAMESPACE = 40;
/** Segments of an hour: each holds its share of the streams, as compaction sorts them. */
const SEGMENTS_AN_HOUR = 139;
const HOUR_NS = 3_600_000_000_000n;
const FIRST_NS = 1_714_521_600_000_000_000n;
const ROUNDS = 7;

const labelsOf = (stream: number): Labels => {
  const app = Math.floor(stream / STREAMS_AN_APP);
  return {
    namespace: `team-${Math.floor(app / APPS_A_NAMESPACE)}`,
    app: `service-${app}`,
    pod: `service-${app}-${stream}`,
  };
};

/**
 * A catalog of `segments` segments and a million streams in a folder, and in the midst of it one segment that is really there; then a
 * query for one label set over one hour by processes that have just been started.
 */
export async function benchCatalog(folder: string, segments: number): Promise<void> {
  section(
    `catalog: ${segments} segments, ${STREAMS} streams; a query for one label set over one hour by a new process`,
  );
  const root = path.join(folder, "catalog-bench");
  const objects = await openObjectStore(root);
  const hours = Math.ceil(segments / SEGMENTS_AN_HOUR);
  const hour = Math.floor(hours / 2);
  const stream = Math.floor(STREAMS / 3);
  const startNs = FIRST_NS + BigInt(hour) * HOUR_NS;
  const bytes = await makeCatalog(objects, segments, startNs, stream);
  await objects.close();
  row(
    "pages of the manifest, on disk",
    `${(bytes / 1e6).toFixed(1)} MB, ${(bytes / segments).toFixed(0)} bytes a segment`,
  );
  const query = JSON.stringify({
    root,
    startNs: String(startNs),
    endNs: String(startNs + HOUR_NS),
    app: labelsOf(stream).app,
  });
  const runs: Cold[] = [];
  for (let i = 0; i < ROUNDS; i++) runs.push(await runCold(query));
  const [{ catalogBytes, segments: left }] = runs;
  row("bytes of catalog that it reads (at most 2 MB)", `${(catalogBytes / 1e6).toFixed(3)} MB`);
  row("segments that the catalog leaves, of those of the hour", `${left} of ${SEGMENTS_AN_HOUR}`);
  const times = (pick: (run: Cold) => number) => {
    const all = runs.map(pick);
    return `${median(all).toFixed(0)} ms (${Math.min(...all).toFixed(0)}, ${Math.max(...all).toFixed(0)})`;
  };
  row(
    "from the opening of the store to the first block scanned (below 200 ms)",
    times(({ storeMs }) => storeMs),
  );
  row(
    "  CPU time of that",
    times(({ storeCpuMs }) => storeCpuMs),
  );
  row(
    "from the start of the process, with Node's own start and all modules",
    times(({ totalMs }) => totalMs),
  );
  row(
    "  CPU time of that",
    times(({ totalCpuMs }) => totalCpuMs),
  );
}

/** What a cold process says of itself. */
interface Cold {
  readonly catalogBytes: number;
  readonly segments: number;
  readonly storeMs: number;
  readonly storeCpuMs: number;
  readonly totalMs: number;
  readonly totalCpuMs: number;
}

async function runCold(query: string): Promise<Cold> {
  const script = fileURLToPath(new URL("./catalog-cold.js", import.meta.url));
  const child = spawn(process.execPath, [script, query], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`the cold process ended with code ${code}`);
  return JSON.parse(out) as Cold;
}

/** Writes pages and a root. One segment is real: a writer commits it, and it takes its place among the others. */
async function makeCatalog(objects: ObjectStore, segments: number, realNs: bigint, stream: number): Promise<number> {
  const real = await realSegment(objects, realNs, stream);
  const filters = Array.from({ length: SEGMENTS_AN_HOUR }, (_, part) => filterOf(part));
  const realPart = Math.floor((stream / STREAMS) * SEGMENTS_AN_HOUR);
  const pages: PageRef[] = [];
  let day: SegmentInfo[] = [];
  const close = async () => {
    for (const group of cutPages(day)) {
      const { ref, bytes } = await encodePage(group);
      await objects.put(ref.key, [bytes]);
      pages.push(ref);
    }
    day = [];
  };
  for (let i = 0; i < segments; i++) {
    const part = i % SEGMENTS_AN_HOUR;
    const timeMinNs = FIRST_NS + BigInt(Math.floor(i / SEGMENTS_AN_HOUR)) * HOUR_NS;
    const info =
      timeMinNs === realNs && part === realPart
        ? real
        : { ...inventedSegment(i, timeMinNs), labelFilter: filters[part] };
    if (day.length > 0 && pageDay(day[0]) !== pageDay(info)) await close();
    day.push(info);
  }
  await close();
  const root = nextRoot(NO_ROOT, Date.now(), { folded: new Map([[0, segments + 1]]), pages });
  await objects.putIfAbsent(rootKey(root.version), [encodeRoot(root)]);
  return pages.reduce((sum, { bytes }) => sum + bytes, 0);
}

function filterOf(part: number): Buffer {
  const from = Math.floor((STREAMS * part) / SEGMENTS_AN_HOUR);
  const to = Math.floor((STREAMS * (part + 1)) / SEGMENTS_AN_HOUR);
  return labelFilter(Array.from({ length: to - from }, (_, i) => ({ labels: labelsOf(from + i) })));
}

function inventedSegment(i: number, timeMinNs: bigint): Omit<SegmentInfo, "labelFilter"> {
  const day = new Date(Number(timeMinNs / 1_000_000n)).toISOString().slice(0, 10);
  return {
    key: `segments/${DEFAULT_TENANT}/${day}/0-${String(i).padStart(20, "0")}-${randomBytes(6).toString("hex")}.gz`,
    bytes: 64 * 1024 * 1024 + ((i * 7919) % 1_000_003),
    tenant: DEFAULT_TENANT,
    partition: 0,
    firstOffset: i,
    nextOffset: i + 1,
    timeMinNs,
    timeMaxNs: timeMinNs + HOUR_NS - 1n - BigInt((i * 32_452_843) % 999_999_937),
    lines: 1_000_000 + ((i * 104_729) % 99_991),
    textBytes: 200_000_000 + ((i * 15_485_863) % 9_999_991),
    streams: Math.floor(STREAMS / SEGMENTS_AN_HOUR),
    level: 2,
  };
}

async function realSegment(objects: ObjectStore, timeNs: bigint, stream: number): Promise<SegmentInfo> {
  const metrics = new Metrics();
  const log = silentLogger;
  const catalog = await openCatalog(objects, metrics, log);
  const writer = openStreamWriter(defaultStoreOptions, { objects, catalog, metrics, log, partition: 0, now: Date.now });
  const labels = labelsOf(stream);
  const handle = writer.stream(DEFAULT_TENANT, labels, canonicalLabels(labels));
  const line = new Line();
  for (let i = 0; i < 1000; i++) {
    line.clear();
    line.sec = Number(timeNs / 1_000_000_000n) + i;
    line.bytes = Buffer.from(`GET /api/orders/${i} 200`);
    line.start = 0;
    line.end = line.bytes.length;
    writer.append(handle, line);
  }
  await writer.flush(1);
  const [info] = catalog.tail();
  return info;
}
