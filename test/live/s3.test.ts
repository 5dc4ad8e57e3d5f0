import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import type { Fault } from "../contract/s3-proxy.ts";
import { SEED } from "../random.ts";
import { Agent, untilAcknowledged } from "./agent.ts";
import { freePort } from "./free-port.ts";
import { Program, QUICKSTART } from "./program.ts";
import { proxiedS3 } from "./proxied-s3.ts";
import { BUCKET, S3_PROGRAM, S3_SKIPPED } from "./s3-server.ts";

if (S3_PROGRAM === "") console.warn(S3_SKIPPED);

/** Small enough that every round flushes several segments. Waits are short, so that a fault costs the test little. */
const PIPELINE = `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:24224"] }
pipelines:
  all: { steps: [trace, level, { labels: { tag: $tag } }] }
store: { flush_age_ms: 150, segment_bytes: 65536 }
s3: { request_timeout_ms: 3000, attempts: 3 }
query: { threads: 2 }
`;
const AGENTS = 2;
const ROUNDS = 3;
const FAULTS_A_ROUND = 6;

const KINDS: readonly Fault[] = [
  { kind: "error", status: 503, code: "SlowDown" },
  { kind: "error", status: 500, code: "InternalError" },
  { kind: "cut_before" },
  { kind: "torn_upload" },
  { kind: "lost_answer" },
  { kind: "lost_answer" },
  { kind: "late", ms: 300 },
  { kind: "cut_answer" },
  { kind: "hang" },
];

describe.skipIf(S3_PROGRAM === "")("weir run with its store in S3", () => {
  const s3 = proxiedS3();
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-s3-live-"));
    writeFileSync(path.join(folder, "weir.yaml"), PIPELINE);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const start = (prefix: string, data = "data") =>
    Program.run(path.join(folder, "weir.yaml"), path.join(folder, data), [
      "--log-level",
      "error",
      "--store",
      `s3://${BUCKET}/${prefix}`,
      "--s3-endpoint",
      s3.proxy.endpoint,
    ]);

  test("keeps every acknowledged line exactly once, over faults on the way to S3 and kills", {
    timeout: 1_800_000,
  }, async () => {
    const random = new Random(SEED);
    let program = await start("exactly-once");
    const agents = Array.from({ length: AGENTS }, (_, i) => new Agent(`agent-${i}`, `s3.${i}`, () => program.forward));
    for (const agent of agents) agent.start();
    const before = s3.proxy.faults;
    for (let round = 0; round < ROUNDS; round++) {
      const goal = s3.proxy.faults + FAULTS_A_ROUND;
      s3.proxy.plan = () => (random.below(10) < 4 ? KINDS[random.below(KINDS.length)] : undefined);
      while (s3.proxy.faults < goal) await sleep(20);
      // One round without S3 at all.
      if (round === 1) {
        s3.proxy.plan = () => ({ kind: "cut_before" });
        await sleep(1500);
      }
      s3.proxy.plan = () => undefined;
      await program.kill(round % 2 === 0 ? "SIGKILL" : "SIGTERM");
      program = await start("exactly-once");
    }
    await untilAcknowledged(agents, 300);
    await Promise.all(agents.map((agent) => agent.finish()));
    const acknowledged = agents.flatMap((agent) => agent.acknowledged).toSorted();
    console.log(`${acknowledged.length} lines acknowledged, ${s3.proxy.faults - before} faults`);
    const lines = async () => (await program.lines('{tag=~"s3.+"}', acknowledged.length)).toSorted();
    expect(await lines()).toEqual(acknowledged);
    expect(await program.kill("SIGTERM")).toBe(0);
    // From S3 alone, with another, empty data folder.
    program = await start("exactly-once", "other-data");
    expect(await lines()).toEqual(acknowledged);
    expect(await program.kill("SIGTERM")).toBe(0);
    // Nothing of the SDK's own on the user's screen.
    expect(program.stderr).toBe("");
  });

  test("acknowledges while S3 is away, and stores when it is back", { timeout: 900_000 }, async () => {
    const program = await start("outage");
    s3.proxy.plan = () => ({ kind: "error", status: 403, code: "AccessDenied" });
    const agent = new Agent("agent", "s3.outage", () => program.forward);
    agent.start();
    await sleep(1500);
    await untilAcknowledged([agent], 0);
    await agent.finish();
    const lines = async (of: Program) => (await of.lines('{tag="s3.outage"}', agent.acknowledged.length)).toSorted();
    s3.proxy.plan = () => undefined;
    expect(await lines(program)).toEqual(agent.acknowledged.toSorted());
    expect(await program.kill("SIGTERM")).toBe(0);
    const next = await start("outage", "other-data");
    expect(await lines(next)).toEqual(agent.acknowledged.toSorted());
    expect(await next.kill("SIGTERM")).toBe(0);
  });

  test("is compacted, verified and rebuilt there, line for line", { timeout: 900_000 }, async () => {
    const url = `s3://${BUCKET}/maintained`;
    const weir = async (...args: string[]) => {
      const program = new Program(args, { WEIR_S3_ENDPOINT: s3.server.endpoint, WEIR_S3_REGION: "us-east-1" });
      const code = await program.exit();
      return { code, text: program.stdout + program.stderr };
    };
    writeFileSync(
      path.join(folder, "weir.yaml"),
      `${PIPELINE.replace("flush_age_ms: 150", "flush_age_ms: 10")}compactor: { enabled: false, grace_ms: 1000 }\n`,
    );
    const program = await start("maintained");
    const agent = new Agent("agent", "s3.maintained", () => program.forward);
    agent.start();
    const segments = async () => {
      const metrics = await (await fetch(`${program.http}/metrics`)).text();
      return Number(/^weir_store_segments (\d+)/m.exec(metrics)?.[1]);
    };
    while ((await segments()) < 80) await sleep(50);
    await agent.finish();
    const acknowledged = agent.acknowledged.toSorted();
    const lines = async (of: Program) => (await of.lines('{tag="s3.maintained"}', acknowledged.length)).toSorted();
    expect(await lines(program)).toEqual(acknowledged);
    expect(await program.kill("SIGTERM")).toBe(0);

    const config = ["--config", path.join(folder, "weir.yaml")];
    const compacted = await weir("compact", url, "--once", ...config);
    expect(compacted).toMatchObject({ code: 0, text: expect.stringMatching(/^[1-9]\d* merges: /m) });
    expect(await weir("verify", url)).toMatchObject({ code: 0, text: expect.stringMatching(/^ok$/m) });
    // Without a catalog, from the segments alone: those that were merged still lie there for their grace time.
    for (const prefix of ["manifest", "pages", "catalog"]) {
      rmSync(path.join(s3.server.bucketFolder, "maintained", prefix), { recursive: true, force: true });
    }
    const rebuilt = await weir("rebuild", url, "--force");
    expect(rebuilt).toMatchObject({
      code: 0,
      text: expect.stringContaining(` ${acknowledged.length.toLocaleString("en")} lines`),
    });
    expect(await weir("verify", url)).toMatchObject({ code: 0, text: expect.stringMatching(/^ok$/m) });
    const again = await start("maintained", "other-data");
    expect(await lines(again)).toEqual(acknowledged);
    expect(await again.kill("SIGTERM")).toBe(0);
  });

  test.each([
    { name: "a bucket that is not there", store: "s3://no-such-bucket/x", says: /NoSuchBucket.*create the bucket/ },
    { name: "a URL that is none", store: "s3://x", says: /bucket's name "x"/ },
    {
      name: "a server that is not there",
      store: `s3://${BUCKET}/x`,
      endpoint: async () => `http://127.0.0.1:${await freePort()}`,
      says: /ECONNREFUSED/,
    },
  ])("refuses to start on $name, in one line", async ({ store, endpoint, says }) => {
    const program = new Program([
      "run",
      QUICKSTART,
      ...["--data", path.join(folder, "data"), "--http", "127.0.0.1:0", "--forward", "127.0.0.1:0"],
      ...["--store", store, "--s3-endpoint", (await endpoint?.()) ?? s3.server.endpoint],
    ]);
    expect(await program.exit()).toBe(1);
    expect(program.stderr).toMatch(says);
    expect(program.stderr.trim().split("\n"), program.stderr).toHaveLength(1);
  });
});
