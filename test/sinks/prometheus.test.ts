import { afterEach, describe, expect, test } from "vitest";
import prometheus from "../../sinks/prometheus.ts";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";
import { labelValue, Metrics } from "../../src/core/metrics.ts";
import type { RecordSink, SinkRecord } from "../../src/core/sink.ts";
import { sinkSpecs } from "../../src/roles/sink-specs.ts";
import { record, recordSinkContract, type SinkUnderTest } from "../contract/sinks.ts";
import { agoNs, TestWeir } from "../push/weir.ts";
import { deps } from "./destinations.ts";

const NEVER = new AbortController().signal;
const COUNTER = { type: "counter", name: "app_lines_total", help: "Lines." };

let opened: RecordSink[] = [];
afterEach(async () => {
  for (const sink of opened) await sink.close();
  opened = [];
});

let clock = 1_000_000;
function open(metrics: readonly Record<string, unknown>[], registry = new Metrics()) {
  const sink = prometheus.open(prometheus.options.parse({ metrics }), {
    ...deps(undefined, () => clock),
    metrics: registry,
  });
  opened.push(sink);
  const write = (...records: SinkRecord[]) => sink.write(records, NEVER);
  /** Lines of the exposition that begin with `prefix`. */
  const shown = async (prefix: string) =>
    (await registry.render()).split("\n").filter((line) => line.startsWith(prefix));
  return { sink, registry, write, shown };
}

const withJson = (json: Record<string, unknown>, place = 0): SinkRecord => ({
  ...record(place, "x"),
  json: JSON.stringify(json),
});

recordSinkContract(
  "prometheus",
  async (): Promise<SinkUnderTest> => ({
    sink: open([COUNTER]).sink,
    taken: async () => [],
    close: async () => {},
  }),
  { forgets: true, isAlwaysThere: true },
);

describe("metrics from logs", () => {
  test("count records by labels", async () => {
    const { write, shown } = open([
      { ...COUNTER, labels: { app: "$labels.app", level: "$level", status: "http.status" } },
    ]);
    const one = { ...withJson({ http: { status: 200 } }), metadata: [["detected_level", "info"]] } as SinkRecord;
    await write(one, one, withJson({ http: { status: 500 } }));
    await write(one);
    expect(await shown("app_lines_total")).toEqual([
      'app_lines_total{app="web",level="info",status="200"} 3',
      'app_lines_total{app="web",level="",status="500"} 1',
    ]);
    expect(await shown("# HELP app_lines_total")).toEqual(["# HELP app_lines_total Lines."]);
    expect(await shown("# TYPE app_lines_total")).toEqual(["# TYPE app_lines_total counter"]);
  });

  test("tell series apart whatever stands in their labels", async () => {
    const labels = { a: "a", b: "b" };
    const { sink, registry, write, shown } = open([
      { ...COUNTER, labels },
      { type: "gauge", name: "app_g", help: "G.", value: "n", labels, expire_ms: 1000 },
      { type: "histogram", name: "app_h", help: "H.", value: "n", labels, buckets: [1] },
    ]);
    const pairs = [
      { a: "x,b:y", b: "z" },
      { a: "x", b: "y,b:z" },
      { a: "x\u0000", b: "z" },
      { a: "x", b: "\u0000z" },
      { a: "x\u0001c", b: "," },
      { a: "x\u0001", b: "c," },
      { a: 'q"\\', b: "\n,\u0001e" },
    ];
    await write(...pairs.map((pair, i) => withJson({ ...pair, n: i })));
    const inText = (text: string) => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
    const wanted = pairs.map(({ a, b }) => `{a="${inText(a)}",b="${inText(b)}"}`);
    expect(await shown("app_lines_total")).toEqual(wanted.map((labels) => `app_lines_total${labels} 1`));
    expect(await shown("app_g")).toEqual(wanted.map((labels, i) => `app_g${labels} ${i}`));
    expect(await shown("app_h_sum")).toEqual(wanted.map((labels, i) => `app_h_sum${labels} ${i}`));
    const samples = (await registry.samples()).filter(({ name }) => name === "app_g");
    expect(samples.map(({ labels }) => labels)).toEqual(pairs);
    // Also when they are over, each by itself.
    clock += 900;
    await write(withJson({ ...pairs[0], n: 7 }));
    clock += 900;
    await write(withJson({ ...pairs[0], n: 7 }));
    expect(await shown("app_g")).toEqual([`app_g${wanted[0]} 7`]);
    await sink.close();
  });

  test("keep series apart that threads measured", async () => {
    const here = new Metrics();
    const there = new Metrics();
    for (const metrics of [here, there]) {
      const counter = metrics.counter("app_total", "A.", ["a", "b"]);
      counter.inc({ a: labelValue("x,b:y"), b: labelValue("z") }, 2);
      counter.inc({ a: labelValue("x"), b: labelValue("y,b:z") });
    }
    here.addSource(async () => [await there.toJson()]);
    expect((await here.render()).split("\n").filter((line) => line.startsWith("app_total{"))).toEqual([
      'app_total{a="x,b:y",b="z"} 4',
      'app_total{a="x",b="y,b:z"} 2',
    ]);
  });

  test("add values, read and scaled as is said", async () => {
    const { write, shown } = open([
      { ...COUNTER, name: "a_bytes_total", value: "$line_bytes" },
      { ...COUNTER, name: "b_seconds_total", value: "took", reads: "duration" },
      { ...COUNTER, name: "c_bytes_total", value: "size", reads: "bytes" },
      { ...COUNTER, name: "d_seconds_total", value: "ms", scale: 0.001 },
      { ...COUNTER, name: "e_total", scale: 2 },
    ]);
    await write({ ...withJson({ took: "1m30s", size: "1.5 KiB", ms: 250 }), line: Buffer.from("grüße") });
    expect((await shown("")).filter((line) => /^[a-e]_/.test(line))).toEqual([
      "a_bytes_total 7",
      "b_seconds_total 90",
      "c_bytes_total 1536",
      "d_seconds_total 0.25",
      "e_total 2",
    ]);
  });

  test("leave out records without a value, or with one that is none, and count them", async () => {
    const { write, shown } = open([{ ...COUNTER, value: "n" }]);
    await write(
      withJson({ n: 5 }),
      withJson({}),
      withJson({ n: null }),
      withJson({ n: "x" }),
      withJson({ n: -1 }),
      withJson({ n: {} }),
    );
    expect(await shown("app_lines_total")).toEqual(["app_lines_total 5"]);
    expect(await shown("weir_log_metric_skipped_total")).toEqual([
      'weir_log_metric_skipped_total{sink="out",metric="app_lines_total",reason="no_value"} 2',
      'weir_log_metric_skipped_total{sink="out",metric="app_lines_total",reason="bad_value"} 3',
    ]);
  });

  test.each([
    { sets: undefined, want: 3 },
    { sets: "last", want: 3 },
    { sets: "sum", want: 6 },
    { sets: "max", want: 4 },
    { sets: "min", want: -1 },
  ])("show of a gauge the $sets value", async ({ sets, want }) => {
    const { write, shown } = open([
      { type: "gauge", name: "app_queue", help: "Q.", value: "n", ...(sets && { sets }) },
    ]);
    await write(withJson({ n: 4 }), withJson({ n: -1 }));
    await write(withJson({ n: 3 }));
    expect(await shown("app_queue")).toEqual([`app_queue ${want}`]);
  });

  test("put values into the buckets of a histogram", async () => {
    const { write, shown } = open([
      {
        type: "histogram",
        name: "app_seconds",
        help: "S.",
        value: "s",
        buckets: [0.1, 1],
        labels: { app: "$labels.app" },
      },
    ]);
    await write(withJson({ s: 0.05 }), withJson({ s: 0.5 }), withJson({ s: 7 }));
    expect(await shown("app_seconds")).toEqual([
      'app_seconds_bucket{le="0.1",app="web"} 1',
      'app_seconds_bucket{le="1",app="web"} 2',
      'app_seconds_bucket{le="+Inf",app="web"} 3',
      'app_seconds_sum{app="web"} 7.55',
      'app_seconds_count{app="web"} 3',
    ]);
  });

  test("have a bound: what is beyond goes into one series, and of a gauge nowhere", async () => {
    const labels = { user: "user" };
    const { write, shown } = open([
      { ...COUNTER, labels, series_max: 2 },
      { type: "gauge", name: "app_g", help: "G.", value: "n", labels, series_max: 2 },
      { type: "histogram", name: "app_h", help: "H.", value: "n", labels, series_max: 2, buckets: [1] },
    ]);
    for (let i = 0; i < 1000; i++) await write(withJson({ user: `u${i}`, n: 1 }));
    await write(withJson({ user: "u1", n: 1 }));
    expect(await shown("app_lines_total")).toEqual([
      'app_lines_total{user="u0"} 1',
      'app_lines_total{user="u1"} 2',
      'app_lines_total{user="__overflow__"} 998',
    ]);
    expect(await shown("app_g")).toEqual(['app_g{user="u0"} 1', 'app_g{user="u1"} 1']);
    expect((await shown("app_h_count")).at(-1)).toBe('app_h_count{user="__overflow__"} 998');
    expect(await shown("weir_log_metric_overflow_total")).toEqual([
      'weir_log_metric_overflow_total{sink="out",metric="app_lines_total"} 998',
      'weir_log_metric_overflow_total{sink="out",metric="app_g"} 998',
      'weir_log_metric_overflow_total{sink="out",metric="app_h"} 998',
    ]);
  });

  test("cut long values of labels, and keep any other as it is", async () => {
    const { write, shown } = open([{ ...COUNTER, labels: { user: "user" } }]);
    await write(withJson({ user: "x".repeat(10_000) }), withJson({ user: 'a"\\\nb' }));
    expect(await shown("app_lines_total")).toEqual([
      `app_lines_total{user="${"x".repeat(256)}"} 1`,
      'app_lines_total{user="a\\"\\\\\\nb"} 1',
    ]);
  });

  test("let go of gauges that nothing is heard of, and of others if asked, which then begin anew", async () => {
    const labels = { user: "user" };
    const { write, shown } = open([
      { ...COUNTER, labels },
      { ...COUNTER, name: "app_short_total", labels, expire_ms: 2000, series_max: 1 },
      { type: "gauge", name: "app_g", help: "G.", value: "n", labels },
      { type: "gauge", name: "app_for_good", help: "G.", value: "n", labels, expire_ms: 0 },
    ]);
    await write(withJson({ user: "a", n: 1 }));
    clock += 599_000;
    await write(withJson({ user: "b", n: 1 }));
    expect(await shown("app_short_total")).toEqual(['app_short_total{user="b"} 1']);
    expect(await shown("app_g")).toHaveLength(2);
    clock += 1001;
    await write();
    expect(await shown("app_g")).toEqual(['app_g{user="b"} 1']);
    expect(await shown("app_for_good")).toHaveLength(2);
    expect(await shown("app_lines_total")).toHaveLength(2);
  });
});

describe("the configuration of metrics from logs", () => {
  const problems = (metric: Record<string, unknown>, more: readonly Record<string, unknown>[] = []) => {
    const { error } = prometheus.options.safeParse({ metrics: [metric, ...more] });
    return (error?.issues ?? []).map(({ path, message }) => `${path.join(".")}: ${message}`);
  };

  test.each([
    { name: "Weir's own prefix", metric: { ...COUNTER, name: "weir_x" }, want: /0\.name: .*another prefix/ },
    { name: "the runtime's prefix", metric: { ...COUNTER, name: "process_x" }, want: /another prefix/ },
    { name: "a name that is none", metric: { ...COUNTER, name: "a-b" }, want: /0\.name: want a metric's name/ },
    { name: "a label that is none", metric: { ...COUNTER, labels: { "a-b": "x" } }, want: /0\.labels\.a-b/ },
    { name: "a label of Prometheus' own", metric: { ...COUNTER, labels: { __x: "x" } }, want: /0\.labels\.__x/ },
    {
      name: "a value that is none",
      metric: { ...COUNTER, labels: { x: "$tag" } },
      want: /0\.labels\.x: want a value's name: .*no \$tag/,
    },
    { name: "a gauge without a value", metric: { ...COUNTER, type: "gauge" }, want: /0\.value: missing/ },
    { name: "buckets of a counter", metric: { ...COUNTER, buckets: [1] }, want: /0\.buckets: are for histograms/ },
    {
      name: "sets of a histogram",
      metric: { ...COUNTER, type: "histogram", value: "n", sets: "max" },
      want: /0\.sets/,
    },
    {
      name: "buckets that fall",
      metric: { ...COUNTER, type: "histogram", value: "n", buckets: [2, 1] },
      want: /0\.buckets: want bounds that rise/,
    },
    {
      name: "le as a label",
      metric: { ...COUNTER, type: "histogram", value: "n", labels: { le: "n" } },
      want: /0\.labels\.le/,
    },
    {
      name: "too many labels",
      metric: { ...COUNTER, labels: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`l${i}`, "x"])) },
      want: /0\.labels: want at most 16/,
    },
    { name: "a key that is none", metric: { ...COUNTER, bucket: [1] }, want: /bucket/ },
  ])("may not have $name", ({ metric, want }) => {
    expect(problems(metric).join("\n")).toMatch(want);
  });

  test("may not have one name twice, not even through a histogram's series", () => {
    expect(problems(COUNTER, [COUNTER])).toEqual([
      "metrics.1.name: another metric has the name app_lines_total already",
    ]);
    const histogram = { type: "histogram", name: "app_lines", help: "H.", value: "n" };
    expect(problems({ ...COUNTER, name: "app_lines_count" }, [histogram])).toEqual([
      "metrics.1.name: another metric has the name app_lines_count already",
    ]);
  });

  test("is told wrong with its place in the file; two sinks may not have the same metric", () => {
    const yaml = `
receivers: { forward: { type: forward } }
pipelines: { all: { to: [store, a, b] } }
sinks:
  store: { type: store }
  a:
    type: prometheus
    metrics:
      - { type: counter, name: weir_x_total, help: X. }
  b: { type: prometheus, metrics: [{ type: counter, name: app_x_total, help: X. }] }
`;
    expect(() => loadConfig(yaml, "x.yaml", registries)).toThrow(/x\.yaml:9:\d+ +sinks\.a\.metrics\[0\]\.name/);
    const twice = yaml.replace("weir_x_total", "app_x_total");
    expect(() => loadConfig(twice, "x.yaml", registries)).toThrow(
      /x\.yaml:10:\d+ +sinks\.b: metric app_x_total is taken already, by a/,
    );
    expect(loadConfig(yaml.replace("weir_x_total", "app_y_total"), "x.yaml", registries).sinks).toHaveLength(3);
  });

  test("asks for the fields of the record that it needs, and no others", () => {
    const own = prometheus.options.parse({ metrics: [{ ...COUNTER, value: "a.b", labels: { x: "$level", y: "c" } }] });
    expect(prometheus.fields?.(own)).toEqual(new Set(["a", "c"]));
    expect(prometheus.wantsJson?.(own)).toBe(true);
    expect(prometheus.wantsJson?.(prometheus.options.parse({ metrics: [COUNTER] }))).toBe(false);
    expect(sinkSpecs.prometheus.claims?.({ metrics: own.metrics })).toEqual(["metric app_lines_total"]);
  });

  test("with a name that is there already does not start", () => {
    const { registry } = open([COUNTER]);
    expect(() => open([COUNTER], registry)).toThrow(/there is a metric app_lines_total already/);
  });
});

test("metrics from logs stand at /metrics, for records that `when` lets through", async () => {
  const weir = await TestWeir.start(`
receivers: { forward: { type: forward, listen: ["tcp://127.0.0.1:0"], udp_heartbeat: false } }
pipelines: { all: { steps: [level, { parse: { with: [json] } }], to: [store, counts] } }
sinks:
  store: { type: store }
  counts:
    type: prometheus
    batch_age_ms: 5
    when: { $level: [error, warn] }
    metrics:
      - { type: counter, name: app_errors_total, help: Errors., labels: { app: $labels.app, code: code } }
      - { type: histogram, name: app_seconds, help: How long., value: took, reads: duration, buckets: [1] }
http: { listen: "127.0.0.1:0" }
query: { threads: 0 }
`);
  try {
    const lines = [
      '{"level":"error","code":7,"took":"250ms"}',
      '{"level":"info","code":1,"took":"1s"}',
      '{"level":"warn","code":7,"took":"2s"}',
    ];
    await weir.push({ streams: [{ stream: { app: "web" }, values: lines.map((line, i) => [agoNs(5, i), line]) }] });
    const metrics = async () => (await weir.get("/metrics")).text;
    await expect.poll(metrics).toMatch(/code="7"\} 2$/m);
    await expect.poll(metrics).toMatch(/^weir_sink_up\{sink="counts"\} 1$/m);
    const text = await metrics();
    expect(text).toMatch(/^app_errors_total\{app="web",code="7"\} 2$/m);
    expect(text).toMatch(/^app_seconds_bucket\{le="1"\} 1$/m);
    expect(text).toMatch(/^app_seconds_sum 2\.25$/m);
  } finally {
    await weir.close();
  }
});
