import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { WeirProcess } from "../../src/roles/process.ts";
import { SEED } from "../random.ts";
import { Agent } from "./agent.ts";
import { FaultyDisk } from "./faulty-disk.ts";
import { pagedLines } from "./program.ts";

const PIPELINE = `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:0"] }
pipelines:
  all: { steps: [trace, level, { labels: { tag: $tag } }] }
store: { flush_age_ms: 50, segment_bytes: 65536 }
intake: { file_bytes: 65536 }
query: { threads: 0 }
http: { listen: "127.0.0.1:0" }
`;
const ROUNDS = 30;

/** One instance over a disk and a store that outlive it. */
class Instance {
  readonly disk: FaultyDisk;
  readonly store: FaultyStore;
  private readonly random: Random;
  weir: WeirProcess | null = null;

  constructor(memory: MemoryStore, random: Random) {
    this.random = random;
    this.disk = new FaultyDisk(random);
    this.store = new FaultyStore(memory);
  }

  async start(dataDir: string): Promise<void> {
    const config = loadConfig(PIPELINE, "faults.yaml", registries);
    this.weir = await WeirProcess.start(
      config,
      { dataDir, storeUrl: "memory:" },
      { metrics: new Metrics(), log: silentLogger, version: "test", files: this.disk, objects: this.store },
    );
  }

  get forward(): { host: string; port: number } {
    const url = new URL((this.weir?.forwardAddresses[0] ?? "").replace("tcp:", "http:"));
    return { host: url.hostname, port: Number(url.port) };
  }

  /** From now on calls fail at random, below the intake log and below the store. */
  beginFaults(): void {
    this.disk.mode = "failing";
    this.store.plan = () => {
      const dice = this.random.below(10);
      return dice > 3 ? undefined : { outcome: dice > 1 ? "fail" : "lost_answer", delayMs: this.random.below(5) };
    };
  }

  endFaults(): void {
    this.disk.mode = "well";
    this.store.plan = () => undefined;
  }

  /** A power cut: nothing more reaches disk or store, and the connections break. */
  async crash(): Promise<void> {
    this.disk.mode = "gone";
    this.store.plan = () => ({ outcome: "fail" });
    await this.weir?.stop(0);
  }
}

describe("faults below intake log and store", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-faults-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test("keep every acknowledged line exactly once, over failures and crashes in the middle of them", {
    timeout: 1_800_000,
  }, async () => {
    const random = new Random(SEED);
    const memory = new MemoryStore();
    let instance = new Instance(memory, random);
    await instance.start(folder);
    const agents = [0, 1, 2].map((i) => new Agent(`agent-${i}`, `faults.${i}`, () => instance.forward));
    for (const agent of agents) agent.start();
    let faults = 0;
    const lines = () => agents.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
    // On a slow machine there is less that could fail in each of them.
    for (let round = 0; round < ROUNDS || faults <= 15 || lines() <= 500; round++) {
      await sleep(random.below(150));
      instance.beginFaults();
      await sleep(random.below(300));
      faults += instance.disk.faults;
      instance.disk.faults = 0;
      if (round % 3 === 2) {
        await instance.crash();
        instance = new Instance(memory, random);
        await instance.start(folder);
      } else {
        instance.endFaults();
      }
    }
    await Promise.all(agents.map((agent) => agent.finish()));
    const { weir } = instance;
    await expect.poll(() => weir?.ready().ready).toBe(true);
    const acknowledged = agents.flatMap((agent) => agent.acknowledged).toSorted();
    console.log(`${acknowledged.length} lines acknowledged, ${faults} faults of the disk`);
    const all = async (of: WeirProcess | null) =>
      (await pagedLines(`http://${of?.httpAddress}`, '{tag=~"faults.+"}', acknowledged.length)).toSorted();
    expect(await all(weir)).toEqual(acknowledged);
    await weir?.stop();
    instance = new Instance(memory, random);
    await instance.start(folder);
    expect(await all(instance.weir)).toEqual(acknowledged);
    await instance.weir?.stop();
  });
});
