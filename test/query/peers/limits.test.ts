import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { codeOf } from "../../../src/core/errors.ts";
import { Metrics } from "../../../src/core/metrics.ts";
import { LocalExecutor } from "../../../src/query/local-executor.ts";
import { type BatchBlock, nextJobId, ScanControl, type ScanJob } from "../../../src/query/scan-job.ts";
import { ALL_TIMES, makeStore, SECOND, T0, type TestStore } from "../run/harness.ts";
import { engineOver, FaultyQuerier, scansOver, until, untilUp } from "./support.ts";

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** Some hundred blocks of 4 KiB, in a dozen batches. */
async function filled(): Promise<TestStore> {
  const store = await makeStore();
  ends.push(() => store.close());
  const random = new Random(7);
  for (let i = 0; i < 1500; i++) {
    store.append({ labels: { app: "a" }, ns: T0 + BigInt(i) * SECOND, text: `${i} ${random.hex(100)}` });
    if (i % 300 === 299) await store.flush();
  }
  return store;
}

async function helpers(store: TestStore, count: number): Promise<FaultyQuerier[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const querier = new FaultyQuerier(scansOver(store.objects, `other-${i}`), new Random(i));
      await querier.start();
      ends.unshift(() => querier.kill());
      return querier;
    }),
  );
}

async function fanned(store: TestStore, queriers: readonly FaultyQuerier[], options: Record<string, unknown> = {}) {
  const metrics = new Metrics();
  const engine = engineOver(store, { queriers: queriers.map(({ address }) => address), ...options }, { metrics });
  ends.unshift(() => engine.close());
  await untilUp(metrics, queriers.length);
  return { engine, metrics };
}

const QUERY = { ...ALL_TIMES, query: '{app="a"} |~ "[a-f]{30}zz"', limit: 100, backward: true };

describe("the limits of a query that is spread", () => {
  test("a batch ends when it alone has read more than the query may", async () => {
    const { catalog, reader } = await filled();
    const [part] = catalog.view().parts({ tenant: "fake", ...ALL_TIMES, labels: [] });
    const [info] = await part.load();
    const blocks = (await reader.index(info)).blocks.map(
      ({ offset, length, timeMinNs, timeMaxNs }, order): BatchBlock => ({
        ...{ key: info.key, offset, length, order, timeMinNs, timeMaxNs, bytes: null, rows: null, hide: null },
      }),
    );
    expect(blocks.length).toBeGreaterThan(10);
    const executor = new LocalExecutor(reader);
    const read = async (textBytesMax: number) => {
      const job: ScanJob = {
        ...{ id: nextJobId(), tenant: "fake", mode: "scan", ids: null, categorize: false, textBytesMax, ...QUERY },
        ...{ endsAtMs: Number.POSITIVE_INFINITY, control: ScanControl.create(true).memory },
      };
      return (await executor.run(job, blocks)).stats;
    };
    expect((await read(0)).blocks).toBe(blocks.length);
    const { blocks: some, textBytes } = await read(10_000);
    expect(textBytes).toBeGreaterThan(10_000);
    expect(some).toBeLessThan(5);
  });

  test("bytes: it fails as it does alone, or gives what it has", async () => {
    const store = await filled();
    const { engine } = await fanned(store, await helpers(store, 2), { max_query_bytes_read: 100_000 });
    await expect(engine.queryRange(QUERY)).rejects.toMatchObject({ code: "query_bytes_limit" });
    const query = 'sum(count_over_time({app="a"} |~ "[a-f]{30}zz" [1m]))';
    const times = { startNs: T0, endNs: T0 + 1500n * SECOND, stepNs: 60n * SECOND };
    await expect(engine.metric({ query, ...times })).rejects.toMatchObject({ code: "query_bytes_limit" });
    const { warnings } = await engine.queryRange({ ...QUERY, partial: true });
    expect(warnings).toEqual([expect.stringMatching(/^the answer is not complete: .*max_query_bytes_read: 100000B/)]);
  });

  test.each(["time", "client"])("%s: it ends at the others too", async (why) => {
    const store = await filled();
    const [querier] = await helpers(store, 1);
    querier.faultOf = () => "hang";
    const { engine } = await fanned(store, [querier], { query_timeout: why === "time" ? "800ms" : "10m" });
    const code = why === "time" ? "query_timeout" : "query_cancelled";
    // On a slow machine the time may be up before the other was asked, or what hangs there be done here before the client leaves.
    for (let ended = ""; querier.asked === 0 || ended === ""; ) {
      const leaving = new AbortController();
      const asked = engine.queryRange({ ...QUERY, signal: leaving.signal });
      const end = asked.then(() => "", codeOf);
      if (why === "client") {
        await until("it is there", () => querier.asked > 0);
        leaving.abort();
      }
      ended = await end;
      if (ended !== "") expect(ended).toBe(code);
    }
    await until("its connections are closed", () => querier.left === querier.asked);
  });

  test("says what the others did", async () => {
    const store = await filled();
    const queriers = await helpers(store, 2);
    const { engine } = await fanned(store, queriers);
    const { stats } = await engine.queryRange(QUERY);
    expect(stats.peers.batches).toBe(queriers.reduce((sum, { answered }) => sum + answered, 0));
    expect(stats.peers.batches).toBeGreaterThan(0);
    expect([...stats.peers.names].every((name) => queriers.some(({ address }) => address === name))).toBe(true);
    expect(stats.peers.stored.blocks).toBeLessThan(stats.stored.blocks);
    const alone = await store.engine.queryRange(QUERY);
    expect(stats.stored).toEqual(alone.stats.stored);
    expect(alone.stats.peers.batches).toBe(0);
  });
});
