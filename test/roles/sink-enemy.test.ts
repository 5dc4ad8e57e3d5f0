import { cpSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { ALL_TAKEN, type SinkRecord } from "../../src/core/sink.ts";
import { openDiskIntake } from "../../src/intake/disk.ts";
import { SinkPositions } from "../../src/roles/sink-position.ts";
import { Random } from "../random.ts";
import { away, chunk, FakeDestination, SINK, startRunner } from "./sink-harness.ts";

/*
 * One sink over a real intake log on disk, with a destination that does everything that destinations do, and a machine that
 * goes down at any moment: a round's world is the copy of the disk that was taken in the middle of the one before. What the
 * process did after the copy was never done.
 */
const ROUNDS = 12;
const ENTRIES_A_ROUND = 60;
const INTERVAL_MS = 1000;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "weir-sink-enemy-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface World {
  /** Lines of each entry that was acknowledged, by its offset. */
  readonly acknowledged: Map<number, readonly string[]>;
  /** What the destination has. */
  readonly taken: SinkRecord[];
}

const random = new Random();
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Simulated milliseconds: each entry comes some later than the one before, now and then a little earlier. */
let clock = 1_700_000_000_000;

async function live(dir: string, world: World, options: Record<string, unknown>, isLast: boolean): Promise<void> {
  const positions = await SinkPositions.open(path.join(dir, "sinks"), SINK);
  if (positions.get(0) === null) await positions.set(0, { offset: 0, place: 0 });
  const intake = await openDiskIntake(
    {
      dir: path.join(dir, "intake"),
      consumers: { [SINK]: () => positions.get(0)?.offset ?? 0 },
      options: { file_bytes: 1 << 20, group_commit_ms: 0 },
    },
    { log: silentLogger, metrics: new Metrics() },
  );
  const out = new FakeDestination();
  out.answer = async (batch) => {
    if (random.below(3) === 0) await sleep(random.below(3));
    if (isLast) return ALL_TAKEN;
    const what = random.below(10);
    if (what === 0) return away();
    if (what === 1) {
      world.taken.push(...batch); // Taken, and the answer gets lost.
      return away();
    }
    if (what === 2) {
      const failed = batch.flatMap((_, position) =>
        random.below(3) === 0 ? [{ position, reason: "busy", retriable: true }] : [],
      );
      return { failed };
    }
    return ALL_TAKEN;
  };
  const write = out.write.bind(out);
  out.write = async (batch, signal) => {
    const before = out.taken.length;
    const result = await write(batch, signal);
    world.taken.push(...out.taken.slice(before));
    return result;
  };
  const { runner } = await startRunner(intake, out, path.join(dir, "sinks"), {
    now: () => clock,
    options: { batch_records_max: 1 + random.below(60), ...options },
  });
  const stopAt = isLast ? Number.POSITIVE_INFINITY : random.below(ENTRIES_A_ROUND);
  let copied: World | null = null;
  for (let i = 0; i < ENTRIES_A_ROUND && copied === null; i++) {
    clock += random.below(20) === 0 ? -random.below(200) : random.below(INTERVAL_MS / 4);
    const lines = Array.from(
      { length: 1 + random.below(30) },
      (_, n) => `${clock} ${i} ${n} ${"x".repeat(random.below(900))}`,
    );
    const { offset } = await intake.append(0, chunk(lines, clock));
    if (offset !== null) world.acknowledged.set(offset, lines);
    if (random.below(4) === 0) await sleep(random.below(4));
    if (random.below(4) === 0) await intake.commit(0, intake.nextOffset(0));
    if (i === stopAt) {
      await sleep(random.below(6));
      cpSync(dir, `${dir}x`, { recursive: true, filter: (name) => !path.basename(name).startsWith("lock") });
      copied = { acknowledged: new Map(world.acknowledged), taken: [...world.taken] };
    }
  }
  if (isLast) {
    clock += 10 * INTERVAL_MS;
    const end = intake.nextOffset(0);
    await vi.waitFor(
      async () =>
        expect((await SinkPositions.open(path.join(dir, "sinks"), SINK)).get(0)).toEqual({ offset: end, place: 0 }),
      { timeout: 240_000, interval: 20 },
    );
  }
  await runner.stop();
  await intake.close();
  if (copied === null) return;
  world.taken.length = 0;
  world.taken.push(...copied.taken);
  world.acknowledged.clear();
  for (const [offset, lines] of copied.acknowledged) world.acknowledged.set(offset, lines);
}

/** Lives through all rounds; what the destination has of each id, which has to be the same whenever it comes. */
async function liveOn(options: Record<string, unknown>): Promise<{ sent: Map<string, string>; lines: string[] }> {
  const world: World = { acknowledged: new Map(), taken: [] };
  let dir = path.join(folder, "d");
  for (let round = 0; round < ROUNDS; round++) {
    const isLast = round === ROUNDS - 1;
    await live(dir, world, options, isLast);
    if (!isLast) dir = `${dir}x`;
  }
  const sent = new Map<string, string>();
  for (const { id, line } of world.taken) {
    expect(sent.get(id) ?? line.toString()).toBe(line.toString());
    sent.set(id, line.toString());
  }
  const lines = [...world.acknowledged.values()].flat();
  expect(lines.length).toBeGreaterThan(500);
  return { sent, lines };
}

describe("a sink on a machine that goes down at any moment", () => {
  test("brings each acknowledged record, under one id", { timeout: 600_000 }, async () => {
    const { sent, lines } = await liveOn({});
    expect([...sent.values()].sort()).toEqual([...lines].sort());
  });

  test("counts each acknowledged record in one digest", { timeout: 600_000 }, async () => {
    const { sent, lines } = await liveOn({ digest: { interval_ms: INTERVAL_MS, groups_max: 5 }, batch_records_max: 2 });
    const digests = [...sent.values()].map((line) => JSON.parse(line) as { count: number; bytes: number });
    expect(digests.reduce((sum, { count }) => sum + count, 0)).toBe(lines.length);
    expect(digests.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(lines.reduce((sum, line) => sum + line.length, 0));
    expect(digests.length).toBeLessThan(lines.length);
  });
});
