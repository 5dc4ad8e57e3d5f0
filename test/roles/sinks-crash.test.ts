import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Agent, untilAcknowledged } from "../live/agent.ts";
import { Program } from "../live/program.ts";
import { Random, SEED } from "../random.ts";
import { HttpDestination } from "../sinks/destinations.ts";

const AGENTS = 3;
const ROUNDS = 6;

const pipeline = (fine: string, away: string, files: string) => `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:24224"] }
pipelines:
  all: { steps: [trace, level, { labels: { tag: $tag } }], to: [store, fine, away, files] }
sinks:
  store: { type: store }
  fine: { type: http, url: "${fine}/", timeout_ms: 2000, batch_records_max: 500, batch_age_ms: 20, retry_max_ms: 100 }
  away: { type: http, url: "${away}/", batch_age_ms: 20, retry_max_ms: 100 }
  files: { type: file, path: "${files}/{tag}.log", batch_age_ms: 20, rotate_bytes: 200000 }
store: { flush_age_ms: 150, segment_bytes: 65536 }
intake: { file_bytes: 1048576 }
query: { threads: 1 }
`;

interface Sent {
  readonly id: string;
  readonly line: string;
}

const rowsOf = (text: string): Sent[] =>
  text
    .split("\n")
    .filter((row) => row !== "")
    .map((row) => JSON.parse(row) as Sent);

/** What came to a destination. It is read as it comes: the destination is in this process, and has to answer in time. */
class Taken {
  /** The line of each id. */
  readonly lines = new Map<string, string>();
  /** Ids that came again with another line. */
  readonly broken: string[] = [];
  records = 0;

  add(body: Buffer): void {
    for (const { id, line } of rowsOf(body.toString())) {
      if ((this.lines.get(id) ?? line) !== line) this.broken.push(id);
      this.lines.set(id, line);
      this.records++;
    }
  }

  get sorted(): string[] {
    return [...this.lines.values()].sort();
  }
}

describe("record sinks of a killed process", () => {
  let folder = "";
  let program: Program | null = null;
  let agents: Agent[] = [];
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-sinks-crash-"));
  });
  afterEach(async () => {
    // Whatever a failed test has left running.
    const finished = Promise.all(agents.map((agent) => agent.finish()));
    await Promise.race([finished, sleep(2000)]);
    if (program !== null && !program.ended) await program.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  test("have each acknowledged record: one that works, one that was away, and files", {
    timeout: 900_000, // Seven starts of a process, on a machine that may have other work.
  }, async () => {
    const random = new Random(SEED);
    const fine = await HttpDestination.start();
    const away = await HttpDestination.start();
    await away.stop();
    const taken = { fine: new Taken(), away: new Taken() };
    fine.answer = ({ body }) => {
      if (random.below(20) === 0) return { status: 503 };
      taken.fine.add(body);
      return random.below(20) === 0 ? null : { status: 200 }; // null: taken, and the answer gets lost.
    };
    away.answer = ({ body }) => {
      taken.away.add(body);
      return { status: 200 };
    };
    const files = path.join(folder, "files");
    writeFileSync(path.join(folder, "weir.yaml"), pipeline(fine.url, away.url, files));
    const start = () =>
      Program.run(path.join(folder, "weir.yaml"), path.join(folder, "data"), ["--log-level", "fatal"]);
    let running = await start();
    program = running;
    agents = Array.from({ length: AGENTS }, (_, i) => new Agent(`agent-${i}`, `t${i}`, () => running.forward));
    for (const agent of agents) agent.start();
    for (let round = 0; round < ROUNDS; round++) {
      await sleep(100 + random.below(1000));
      if (round === ROUNDS - 2) await away.listen();
      await running.kill("SIGKILL");
      running = await start();
      program = running;
    }
    await untilAcknowledged(agents, 300);
    await Promise.all(agents.map((agent) => agent.finish()));
    const acknowledged = agents.flatMap((agent) => agent.acknowledged).sort();
    console.log(`seed ${SEED}: ${acknowledged.length} lines, ${taken.fine.records} came to the one that works`);
    expect((await running.lines('{tag=~"t.+"}', acknowledged.length)).sort()).toEqual(acknowledged);
    const filed = (): Sent[] =>
      readdirSync(files).flatMap((name) => rowsOf(readFileSync(path.join(files, name), "utf8").replace(/[^\n]*$/, "")));
    const wanted = { fine: acknowledged.length, away: acknowledged.length };
    const came = () => ({ fine: taken.fine.lines.size, away: taken.away.lines.size });
    for (let waits = 0; waits < 2400 && !isDeepStrictEqual(came(), wanted); waits++) await sleep(100);
    expect(came()).toEqual(wanted);
    for (let waits = 0; waits < 2400 && filed().length < acknowledged.length; waits++) await sleep(100);
    for (const { sorted, broken } of [taken.fine, taken.away]) {
      expect(sorted).toEqual(acknowledged);
      expect(broken).toEqual([]);
    }
    // Files have no need of ids: nothing is in them twice.
    expect(
      filed()
        .map(({ line }) => line)
        .sort(),
    ).toEqual(acknowledged);
    expect(await running.kill("SIGTERM")).toBe(0);
    await fine.stop();
    await away.stop();
  });
});
