import { describe, expect, test } from "vitest";
import { messageOf } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { entryKey } from "../../src/store/catalog-entry.ts";
import { compactedKey } from "../../src/store/keys.ts";
import { rootKey } from "../../src/store/manifest-root.ts";
import { rebuildCatalog } from "../../src/store/rebuild.ts";
import { chooseSegments, type FoundSegment } from "../../src/store/rebuild-choice.ts";
import { envelopeOf, newMerge, type SegmentSources } from "../../src/store/sources.ts";
import { Random, SEED } from "../random.ts";
import { expectRows, TestStore, testLine } from "./support.ts";

const TENANTS = ["a", "b"];

interface Segment extends FoundSegment {
  /** `<tenant>/<partition>/<offset>`: what the segment holds. */
  readonly lines: readonly string[];
}

/** What is in an intake entry does not depend on who reads it, and how often. */
const hasLine = (tenant: string, partition: number, offset: number) =>
  (offset * 7919 + partition * 31 + tenant.charCodeAt(0) * 17) % 10 < 4;

/** A store's life as far as a rebuild sees it: which segments there are, what they say of themselves, and what they hold. */
class Life {
  readonly random: Random;
  readonly ends = [0, 0];
  /** Lines that were committed. */
  readonly lines = new Set<string>();
  /** Segments that the catalog names, and all that are there. */
  live: Segment[] = [];
  there: Segment[] = [];
  private garbage: Segment[] = [];
  private clock = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** A flush, committed or cut short after some of its segments or before its entry. */
  flush(): void {
    const { random } = this;
    const partition = random.below(this.ends.length);
    const first = this.ends[partition];
    const next = first + 1 + random.below(5);
    const linesOf = (tenant: string) =>
      Array.from({ length: next - first }, (_, i) => first + i)
        .filter((offset) => hasLine(tenant, partition, offset))
        .map((offset) => `${tenant}/${partition}/${offset}`);
    const tenants = TENANTS.filter((tenant) => linesOf(tenant).length > 0);
    const segments = tenants.map((tenant, output) => {
      const lines = linesOf(tenant);
      const alone = { level: 0, merge: "", inputs: [], covers: [], absorbed: [] };
      const sources = tenants.length === 1 ? null : { ...alone, output, last: output === tenants.length - 1 };
      return this.write(tenant, { partition, firstOffset: first, nextOffset: next }, sources, lines);
    });
    if (random.chance(0.2)) {
      this.there.push(...segments.slice(0, random.below(segments.length + 1)));
      return;
    }
    this.there.push(...segments);
    this.live.push(...segments);
    for (const { lines } of segments) for (const line of lines) this.lines.add(line);
    this.ends[partition] = next;
  }

  /** A compaction, committed or cut short after some or all of its segments. */
  merge(): void {
    const { random } = this;
    const tenant = random.pick(TENANTS);
    const own = this.live.filter(({ info }) => info.tenant === tenant);
    const at = random.below(own.length);
    const inputs = own.slice(at, at + 1 + random.below(5)).filter(() => random.chance(0.8));
    if (inputs.length === 0) return;
    const base = newMerge(inputs.map(({ info, sources }) => ({ ...info, readSources: () => sources })));
    const all = inputs.flatMap(({ lines }) => lines);
    const outputs = 1 + random.below(3);
    const made = Array.from({ length: outputs }, (_, output) => {
      const lines = all.filter((_line, i) => i % outputs === output);
      return this.write(tenant, base.covers[0], { ...base, output, last: output === outputs - 1 }, lines);
    });
    if (random.chance(0.3)) {
      this.there.push(...made.slice(0, random.below(made.length + 1)));
      return;
    }
    this.there.push(...made);
    this.live = [...this.live.filter((segment) => !inputs.includes(segment)), ...made];
    this.garbage.push(...inputs);
  }

  /** Deletes the first of what was replaced, in order. */
  collect(): void {
    const gone = this.garbage.splice(0, this.random.below(this.garbage.length + 1));
    this.there = this.there.filter((segment) => !gone.includes(segment));
  }

  private write(
    tenant: string,
    place: { partition: number; firstOffset: number; nextOffset: number },
    sources: SegmentSources | null,
    lines: readonly string[],
  ): Segment {
    const modifiedMs = ++this.clock;
    const covers = sources !== null && sources.level > 0 ? envelopeOf(sources.covers) : place;
    const info = {
      ...covers,
      key:
        sources !== null && sources.level > 0
          ? compactedKey(tenant, 0, covers, sources)
          : `segments/${tenant}/1970-01-01/${place.partition}-${String(place.firstOffset).padStart(20, "0")}-${String(modifiedMs).padStart(12, "0")}.gz`,
      bytes: 1,
      tenant,
      timeMinNs: 0n,
      timeMaxNs: 0n,
      lines: lines.length,
      textBytes: 1,
      streams: 1,
      level: sources?.level ?? 0,
      labelFilter: null,
    };
    return { info, sources, modifiedMs, lines };
  }
}

describe("the choice of segments", () => {
  test("has every committed line once, whatever was compacted, cut short and deleted", () => {
    let merged = 0;
    for (let round = 0; round < 800; round++) {
      const seed = SEED + round;
      const life = new Life(seed);
      const steps = 5 + life.random.below(60);
      for (let step = 0; step < steps; step++) {
        const what = life.random.below(10);
        if (what < 5) life.flush();
        else if (what < 9) life.merge();
        else life.collect();
      }
      const byKey = new Map(life.there.map((segment) => [segment.info.key, segment]));
      const chosen = chooseSegments(life.there.sort(() => (life.random.chance(0.5) ? 1 : -1)));
      merged += chosen.filter(({ level }) => level > 0).length;
      const lines = chosen.flatMap(({ key }) => byKey.get(key)?.lines ?? []);
      expect(new Set(lines).size, `seed ${seed}: twice`).toBe(lines.length);
      const have = new Set(lines);
      const missing = [...life.lines].filter((line) => !have.has(line));
      expect(missing, `seed ${seed}: missing`).toEqual([]);
      // What was written and not committed may count as committed at the end of a partition, and only there.
      for (const line of lines) {
        const [, partition, offset] = line.split("/").map(Number);
        if (!life.lines.has(line)) expect(offset, `seed ${seed}: ${line}`).toBeGreaterThanOrEqual(life.ends[partition]);
      }
    }
    expect(merged).toBeGreaterThan(100);
  });
});

const OLD = { dryRun: false, force: true, now: () => Date.now() };

async function filled(): Promise<{
  store: TestStore;
  objects: MemoryStore;
  rows: Awaited<ReturnType<TestStore["rows"]>>;
}> {
  const objects = new MemoryStore();
  const store = await TestStore.open(objects);
  for (let i = 0; i < 6; i++) {
    store.append(
      ["fake", "other"].flatMap((tenant) =>
        Array.from({ length: 20 }, (_, n) =>
          testLine(`line ${i} ${n}`, { tenant, labels: { app: `a${n % 3}` }, sec: 1_700_000_000 + i * 50_000 + n }),
        ),
      ),
    );
    await store.writer.flush((i + 1) * 10);
    if (i === 3) await store.catalog.fold();
  }
  return { store, objects, rows: await store.rows() };
}

describe("a rebuilt catalog", () => {
  test("names the same segments as the one that was lost", async () => {
    const { store, objects, rows } = await filled();
    const before = store.catalog.view();
    for (const prefix of ["catalog/", "manifest/", "pages/"]) {
      for await (const { key } of objects.list(prefix)) await objects.delete(key);
    }
    const dry = await rebuildCatalog(objects, { ...OLD, dryRun: true });
    expect(dry).toMatchObject({
      found: 12,
      segments: 12,
      lines: 240,
      root: null,
      leftOut: [],
      damaged: [],
      entries: [],
    });
    expect(await objects.head(rootKey(1))).toBeNull();
    const report = await rebuildCatalog(objects, OLD);
    expect(report).toMatchObject({ segments: 12, root: rootKey(1) });
    const reopened = await TestStore.open(objects);
    expectRows(await reopened.rows(), rows);
    expect(reopened.catalog.chainEnd(0)).toBe(60);
    expect(before.tenants).toEqual(reopened.catalog.view().tenants);
    // And it goes on from there.
    reopened.append([testLine("more")]);
    await reopened.writer.flush(70);
    expect(await (await TestStore.open(objects)).rows()).toHaveLength(rows.length + 1);
  });

  test("takes the place of one that is damaged, and what stood in the way is gone", async () => {
    const { objects, rows } = await filled();
    await objects.put(rootKey(1), [Buffer.from("{}")]);
    await objects.put(entryKey(0, 50), [Buffer.from("{}")]);
    await objects.put(entryKey(0, 75), [Buffer.from("{}")]);
    await expect(openCatalog(objects, new Metrics(), silentLogger)).rejects.toMatchObject({ code: "catalog_corrupt" });
    const report = await rebuildCatalog(objects, OLD);
    expect(report.root).toBe(rootKey(2));
    // The one below what segments reach is in nobody's way.
    expect(report.entries).toEqual([expect.stringContaining(entryKey(0, 75))]);
    const reopened = await TestStore.open(objects);
    expectRows(await reopened.rows(), rows);
    await reopened.catalog.collect(0);
    await reopened.catalog.collect(0);
    const left: string[] = [];
    for (const prefix of ["catalog/", "manifest/"]) for await (const { key } of objects.list(prefix)) left.push(key);
    expect(left).toHaveLength(1);
    expectRows(await (await TestStore.open(objects)).rows(), rows);
  });

  test("keeps the offsets of entries without lines", async () => {
    const { store, objects } = await filled();
    await store.writer.flush(77);
    await rebuildCatalog(objects, OLD);
    expect((await openCatalog(objects, new Metrics(), silentLogger)).chainEnd(0)).toBe(77);
  });

  test("does without a segment that is damaged, and names it", async () => {
    const { store, objects, rows } = await filled();
    const [{ key, lines }] = store.catalog.tail();
    const bytes = await objects.get(key);
    bytes[bytes.length - 50] ^= 1;
    await objects.put(key, [bytes]);
    const report = await rebuildCatalog(objects, OLD);
    expect(report.damaged).toEqual([expect.stringContaining(`byte`)]);
    expect(report.damaged[0]).toContain(key);
    const again = await TestStore.open(objects);
    expect(await again.rows()).toHaveLength(rows.length - lines);
    // It stays, though nothing names it, until it is repaired.
    await again.catalog.sweep(0);
    expect(await objects.get(key)).toEqual(bytes);
    bytes[bytes.length - 50] ^= 1;
    await objects.put(key, [bytes]);
    expect(await rebuildCatalog(objects, OLD)).toMatchObject({ damaged: [] });
    expectRows(await (await TestStore.open(objects)).rows(), rows);
    for await (const { key: note } of objects.list("damaged/")) expect(note).toBe("none");
  });

  test("is refused for a store that was just written to", async () => {
    const { objects } = await filled();
    const refused = await rebuildCatalog(objects, { ...OLD, force: false }).catch(messageOf);
    expect(refused).toMatch(/the store seems to be in use: segments\/.* was written \d+ s ago/);
    const later = { dryRun: false, force: false, now: () => Date.now() + 600_001 };
    expect(await rebuildCatalog(objects, later)).toMatchObject({ segments: 12 });
  });
});
