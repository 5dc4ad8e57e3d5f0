import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { MergeClaims } from "../../src/store/compact/claims.ts";
import type { SegmentInfo } from "../../src/store/view.ts";
import { Random, SEED } from "../random.ts";
import { runModel } from "./compactors-model.ts";

/** So much that one compactor is busy all the time, or three are. Without notes two lost 28% and 9% of their time, four 54%. */
test.each([
  { partitions: 4, minutes: 40, counts: [1, 2, 4] },
  { partitions: 12, minutes: 20, counts: [2, 4] },
])(
  "several compactors lose next to nothing to each other, over $partitions partitions",
  { timeout: 900_000 },
  async ({ partitions, minutes, counts }) => {
    for (const compactors of counts) {
      const random = new Random(SEED + compactors);
      const result = await runModel(random, { compactors, partitions, minutes, secondsAMb: 0.5 });
      const { lost, merges, segments, waiting } = result;
      const part = `${(lost * 100).toFixed(1)}% of their time lost`;
      console.log(
        `${partitions} partitions, ${compactors} compactors: ${merges} merges, ${part}, ${Math.round(waiting)} segments wait, ${segments} at the end`,
      );
      expect(lost, `seed ${SEED}`).toBeLessThan(0.02);
    }
  },
);

describe("notes of what compactors merge", () => {
  const segments = [{ key: "segments/a" }, { key: "segments/b" }] as unknown as SegmentInfo[];
  const claimsOn = (objects: ObjectStore, clock: { ms: number }) =>
    new MergeClaims({ objects, log: silentLogger, ticks: () => clock.ms, now: Date.now });

  test("are taken by one, seen by others, and gone with the merge", async () => {
    const objects = new MemoryStore();
    const [a, b] = [claimsOn(objects, { ms: 0 }), claimsOn(objects, { ms: 1e9 })];
    expect((await b.others())(segments)).toBe(false);
    expect(await a.take(segments)).toBe(true);
    expect(await b.take(segments)).toBe(false);
    expect((await b.others())(segments)).toBe(true);
    expect((await b.others())(segments.slice(1))).toBe(false);
    await a.release(segments);
    expect((await b.others())(segments)).toBe(false);
    expect(await b.take(segments)).toBe(true);
  });

  test("of one that died are removed once they have stayed the same for a minute, and not before", async () => {
    const objects = new MemoryStore();
    const dead = { ms: 0 };
    const other = { ms: 0 };
    const [a, b] = [claimsOn(objects, dead), claimsOn(objects, other)];
    await a.take(segments);
    expect((await b.others())(segments)).toBe(true);
    for (let i = 0; i < 4; i++) {
      other.ms += 50_000;
      dead.ms += 50_000;
      await sleep(2); // A note that is written anew has another time.
      await a.renew(segments);
      expect((await b.others())(segments)).toBe(true);
    }
    other.ms += 61_000;
    expect((await b.others())(segments)).toBe(false);
    expect(await b.take(segments)).toBe(true);
  });

  test("of one that died are removed by one that has just begun when they are old by the clock", async () => {
    const objects = new MemoryStore();
    const a = claimsOn(objects, { ms: 0 });
    await a.take(segments);
    const late = (ms: number) =>
      new MergeClaims({ objects, log: silentLogger, ticks: () => 0, now: () => Date.now() + ms }).others();
    expect((await late(500_000))(segments)).toBe(true);
    expect((await late(700_000))(segments)).toBe(false);
  });

  test("that the store refuses keep nobody from merging", async () => {
    const away = () => Promise.reject(new WeirError("store_unavailable", "away", { retriable: true }));
    const objects = new MemoryStore();
    const broken = Object.assign(Object.create(objects) as MemoryStore, {
      putIfAbsent: away,
      put: away,
      delete: away,
      // biome-ignore lint/correctness/useYield: it fails at once.
      list: async function* () {
        throw new WeirError("store_unavailable", "away", { retriable: true });
      },
    });
    const clock = { ms: 0 };
    const claims = claimsOn(broken, clock);
    expect((await claims.others())(segments)).toBe(false);
    expect(await claims.take(segments)).toBe(true);
    clock.ms += 20_000;
    await claims.renew(segments);
    await claims.release(segments);
  });
});
