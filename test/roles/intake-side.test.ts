import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ENTRY_FORWARD, type EntryDraft } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { diskIntakeOptions } from "../../src/intake/options.ts";
import { DiskIntakeSide } from "../../src/roles/intake-side.ts";
import { SinkPlaces } from "../../src/roles/sinks-side.ts";

const SINKS = { sinks: [{ name: "out", type: "null", options: {} }] };

describe("an intake log of several partitions", () => {
  let dataDir = "";
  beforeEach(async () => {
    dataDir = await mkdtemp(path.join(os.tmpdir(), "weir-intake-side-"));
  });
  afterEach(() => rm(dataDir, { recursive: true, force: true }));

  async function open(partitions: number, chainEnd: (partition: number) => number = () => 0) {
    const places = await SinkPlaces.open(SINKS, dataDir, chainEnd);
    const wanted = { dataDir, partitions, chainEnd, places };
    const options = diskIntakeOptions.parse({});
    return { places, side: await DiskIntakeSide.open(options, wanted, { metrics: new Metrics(), log: silentLogger }) };
  }

  const draft = (origin: string, more: Partial<EntryDraft> = {}): EntryDraft => ({
    ...{ kind: ENTRY_FORWARD, tenant: "fake", source: "in", receivedMs: 0, payload: Buffer.from("x"), origin },
    ...more,
  });
  const total = (ends: Readonly<Record<string, number>>) => Object.values(ends).reduce((sum, next) => sum + next, 0);

  test("spreads sources, and says of each partition where it ends", async () => {
    const { side } = await open(3);
    for (let i = 0; i < 60; i++) await side.receiving.append(draft(`source ${i}`));
    const ends = side.ends();
    expect(Object.keys(ends)).toEqual(["0", "1", "2"]);
    expect(total(ends)).toBe(60);
    for (const next of Object.values(ends)) expect(next).toBeGreaterThan(5);
    await side.intake.close();
  });

  test("opened with fewer, keeps those that there are and writes to the first", async () => {
    const before = await open(3);
    for (let i = 0; i < 30; i++) await before.side.receiving.append(draft(`source ${i}`));
    const left = before.side.ends();
    await before.side.intake.close();
    const { side } = await open(1);
    expect(side.ends()).toEqual(left);
    for (let i = 0; i < 30; i++) await side.receiving.append(draft(`source ${i}`));
    expect(side.ends()).toEqual({ ...left, 0: left[0] + 30 });
    await side.intake.close();
  });

  test("knows a chunk that comes again although its source has another partition now", async () => {
    const before = await open(8);
    for (let i = 0; i < 20; i++) await before.side.receiving.append(draft(`source ${i}`, { dedupeKey: `chunk ${i}` }));
    await before.side.intake.close();
    const { side } = await open(3);
    for (let i = 0; i < 20; i++) {
      const { offset } = await side.receiving.append(draft(`source ${i}`, { dedupeKey: `chunk ${i}` }));
      expect(offset).toBeNull();
    }
    await side.intake.close();
  });

  test("a new sink begins in each partition where the store is, also when the store is further later", async () => {
    const first = await open(2, (partition) => 10 + partition);
    await first.side.intake.close();
    const { places, side } = await open(3, () => 20);
    const positions = places.positions.get("out");
    expect([0, 1, 2].map((partition) => positions?.get(partition)?.offset)).toEqual([10, 11, 20]);
    await side.intake.close();
  });
});
