import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { SEED } from "../random.ts";
import { freePort } from "./free-port.ts";
import { Program } from "./program.ts";

/*
 * Three processes over one store: one is asked, the others help. They are killed and held while a query is with them, and the
 * answer stays what one of them gives alone.
 */

const STREAMS = 6;
const LINES = 4000;
const KEY = "queriers-of-a-test";
const PIPELINE = `
receivers: { forward: { type: forward, udp_heartbeat: false } }
pipelines: { default: { steps: [level] } }
compactor: { enabled: false }
query: { threads: 1, querier_key: ${KEY} }
ingest: { ingestion_rate_mb: 0 }
`;
/** Reads every line. */
const LOG = '{app=~".+"} |~ "[0-9]{4}f"';
const METRIC = 'sum by (app) (count_over_time({app=~".+"} |~ "[0-9]{3}e"[10s]))';

interface Figures {
  readonly peers: { readonly queriers: number; readonly batches: number };
  readonly results: number;
}

describe("one query over three queriers", { timeout: 900_000 }, () => {
  let dir = "";
  let pipeline = "";
  let front: Program;
  let alone: Program;
  const helpers: Program[] = [];
  const addresses: string[] = [];
  const beginNs = BigInt(Math.floor(Date.now() / 1000) - 600) * 1_000_000_000n;
  const range = `start=${beginNs}&end=${beginNs + 100_000_000_000n}`;

  const start = (name: string, extra: readonly string[]) =>
    Program.run(pipeline, path.join(dir, name), ["--store", path.join(dir, "store"), ...extra]);

  async function startHelper(i: number, listen: string): Promise<void> {
    const program = await start(`helper-${i}`, ["--querier-listen", listen]);
    helpers[i] = program;
    addresses[i] = /queriers +(127\.0\.0\.1:\d+)/.exec(program.stdout)?.[1] ?? "";
    expect(addresses[i]).not.toBe("");
  }

  beforeAll(async () => {
    dir = mkdtempSync(path.join(os.tmpdir(), "weir-queriers-"));
    pipeline = path.join(dir, "pipeline.yaml");
    writeFileSync(pipeline, PIPELINE);
    alone = await start("first", []);
    const random = new Random(SEED);
    for (let from = 0; from < LINES; from += 1000) {
      const streams = Array.from({ length: STREAMS }, (_, s) => ({
        stream: { app: `a${s}` },
        values: Array.from({ length: 1000 / STREAMS }, (_, l) => [
          String(beginNs + BigInt(from + l * STREAMS + s) * 10_000_000n),
          `line ${from + l * STREAMS + s} ${random.hex(120)}`,
        ]),
      }));
      const init = {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ streams }),
      };
      const answer = await fetch(`${alone.http}/loki/api/v1/push`, init);
      expect(answer.status, await answer.text()).toBe(204);
    }
    // What it has received is in the store when it has ended.
    expect(await alone.kill("SIGTERM")).toBe(0);
    alone = await start("alone", []);
    for (const i of [0, 1]) await startHelper(i, `127.0.0.1:${await freePort()}`);
    front = await start("front", ["--queriers", addresses.join(",")]);
    await untilUp(2);
  }, 400_000);
  afterAll(async () => {
    for (const program of [front, alone, ...helpers]) if (program !== undefined && !program.ended) await program.kill();
    rmSync(dir, { recursive: true, force: true });
  });

  const paths = {
    log: `query_range?query=${encodeURIComponent(LOG)}&limit=5000&${range}`,
    oldest: `query_range?query=${encodeURIComponent(LOG)}&limit=30&direction=forward&${range}`,
    metric: `query_range?query=${encodeURIComponent(METRIC)}&step=10&${range}`,
  };

  async function ask(program: Program, what: keyof typeof paths, signal?: AbortSignal): Promise<unknown> {
    const answer = await fetch(`${program.http}/loki/api/v1/${paths[what]}`, signal === undefined ? {} : { signal });
    const text = await answer.text();
    expect(answer.status, text).toBe(200);
    const { data, warnings } = JSON.parse(text) as { data: { result: unknown[] }; warnings?: unknown };
    expect(warnings).toBeUndefined();
    expect(data.result.length).toBeGreaterThan(0);
    return data.result;
  }

  /** The sum of a metric over those of its series that `of` is a part of. */
  async function metric(program: Program, name: string, of = ""): Promise<number> {
    const text = await (await fetch(`${program.http}/metrics`)).text();
    return text
      .split("\n")
      .filter((line) => line.startsWith(`${name}{`) && line.includes(of))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
  }

  /** A querier that rests is looked at again when there is a query. */
  async function untilUp(count: number): Promise<void> {
    while ((await metric(front, "weir_query_peer_up")) !== count) {
      await ask(front, "oldest");
      await sleep(50);
    }
  }

  /**
   * Asks, until a part of the query is at this address; gives the query, which goes on. On a busy machine the others may have done all of it
   * before this one got any.
   */
  async function askWith(
    address: string,
    what: keyof typeof paths,
    signal?: AbortSignal,
  ): Promise<{ asked: Promise<unknown> }> {
    for (;;) {
      const asked = ask(front, what, signal);
      let isDone = false;
      const done = asked.finally(() => {
        isDone = true;
      });
      done.catch(() => {}); // Looked at by who asks, or below.
      while (!isDone) {
        if ((await metric(front, "weir_query_peer_in_flight", address)) > 0) return { asked };
        await sleep(5);
      }
      await asked;
    }
  }

  /** Holds a querier while `act` asks it for something that nobody wants any more in the end: it finds that out when it wakes up. */
  async function isCancelledAt(helper: Program, act: () => Promise<void>): Promise<void> {
    const scans = (outcome = "") => metric(helper, "weir_query_peer_scans_total", outcome);
    for (;;) {
      await untilUp(2);
      const [all, cancelled] = [await scans(), await scans("cancelled")];
      helper.child.kill("SIGSTOP");
      await act();
      helper.child.kill("SIGCONT");
      while ((await scans()) === all) await sleep(20);
      if ((await scans("cancelled")) > cancelled) return;
      // It was done with it sooner than it heard of that.
    }
  }

  test.each(["log", "oldest", "metric"] as const)("gives what one gives alone: %s", async (what) => {
    expect(await ask(front, what)).toEqual(await ask(alone, what));
  });

  test("is done by all of them", async () => {
    const explain = `${front.http}/api/v1/explain?${paths.log.replace("query_range?", "")}`;
    // On a busy machine one of them may not have been quick enough to get anything.
    for (;;) {
      const { data } = (await (await fetch(explain)).json()) as { data: Figures };
      if (data.peers.queriers === 2 && data.peers.batches > 1) break;
    }
    for (const helper of helpers)
      await expect.poll(() => metric(helper, "weir_query_peer_scans_total", "done")).toBeGreaterThan(0);
    expect(await metric(alone, "weir_query_peer_scans_total")).toBe(0);
  });

  test("is not to be had at the port of the API, nor without the key", async () => {
    expect((await fetch(`${helpers[0].http}/querier/v1/hello`)).status).toBe(404);
    expect((await fetch(`http://${addresses[0]}/querier/v1/hello`)).status).toBe(401);
    const headers = { authorization: `Bearer ${KEY}` };
    expect((await fetch(`http://${addresses[0]}/querier/v1/hello`, { headers })).status).toBe(200);
  });

  test.each(["log", "metric"] as const)("is whole when one is killed in the middle of it: %s", async (what) => {
    const wanted = await ask(alone, what);
    const failed = () => metric(front, "weir_query_peer_requests_total", 'outcome="failed"');
    const failedBefore = await failed();
    // On a busy machine others may have done its part as well, just before it is killed: then its end is no failure.
    while ((await failed()) === failedBefore) {
      await untilUp(2);
      // Held, so that it has its batches for sure when it is killed.
      helpers[0].child.kill("SIGSTOP");
      const { asked } = await askWith(addresses[0], what);
      await helpers[0].kill("SIGKILL");
      expect(await asked).toEqual(wanted);
      expect(await ask(front, what)).toEqual(wanted);
      // It comes back at its address, and is used again.
      await startHelper(0, addresses[0]);
    }
    await untilUp(2);
  });

  test("is not held up by one that hangs, and stops there when nobody wants it any more", async () => {
    const wanted = await ask(alone, "log");
    await isCancelledAt(helpers[1], async () => {
      const { asked } = await askWith(addresses[1], "log");
      expect(await asked).toEqual(wanted);
      // What it has was given up: the query has its answer.
      const left = () => metric(front, "weir_query_peer_requests_total", 'outcome="left"');
      await expect.poll(left).toBeGreaterThan(0);
    });
  });

  test("ends at the others when its client leaves", async () => {
    await isCancelledAt(helpers[1], async () => {
      for (let isLeft = false; !isLeft; ) {
        const leaving = new AbortController();
        const { asked } = await askWith(addresses[1], "metric", leaving.signal);
        leaving.abort();
        // It may have had its answer just before.
        isLeft = await asked.then(
          () => false,
          () => true,
        );
      }
      while ((await metric(front, "weir_query_peer_in_flight", addresses[1])) > 0) await sleep(5);
    });
  });

  test("and all of them end by themselves", async () => {
    for (const program of [front, alone, ...helpers]) expect(await program.kill("SIGTERM")).toBe(0);
  });
});
