import { describe, expect, test } from "vitest";
import { FaultyStore, type StoreCall } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { SegmentReader } from "../../src/store/reader.ts";
import { TestStore, testLine } from "./support.ts";

/** A store with `segments` segments of `streams` streams each, and the calls that reach it. */
async function filled(segments: number, streams: number) {
  const calls: StoreCall[] = [];
  const objects = new FaultyStore(new MemoryStore(), ({ op }) => {
    calls.push(op);
    return undefined;
  });
  const store = await TestStore.open(objects, { block_bytes: 4096 });
  for (let i = 0; i < segments; i++) {
    store.append(
      Array.from({ length: streams * 100 }, (_, n) =>
        testLine(`line ${i} ${n} ${"x".repeat(60)}`, { labels: { s: `${n % streams}` } }),
      ),
    );
    await store.writer.flush(i + 1);
  }
  calls.length = 0;
  return { store, objects, calls, infos: store.catalog.tail() };
}

describe("reader", () => {
  test("reads an index once, shares a read under way, and forgets the least recently used", async () => {
    const { objects, calls, infos } = await filled(4, 20);
    const probe = new SegmentReader(objects, { cacheBytes: 1 << 20 });
    const size = (await probe.index(infos[0])).memoryBytes;
    const reader = new SegmentReader(objects, { cacheBytes: Math.floor(size * 2.5) });
    calls.length = 0;
    await Promise.all([reader.index(infos[0]), reader.index(infos[0])]);
    await reader.index(infos[0]);
    expect(calls).toEqual(["getSuffix"]);
    await reader.index(infos[1]);
    await reader.index(infos[0]);
    await reader.index(infos[2]);
    calls.length = 0;
    await reader.index(infos[0]);
    expect(calls, "used lately").toEqual([]);
    await reader.index(infos[1]);
    expect(calls, "forgotten").toEqual(["getSuffix"]);
  });

  test("an index of many streams is read in slices, between which others have turns", async () => {
    const store = await TestStore.open(new MemoryStore());
    // Reading them takes 50 ms or more.
    store.append(Array.from({ length: 20_000 }, (_, i) => testLine("x", { labels: { app: "web", pod: `web-${i}` } })));
    await store.writer.flush(1);
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    const index = await new SegmentReader(store.objects, { cacheBytes: 0 }).index(store.catalog.tail()[0]);
    isOver = true;
    expect(index.streams.length).toBe(20_000);
    expect(turns).toBeGreaterThan(3);
  });

  test("a failed read is not remembered", async () => {
    const { objects, infos } = await filled(1, 2);
    const reader = new SegmentReader(objects, { cacheBytes: 1 << 20 });
    objects.plan = () => ({ outcome: "fail" });
    await expect(reader.index(infos[0])).rejects.toMatchObject({ code: "store_unavailable", retriable: true });
    objects.plan = () => undefined;
    await expect(reader.index(infos[0])).resolves.toMatchObject({ tenant: "fake" });
  });

  test("keeps nothing when it may not", async () => {
    const { objects, calls, infos } = await filled(1, 2);
    const reader = new SegmentReader(objects, { cacheBytes: 0 });
    await reader.index(infos[0]);
    await reader.index(infos[0]);
    expect(calls).toEqual(["getSuffix", "getSuffix"]);
  });

  test("neighbouring blocks are one request, and each comes back whole", async () => {
    const { store, calls, infos } = await filled(1, 30);
    const { blocks } = await store.reader.index(infos[0]);
    calls.length = 0;
    const all = await store.reader.readBlocks(infos[0], blocks);
    expect(calls).toEqual(["getRange"]);
    const object = await store.objects.get(infos[0].key);
    all.forEach((bytes, i) => {
      const { offset, length } = blocks[i];
      expect(bytes.equals(object.subarray(offset, offset + length))).toBe(true);
    });
    expect(await store.reader.readBlocks(infos[0], [])).toEqual([]);
    await expect(store.reader.readBlocks(infos[0], [blocks[1], blocks[0]])).rejects.toThrow(/want ascending offsets/);
    expect(await store.reader.readBlock(infos[0], blocks[3])).toEqual(all[3]);
  });

  test("blocks that are far apart are separate requests", async () => {
    const objects = new MemoryStore();
    await objects.put("k", [Buffer.alloc(10 << 20, 1)]);
    const ranges: [number, number][] = [];
    const getRange = objects.getRange.bind(objects);
    objects.getRange = (key, start, length) => {
      ranges.push([start, length]);
      return getRange(key, start, length);
    };
    const reader = new SegmentReader(objects, { cacheBytes: 0 });
    const mib = 1 << 20;
    await reader.readBlocks({ key: "k" }, [
      { offset: 0, length: 100 },
      { offset: 1000, length: 100 },
      { offset: mib, length: 3 * mib },
      { offset: 4 * mib, length: 2 * mib },
    ]);
    expect(ranges).toEqual([
      [0, 1100],
      [mib, 3 * mib],
      [4 * mib, 2 * mib],
    ]);
  });
});
