import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { ALL_TIMES, entriesOf, makeStore, SECOND, T0, type TestStore } from "../query/run/harness.ts";
import { SEED } from "../random.ts";
import { allSegments } from "../store/support.ts";
import { Agent } from "./agent.ts";
import { Program } from "./program.ts";

/** Longer than a query or a merge takes on a machine that is slow and has other work. */
const GRACE_MS = 5000;
/** Merges whatever there is at once, into many small segments, and deletes what was replaced soon. */
const CONFIG = `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:24224"] }
pipelines:
  all: { steps: [level] }
store: { block_bytes: 4096 }
compactor:
  interval_ms: 10
  grace_ms: ${GRACE_MS}
  sweep_interval_ms: 50
  settle_ms: 0
  level: 1
  segment_bytes: 65536
  fan_in: 3
  fan_in_above: 2
  cpu_share: 1
`;
const STREAMS = 5;
const LINES = 60;

/** Makes all files below a folder two hours older: leftovers are left alone for an hour. */
function age(folder: string): void {
  const then = new Date(Date.now() - 7_200_000);
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) utimesSync(path.join(entry.parentPath, entry.name), then, then);
  }
}

describe("compaction in processes of their own", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-compaction-"));
    writeFileSync(path.join(folder, "weir.yaml"), CONFIG);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const start = async (...more: string[]) => {
    const program = new Program([
      "compact",
      path.join(folder, "store"),
      "--config",
      path.join(folder, "weir.yaml"),
      ...more,
    ]);
    while (!program.stdout.includes("Compacting") && !program.ended) await sleep(5);
    return program;
  };

  test("a folder that is not there is a mistyped one, and is not made", async () => {
    rmSync(path.join(folder, "store"), { recursive: true, force: true });
    const program = await start("--once");
    expect(await program.exit()).toBe(1);
    expect(program.stderr).toMatch(/^weir: cannot open the store .*: ENOENT/);
    expect(readdirSync(folder)).toEqual(["weir.yaml"]);
  });

  /** Appends lines, some of them late, and commits them. Gives their texts. */
  async function flush(store: TestStore, random: Random, number: number): Promise<string[]> {
    const texts: string[] = [];
    for (let i = 0; i < LINES; i++) {
      const second = number * 5 + Math.floor(i / STREAMS) - (random.below(10) === 0 ? random.below(100_000) : 0);
      const text = `line ${number}/${i} ${random.hex(random.below(40))}`;
      store.append({ labels: { app: `app-${i % STREAMS}` }, ns: T0 + BigInt(second) * SECOND, text });
      texts.push(text);
    }
    await store.flush();
    return texts;
  }

  async function query(store: TestStore, backward: boolean): Promise<string[]> {
    const { warnings, ...result } = await store.engine.queryRange({
      query: '{app=~"app.+"}',
      ...ALL_TIMES,
      limit: 5000,
      backward,
    });
    expect(warnings).toEqual([]);
    return entriesOf({ ...result, warnings })
      .map(({ text }) => text)
      .sort();
  }

  test("killed at any moment they leave nothing half-done, and queries meanwhile see every line once", {
    timeout: 900_000,
  }, async () => {
    const random = new Random(SEED);
    const store = await makeStore({ folder: path.join(folder, "store") });
    const want: string[] = [];
    let merged = 0;
    try {
      for (let number = 0; number < 9; number++) want.push(...(await flush(store, random, number)));
      await store.catalog.fold();
      // On a slow machine most are killed before they have merged anything twice.
      for (let round = 0; round < 7 || merged < 2; round++) {
        // Now and then two at a time.
        const programs = await Promise.all(round % 4 === 3 ? [start(), start()] : [start()]);
        const until = performance.now() + random.below(400);
        do {
          want.push(...(await flush(store, random, 9 + round)).slice(0, LINES));
          if (random.below(2) === 0) await store.catalog.fold();
          expect(await query(store, random.below(2) === 0)).toEqual([...want].sort());
        } while (performance.now() < until && want.length < 4000);
        if (round >= 7) await sleep(5000);
        for (const program of programs) {
          expect(program.stderr).not.toMatch(/"level":[56]0/);
          expect(await program.kill("SIGKILL")).toBe("SIGKILL");
        }
        expect(await query(store, true)).toEqual([...want].sort());
        await store.catalog.refresh();
        merged = Math.max(merged, ...(await allSegments(store.catalog.view())).map(({ level }) => level));
      }
      expect(merged).toBeGreaterThan(1);
      await store.catalog.fold();
      await sleep(GRACE_MS + 100);
      age(path.join(folder, "store"));
      const last = await start("--once");
      expect(await last.exit(), last.stderr).toBe(0);
      expect(last.stdout).toMatch(/\d+ merges: \d+ segments/);
      expect(await query(store, false)).toEqual([...want].sort());
      await store.catalog.refresh();
      const named = new Set([...(await store.catalog.namedKeys())]);
      for await (const { key, modifiedMs } of store.objects.list("segments/")) {
        if (Date.now() - modifiedMs > GRACE_MS) expect(named.has(key), key).toBe(true);
      }
    } finally {
      await store.close();
    }
  });

  test("a process that does everything compacts as it goes, and stops at once", { timeout: 900_000 }, async () => {
    writeFileSync(
      path.join(folder, "all.yaml"),
      CONFIG.replace("block_bytes: 4096", "block_bytes: 4096, flush_age_ms: 50"),
    );
    const program = await Program.run(path.join(folder, "all.yaml"), path.join(folder, "data"), [
      "--log-level",
      "error",
    ]);
    const agent = new Agent("agent", "compaction.run", () => program.forward);
    agent.start();
    const merges = async () => {
      const text = await (await fetch(`${program.http}/metrics`)).text();
      return Number(/^weir_compact_jobs_total\{outcome="done"\} (\d+)/m.exec(text)?.[1] ?? 0);
    };
    while ((await merges()) < 3) await sleep(50);
    await agent.finish();
    const found = await program.lines('{tag="compaction.run"}', agent.acknowledged.length);
    expect(found.sort()).toEqual([...agent.acknowledged].sort());
    const began = performance.now();
    const code = await program.kill("SIGTERM");
    expect({ code, said: program.stderr }).toEqual({ code: 0, said: "" });
    expect(performance.now() - began).toBeLessThan(10_000);
  });
});
