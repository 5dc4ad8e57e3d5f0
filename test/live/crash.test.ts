import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { SEED } from "../random.ts";
import { Agent } from "./agent.ts";
import { Program } from "./program.ts";

/** Small enough that every round flushes several segments and rotates the intake log. */
const PIPELINE = `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:24224"] }
pipelines:
  all: { steps: [trace, level, { labels: { tag: $tag } }] }
store: { flush_age_ms: 150, segment_bytes: 65536 }
intake: { file_bytes: 1048576 }
`;

const AGENTS = 4;
/** So many lines are acknowledged at least: on a slow machine it takes more kills until then. */
const LINES_MIN = 1000;

describe("a killed process", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-crash-"));
    writeFileSync(path.join(folder, "weir.yaml"), PIPELINE);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const start = () => Program.run(path.join(folder, "weir.yaml"), path.join(folder, "data"), ["--log-level", "error"]);

  async function crashRounds(rounds: number, seed: number, signalFor: (round: number) => NodeJS.Signals) {
    const random = new Random(seed);
    let program = await start();
    const agents = Array.from(
      { length: AGENTS },
      (_, i) => new Agent(`agent-${i}`, `crash.${i}`, () => program.forward),
    );
    for (const agent of agents) agent.start();
    const count = () => agents.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
    for (let round = 0; round < rounds || count() <= LINES_MIN; round++) {
      await sleep(20 + random.below(700));
      await program.kill(signalFor(round));
      program = await start();
    }
    await Promise.all(agents.map((agent) => agent.finish()));
    const found = await program.lines('{tag=~"crash.+"}', count());
    // Once more from the store alone: what was still open is flushed at the end.
    expect(await program.kill("SIGTERM")).toBe(0);
    program = await start();
    const again = await program.lines('{tag=~"crash.+"}', count());
    await program.kill("SIGTERM");
    return { acknowledged: agents.flatMap((agent) => agent.acknowledged), found, again };
  }

  test("returns every acknowledged line exactly once after 30 kills at random moments", {
    timeout: 1_800_000,
  }, async () => {
    const { acknowledged, found, again } = await crashRounds(30, SEED, () => "SIGKILL");
    console.log(`${acknowledged.length} lines acknowledged`);
    expect(found.toSorted()).toEqual(acknowledged.toSorted());
    expect(again.toSorted()).toEqual(acknowledged.toSorted());
  });

  test("loses nothing when it is asked to stop, or stopped twice", { timeout: 300_000 }, async () => {
    const { acknowledged, found, again } = await crashRounds(5, 7, (round) => (round % 2 === 0 ? "SIGTERM" : "SIGINT"));
    expect(found.toSorted()).toEqual(acknowledged.toSorted());
    expect(again.toSorted()).toEqual(acknowledged.toSorted());
  });
});
