import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BroadcastChannel } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { encode } from "../../src/codec/msgpack.ts";
import { ENTRY_FORWARD, type EntryDraft } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { openDiskIntake } from "../../src/intake/disk.ts";
import type { IntakeLog } from "../../src/intake/intake.ts";
import { partitionOf } from "../../src/intake/partition-of.ts";
import { openObjectStore } from "../../src/objects/open.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import { createEngine } from "../../src/query/create.ts";
import type { Engine } from "../../src/query/engine.ts";
import { queryOptions } from "../../src/query/options.ts";
import type { WorkerConfig } from "../../src/roles/partition-worker.ts";
import { threadUrl } from "../../src/roles/thread-host.ts";
import { ThreadWorkers } from "../../src/roles/thread-workers.ts";
import { type Catalog, openCatalog } from "../../src/store/catalog.ts";
import { storeOptions } from "../../src/store/options.ts";
import { SegmentReader } from "../../src/store/reader.ts";
import { textsOf } from "../query/run/harness.ts";
import { Random, SEED } from "../random.ts";

const built = threadUrl();
const SOURCES = 6;
const ALL = '{tag=~".+"}';
const TIMES = { startNs: 0n, endNs: 2n ** 62n };
const LINES_MAX = 5000;

/** Blocks and segments are small and flushes quick, so that a test meets many commits. */
const CONFIG: WorkerConfig = {
  pipelines: [
    {
      name: "all",
      from: ["in"],
      match: ["**"],
      line: ["log"],
      steps: [{ name: "labels", options: { tag: { value: "$tag" } } }],
      to: ["store"],
    },
  ],
  sinks: [{ name: "store", type: "store", options: {} }],
  sections: {
    store: storeOptions.parse({ block_bytes: 4096, level: 1, flush_age_ms: 20, segment_bytes: 65_536 }),
    limits: limitsOptions.parse({}),
  },
};

let count = 0;
const NOW_SEC = Math.floor(Date.now() / 1000);

/** A chunk of one source with lines that no other has. */
function chunk(source: number, lines: number): { draft: EntryDraft; texts: string[] } {
  const texts = Array.from({ length: lines }, () => `line ${count++}`);
  const entries = texts.map((log) => encode([NOW_SEC, { log }]));
  const tag = `tag${source}`;
  const message = encode([tag, Buffer.concat(entries)]);
  const payload = Buffer.allocUnsafeSlow(message.length);
  message.copy(payload);
  const receivedMs = Date.now();
  return {
    draft: { kind: ENTRY_FORWARD, tenant: "fake", source: "in", receivedMs, payload, isAlone: true, origin: tag },
    texts,
  };
}

/** Workers in threads over an intake log and a store in a folder. */
class Threads {
  readonly intake: IntakeLog;
  readonly workers: ThreadWorkers;
  readonly engine: Engine;
  readonly catalog: Catalog;
  readonly metrics: Metrics;
  readonly stored: string[] = [];
  private readonly partitions: number;

  private constructor(
    parts: Pick<Threads, "intake" | "workers" | "engine" | "catalog" | "metrics">,
    partitions: number,
  ) {
    this.intake = parts.intake;
    this.workers = parts.workers;
    this.engine = parts.engine;
    this.catalog = parts.catalog;
    this.metrics = parts.metrics;
    this.partitions = partitions;
  }

  static async open(dir: string, threads: number, url: URL): Promise<Threads> {
    const metrics = new Metrics();
    const log = silentLogger;
    const objectsUrl = path.join(dir, "store");
    const objects = await openObjectStore(objectsUrl);
    const catalog = await openCatalog(objects, new Metrics(), log);
    const minNextOffset = (partition: number) => catalog.chainEnd(partition);
    const request = { dir: path.join(dir, "intake"), partitions: threads, minNextOffset };
    const intake = await openDiskIntake(request, { log, metrics: new Metrics() });
    const shares = Array.from({ length: threads }, (_, thread) =>
      Array.from({ length: intake.partitions }, (_, partition) => partition).filter((it) => it % threads === thread),
    );
    const workers = new ThreadWorkers(CONFIG, shares, { url, objectsUrl, intake, catalog, metrics, log });
    const engine = createEngine(queryOptions.parse({ threads: 0, query_timeout: "60s" }), {
      snapshots: workers.snapshots,
      reader: new SegmentReader(objects, { cacheBytes: 1 << 20 }),
      objectsUrl,
      metrics: new Metrics(),
      log,
    });
    await workers.start();
    return new Threads({ intake, workers, engine, catalog, metrics }, threads);
  }

  async append({ draft, texts }: ReturnType<typeof chunk>): Promise<void> {
    await this.intake.append(partitionOf(draft, this.partitions), draft);
    this.stored.push(...texts);
  }

  async lines(): Promise<{ texts: string[]; warnings: readonly string[] }> {
    const result = await this.engine.queryRange({ query: ALL, ...TIMES, limit: LINES_MAX, backward: false });
    return { texts: textsOf(result), warnings: result.warnings };
  }

  /** All lines, as soon as so many are there. */
  async settled(): Promise<string[]> {
    for (;;) {
      const { texts } = await this.lines();
      if (texts.length >= this.stored.length) return texts.sort();
      await sleep(5);
    }
  }

  async close(): Promise<void> {
    await this.engine.close();
    await this.workers.stop();
    await this.intake.close();
  }
}

describe.skipIf(built === null)("workers in threads", () => {
  const url = built ?? new URL("file:///none");
  const folders: string[] = [];
  const opened: Threads[] = [];
  afterEach(async () => {
    for (const threads of opened.splice(0)) await threads.close();
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
  });

  async function newFolder(): Promise<string> {
    const folder = await mkdtemp(path.join(os.tmpdir(), "weir-threads-"));
    folders.push(folder);
    return folder;
  }

  async function open(threads: number, { dir, from = url }: { dir?: string; from?: URL } = {}): Promise<Threads> {
    const it = await Threads.open(dir ?? (await newFolder()), threads, from);
    opened.push(it);
    return it;
  }

  /** Chunks of all sources, with short pauses: some flushes' worth. */
  async function send(it: Threads, chunks: number, random: { below(limit: number): number }): Promise<void> {
    for (let i = 0; i < chunks; i++) {
      await it.append(chunk(random.below(SOURCES), 1 + random.below(20)));
      if (random.below(3) === 0) await sleep(random.below(12));
    }
  }

  test("each line is in each answer once, and stays there, while they commit", { timeout: 400_000 }, async () => {
    const it = await open(3);
    let isSending = true;
    const random = new Random(SEED);
    const commits = () => it.catalog.tail().length;
    const sending = (async () => {
      await send(it, 250, random);
      // A slow machine has not committed much by then.
      while (commits() <= 10) await send(it, 5, random);
    })().finally(() => {
      isSending = false;
    });
    let before = new Set<string>();
    let answers = 0;
    while (isSending || answers === 0) {
      const { texts, warnings } = await it.lines();
      const now = new Set(texts);
      expect(warnings).toEqual([]);
      expect(texts.length, `seed ${SEED}: a line twice`).toBe(now.size);
      expect(
        [...before].filter((text) => !now.has(text)),
        `seed ${SEED}: lines that were there`,
      ).toEqual([]);
      before = now;
      answers++;
    }
    await sending;
    expect(await it.settled()).toEqual(it.stored.toSorted());
    console.log(`seed ${SEED}: ${answers} answers over ${commits()} commits`);
  });

  test("a tail has each line once, in its history or after it, whenever it begins", { timeout: 400_000 }, async () => {
    const random = new Random(SEED);
    const it = await open(3);
    const stop = new AbortController();
    const tails: { got: string[]; done: Promise<void> }[] = [];
    const sending = send(it, 200, random);
    for (let i = 0; i < 8; i++) {
      const got: string[] = [];
      const done = it.engine.tail({
        query: ALL,
        startNs: 0n,
        limit: LINES_MAX,
        onEntries: (entries) => {
          got.push(...entries.map(({ line }) => line.toString()));
        },
        signal: stop.signal,
      });
      tails.push({ got, done });
      await sleep(random.below(60));
    }
    await sending;
    for (const { got } of tails) {
      await expect.poll(() => got.length).toBe(it.stored.length);
      expect(got.toSorted(), `seed ${SEED}`).toEqual(it.stored.toSorted());
    }
    stop.abort();
    await Promise.all(tails.map(({ done }) => done));
  });

  test("bytes that lie alone are handed over, others stay whose they are", async () => {
    const it = await open(1);
    const alone = chunk(0, 3);
    const shared = chunk(0, 3);
    const memory = Buffer.alloc(shared.draft.payload.length + 100);
    shared.draft.payload.copy(memory, 10);
    const payload = memory.subarray(10, 10 + shared.draft.payload.length);
    await it.append(alone);
    await it.append({ ...shared, draft: { ...shared.draft, payload, isAlone: false } });
    expect(await it.settled()).toEqual(it.stored.toSorted());
    expect(alone.draft.payload.length).toBe(0);
    expect(payload.equals(shared.draft.payload)).toBe(true);
  });

  test("another number of them takes what is left of the partitions before, once", async () => {
    const random = new Random(SEED);
    const dir = await newFolder();
    const stored: string[] = [];
    for (const threads of [1, 3, 2, 4, 1]) {
      const it = await Threads.open(dir, threads, url);
      it.stored.push(...stored);
      await send(it, 20, random);
      expect(await it.settled(), `seed ${SEED}, ${threads} threads`).toEqual(it.stored.toSorted());
      stored.splice(0, stored.length, ...it.stored);
      // What is not committed is dropped, as by a crash.
      await it.close();
    }
  });

  test("drain commits all there is, of all partitions", async () => {
    const it = await open(2);
    await send(it, 30, new Random(1));
    expect(await it.workers.drain(30_000)).toBe(true);
    for (const partition of [0, 1]) expect(it.catalog.chainEnd(partition)).toBe(it.intake.nextOffset(partition));
  });

  describe("one that dies", () => {
    /** The built thread, which ends when it is told so in the channel. */
    function mortal(channel: string): URL {
      const code = `
        import { BroadcastChannel } from "node:worker_threads";
        const channel = new BroadcastChannel(${JSON.stringify(channel)});
        channel.onmessage = () => { throw new Error("killed by the test"); };
        channel.unref();
        await import(${JSON.stringify(url.href)});`;
      return new URL(`data:text/javascript,${encodeURIComponent(code)}`);
    }

    test("is begun again where the catalog ends, and nothing is lost or doubled", async () => {
      const random = new Random(SEED);
      const name = randomUUID();
      const it = await open(2, { from: mortal(name) });
      const channel = new BroadcastChannel(name);
      for (let round = 0; round < 3; round++) {
        await send(it, 20, random);
        const tail = it.engine.tail({
          query: ALL,
          startNs: 0n,
          limit: 1,
          onEntries: () => {},
          signal: new AbortController().signal,
        });
        const interrupted = expect(tail).rejects.toMatchObject({ code: "worker_away", retriable: true });
        await it.lines();
        channel.postMessage("now");
        await expect.poll(() => it.workers.state().ready).toBe(false);
        expect(it.workers.state().reason).toMatch(/^the worker of partition [01] has died.*killed by the test/);
        await interrupted;
        const before = it.workers.state();
        const { warnings } = await it.lines();
        // One of the two may have begun again by the time that it was asked.
        if (!before.ready && it.workers.state().reason.includes(before.reason))
          expect(warnings.join()).toMatch(/may be missing: the worker of partition/);
        // Entries are taken while nobody works on them.
        await send(it, 20, random);
        await expect.poll(() => it.workers.state().ready).toBe(true);
        expect(await it.settled(), `seed ${SEED}`).toEqual(it.stored.toSorted());
      }
      channel.close();
      const text = await it.metrics.render();
      const records = Number(/^weir_pipeline_records_total\{pipeline="all"\} (\d+)$/m.exec(text)?.[1]);
      expect(records).toBeGreaterThan(0);
    });

    test("at its start says why", async () => {
      const code = `throw Object.assign(new Error("no such thing"), { code: "made_up" });`;
      const from = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
      const dir = await newFolder();
      await expect(Threads.open(dir, 1, from)).rejects.toThrow("no such thing");
    });
  });
});
