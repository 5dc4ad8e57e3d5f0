import { afterEach, describe, expect, test } from "vitest";
import { silentLogger } from "../../../src/core/log.ts";
import { Metrics } from "../../../src/core/metrics.ts";
import type { TailEntry } from "../../../src/query/engine.ts";
import { Compactor } from "../../../src/store/compact/compactor.ts";
import { compactorOptions } from "../../../src/store/compact/options.ts";
import { ALL_TIMES, makeStore, SECOND, T0, type TestStore, textsOf } from "./harness.ts";

const stores: TestStore[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

const LINES = 6;

/** A store of some segments that are merged, and deleted, at the moment that the first of their indexes is wanted. */
async function changing(): Promise<TestStore & { readonly merges: () => number }> {
  const store = await makeStore();
  stores.push(store);
  for (let i = 0; i < LINES; i++) {
    store.append({ labels: { app: "a" }, ns: T0 + BigInt(i) * SECOND, text: `line ${i}` });
    await store.flush();
  }
  const compactor = new Compactor(
    compactorOptions.parse({ settle_ms: 0, fan_in: 3, fan_in_above: 2, cpu_share: 1, grace_ms: 0 }),
    {
      ...{ objects: store.objects, catalog: store.catalog, blockBytes: 4096, removals: null },
      ...{ metrics: new Metrics(), log: silentLogger, now: () => 253_402_300_799_000, sleep: async () => {} },
      signal: new AbortController().signal,
    },
  );
  let merges = 0;
  const index = store.reader.index.bind(store.reader);
  let changed: Promise<void> | null = null;
  store.reader.index = async (info) => {
    changed ??= (async () => {
      await store.catalog.fold();
      merges += (await compactor.pass({ removals: false })).merges;
      await compactor.collect();
      store.append({ labels: { app: "a" }, ns: T0 + 60n * SECOND, text: "meanwhile" });
    })();
    await changed;
    return index(info);
  };
  return Object.assign(store, { merges: () => merges });
}

describe("what compaction takes away while it is read is read from where it went", () => {
  const all = Array.from({ length: LINES }, (_, i) => `line ${i}`);

  test("by a query", async () => {
    const store = await changing();
    const range = { query: '{app="a"} |= "line"', ...ALL_TIMES, limit: 100 };
    const result = await store.engine.queryRange({ ...range, backward: false });
    expect(store.merges()).toBeGreaterThan(0);
    expect(textsOf(result)).toEqual(all);
    expect(result.warnings).toEqual([]);
  });

  test("by the history of a tail, and each line comes once", async () => {
    const store = await changing();
    const seen: string[] = [];
    const end = new AbortController();
    const onEntries = (entries: readonly TailEntry[]) => {
      for (const { line } of entries) seen.push(line.toString());
      if (seen.includes("last")) end.abort();
    };
    const tail = store.engine.tail({ query: '{app="a"}', startNs: T0, limit: 100, onEntries, signal: end.signal });
    while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    store.append({ labels: { app: "a" }, ns: T0 + 61n * SECOND, text: "last" });
    await tail;
    expect(store.merges()).toBeGreaterThan(0);
    expect(seen).toEqual([...all, "meanwhile", "last"]);
    expect(store.writer.taps.size).toBe(0);
  });
});
