import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { ObjectInfo, ObjectStore } from "../../src/objects/store.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { type CatalogEntry, decodeEntry, encodeEntry, entryKey } from "../../src/store/catalog-entry.ts";
import type { SegmentInfo } from "../../src/store/view.ts";

const open = (objects: MemoryStore) => openCatalog(objects, new Metrics(), silentLogger);

function entry(partition: number, first: number, next: number, segments = 1): CatalogEntry {
  return {
    partition,
    first,
    next,
    segments: Array.from(
      { length: segments },
      (_, i): SegmentInfo => ({
        key: `segments/t${i}/2024-05-01/${partition}-${first}.gz`,
        bytes: 1000,
        tenant: `t${i}`,
        partition,
        firstOffset: first,
        nextOffset: next,
        timeMinNs: -5n,
        timeMaxNs: 9_007_199_254_740_993_000_000_000n,
        lines: 7,
        textBytes: 2000,
        streams: 3,
        level: 0,
        labelFilter: null,
      }),
    ),
  };
}

async function put(objects: MemoryStore, ...entries: CatalogEntry[]): Promise<void> {
  for (const e of entries) await objects.putIfAbsent(entryKey(e.partition, e.first), [encodeEntry(e)]);
}

describe("catalog entry", () => {
  test("comes back, and is JSON with a checksum that a stranger can compute", () => {
    const e = entry(3, 120, 180, 2);
    const bytes = encodeEntry(e);
    expect(decodeEntry("catalog/3/00000000000000000120.json", bytes)).toEqual(e);
    const json: unknown = JSON.parse(bytes.toString());
    expect(json).toMatchObject({ version: 1, partition: 3, first: 120, next: 180 });
  });

  test("the one in docs/format.md is one", () => {
    const page = readFileSync(new URL("../../docs/format.md", import.meta.url), "utf8");
    const json = /```json\n(.*)\n```/.exec(page)?.[1] ?? "";
    const read = decodeEntry("catalog/0/00000000000000000120.json", Buffer.from(json));
    expect(encodeEntry(read).toString()).toBe(`${json}\n`);
  });

  test("any change or cut is refused by name", () => {
    const key = "catalog/3/00000000000000000120.json";
    const bytes = encodeEntry(entry(3, 120, 180));
    for (let length = 0; length < bytes.length - 1; length++) {
      expect(() => decodeEntry(key, bytes.subarray(0, length)), `cut at ${length}`).toThrow(
        expect.objectContaining({ code: "catalog_corrupt", message: expect.stringContaining(key) }),
      );
    }
    // All but the newline at the end, which is any space to JSON.
    for (let at = 0; at < bytes.length - 1; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1;
      expect(() => decodeEntry(key, damaged), `byte ${at}`).toThrow(
        expect.objectContaining({ code: "catalog_corrupt" }),
      );
    }
  });

  test.each([
    {
      name: "another partition",
      key: "catalog/4/00000000000000000120.json",
      e: entry(3, 120, 180),
      message: /partition 3, offset 120, which is another object/,
    },
    {
      name: "no offsets",
      key: "catalog/3/00000000000000000120.json",
      e: entry(3, 120, 120),
      message: /got offsets 120 to 120/,
    },
    { name: "a fraction", key: "catalog/3/00000000000000000120.json", e: entry(3, 120, 120.5), message: /next/ },
  ])("with $name is refused", ({ key, e, message }) => {
    expect(() => decodeEntry(key, encodeEntry(e))).toThrow(message);
  });
});

/** A store whose listings of the catalog pass by some objects, as one may that goes on while they are made. */
class HidingStore extends FaultyStore {
  private readonly isHidden: (key: string) => boolean;
  private readonly onList: () => unknown;

  constructor(inner: ObjectStore, isHidden: (key: string) => boolean, onList: () => unknown = () => {}) {
    super(inner);
    this.isHidden = isHidden;
    this.onList = onList;
  }

  override async *list(prefix: string, after?: string): AsyncIterable<ObjectInfo> {
    if (prefix === "catalog/") await this.onList();
    for await (const info of super.list(prefix, after)) if (!this.isHidden(info.key)) yield info;
  }
}

describe("catalog", () => {
  test("of an empty store begins at 0", async () => {
    const catalog = await open(new MemoryStore());
    expect(catalog.chainEnd(0)).toBe(0);
    expect(catalog.tail()).toEqual([]);
  });

  test("lists segments by partition and offset, and knows each partition's end", async () => {
    const objects = new MemoryStore();
    // 40 entries, so more than are read at once; partition 10 comes before 2 in the listing.
    await put(
      objects,
      ...Array.from({ length: 40 }, (_, i) => entry(2, 5 + i * 3, 8 + i * 3)),
      entry(10, 0, 4, 2),
      entry(0, 100, 200, 0),
    );
    const catalog = await open(objects);
    expect([0, 2, 10, 7].map((p) => catalog.chainEnd(p))).toEqual([200, 125, 4, 0]);
    expect(catalog.has(2, 8)).toBe(true);
    expect(catalog.has(2, 9)).toBe(false);
    const order = catalog.tail().map(({ partition, firstOffset }) => [partition, firstOffset]);
    expect(order).toEqual([...Array.from({ length: 40 }, (_, i) => [2, 5 + i * 3]), [10, 0], [10, 0]]);
  });

  test.each([
    { name: "a gap", second: entry(0, 12, 15), message: "nothing covers intake offsets 10 to 11" },
    { name: "an overlap", second: entry(0, 8, 15), message: "intake offsets from 8 to 9 are covered twice" },
  ])("with $name in a chain is refused in a sentence that names both objects", async ({ second, message }) => {
    const objects = new MemoryStore();
    await put(objects, entry(0, 0, 10), second);
    await expect(open(objects)).rejects.toMatchObject({
      code: "catalog_gap",
      message: expect.stringContaining(message),
    });
    await expect(open(objects)).rejects.toThrow(/catalog\/0\/0{20}\.json and catalog\/0\/0{18}(12|08)\.json/);
  });

  test("with a damaged entry is refused, and the entry named", async () => {
    const objects = new MemoryStore();
    await put(objects, entry(0, 0, 10));
    await objects.put(entryKey(0, 10), [Buffer.from("{}")]);
    await expect(open(objects)).rejects.toThrow(
      /catalog entry catalog\/0\/0{18}10\.json: got 2 bytes without a "crc32"/,
    );
  });

  test("takes in what others commit, and leaves a list that somebody holds alone", async () => {
    const objects = new MemoryStore();
    await put(objects, entry(0, 0, 10));
    const catalog = await open(objects);
    const before = catalog.tail();
    await put(objects, entry(0, 10, 20), entry(1, 0, 5));
    await Promise.all([catalog.refresh(), catalog.refresh()]);
    catalog.add(entry(0, 10, 20));
    catalog.add(entry(0, 20, 21));
    expect(before).toHaveLength(1);
    expect(catalog.tail()).toHaveLength(4);
    expect(catalog.tail()).toBe(catalog.tail());
    expect(catalog.chainEnd(0)).toBe(21);
    expect(() => catalog.add(entry(0, 30, 31))).toThrow(/nothing covers/);
  });

  test("reads anew for those who ask after a reading has begun that has passed by what they look for", async () => {
    const inner = new MemoryStore();
    let pass = () => {};
    const passed = new Promise<void>((resolve) => {
      pass = resolve;
    });
    const objects = new FaultyStore(inner);
    const catalog = await openCatalog(objects, new Metrics(), silentLogger);
    await put(inner, entry(0, 0, 5));
    objects.plan = ({ op }) => {
      if (op !== "get") return undefined;
      pass();
      return { delayMs: 20 };
    };
    const first = catalog.refresh();
    await passed;
    await put(inner, entry(0, 5, 9));
    const [shared, anew] = [catalog.refresh(), catalog.refreshAnew()];
    await shared;
    expect(catalog.chainEnd(0)).toBe(5);
    await anew;
    expect(catalog.chainEnd(0)).toBe(9);
    await first;
  });

  test.each([
    { name: "the first of a new partition", hidden: [10] },
    { name: "the first two", hidden: [10, 20] },
    { name: "one in the middle", hidden: [20] },
  ])("looks again when a listing has passed by $name and shows a later one", async ({ hidden }) => {
    const objects = new MemoryStore();
    const all = [10, 20, 30].map((first) => entry(3, first, first + 10));
    await put(objects, entry(2, 0, 10), ...all);
    const hide = hidden.map((first) => entryKey(3, first));
    let listings = 0;
    const passing = new HidingStore(
      objects,
      (key) => hide.includes(key) && listings <= 1,
      () => listings++,
    );
    const catalog = await openCatalog(passing, new Metrics(), silentLogger);
    expect(catalog.tail().map(({ partition, firstOffset }) => `${partition} ${firstOffset}`)).toEqual([
      "2 0",
      ...[10, 20, 30].map((first) => `3 ${first}`),
    ]);
    expect(catalog.chainEnd(3)).toBe(40);
    // Nothing is looked at twice that is known, and a partition that begins with the first offset is whole.
    const before = listings;
    await put(objects, entry(3, 40, 50), entry(4, 0, 5));
    await catalog.refresh();
    expect(listings - before).toBe(1);
  });

  test("takes of the second look only what the first one should have had", async () => {
    const objects = new MemoryStore();
    await put(objects, entry(3, 10, 20), entry(3, 20, 30));
    let listings = 0;
    const passing = new HidingStore(
      objects,
      // The second listing has the same trouble with entries that are made meanwhile.
      (key) => key === entryKey(3, listings === 1 ? 10 : 30),
      async () => {
        if (++listings === 2) await put(objects, entry(3, 30, 40), entry(3, 40, 50));
      },
    );
    const catalog = await openCatalog(passing, new Metrics(), silentLogger);
    expect(catalog.chainEnd(3)).toBe(30);
    expect(catalog.tail()).toHaveLength(2);
  });

  test("puts what a store's listings hid for longer in front of what they showed", async () => {
    const objects = new MemoryStore();
    await put(objects, entry(3, 10, 20), entry(3, 20, 30), entry(3, 30, 40));
    let isHidden = true;
    const stale = new HidingStore(objects, (key) => isHidden && key !== entryKey(3, 30));
    const catalog = await openCatalog(stale, new Metrics(), silentLogger);
    expect(catalog.tail()).toHaveLength(1);
    isHidden = false;
    await catalog.refresh();
    expect(catalog.tail().map(({ firstOffset }) => firstOffset)).toEqual([10, 20, 30]);
    await catalog.fold();
    expect(catalog.view().root.pages.reduce((sum, { segments }) => sum + segments, 0)).toBe(3);
  });

  test("an entry that does not fit in front is refused, and what is known stays", async () => {
    const objects = new MemoryStore();
    await put(objects, entry(3, 10, 20), entry(3, 20, 30));
    const catalog = await open(objects);
    await put(objects, entry(3, 0, 8));
    await expect(catalog.refresh()).rejects.toMatchObject({ code: "catalog_gap" });
    expect(catalog.tail().map(({ firstOffset }) => firstOffset)).toEqual([10, 20]);
    expect(catalog.chainEnd(3)).toBe(30);
  });

  test("leaves objects alone that are no entries", async () => {
    const objects = new MemoryStore();
    await objects.put("catalog/README.txt", [Buffer.from("hi")]);
    await put(objects, entry(0, 0, 10));
    expect((await open(objects)).tail()).toHaveLength(1);
  });
});
