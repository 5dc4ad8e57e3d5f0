import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import type { MetricResult } from "../../../src/query/engine.ts";
import { workerUrl } from "../../../src/query/pool.ts";
import { makeStore, SECOND, T0, type TestStore } from "../run/harness.ts";
import { LoopHold } from "../run/loop-hold.ts";

/*
 * Metric queries in real worker threads. They run what `npm run build` has made, because Node 20 runs no TypeScript.
 */

const LINES = 20_000;
/** What a query may hold the main thread for (issue: the receiver must not wait longer). */
const DELAY_MAX_MS = 20;

const TIMES = { startNs: T0, endNs: T0 + 60n * SECOND, stepNs: 5n * SECOND };

const QUERIES = [
  'sum by (app) (count_over_time({app=~".+"}[5s]))',
  'sum by (app) (count_over_time({app=~".+"} |= "panic" [7s]))',
  'sum by (level) (rate({app=~".+"} | json [5s]))',
  'quantile_over_time(0.9, {app=~".+"} | json | unwrap took [12s]) by (app)',
  'stddev_over_time({app=~"a[12]"} | json | unwrap took [5s]) by (level)',
  'first_over_time({app="a3"} | json | unwrap took [5s]) by (app)',
  'rate_counter({app="a3"} | json n | unwrap n [11s])',
  'topk(2, sum by (app) (bytes_over_time({app=~".+"}[5s])))',
  'sum by (pod) (count_over_time({app=~".+"} | pod!="p0" [5s])) / on () group_left sum(count_over_time({app=~".+"}[5s]))',
];

describe("metric queries in threads", () => {
  let folder = "";
  let threads: TestStore;
  let local: TestStore;

  beforeAll(async () => {
    expect(workerUrl(), "run `npm run build` first").not.toBeNull();
    folder = await mkdtemp(path.join(os.tmpdir(), "weir-metric-threads-"));
    // Few series of `rate_counter`, whose labels are all there are.
    const setup = { store: { block_bytes: 64 * 1024 }, query: { max_query_series: 100_000 } };
    threads = await makeStore({ folder, ...setup });
    local = await makeStore(setup);
    const random = new Random(12);
    for (let i = 0; i < LINES; i++) {
      const level = random.pick(["info", "warn", "error"]);
      const given = {
        labels: { app: `a${random.below(8)}` },
        ns: T0 + BigInt(Math.floor((i / LINES) * 60_000) - random.below(300)) * 1_000_000n,
        text: `{"level":"${level}","took":${random.below(1000) / 8},"n":${i % 1000},"msg":"${random.pick(["panic", "put"])}"}`,
        metadata: { pod: `p${random.below(3)}` },
      };
      for (const store of [threads, local]) store.append(given);
      if (i % 15_000 === 12_000) await Promise.all([threads.flush(), local.flush()]);
      if (i % 2000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  });
  afterAll(async () => {
    await threads.close();
    await local.close();
    await rm(folder, { recursive: true });
  });

  const rounded = ({ series }: MetricResult) =>
    series.map(({ labels, points, values }) => ({ labels, points, values: values.map((v) => v.toPrecision(9)) }));

  test.each(QUERIES)("give what a scan here gives: %s", async (query) => {
    const [there, here] = await Promise.all([
      threads.engine.metric({ query, ...TIMES }),
      local.engine.metric({ query, ...TIMES }),
    ]);
    expect(there.warnings).toEqual([]);
    expect(here.series.length).toBeGreaterThan(0);
    // Blocks end at other lines in the two stores, and what is added up in another order is rounded otherwise.
    expect(rounded(there)).toEqual(rounded(here));
  });

  test("give the same to the last digit each time, whichever thread is first", async () => {
    const query = 'stddev_over_time({app=~".+"} | json | unwrap took [7s]) by (app)';
    const first = await threads.engine.metric({ query, ...TIMES });
    for (let i = 0; i < 5; i++) {
      expect((await threads.engine.metric({ query, ...TIMES })).series).toEqual(first.series);
    }
  });

  test("fail with an error of a sample, and the threads go on", async () => {
    const query = 'sum by (x) (count_over_time({app=~".+"} | logfmt --strict [5s]))';
    await expect(threads.engine.metric({ query, ...TIMES })).rejects.toMatchObject({
      code: "bad_query",
      message: expect.stringMatching(/^pipeline error: 'LogfmtParserErr' for series: /),
    });
    expect((await threads.engine.metric({ query: QUERIES[0], ...TIMES })).series).toHaveLength(8);
  });

  test("stop when the client leaves", async () => {
    const leaving = new AbortController();
    const query = 'sum(count_over_time({app=~".+"} |~ "[a-f]+zzqy" [5s]))';
    const asked = threads.engine.metric({ query, ...TIMES, signal: leaving.signal });
    setImmediate(() => leaving.abort());
    await expect(asked).rejects.toMatchObject({ code: "query_cancelled" });
  });

  test.each([
    { name: "a series for each line", query: 'count(count_over_time({app=~".+"} | json [5s]))' },
    { name: "many samples", query: 'quantile_over_time(0.9, {app=~".+"} | json | unwrap took [12s]) by (app)' },
    { name: "from headers", query: 'sum by (app) (count_over_time({app=~".+"}[1s]))' },
  ])("hold the main thread for no longer than 20 ms: $name", async ({ query }) => {
    const run = () => threads.engine.metric({ query, ...TIMES });
    await run();
    const worst: number[] = [];
    // The collector has much to do now and then; what holds the thread would do so each time.
    for (let round = 0; round < 12; round++) {
      const hold = new LoopHold();
      await run();
      const held = hold.stop();
      worst.push(held);
      if (held < DELAY_MAX_MS) break;
    }
    expect(Math.min(...worst)).toBeLessThan(DELAY_MAX_MS);
  });
});
