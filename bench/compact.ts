import { DEFAULT_TENANT } from "../src/core/labels.ts";
import { silentLogger } from "../src/core/log.ts";
import { Metrics } from "../src/core/metrics.ts";
import { type Catalog, openCatalog } from "../src/store/catalog.ts";
import { Compactor } from "../src/store/compact/compactor.ts";
import { type MergeResult, mergeSegments } from "../src/store/compact/merge.ts";
import { type CompactorOptions, defaultCompactorOptions } from "../src/store/compact/options.ts";
import { Pace } from "../src/store/compact/pace.ts";
import { NO_REMOVALS } from "../src/store/compact/removals.ts";
import { defaultStoreOptions } from "../src/store/options.ts";
import type { SegmentInfo } from "../src/store/view.ts";
import {
  type BenchStream,
  bytesPerLine,
  type Calibration,
  DAY_START_SEC,
  makeStreams,
  RealFlushes,
  SimulatedStore,
} from "./compact-model.ts";
import { CountingStore } from "./counting-store.ts";
import { Random } from "./lines.ts";
import { DAYS_A_MONTH, PRICES, type Requests, requestDollars, storageDollars } from "./prices.ts";
import { row, section } from "./print.ts";

/*
 * Compaction of a day of 10,000 streams with one line a second each: 864 million lines. They can't be written in a bench, so the
 * real compactor runs over a real catalog whose segments are only said to be there, as large as real merges of a sample
 * showed. The same simulation of a smaller store is held to a real run of it.
 */
const DAY_STREAMS = 10_000;
const DAY_SEC = 86_400;
/** How a deployment flushes, each worker its own streams. */
interface Scenario {
  readonly name: string;
  readonly workers: number;
  readonly flushSec: number;
  /** How much of a day is simulated. */
  readonly hours: number;
}
/**
 * With 10,000 streams the default store.memory_bytes of a single process is full after 121,500 lines, measured with the real writer,
 * and then a flush is due.
 */
const ONE_PROCESS: Scenario = {
  name: "one process, flushing when its memory is full",
  workers: 1,
  flushSec: 12,
  hours: 24,
};
/** Where queries run elsewhere, lines are to be in the store soon. A day of it would take minutes, so it is a part of one. */
const WORKERS: Scenario = { name: "8 workers that flush every 5 seconds", workers: 8, flushSec: 5, hours: 2 };
const FLUSH_SEC = ONE_PROCESS.flushSec;
/** The real parts of a short run write less than this. */
const SHORT_BYTES = 100_000_000;
const SAMPLE_STREAMS = 100;
const SAMPLE_FLUSHES = 28;
const SMALL_MERGE = 8;
const WARM_UPS = 5;
const MIB = 1024 * 1024;
const LARGE_BYTES = 8 * MIB;
/** Loki's defaults: a chunk is one object, ended at 1.5 MB compressed or 2 hours. */
const LOKI_CHUNK_BYTES = 1_572_864;
const LOKI_CHUNK_SEC = 7200;

/** `lineBytes`: text that the real parts may write, roughly. */
export async function benchCompact(lineBytes: number, seed: number): Promise<void> {
  section("Compaction: real merges, and the simulation held to them");
  const calibration = await calibrate(seed);
  await checkSimulation(calibration, Math.min(lineBytes, SHORT_BYTES) / 2, seed);
  for (const scenario of lineBytes < SHORT_BYTES ? [ONE_PROCESS] : [ONE_PROCESS, WORKERS]) {
    await simulateDay(scenario, calibration, seed);
  }
}

const count = (value: number) => Math.round(value).toLocaleString("en-US");
const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
const dollars = (value: number) => `$${value.toFixed(2)}`;
const never = new AbortController().signal;
const freely = () => new Pace(1, { sleep: async () => {}, now: () => performance.now(), signal: never });

/** Merges a sample for real. */
async function calibrate(seed: number): Promise<Calibration> {
  const objects = new CountingStore();
  const catalog = await openCatalog(objects, new Metrics(), silentLogger);
  const streams = makeStreams(SAMPLE_STREAMS, new Random(seed));
  const flushes = new RealFlushes(objects, catalog, streams, seed);
  for (let i = 0; i < SAMPLE_FLUSHES; i++) await flushes.flush(i, DAY_START_SEC + i * FLUSH_SEC, FLUSH_SEC);
  const fresh = catalog.tail();
  const few = await timedMerge(objects, fresh.slice(0, SMALL_MERGE));
  // A merge of the sample takes less time than the engine needs to compile it.
  for (let i = 0; i < WARM_UPS; i++) await timedMerge(objects, fresh);
  const all = await timedMerge(objects, fresh);
  const again = await timedMerge(objects, all.result.outputs);
  const lines = SAMPLE_FLUSHES * FLUSH_SEC * SAMPLE_STREAMS;
  const text = flushes.textBytes;
  await flushes.flush(SAMPLE_FLUSHES, DAY_START_SEC + SAMPLE_FLUSHES * FLUSH_SEC, WORKERS.flushSec);
  const [quick] = catalog.tail().slice(SAMPLE_FLUSHES);
  row("CPU of merging small blocks", `${(all.cpuSec / (text / 1e9)).toFixed(1)} s/GB of text`);
  const copied = again.result.stats.bytesCopied;
  row(
    "CPU of copying full blocks",
    `${(again.cpuSec / (text / 1e9)).toFixed(1)} s/GB of text (${count(copied)} bytes)`,
  );
  row(
    "fresh segments, merged ones",
    `${(text / sum(fresh)).toFixed(2)}, ${(text / sum(all.result.outputs)).toFixed(2)} of text to 1`,
  );
  return {
    textPerLine: text / lines,
    indexBytesAStream: 60,
    bytesPerLine: [
      [WORKERS.flushSec, quick.bytes / quick.lines],
      [FLUSH_SEC, sum(fresh) / lines],
      [FLUSH_SEC * SMALL_MERGE, sum(few.result.outputs) / ((lines / SAMPLE_FLUSHES) * SMALL_MERGE)],
      [FLUSH_SEC * SAMPLE_FLUSHES, sum(all.result.outputs) / lines],
    ],
  };
}

async function timedMerge(
  objects: CountingStore,
  segments: readonly SegmentInfo[],
): Promise<{ result: MergeResult; cpuSec: number }> {
  const { level, full_part, segment_bytes, index_memory_bytes, read_memory_bytes } = defaultCompactorOptions;
  const before = process.cpuUsage();
  const result = await mergeSegments(
    segments,
    {
      level,
      blockBytes: defaultStoreOptions.block_bytes,
      segmentBytes: segment_bytes,
      fullPart: full_part,
      indexMemoryBytes: index_memory_bytes,
      readMemoryBytes: read_memory_bytes,
    },
    { objects, pace: freely(), filter: NO_REMOVALS.filter },
  );
  const { user, system } = process.cpuUsage(before);
  return { result, cpuSec: (user + system) / 1e6 };
}

const sum = (segments: readonly SegmentInfo[]) => segments.reduce((bytes, info) => bytes + info.bytes, 0);

interface Flushes {
  flush(number: number, fromSec: number, seconds: number): Promise<void>;
}

interface DayResult {
  readonly segments: readonly SegmentInfo[];
  readonly requests: Requests;
  readonly bytesIn: number;
  readonly catalog: Catalog;
  /** Objects that a query of the day so far touches for one stream, at the worst moment looked at. */
  readonly worst: number;
}

/** Flushes and passes of compaction in the order of a simulated clock, until the day is settled and nothing is left to do. */
async function runDay(
  objects: CountingStore,
  clock: { ms: number },
  catalog: Catalog,
  flushes: Flushes,
  flushSec: number,
  flushCount: number,
  compactor: Compactor,
  options: CompactorOptions,
  touched: (() => Promise<number>) | null,
): Promise<DayResult> {
  let passMs = clock.ms;
  let collectMs = clock.ms;
  let sweepMs = clock.ms;
  let worst = 0;
  for (let i = 0; i < flushCount; i++) {
    await flushes.flush(i, DAY_START_SEC + i * flushSec, flushSec);
    clock.ms += flushSec * 1000;
    if (clock.ms - passMs < options.interval_ms) continue;
    passMs = clock.ms;
    if (touched !== null && clock.ms % 1_200_000 === 0) worst = Math.max(worst, await touched());
    await compactor.pass({ removals: false });
    if (clock.ms - collectMs >= options.grace_ms / 6) {
      collectMs = clock.ms;
      await compactor.collect();
    }
    if (clock.ms - sweepMs >= options.sweep_interval_ms) {
      sweepMs = clock.ms;
      await compactor.sweep();
    }
  }
  clock.ms = (DAY_START_SEC + DAY_SEC) * 1000 + options.settle_ms + 1;
  await catalog.fold();
  for (;;) {
    const { merges } = await compactor.pass({ removals: false });
    if (merges === 0) break;
  }
  clock.ms += options.grace_ms + 1;
  await compactor.collect();
  const all = { startNs: 0n, endNs: 2n ** 62n };
  const segments = await catalog.view().segments({ tenant: DEFAULT_TENANT, ...all });
  return { segments, requests: { ...objects.requests }, bytesIn: objects.bytesIn, catalog, worst };
}

async function openDay(options: CompactorOptions): Promise<{
  objects: CountingStore;
  clock: { ms: number };
  catalog: Catalog;
  compactor: (merge?: typeof mergeSegments) => Compactor;
}> {
  const objects = new CountingStore();
  const clock = { ms: DAY_START_SEC * 1000 };
  const now = () => clock.ms;
  objects.nowMs = now;
  const catalog = await openCatalog(objects, new Metrics(), silentLogger, { now });
  const compactor = (merge?: typeof mergeSegments) =>
    new Compactor(options, {
      objects,
      catalog,
      blockBytes: defaultStoreOptions.block_bytes,
      removals: null,
      metrics: new Metrics(),
      log: silentLogger,
      now,
      sleep: async () => {},
      signal: never,
      ...(merge === undefined ? {} : { merge }),
    });
  return { objects, clock, catalog, compactor };
}

/** A small store twice, for real and simulated. */
async function checkSimulation(calibration: Calibration, lineBytes: number, seed: number): Promise<void> {
  const flushCount = 48;
  const wanted = lineBytes / (flushCount * FLUSH_SEC * calibration.textPerLine);
  const streams = makeStreams(Math.min(1000, Math.max(100, Math.round(wanted))), new Random(seed));
  const options: CompactorOptions = {
    ...defaultCompactorOptions,
    fan_in: 8,
    fan_in_above: 3,
    segment_bytes: MIB,
    cpu_share: 1,
  };
  const real = await openDay(options);
  const writer = new RealFlushes(real.objects, real.catalog, streams, seed);
  const was = await runDay(
    real.objects,
    real.clock,
    real.catalog,
    writer,
    FLUSH_SEC,
    flushCount,
    real.compactor(),
    options,
    null,
  );
  const simulated = await openDay(options);
  const store = new SimulatedStore(simulated.objects, simulated.catalog, streams, 1, calibration);
  const compactor = simulated.compactor(store.merge);
  const { objects, clock, catalog } = simulated;
  const is = await runDay(objects, clock, catalog, store, FLUSH_SEC, flushCount, compactor, options, null);
  const pair = (what: (result: DayResult) => number) => `${count(what(was))} for real, ${count(what(is))} simulated`;
  row(
    `check with ${streams.length} streams, ${flushCount} flushes: segments left`,
    pair(({ segments }) => segments.length),
  );
  row(
    "  their bytes",
    pair(({ segments }) => sum(segments)),
  );
  row(
    "  PUT requests",
    pair(({ requests }) => requests.puts),
  );
  row(
    "  GET requests",
    pair(({ requests }) => requests.gets),
  );
  row(
    "  LIST requests",
    pair(({ requests }) => requests.lists),
  );
}

async function simulateDay(
  { name, workers, flushSec, hours }: Scenario,
  calibration: Calibration,
  seed: number,
): Promise<void> {
  section(`Compaction: ${count(DAY_STREAMS)} streams with 1 line/s each for ${hours} hours, simulated: ${name}`);
  const options: CompactorOptions = { ...defaultCompactorOptions, cpu_share: 1 };
  const streams = makeStreams(DAY_STREAMS, new Random(seed));
  const { objects, clock, catalog, compactor } = await openDay(options);
  const store = new SimulatedStore(objects, catalog, streams, workers, calibration);
  const some = Array.from({ length: 20 }, (_, i) => streams[Math.floor((i * streams.length) / 20)]);
  const touched = async () => Math.max(...(await Promise.all(some.map((stream) => objectsOf(catalog, stream)))));
  const seconds = hours * 3600;
  const flushCount = seconds / flushSec;
  const lines = DAY_STREAMS * seconds;
  const day = await runDay(
    objects,
    clock,
    catalog,
    store,
    flushSec,
    flushCount,
    compactor(store.merge),
    options,
    touched,
  );
  const bytes = sum(day.segments);
  const large = sum(day.segments.filter((info) => info.bytes >= LARGE_BYTES));
  const most = await touched();
  const written = bytesPerLine(calibration, flushSec) * lines;
  const before = flushCount * workers;
  row("objects before, after", `${count(before)}, ${count(day.segments.length)}`);
  row(
    "bytes of text, flushed, at the end",
    [lines * calibration.textPerLine, written, bytes].map(gigabytes).join(", "),
  );
  row("bytes in segments of 8 MiB or more", `${((100 * large) / bytes).toFixed(1)}% (wanted: 95% or more)`);
  const after = day.segments.length;
  const chunks = DAY_STREAMS * chunksADay(calibration) * (hours / 24);
  row("objects after, as part of those before", `1/${(before / after).toFixed(1)} (wanted: 1/100 or less)`);
  row("objects after, as part of one object a chunk", `1/${(chunks / after).toFixed(1)}`);
  row(
    "objects that a query of the day touches for one stream",
    `${most} (wanted: 30 or less); ${day.worst} at most during the day`,
  );
  row("bytes that compaction writes, to those flushed", (store.bytesWritten / written).toFixed(2));
  row(
    "text that it compresses anew, to all text",
    (store.bytesRewritten / (lines * calibration.textPerLine)).toFixed(2),
  );
  costs(day, bytes, 24 / hours, calibration, most);
}

/** Segments that a query for all of a stream's labels over the whole day opens. */
async function objectsOf(catalog: Catalog, { labels }: BenchStream): Promise<number> {
  const wanted = Object.entries(labels).map(([name, value]) => ({ name, values: [value] }));
  const range = { startNs: BigInt(DAY_START_SEC) * 10n ** 9n, endNs: BigInt(DAY_START_SEC + DAY_SEC) * 10n ** 9n };
  return (await catalog.view().segments({ tenant: DEFAULT_TENANT, ...range, labels: wanted })).length;
}

/** Chunks that a stream makes in a day as Loki makes them. */
function chunksADay(calibration: Calibration): number {
  const chunkLines = Math.min(LOKI_CHUNK_SEC, LOKI_CHUNK_BYTES / bytesPerLine(calibration, LOKI_CHUNK_SEC));
  return Math.ceil(DAY_SEC / chunkLines);
}

function costs(day: DayResult, bytes: number, parts: number, calibration: Calibration, touched: number): void {
  section(`Cost at S3 list prices of ${PRICES.asOf} (${PRICES.region}), ${DAYS_A_MONTH} such days kept`);
  const chunks = chunksADay(calibration);
  const loki = { puts: DAY_STREAMS * chunks, gets: 0, lists: 0 };
  const lokiBytes = DAY_STREAMS * DAY_SEC * bytesPerLine(calibration, LOKI_CHUNK_SEC);
  const line = (name: string, { puts, gets, lists }: Requests, stored: number, query: number) => {
    row(`${name}: PUT, GET, LIST a day`, `${count(puts)}, ${count(gets)}, ${count(lists)}`);
    row(`${name}: bytes a day; GET of a one-day query of one stream`, `${gigabytes(stored)}; ${query}`);
    const requests = requestDollars({ puts, gets, lists });
    const storage = storageDollars(stored);
    row(
      `${name}: a month`,
      `${dollars(requests)} requests + ${dollars(storage)} storage = ${dollars(requests + storage)}`,
    );
  };
  const { puts, gets, lists } = day.requests;
  line("Weir", { puts: puts * parts, gets: gets * parts, lists: lists * parts }, bytes * parts, touched * 2);
  // Chunks alone, as if they compressed as well: Loki's index, its replicas and what it reads come on top.
  line("one object a chunk", loki, lokiBytes, chunks);
}
