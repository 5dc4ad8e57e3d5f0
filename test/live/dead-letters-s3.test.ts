import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { ALL_TAKEN, type RecordSink, type SinkRecord } from "../../src/core/sink.ts";
import { openObjectStore } from "../../src/objects/open.ts";
import { DeadLetterBox } from "../../src/roles/dead-letter-box.ts";
import { deadLetterOptions } from "../../src/roles/dead-letter-options.ts";
import { DeadLetterStore } from "../../src/roles/dead-letters.ts";
import { records } from "../contract/sinks.ts";
import { HttpDestination } from "../sinks/destinations.ts";
import { Agent } from "./agent.ts";
import { Program } from "./program.ts";
import { BUCKET, S3_KEYS, S3_PROGRAM, S3_SKIPPED, S3Server } from "./s3-server.ts";

if (S3_PROGRAM === "") console.warn(S3_SKIPPED);

describe.skipIf(S3_PROGRAM === "")("dead letters in S3", () => {
  let server: S3Server;
  let folder = "";
  beforeAll(async () => {
    // Inherited by the processes that are started.
    Object.assign(process.env, S3_KEYS);
    server = await S3Server.start();
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-dead-s3-"));
  });
  afterAll(async () => {
    for (const name of Object.keys(S3_KEYS)) delete process.env[name];
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test("are neither lost nor back while some come, and others are replayed and dropped", {
    timeout: 1_200_000,
  }, async () => {
    const objects = await openObjectStore(`s3://${BUCKET}/box?endpoint=${server.endpoint}`);
    const its = new DeadLetterStore(deadLetterOptions.parse({}), {
      objects,
      metrics: new Metrics(),
      log: silentLogger,
      now: Date.now,
    });
    const taken: SinkRecord[] = [];
    const sink: RecordSink = {
      async write(batch) {
        const isBad = ({ line }: SinkRecord) => line.includes("bad");
        taken.push(...batch.filter((record) => !isBad(record)));
        const failed = batch.flatMap((record, position) =>
          isBad(record) ? [{ position, reason: "no", retriable: false }] : [],
        );
        return failed.length === 0 ? ALL_TAKEN : { failed };
      },
      close: async () => {},
    };
    const open = () => DeadLetterBox.open(objects, silentLogger);
    const replay = async () =>
      (await open()).replay("out", sink, {
        limit: 1e6,
        bounds: { records: 3, bytes: 1 << 20 },
        signal: new AbortController().signal,
      });
    let isWriting = true;
    const added: string[] = [];
    const add = async (name: string, lines: readonly string[], offset: number) => {
      // The runner tries on as well when somebody was quicker.
      for (;;) {
        try {
          return await its.add(
            name,
            records(lines, offset).map((record) => ({ record, reason: "no such field" })),
          );
        } catch (error) {
          expect(error).toMatchObject({ code: "position_taken" });
        }
      }
    };
    const writer = (async () => {
      for (let i = 0; i < 8; i++) {
        const lines = [`ok ${i}`, `bad ${i}`, `ok ${i} too`];
        added.push(...lines);
        await add("out", lines, i);
        await add("noise", ["noise"], i);
      }
      isWriting = false;
    })();
    const replayer = (async () => {
      while (isWriting) await replay();
    })();
    const dropper = (async () => {
      while (isWriting) await (await open()).remove({ sink: "noise" });
    })();
    await Promise.all([writer, replayer, dropper]);
    await replay();
    await (await open()).remove({ sink: "noise" });
    const left: string[] = [];
    for await (const { record } of (await open()).letters({})) left.push(record.line.toString());
    expect([...new Set(left)].sort()).toEqual(added.filter((line) => line.startsWith("bad")).sort());
    expect([...new Set(taken.map(({ line }) => line.toString()))].sort()).toEqual(
      added.filter((line) => line.startsWith("ok")).sort(),
    );
    await objects.close();
  });

  test("of a running Weir are listed, shown, replayed and dropped by the commands, over its kill", {
    timeout: 1_200_000,
  }, async () => {
    const to = await HttpDestination.start();
    to.answer = ({ body }) =>
      /line \d*7"/.test(body.toString()) ? { status: 422, text: "no sevens" } : { status: 200 };
    const file = path.join(folder, "weir.yaml");
    writeFileSync(
      file,
      `
receivers: { forward: { type: forward } }
pipelines: { all: { to: [store, out] } }
sinks:
  store: { type: store }
  out: { type: http, url: "${to.url}/", batch_age_ms: 20, batch_records_max: 40, retry_max_ms: 100 }
`,
    );
    const url = `s3://${BUCKET}/weir?endpoint=${server.endpoint}`;
    const start = () => Program.run(file, path.join(folder, "data"), ["--store", url, "--log-level", "fatal"]);
    const weir = async (...args: string[]) => {
      const program = new Program(args);
      const code = await program.exit();
      return { code, text: program.stdout };
    };
    let running = await start();
    const agent = new Agent("agent", "t", () => running.forward);
    agent.start();
    await vi.waitFor(() => expect(agent.acknowledged.length).toBeGreaterThan(200), { timeout: 120_000 });
    await running.kill("SIGKILL");
    running = await start();
    await agent.finish();
    const sevens = agent.acknowledged.filter((line) => line.endsWith("7"));
    const ids = async () => {
      const { text } = await weir("dead", "show", url, "--limit", "100000", "--output", "json");
      const letters = text
        .split("\n")
        .flatMap((line) => (line === "" ? [] : [JSON.parse(line) as { id: string; line: string }]));
      return new Map(letters.map(({ id, line }) => [id, line]));
    };
    await vi.waitFor(async () => expect([...(await ids()).values()].sort()).toEqual(sevens.sort()), {
      timeout: 120_000,
      interval: 500,
    });
    // What was under way at the kill comes once more, and is refused once more.
    const lag = async () =>
      /^weir_sink_lag_entries\{sink="out"\} (\d+)$/m.exec(await (await fetch(`${running.http}/metrics`)).text())?.[1];
    await expect.poll(lag).toBe("0");
    expect((await weir("dead", "list", url)).text).toContain("422 no sevens");
    to.answer = () => ({ status: 200 });
    to.got.length = 0;
    const replayed = await weir("dead", "replay", file, "--sink", "out", "--store", url);
    expect(replayed).toMatchObject({ code: 0, text: expect.stringContaining(" 0 refused again") });
    const got = to.got.flatMap(({ body }) =>
      [...body.toString().matchAll(/"line":"(agent line \d*7)"/g)].map(([, line]) => line),
    );
    expect([...new Set(got)].sort()).toEqual(sevens.sort());
    expect((await weir("dead", "list", url)).text).toBe("no dead letters\n");
    expect((await weir("dead", "drop", url, "--all")).text).toBe("0 dead letters dropped\n");
    expect(await running.kill("SIGTERM")).toBe(0);
    await to.stop();
  });
});
