import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { Line, type StreamHandle } from "../../src/core/line.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import type { CatalogEntry } from "../../src/store/catalog-entry.ts";
import { tenantPart } from "../../src/store/keys.ts";
import { PoolSlots } from "../../src/store/pool-slots.ts";
import { takeSnapshot } from "../../src/store/snapshot.ts";
import { Random, SEED } from "../random.ts";
import { drawHabit, drawLine } from "./random-lines.ts";
import {
  allSegments,
  expectRows,
  fill,
  inOrder,
  rowOf,
  rowsOf,
  streamOf,
  type TestLine,
  TestStore,
  testLine,
} from "./support.ts";

const want = (lines: readonly TestLine[]) => inOrder(lines.map(rowOf));
type Snapshot = ReturnType<TestStore["writer"]["snapshot"]>;
const tick = () => new Promise((resolve) => setImmediate(resolve));

/** Lines of several streams and tenants, mixed. */
function drawLines(random: Random, streams: number, count: number): TestLine[] {
  const habits = Array.from({ length: streams }, () => drawHabit(random));
  return Array.from({ length: count }, (_, i) => {
    const s = random.below(streams);
    return drawLine(random, habits[s], { app: `app-${s % 5}`, env: `${s}` }, s % 4 === 0 ? "other tenant" : "fake", i);
  });
}

async function keys(store: TestStore, prefix: string): Promise<string[]> {
  const out: string[] = [];
  for await (const { key } of store.objects.list(prefix)) out.push(key);
  return out;
}

describe("writer", () => {
  test("any lines come back after flushes and after a new start, and while they are in memory", async () => {
    const random = new Random(SEED);
    for (let round = 0; round < 8; round++) {
      const objects = new MemoryStore();
      const store = await TestStore.open(objects, { block_bytes: random.pick([4096, 256 * 1024]) });
      const lines: TestLine[] = [];
      let next = random.below(1000);
      if (next > 0) await store.writer.flush(next);
      for (let flush = 0; flush < 4; flush++) {
        const some = drawLines(random, 1 + random.below(12), random.below(400));
        store.append(some);
        lines.push(...some);
        expectRows(await store.rows(), want(lines), `seed ${SEED} round ${round}`);
        next += 1 + random.below(5);
        await store.writer.flush(next);
        expect(store.writer.memoryBytes()).toBe(0);
      }
      expectRows(await store.rows(), want(lines), `seed ${SEED} round ${round}`);
      const reopened = await TestStore.open(objects);
      expectRows(await reopened.rows(), want(lines), `seed ${SEED} round ${round}`);
      expect(reopened.catalog.chainEnd(0)).toBe(next);
      for (const info of reopened.catalog.tail()) expect(await reopened.reader.describe(info.key)).toEqual(info);
    }
  });

  test("each line is seen exactly once at any moment while blocks compress and flushes commit", async () => {
    const random = new Random(SEED);
    const objects = new FaultyStore(new MemoryStore(), () => (random.chance(0.5) ? { delayMs: random.below(4) } : {}));
    const store = await TestStore.open(objects, { block_bytes: 4096, compress_parallel: 3 });
    const lines: TestLine[] = [];
    const flushes: Promise<void>[] = [];
    let seen = 0;
    for (let i = 0; i < 60; i++) {
      const some = drawLines(random, 6, 60);
      store.append(some);
      lines.push(...some);
      if (i % 7 === 6) flushes.push(store.writer.flush(i + 1));
      if (random.chance(0.3)) await store.catalog.refresh();
      if (random.chance(0.5)) await tick();
      const { segments, pending, open } = takeSnapshot(store.catalog, [store.writer]);
      const committed = await allSegments(segments);
      const count = [...committed.map((s) => s.lines), ...pending.map((p) => p.info.rows), ...open.map((o) => o.rows)];
      expect(
        count.reduce((a, b) => a + b, 0),
        `seed ${SEED} step ${i}`,
      ).toBe(lines.length);
      if (pending.length > 0 && open.length > 0 && committed.length > 0) seen++;
      if (i % 10 === 0) expectRows(await store.rows(), want(lines), `seed ${SEED} step ${i}`);
    }
    await Promise.all(flushes);
    await store.writer.flush(100);
    expect(seen, "moments with lines in all three places").toBeGreaterThan(3);
    expectRows(await store.rows(), want(lines));
    expectRows(await (await TestStore.open(objects)).rows(), want(lines));
  });

  test("a snapshot stays what it was while its blocks are compressed, committed and their buffers reused", async () => {
    const store = await TestStore.open(new MemoryStore(), { block_bytes: 4096 });
    const lines = Array.from({ length: 500 }, (_, i) => testLine(`line ${i} ${"x".repeat(i % 90)}`, { sec: i }));
    const snapshots: { views: Snapshot; count: number }[] = [];
    for (let i = 0; i < lines.length; i++) {
      store.append([lines[i]]);
      if (i % 23 === 0) snapshots.push({ views: store.writer.snapshot(), count: i + 1 });
      if (i % 50 === 49) await tick();
    }
    await store.writer.flush(1);
    store.append(lines);
    await store.writer.flush(2);
    for (const { views, count } of snapshots) {
      const rows = [...views.pending.flatMap(({ bytes }) => rowsOf(parseBlock(bytes))), ...views.open.flatMap(rowsOf)];
      expect(rows).toEqual(lines.slice(0, count).map(rowOf));
    }
  });

  test("a snapshot asks for each stream once and shows only what is wanted", async () => {
    const store = await TestStore.open(new MemoryStore(), { block_bytes: 4096 });
    store.append(Array.from({ length: 900 }, (_, i) => testLine("x".repeat(100), { labels: { app: `a${i % 3}` } })));
    const asked: string[] = [];
    const { pending, open } = store.writer.snapshot((labels, tenant, canonical) => {
      asked.push(`${tenant} ${canonical}`);
      return labels.app === "a1";
    });
    expect(asked.sort()).toEqual(['fake {"app":"a0"}', 'fake {"app":"a1"}', 'fake {"app":"a2"}']);
    expect([...pending, ...open].map(({ canonical }) => canonical)).toEqual(
      Array(pending.length + open.length).fill('{"app":"a1"}'),
    );
    expect(open.reduce((sum, { rows }) => sum + rows, 0) + pending.reduce((sum, { info }) => sum + info.rows, 0)).toBe(
      300,
    );
  });

  test("a segment has one tenant, its blocks are in order of streams, and its key says where it belongs", async () => {
    const store = await TestStore.open(new MemoryStore(), { block_bytes: 4096 });
    const lines = Array.from({ length: 400 }, (_, i) =>
      testLine("y".repeat(90), {
        tenant: i % 2 === 0 ? "a/b" : "c",
        labels: { s: `${i % 6}` },
        sec: 1_714_554_000 + i,
      }),
    );
    store.append(lines);
    await store.writer.flush(42);
    const infos = store.catalog.tail();
    expect(infos.map(({ key }) => key.replace(/[0-9a-f]{12}\.gz$/, "R.gz")).sort()).toEqual([
      "segments/a=2Fb/2024-05-01/0-00000000000000000000-R.gz",
      "segments/c/2024-05-01/0-00000000000000000000-R.gz",
    ]);
    for (const info of infos) {
      expect(info).toMatchObject({
        partition: 0,
        firstOffset: 0,
        nextOffset: 42,
        lines: 200,
        textBytes: 200 * 91,
        streams: 3,
      });
      const { blocks, streams } = await store.reader.index(info);
      expect(streams.map(({ canonical }) => canonical)).toEqual(streams.map(({ canonical }) => canonical).sort());
      expect(blocks.map(({ stream }) => stream)).toEqual(blocks.map(({ stream }) => stream).sort());
      expect(blocks.length).toBeGreaterThan(3);
    }
    expect(await keys(store, "catalog/")).toEqual(["catalog/0/00000000000000000000.json"]);
  });

  test.each([
    { tenant: "fake", part: "fake" },
    { tenant: "a/b", part: "a=2Fb" },
    { tenant: "..", part: "=2E=2E" },
    { tenant: "=h", part: "=3Dh" },
    { tenant: "ž", part: "=C5=BE" },
    { tenant: "", part: expect.stringMatching(/^=h[0-9a-f]{64}$/) },
    { tenant: "x".repeat(300), part: expect.stringMatching(/^=h[0-9a-f]{64}$/) },
  ])("tenant $tenant is $part in keys", ({ tenant, part }) => {
    expect(tenantPart(tenant)).toEqual(part);
  });

  test("times that no calendar knows still have a key", async () => {
    const store = await TestStore.open(new MemoryStore());
    store.append([testLine("a", { sec: -8e15 })]);
    await store.writer.flush(1);
    store.append([testLine("b", { sec: 8e15 })]);
    await store.writer.flush(2);
    expect(store.catalog.tail().map(({ key }) => key.split("/")[2])).toEqual(["0001-01-01", "9999-12-31"]);
  });

  test("a flush without lines commits its offsets, and one without offsets does nothing", async () => {
    const store = await TestStore.open(new MemoryStore());
    await store.writer.flush(0);
    expect(await keys(store, "")).toEqual([]);
    await store.writer.flush(5);
    await store.writer.flush(5);
    expect(await keys(store, "")).toEqual(["catalog/0/00000000000000000000.json"]);
    store.append([testLine("x")]);
    expect(() => store.writer.flush(5)).toThrow(/flushed already/);
    await store.writer.flush(6);
    expect(store.catalog.chainEnd(0)).toBe(6);
  });
});

describe("when a flush is due", () => {
  test("by age of the oldest line, by compressed bytes, by memory", async () => {
    const random = new Random(SEED);
    const store = await TestStore.open(new MemoryStore(), {
      flush_age_ms: 1000,
      segment_bytes: 64 * 1024,
      memory_bytes: 4 << 20,
      block_bytes: 16_384,
    });
    expect(store.writer.needsFlush()).toBe(false);
    store.nowMs += 5000;
    store.append([testLine("x")]);
    store.nowMs += 999;
    expect(store.writer.needsFlush()).toBe(false);
    store.nowMs += 1;
    expect(store.writer.needsFlush()).toBe(true);
    await store.writer.flush(1);
    expect(store.writer.needsFlush()).toBe(false);

    while (!store.writer.needsFlush()) {
      store.append([testLine(random.bytes(4000))]);
      await tick();
    }
    expect(store.writer.snapshot().pending.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeGreaterThanOrEqual(
      64 * 1024,
    );
    await store.writer.flush(2);

    let streams = 0;
    while (!store.writer.needsFlush()) store.append([testLine("x".repeat(2000), { labels: { s: `${streams++}` } })]);
    expect(store.writer.memoryBytes()).toBeGreaterThanOrEqual(0.6 * (4 << 20));
    expect(streams, "an idle stream costs a few kilobytes").toBeGreaterThan(350);
    await store.writer.flush(3);
    expect(store.writer.memoryBytes()).toBe(0);
  });

  test("memory stays near its limit when the store stands still and the caller waits for pressure", async () => {
    let stuck = true;
    const objects = new FaultyStore(new MemoryStore(), ({ op }) =>
      stuck && op === "put" ? { outcome: "fail", delayMs: 1 } : {},
    );
    const store = await TestStore.open(objects, { memory_bytes: 2 << 20, block_bytes: 16_384, flush_age_ms: 1e9 });
    const random = new Random(SEED);
    const noise = random.bytes(3000);
    let highest = 0;
    let appended = 0;
    let next = 0;
    let flush: Promise<void> = Promise.resolve();
    for (let i = 0; i < 4000; i++) {
      store.append([testLine(Buffer.concat([noise, Buffer.from(`${i}`)]), { labels: { s: `${i % 9}` } })]);
      appended++;
      const pressure = store.writer.pressure();
      if (pressure !== null) {
        const waited = await Promise.race([pressure.then(() => true), sleep(20).then(() => false)]);
        if (!waited) {
          if (!stuck) continue;
          // Nothing moves, as it should be; now the store comes back.
          expect(store.writer.memoryBytes()).toBeGreaterThanOrEqual(2 << 20);
          stuck = false;
          await pressure;
        }
      }
      if (store.writer.needsFlush() && next === 0) flush = store.writer.flush(++next);
      else if (store.writer.needsFlush() && !stuck) {
        await flush;
        flush = store.writer.flush(++next);
      }
      highest = Math.max(highest, store.writer.memoryBytes());
    }
    await flush;
    await store.writer.flush(++next);
    expect(stuck, "the limit was reached").toBe(false);
    expect(highest).toBeLessThan((2 << 20) * 1.2);
    expect((await store.rows()).length).toBe(appended);
  });

  test("many uncompressed blocks are pressure too", async () => {
    const store = await TestStore.open(new MemoryStore(), { memory_bytes: 1 << 30 });
    expect(store.writer.pressure()).toBeNull();
    for (let i = 0; i < 30; i++) store.append([testLine(Buffer.alloc(1 << 20, `${i}`))]);
    const pressure = store.writer.pressure();
    expect(pressure).not.toBeNull();
    await pressure;
    expect(store.writer.memoryBytes()).toBeLessThan(20 << 20);
  });
});

describe("when the store fails", () => {
  test("a flush tries again until it succeeds, and nothing is lost or doubled", async () => {
    const random = new Random(SEED);
    const inner = new MemoryStore();
    const objects = new FaultyStore(inner);
    const store = await TestStore.open(objects, { block_bytes: 4096 });
    // Including answers that are lost after the store has done its work.
    objects.plan = ({ op }) =>
      op.startsWith("put") || op === "get"
        ? random.chance(0.6)
          ? { outcome: random.pick(["fail", "lost_answer"] as const) }
          : {}
        : {};
    const lines: TestLine[] = [];
    const flushes: Promise<void>[] = [];
    for (let i = 1; i <= 12; i++) {
      const some = drawLines(random, 5, 40);
      store.append(some);
      lines.push(...some);
      flushes.push(store.writer.flush(i * 3));
      if (random.chance(0.5)) await flushes.at(-1);
    }
    await Promise.all(flushes);
    objects.plan = () => undefined;
    expectRows(await store.rows(), want(lines), `seed ${SEED}`);
    const reopened = await TestStore.open(inner);
    expectRows(await reopened.rows(), want(lines), `seed ${SEED}`);
    expect(await keys(reopened, "segments/")).toEqual(
      reopened.catalog
        .tail()
        .map(({ key }) => key)
        .sort(),
    );
    expect(await store.metrics.render()).toMatch(/weir_store_retries_total\{partition="0"\} [1-9]/);
  });

  test("segments that were swept before their entry was there, while the process was paused, are written again", async () => {
    const inner = new MemoryStore();
    const objects = new FaultyStore(inner);
    const store = await TestStore.open(objects);
    const written: string[] = [];
    objects.plan = ({ op, key }) => {
      if (op === "put") written.push(key);
      if (op !== "putIfAbsent") return undefined;
      // Hours pass within the very request that creates the entry.
      objects.plan = () => undefined;
      store.nowMs += 7_200_000;
      void inner.deleteMany(written);
      return { delayMs: 1 };
    };
    const lines = drawLines(new Random(SEED), 8, 100);
    store.append(lines);
    await store.writer.flush(5);
    expect(written.length).toBeGreaterThan(1);
    const again = await TestStore.open(inner);
    expectRows(inOrder(await again.rows()), want(lines), `seed ${SEED}`);
  });

  test("an error that trying again cannot mend fails the flush; the next one commits both", async () => {
    const inner = new MemoryStore();
    let broken = true;
    const objects = Object.create(inner) as MemoryStore;
    objects.put = (key, parts) => (broken ? Promise.reject(new Error("no such bucket")) : inner.put(key, parts));
    const store = await TestStore.open(objects);
    store.append([testLine("a")]);
    await expect(store.writer.flush(1)).rejects.toThrow("no such bucket");
    broken = false;
    store.append([testLine("b", { sec: 1_700_000_001 })]);
    expect(await store.rows()).toEqual(want([testLine("a"), testLine("b", { sec: 1_700_000_001 })]));
    await store.writer.flush(2);
    expect((await store.rows()).map(({ line }) => line)).toEqual(["a", "b"]);
    expect(await keys(store, "catalog/")).toHaveLength(2);
    expect(store.writer.memoryBytes()).toBe(0);
  });

  test("a crash between segment and catalog entry leaves a segment that nobody sees, and the position free", async () => {
    const inner = new MemoryStore();
    const objects = new FaultyStore(inner, ({ op }) => (op === "putIfAbsent" ? { outcome: "fail" } : {}));
    const crashed = await TestStore.open(objects, {}, { sleep: () => new Promise(() => {}) });
    crashed.append([testLine("x")]);
    void crashed.writer.flush(1);
    while ((await keys(crashed, "segments/")).length === 0) await tick();

    const after = await TestStore.open(inner);
    expect(after.catalog.chainEnd(0)).toBe(0);
    expect(await after.rows()).toEqual([]);
    after.append([testLine("x")]);
    await after.writer.flush(1);
    expect(await after.rows()).toEqual([rowOf(testLine("x"))]);
    expect(await keys(after, "segments/")).toHaveLength(2);
  });

  test("of writers that race for a position exactly one commits; the other drops its work and goes on after it", async () => {
    const inner = new MemoryStore();
    const random = new Random(SEED);
    const stores = await Promise.all(
      [0, 1, 2].map(() => {
        const faulty = new FaultyStore(inner, ({ op }) => ({
          delayMs: random.below(3),
          ...(op.startsWith("put") && random.chance(0.3) ? { outcome: "lost_answer" } : {}),
        }));
        return TestStore.open(faulty);
      }),
    );
    const committed: TestLine[] = [];
    for (let round = 1; round <= 6; round++) {
      const lines = stores.map((_, w) => testLine(`round ${round} writer ${w}`, { sec: round }));
      stores.forEach((store, w) => {
        store.append([lines[w]]);
      });
      const results = await Promise.allSettled(stores.map(({ writer }) => writer.flush(round)));
      const winners = results.flatMap(({ status }, w) => (status === "fulfilled" ? [w] : []));
      expect(winners, `seed ${SEED} round ${round}`).toHaveLength(1);
      committed.push(lines[winners[0]]);
      for (const [w, store] of stores.entries()) {
        if (w === winners[0]) continue;
        const error = (results[w] as PromiseRejectedResult).reason;
        expect(error).toMatchObject({
          code: "position_taken",
          retriable: false,
          message: expect.stringContaining(`catalog/0/${String(round - 1).padStart(20, "0")}.json`),
        });
        await expect(store.writer.flush(round), "until it is discarded").rejects.toBe(error);
        store.writer.discard();
        await store.catalog.refresh();
        expect(store.writer.memoryBytes()).toBe(0);
      }
    }
    expectRows(await (await TestStore.open(inner)).rows(), want(committed));
  });

  test("discard ends a flush that waits for the store, and the writer starts anew at the chain's end", async () => {
    const inner = new MemoryStore();
    const objects = new FaultyStore(inner, ({ op }) => (op === "put" ? { outcome: "fail" } : {}));
    const store = await TestStore.open(objects, {}, { sleep: undefined });
    await store.writer.flush(7);
    store.append([testLine("lost, and read again from the intake log")]);
    const flush = store.writer.flush(9);
    const refused = expect(flush).rejects.toMatchObject({ code: "aborted" });
    await tick();
    store.append([testLine("more")]);
    store.writer.discard();
    await refused;
    expect(await store.rows()).toEqual([]);
    expect(store.writer.memoryBytes()).toBe(0);
    objects.plan = () => undefined;
    store.append([testLine("again")]);
    await store.writer.flush(9);
    expect((await store.rows()).map(({ line }) => line)).toEqual(["again"]);
    expect(store.catalog.chainEnd(0)).toBe(9);
  });
});

describe("streams and taps", () => {
  test("equal labels of a tenant give the same handle, which outlives flushes", async () => {
    const store = await TestStore.open(new MemoryStore());
    const { writer } = store;
    const { tenant, labels, canonical } = streamOf(testLine("x"));
    const handle = writer.stream(tenant, labels, canonical);
    expect(writer.stream(tenant, { ...labels }, canonical)).toBe(handle);
    expect(writer.stream("other", labels, canonical)).not.toBe(handle);
    const line = new Line();
    for (let i = 1; i < 4; i++) {
      writer.append(handle, fill(line, testLine(`${i}`, { sec: i })));
      await writer.flush(i);
      expect(writer.stream(tenant, labels, canonical)).toBe(handle);
    }
    expect((await store.rows()).map((row) => row.line)).toEqual(["1", "2", "3"]);
  });

  test("what begins at an offset is committed from there, or not at all, however the chain went on meanwhile", async () => {
    const objects = new MemoryStore();
    const [one, other] = [await TestStore.open(objects), await TestStore.open(objects)];
    one.writer.beginAt(0);
    one.append([testLine("mine and the other's")]);
    other.append([testLine("mine and the other's")]);
    await other.writer.flush(3);
    // Anybody in the process may have the catalog read anew between the first line and the flush.
    await one.catalog.refresh();
    await expect(one.writer.flush(5)).rejects.toMatchObject({ code: "position_taken" });
    one.writer.discard();
    one.writer.beginAt(one.catalog.chainEnd(0));
    one.append([testLine("mine alone")]);
    await one.writer.flush(5);
    expect((await one.rows()).map(({ line }) => line).sort()).toEqual(["mine alone", "mine and the other's"]);
  });

  test("a stream that nobody holds is forgotten", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const store = await TestStore.open(new MemoryStore());
    const lines = Array.from({ length: 2000 }, (_, i) => testLine("x", { labels: { s: `${i}` } }));
    store.append(lines);
    await store.writer.flush(1);
    const registry: unknown = Reflect.get(store.writer, "registry");
    const size = () => Number(Reflect.get(registry as object, "size"));
    expect(size()).toBeGreaterThan(0);
    for (let i = 0; i < 2000 && size() > 100; i++) {
      collect();
      await sleep(5);
    }
    expect(size()).toBeLessThan(100);
    store.append(lines);
    await store.writer.flush(2);
    expect((await store.rows()).length).toBe(4000);
  });

  test.each([
    { name: "in this thread alone, for want of places in the pool", places: 0 },
    { name: "in the pool and in this thread", places: 1 },
  ])("blocks are compressed $name, and come in order", async ({ places }) => {
    const random = new Random(SEED);
    const memory = PoolSlots.create(places, 1);
    const slots = new PoolSlots(memory, 0);
    const store = await TestStore.open(new MemoryStore(), { block_bytes: 4096, compress_parallel: 3 }, { slots });
    const lines: TestLine[] = [];
    for (let i = 0; i < 30; i++) {
      const some = drawLines(random, 6, 60);
      store.append(some);
      lines.push(...some);
      if (random.chance(0.5)) await tick();
      if (i % 10 === 9) await store.writer.flush(i + 1);
      if (i % 5 === 0) expectRows(await store.rows(), want(lines), `seed ${SEED} step ${i}`);
    }
    expectRows(await store.rows(), want(lines), `seed ${SEED}`);
    // Every place is given back, also by what was dropped meanwhile.
    store.append(lines);
    const dropped = expect(store.writer.flush(40)).rejects.toMatchObject({ code: "aborted" });
    store.writer.discard();
    await dropped;
    await expect.poll(() => [...new Int32Array(memory)]).toEqual([places, 0]);
  });

  test("places of a thread that died are given back", () => {
    const memory = PoolSlots.create(2, 2);
    const [a, b] = [new PoolSlots(memory, 0), new PoolSlots(memory, 1)];
    expect([a.take(), a.take(), b.take()]).toEqual([true, true, false]);
    new PoolSlots(memory, 0).giveAll();
    expect([b.take(), b.take(), a.take()]).toEqual([true, true, false]);
    b.give();
    expect(a.take()).toBe(true);
  });

  test("for a catalog elsewhere, what was committed stays in snapshots until that has it", async () => {
    const objects = new MemoryStore();
    const told: CatalogEntry[] = [];
    const store = await TestStore.open(objects, {}, { onCommitted: (entry) => told.push(entry) });
    const elsewhere = await openCatalog(objects, new Metrics(), silentLogger);
    const rowsBeyond = (offset: number) => {
      const { pending, open, from } = store.writer.snapshot(undefined, offset);
      const rows = [...pending.map(({ info }) => info.rows), ...open.map((view) => view.rows)];
      return { rows: rows.reduce((sum, count) => sum + count, 0), from };
    };
    store.append([testLine("a"), testLine("b")]);
    expect(rowsBeyond(0)).toEqual({ rows: 2, from: 0 });
    await store.writer.flush(3);
    store.append([testLine("c")]);
    await store.writer.flush(5);
    store.append([testLine("d")]);
    expect(told.map(({ first, next }) => [first, next])).toEqual([
      [0, 3],
      [3, 5],
    ]);
    // Whatever it knows: nothing, one entry, both.
    expect(rowsBeyond(elsewhere.chainEnd(0))).toEqual({ rows: 4, from: 0 });
    elsewhere.add(told[0]);
    expect(rowsBeyond(elsewhere.chainEnd(0))).toEqual({ rows: 2, from: 0 });
    elsewhere.add(told[1]);
    expect(rowsBeyond(elsewhere.chainEnd(0))).toEqual({ rows: 1, from: 0 });
    store.writer.forgetBelow(3);
    expect(rowsBeyond(3)).toEqual({ rows: 2, from: 3 });
    store.writer.forgetBelow(5);
    // Who knows less than what is left here is behind, and sees it by where this begins.
    expect(rowsBeyond(3)).toEqual({ rows: 1, from: 5 });
    expect(store.writer.memoryBytes()).toBeGreaterThan(0);
  });

  test("taps see each line as it comes, until they are removed", async () => {
    const store = await TestStore.open(new MemoryStore());
    const seen: string[] = [];
    const tap = (stream: StreamHandle, line: Line) => {
      seen.push(`${stream.canonical} ${line.bytes.toString("latin1", line.start, line.end)}`);
    };
    store.append([testLine("before")]);
    store.writer.taps.add(tap);
    store.append([testLine("a"), testLine("b", { labels: { z: "1" } })]);
    store.writer.taps.delete(tap);
    store.append([testLine("after")]);
    expect(seen).toEqual(['{"app":"web"} a', '{"z":"1"} b']);
  });
});
