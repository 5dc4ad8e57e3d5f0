import v8 from "node:v8";
import vm from "node:vm";
import { afterEach, describe, expect, test } from "vitest";
import { DEFAULT_TENANT } from "../../../src/core/labels.ts";
import { BatchScan } from "../../../src/query/batch-scan.ts";
import { type BatchBlock, nextJobId, ScanControl, type ScanJob } from "../../../src/query/scan-job.ts";
import { ALL_TIMES, entriesOf, makeStore, SECOND, type StoreSetup, T0, type TestStore, textsOf } from "./harness.ts";

const stores: TestStore[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

async function open(setup: StoreSetup = {}): Promise<TestStore> {
  const store = await makeStore(setup);
  stores.push(store);
  return store;
}

const A = { app: "a" };
const QUERY = { query: '{app="a"}', ...ALL_TIMES, limit: 100, backward: true } as const;
const FILTER = { ...QUERY, query: '{app="a"} |= "line"' };

/** Lines `line 0` to `line <count - 1>`, a second apart, each in a segment of its own. */
async function segments(store: TestStore, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    store.append({ labels: A, ns: T0 + BigInt(i) * SECOND, text: `line ${i}` });
    await store.flush();
  }
}

describe("limits", () => {
  test("end a query that takes too long, whatever it waits for", async () => {
    const store = await open({ query: { query_timeout: "50ms" } });
    await segments(store, 1);
    store.reader.index = () => new Promise(() => undefined);
    await expect(store.engine.queryRange(QUERY)).rejects.toMatchObject({
      code: "query_timeout",
      message: expect.stringMatching(/^request timed out, decrease the duration of the request/),
    });
    await expect(store.engine.series({ ...ALL_TIMES, selectors: [] })).rejects.toMatchObject({ code: "query_timeout" });
  });

  test("end a query whose client has left", async () => {
    const store = await open();
    await segments(store, 1);
    const left = AbortSignal.abort();
    await expect(store.engine.queryRange({ ...QUERY, signal: left })).rejects.toMatchObject({
      code: "query_cancelled",
    });
    const leaving = new AbortController();
    store.reader.index = () => new Promise(() => leaving.abort());
    await expect(store.engine.queryRange({ ...QUERY, signal: leaving.signal })).rejects.toMatchObject({
      code: "query_cancelled",
      message: "the request was cancelled by the client",
    });
  });

  test("refuse queries beyond those that run and wait, and let the waiting ones run then", async () => {
    const store = await open({ query: { max_concurrent_queries: 1, max_waiting_queries: 1 } });
    await segments(store, 1);
    const index = store.reader.index.bind(store.reader);
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    store.reader.index = async (info) => {
      await gate;
      return index(info);
    };
    const running = store.engine.queryRange(QUERY);
    const waiting = store.engine.queryRange(QUERY);
    await expect(store.engine.queryRange(QUERY)).rejects.toMatchObject({ code: "query_busy", retriable: true });
    go();
    expect(textsOf(await running)).toEqual(["line 0"]);
    const second = await waiting;
    expect(textsOf(second)).toEqual(["line 0"]);
    expect(second.stats.queueMs).toBeGreaterThan(0);
    expect(textsOf(await store.engine.queryRange(QUERY))).toEqual(["line 0"]);
  });

  test("bound the bytes read", async () => {
    const store = await open({ query: { max_query_bytes_read: 2000 } });
    for (let i = 0; i < 1000; i++) store.append({ labels: A, ns: T0 + BigInt(i), text: `line ${i} ${"x".repeat(50)}` });
    await store.flush();
    await expect(store.engine.queryRange({ ...FILTER, query: '{app="a"} |= "none"' })).rejects.toMatchObject({
      code: "query_bytes_limit",
      message: expect.stringMatching(
        /^the query would read too many bytes \(query: \d+B, limit: 2000B\); consider adding more specific stream selectors or reduce the time range of the query$/,
      ),
    });
  });

  test.each([
    {
      name: "a search",
      ask: (store: TestStore) => store.engine.queryRange({ ...FILTER, query: '{app="a"} |= "none"' }),
    },
    { name: "lines by time", ask: (store: TestStore) => store.engine.queryRange({ ...QUERY, limit: 1000 }) },
    {
      name: "a count",
      ask: (store: TestStore) =>
        store.engine.metric({
          ...{ query: 'sum(count_over_time({app="a"} |= "line" [1h]))', startNs: T0, endNs: T0 + 3600n * SECOND },
          stepNs: 3600n * SECOND,
        }),
    },
  ])("bound the bytes read of lines that are not in the store yet: $name", async ({ ask }) => {
    const store = await open({ query: { max_query_bytes_read: 2000 }, store: { block_bytes: 1 << 20 } });
    for (let i = 0; i < 1000; i++) store.append({ labels: A, ns: T0 + BigInt(i), text: `line ${i} ${"x".repeat(50)}` });
    await expect(ask(store)).rejects.toMatchObject({ code: "query_bytes_limit" });
  });

  test("bound what batches read together", async () => {
    const store = await open();
    const segment = async (from: number) => {
      for (let i = from; i < from + 400; i++)
        store.append({ labels: A, ns: T0 + BigInt(i), text: `line ${i} ${"x".repeat(50)}` });
      await store.flush();
    };
    await segment(0);
    await segment(400);
    const job: ScanJob = {
      ...{ id: nextJobId(), tenant: DEFAULT_TENANT, mode: "scan", query: FILTER.query, ids: null },
      ...{ ...ALL_TIMES, limit: 10, backward: true, categorize: false, endsAtMs: Number.POSITIVE_INFINITY },
      ...{ textBytesMax: 10_000, control: ScanControl.create(true).memory },
    };
    const batches: BatchBlock[][] = [];
    for (const info of await store.catalog.view().segments({ tenant: DEFAULT_TENANT, ...ALL_TIMES, labels: [] })) {
      const { blocks } = await store.reader.index(info);
      batches.push(
        blocks.map((block, order) => ({ ...block, key: info.key, order, bytes: null, rows: null, hide: null })),
      );
    }
    expect(batches.map(({ length }) => length)).toEqual([expect.any(Number), expect.any(Number)]);
    let read = 0;
    for (const batch of batches) {
      // Another thread's: each has a scan of its own.
      const { stats } = await new BatchScan(job).run(batch, store.reader.prefetch(batch));
      read += stats.textBytes;
    }
    const largest = 4096 + 100;
    expect(read).toBeGreaterThan(10_000);
    expect(read).toBeLessThan(10_000 + largest);
    expect(new ScanControl(job.control, true).textBytes).toBe(read);
  });

  test("bound the bytes read for lines that were chosen by time alone", async () => {
    const store = await open({ query: { max_query_bytes_read: 10_000 } });
    for (let i = 0; i < 1000; i++) store.append({ labels: A, ns: T0 + BigInt(i), text: `line ${i} ${"x".repeat(50)}` });
    await store.flush();
    const all = { ...QUERY, limit: 1000 };
    await expect(store.engine.queryRange(all)).rejects.toMatchObject({ code: "query_bytes_limit" });
    const part = await store.engine.queryRange({ ...all, partial: true });
    expect(part.warnings).toEqual([expect.stringMatching(/^the answer is not complete: .* max_query_bytes_read/)]);
    expect(part.entries.size).toBeGreaterThan(0);
  });

  test("let nothing go on that only looks at streams when its client has left", async () => {
    const store = await open({ query: { max_concurrent_queries: 1 } });
    await segments(store, 20);
    const index = store.reader.index.bind(store.reader);
    const leaving = new AbortController();
    let reads = 0;
    let openGate: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      openGate = resolve;
    });
    store.reader.index = async (info) => {
      reads++;
      leaving.abort();
      await gate;
      return index(info);
    };
    await expect(store.engine.series({ ...ALL_TIMES, selectors: [], signal: leaving.signal })).rejects.toMatchObject({
      code: "query_cancelled",
    });
    openGate();
    expect(textsOf(await store.engine.queryRange({ ...QUERY, limit: 1 }))).toEqual(["line 19"]);
    expect(reads).toBeLessThan(10);
  });

  test("on indexes that are read at one time hold for lists of streams, which read several", async () => {
    const store = await open();
    await segments(store, 40);
    const { objects, reader } = store;
    const getSuffix = objects.getSuffix.bind(objects);
    let running = 0;
    const most: number[] = [];
    const waiting: (() => void)[] = [];
    // A store that is far away: all that are asked for at one moment are answered together, a moment later.
    objects.getSuffix = async (key, length) => {
      running++;
      most.push(running);
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        if (waiting.length > 1) return;
        setTimeout(() => {
          for (const answer of waiting.splice(0)) answer();
        }, 1);
      });
      running--;
      return getSuffix(key, length);
    };
    const lost = reader.index.bind(reader);
    let calls = 0;
    reader.index = (info) => (++calls === 20 ? Promise.reject(new Error("gone")) : lost(info));
    expect(await store.engine.labelValues("app", { ...ALL_TIMES, selectors: [] })).toEqual(["a"]);
    expect(most).toHaveLength(39);
    expect(Math.max(...most)).toBeGreaterThan(8);
    expect(Math.max(...most)).toBeLessThanOrEqual(16);
  });

  test("give the history of a tail the time of a query", async () => {
    const store = await open({ query: { query_timeout: "50ms" } });
    await segments(store, 1);
    store.reader.index = () => new Promise(() => undefined);
    const tail = {
      query: '{app="a"}',
      startNs: T0,
      limit: 10,
      onEntries: () => {},
      signal: new AbortController().signal,
    };
    await expect(store.engine.tail(tail)).rejects.toMatchObject({ code: "query_timeout" });
    expect(store.writer.taps.size).toBe(0);
  });

  test.each([
    { name: "selectors", one: (i: number) => `{app="b${i}"}`, count: 1000, says: /query has too many parts/ },
    {
      name: "regular expressions",
      one: (i: number) => `{app=~"a.*${i}"}`,
      count: 200,
      says: /query has too much to compile/,
    },
    {
      name: "text",
      one: (i: number) => `{app="${i}${"x".repeat(2000)}"}`,
      count: 70,
      says: /input size too long \(14\d{4} > 131072\)/,
    },
  ])("count $name of one request together", async ({ one, count, says }) => {
    const store = await open();
    await segments(store, 1);
    const selectors = Array.from({ length: count }, (_, i) => one(i));
    await expect((async () => store.engine.series({ ...ALL_TIMES, selectors }))()).rejects.toThrow(says);
    await expect((async () => store.engine.labels({ ...ALL_TIMES, selectors }))()).rejects.toThrow(says);
    expect(
      await store.engine.series({ ...ALL_TIMES, selectors: [...selectors.slice(0, count / 10), '{app="a"}'] }),
    ).toEqual([A]);
  });

  test("count the matchers of a tail", async () => {
    const store = await open({ query: { max_streams_matchers_per_query: 1 } });
    const tail = { startNs: T0, limit: 10, onEntries: () => {}, signal: new AbortController().signal };
    await expect(store.engine.tail({ ...tail, query: '{app="a", b=""}' })).rejects.toThrow(
      "max streams matchers per query exceeded",
    );
  });

  test("bound the bytes of an answer", async () => {
    const store = await open({ query: { max_result_bytes: 1000 } });
    for (let i = 0; i < 100; i++) store.append({ labels: A, ns: T0 + BigInt(i), text: "x".repeat(100) });
    await expect(store.engine.queryRange(QUERY)).rejects.toMatchObject({ code: "query_result_size" });
    expect((await store.engine.queryRange({ ...QUERY, limit: 9 })).entries.size).toBe(9);
  });
});

describe("what can't be read", () => {
  /** Changes one byte of a segment, `at` from its beginning or, below 0, from its end. */
  async function damage(store: TestStore, segment: number, at: number): Promise<string> {
    const { key } = store.catalog.tail()[segment];
    const bytes = await store.objects.get(key);
    bytes[at < 0 ? bytes.length + at : at] ^= 0xff;
    await store.objects.put(key, [bytes]);
    return key;
  }

  test.each([
    { name: "with a filter", request: FILTER },
    { name: "without one, when headers alone say which lines are wanted", request: QUERY },
  ])("costs a block whose text is broken its own lines only, $name", async ({ request }) => {
    const store = await open();
    await segments(store, 5);
    const { offset, length } = (await store.reader.index(store.catalog.tail()[3])).blocks[0];
    // The CRC of the text, which only inflating compares.
    const key = await damage(store, 3, offset + length - 8);
    const result = await store.engine.queryRange({ ...request, limit: 3 });
    expect(textsOf(result)).toEqual(["line 4", "line 2", "line 1"]);
    expect(result.warnings).toEqual([expect.stringMatching(`^1 lines are missing, .*${key}`)]);
  });

  test("costs a block whose header is broken its own lines only, though the header was to say which lines are wanted", async () => {
    const store = await open();
    await segments(store, 5);
    const { offset } = (await store.reader.index(store.catalog.tail()[3])).blocks[0];
    const key = await damage(store, 3, offset);
    const result = await store.engine.queryRange({ ...QUERY, limit: 3 });
    expect(textsOf(result)).toEqual(["line 4", "line 2", "line 1"]);
    expect(result.warnings).toEqual([expect.stringMatching(`^1 lines are missing, .*${key}`)]);
  });

  test("costs a segment whose index is broken its own lines only", async () => {
    const store = await open();
    await segments(store, 3);
    const key = await damage(store, 1, -60);
    const result = await store.engine.queryRange(FILTER);
    expect(textsOf(result)).toEqual(["line 2", "line 0"]);
    expect(result.warnings).toEqual([expect.stringMatching(`^up to 1 lines are missing, .*${key}`)]);
    expect(await store.engine.labels({ ...ALL_TIMES, selectors: [] })).toEqual(["app"]);
  });

  test("costs a segment that is gone its own lines only", async () => {
    const store = await open();
    await segments(store, 3);
    await store.engine.queryRange(FILTER); // Its index is in memory now.
    await store.objects.delete(store.catalog.tail()[0].key);
    const result = await store.engine.queryRange(FILTER);
    expect(textsOf(result)).toEqual(["line 2", "line 1"]);
    expect(result.warnings.length).toBe(1);
  });
});

test("nothing of an answer outlives it, though its time limit has not come", async () => {
  v8.setFlagsFromString("--expose-gc");
  const gc = vm.runInNewContext("gc") as () => void;
  const store = await open();
  for (let i = 0; i < 100; i++) store.append({ labels: A, ns: T0 + BigInt(i), text: `line ${i}` });
  const client = new AbortController(); // As of a connection that stays.
  const answers: WeakRef<object>[] = [];
  for (let i = 0; i < 20; i++) {
    answers.push(new WeakRef((await store.engine.queryRange({ ...FILTER, signal: client.signal })).entries));
  }
  await expect
    .poll(() => {
      gc();
      return answers.filter((answer) => answer.deref() !== undefined).length;
    })
    .toBeLessThanOrEqual(1);
});

test("a tail does not hold what was in memory when it began", async () => {
  v8.setFlagsFromString("--expose-gc");
  const gc = vm.runInNewContext("gc") as () => void;
  const store = await open();
  for (let i = 0; i < 100; i++) store.append({ labels: A, ns: T0 + BigInt(i), text: `line ${i}` });
  const views: WeakRef<object>[] = [];
  const snapshot = store.writer.snapshot.bind(store.writer);
  store.writer.snapshot = (accept) => {
    const taken = snapshot(accept);
    views.push(...taken.open.map((view) => new WeakRef(view)));
    return taken;
  };
  const leaving = new AbortController();
  const texts: string[] = [];
  const tail = store.engine.tail({
    ...{ query: '{app="a"}', startNs: T0, limit: 10, signal: leaving.signal },
    onEntries: (entries) => {
      texts.push(...entries.map(({ line }) => String(line)));
    },
  });
  await expect.poll(() => texts.length).toBe(10);
  store.append({ labels: A, ns: T0 + 100n, text: "line 100" });
  await expect.poll(() => texts.at(-1)).toBe("line 100");
  expect(views.length).toBe(1);
  await expect
    .poll(() => {
      gc();
      return views.filter((view) => view.deref() !== undefined).length;
    })
    .toBe(0);
  leaving.abort();
  await tail;
});

test("a tenant sees nothing of another one's", async () => {
  const store = await open();
  for (const tenant of ["one", "two"]) {
    store.append({
      labels: { app: "a", who: tenant },
      ns: T0,
      text: `flushed ${tenant}`,
      tenant,
      trace: "ab".repeat(16),
    });
  }
  await store.flush();
  for (const tenant of ["one", "two"]) {
    store.append({
      labels: { app: "a", who: tenant },
      ns: T0 + 1n,
      text: `open ${tenant}`,
      tenant,
      trace: "ab".repeat(16),
    });
  }
  for (const tenant of ["one", "two"]) {
    const wanted = [`open ${tenant}`, `flushed ${tenant}`];
    expect(textsOf(await store.engine.queryRange({ ...QUERY, tenant }))).toEqual(wanted);
    expect(textsOf(await store.engine.trace({ id: "ab".repeat(16), limit: 10, tenant }))).toEqual(
      [...wanted].reverse(),
    );
    expect(await store.engine.labelValues("who", { ...ALL_TIMES, selectors: [], tenant })).toEqual([tenant]);
  }
  expect(textsOf(await store.engine.queryRange(QUERY))).toEqual([]);
});

test("while lines come in and segments are written, each line is there exactly once", async () => {
  const store = await open({ store: { block_bytes: 4096 } });
  let count = 0;
  let flushing = false;
  const flushes: Promise<void>[] = [];
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 50; i++) {
      const n = count++;
      store.append({
        labels: { app: "a", shard: `${n % 3}` },
        ns: T0 + BigInt(n),
        text: `line ${n} ${"y".repeat(n % 90)}`,
      });
    }
    if (!flushing && round % 3 === 0) {
      flushing = true;
      flushes.push(
        store.flush().finally(() => {
          flushing = false;
        }),
      );
    }
    const expected = count;
    const request = round % 2 === 0 ? FILTER : QUERY;
    const asked = store.engine.queryRange({ ...request, limit: 5000, backward: round % 4 < 2 });
    // More while the query runs: they come too late for it.
    for (let i = 0; i < 10; i++)
      store.append({ labels: A, ns: T0 - BigInt(count), text: `late line ${count}`, metadata: { late: "yes" } });
    const entries = entriesOf(await asked).filter(({ text }) => !text.startsWith("late"));
    const numbers = entries.map(({ ns }) => Number(ns - T0));
    if (round % 4 < 2) numbers.reverse();
    expect(numbers).toEqual(Array.from({ length: expected }, (_, n) => n));
  }
  await Promise.all(flushes);
});
