import stringify from "fast-json-stable-stringify";
import { describe, expect, test } from "vitest";
import cri from "../../parsers/cri.ts";
import docker from "../../parsers/docker.ts";
import envoy from "../../parsers/envoy.ts";
import json from "../../parsers/json.ts";
import logfmt from "../../parsers/logfmt.ts";
import regex from "../../parsers/regex.ts";
import { type Encodable, encode } from "../../src/codec/msgpack.ts";
import { DEFAULT_TENANT } from "../../src/core/labels.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { compilePipelines } from "../../src/pipeline/compile.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import { steps } from "../../src/pipeline/steps/index.ts";
import {
  CollectSink,
  checkedSteps,
  entryOf,
  eventBytes,
  type GivenStep,
  packed,
  pass,
  passOne,
  runEntry,
  setUp,
} from "./harness.ts";

const KUBE = {
  pod_name: "p-1",
  namespace_name: "shop",
  labels: { app: "web", "app.kubernetes.io/name": "checkout" },
  container_name: "app",
  host: "node-a",
};
const parsers = { cri, docker, json, logfmt };

describe("the line", () => {
  const cases: { name: string; record: Encodable | Buffer; line?: string[]; want: string | Buffer }[] = [
    { name: "the first field of the list", record: { message: "b", log: "a" }, want: "a" },
    { name: "the next one", record: { MESSAGE: "d", msg: "c" }, want: "c" },
    { name: "an empty line is a line", record: { log: "", message: "b" }, want: "" },
    { name: "nil is none", record: { log: null, message: "b" }, want: "b" },
    { name: "another list", line: ["text"], record: { log: "a", text: "b" }, want: "b" },
    { name: "bin", record: { log: Buffer.from([0, 255, 10, 13]) }, want: Buffer.from([0, 255, 10, 13]) },
    {
      name: "str that is no UTF-8",
      record: Buffer.concat([Buffer.of(0x81), encode("log"), Buffer.of(0xa3, 0xff, 0x00, 0xe9)]),
      want: Buffer.of(0xff, 0x00, 0xe9),
    },
    { name: "a number", record: { log: 18446744073709551615n }, want: "18446744073709551615" },
    { name: "a map", record: { log: { b: [1, "x"], a: null } }, want: '{"a":null,"b":[1,"x"]}' },
    {
      name: "a repeated key: the last counts",
      record: Buffer.concat([Buffer.of(0x82), encode("log"), encode("a"), encode("log"), encode("b")]),
      want: "b",
    },
    {
      name: "none: the record as JSON with sorted keys",
      record: { z: 1, a: { y: "é", x: 1.5 }, B: true },
      want: '{"B":true,"a":{"x":1.5,"y":"é"},"z":1}',
    },
    { name: "an empty record", record: {}, want: "{}" },
  ];
  test.each(cases)("$name", ({ record, line, want }) => {
    const got = passOne(line === undefined ? {} : { line }, record);
    expect(got.bytes).toEqual(Buffer.from(want));
    expect([got.sec, got.nsec, got.tenant]).toEqual([1_700_000_000, 7, DEFAULT_TENANT]);
  });

  test.each([0, 1, 31, 32, 255, 256, 65_535, 65_536, 1_048_576])("%i bytes come back", (size) => {
    const log = Buffer.alloc(size, "aé\n\0b");
    expect(passOne({ steps: [{ trace: {} }, { level: {} }] }, { log }).bytes.equals(log)).toBe(true);
  });

  const jsonCases: { name: string; value: Encodable; want: string }[] = [
    {
      name: "NaN and infinities",
      value: { a: Number.NaN, b: Number.POSITIVE_INFINITY, c: -0.5 },
      want: '{"a":null,"b":null,"c":-0.5}',
    },
    {
      name: "integers of 64 bits",
      value: { a: 18446744073709551615n, b: -9223372036854775808n },
      want: '{"a":18446744073709551615,"b":-9223372036854775808}',
    },
    { name: "bin that is text", value: { a: Buffer.from("é") }, want: '{"a":"é"}' },
    { name: "bin that is none", value: { a: Buffer.of(0xff, 0xfe) }, want: '{"a":"//4="}' },
    {
      name: "ext",
      value: { a: { ext: -3, data: Buffer.of(1, 2, 3) }, b: { ext: 5, data: Buffer.of(9) } },
      want: '{"a":{"data":"AQID","ext":-3},"b":{"data":"CQ==","ext":5}}',
    },
    {
      name: "long ext",
      value: { a: { ext: 7, data: Buffer.alloc(300, 1) } },
      want: `{"a":{"data":"${Buffer.alloc(300, 1).toString("base64")}","ext":7}}`,
    },
    {
      name: "EventTime",
      value: { a: { ext: 0, data: Buffer.from("6553f10000000001", "hex") } },
      want: '{"a":"2023-11-14T22:13:20.000000001Z"}',
    },
    {
      name: "keys that are no text",
      value: new Map<Encodable, Encodable>([
        [1, "a"],
        [null, "b"],
        [true, "c"],
        [Buffer.from("k"), "d"],
        [[1, 2], "e"],
      ]),
      want: '{"1":"a","[1,2]":"e","k":"d","null":"b","true":"c"}',
    },
    {
      name: "names that JavaScript knows",
      value: { ["__proto__"]: 1, constructor: 2, toString: { hasOwnProperty: 3 } },
      want: '{"__proto__":1,"constructor":2,"toString":{"hasOwnProperty":3}}',
    },
  ];
  test.each(jsonCases)("JSON has $name", ({ value, want }) => expect(passOne({}, value).text).toBe(want));

  test("a key __proto__ is a key", () => {
    const record = Buffer.concat([Buffer.of(0x81), encode("__proto__"), Buffer.of(0x81), encode("a"), encode(1)]);
    expect(passOne({ steps: [{ metadata: { x: "__proto__.a" } }] }, record)).toMatchObject({
      text: '{"__proto__":{"a":1}}',
      metadata: {},
    });
    expect(Object.hasOwn({}, "a")).toBe(false);
  });

  test("nesting deeper than any log has is cut, not followed", () => {
    let deep: Buffer = encode(1);
    for (let i = 0; i < 5000; i++)
      deep = Buffer.concat([i % 2 === 0 ? Buffer.of(0x91) : Buffer.concat([Buffer.of(0x81), encode("a")]), deep]);
    const got = passOne(
      { steps: [{ labels: { x: "deep" } }, { trace: {} }] },
      Buffer.concat([Buffer.of(0x81), encode("deep"), deep]),
    );
    expect(got.text).toContain('"[nested too deep]"');
  });

  test("a line that is too long is cut at a character, marked and counted", async () => {
    const metrics = new Metrics();
    const setup = { metrics, limits: { line_bytes_max: 1024 } };
    const log = `${"x".repeat(1022)}日本`;
    const got = passOne(setup, { log });
    expect(got.text).toBe("x".repeat(1022));
    expect(got.metadata).toEqual({ truncated: "1028" });
    expect(passOne(setup, { log: Buffer.alloc(2000, 0x80) }).bytes).toHaveLength(1024);
    expect(passOne(setup, { log: "y".repeat(1024) }).metadata).toEqual({});
    expect(await metrics.render()).toContain('weir_pipeline_cut_lines_total{pipeline="test"} 2');
  });
});

describe("labels and metadata", () => {
  const labels = (given: Record<string, unknown>, record: Encodable = { log: "x", kubernetes: KUBE }) =>
    passOne({ steps: [{ labels: given }] }, record).labels;

  const labelCases: { name: string; given: Record<string, unknown>; want: object; record?: Encodable }[] = [
    { name: "a path", given: { namespace: "kubernetes.namespace_name" }, want: { namespace: "shop" } },
    { name: "a quoted part", given: { app: 'kubernetes.labels["app.kubernetes.io/name"]' }, want: { app: "checkout" } },
    {
      name: "the first of several",
      given: { app: ["kubernetes.labels.k8s", "kubernetes.labels.app"] },
      want: { app: "web" },
    },
    { name: "a constant", given: { env: { value: "prod" } }, want: { env: "prod" } },
    { name: "tag and receiver", given: { tag: "$tag", from: "$source" }, want: { tag: "app.web", from: "in" } },
    {
      name: "a name that is none",
      given: { "k8s.io/app-name": { value: "x" }, "1st": { value: "y" } },
      want: { k8s_io_app_name: "x", _1st: "y" },
    },
    { name: "an absent field", given: { app: "kubernetes.labels.nope", a: { value: "x" } }, want: { a: "x" } },
    { name: "none at all", given: { app: "kubernetes.labels.nope" }, want: { tag: "app.web" } },
    {
      name: "a map as JSON",
      given: { l: "kubernetes.labels" },
      want: { l: '{"app":"web","app.kubernetes.io/name":"checkout"}' },
    },
    { name: "the line's level", given: { level: "$level" }, want: { level: "error" }, record: { log: "error x" } },
    { name: "the line", given: { line: "$line" }, want: { line: "error x" }, record: { log: "error x" } },
    {
      name: "numbers and booleans",
      given: { a: "a", b: "b", c: "c", d: "d" },
      want: { a: "1", b: "true", c: "2.5", d: "18446744073709551615" },
      record: { log: "x", a: 1, b: true, c: 2.5, d: 18446744073709551615n },
    },
    {
      name: "empty and nil are absent",
      given: { a: "a", b: "b", c: { value: "x" } },
      want: { c: "x" },
      record: { log: "x", a: "", b: null },
    },
    {
      name: "the last of equal keys",
      given: { a: "k.a" },
      want: { a: "2" },
      record: {
        log: "x",
        k: new Map<Encodable, Encodable>([
          ["a", 1],
          [Buffer.from("a"), 2],
        ]),
      },
    },
  ];
  test.each(labelCases)("$name", ({ given, want, record }) => expect(labels(given, record)).toEqual(want));

  test("an empty tag still gives a stream a label", () => {
    expect(passOne({}, { log: "x" }, {}, "").labels).toEqual({ tag: "in" });
  });

  test("equal labels give one stream, and shared metadata one object", () => {
    const got = pass(
      {
        steps: [
          { labels: { ns: "kubernetes.namespace_name" } },
          { metadata: { pod: "kubernetes.pod_name", user: "user" } },
        ],
      },
      [
        { log: "a", kubernetes: KUBE, user: "u1" },
        { log: "b", kubernetes: { ...KUBE, pod_name: "p-2" } },
        { log: "c", kubernetes: KUBE },
        { log: "d", kubernetes: { ...KUBE, namespace_name: "mail" } },
        { log: "e" },
        { log: "f", kubernetes: KUBE },
      ],
    );
    expect(got.map(({ labels }) => labels)).toEqual([
      { ns: "shop" },
      { ns: "shop" },
      { ns: "shop" },
      { ns: "mail" },
      { tag: "app.web" },
      { ns: "shop" },
    ]);
    expect(got.map(({ metadata }) => metadata)).toEqual([
      { pod: "p-1", user: "u1" },
      { pod: "p-2" },
      { pod: "p-1" },
      { pod: "p-1" },
      {},
      { pod: "p-1" },
    ]);
    expect(got[0]?.shared).toBe(got[2]?.shared);
    expect(got[0]?.shared).toBe(got[5]?.shared);
    expect(got[0]?.handle).toBe(got[1]?.handle);
  });

  test("the same field under another tag is another stream without labels", () => {
    const { pipelines, sink } = setUp({ steps: [{ labels: { a: "a" } }] });
    for (const tag of ["one", "two", "one"])
      runEntry(pipelines, entryOf(packed([eventBytes({ log: "x" }), eventBytes({ log: "x", a: "b" })], tag)));
    expect(sink.got.map(({ labels }) => labels)).toEqual([
      { tag: "one" },
      { a: "b" },
      { tag: "two" },
      { a: "b" },
      { tag: "one" },
      { a: "b" },
    ]);
  });

  test("a later step says anew what a name means", () => {
    expect(
      passOne({ steps: [{ labels: { a: "x", b: "y" } }, { labels: { a: "y" } }] }, { log: "l", x: "1", y: "2" }).labels,
    ).toEqual({ a: "2", b: "2" });
  });

  test("tenants don't share streams", () => {
    const { pipelines, sink } = setUp();
    for (const tenant of ["a", "b"]) runEntry(pipelines, entryOf(packed([eventBytes({ log: "x" })]), "in", tenant));
    expect(sink.got.map(({ tenant }) => tenant)).toEqual(["a", "b"]);
  });

  test("a field that changes in every record is read value by value, with the same results", () => {
    const setup = {
      limits: { contexts_max: 400 },
      steps: [{ labels: { app: "k.app" } }, { metadata: { id: "k.id", fix: "f.x" } }],
    };
    const records = Array.from({ length: 5000 }, (_, n) => ({
      log: `l${n}`,
      k: { app: `a${n % 3}`, id: `i${n}` },
      f: { x: "y" },
    }));
    const got = pass(setup, records);
    expect(got.map(({ labels, metadata }) => [labels.app, metadata.id, metadata.fix])).toEqual(
      records.map(({ k }) => [k.app, k.id, "y"]),
    );
    // Once it is known to change, only what stays the same is shared.
    expect(got[4998]?.shared).toBe(got[4995]?.shared);
  });
});

describe("limits", () => {
  test("too many labels: the least important ones go", () => {
    const setup = { limits: { labels_max: 2, drop_order: ["container", "app"] } };
    const given = { app: { value: "1" }, ns: { value: "2" }, container: { value: "3" }, env: { value: "4" } };
    expect(passOne({ ...setup, steps: [{ labels: given }] }, { log: "x" }).labels).toEqual({ ns: "2", env: "4" });
    expect(
      passOne(
        {
          limits: { labels_max: 1, drop_order: ["a"] },
          steps: [{ labels: { b: { value: "1" }, a: { value: "2" }, c: { value: "3" } } }],
        },
        { log: "x" },
      ).labels,
    ).toEqual({ b: "1" });
  });

  test("a label's value is cut at a character", () => {
    const got = passOne(
      { limits: { label_value_bytes_max: 16 }, steps: [{ labels: { a: "a" } }] },
      { log: "x", a: `${"é".repeat(7)}日日` },
    );
    expect(got.labels).toEqual({ a: "é".repeat(7) });
  });

  test("too many streams: the least important label goes, the line stays; idle streams make room", async () => {
    const metrics = new Metrics();
    let nowMs = 1_000_000;
    const { pipelines, sink } = setUp({
      metrics,
      now: () => nowMs,
      limits: { streams_max: 10, stream_idle_ms: 60_000, drop_order: ["container"] },
      steps: [{ labels: { ns: "ns", container: "c" } }],
    });
    const send = (records: Encodable[]) =>
      runEntry(pipelines, entryOf(packed(records.map((record) => eventBytes(record)))));
    send(Array.from({ length: 10 }, (_, n) => ({ log: "x", ns: "a", c: `c${n}` })));
    expect(new Set(sink.got.map(({ handle }) => handle)).size).toBe(10);
    send([
      { log: "y", ns: "a", c: "new" },
      { log: "z", ns: "b", c: "new" },
      { log: "w", ns: "a", c: "c3" },
      { log: "v", ns: "a", c: "new2" },
    ]);
    expect(sink.got.slice(10).map(({ labels }) => labels)).toEqual([
      { ns: "a" },
      { receiver: "in" },
      { ns: "a", container: "c3" },
      { ns: "a" },
    ]);
    expect(await metrics.render()).toContain('weir_pipeline_dropped_labels_total{label="container"} 3');
    nowMs += 70_000;
    send([{ log: "u", ns: "a", c: "new" }]);
    expect(sink.got.at(-1)?.labels).toEqual({ ns: "a", container: "new" });
    expect(sink.got).toHaveLength(15);
    expect(await metrics.render()).toContain('weir_pipeline_active_streams{tenant="fake"} 1');
    send([{ log: "t", ns: "a", c: "c3" }]);
    expect(sink.got.at(-1)?.labels).toEqual({ ns: "a", container: "c3" });
  });

  test("a million streams are no more than the limit", () => {
    const { pipelines, sink } = setUp({ limits: { streams_max: 100 }, steps: [{ labels: { id: "id", ns: "ns" } }] });
    for (let n = 0; n < 20; n++) {
      runEntry(
        pipelines,
        entryOf(
          packed(Array.from({ length: 1000 }, (_, i) => eventBytes({ log: "x", id: `${n}-${i}`, ns: `n${i % 5}` }))),
        ),
      );
    }
    expect(sink.got).toHaveLength(20_000);
    expect(sink.handles.size).toBeLessThanOrEqual(111);
  });

  test("metadata beyond the limits is left out and counted", async () => {
    const metrics = new Metrics();
    const attributes = Object.fromEntries(
      Array.from({ length: 20 }, (_, i) => [`a${i}`, "v".repeat(i === 3 ? 5000 : 5)]),
    );
    const got = passOne(
      { metrics, limits: { metadata_entries_max: 10, metadata_bytes_max: 1000 } },
      { log: "x" },
      { otlp: { attributes } },
    );
    expect(Object.keys(got.metadata)).toEqual(["a0", "a1", "a2", "a4", "a5", "a6", "a7", "a8", "a9", "a10"]);
    expect(await metrics.render()).toContain('weir_pipeline_dropped_metadata_total{pipeline="test"} 10');
  });
});

describe("steps", () => {
  test("parse: the first parser that fits, its fields before the record's own", () => {
    const given: GivenStep[] = [
      { parse: { with: ["json", "logfmt"] } },
      { metadata: { user: "user", deep: "a.b", list: "l", rec: "r" } },
    ];
    const got = pass({ parsers, steps: given }, [
      { log: '{"user":"json","a":{"b":12345678901234567890},"l":[1,"x"]}', user: "record", r: "1" },
      { log: "user=logfmt x=y", user: "record" },
      { log: "neither of them", user: "record" },
    ]);
    expect(got.map(({ metadata }) => metadata)).toEqual([
      { user: "json", deep: "12345678901234567890", list: '[1,"x"]', rec: "1" },
      { user: "logfmt" },
      { user: "record" },
    ]);
    expect(got[0]?.text).toContain('{"user":"json"');
  });

  test("parse: what no parser takes stays whole, is counted, and marked when asked", async () => {
    const metrics = new Metrics();
    const got = passOne(
      { metrics, parsers, steps: [{ parse: { with: ["json", "cri"], parse_error: true } }] },
      { log: "neither" },
    );
    expect(got).toMatchObject({ text: "neither", metadata: { parse_error: "json,cri" } });
    expect(passOne({ metrics, parsers, steps: [{ parse: { with: "json" } }] }, { log: "neither" }).metadata).toEqual(
      {},
    );
    expect(await metrics.render()).toContain('weir_pipeline_unparsed_lines_total{pipeline="test"} 2');
  });

  const CRI = "2024-05-01T09:00:00.500000001Z stderr F ";
  test.each([
    {
      name: "cri",
      given: { with: "cri" },
      log: `${CRI}disk full`,
      want: { text: "disk full", sec: 1_714_554_000, nsec: 500_000_001 },
    },
    {
      name: "cri, its time not wanted",
      given: { with: "cri", time: false },
      log: `${CRI}disk full`,
      want: { text: "disk full", sec: 1_700_000_000 },
    },
    {
      name: "cri, its envelope wanted",
      given: { with: "cri", keep_line: true },
      log: `${CRI}disk full`,
      want: { text: `${CRI}disk full`, sec: 1_714_554_000 },
    },
    {
      name: "cri, bytes that are no UTF-8",
      given: { with: "cri" },
      log: Buffer.concat([Buffer.from(CRI), Buffer.of(0xff, 0xe9, 0x20, 0x80)]),
      want: { bytes: Buffer.of(0xff, 0xe9, 0x20, 0x80) },
    },
    { name: "cri, nothing inside", given: { with: "cri" }, log: CRI, want: { text: "" } },
    { name: "cri, nothing inside, and a line end", given: { with: "cri" }, log: `${CRI.trim()}\n`, want: { text: "" } },
    { name: "cri with a line end", given: { with: "cri" }, log: `${CRI}disk full\r\n`, want: { text: "disk full\r" } },
    {
      name: "cri with a line end, bytes that are no UTF-8",
      given: { with: "cri" },
      log: Buffer.concat([Buffer.from(CRI), Buffer.of(0xff, 0xe9, 0x0a, 0x80, 0x0a)]),
      want: { bytes: Buffer.of(0xff, 0xe9, 0x0a, 0x80) },
    },
    {
      name: "docker",
      given: { with: "docker" },
      log: '{"log":"a \\"b\\" \\u00e9\\n","stream":"stdout","time":"2024-05-01T09:00:00Z"}',
      want: { text: 'a "b" é', sec: 1_714_554_000, nsec: 0 },
    },
    {
      name: "docker, a suffix that is none",
      given: { with: "docker" },
      log: '{"stream":"stdout","time":"2024-05-01T09:00:00Z","log":"x\\n"}',
      want: { text: "x" },
    },
  ])("parse unwraps $name", ({ given, log, want }) => {
    expect(passOne({ parsers, steps: [{ parse: given }] }, { log })).toMatchObject(want);
  });

  test.each(["\n", "\r\n", "\r"])(
    "parse: the line end %j, which agents leave in the text, is no part of the last field",
    (end) => {
      const all = { ...parsers, envoy, regex };
      const lines = [envoy.examples[0].line, "a=1 upstream_host=h", '{"a":1,"upstream_host":"h"}', "at h"];
      const pattern = "^at (?P<upstream_host>.*)$";
      const given = { with: ["envoy", "json", { regex: { pattern } }, "logfmt"], parse_error: true };
      const steps: GivenStep[] = [{ parse: given }, { metadata: { host: "upstream_host" } }];
      const got = pass(
        { parsers: all, steps },
        lines.map((line) => ({ log: line + end })),
      );
      expect(got.map(({ text }) => text)).toEqual(lines.map((line) => line + end));
      expect(got.map(({ metadata }) => metadata)).toEqual([
        { host: "tcp://10.0.2.1:80" },
        { host: "h" },
        { host: "h" },
        { host: "h" },
      ]);
      const field = passOne(
        { parsers: all, steps: [{ parse: { with: [{ regex: { pattern } }], from: "data" } }, steps[1]] },
        { log: "x", data: `at h${end}` },
      );
      expect(field).toMatchObject({ text: "x", metadata: { host: "h" } });
    },
  );

  test("parse: one envelope in another, and a field instead of the line", () => {
    const got = passOne(
      {
        parsers,
        steps: [{ parse: { with: "cri" } }, { parse: { with: "json" } }, { level: {} }, { labels: { a: "a" } }],
      },
      { log: `${CRI}{"level":"warn","a":"b"}` },
    );
    expect(got).toMatchObject({
      text: '{"level":"warn","a":"b"}',
      labels: { a: "b" },
      metadata: { detected_level: "warn" },
    });
    expect(
      passOne(
        { parsers, steps: [{ parse: { with: "json", from: "data" } }, { labels: { a: "a" } }] },
        { log: "x", data: '{"a":"b"}' },
      ),
    ).toMatchObject({ text: "x", labels: { a: "b" } });
  });

  test("parse: lines above its limit are left alone", () => {
    const log = JSON.stringify({ a: "b".repeat(100) });
    expect(
      passOne({ parsers, steps: [{ parse: { with: "json", line_bytes_max: 64 } }, { labels: { a: "a" } }] }, { log })
        .labels,
    ).toEqual({ tag: "app.web" });
  });

  test("what a parser found of one record is not there for the next", () => {
    const got = pass(
      {
        parsers,
        steps: [
          { parse: { with: "json" } },
          { labels: { a: "a" } },
          { parse: { with: "logfmt" } },
          { metadata: { b: "b" } },
        ],
      },
      [{ log: '{"a":"1"}' }, { log: "b=2 c=3" }, { log: "zzz" }],
    );
    expect(got.map(({ labels, metadata }) => [labels, metadata])).toEqual([
      [{ a: "1" }, {}],
      [{ tag: "app.web" }, { b: "2" }],
      [{ tag: "app.web" }, {}],
    ]);
  });

  test.each([
    { name: "a value", when: { a: "1" }, kept: ["2", "x"] },
    { name: "a number", when: { a: 1 }, kept: ["2", "x"] },
    { name: "one of several", when: { a: ["1", 2] }, kept: ["x"] },
    { name: "a pattern", when: { $line: { regex: "^line [12]$" } }, kept: ["x"] },
    { name: "the level", when: { $level: "debug" }, kept: ["1", "x"] },
    { name: "all of them", when: { $level: "debug", a: "1" }, kept: ["1", "2", "x"] },
    { name: "an absent field", when: { a: "" }, kept: ["1", "2"] },
    { name: "the tag", when: { $tag: "app.web" }, kept: [] },
  ])("drop when: $name", async ({ when, kept }) => {
    const metrics = new Metrics();
    const records: Encodable[] = [
      { log: "line 1", a: "1" },
      { log: "line 2", a: "2", level: "debug" },
      { log: "line x" },
    ];
    const got = pass({ metrics, steps: [{ drop: { when } }] }, records);
    expect(got.map(({ text }) => text.slice(5))).toEqual(kept);
    if (kept.length < 3)
      expect(await metrics.render()).toContain(
        `weir_pipeline_dropped_records_total{pipeline="test"} ${3 - kept.length}`,
      );
  });

  test("drop and rename: in a record that becomes JSON, and for later steps only", () => {
    const record = { a: { b: 1, c: 2 }, d: 3, e: 4 };
    const given: GivenStep[] = [
      { labels: { early: "a.b" } },
      { drop: { fields: ["a.b", "e"] } },
      { rename: { d: "x.y", "a.c": "z" } },
      { metadata: { b: "a.b", e: "e", d: "d", xy: "x.y", z: "z", x: "x" } },
    ];
    expect(passOne({ steps: given }, record)).toMatchObject({
      text: '{"a":{},"x":{"y":3},"z":2}',
      labels: { early: "1" },
      metadata: { xy: "3", z: "2" },
    });
  });

  test("rename: a record that lacks the old name keeps what has the new one", () => {
    const got = pass({ steps: [{ rename: { old: "new" } }, { labels: { n: "new" } }] }, [
      { old: "1" },
      { new: "2" },
      { old: "3", new: "4" },
    ]);
    expect(got.map(({ labels, text }) => [labels.n, text])).toEqual([
      ["1", '{"new":"1"}'],
      ["2", '{"new":"2"}'],
      ["3", '{"new":"3"}'],
    ]);
  });

  test("rename before parse is not for what the parser finds later", () => {
    expect(
      passOne(
        { parsers, steps: [{ rename: { a: "b" } }, { parse: { with: "json" } }, { labels: { b: "b", a: "a" } }] },
        { log: '{"a":"parsed"}' },
      ).labels,
    ).toEqual({ a: "parsed" });
    expect(
      passOne(
        { parsers, steps: [{ parse: { with: "json" } }, { rename: { a: "b" } }, { labels: { b: "b", a: "a" } }] },
        { log: '{"a":"parsed"}' },
      ).labels,
    ).toEqual({ b: "parsed" });
  });

  const NOW = [1_700_000_000, 7];
  test.each([
    { name: "RFC 3339", t: "2024-05-01T11:00:00.123456789+02:00", want: [1_714_554_000, 123_456_789] },
    { name: "seconds", t: 1_714_554_000, want: [1_714_554_000, 0] },
    { name: "seconds with a fraction", t: 1_714_554_000.25, want: [1_714_554_000, 250_000_000] },
    { name: "seconds as text", t: "1714554000.123456789", want: [1_714_554_000, 123_456_789] },
    { name: "milliseconds", t: 1_714_554_000_123, want: [1_714_554_000, 123_000_000] },
    { name: "microseconds", t: 1_714_554_000_123_456, want: [1_714_554_000, 123_456_000] },
    { name: "nanoseconds", t: 1_714_554_000_123_456_789n, want: [1_714_554_000, 123_456_789] },
    { name: "an EventTime", t: { ext: 0, data: Buffer.from("6632041000000005", "hex") }, want: [1_714_553_872, 5] },
    { name: "milliseconds, said so", t: 5, format: "unix_ms", want: [0, 5_000_000] },
    { name: "nanoseconds, said so", t: "7", format: "unix_ns", want: [0, 7] },
    { name: "an exponent", t: "1.714554e9", want: [1_714_554_000, 0] },
    { name: "a number where text is wanted", t: 5, format: "rfc3339", want: NOW },
    { name: "text where a number is wanted", t: "2024-05-01T09:00:00Z", format: "unix", want: NOW },
    { name: "nonsense", t: "yesterday", want: NOW },
    { name: "before 1970", t: -5, want: NOW },
    { name: "after 2262", t: "9999-01-01T00:00:00Z", want: NOW },
    { name: "nothing", t: null, want: NOW },
  ])("time: $name", async ({ t, format, want }) => {
    const metrics = new Metrics();
    const got = passOne(
      { metrics, steps: [{ time: { from: "t", ...(format === undefined ? {} : { format }) } }] },
      { log: "x", t },
    );
    expect([got.sec, got.nsec]).toEqual(want);
    if (want === NOW && t !== null)
      expect(await metrics.render()).toContain('weir_pipeline_bad_times_total{pipeline="test"} 1');
  });
});

describe("the agent's metadata and OTLP", () => {
  const group = (attributes: Encodable) =>
    Buffer.concat([Buffer.from("9292d700ffffffff00000000", "hex"), encode({ schema: "otlp" }), encode(attributes)]);
  const groupEnd = Buffer.concat([Buffer.from("9292d700fffffffe00000000", "hex"), encode({}), encode({})]);
  const RESOURCE = {
    resource: { attributes: { "service.name": "checkout", "host.name": "a", n: { x: 1 } } },
    scope: { name: "lib", version: "1", attributes: { lang: "js" } },
  };

  test("metadata of an event becomes metadata of its line", () => {
    expect(
      passOne({}, { log: "x" }, { source: "edge-1", sampled: true, "n.n": 7, empty: "", map: { a: [1] } }).metadata,
    ).toEqual({ source: "edge-1", sampled: "true", n_n: "7", map: '{"a":[1]}' });
  });

  test("groups, attributes, severity", () => {
    const { pipelines, sink } = setUp({
      steps: [
        { level: {} },
        { labels: { service_name: 'resource["service.name"]', scope: "$scope.name" } },
        { metadata: { lib: "scope.lang" } },
      ],
    });
    runEntry(
      pipelines,
      entryOf(
        packed([
          eventBytes({ log: "before" }),
          group(RESOURCE),
          eventBytes(
            { log: "a" },
            {
              otlp: {
                severity_text: "WARN",
                severity_number: 13,
                attributes: { "user.id": "u", service_name: "other", trace_id: "x", scope: "y" },
                observed_timestamp: 5,
              },
            },
          ),
          eventBytes({ event: "b" }, { otlp: {} }),
          groupEnd,
          group({ resource: { attributes: { "service.name": "mailer" } }, scope: { name: "lib" } }),
          eventBytes({ log: "c" }, { otlp: {} }),
          groupEnd,
          eventBytes({ log: "after" }),
        ]),
      ),
      2,
    );
    expect(sink.got.map(({ text }) => text)).toEqual(["before", "a", '{"event":"b"}', "c", "after"]);
    expect(sink.got.map(({ labels }) => labels)).toEqual([
      { tag: "app.web" },
      { service_name: "checkout", scope: "lib" },
      { service_name: "checkout", scope: "lib" },
      { service_name: "mailer", scope: "lib" },
      { tag: "app.web" },
    ]);
    const shared = { scope_name: "lib", scope_version: "1", lang: "js", host_name: "a", n: '{"x":1}', lib: "js" };
    expect(sink.got.map(({ metadata }) => metadata)).toEqual([
      { detected_level: "unknown" },
      {
        ...shared,
        severity_text: "WARN",
        severity_number: "13",
        user_id: "u",
        service_name_extracted: "other",
        trace_id_extracted: "x",
        scope_extracted: "y",
        detected_level: "warn",
      },
      { ...shared, detected_level: "unknown" },
      { scope_name: "lib", detected_level: "unknown" },
      { detected_level: "unknown" },
    ]);
  });

  test("they can be left out, and read by path", () => {
    const { pipelines, sink } = setUp({
      steps: [
        { labels: { s: '$resource["service.name"]', u: '$metadata.otlp.attributes["user.id"]' } },
        { drop: { fields: ["$metadata", "$resource", "$scope"] } },
      ],
    });
    runEntry(
      pipelines,
      entryOf(packed([group(RESOURCE), eventBytes({ log: "a" }, { otlp: { attributes: { "user.id": "u" } } })])),
    );
    expect(sink.got[0]).toMatchObject({ labels: { s: "checkout", u: "u" }, metadata: {} });
  });

  test("a record's own field called resource", () => {
    expect(
      passOne({ steps: [{ labels: { t: "resource.type" } }] }, { log: "x", resource: { type: "gce" } }).labels,
    ).toEqual({ t: "gce" });
  });
});

describe("routing", () => {
  const limits = limitsOptions.parse({});
  const two = (extra: { log?: typeof silentLogger; metrics?: Metrics } = {}) => {
    const sinks = { a: new CollectSink(), b: new CollectSink() };
    const pipelines = compilePipelines(
      [
        {
          name: "kube",
          from: ["in"],
          match: ["kube.**"],
          line: ["log"],
          steps: checkedSteps([{ labels: { by: { value: "kube" } } }]),
          to: ["a", "b"],
        },
        { name: "rest", from: ["in", "other"], match: ["app.*", "sys"], line: ["log"], steps: [], to: ["b"] },
      ],
      { parsers, sinks, metrics: new Metrics(), log: silentLogger, limits, ...extra },
    );
    return { pipelines, sinks };
  };

  test("a record goes to the first pipeline that fits, and to all of its sinks", () => {
    const { pipelines, sinks } = two();
    for (const [tag, source] of [
      ["kube.x", "in"],
      ["kube.x", "other"],
      ["app.y", "other"],
      ["sys", "in"],
      ["nowhere", "in"],
    ] as const) {
      runEntry(pipelines, entryOf(packed([eventBytes({ log: `${tag} ${source}` })], tag), source));
    }
    expect(sinks.a.got.map(({ text }) => text)).toEqual(["kube.x in"]);
    expect(sinks.b.got.map(({ text, labels }) => [text, labels])).toEqual([
      ["kube.x in", { by: "kube" }],
      ["app.y other", { tag: "app.y" }],
      ["sys in", { tag: "sys" }],
    ]);
  });

  test("what no pipeline takes is counted", async () => {
    const metrics = new Metrics();
    const { pipelines } = two({ metrics });
    runEntry(pipelines, entryOf(packed([eventBytes({ log: "x" }), eventBytes({ log: "y" })], "nowhere")), 1);
    expect(await metrics.render()).toContain("weir_pipeline_unrouted_records_total 2");
  });

  test("an entry that can't be read is counted, what stands before the damage is kept", async () => {
    const metrics = new Metrics();
    const { pipelines, sink } = setUp({ metrics });
    runEntry(pipelines, entryOf(packed([eventBytes({ log: "whole" }), Buffer.of(0x92, 0xc1)])));
    runEntry(pipelines, entryOf(Buffer.of(0xc1)));
    runEntry(pipelines, entryOf(packed([eventBytes({ log: "next" })])));
    expect(sink.got.map(({ text }) => text)).toEqual(["whole", "next"]);
    expect(await metrics.render()).toContain("weir_pipeline_broken_entries_total 2");
  });

  test("slices: true while there is more", () => {
    const { pipelines, sink } = setUp();
    const run = pipelines.begin(entryOf(packed([1, 2, 3].map((n) => eventBytes({ log: `${n}` })))));
    expect([run.step(2), sink.got.length, run.step(2), sink.got.length, run.step(2)]).toEqual([
      true,
      2,
      false,
      3,
      false,
    ]);
  });

  test("a slice of long records ends early, so that others get their turn", () => {
    const { pipelines, sink } = setUp();
    const run = pipelines.begin(
      entryOf(packed(Array.from({ length: 10 }, () => eventBytes({ log: "x".repeat(200_000) })))),
    );
    const counts: number[] = [];
    while (run.step(1000)) counts.push(sink.got.length);
    expect(counts).toEqual([3, 6, 9]);
    expect(sink.got).toHaveLength(10);
  });

  test("more tags than are remembered", () => {
    const { pipelines, sink } = setUp({ limits: { tags_max: 16 }, match: ["t.*"] });
    for (let n = 0; n < 200; n++) runEntry(pipelines, entryOf(packed([eventBytes({ log: "x" })], `t.${n % 50}`)));
    expect(sink.got).toHaveLength(200);
  });
});

describe("a pipeline that can't work says where", () => {
  const compile = (given: GivenStep[], to = ["a"]) =>
    compilePipelines([{ name: "web", from: ["in"], match: ["**"], line: ["log"], steps: checkedSteps(given), to }], {
      parsers,
      sinks: { a: new CollectSink() },
      metrics: new Metrics(),
      log: silentLogger,
      limits: limitsOptions.parse({}),
    });
  test.each([
    { name: "an unknown sink", run: () => compile([], ["nope"]), says: 'pipelines.web: there is no sink "nope"' },
    {
      name: "an unknown parser",
      run: () => compile([{ level: {} }, { parse: { with: "nope" } }]),
      says: 'pipelines.web.steps[1]: parse: there is no parser "nope", only cri, docker, json, logfmt',
    },
    {
      name: "a part of metadata",
      run: () => compile([{ drop: { fields: ["$metadata.x"] } }]),
      says: "pipelines.web.steps[0]: drop: $metadata.x can't be left out, only fields of the record, $metadata, $resource and $scope",
    },
  ])("$name", ({ run, says }) => expect(run).toThrow(says));

  test.each([
    [{ labels: { a: "x..y" } }, "at character 2"],
    [{ labels: { " ": "x" } }, "want a name that is not blank"],
    [{ metadata: { trace_id: "x" } }, "Weir itself gives metadata this name"],
    [{ labels: { a: "$nope" } }, "no $nope, only $tag"],
    [{ drop: {} }, "want fields, or when or unless with at least one condition"],
    [{ drop: { when: { a: { regex: "(" } } } }, "missing closing )"],
    [{ rename: { $tag: "x" } }, "only fields of the record can be renamed"],
    [{ level: { form: "x" } }, "Unrecognized key"],
  ] as const)("%j", (given, says) => expect(() => checkedSteps([given as GivenStep])).toThrow(says));

  test("every step has a sentence", () => {
    for (const [name, spec] of Object.entries(steps)) {
      expect(spec.name).toBe(name);
      expect(spec.summary).toMatch(/\.$/);
    }
  });
});

test("the record as JSON is what fast-json-stable-stringify makes of it", () => {
  const record = {
    z: [1, 2, { b: 1, a: '\u2028"\\' }],
    é: "日本 😀",
    "\ud83d\ude00": 1,
    Z: null,
    a: { "": 1 },
    n: 1e21,
    m: 0.1,
  };
  expect(passOne({ line: ["none"] }, record).text).toBe(stringify(record));
});
