import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Random, SEED } from "../random.ts";
import { Agent, untilAcknowledged } from "./agent.ts";
import { Program } from "./program.ts";

const AGENTS = 6;
/** Workers of one start after the other; 0 is the main thread. */
const WORKERS = [1, 3, 2, 0, 4, 1];

const pipeline = (files: string) => `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:24224"] }
pipelines:
  all: { steps: [trace, level, { labels: { tag: $tag } }], to: [store, files] }
sinks:
  store: { type: store }
  files: { type: file, path: "${files}/{tag}.log", form: line, batch_age_ms: 20 }
store: { flush_age_ms: 150, segment_bytes: 65536 }
intake: { file_bytes: 1048576 }
query: { threads: 1 }
`;

describe("a process whose number of workers changes", () => {
  let folder = "";
  let program: Program | null = null;
  let agents: Agent[] = [];
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-workers-"));
    writeFileSync(path.join(folder, "weir.yaml"), pipeline(path.join(folder, "files")));
  });
  afterEach(async () => {
    // Whatever a failed test has left running.
    await Promise.race([Promise.all(agents.map((agent) => agent.finish())), sleep(2000)]);
    if (program !== null && !program.ended) await program.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  const start = (workers: number) =>
    Program.run(path.join(folder, "weir.yaml"), path.join(folder, "data"), [
      "--log-level",
      "error",
      "--workers",
      String(workers),
    ]);

  /** Whole lines of the files that the sink has written. */
  const filed = () => {
    const files = path.join(folder, "files");
    return readdirSync(files).flatMap((name) => readFileSync(path.join(files, name), "utf8").split("\n").slice(0, -1));
  };

  test("returns every acknowledged line exactly once, and sinks have each once", { timeout: 1_800_000 }, async () => {
    const random = new Random(SEED);
    let running = await start(WORKERS[0]);
    program = running;
    agents = Array.from({ length: AGENTS }, (_, i) => new Agent(`agent-${i}`, `w${i}`, () => running.forward));
    for (const agent of agents) agent.start();
    for (const workers of WORKERS.slice(1)) {
      await sleep(300 + random.below(1500));
      await running.kill("SIGKILL");
      running = await start(workers);
      program = running;
    }
    await sleep(500);
    await untilAcknowledged(agents, 300);
    await Promise.all(agents.map((agent) => agent.finish()));
    const acknowledged = agents.flatMap((agent) => agent.acknowledged).sort();
    const partitions = readdirSync(path.join(folder, "data", "intake")).filter((name) => /^\d+$/.test(name));
    console.log(`seed ${SEED}: ${acknowledged.length} lines over partitions ${partitions.join(", ")}`);
    const lines = async () => (await running.lines('{tag=~"w.+"}', acknowledged.length)).sort();
    expect(partitions.length).toBeGreaterThan(1);
    expect(await lines()).toEqual(acknowledged);
    await vi.waitFor(() => expect(filed().length).toBe(acknowledged.length), { timeout: 120_000, interval: 100 });
    expect(filed().sort()).toEqual(acknowledged);
    // Once more from the store alone: what was still open is committed at the end.
    expect(await running.kill("SIGTERM")).toBe(0);
    running = await start(2);
    program = running;
    expect(await lines()).toEqual(acknowledged);
    expect(await running.kill("SIGTERM")).toBe(0);
    // The store is whole; and without its catalog, which is made anew, as long as there are segments of all partitions.
    const store = path.join(folder, "data", "store");
    expect(await new Program(["verify", store]).exit()).toBe(0);
    for (const part of ["catalog", "manifest", "pages"])
      rmSync(path.join(store, part), { recursive: true, force: true });
    const rebuild = new Program(["rebuild", store, "--force"]);
    expect(await rebuild.exit(), rebuild.stdout + rebuild.stderr).toBe(0);
    running = await start(3);
    program = running;
    expect(await lines()).toEqual(acknowledged);
    expect(await running.kill("SIGTERM")).toBe(0);
  });
});
