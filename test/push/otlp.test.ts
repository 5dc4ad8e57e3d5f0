import { deflateSync, gzipSync } from "node:zlib";
import lz4 from "lz4js";
import { PbfReader, PbfWriter } from "pbf";
import snappy from "snappyjs";
import { describe, expect, test } from "vitest";
import { type Got, NOW_NS, Receive } from "./receive.ts";

/** A value as OTLP/JSON has it. */
type Value = Record<string, unknown>;
const text = (stringValue: string): Value => ({ stringValue });
const attributes = (values: Record<string, Value>): unknown[] =>
  Object.entries(values).map(([key, value]) => ({ key, value }));

interface Setup {
  readonly resource?: Record<string, Value>;
  readonly scope?: Record<string, unknown>;
  readonly records?: readonly Record<string, unknown>[];
}

const request = ({ resource = {}, scope = {}, records = [{}] }: Setup): unknown => ({
  resourceLogs: [{ resource: { attributes: attributes(resource) }, scopeLogs: [{ scope, logRecords: records }] }],
});

/** The same request as protobuf. Knows as much of the schema as the tests need. */
function proto(value: unknown): Buffer {
  const pbf = new PbfWriter();
  for (const logs of list(value, "resourceLogs")) {
    pbf.writeMessage(1, writeResourceLogs, logs);
  }
  return Buffer.from(pbf.finish());
}

type Json = Record<string, unknown>;
const list = (value: unknown, key: string): Json[] => ((value as Json)[key] ?? []) as Json[];

function writeResourceLogs(logs: Json, pbf: PbfWriter): void {
  pbf.writeMessage(1, (it, w) => writeAttributes(1, list(it, "attributes"), w), logs.resource as Json);
  for (const scope of list(logs, "scopeLogs")) {
    pbf.writeMessage(
      2,
      (it, w) => {
        w.writeMessage(1, writeScope, (it.scope ?? {}) as Json);
        for (const record of list(it, "logRecords")) w.writeMessage(2, writeRecord, record);
        w.writeStringField(3, "https://example.com/schema");
      },
      scope,
    );
  }
}

function writeScope(scope: Json, pbf: PbfWriter): void {
  if (scope.name !== undefined) pbf.writeStringField(1, String(scope.name));
  if (scope.version !== undefined) pbf.writeStringField(2, String(scope.version));
  writeAttributes(3, list(scope, "attributes"), pbf);
  if (scope.droppedAttributesCount !== undefined) pbf.writeVarintField(4, Number(scope.droppedAttributesCount));
}

function writeRecord(record: Json, pbf: PbfWriter): void {
  const out: [number, unknown][] = [
    [1, record.timeUnixNano],
    [11, record.observedTimeUnixNano],
  ];
  for (const [tag, value] of out) {
    if (value === undefined) continue;
    const ns = BigInt(String(value));
    pbf.writeTag(tag, 1);
    pbf.writeFixed32(Number(ns & 0xffff_ffffn));
    pbf.writeFixed32(Number(ns >> 32n));
  }
  if (record.severityNumber !== undefined) pbf.writeVarintField(2, Number(record.severityNumber));
  if (record.severityText !== undefined) pbf.writeStringField(3, String(record.severityText));
  if (record.body !== undefined) pbf.writeMessage(5, writeValue, record.body as Json);
  writeAttributes(6, list(record, "attributes"), pbf);
  if (record.droppedAttributesCount !== undefined) pbf.writeVarintField(7, Number(record.droppedAttributesCount));
  if (record.flags !== undefined) pbf.writeFixed32Field(8, Number(record.flags));
  if (record.traceId !== undefined) pbf.writeBytesField(9, Buffer.from(String(record.traceId), "hex"));
  if (record.spanId !== undefined) pbf.writeBytesField(10, Buffer.from(String(record.spanId), "hex"));
  if (record.eventName !== undefined) pbf.writeStringField(12, String(record.eventName));
}

function writeAttributes(tag: number, pairs: readonly Json[], pbf: PbfWriter): void {
  for (const pair of pairs) {
    pbf.writeMessage(
      tag,
      (it, w) => {
        w.writeStringField(1, String(it.key));
        w.writeMessage(2, writeValue, it.value as Json);
      },
      pair,
    );
  }
}

function writeValue(value: Json, pbf: PbfWriter): void {
  if (value.stringValue !== undefined) pbf.writeStringField(1, String(value.stringValue));
  if (value.boolValue !== undefined) pbf.writeBooleanField(2, value.boolValue === true);
  if (value.intValue !== undefined) pbf.writeVarintField(3, Number(value.intValue));
  if (value.doubleValue !== undefined) pbf.writeDoubleField(4, Number(value.doubleValue));
  if (value.arrayValue !== undefined) {
    pbf.writeMessage(
      5,
      (it, w) => {
        for (const item of list(it, "values")) w.writeMessage(1, writeValue, item);
      },
      value.arrayValue as Json,
    );
  }
  if (value.kvlistValue !== undefined) {
    pbf.writeMessage(6, (it, w) => writeAttributes(1, list(it, "values"), w), value.kvlistValue as Json);
  }
  if (value.bytesValue !== undefined) pbf.writeBytesField(7, Buffer.from(String(value.bytesValue), "base64"));
}

const TYPES = {
  json: { contentType: "application/json", bytes: (value: unknown) => Buffer.from(JSON.stringify(value)) },
  protobuf: { contentType: "application/x-protobuf", bytes: proto },
} as const;

const map = (values: Record<string, Value>): Value => ({ kvlistValue: { values: attributes(values) } });
const array = (...values: Value[]): Value => ({ arrayValue: { values } });
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

describe.each(["json", "protobuf"] as const)("as %s", (type) => {
  const { contentType, bytes } = TYPES[type];
  const send = (receive: Receive, setup: Setup): Promise<Got> =>
    receive.send("otlp", { contentType, body: bytes(request(setup)) });

  test("a whole record", async () => {
    const receive = new Receive();
    const sent = await send(receive, {
      resource: { "service.name": text("shop"), "k8s.pod.name": text("shop-1"), "host.name": text("n1") },
      scope: { name: "lib", version: "1.2", attributes: attributes({ "a.b": text("s") }), droppedAttributesCount: 3 },
      records: [
        {
          timeUnixNano: "1700000000000000001",
          observedTimeUnixNano: "1700000000000000002",
          severityNumber: 17,
          severityText: "ERROR",
          body: text("it broke"),
          attributes: attributes({
            "http.status_code": { intValue: "500" },
            ratio: { doubleValue: 0.25 },
            ok: { boolValue: false },
            nested: map({ "a.b": text("c"), d: map({ e: { intValue: 7 } }) }),
            list: array(text("x"), { intValue: 1 }),
            raw: { bytesValue: "AQI=" },
            empty: text(""),
          }),
          droppedAttributesCount: 2,
          flags: 1,
          traceId: TRACE,
          spanId: SPAN,
          eventName: "boom",
        },
      ],
    });
    expect(sent).toEqual({ status: 204, text: "", type: "text/plain; charset=utf-8" });
    expect(receive.stored()).toEqual([
      {
        tenant: "fake",
        labels: { service_name: "shop", k8s_pod_name: "shop-1" },
        ns: "1700000000000000001",
        line: "it broke",
        metadata: {
          host_name: "n1",
          a_b: "s",
          scope_name: "lib",
          scope_version: "1.2",
          scope_dropped_attributes_count: "3",
          http_status_code: "500",
          ratio: "0.25",
          ok: "false",
          nested_a_b: "c",
          nested_d_e: "7",
          list: '["x",1]',
          raw: "AQI=",
          severity_number: "17",
          severity_text: "ERROR",
          dropped_attributes_count: "2",
          flags: "1",
          event_name: "boom",
          observed_timestamp: "1700000000000000002",
          trace_id: TRACE,
          span_id: SPAN,
        },
      },
    ]);
  });

  test.each([
    { name: "its own time", record: { timeUnixNano: "1700000000000000009" }, ns: "1700000000000000009" },
    { name: "the observed time", record: { observedTimeUnixNano: "1700000000000000008" }, ns: "1700000000000000008" },
    { name: "the present", record: {}, ns: NOW_NS },
  ])("the time is $name", async ({ record, ns }) => {
    const receive = new Receive();
    await send(receive, { records: [record] });
    expect(receive.stored()).toMatchObject([{ ns, metadata: {} }]);
  });

  test.each([
    { name: "text", body: text("a \u00e9"), line: "a \u00e9" },
    { name: "a number", body: { intValue: 42 }, line: "42" },
    {
      name: "a map",
      body: map({ b: { intValue: 1 }, a: text("x"), c: array(map({ z: { boolValue: true } })) }),
      line: '{"a":"x","b":1,"c":[{"z":true}]}',
    },
    { name: "an array", body: array(text("x"), { doubleValue: 1.5 }), line: '["x",1.5]' },
    { name: "bytes", body: { bytesValue: "AQI=" }, line: "AQI=" },
    { name: "nothing", body: undefined, line: "" },
  ])("a body that is $name", async ({ body, line }) => {
    const receive = new Receive();
    await send(receive, { records: [body === undefined ? {} : { body }] });
    expect(receive.stored()).toMatchObject([{ line }]);
  });

  test.each([
    { name: "zeros", traceId: "0".repeat(32), spanId: "0".repeat(16) },
    { name: "too short", traceId: TRACE.slice(2), spanId: SPAN.slice(2) },
    { name: "none", traceId: "", spanId: "" },
  ])("ids that are $name are absent", async ({ traceId, spanId }) => {
    const receive = new Receive();
    await send(receive, { records: [{ traceId, spanId, body: text("x") }] });
    expect(receive.stored()).toMatchObject([{ line: "x", metadata: {} }]);
  });

  test("only the listed resource attributes are labels, and service_name looks at labels alone", async () => {
    const receive = new Receive();
    await send(receive, { resource: { app: text("x"), "k8s.job.name": text("j") } });
    await send(receive, { resource: { app: text("x") } });
    expect(receive.stored()).toMatchObject([
      { labels: { k8s_job_name: "j", service_name: "j" }, metadata: { app: "x" } },
      { labels: { service_name: "unknown_service" }, metadata: { app: "x" } },
    ]);
  });

  test("empty attributes are no labels", async () => {
    const receive = new Receive();
    await send(receive, { resource: { "service.name": text(""), "k8s.job.name": text("j") } });
    expect(receive.stored()).toMatchObject([{ labels: { service_name: "j", k8s_job_name: "j" } }]);
  });

  test.each([
    { name: "nothing at all", value: {} },
    { name: "no records", value: request({ records: [] }) },
  ])("$name is 422", async ({ value }) => {
    const sent = await new Receive().send("otlp", { contentType, body: bytes(value) });
    expect(sent.status).toBe(422);
    expect(statusText(sent)).toBe("error at least one valid stream is required for ingestion");
  });

  test("what is refused is said in a status message, and the rest is stored", async () => {
    const receive = new Receive();
    const sent = await send(receive, {
      resource: { "service.name": text("s") },
      records: [{ timeUnixNano: "1600000000000000000", body: text("old") }, { body: text("new") }],
    });
    expect(sent).toMatchObject({ status: 400, type: "application/octet-stream" });
    expect(statusText(sent)).toBe(
      "entry for stream '{service_name=\"s\"}' has timestamp too old: 2020-09-13T12:26:40Z, oldest acceptable timestamp is: 2023-11-07T22:13:20Z",
    );
    expect(receive.stored()).toMatchObject([{ line: "new" }]);
  });

  test.each([
    { contentEncoding: "gzip", compress: (plain: Buffer) => gzipSync(plain) },
    { contentEncoding: "lz4", compress: (plain: Buffer) => Buffer.from(lz4.compress(plain)) },
    { contentEncoding: "deflate", compress: (plain: Buffer) => deflateSync(plain) },
    { contentEncoding: "zlib", compress: (plain: Buffer) => deflateSync(plain) },
    { contentEncoding: "snappy", compress: (plain: Buffer) => Buffer.from(snappy.compress(plain)) },
  ])("$contentEncoding is taken, and bombs and damage are not", async ({ contentEncoding, compress }) => {
    const receive = new Receive({ inflated_bytes_max: 100_000 });
    const plain = bytes(request({ records: [{ body: text("x ".repeat(100)) }] }));
    const send = (body: Buffer) => receive.send("otlp", { contentType, contentEncoding, body });
    expect(await send(compress(Buffer.alloc(100_001)))).toMatchObject({ status: 413 });
    expect(await send(compress(plain).subarray(0, -5))).toMatchObject({ status: 400 });
    expect(await send(plain)).toMatchObject({ status: 400 });
    expect(receive.drafts).toEqual([]);
    expect(await send(compress(plain))).toMatchObject({ status: 204 });
    expect(receive.stored()).toMatchObject([{ line: "x ".repeat(100) }]);
  });

  test.each([
    {
      name: "a cut body",
      body: bytes(request({ records: [{ body: text("x".repeat(100)) }] })).subarray(0, 60),
      type: contentType,
    },
    { name: "a type with a charset", body: bytes(request({})), type: `${contentType}; charset=utf-8` },
    { name: "another type", body: bytes(request({})), type: "text/plain" },
    { name: "no type", body: bytes(request({})), type: undefined },
  ])("$name is 400, and nothing is stored", async ({ body, type: given }) => {
    const receive = new Receive();
    const sent = await receive.send("otlp", { contentType: given, body });
    expect(sent).toMatchObject({ status: 400, type: "application/octet-stream" });
    expect(statusText(sent)).not.toBe("");
    expect(receive.drafts).toEqual([]);
  });

  test("an encoding that nobody knows is 400", async () => {
    const sent = await new Receive().send("otlp", { contentType, contentEncoding: "br", body: bytes(request({})) });
    expect(sent.status).toBe(400);
    expect(statusText(sent)).toBe('Content-Encoding "br" not supported');
  });

  test("values nested too deep are 400", async () => {
    let value = text("x");
    for (let i = 0; i < 100; i++) value = array(value);
    const sent = await send(new Receive(), { records: [{ body: value }] });
    expect(sent.status).toBe(400);
    expect(statusText(sent)).toMatch(/nested/);
  });
});

test("JSON may have names with underscores, numbers as numbers, ids in capitals, and null", async () => {
  const receive = new Receive();
  const value = {
    resource_logs: [
      {
        resource: null,
        scope_logs: [
          {
            log_records: [
              {
                time_unix_nano: 1_700_000_000_000_000_000,
                body: { string_value: "x" },
                trace_id: TRACE.toUpperCase(),
                attributes: null,
              },
            ],
          },
        ],
      },
    ],
  };
  expect(await receive.send("otlp", { body: Buffer.from(JSON.stringify(value)) })).toMatchObject({ status: 204 });
  expect(receive.stored()).toMatchObject([{ ns: NOW_NS, line: "x", metadata: { trace_id: TRACE } }]);
});

test.each([
  { severityNumber: "SEVERITY_NUMBER_UNSPECIFIED", is: undefined },
  { severityNumber: "SEVERITY_NUMBER_TRACE", is: "1" },
  { severityNumber: "SEVERITY_NUMBER_INFO", is: "9" },
  { severityNumber: "SEVERITY_NUMBER_WARN2", is: "14" },
  { severityNumber: "SEVERITY_NUMBER_FATAL4", is: "24" },
  { severityNumber: "17", is: "17" },
  { severityNumber: 17, is: "17" },
])("JSON may name a severity, as protobuf's JSON names enums: $severityNumber", async ({ severityNumber, is }) => {
  const receive = new Receive();
  const body = Buffer.from(JSON.stringify(request({ records: [{ severityNumber }] })));
  expect(await receive.send("otlp", { body })).toMatchObject({ status: 204 });
  expect(receive.stored()[0].metadata.severity_number).toBe(is);
});

test.each([
  { doubleValue: "NaN", line: '["NaN"]' },
  { doubleValue: "-Infinity", line: '["-Inf"]' },
  { doubleValue: "1.5", line: "[1.5]" },
  { doubleValue: 2e300, line: "[2e+300]" },
  { doubleValue: null, line: "[null]" },
])("a float in JSON may be a text: $doubleValue", async ({ doubleValue, line }) => {
  const receive = new Receive();
  const body = Buffer.from(JSON.stringify(request({ records: [{ body: array({ doubleValue }) }] })));
  expect(await receive.send("otlp", { body })).toMatchObject({ status: 204 });
  expect(receive.stored()).toMatchObject([{ line }]);
});

test.each([
  { severityNumber: "SEVERITY_NUMBER_LOUD" },
  { severityNumber: "SEVERITY_NUMBER_INFO5" },
  { severityNumber: "info" },
  { severityNumber: true },
  { body: array({ doubleValue: "1],[2" }) },
  { body: array({ doubleValue: "one" }) },
  { body: array({ doubleValue: true }) },
])("JSON with $severityNumber$body is 400", async (record) => {
  const receive = new Receive();
  const body = Buffer.from(JSON.stringify(request({ records: [record] })));
  expect((await receive.send("otlp", { body })).status).toBe(400);
  expect(receive.drafts).toEqual([]);
});

test("JSON may have space anywhere", async () => {
  const receive = new Receive();
  const text = JSON.stringify(
    request({
      resource: { "service.name": { stringValue: "a b" } },
      records: [{ timeUnixNano: NOW_NS, severityText: "WARN", body: { stringValue: "x y" } }],
    }),
    null,
    2,
  ).replaceAll('":', '" : ');
  expect(await receive.send("otlp", { body: Buffer.from(text) })).toMatchObject({ status: 204 });
  expect(receive.stored()).toMatchObject([
    { labels: { service_name: "a b" }, line: "x y", metadata: { severity_text: "WARN" } },
  ]);
});

/** Field 2 of the google.rpc.Status. */
function statusText({ text: body }: Got): string {
  return new PbfReader(Buffer.from(body)).readFields(
    (tag, out, pbf) => {
      if (tag === 2) out.text = pbf.readString();
    },
    { text: "" },
  ).text;
}

describe.each(["json", "protobuf"] as const)("otlp_config, as %s", (type) => {
  const { contentType, bytes } = TYPES[type];
  const send = (receive: Receive, setup: Setup): Promise<Got> =>
    receive.send("otlp", { contentType, body: bytes(request(setup)) });

  const all: Setup = {
    resource: { app: text("x"), "service.name": text("s"), "team.a": text("1"), secret: text("2") },
    scope: { name: "lib", attributes: attributes({ "scope.x": text("3"), secret: text("4") }) },
    records: [{ severityText: "WARN", attributes: attributes({ secret: text("5"), "http.route": text("/a") }) }],
  };
  const index = (...names: string[]) => ({ action: "index_label", attributes: names });
  const drop = (regex: string) => ({ action: "drop", regex });

  test.each([
    {
      name: "none: Loki's list",
      config: {},
      labels: { service_name: "s" },
      metadata: {
        ...{ app: "x", team_a: "1", secret: "5", scope_x: "3", http_route: "/a" },
        ...{ scope_name: "lib", severity_text: "WARN" },
      },
    },
    {
      name: "rules of resources stand behind Loki's list",
      config: { resource_attributes: { attributes_config: [drop("service.*|secret"), index("app")] } },
      labels: { service_name: "s", app: "x" },
      metadata: {
        ...{ team_a: "1", secret: "5", scope_x: "3", http_route: "/a" },
        ...{ scope_name: "lib", severity_text: "WARN" },
      },
    },
    {
      name: "without that list, and a pattern that matches the whole name",
      config: {
        resource_attributes: {
          ignore_defaults: true,
          attributes_config: [{ action: "index_label", regex: "team" }, index("app")],
        },
      },
      labels: { app: "x", service_name: "x" },
      metadata: {
        ...{ service_name: "s", team_a: "1", secret: "5", scope_x: "3", http_route: "/a" },
        ...{ scope_name: "lib", severity_text: "WARN" },
      },
    },
    {
      name: "the first rule that fits counts, of which the default action is metadata",
      config: {
        resource_attributes: { attributes_config: [{ attributes: ["app"] }, { action: "drop", regex: ".*" }] },
      },
      labels: { service_name: "s" },
      metadata: {
        ...{ app: "x", secret: "5", scope_x: "3", http_route: "/a" },
        ...{ scope_name: "lib", severity_text: "WARN" },
      },
    },
    {
      name: "attributes of scopes and records as labels, and dropped",
      config: {
        scope_attributes: [index("scope.x"), drop("s.*")],
        log_attributes: [{ action: "index_label", regex: "http\\..+" }, drop("secret")],
      },
      labels: { service_name: "s", scope_x: "3", http_route: "/a" },
      metadata: { app: "x", team_a: "1", secret: "2", scope_name: "lib", severity_text: "WARN" },
    },
    {
      name: "the severity's text as a label, which stays metadata too",
      config: { severity_text_as_label: true, log_attributes: [drop(".*")], scope_attributes: [drop(".*")] },
      labels: { service_name: "s", severity_text: "WARN" },
      metadata: { app: "x", team_a: "1", secret: "2", scope_name: "lib", severity_text: "WARN" },
    },
  ])("$name", async ({ config, labels, metadata }) => {
    const receive = new Receive({ otlp_config: config });
    expect(await send(receive, all)).toMatchObject({ status: 204 });
    expect(receive.stored()).toEqual([{ tenant: "fake", labels, metadata, ns: NOW_NS, line: "" }]);
  });

  test("records with labels of their own are streams of their own, and keep their order", async () => {
    const receive = new Receive({ otlp_config: { log_attributes: [index("route", "service")] } });
    const record = (line: string, route: string) => ({
      body: text(line),
      attributes: attributes({ route: text(route) }),
    });
    await send(receive, {
      records: [record("1", "/a"), record("2", "/b"), record("3", "/a"), record("4", ""), { body: text("5") }],
    });
    const streams = receive.stored().map(({ labels, line }) => `${labels.route ?? "-"}${line}`);
    expect(streams).toEqual(["/a1", "/a3", "/b2", "-4", "-5"]);
    // What a record says does not name its service.
    const other = new Receive({ otlp_config: { log_attributes: [index("service")] } });
    await send(other, { records: [{ attributes: attributes({ service: text("s") }) }] });
    expect(other.stored()).toMatchObject([{ labels: { service: "s", service_name: "unknown_service" } }]);
  });

  test("a tenant's own parts go before those of all", async () => {
    const receive = new Receive({
      otlp_config: { log_attributes: [index("all")], scope_attributes: [drop(".*")] },
      overrides: { own: { otlp_config: { log_attributes: [index("mine")] } }, same: { max_line_size: 10 } },
    });
    const setup = {
      scope: { attributes: attributes({ gone: text("1") }) },
      records: [{ attributes: attributes({ all: text("a"), mine: text("m") }) }],
    };
    for (const tenant of ["own", "other", "same"]) {
      await receive.send("otlp", { contentType, body: bytes(request(setup)), tenant });
    }
    expect(receive.stored().map(({ labels, metadata }) => ({ labels, metadata }))).toEqual([
      { labels: { mine: "m", service_name: "unknown_service" }, metadata: { all: "a" } },
      { labels: { all: "a", service_name: "unknown_service" }, metadata: { mine: "m" } },
      { labels: { all: "a", service_name: "unknown_service" }, metadata: { mine: "m" } },
    ]);
  });

  test("labels are subject to the limits on labels", async () => {
    const receive = new Receive({ otlp_config: { log_attributes: [{ action: "index_label", regex: ".*" }] } });
    const many = Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`l${i}`, text("v")]));
    const sent = await send(receive, { records: [{ attributes: attributes(many) }, { body: text("good") }] });
    expect(sent.status).toBe(400);
    expect(statusText(sent)).toContain("has 16 label names; limit 15");
    expect(receive.stored()).toMatchObject([{ line: "good" }]);
  });

  test.each([
    { name: "no names and no pattern", rule: { action: "drop" }, message: "want either attributes or a regex" },
    { name: "both", rule: { attributes: ["a"], regex: "b" }, message: "want either attributes or a regex" },
    { name: "a broken pattern", rule: { regex: "(" }, message: "missing closing )" },
    { name: "another action", rule: { action: "keep", attributes: ["a"] }, message: "index_label" },
  ])("a rule with $name is refused", ({ rule, message }) => {
    expect(() => new Receive({ otlp_config: { log_attributes: [rule] } })).toThrow(message);
    expect(() => new Receive({ overrides: { t: { otlp_config: { log_attributes: [rule] } } } })).toThrow(message);
  });

  test("few bytes that would become very many attributes are 413", async () => {
    const receive = new Receive();
    const many = Object.fromEntries(Array.from({ length: 2001 }, (_, i) => [`a${i}`, text("v")]));
    const sent = await send(receive, { resource: many, records: Array.from({ length: 2000 }, () => ({})) });
    expect(sent.status).toBe(413);
    expect(statusText(sent)).toContain("share more than 4000000 attributes of resources and scopes");
    expect(receive.stored()).toEqual([]);
  });

  test.each([
    {
      name: "a map of a resource is as many attributes as it has members",
      resource: { m: map(Object.fromEntries(Array.from({ length: 4001 }, (_, i) => [`a${i}`, text("v")]))) },
      records: Array.from({ length: 1000 }, () => ({})),
      says: "share more than 4000000 attributes of resources and scopes",
    },
    {
      name: "a long attribute of a resource is as long in each of its records",
      resource: { m: text("x".repeat(600_000)) },
      records: Array.from({ length: 500 }, () => ({})),
      says: "share more than 268435456 characters of attributes",
    },
    {
      name: "the members of a map have its name in theirs",
      resource: {},
      records: [
        {
          attributes: attributes({
            ["n".repeat(50_000)]: map(Object.fromEntries([...Array(700).keys()].map((i) => [i, text("")]))),
          }),
        },
      ],
      says: "have maps whose members get names of more than 33554432 characters",
    },
    {
      name: "one record has more attributes than are sorted at once",
      resource: {},
      records: [{ attributes: Array.from({ length: 17_000 }, () => ({ key: "a", value: text("v") })) }],
      says: "more than 16384 attributes or values at one place",
    },
  ] as (Setup & { readonly name: string; readonly says: string })[])(
    "few bytes are not to become many: $name",
    async ({ resource, records, says }) => {
      const receive = new Receive();
      const sent = await send(receive, { resource, records });
      expect(sent.status).toBe(413);
      expect(statusText(sent)).toContain(says);
      expect(receive.stored()).toEqual([]);
    },
  );
});
