import { afterEach, describe, expect, test } from "vitest";
import { describeQuery, figuresOf } from "../../../src/query/explain.ts";
import { makeStore, SECOND, type StoreSetup, T0, type TestStore } from "../run/harness.ts";

const stores: TestStore[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

async function open(setup: StoreSetup = {}): Promise<TestStore> {
  const store = await makeStore(setup);
  stores.push(store);
  return store;
}

const LEVELS = ["info", "warn", "error"];

/** Lines of two apps, one a second, a minute in each segment. */
async function fill(store: TestStore, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    store.append({
      labels: { app: `a${i % 2}` },
      ns: T0 + BigInt(i) * SECOND + 1n,
      text: `v=${i} user=u${i} ${i % 10 === 0 ? "needle" : "hay"}`,
      metadata: { detected_level: i < 60 ? "info" : LEVELS[i % 3] },
    });
    if (i % 60 === 59) await store.flush();
  }
  await store.flush();
}

const MINUTES = { startNs: T0 + 60n * SECOND, endNs: T0 + 240n * SECOND, stepNs: 60n * SECOND };

const at = (query: string) => ({ query, ...MINUTES });

describe("limits of metric queries", () => {
  const says =
    "maximum number of series (5) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()";

  test("on series are over the whole query and all its steps", async () => {
    const store = await open({ query: { max_query_series: 5 } });
    await fill(store, 240);
    for (const query of [
      'count_over_time({app=~".+"} | logfmt [1m])',
      'count_over_time({app=~".+"} | logfmt [1m]) * 2',
      'topk(2, count_over_time({app=~".+"} | logfmt [1m]))',
    ]) {
      await expect(store.engine.metric(at(query)), query).rejects.toMatchObject({ code: "bad_query", message: says });
    }
    const topk = await store.engine.metric(at('topk(1, sum by (app) (count_over_time({app=~".+"} | logfmt [1m])))'));
    expect(topk.series).toHaveLength(1);
  });

  test("on series give Drilldown so many of them and a warning", async () => {
    const store = await open({ query: { max_query_series: 5 } });
    await fill(store, 240);
    const result = await store.engine.metric({ ...at('count_over_time({app=~".+"} | logfmt [1m])'), cutSeries: true });
    expect(result.series).toHaveLength(5);
    expect(result.warnings).toEqual([
      "maximum number of series (5) reached for a single query; returning partial results",
    ]);
  });

  test("on memory end a query whose series or samples are too many", async () => {
    const store = await open({ query: { max_query_partial_bytes: 20_000 } });
    await fill(store, 240);
    const query = 'max(count_over_time({app=~".+"} | logfmt [1m]))';
    await expect(store.engine.metric(at(query))).rejects.toMatchObject({
      code: "query_partial_size",
      message: expect.stringMatching(
        /^the query needs too much memory for its series and samples \(got: \d+B, limit: 20000B\)/,
      ),
    });
  });

  test("on ranges refuse longer ones", async () => {
    const store = await open({ query: { max_query_range: "1h" } });
    await expect(store.engine.metric(at('rate({app="a0"}[2h])'))).rejects.toMatchObject({
      code: "bad_query",
      message: "[interval] value exceeds limit: [2h] > [1h]",
    });
  });

  test("on bytes end it, or give what there is", async () => {
    const store = await open({ query: { max_query_bytes_read: 100 } });
    await fill(store, 240);
    const query = at('sum(count_over_time({app=~".+"} |= "needle" [1m]))');
    await expect(store.engine.metric(query)).rejects.toMatchObject({ code: "query_bytes_limit" });
    const part = await store.engine.metric({ ...query, partial: true });
    expect(part.warnings).toEqual([expect.stringMatching(/^the answer is not complete: /)]);
  });

  test("on time end it, and so does a client that leaves", async () => {
    const store = await open({ query: { query_timeout: "50ms" } });
    await fill(store, 60);
    store.reader.index = () => new Promise(() => undefined);
    const query = at('rate({app="a0"}[1m])');
    await expect(store.engine.metric(query)).rejects.toMatchObject({ code: "query_timeout" });
    await expect(store.engine.metric({ ...query, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "query_cancelled",
    });
  });

  test("are no obstacle for a query without lines", async () => {
    const store = await open({ query: { max_concurrent_queries: 1, max_waiting_queries: 0 } });
    store.reader.index = () => new Promise(() => undefined);
    await fill(store, 60);
    const busy = store.engine.metric(at('rate({app="a0"}[1m])')).catch(() => undefined);
    await expect(store.engine.metric(at('rate({app="a0"}[1m])'))).rejects.toMatchObject({ code: "query_busy" });
    expect((await store.engine.metric(at("vector(1)+vector(1)"))).series).toHaveLength(1);
    await store.engine.close();
    void busy;
  });
});

describe("a metric query looks at no more than it needs", () => {
  async function figures(store: TestStore, query: string) {
    const result = await store.engine.metric(at(query));
    return { ...figuresOf(result.stats), series: result.series };
  }

  test("counts by stream labels from the index and from headers", async () => {
    const store = await open();
    await fill(store, 240);
    const { blocks, bytes, lines, series } = await figures(store, 'sum by (app) (count_over_time({app=~".+"}[1m]))');
    expect(blocks).toMatchObject({ seen: 8, planned: 8, counted_from_index: 8, read: 0, inflated: 0 });
    expect(bytes).toEqual({ read: 0, inflated: 0 });
    expect(lines).toEqual({ looked_at: 240, passed: 240 });
    expect(series.map(({ values }) => values)).toEqual([
      [30, 30, 30, 30],
      [30, 30, 30, 30],
    ]);
    const shifted = await store.engine.metric({
      query: 'sum by (app) (count_over_time({app=~".+"}[1m]))',
      startNs: MINUTES.startNs - 30n * SECOND,
      endNs: MINUTES.endNs,
      stepNs: 60n * SECOND,
    });
    // Blocks lie across two windows: their times are read, and nothing else.
    expect(figuresOf(shifted.stats)).toMatchObject({
      blocks: { counted_from_index: 0, read: 8, headers_only: 8, inflated: 0 },
      bytes: { inflated: 0 },
    });
    expect(shifted.series.map(({ values }) => values)).toEqual([
      [15, 30, 30, 30],
      [15, 30, 30, 30],
    ]);
  });

  test.each([
    'sum(bytes_over_time({app=~".+"}[1m]))',
    'sum by (app) (bytes_rate({app=~".+"}[1m]))',
    'sum by (detected_level) (count_over_time({app=~".+"} | detected_level != "" [1m]))',
    'sum by (level, detected_level) (count_over_time({app=~".+"} | drop __error__ [1m]))',
    'count_over_time({app=~".+"}[1m])',
    'sum(count_over_time({app=~".+"} | json [1m]))',
    'absent_over_time({app=~".+"}[1m])',
  ])("does not inflate for %s", async (query) => {
    const store = await open();
    await fill(store, 240);
    const { blocks, series } = await figures(store, query);
    expect(blocks).toMatchObject({ seen: 8, inflated: 0 });
    expect(series.length > 0).toBe(!query.startsWith("absent"));
  });

  test("leaves out blocks by their metadata before it inflates them", async () => {
    const store = await open();
    await fill(store, 240);
    const { blocks, series } = await figures(
      store,
      'sum(count_over_time({app=~".+"} | detected_level="error" | logfmt | v > 0 [1m]))',
    );
    expect(blocks).toMatchObject({ read: 8, pruned_by_metadata: 2, headers_only: 2, inflated: 6 });
    expect(series[0].values).toEqual([20, 20, 20]);
    const logs = await store.engine.queryRange({
      query: '{app=~".+"} | detected_level="error"',
      startNs: T0,
      endNs: T0 + 300n * SECOND,
      limit: 1000,
      backward: true,
    });
    expect(logs.entries.size).toBe(60);
    expect(figuresOf(logs.stats).blocks).toMatchObject({ read: 8, pruned_by_metadata: 2, inflated: 6 });
  });

  test("reads and inflates a block once for several aggregations", async () => {
    const store = await open();
    await fill(store, 240);
    const { blocks, lines } = await figures(
      store,
      'sum(count_over_time({app="a0"} |= "needle" [1m])) / sum(count_over_time({app="a0"} |= "v=" [1m])) + sum(count_over_time({app="a0"} |= "needle" [1m]))',
    );
    expect(blocks).toMatchObject({ pruned_by_labels: 4, planned: 4, read: 4, inflated: 4 });
    expect(lines.looked_at).toBe(120);
  });

  test("says beforehand what it will do", () => {
    expect(describeQuery('sum by (app) (rate({env="p"} |= "x" |~ "a(b|c)d" [1m])) / 2')).toEqual({
      type: "metric",
      query: '(sum by (app)(rate({env="p"} |= "x" |~ "a(b|c)d"[1m])) / 2)',
      reads: [
        {
          expression: 'rate({env="p"} |= "x" |~ "a(b|c)d"[1m]) into by (app)',
          selector: '{env="p"}',
          reads: "lines",
          filters_metadata: false,
          literals: [["abd", "acd"], ["x"]],
          labels: ["app"],
        },
      ],
    });
    expect(describeQuery('sum(count_over_time({env="p"}[1m]))').reads).toMatchObject([
      { reads: "headers", labels: [] },
    ]);
    expect(describeQuery('{env="p"} | pod="x" | json')).toMatchObject({
      type: "log",
      reads: [{ filters_metadata: true, labels: null }],
    });
  });
});

describe("what a metric query must not count", () => {
  test("lines of deletion requests, and expired ones", async () => {
    const hidden = () => ({
      floorNs: null,
      cutoffNs: (_canonical: string, labels: Readonly<Record<string, string>>) =>
        labels.app === "a1" ? T0 + 30n * SECOND : null,
      deletes: [{ query: '{app="a0"} |= "needle"', startNs: T0, endNs: T0 + 100n * SECOND }],
    });
    const store = await open({ hidden });
    await fill(store, 240);
    const count = async (query: string) => (await store.engine.metric(at(query))).series.map(({ values }) => values);
    // Of a0 the lines 0, 10, … 100 are even and have the needle; a1's before second 30 are gone.
    expect(await count('sum by (app) (count_over_time({app=~".+"}[1m]))')).toEqual([
      [24, 26, 30, 30],
      [15, 30, 30, 30],
    ]);
    expect(await count('sum(count_over_time({app="a0"} |= "needle" [1m]))')).toEqual([[2, 6, 6]]);
    expect(await count('sum(count_over_time({app="a0"} | logfmt | v >= 0 [1m]))')).toEqual([[24, 26, 30, 30]]);
  });

  test("lines of a block that can't be read, and says so", async () => {
    const store = await open();
    await fill(store, 120);
    const [first] = await store.catalog.view().segments({
      tenant: "fake",
      startNs: 0n,
      endNs: 2n ** 62n,
    });
    const bytes = await store.objects.get(first.key);
    bytes[20] ^= 0xff;
    await store.objects.put(first.key, [bytes]);
    const { series, warnings } = await store.engine.metric(at('sum(count_over_time({app=~".+"} |= "v=" [1m]))'));
    expect(series[0].values.reduce((a, b) => a + b)).toBe(90);
    expect(warnings).toEqual([expect.stringContaining(first.key)]);
  });
});
