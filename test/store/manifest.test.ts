import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { type Catalog, type CatalogDeps, openCatalog } from "../../src/store/catalog.ts";
import { type CatalogEntry, encodeEntry, entryKey } from "../../src/store/catalog-entry.ts";
import { DiskCache } from "../../src/store/disk-cache.ts";
import { labelFilter } from "../../src/store/label-filter.ts";
import { decodeRoot, encodeRoot, rootKey } from "../../src/store/manifest-root.ts";
import type { SegmentInfo } from "../../src/store/view.ts";
import { Random } from "../random.ts";
import { allSegments } from "./support.ts";

const HOUR_NS = 3_600_000_000_000n;
const DAY_NS = 24n * HOUR_NS;
const ALL = { startNs: -(2n ** 80n), endNs: 2n ** 80n };

class Clock {
  ms = 1_700_000_000_000;
  readonly now = () => this.ms;
}

function open(objects: ObjectStore, clock: Clock, deps: CatalogDeps = {}): Promise<Catalog> {
  return openCatalog(objects, new Metrics(), silentLogger, { now: clock.now, sleep: async () => {}, ...deps });
}

function segment(name: string, more: Partial<SegmentInfo> = {}): SegmentInfo {
  const { tenant = "fake", timeMinNs = 5n * HOUR_NS } = more;
  const day = new Date(Number(timeMinNs / 1_000_000n)).toISOString().slice(0, 10);
  return {
    key: `segments/${tenant}/${day}/${name}.gz`,
    bytes: 1000,
    tenant,
    partition: 0,
    firstOffset: 0,
    nextOffset: 10,
    timeMinNs,
    timeMaxNs: timeMinNs + HOUR_NS,
    lines: 7,
    textBytes: 2000,
    streams: 3,
    level: 0,
    labelFilter: null,
    ...more,
  };
}

/** Commits as a worker does. */
async function commit(objects: ObjectStore, catalog: Catalog, next: number, segments: SegmentInfo[], partition = 0) {
  const first = catalog.chainEnd(partition);
  const placed = segments.map((info) => ({ ...info, partition, firstOffset: first, nextOffset: next }));
  const entry: CatalogEntry = { partition, first, next, segments: placed };
  for (const { key } of placed) await objects.put(key, [Buffer.from(key)]);
  await objects.putIfAbsent(entryKey(partition, first), [encodeEntry(entry)]);
  await catalog.confirm(partition, first);
  catalog.add(entry);
}

const keysOf = async (objects: ObjectStore, prefix: string): Promise<string[]> => {
  const keys: string[] = [];
  for await (const { key } of objects.list(prefix)) keys.push(key);
  return keys;
};

const namesOf = async (catalog: Catalog): Promise<string[]> =>
  (await allSegments(catalog.view())).map(({ key }) => key.split("/")[3].replace(".gz", "")).sort();

/** A store that waits before a call until something has happened. */
class PausingStore extends MemoryStore {
  before: ((key: string) => Promise<void>) | null = null;
  /** After that call. */
  after: () => Promise<void> = async () => {};

  override async putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    const { before } = this;
    if (before === null || !key.startsWith("manifest/")) return super.putIfAbsent(key, parts);
    this.before = null;
    await before(key);
    await super.putIfAbsent(key, parts);
    await this.after();
  }
}

/** A store on a disk that takes `A` and `a` for one name: a folder keeps the name that it got first. */
class CaselessStore extends MemoryStore {
  private readonly names = new Map<string, string>();

  override put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return super.put(this.named(key), parts);
  }

  override get(key: string): Promise<Buffer> {
    return super.get(this.named(key));
  }

  private named(key: string): string {
    let at = "";
    for (const part of key.split("/")) {
      const path = at === "" ? part : `${at}/${part}`;
      const known = this.names.get(path.toLowerCase());
      if (known === undefined) this.names.set(path.toLowerCase(), path);
      at = known ?? path;
    }
    return at;
  }
}

describe("folding", () => {
  test("moves entries into pages of one tenant and day each, which every process finds", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a"), segment("b", { tenant: "other" })]);
    await commit(objects, catalog, 20, [segment("c", { timeMinNs: DAY_NS - 1n })]);
    await commit(objects, catalog, 25, [segment("d", { timeMinNs: DAY_NS })]);
    await commit(objects, catalog, 30, []);
    const before = catalog.view();
    expect(await catalog.fold()).toBe(true);
    expect(catalog.tail()).toEqual([]);
    expect(catalog.chainEnd(0)).toBe(30);
    expect(catalog.has(0, 25)).toBe(true);
    expect(catalog.has(0, 30)).toBe(false);
    const { pages } = catalog.view().root;
    expect(pages.map(({ tenant, day, segments }) => `${tenant} ${day} ${segments}`).sort()).toEqual([
      "fake 1970-01-01 2",
      "fake 1970-01-02 1",
      "other 1970-01-01 1",
    ]);
    const reopened = await open(objects, clock);
    expect(await namesOf(reopened)).toEqual(["a", "b", "c", "d"]);
    expect(reopened.chainEnd(0)).toBe(30);
    expect(await allSegments(reopened.view())).toEqual(await allSegments(before));
    expect(await catalog.fold()).toBe(false);
  });

  test("fills a page before it begins another, and cuts where one is full", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    const many = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) => segment(`s${from + i}`, { timeMinNs: BigInt(from + i) }));
    await commit(objects, catalog, 10, many(0, 100));
    await catalog.fold();
    await commit(objects, catalog, 20, many(100, 100));
    await catalog.fold();
    expect(catalog.view().root.pages.map(({ segments }) => segments)).toEqual([200]);
    await commit(objects, catalog, 30, many(200, 3000));
    await catalog.fold();
    expect(catalog.view().root.pages.map(({ segments }) => segments)).toEqual([2000, 1200]);
    const [first, second] = catalog.view().root.pages;
    expect(first.timeMaxNs - HOUR_NS).toBeLessThan(second.timeMinNs);
    expect(await namesOf(await open(objects, clock))).toHaveLength(3200);
  });

  test("is due after 64 entries or five minutes", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    expect(catalog.foldIsDue()).toBe(false);
    await commit(objects, catalog, 1, []);
    expect(catalog.foldIsDue()).toBe(false);
    clock.ms += 300_000;
    expect(catalog.foldIsDue()).toBe(true);
    await catalog.fold();
    for (let i = 2; i < 65; i++) await commit(objects, catalog, i, []);
    expect(catalog.foldIsDue()).toBe(false);
    await commit(objects, catalog, 65, []);
    expect(catalog.foldIsDue()).toBe(true);
  });

  test("a gap after the manifest is still a gap", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a")]);
    await catalog.fold();
    const lone = { partition: 0, first: 12, next: 15, segments: [] };
    await objects.put(entryKey(0, 12), [encodeEntry(lone)]);
    await expect(open(objects, clock)).rejects.toMatchObject({
      code: "catalog_gap",
      message: expect.stringContaining("nothing covers intake offsets 10 to 11, between the manifest and"),
    });
  });
});

describe("replacing", () => {
  test("swaps segments in one step, also those that are not folded yet, and says when one is gone", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    const other = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a"), segment("b")]);
    await catalog.fold();
    await commit(objects, catalog, 20, [segment("c")]);
    const merged = segment("m", { level: 1 });
    await objects.put(merged.key, [Buffer.from("m")]);
    const remove = ["a", "b", "c"].map((name) => segment(name).key);
    expect(await catalog.replace({ tenant: "fake", remove, add: [merged] })).toBe(true);
    expect(await namesOf(catalog)).toEqual(["m"]);
    const again = segment("n", { level: 1 });
    await objects.put(again.key, [Buffer.from("n")]);
    expect(await other.replace({ tenant: "fake", remove: remove.slice(1), add: [again] })).toBe(false);
    expect(await other.replace({ tenant: "other", remove: [merged.key], add: [again] })).toBe(false);
    expect(await namesOf(other)).toEqual(["m"]);
    expect((await allSegments(other.view()))[0]).toEqual(merged);
    expect(await catalog.replace({ tenant: "fake", remove: [merged.key], add: [] })).toBe(true);
    expect(catalog.view().root.pages).toEqual([]);
    expect(await namesOf(await open(objects, clock))).toEqual([]);
  });

  test("does not name a segment that is not there", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a")]);
    expect(await catalog.replace({ tenant: "fake", remove: [segment("a").key], add: [segment("m")] })).toBe(false);
    expect(await namesOf(catalog)).toEqual(["a"]);
  });

  test.each([
    { name: "fail", outcome: "fail" as const },
    { name: "lose their answers", outcome: "lost_answer" as const },
  ])("happens once when calls $name", async ({ outcome }) => {
    const clock = new Clock();
    const inner = new MemoryStore(clock.now);
    const objects = new FaultyStore(inner);
    const catalog = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a"), segment("b")]);
    const merged = segment("m", { level: 1 });
    await objects.put(merged.key, [Buffer.from("m")]);
    const random = new Random(5);
    objects.plan = () => (random.chance(0.25) ? { outcome } : undefined);
    expect(await catalog.fold()).toBe(true);
    const remove = ["a", "b"].map((name) => segment(name).key);
    expect(await catalog.replace({ tenant: "fake", remove, add: [merged] })).toBe(true);
    objects.plan = () => undefined;
    expect(await namesOf(await open(inner, clock))).toEqual(["m"]);
    expect(catalog.view().root.version).toBe(2);
  });

  test("two that race: one wins, the other sees it", async () => {
    const clock = new Clock();
    const objects = new PausingStore(clock.now);
    const [slow, quick] = [await open(objects, clock), await open(objects, clock)];
    await commit(objects, slow, 10, [segment("a"), segment("b"), segment("c")]);
    await slow.fold();
    for (const name of ["m", "n"]) await objects.put(segment(name).key, [Buffer.from(name)]);
    const remove = (...names: string[]) => names.map((name) => segment(name).key);
    objects.before = async () => {
      const won = await quick.replace({ tenant: "fake", remove: remove("b", "c"), add: [segment("n")] });
      expect(won).toBe(true);
    };
    expect(await slow.replace({ tenant: "fake", remove: remove("a", "b"), add: [segment("m")] })).toBe(false);
    expect(await namesOf(slow)).toEqual(["a", "n"]);
    // Without a common segment both come through.
    objects.before = async () => {
      await commit(objects, quick, 20, [segment("d")]);
      await quick.fold();
    };
    expect(await slow.replace({ tenant: "fake", remove: remove("a"), add: [segment("m")] })).toBe(true);
    expect(await namesOf(slow)).toEqual(["d", "m", "n"]);
    // No page of a change that lost is left behind.
    const named = await slow.namedKeys();
    expect((await keysOf(objects, "pages/")).filter((key) => !named.has(key))).toEqual([]);
  });
});

/** Commits, folds and collects until what the store had before is gone. */
async function moveOn(objects: ObjectStore, clock: Clock, catalog: Catalog, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await catalog.refresh();
    await commit(objects, catalog, catalog.chainEnd(0) + 10, [segment(name)]);
    await catalog.fold();
    clock.ms += 1000;
    await catalog.collect(1000);
  }
}

describe("processes that were asleep", () => {
  test("a worker whose offset was taken, folded and deleted: its entry does not count", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const [zombie, live, reader] = [await open(objects, clock), await open(objects, clock), await open(objects, clock)];
    await moveOn(objects, clock, live, ["a", "b", "c"]);
    expect(await keysOf(objects, "catalog/")).not.toContain(entryKey(0, 0));
    await expect(commit(objects, zombie, 13, [segment("z")])).rejects.toMatchObject({ code: "position_taken" });
    expect(zombie.chainEnd(0)).toBe(30);
    for (const catalog of [zombie, live, reader, await open(objects, clock)]) {
      await catalog.refresh();
      expect(await namesOf(catalog)).toEqual(["a", "b", "c"]);
    }
    await live.collect(1000);
    expect(await keysOf(objects, "catalog/")).not.toContain(entryKey(0, 0));
  });

  test("a reader that knows an old root finds the newest, whatever was deleted between", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const live = await open(objects, clock);
    await moveOn(objects, clock, live, ["a", "b"]);
    const reader = await open(objects, clock);
    const old = reader.view();
    await moveOn(objects, clock, live, ["c", "d", "e", "f"]);
    expect(await keysOf(objects, "manifest/")).not.toContain(rootKey(old.root.version + 1));
    await reader.refresh();
    expect(await namesOf(reader)).toEqual(["a", "b", "c", "d", "e", "f"]);
    expect(await old.isOutdated()).toBe(true);
    expect(await reader.view().isOutdated()).toBe(false);
  });

  test.each([
    { name: "a fold", makes: "fold" },
    { name: "a replacement", makes: "replace" },
  ])("$name whose root was made, superseded and deleted meanwhile does not count", async ({ makes }) => {
    const clock = new Clock();
    const objects = new PausingStore(clock.now);
    const live = await open(objects, clock);
    await moveOn(objects, clock, live, ["a", "b"]);
    const [zombie, reader] = [await open(objects, clock), await open(objects, clock)];
    const { version } = live.view().root;
    await commit(objects, live, live.chainEnd(0) + 5, [segment("c")]);
    await objects.put(segment("m").key, [Buffer.from("m")]);
    let seen: string[] = [];
    objects.before = async (key) => {
      expect(key).toBe(rootKey(version + 1));
      await moveOn(objects, clock, live, ["d", "e", "f"]);
      const merged = segment("n");
      await objects.put(merged.key, [Buffer.from("n")]);
      expect(await live.replace({ tenant: "fake", remove: [segment("a").key, segment("c").key], add: [merged] })).toBe(
        true,
      );
      clock.ms += 1000;
      await live.collect(1000);
      expect(await keysOf(objects, "manifest/")).not.toContain(key);
    };
    // While the late root is there, and before its maker has looked back.
    objects.after = async () => {
      await reader.refresh();
      seen = await namesOf(reader);
    };
    if (makes === "fold") {
      await zombie.fold();
    } else {
      const remove = [segment("a").key, segment("c").key];
      expect(await zombie.replace({ tenant: "fake", remove, add: [segment("m")] })).toBe(false);
    }
    expect(await keysOf(objects, "manifest/")).not.toContain(rootKey(version + 1));
    for (const catalog of [zombie, live, reader, await open(objects, clock)]) {
      await catalog.refresh();
      expect(await namesOf(catalog)).toEqual(["b", "d", "e", "f", "n"]);
    }
    expect(seen).toEqual(["b", "d", "e", "f", "n"]);
  });
});

describe("what is no longer needed", () => {
  test("goes after the grace time, and not before", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a")]);
    await commit(objects, catalog, 20, [segment("b")]);
    await catalog.fold();
    const merged = segment("m", { level: 1 });
    await objects.put(merged.key, [Buffer.from("m")]);
    await catalog.replace({ tenant: "fake", remove: [segment("a").key], add: [merged] });
    const before = await keysOf(objects, "");
    clock.ms += 999;
    expect(await catalog.collect(1000)).toBe(0);
    expect(await keysOf(objects, "")).toEqual(before);
    clock.ms += 1;
    // Root 1, two entries, a segment and a page.
    expect(await catalog.collect(1000)).toBe(5);
    clock.ms += 1000;
    expect(await catalog.collect(1000)).toBe(1);
    expect(await keysOf(objects, "segments/")).toEqual([segment("b").key, merged.key]);
    expect(await keysOf(objects, "catalog/")).toEqual([]);
    expect(await keysOf(objects, "manifest/")).toEqual([rootKey(3)]);
    expect(catalog.view().root.garbage).toEqual([]);
    expect(await keysOf(objects, "pages/")).toEqual(catalog.view().root.pages.map(({ key }) => key));
    expect(await catalog.collect(0)).toBe(0);
    expect(await namesOf(await open(objects, clock))).toEqual(["b", "m"]);
  });

  test("leftovers that nothing names are swept when they are old", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    await objects.put(segment("orphan").key, [Buffer.from("0123456789")]);
    await objects.put("pages/fake/1970-01-01/0011223344556677.json.gz", [Buffer.from("01234")]);
    await commit(objects, catalog, 10, [segment("a")]);
    await catalog.fold();
    await commit(objects, catalog, 20, [segment("b")]);
    clock.ms += 1000;
    await objects.put(segment("young").key, [Buffer.from("y")]);
    expect(await catalog.sweep(1000)).toEqual({ deleted: 2, bytes: 15 });
    expect((await keysOf(objects, "segments/")).map((key) => key.split("/")[3])).toEqual(["a.gz", "b.gz", "young.gz"]);
    expect(await keysOf(objects, "pages/")).toHaveLength(1);
  });

  test.each(["segments/", "pages/"])(
    "a root that could not be created for so long that its new %s were swept is not created any more",
    async (prefix) => {
      const clock = new Clock();
      const inner = new MemoryStore(clock.now);
      const objects = new FaultyStore(inner);
      const sweeper = await open(inner, clock);
      const catalog = await open(objects, clock, {
        sleep: async () => {
          // The store is away from this process alone, for hours.
          objects.plan = () => undefined;
          clock.ms += 7_200_000;
          await sweeper.sweep(3_600_000);
        },
      });
      await commit(objects, catalog, 10, [segment("a")]);
      await catalog.fold();
      const merged = segment("m", { level: 1 });
      if (prefix === "segments/") await objects.put(merged.key, [Buffer.from("m")]);
      objects.plan = ({ op, key }) =>
        op === "putIfAbsent" && key.startsWith("manifest/") ? { outcome: "fail" } : undefined;
      if (prefix === "segments/") {
        expect(await catalog.replace({ tenant: "fake", remove: [segment("a").key], add: [merged] })).toBe(false);
      } else {
        await commit(objects, catalog, 20, [segment("b")]);
        expect(await catalog.fold()).toBe(true);
      }
      const again = await open(inner, clock);
      expect(await namesOf(again)).toEqual(prefix === "segments/" ? ["a"] : ["a", "b"]);
      for (const { key } of await allSegments(again.view())) expect(await inner.head(key)).not.toBeNull();
    },
  );

  test("of two tenants whose names differ in case alone neither is swept on a disk that makes no difference", async () => {
    const clock = new Clock();
    const objects = new CaselessStore(clock.now);
    const catalog = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a", { tenant: "Team" }), segment("b", { tenant: "team" })]);
    await catalog.fold();
    await objects.put(segment("orphan", { tenant: "team" }).key, [Buffer.from("o")]);
    clock.ms += 1000;
    expect(await catalog.sweep(1000)).toMatchObject({ deleted: 1 });
    for (const { key } of await allSegments(catalog.view())) expect((await objects.get(key)).toString()).toBe(key);
    expect(await namesOf(await open(objects, clock))).toEqual(["a", "b"]);
  });

  test("nothing is swept while a page can't be read", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a")]);
    await catalog.fold();
    await objects.put(catalog.view().root.pages[0].key, [Buffer.from("?")]);
    clock.ms += 1000;
    await expect((await open(objects, clock)).sweep(1000)).rejects.toMatchObject({ code: "catalog_corrupt" });
    expect(await keysOf(objects, "segments/")).toHaveLength(1);
  });
});

describe("a view", () => {
  test("reads only pages that reach into the time asked for, and leaves out segments by their labels", async () => {
    const clock = new Clock();
    const inner = new MemoryStore(clock.now);
    const objects = new FaultyStore(inner);
    const writer = await open(inner, clock);
    const withApp = (name: string, app: string, day: number) =>
      segment(name, { timeMinNs: BigInt(day) * DAY_NS, labelFilter: labelFilter([{ labels: { app } }]) });
    await commit(
      inner,
      writer,
      10,
      [0, 1, 2, 3].flatMap((day) => [withApp(`w${day}`, "web", day), withApp(`d${day}`, "db", day)]),
    );
    await writer.fold();
    await commit(inner, writer, 20, [withApp("tail", "db", 9)]);
    const catalog = await open(objects, clock);
    const read: string[] = [];
    objects.plan = ({ key }) => {
      read.push(key);
      return undefined;
    };
    const query = {
      tenant: "fake",
      startNs: DAY_NS,
      endNs: 3n * DAY_NS,
      labels: [{ name: "app", values: ["db", "x"] }],
    };
    expect(catalog.view().parts(query)).toHaveLength(2);
    expect(read).toEqual([]);
    const found = await catalog.view().segments(query);
    expect(found.map(({ key }) => key.slice(-5)).sort()).toEqual(["d1.gz", "d2.gz"]);
    expect(read).toHaveLength(2);
    await catalog.view().segments(query);
    expect(read).toHaveLength(2);
    expect(await catalog.view().segments({ ...query, tenant: "nobody" })).toEqual([]);
    expect(await catalog.view().segments({ ...query, ...ALL, labels: [{ name: "app", values: [""] }] })).toHaveLength(
      9,
    );
  });

  test("does without a page that is damaged or gone, and tells", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const writer = await open(objects, clock);
    await commit(
      objects,
      writer,
      10,
      [0, 1, 2].map((day) => segment(`s${day}`, { timeMinNs: BigInt(day) * DAY_NS })),
    );
    await writer.fold();
    const { pages } = writer.view().root;
    const damaged = await objects.get(pages[0].key);
    damaged[damaged.length >> 1] ^= 1;
    await objects.put(pages[0].key, [damaged]);
    await objects.delete(pages[1].key);
    const catalog = await open(objects, clock);
    const lost: string[] = [];
    const found = await catalog.view().segments({ tenant: "fake", ...ALL }, ({ key, lines }, error) => {
      lost.push(`${key} ${lines} ${(error as { code: string }).code}`);
    });
    expect(found.map(({ key }) => key)).toEqual([segment("s2", { timeMinNs: 2n * DAY_NS }).key]);
    expect(lost.sort()).toEqual([`${pages[0].key} 7 catalog_corrupt`, `${pages[1].key} 7 object_missing`]);
    await expect(catalog.view().segments({ tenant: "fake", ...ALL })).rejects.toThrow(/pages/);
    // It is left as it is, and the next segments of that day go elsewhere.
    await commit(objects, catalog, 20, [segment("t0")]);
    await catalog.fold();
    expect(catalog.view().root.pages.map(({ key }) => key)).toContain(pages[0].key);
    expect(catalog.view().root.pages).toHaveLength(4);
  });

  test("keeps no more pages in memory than it may", async () => {
    const clock = new Clock();
    const inner = new MemoryStore(clock.now);
    const writer = await open(inner, clock);
    await commit(
      inner,
      writer,
      10,
      [0, 1, 2].map((day) => segment(`s${day}`, { timeMinNs: BigInt(day) * DAY_NS })),
    );
    await writer.fold();
    const objects = new FaultyStore(inner);
    const catalog = await open(objects, clock, { pages: { memoryBytes: 500 } });
    objects.calls = 0;
    const ofDay = (day: number) =>
      catalog.view().segments({ tenant: "fake", startNs: BigInt(day) * DAY_NS + 1n, endNs: BigInt(day) * DAY_NS + 2n });
    for (const day of [0, 1, 2, 0, 1, 2]) await ofDay(day);
    expect(objects.calls).toBe(6);
    for (let i = 0; i < 3; i++) await ofDay(2);
    expect(objects.calls).toBe(6);
  });
});

describe("the disk cache", () => {
  const inFolder = async (run: (folder: string) => Promise<void>) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), "weir-cache-"));
    try {
      await run(path.join(folder, "cache"));
    } finally {
      await rm(folder, { recursive: true });
    }
  };
  const never = (error: unknown) => {
    throw error;
  };

  test("serves pages again after a restart, and a damaged file is read anew", async () => {
    await inFolder(async (folder) => {
      const clock = new Clock();
      const inner = new MemoryStore(clock.now);
      const writer = await open(inner, clock);
      await commit(inner, writer, 10, [segment("a")]);
      await writer.fold();
      const pageReads = async (): Promise<number> => {
        const objects = new FaultyStore(inner);
        let reads = 0;
        objects.plan = ({ key }) => {
          if (key.startsWith("pages/")) reads++;
          return undefined;
        };
        const disk = await DiskCache.open(folder, 100_000, never);
        const catalog = await open(objects, clock, { pages: { disk } });
        expect(await namesOf(catalog)).toEqual(["a"]);
        return reads;
      };
      expect(await pageReads()).toBe(1);
      expect(await pageReads()).toBe(0);
      const [file] = await readdir(folder);
      const bytes = await readFile(path.join(folder, file));
      bytes[20] ^= 1;
      await writeFile(path.join(folder, file), bytes);
      expect(await pageReads()).toBe(1);
      await writeFile(path.join(folder, file), bytes.subarray(0, 9));
      expect(await pageReads()).toBe(1);
      await rm(path.join(folder, file));
      expect(await pageReads()).toBe(1);
      expect(await pageReads()).toBe(0);
    });
  });

  test("stays within its bytes, and drops what was used least recently", async () => {
    await inFolder(async (folder) => {
      const cache = await DiskCache.open(folder, 1000, never);
      for (const name of ["a", "b", "c"]) await cache.put(name, Buffer.alloc(300));
      expect(await cache.get("a")).toHaveLength(300);
      await cache.put("d", Buffer.alloc(300));
      expect(await cache.get("b")).toBeNull();
      expect((await readdir(folder)).sort()).toEqual(["a", "c", "d"]);
      await cache.put("huge", Buffer.alloc(1001));
      expect(cache.bytes).toBe(900);
      await writeFile(path.join(folder, "x.12345678.tmp"), "torn");
      const smaller = await DiskCache.open(folder, 600, never);
      expect(smaller.bytes).toBe(600);
      expect(await readdir(folder)).toHaveLength(2);
    });
  });

  test("that can't be used is told once and done without", async () => {
    await inFolder(async (folder) => {
      await writeFile(folder, "a file");
      const errors: unknown[] = [];
      const cache = await DiskCache.open(folder, 1000, (error) => errors.push(error));
      await cache.put("a", Buffer.alloc(3));
      expect(await cache.get("a")).toBeNull();
      expect(errors.length).toBeGreaterThan(0);
    });
  });
});

describe("a root", () => {
  test("comes back, and any change or cut is refused by name", async () => {
    const clock = new Clock();
    const objects = new MemoryStore(clock.now);
    const catalog = await open(objects, clock);
    await commit(objects, catalog, 10, [segment("a")]);
    await commit(objects, catalog, 4, [segment("b")], 7);
    await catalog.fold();
    await catalog.replace({ tenant: "fake", remove: [segment("a").key], add: [] });
    const { root } = catalog.view();
    const bytes = encodeRoot(root);
    expect(decodeRoot(rootKey(2), bytes)).toEqual(root);
    expect(bytes.equals(await objects.get(rootKey(2)))).toBe(true);
    for (let at = 0; at < bytes.length - 1; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1;
      const refusal = expect.objectContaining({
        code: "catalog_corrupt",
        message: expect.stringContaining(rootKey(2)),
      });
      expect(() => decodeRoot(rootKey(2), damaged), `byte ${at}`).toThrow(refusal);
      expect(() => decodeRoot(rootKey(2), bytes.subarray(0, at)), `cut at ${at}`).toThrow(refusal);
    }
    expect(() => decodeRoot(rootKey(3), bytes)).toThrow(/it says version 2, which is another object/);
    await objects.put(rootKey(2), [Buffer.from("{}")]);
    await expect(open(objects, clock)).rejects.toMatchObject({ code: "catalog_corrupt" });
  });
});
