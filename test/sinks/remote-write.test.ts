import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import remoteWrite from "../../sinks/remote-write.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { RecordSink, SinkRecord } from "../../src/core/sink.ts";
import { record, recordSinkContract, type SinkUnderTest } from "../contract/sinks.ts";
import { agoNs, TestWeir } from "../push/weir.ts";
import { Random } from "../random.ts";
import { type Answer, deps, type Got, HttpDestination } from "./destinations.ts";
import { type Received, receive } from "./write-receiver.ts";

const NEVER = new AbortController().signal;
const COUNTER = { type: "counter", name: "app_lines_total", help: "Lines.", labels: { user: "user" } };
const GAUGE = { type: "gauge", name: "app_g", help: "G.", value: "n", labels: { user: "user" }, expire_ms: 60_000 };

const withJson = (json: Record<string, unknown>): SinkRecord => ({ ...record(0, "x"), json: JSON.stringify(json) });

recordSinkContract(
  "remote_write",
  async (): Promise<SinkUnderTest> => {
    const to = await HttpDestination.start();
    return {
      sink: remoteWrite.open(remoteWrite.options.parse({ url: `${to.url}/`, metrics: [COUNTER] }), deps()),
      taken: async () => [],
      close: () => to.stop(),
    };
  },
  // What is away or silent concerns `flush`, for which see below.
  { forgets: true, isAlwaysThere: true },
);

describe("remote write", () => {
  let to: HttpDestination;
  let sinks: RecordSink[] = [];
  let clock = 1_700_000_000_000;
  /** What the receiver took, a list for each request. */
  let taken: Received[][] = [];
  let answer: (got: Got) => Answer | null = () => ({ status: 204 });
  beforeEach(async () => {
    to = await HttpDestination.start();
    taken = [];
    answer = () => ({ status: 204 });
    to.answer = (got) => {
      const series = receive(got);
      const reply = answer(got);
      if (reply !== null && reply.status < 300) taken.push(series);
      return reply;
    };
  });
  afterEach(async () => {
    for (const sink of sinks) await sink.close();
    sinks = [];
    await to.stop();
  });

  function open(options: Record<string, unknown> = {}, log = silentLogger) {
    const metrics = new Metrics();
    const given = remoteWrite.options.parse({ url: `${to.url}/api/v1/write`, metrics: [COUNTER, GAUGE], ...options });
    const sink = remoteWrite.open(given, { ...deps(undefined, () => clock), metrics, log });
    sinks.push(sink);
    const { flush } = sink;
    if (flush === undefined) throw new Error("remote write has no flush");
    return {
      metrics,
      write: (...records: SinkRecord[]) => sink.write(records, NEVER),
      flush: () => flush.run(NEVER),
      everyMs: flush.everyMs,
    };
  }
  const last = () =>
    (taken.at(-1) ?? []).map(({ series, samples }) => [
      series,
      samples.map(({ value, isStale, ms }) => [isStale ? "stale" : value, ms - clock]),
    ]);

  test("sends every series with the labels of all, in their order, and a counter from nought", async () => {
    const it = open({ external_labels: { Zone: "z", user: "of all", weir: "w1" } });
    expect(it.everyMs).toBe(15_000);
    await it.write(withJson({ user: "a", n: 5 }), withJson({ user: "a", n: 6 }), withJson({ n: 7 }));
    await it.flush();
    expect(last()).toEqual([
      [
        'app_lines_total{Zone="z",user="a",weir="w1"}',
        [
          [0, -1],
          [2, 0],
        ],
      ],
      [
        'app_lines_total{Zone="z",weir="w1"}',
        [
          [0, -1],
          [1, 0],
        ],
      ],
      ['app_g{Zone="z",user="a",weir="w1"}', [[6, 0]]],
      ['app_g{Zone="z",weir="w1"}', [[7, 0]]],
    ]);
    // Upper case stands before the name's underscores.
    expect(taken[0][0].labels.map(([name]) => name)).toEqual(["Zone", "__name__", "user", "weir"]);
    clock += 15_000;
    await it.write(withJson({ user: "a" }));
    await it.flush();
    expect(last()[0]).toEqual(['app_lines_total{Zone="z",user="a",weir="w1"}', [[3, 0]]]);
  });

  test("begins a counter once, also where the setup goes wrong between two requests of a round", async () => {
    const it = open({ samples_max: 2, metrics: [COUNTER] });
    await it.write(withJson({ user: "a" }), withJson({ user: "b" }));
    answer = () => ({ status: taken.length === 0 ? 204 : 401 });
    await expect(it.flush()).rejects.toThrow("401");
    expect(taken).toHaveLength(1);
    answer = () => ({ status: 204 });
    clock += 15_000;
    await it.flush();
    // What was told of `a` counts on: from nought once more it would be counted twice.
    const all = taken
      .slice(1)
      .flat()
      .map(({ series, samples }) => [series, samples.map(({ value }) => value)]);
    expect(all).toEqual([
      ['app_lines_total{user="a"}', [1]],
      ['app_lines_total{user="b"}', [0, 1]],
    ]);
  });

  test("ends a series once, also where the setup goes wrong between two requests of a round", async () => {
    const it = open({ samples_max: 1, metrics: [GAUGE] });
    await it.write(withJson({ user: "a", n: 1 }), withJson({ user: "b", n: 2 }));
    await it.flush();
    clock += 60_000;
    taken = [];
    answer = () => ({ status: taken.length === 0 ? 204 : 403 });
    await expect(it.flush()).rejects.toThrow("403");
    answer = () => ({ status: 204 });
    clock += 15_000;
    await it.flush();
    expect(taken.flat().map(({ series, samples }) => [series, samples.map(({ isStale }) => isStale)])).toEqual([
      ['app_g{user="a"}', [true]],
      ['app_g{user="b"}', [true]],
    ]);
  });

  test("sends a histogram as the series that it is", async () => {
    const it = open({
      metrics: [{ type: "histogram", name: "app_seconds", help: "S.", value: "n", buckets: [0.5, 2] }],
    });
    await it.write(withJson({ n: 1 }));
    await it.flush();
    expect(last()).toEqual([
      [
        'app_seconds_bucket{le="0.5"}',
        [
          [0, -1],
          [0, 0],
        ],
      ],
      [
        'app_seconds_bucket{le="2"}',
        [
          [0, -1],
          [1, 0],
        ],
      ],
      [
        'app_seconds_bucket{le="+Inf"}',
        [
          [0, -1],
          [1, 0],
        ],
      ],
      [
        "app_seconds_sum{}",
        [
          [0, -1],
          [1, 0],
        ],
      ],
      [
        "app_seconds_count{}",
        [
          [0, -1],
          [1, 0],
        ],
      ],
    ]);
  });

  test("says of a series that is gone that it is, once", async () => {
    const it = open();
    await it.write(withJson({ user: "a", n: 1 }));
    await it.flush();
    clock += 60_000;
    await it.flush();
    expect(last()).toContainEqual(['app_g{user="a"}', [["stale", 0]]]);
    clock += 15_000;
    await it.flush();
    expect(last().map(([series]) => series)).toEqual(['app_lines_total{user="a"}']);
  });

  test("never sends a time twice, nor one before the last, whatever the clock does", async () => {
    const it = open();
    const times: number[] = [];
    for (const step of [0, 0, -5000, 1, 20_000, -20_000]) {
      clock += step;
      await it.write(withJson({ user: "a", n: 1 }));
      await it.flush();
      times.push(
        ...(taken.at(-1) ?? []).flatMap(({ series, samples }) =>
          series.startsWith("app_lines") ? samples.map(({ ms }) => ms) : [],
        ),
      );
    }
    expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
  });

  test("sends no more samples in a request than it may", async () => {
    const it = open({ samples_max: 10 });
    await it.write(...Array.from({ length: 50 }, (_, i) => withJson({ user: `u${i}`, n: i })));
    await it.flush();
    expect(taken.length).toBeGreaterThan(10);
    for (const series of taken) {
      expect(series.reduce((sum, { samples }) => sum + samples.length, 0)).toBeLessThanOrEqual(10);
    }
    expect(new Set(taken.flat().map(({ series }) => series)).size).toBe(100);
  });

  test.each([429, 500, 502, 503])(
    "sends what was answered %i again, as it was, and then what it is now",
    async (status) => {
      const it = open();
      await it.write(withJson({ user: "a", n: 1 }));
      answer = () => ({ status });
      await expect(it.flush()).rejects.toMatchObject({ code: "sink_unavailable", retriable: true });
      const first = to.got.at(-1)?.body;
      clock += 1000;
      await it.write(withJson({ user: "a", n: 2 }));
      answer = () => ({ status: 204 });
      await it.flush();
      expect(to.got[1].body.equals(first ?? Buffer.alloc(0))).toBe(true);
      expect(last()).toEqual([
        ['app_lines_total{user="a"}', [[2, 0]]],
        ['app_g{user="a"}', [[2, 0]]],
      ]);
    },
  );

  test.each([400, 409, 413, 422])("leaves out what was answered %i, says so and goes on", async (status) => {
    const warn = vi.fn();
    const it = open({ samples_max: 1 }, { ...silentLogger, warn } as unknown as typeof silentLogger);
    await it.write(withJson({ user: "a", n: 1 }));
    let requests = 0;
    answer = () => (requests++ === 0 ? { status, text: "out of order" } : { status: 204 });
    await it.flush();
    expect(to.got).toHaveLength(2);
    expect(taken).toHaveLength(1);
    expect(await it.metrics.render()).toMatch(/^weir_remote_write_refused_samples_total\{sink="out"\} 2$/m);
    expect(warn.mock.calls[0][1]).toContain(`refused 2 samples: ${status} out of order`);
  });

  test.each([401, 403, 404])(
    "sends nothing that was answered %i again, but what it is when that is mended",
    async (status) => {
      const it = open();
      await it.write(withJson({ user: "a", n: 1 }));
      answer = () => ({ status });
      await expect(it.flush()).rejects.toMatchObject({ code: "sink_unavailable" });
      clock += 1000;
      await it.write(withJson({ user: "a", n: 1 }));
      answer = () => ({ status: 204 });
      await it.flush();
      expect(to.got).toHaveLength(2);
      expect(last()[0]).toEqual([
        'app_lines_total{user="a"}',
        [
          [0, -1],
          [2, 0],
        ],
      ]);
    },
  );

  test("ends at once when it is stopped", async () => {
    const it = remoteWrite.open(remoteWrite.options.parse({ url: to.url, metrics: [COUNTER] }), deps());
    sinks.push(it);
    await it.write([withJson({ user: "a" })], NEVER);
    answer = () => null;
    const stop = new AbortController();
    const sent = it.flush?.run(stop.signal);
    await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    await expect(sent).rejects.toThrow();
  });

  test("comes to what was counted, over answers of every kind", async () => {
    const random = new Random();
    const it = open({ samples_max: 3 });
    const counts = new Map<string, number>();
    for (let i = 0; i < 200; i++) {
      const user = `u${random.below(5)}`;
      counts.set(user, (counts.get(user) ?? 0) + 1);
      await it.write(withJson({ user, n: i }));
      clock += random.below(3000);
      answer = () => ({ status: [204, 204, 204, 500, 400, 429, 401][random.below(7)] });
      await it.flush().catch(() => {});
    }
    answer = () => ({ status: 200 });
    await it.flush();
    const found = new Map<string, number>();
    for (const { series, samples } of taken.flat()) {
      const user = /^app_lines_total\{user="(.+)"\}$/.exec(series)?.[1];
      if (user === undefined) continue;
      const { value } = samples.at(-1) ?? { value: 0 };
      expect(value).toBeGreaterThanOrEqual(found.get(user) ?? 0);
      found.set(user, value);
    }
    expect([...found].sort()).toEqual([...counts].sort());
  });
});

test("remote write out of a Weir counts what was not sent before it was killed again, and nothing else", {
  timeout: 600_000,
}, async () => {
  const to = await HttpDestination.start();
  const totals: number[] = [];
  let isAway = false;
  to.answer = (got) => {
    if (isAway) return { status: 503 };
    for (const { series, samples } of receive(got))
      if (series === "app_total{}") totals.push(samples.at(-1)?.value ?? 0);
    return { status: 204 };
  };
  const yaml = `
receivers: { forward: { type: forward, listen: ["tcp://127.0.0.1:0"], udp_heartbeat: false } }
pipelines: { all: { steps: [level], to: [store, counts] } }
sinks:
  store: { type: store }
  counts:
    type: remote_write
    url: "${to.url}/"
    batch_age_ms: 5
    retry_max_ms: 50
    interval_ms: 100
    metrics: [{ type: counter, name: app_total, help: Lines. }]
http: { listen: "127.0.0.1:0" }
query: { threads: 0 }
`;
  const push = (weir: TestWeir, from: number, count: number) =>
    weir.push({
      streams: [
        {
          stream: { app: "web" },
          values: Array.from({ length: count }, (_, i) => [agoNs(5, from + i), `n ${from + i}`]),
        },
      ],
    });
  let weir = await TestWeir.start(yaml);
  const inPosition = async () =>
    vi.waitFor(async () => expect(await weir.metrics.render()).toMatch(/^weir_sink_lag_bytes\{sink="counts"\} 0$/m), {
      timeout: 120_000,
    });
  await push(weir, 0, 7);
  await vi.waitFor(() => expect(totals.at(-1)).toBe(7), { timeout: 120_000 });
  await inPosition();
  isAway = true;
  await push(weir, 7, 5);
  await vi.waitFor(
    async () =>
      expect(await weir.metrics.render()).toMatch(/^weir_sink_records_total\{sink="counts",result="sent"\} 12$/m),
    { timeout: 120_000 },
  );
  const dir = await weir.stop(0);
  isAway = false;
  totals.length = 0;
  weir = await TestWeir.start(yaml, dir);
  try {
    // A counter that begins anew, with those alone that the receiver has not seen.
    await vi.waitFor(() => expect(totals.at(-1)).toBe(5), { timeout: 120_000 });
    await push(weir, 12, 1);
    await vi.waitFor(() => expect(totals.at(-1)).toBe(6), { timeout: 120_000 });
    expect(Math.max(...totals)).toBe(6);
  } finally {
    await weir.close();
    await to.stop();
  }
});
