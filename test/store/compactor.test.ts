import pino from "pino";
import { describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { type Catalog, openCatalog } from "../../src/store/catalog.ts";
import { decodeEntry, encodeEntry, entryKey } from "../../src/store/catalog-entry.ts";
import { MergeClaims } from "../../src/store/compact/claims.ts";
import { Compactor, type CompactorDeps } from "../../src/store/compact/compactor.ts";
import { mergeSegments } from "../../src/store/compact/merge.ts";
import { type CompactorOptions, defaultCompactorOptions } from "../../src/store/compact/options.ts";
import {
  NO_REMOVALS,
  type RemovalPass,
  type RemovedBy,
  type StreamFilter,
  type Verdict,
} from "../../src/store/compact/removals.ts";
import type { SegmentInfo } from "../../src/store/view.ts";
import { Random, SEED } from "../random.ts";
import { drawFlushes } from "./compact-support.ts";
import { allSegments, expectRows, inOrder, rowOf, type TestLine, TestStore, testLine } from "./support.ts";

/** Merges at once whatever there is, of any day. */
const EAGER: Partial<CompactorOptions> = {
  settle_ms: 0,
  fan_in: 3,
  fan_in_above: 2,
  level: 1,
  cpu_share: 1,
  segment_bytes: 64 * 1024,
  grace_ms: 0,
};
const YEAR_9999_MS = 253_402_300_799_000;

function compactorOn(
  objects: ObjectStore,
  catalog: Catalog,
  options: Partial<CompactorOptions> = {},
  deps: Partial<CompactorDeps> = {},
): Compactor {
  return new Compactor(
    { ...defaultCompactorOptions, ...EAGER, ...options },
    {
      objects,
      catalog,
      blockBytes: 4096,
      removals: null,
      metrics: new Metrics(),
      log: silentLogger,
      now: () => YEAR_9999_MS,
      sleep: async () => {},
      signal: new AbortController().signal,
      ...deps,
    },
  );
}

const names = async (objects: ObjectStore, prefix: string): Promise<string[]> => {
  const keys: string[] = [];
  for await (const { key } of objects.list(prefix)) keys.push(key);
  return keys;
};

const inArrival = (segments: readonly SegmentInfo[]) => segments.toSorted((a, b) => a.firstOffset - b.firstOffset);

async function flushed(flushes: readonly TestLine[][], objects = new MemoryStore()): Promise<TestStore> {
  const store = await TestStore.open(objects, { block_bytes: 4096 });
  for (const [i, lines] of flushes.entries()) {
    store.append(lines);
    await store.writer.flush(i + 1);
  }
  return store;
}

describe("a pass of compaction", () => {
  test("keeps all lines while flushes go on, and leaves no object that nobody names", async () => {
    for (let round = 0; round < 7; round++) {
      const random = new Random(SEED + round);
      const store = await TestStore.open(new MemoryStore(), { block_bytes: 4096 });
      const compactor = compactorOn(store.objects, store.catalog);
      const want: TestLine[] = [];
      for (const [i, lines] of drawFlushes(random, 3 + random.below(12), 60).entries()) {
        store.append(lines);
        want.push(...lines);
        await store.writer.flush(i + 1);
        if (random.chance(0.5)) await store.catalog.fold();
        if (random.chance(0.4)) await compactor.pass({ removals: false });
        if (random.chance(0.2)) await compactor.collect();
        expectRows(await store.rows(), inOrder(want.map(rowOf)), `round ${round}, flush ${i}`);
      }
      await store.catalog.fold();
      await compactor.pass({ removals: false });
      await compactor.collect();
      await store.catalog.sweep(0);
      expectRows(await store.rows(), inOrder(want.map(rowOf)), `round ${round}, at the end`);
      const segments = await allSegments(store.catalog.view());
      expect(await names(store.objects, "segments/")).toEqual(segments.map(({ key }) => key).sort());
      // Somebody who comes anew sees the same.
      const again = await TestStore.open(store.objects);
      expectRows(await again.rows(), inOrder(want.map(rowOf)), `round ${round}, opened again`);
    }
  });

  test("two compactors do each other no harm", async () => {
    for (let round = 0; round < 8; round++) {
      const random = new Random(SEED + 500 + round);
      const flushes = drawFlushes(random, 12, 40);
      const store = await flushed(flushes);
      await store.catalog.fold();
      const other = await openCatalog(store.objects, new Metrics(), silentLogger);
      const both = [compactorOn(store.objects, store.catalog), compactorOn(store.objects, other, { fan_in: 4 })];
      for (let i = 0; i < 3; i++) await Promise.all(both.map((compactor) => compactor.pass({ removals: false })));
      await store.catalog.refresh();
      expectRows(await store.rows(), inOrder(flushes.flat().map(rowOf)), `round ${round}`);
      await both[0].collect();
      await store.catalog.sweep(0);
      expectRows(await store.rows(), inOrder(flushes.flat().map(rowOf)), `round ${round}, swept`);
    }
  });

  test("leaves a damaged segment as it is, and merges the others", async () => {
    const lines = (from: number) =>
      Array.from({ length: 20 }, (_, i) => testLine(`line ${from + i}`, { sec: from + i }));
    const flushes = Array.from({ length: 6 }, (_, i) => lines(1000 + i * 20));
    const store = await flushed(flushes);
    await store.catalog.fold();
    const before = await allSegments(store.catalog.view());
    const bytes = await store.objects.get(before[2].key);
    bytes[150] ^= 0xff;
    await store.objects.put(before[2].key, [bytes]);
    const compactor = compactorOn(store.objects, store.catalog);
    const report = await compactor.pass({ removals: false });
    expect(report.merges).toBeGreaterThan(0);
    const after = await allSegments(store.catalog.view());
    expect(after.map(({ key }) => key)).toContain(before[2].key);
    expect(after.length).toBe(2);
    expect(after.reduce((sum, info) => sum + info.lines, 0)).toBe(120);
  });

  test.each([
    { name: "damaged", code: "catalog_corrupt" },
    { name: "gone", code: "object_missing" },
  ])(
    "merges beside a page of the catalog that is $name, names it, and goes on with it once it is repaired",
    async ({ code }) => {
      const lines = (day: number, i: number, label = "web") =>
        Array.from({ length: 5 }, (_, n) =>
          testLine(`day ${day} flush ${i} line ${n}`, { sec: day * 86_400 + i * 10 + n, labels: { app: label } }),
        );
      const days = [100, 101, 102];
      const store = await flushed(days.flatMap((day) => [0, 1, 2, 3].map((i) => lines(day, i))));
      await store.catalog.fold();
      const lost = store.catalog.view().root.pages.find(({ day }) => day === "1970-04-12")!;
      const page = await store.objects.get(lost.key);
      if (code === "object_missing") await store.objects.delete(lost.key);
      else await store.objects.put(lost.key, [Buffer.from("damaged")]);
      const logged: Record<string, unknown>[] = [];
      const log = pino(
        { level: "error", base: undefined },
        { write: (text: string) => void logged.push(JSON.parse(text)) },
      );
      const metrics = new Metrics();
      const segmentsOf = async (of: Catalog) => {
        const all = { tenant: "fake", startNs: -(2n ** 100n), endNs: 2n ** 100n };
        const found = await of.view().segments(all, () => {});
        return found.map(({ timeMinNs, lines }) => `${timeMinNs / 86_400_000_000_000n} ${lines}`).sort();
      };
      const catalog = await openCatalog(store.objects, new Metrics(), silentLogger);
      const compactor = compactorOn(store.objects, catalog, { fan_in: 4 }, { metrics, log });
      for (let pass = 0; pass < 3; pass++) {
        await compactor.pass({ removals: false });
        expect(await segmentsOf(catalog)).toEqual(["100 20", "102 20"]);
        expect(await metrics.render()).toContain(`weir_compact_lost_pages{page="${lost.key}"} 1`);
        expect(catalog.view().root.pages.map(({ key }) => key)).toContain(lost.key);
      }
      expect(logged).toEqual([
        expect.objectContaining({ key: lost.key, tenant: "fake", code, msg: expect.stringContaining(lost.key) }),
      ]);
      // New lines of the lost page's own day are merged as well, as long as they are not of its times.
      for (const i of [1, 4, 5, 6, 7, 8, 9]) {
        store.append(lines(101, i));
        await store.writer.flush(100 + i);
      }
      await catalog.fold();
      await compactor.pass({ removals: false });
      expect(await segmentsOf(catalog)).toEqual(["100 20", "101 30", "101 5", "102 20"]);
      await store.objects.put(lost.key, [page]);
      await compactor.pass({ removals: false });
      expect(await segmentsOf(catalog)).toEqual(["100 20", "101 55", "102 20"]);
      expect(await metrics.render()).not.toContain("weir_compact_lost_pages{");
      expect(logged).toHaveLength(1);
    },
  );

  test("keeps the order of arrival of lines with equal times around lost pages", async () => {
    for (let round = 0; round < 8; round++) {
      const random = new Random(SEED + 3000 + round);
      const objects = new MemoryStore();
      const flushes = drawFlushes(random, 40, 12, { order: random.pick(["equal", "runs"]), sec: 0 });
      let next = 0;
      const flush = async () => {
        const store = await TestStore.open(objects, { block_bytes: 4096 });
        for (let left = 4; left > 0 && next < flushes.length; left--) {
          store.append(flushes[next]);
          await store.writer.flush(++next);
        }
        // Into a page of its own while the one before can't be read.
        await store.catalog.fold();
      };
      await flush();
      while (next < flushes.length) {
        const { key } = random.pick((await openCatalog(objects, new Metrics(), silentLogger)).view().root.pages);
        const page = await objects.get(key);
        await objects.put(key, [page.subarray(1)]);
        await flush();
        const catalog = await openCatalog(objects, new Metrics(), silentLogger);
        await compactorOn(objects, catalog, { fan_in: 2 }).pass({ removals: false });
        await objects.put(key, [page]);
        const again = await TestStore.open(objects);
        expectRows(
          await again.rows(),
          inOrder(flushes.slice(0, next).flat().map(rowOf)),
          `seed ${SEED}, round ${round}, ${next}`,
        );
      }
    }
  });

  test("takes in no more than what makes outputs whose numbers have four digits", async () => {
    const flushes = Array.from({ length: 6 }, (_, i) => [testLine(`${i}`, { sec: i })]);
    const objects = new MemoryStore();
    await flushed(flushes, objects);
    // As if each had 100 MiB, a backlog of a busy store.
    for (let i = 0; i < flushes.length; i++) {
      const key = entryKey(0, i);
      const [info] = decodeEntry(key, await objects.get(key)).segments;
      const segments = [{ ...info, bytes: 100 << 20 }];
      await objects.put(key, [encodeEntry({ partition: 0, first: i, next: i + 1, segments })]);
    }
    const catalog = await openCatalog(objects, new Metrics(), silentLogger);
    await catalog.fold();
    const taken: number[] = [];
    const merge: typeof mergeSegments = async (segments) => {
      taken.push(segments.reduce((sum, { bytes }) => sum + bytes, 0));
      throw new WeirError("store_unavailable", "no", { retriable: true });
    };
    await compactorOn(objects, catalog, { fan_in: 6, segment_bytes: 65_536 }, { merge }).pass({ removals: false });
    await compactorOn(objects, catalog, { fan_in: 6, segment_bytes: 1 << 20 }, { merge }).pass({ removals: false });
    expect(taken.map((bytes) => bytes / (100 << 20))).toEqual([2, 6]);
  });

  test("stops in the middle as if it had never begun", async () => {
    const flushes = drawFlushes(new Random(SEED + 900), 8, 50);
    const store = await flushed(flushes);
    await store.catalog.fold();
    const abort = new AbortController();
    const compactor = compactorOn(
      store.objects,
      store.catalog,
      { segment_bytes: 65_536 },
      {
        signal: abort.signal,
        objects: stopAtPut(store.objects, () => abort.abort()),
      },
    );
    await expect(compactor.pass({ removals: false })).rejects.toMatchObject({ code: "aborted" });
    expectRows(await store.rows(), inOrder(flushes.flat().map(rowOf)));
    await store.catalog.sweep(0);
    expect((await names(store.objects, "segments/")).length).toBe(8);
  });

  test("ends a merge soon after another compactor was quicker, and leaves nothing of it", async () => {
    const flushes = drawFlushes(new Random(SEED + 77), 4, 50);
    const store = await flushed(flushes);
    await store.catalog.fold();
    const quicker = compactorOn(store.objects, await openCatalog(store.objects, new Metrics(), silentLogger));
    const metrics = new Metrics();
    let ms = 0;
    let steps = 0;
    const slow: typeof mergeSegments = async (segments, _options, { objects, pace, onOutput }) => {
      const { key: input } = segments[0];
      const key = input.replace(/.\.gz$/, input.endsWith("f.gz") ? "e.gz" : "f.gz"); // Never an input itself.
      onOutput?.(key);
      await objects.put(key, [Buffer.from("half")]);
      // Nothing but time depends on its note.
      await objects.deleteMany(await names(objects, "compacting/"));
      await quicker.pass({ removals: false });
      for (; steps < 10; steps++) {
        ms += 4000;
        await pace.turn();
      }
      throw new Error("went on");
    };
    const compactor = compactorOn(store.objects, store.catalog, {}, { metrics, merge: slow, ticks: () => ms });
    const report = await compactor.pass({ removals: false });
    expect({ merges: report.merges, steps }).toEqual({ merges: 0, steps: 2 });
    expect(await metrics.render()).toMatch(/weir_compact_jobs_total\{outcome="lost"\} 1/);
    expectRows(await store.rows(), inOrder(flushes.flat().map(rowOf)));
    await compactor.collect();
    expect(await names(store.objects, "segments/")).toEqual(
      (await allSegments(store.catalog.view())).map(({ key }) => key).sort(),
    );
    expect(await names(store.objects, "compacting/")).toEqual([]);
  });

  test("leaves alone what another compactor has begun, until that seems to have died", async () => {
    const flushes = drawFlushes(new Random(SEED + 78), 3, 50);
    const store = await flushed(flushes, new MemoryStore(() => YEAR_9999_MS));
    await store.catalog.fold();
    let ms = 0;
    const claims = new MergeClaims({ objects: store.objects, log: silentLogger, ticks: () => ms, now: Date.now });
    await claims.take(inArrival(await allSegments(store.catalog.view())));
    const compactor = compactorOn(store.objects, store.catalog, {}, { ticks: () => ms });
    for (const [at, merges] of [
      [0, 0],
      [50_000, 0],
      [61_000, 1],
    ]) {
      ms = at;
      expect((await compactor.pass({ removals: false })).merges, `after ${at} ms`).toBe(merges);
    }
    expectRows(await store.rows(), inOrder(flushes.flat().map(rowOf)));
  });

  test("removes what a merge has written that then fails, so that a full disk gets no fuller", async () => {
    const flushes = drawFlushes(new Random(SEED + 902), 6, 400);
    const store = await flushed(flushes);
    await store.catalog.fold();
    let puts = 0;
    const full = stopAtPut(store.objects, () => {
      if (++puts > 1) throw new WeirError("store_unavailable", "ENOSPC: the disk is full", { retriable: true });
    });
    const merge: typeof mergeSegments = (segments, options, deps) =>
      mergeSegments(segments, { ...options, segmentBytes: 1024 }, { ...deps, objects: full });
    const compactor = compactorOn(store.objects, store.catalog, {}, { merge });
    expect((await compactor.pass({ removals: false })).merges).toBe(0);
    expect(puts).toBeGreaterThan(1);
    expect(await names(store.objects, "segments/")).toHaveLength(6);
    expectRows(await store.rows(), inOrder(flushes.flat().map(rowOf)));
  });

  test("takes nothing young for a leftover, however short the grace time: a writer may be about to name it", async () => {
    let nowMs = Date.now();
    const objects = new MemoryStore(() => nowMs);
    const catalog = await openCatalog(objects, new Metrics(), silentLogger, { now: () => nowMs });
    const key = "segments/fake/2026-01-01/0-00000000000000000000-0123456789ab.gz";
    await objects.put(key, [Buffer.from("flushed")]);
    nowMs += 1_200_000;
    expect(await compactorOn(objects, catalog).sweep()).toBe(0);
    nowMs += 2_400_000;
    expect(await compactorOn(objects, catalog).sweep()).toBe(1);
  });

  test("drops a merge that took longer than half of the grace time", async () => {
    const flushes = drawFlushes(new Random(SEED + 901), 4, 50);
    const store = await flushed(flushes);
    await store.catalog.fold();
    const slow = stopAtPut(store.objects, () => new Promise((resolve) => setTimeout(resolve, 60)));
    const compactor = compactorOn(store.objects, store.catalog, { grace_ms: 100 }, { objects: slow });
    const report = await compactor.pass({ removals: false });
    expect(report.merges).toBe(0);
    expect((await names(store.objects, "segments/")).length).toBe(4);
  });
});

/** The store, with something happening before each segment is put. */
function stopAtPut(objects: ObjectStore, act: () => unknown): ObjectStore {
  return new Proxy(objects, {
    get(target, name, receiver) {
      if (name !== "put")
        return Reflect.get(target, name, receiver).bind?.(target) ?? Reflect.get(target, name, receiver);
      return async (key: string, parts: readonly Uint8Array[]) => {
        if (key.startsWith("segments/")) await act();
        await target.put(key, parts);
      };
    },
  });
}

describe("removals", () => {
  /** Removes what `filter` says from streams with a label env=dev, and writes down what it is told. */
  class TestRemovals {
    readonly removed = new Map<string, number>();
    readonly clean = new Set<string>();
    ended: boolean[] = [];
    private readonly verdict: (info: SegmentInfo) => Verdict;
    private readonly streamFilter: StreamFilter;

    constructor(streamFilter: StreamFilter, verdict: (info: SegmentInfo) => Verdict = () => "check") {
      this.streamFilter = streamFilter;
      this.verdict = verdict;
    }

    async begin(): Promise<RemovalPass> {
      return {
        ...NO_REMOVALS,
        judge: (info) => (this.clean.has(info.key) ? "keep" : this.verdict(info)),
        filter: (_tenant, labels) => (labels.env === "dev" ? this.streamFilter : null),
        kept: (info) => this.clean.add(info.key),
        replaced: async (_inputs, outputs) => {
          for (const { key } of outputs) this.clean.add(key);
        },
        end: async (complete) => {
          this.ended.push(complete);
        },
      };
    }

    count(removed: RemovedBy): void {
      for (const [id, { lines }] of removed) this.removed.set(id, (this.removed.get(id) ?? 0) + lines);
    }
  }

  const wholeStream: StreamFilter = { block: () => ({ all: "all-dev" }), rows: () => () => null };
  const errors: StreamFilter = {
    block: () => "rows",
    rows: (view) => (row) => {
      const { text, lineStarts } = view;
      return text.toString("latin1", lineStarts[row], lineStarts[row + 1] - 1).includes("error") ? "errors" : null;
    },
  };

  test.each([
    { name: "whole streams", filter: wholeStream, id: "all-dev", goes: (line: TestLine) => line.labels.env === "dev" },
    {
      name: "some lines",
      filter: errors,
      id: "errors",
      goes: (line: TestLine) => line.labels.env === "dev" && line.bytes.includes("error"),
    },
  ])("$name are left out, counted, and looked for once only", async ({ filter, id, goes }) => {
    for (let round = 0; round < 8; round++) {
      const random = new Random(SEED + 2000 + round);
      const flushes = drawFlushes(random, 2 + random.below(6), 80);
      const store = await flushed(flushes);
      const removals = new TestRemovals(filter);
      const compactor = compactorOn(store.objects, store.catalog, { fan_in: 100, settle_ms: 1e15 }, { removals });
      const all = flushes.flat();
      await compactor.pass({ removals: true });
      expectRows(await store.rows(), inOrder(all.filter((line) => !goes(line)).map(rowOf)), `round ${round}`);
      expect(removals.removed.get(id) ?? 0).toBe(all.filter(goes).length);
      expect(removals.ended).toEqual([true]);
      const segments = await names(store.objects, "segments/");
      await compactor.pass({ removals: true });
      expect(await names(store.objects, "segments/")).toEqual(segments);
      expect(removals.ended).toEqual([true, true]);
    }
  });

  test("segments of which every line goes are not even read", async () => {
    const store = await flushed([[testLine("a")], [testLine("b")], [testLine("c", { sec: 1 })]]);
    for (const { key } of store.catalog.tail()) await store.objects.put(key, [Buffer.from("no segment")]);
    const removals = new TestRemovals(wholeStream, ({ timeMaxNs }) =>
      timeMaxNs > 10n ** 10n ? { all: "old" } : "keep",
    );
    await compactorOn(store.objects, store.catalog, { fan_in: 100, settle_ms: 1e15 }, { removals }).pass({
      removals: true,
    });
    expect((await allSegments(store.catalog.view())).map(({ lines }) => lines)).toEqual([1]);
    expect(Object.fromEntries(removals.removed)).toEqual({ old: 2 });
  });

  test("a pass that can't read a segment is not complete", async () => {
    const store = await flushed([[testLine("a", { labels: { env: "dev" } })], [testLine("b")]]);
    const [{ key }] = store.catalog.tail();
    await store.objects.put(key, [Buffer.alloc(400)]);
    const removals = new TestRemovals(errors);
    await compactorOn(store.objects, store.catalog, {}, { removals }).pass({ removals: true });
    expect(removals.ended).toEqual([false]);
  });
});
