import { describe, expect, test } from "vitest";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { type Catalog, openCatalog } from "../../src/store/catalog.ts";
import { decodeEntry, encodeEntry, entryKey } from "../../src/store/catalog-entry.ts";
import type { SegmentInfo } from "../../src/store/view.ts";
import { Random, SEED } from "../random.ts";
import { Crash, Interleaver } from "./interleaved.ts";
import { allSegments } from "./support.ts";

const GRACE_MS = 1500;
const DAY_NS = 86_400_000_000_000n;
const TENANTS = ["a", "b"];
const PARTITIONS = [0, 1];

/** Knows which entries count: those that were created where the chain ended, whoever did, and whether or not he was told. */
class TruthfulStore extends MemoryStore {
  readonly ends = new Map<number, number>();
  /** Committed lines as `<tenant>/<partition>/<offset>`. */
  readonly lines = new Set<string>();

  override async putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    await super.putIfAbsent(key, parts);
    if (!key.startsWith("catalog/")) return;
    const { partition, first, next, segments } = decodeEntry(key, Buffer.concat(parts));
    if (first !== (this.ends.get(partition) ?? 0)) return;
    this.ends.set(partition, next);
    for (const { tenant } of segments) {
      for (let offset = first; offset < next; offset++) this.lines.add(`${tenant}/${partition}/${offset}`);
    }
  }

  /** The lines of offsets below `ends`. */
  linesBelow(ends: ReadonlyMap<number, number>): string[] {
    return [...this.lines].filter((line) => {
      const [, partition, offset] = line.split("/").map(Number);
      return offset < (ends.get(partition) ?? 0);
    });
  }
}

/** A store whose segments are lists of the offsets that they hold, so that a test can see which lines a view has. */
class World {
  readonly random: Random;
  readonly interleaver: Interleaver;
  readonly objects: TruthfulStore;
  private faults: number;

  constructor(seed: number, faults: number) {
    this.random = new Random(seed);
    this.objects = new TruthfulStore(() => this.interleaver.nowMs);
    this.interleaver = new Interleaver(this.random, () => this.objects);
    this.faults = faults;
  }

  /** A process; it crashes at one of its next `lifetime` calls. */
  open(actor: string, lifetime: number): Promise<Catalog> {
    let left = lifetime;
    const objects = this.interleaver.storeOf(actor, () => {
      if (left-- <= 0) return "crash";
      if (!this.random.chance(this.faults)) return "ok";
      return this.random.chance(0.5) ? "fail" : "lost_answer";
    });
    this.stores.set(actor, objects);
    return openWithRetries(
      objects,
      () => this.interleaver.nowMs,
      () => this.interleaver.turn(actor),
    );
  }

  readonly stores = new Map<string, ReturnType<Interleaver["storeOf"]>>();

  storeOf(actor: string) {
    const store = this.stores.get(actor);
    if (store === undefined) throw new Error(`no store for ${actor}`);
    return store;
  }
}

async function openWithRetries(
  objects: ReturnType<Interleaver["storeOf"]>,
  now: () => number,
  turn: () => Promise<void>,
): Promise<Catalog> {
  for (;;) {
    try {
      return await openCatalog(objects, new Metrics(), silentLogger, { now, sleep: turn, random: () => 0 });
    } catch (error) {
      if (codeOf(error) !== "store_unavailable") throw error;
    }
  }
}

/** Tries again what a store in trouble refuses. */
async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (codeOf(error) !== "store_unavailable") throw error;
    }
  }
}

const idsOf = async (world: World, key: string): Promise<string[]> =>
  JSON.parse((await world.objects.get(key)).toString()) as string[];

function infoOf(
  tenant: string,
  partition: number,
  first: number,
  next: number,
  level: number,
  name: string,
): SegmentInfo {
  const day = BigInt(first % 3);
  return {
    key: `segments/${tenant}/1970-01-0${1n + day}/${partition}-${first}-${name}.gz`,
    bytes: 1,
    tenant,
    partition,
    firstOffset: first,
    nextOffset: next,
    timeMinNs: day * DAY_NS + BigInt(first),
    timeMaxNs: day * DAY_NS + BigInt(next),
    lines: next - first,
    textBytes: 1,
    streams: 1,
    level,
    labelFilter: null,
  };
}

let names = 0;

/** Commits entries until `count` offsets of the partition are; dies and comes back. */
async function worker(world: World, actor: string, partition: number, count: number): Promise<void> {
  const { random, interleaver } = world;
  for (let life = 0; ; life++) {
    try {
      const name = `${actor}.${life}`;
      const catalog = await world.open(name, 20 + random.below(120));
      const objects = world.storeOf(name);
      while (catalog.chainEnd(partition) < count) {
        const first = catalog.chainEnd(partition);
        const next = first + 1 + random.below(4);
        const segments: SegmentInfo[] = [];
        for (const tenant of TENANTS.filter(() => random.chance(0.8))) {
          const info = infoOf(tenant, partition, first, next, 0, `w${names++}`);
          const ids = Array.from({ length: next - first }, (_, i) => `${tenant}/${partition}/${first + i}`);
          await insist(() => objects.put(info.key, [Buffer.from(JSON.stringify(ids))]));
          segments.push(info);
        }
        // A worker that is suspended here, and for long, is a zombie when it wakes.
        if (random.chance(0.1)) interleaver.sleep(name, random.below(8 * GRACE_MS));
        const entry = { partition, first, next, segments };
        try {
          await insist(async () => {
            try {
              await objects.putIfAbsent(entryKey(partition, first), [encodeEntry(entry)]);
            } catch (error) {
              if (codeOf(error) !== "object_exists") throw error;
              if (!encodeEntry(entry).equals(await objects.get(entryKey(partition, first)))) throw error;
            }
          });
          await insist(() => catalog.confirm(partition, first));
          catalog.add(entry);
        } catch (error) {
          // "object_missing": the other's entry was folded and deleted between the two calls.
          if (!["object_exists", "position_taken", "object_missing"].includes(codeOf(error))) throw error;
          await insist(() => catalog.refresh());
        }
      }
      return;
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
  }
}

/** Folds, merges, collects and sweeps; dies and comes back. */
async function compactor(world: World, actor: string, isDone: () => boolean): Promise<void> {
  const { random, interleaver } = world;
  for (let life = 0; !isDone(); life++) {
    try {
      const name = `${actor}.${life}`;
      const catalog = await world.open(name, 30 + random.below(200));
      const objects = world.storeOf(name);
      while (!isDone()) {
        await insist(() => catalog.refresh());
        if (random.chance(0.1)) interleaver.sleep(name, random.below(8 * GRACE_MS));
        const what = random.below(10);
        if (what < 3) await catalog.fold();
        else if (what < 7) await merge(world, catalog, objects);
        else if (what < 9) await insist(() => catalog.collect(GRACE_MS));
        else await insist(() => catalog.sweep(10 * GRACE_MS)).catch(ignorePageLoss);
      }
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
  }
}

/** A page of a root that is not the newest any more may be gone; a role tries again at its next turn. */
function ignorePageLoss(error: unknown): void {
  if (codeOf(error) !== "object_missing") throw error;
}

async function merge(world: World, catalog: Catalog, objects: ReturnType<Interleaver["storeOf"]>): Promise<void> {
  const { random } = world;
  const tenant = random.pick(TENANTS);
  let all: SegmentInfo[];
  try {
    all = await insist(() => catalog.view().segments({ tenant, startNs: 0n, endNs: 10n * DAY_NS }));
  } catch (error) {
    return ignorePageLoss(error);
  }
  const day = random.pick(["01", "02", "03"]);
  const inputs = all.filter(({ key }) => key.includes(`-${day}/`)).slice(0, 2 + random.below(4));
  if (inputs.length < 2) return;
  const ids: string[] = [];
  try {
    for (const { key } of inputs) {
      ids.push(...(JSON.parse((await insist(() => objects.get(key))).toString()) as string[]));
    }
  } catch (error) {
    return ignorePageLoss(error);
  }
  const half = Math.ceil(ids.length / 2);
  const [base] = inputs;
  const add: SegmentInfo[] = [];
  for (const some of [ids.slice(0, half), ids.slice(half)].filter((list) => list.length > 0)) {
    const info = {
      ...base,
      key: base.key.replace(/-[wm]\d+\.gz$/, `-m${names++}.gz`),
      level: 1 + Math.max(...inputs.map(({ level }) => level)),
      lines: some.length,
    };
    await insist(() => objects.put(info.key, [Buffer.from(JSON.stringify(some))]));
    add.push(info);
  }
  const done = await catalog.replace({ tenant, remove: inputs.map(({ key }) => key), add });
  if (!done) await insist(() => objects.deleteMany(add.map(({ key }) => key)));
}

/** Looks at the catalog again and again: no line twice, none missing that was there when it began to look. */
async function reader(world: World, actor: string, isDone: () => boolean): Promise<number> {
  const { random, interleaver } = world;
  const catalog = await world.open(actor, Number.POSITIVE_INFINITY);
  let views = 0;
  while (!isDone()) {
    const before = new Map(world.objects.ends);
    await insist(() => catalog.refresh());
    const ends = new Map(PARTITIONS.map((partition) => [partition, catalog.chainEnd(partition)]));
    for (const [partition, end] of before) expect(ends.get(partition)).toBeGreaterThanOrEqual(end);
    const began = interleaver.nowMs;
    const view = catalog.view();
    if (random.chance(0.2)) interleaver.sleep(actor, random.below(3 * GRACE_MS));
    try {
      const keys = (await insist(() => allSegments(view))).map(({ key }) => key);
      const ids: string[] = [];
      for (const key of keys) {
        await interleaver.turn(actor);
        ids.push(...(await idsOf(world, key)));
      }
      expect(ids.sort()).toEqual(world.objects.linesBelow(ends).sort());
      views++;
    } catch (error) {
      // Only a view that has grown old may lack something, and it can tell.
      if (codeOf(error) !== "object_missing") throw error;
      if (interleaver.nowMs - began < GRACE_MS) throw new Error(`young view: ${messageOf(error)}`);
      let tries = 0;
      // It says no as well when the store is away.
      while (!(await view.isOutdated()) && tries < 20) tries++;
      expect(tries).toBeLessThan(20);
    }
  }
  return views;
}

async function play(seed: number, faults: number): Promise<number> {
  const world = new World(seed, faults);
  const count = 60;
  let working = 3;
  const isDone = () => working === 0;
  const workers = [0, 0, 1].map((partition, i) =>
    worker(world, `worker${i}`, partition, count).finally(() => {
      working--;
    }),
  );
  let views = 0;
  const others = [
    compactor(world, "compactor0", isDone),
    compactor(world, "compactor1", isDone),
    ...[0, 1].map(async (i) => {
      views += await reader(world, `reader${i}`, isDone);
    }),
  ];
  await world.interleaver.drive([...workers, ...others]);
  const catalog = await openCatalog(world.objects, new Metrics(), silentLogger);
  const ids: string[] = [];
  for (const { key } of await allSegments(catalog.view())) ids.push(...(await idsOf(world, key)));
  expect(ids.sort()).toEqual([...world.objects.lines].sort());
  for (const partition of PARTITIONS) expect(catalog.chainEnd(partition)).toBeGreaterThanOrEqual(count);
  return views;
}

describe("the manifest, with workers, compactors and readers that race, sleep and die", () => {
  test.each([
    { name: "a sound store", faults: 0 },
    { name: "a store that fails and loses answers", faults: 0.05 },
  ])("shows every line once at every moment: $name", async ({ faults }) => {
    let views = 0;
    for (let round = 0; round < 20; round++) {
      const seed = SEED + round;
      try {
        views += await play(seed, faults);
      } catch (error) {
        throw new Error(`seed ${seed}: ${messageOf(error)}`, { cause: error });
      }
    }
    expect(views).toBeGreaterThan(50);
  });
});
