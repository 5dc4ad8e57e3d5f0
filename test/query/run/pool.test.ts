import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { silentLogger } from "../../../src/core/log.ts";
import { ScanPool } from "../../../src/query/pool.ts";
import { type BatchBlock, emptyStats, ScanControl, type ScanJob } from "../../../src/query/scan-job.ts";

/** A worker that answers by what the query's text says. `workerData.objectsUrl` counts how many were started. */
const WORKER = `
import { parentPort, threadId } from "node:worker_threads";
const jobs = new Map();
parentPort.on("message", (m) => {
  if (m.type === "job") jobs.set(m.job.id, m.job);
  if (m.type === "end") jobs.delete(m.job);
  if (m.type !== "batch") return;
  const job = jobs.get(m.job);
  if (job === undefined) throw new Error("a batch without its job");
  if (job.query === "die") process.exit(7);
  if (job.query === "throw") throw new Error("out of luck");
  if (job.query === "refuse") return parentPort.postMessage({ batch: m.batch, error: { code: "bad_query", message: "no such stage" } });
  const until = Date.now() + Number(job.query);
  while (Date.now() < until);
  const stats = { blocks: m.blocks.length, lines: threadId, textBytes: jobs.size, readBytes: 0, matched: 0 };
  parentPort.postMessage({ batch: m.batch, result: { entries: null, stats, lost: [] } });
});
`;

let folder = "";
let url = new URL("file:///");
const pools: ScanPool[] = [];
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "weir-pool-"));
  const file = path.join(folder, "worker.mjs");
  await writeFile(file, WORKER);
  url = pathToFileURL(file);
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool.close();
});

function open(threads: number): ScanPool {
  const pool = new ScanPool(threads, url, { objectsUrl: folder }, silentLogger);
  pools.push(pool);
  return pool;
}

let jobs = 0;
const job = (query: string): ScanJob => ({
  id: jobs++,
  tenant: "fake",
  mode: "scan",
  query,
  ids: null,
  startNs: 0n,
  endNs: 1n,
  limit: 1,
  backward: true,
  categorize: false,
  textBytesMax: 0,
  endsAtMs: Number.POSITIVE_INFINITY,
  control: ScanControl.create(true).memory,
});
const BLOCK: BatchBlock = {
  key: "k",
  offset: 0,
  length: 1,
  order: 0,
  timeMinNs: 0n,
  timeMaxNs: 0n,
  bytes: null,
  rows: null,
  hide: null,
};

describe("the pool", () => {
  test("spreads the batches of one query over all threads", async () => {
    const pool = open(2);
    const one = job("50");
    const results = await Promise.all(Array.from({ length: 6 }, () => pool.run(one, [BLOCK])));
    expect(new Set(results.map(({ stats }) => stats.lines)).size).toBe(2);
    pool.end(one);
  });

  test("lets queries take turns, so that a small one does not wait for a large one", async () => {
    const pool = open(1);
    const large = job("20");
    const small = job("1");
    let done = 0;
    const rest = Promise.all(Array.from({ length: 20 }, () => pool.run(large, [BLOCK]).then(() => done++)));
    await pool.run(small, [BLOCK]);
    expect(done).toBeLessThan(8);
    await rest;
  });

  test("hands bytes over instead of copying them", async () => {
    const pool = open(1);
    const bytes = new Uint8Array(1000);
    await pool.run(job("0"), [{ ...BLOCK, bytes }]);
    expect(bytes.length).toBe(0);
  });

  test("gives back what waits of a query that was stopped, and replaces a worker that does not come back from it", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const pool = open(1);
      const endless = job("600000");
      const batches = [1, 2, 3].map(() => pool.run(endless, [BLOCK]));
      const held = Promise.allSettled(batches.slice(0, 2));
      pool.stop(endless);
      expect(await batches[2]).toMatchObject({ entries: null, lost: [] });
      vi.advanceTimersByTime(60_000);
      // Whoever asked has not called `end`: it waits for the batches.
      expect((await held).map((one) => one.status === "rejected" && one.reason.code)).toEqual(
        Array(2).fill("query_worker_failed"),
      );
      await pool.run(job("0"), [BLOCK]);
    } finally {
      vi.useRealTimers();
    }
  });

  test("tells a query what its worker made of it", async () => {
    const pool = open(1);
    await expect(pool.run(job("refuse"), [BLOCK])).rejects.toMatchObject({
      code: "bad_query",
      message: "no such stage",
    });
  });

  test.each(["die", "throw"])(
    "fails only the queries whose batches a worker held when it went (%s), and replaces it",
    async (how) => {
      const pool = open(1);
      const bad = job(how);
      await expect(Promise.all([pool.run(bad, [BLOCK]), pool.run(bad, [BLOCK])])).rejects.toMatchObject({
        code: "query_worker_failed",
        retriable: true,
        message: expect.stringContaining(how === "die" ? "ended with code 7" : "out of luck"),
      });
      pool.end(bad);
      await expect(pool.run(job("0"), [BLOCK])).resolves.toMatchObject({ lost: [] });
    },
  );

  test("drops the waiting batches of a query that has ended, and forgets it", async () => {
    const pool = open(1);
    const one = job("50");
    const first = pool.run(one, [BLOCK]);
    const others = Array.from({ length: 5 }, () => pool.run(one, [BLOCK]));
    const outcomes = Promise.allSettled(others);
    pool.end(one);
    await first;
    expect((await outcomes).filter(({ status }) => status === "rejected").length).toBe(4);
    // The worker knows of the one job only that it is asked about.
    expect((await pool.run(job("0"), [BLOCK])).stats.textBytes).toBe(1);
  });

  test("refuses work once it is closed, and rejects what was waiting", async () => {
    const pool = open(1);
    const one = job("100");
    const outcomes = Promise.allSettled(Array.from({ length: 5 }, () => pool.run(one, [BLOCK])));
    await pool.close();
    for (const outcome of await outcomes) expect(outcome.status).toBe("rejected");
    await expect(pool.run(one, [BLOCK])).rejects.toMatchObject({ code: "query_closed" });
    expect(emptyStats().blocks).toBe(0);
  });
});
