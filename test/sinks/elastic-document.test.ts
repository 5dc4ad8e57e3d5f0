import { describe, expect, test } from "vitest";
import { type DocumentForm, DocumentWriter } from "../../sinks/shared/elastic-document.ts";
import { FieldNames } from "../../sinks/shared/field-names.ts";
import { canonicalLabels, type Labels } from "../../src/core/labels.ts";
import type { SinkRecord } from "../../src/core/sink.ts";

interface Given {
  readonly line?: string | Buffer;
  readonly labels?: Labels;
  readonly metadata?: SinkRecord["metadata"];
  /** The record, or its JSON. */
  readonly fields?: Record<string, unknown> | string;
  readonly tenant?: string;
}

function recordOf({ line = "hello", labels = {}, metadata = [], fields = {}, tenant = "fake" }: Given): SinkRecord {
  return {
    id: "0-7-0",
    tenant,
    sec: 1_700_000_000,
    nsec: 120_000_000,
    labels,
    canonical: canonicalLabels(labels),
    metadata,
    line: Buffer.from(line),
    json: typeof fields === "string" ? fields : JSON.stringify(fields),
  };
}

function documentOf(given: Given, form: DocumentForm = "ecs", { max = 1000, dataStream = false, index = "i" } = {}) {
  const names = new FieldNames({ max, forgetMs: 0, now: () => 0 });
  const text = new DocumentWriter(names, { form, dataStream }).write(recordOf(given), index);
  return JSON.parse(text ?? "null") as Record<string, unknown> & { weir?: { rest?: string } };
}

const TIME = { "@timestamp": "2023-11-14T22:13:20.12Z" };
const ecs = (given: Given) => documentOf(given);
const rest = (document: { weir?: { rest?: string } }): unknown => JSON.parse(document.weir?.rest ?? "{}");

describe("documents by the Elastic Common Schema", () => {
  test("a line alone", () => {
    expect(ecs({ fields: "" })).toEqual({ ...TIME, message: "hello" });
    expect(ecs({ line: "" })).toEqual({ ...TIME, message: "" });
  });

  test("level and ids by their names, other metadata and labels below labels", () => {
    const metadata: SinkRecord["metadata"] = [
      ["detected_level", "error"],
      ["trace_id", "t"],
      ["span_id", "s"],
      ["parent_span_id", "p"],
      ["request_id", "r"],
      ["user.name", "u"],
    ];
    expect(ecs({ labels: { app: "web", "x.y": "z" }, metadata })).toEqual({
      ...TIME,
      message: "hello",
      log: { level: "error" },
      trace: { id: "t" },
      span: { id: "s" },
      parent: { id: "p" },
      http: { request: { id: "r" } },
      labels: { app: "web", x_y: "z", user_name: "u" },
    });
  });

  test("a value for which there is no place is text, and not lost", () => {
    const metadata: SinkRecord["metadata"] = [
      ["trace_id", "one"],
      ["trace_id", "two"],
      ["app", "of metadata"],
      ["", "nameless"],
    ];
    const document = ecs({ labels: { app: "of labels" }, metadata });
    expect(document).toMatchObject({ trace: { id: "one" }, labels: { app: "of labels", trace_id: "two" } });
    expect(rest(document)).toEqual({ "labels.app": "of metadata", "labels.": "nameless" });
  });

  test("Fluent Bit's Kubernetes fields by the names of Beats", () => {
    const kubernetes = {
      pod_name: "web-1",
      pod_id: "3c1f",
      pod_ip: "10.0.0.1",
      namespace_name: "shop",
      host: "node-a",
      container_name: "app",
      container_image: "web:1",
      container_hash: "sha256:1",
      docker_id: "d1",
      labels: { app: "web", "app.kubernetes.io/name": "web" },
      annotations: { "a/b": "c" },
      other: 1,
    };
    expect(ecs({ fields: { kubernetes } }).kubernetes).toEqual({
      namespace: "shop",
      pod: { name: "web-1", uid: "3c1f", ip: "10.0.0.1" },
      node: { name: "node-a" },
      container: { name: "app", image: "web:1", hash: "sha256:1", id: "d1" },
      labels: { app: "web", "app_kubernetes_io/name": "web" },
      annotations: { "a/b": "c" },
      other: 1,
    });
  });

  test("Kubernetes fields that have Beats' names already stay; those of another kind become text", () => {
    const document = ecs({
      fields: {
        kubernetes: {
          container: "text",
          namespace: 5,
          node: { name: "n", x: 1 },
          pod: { name: "p" },
          pod_id: "i",
          pod_name: "p2",
        },
      },
    });
    expect(document.kubernetes).toEqual({ node: { name: "n", x: 1 }, pod: { name: "p", uid: "i" } });
    expect(rest(document)).toEqual({
      "kubernetes.container": "text",
      "kubernetes.namespace": 5,
      "kubernetes.pod.name": "p2",
    });
  });

  test("labels say where a pushed line is from", () => {
    const metadata: SinkRecord["metadata"] = [["k8s_pod_name", "web-1"]];
    expect(ecs({ labels: { namespace: "shop", container: "app" }, metadata, fields: "" }).kubernetes).toEqual({
      namespace: "shop",
      pod: { name: "web-1" },
      container: { name: "app" },
    });
  });

  test("the record's own fields stand below fields, whatever their names, but for the line", () => {
    const fields = {
      "@timestamp": 1,
      _id: 2,
      "a.b": 3,
      data_stream: "x",
      kubernetes: "text",
      labels: ["l"],
      log: "hello\n",
      message: { text: "hello" },
      msg: "hello, you",
      weir: null,
    };
    const { log: _, ...others } = fields;
    const { "a.b": ab, ...same } = others;
    expect(ecs({ fields })).toEqual({ ...TIME, message: "hello", fields: { ...same, a_b: ab } });
  });

  test("a field is the line only where agents put it", () => {
    expect(ecs({ fields: { log: "hello", user: "hello" } }).fields).toEqual({ user: "hello" });
  });

  test("numbers keep all digits", () => {
    const names = new FieldNames({ max: 10, forgetMs: 0, now: () => 0 });
    const writer = new DocumentWriter(names, { form: "ecs", dataStream: false });
    expect(writer.write(recordOf({ fields: '{"id":18446744073709551615,"x":1.50}' }), "i")).toContain(
      '"fields":{"id":18446744073709551615,"x":1.50}',
    );
  });

  test("the tenant is the organization, where there are tenants", () => {
    expect(ecs({ tenant: "shop" }).organization).toEqual({ id: "shop" });
  });

  test("a line that is not UTF-8 has its bytes beside it", () => {
    const line = Buffer.from([0x61, 0xff, 0x00]);
    expect(ecs({ line })).toEqual({ ...TIME, message: "a\ufffd\0", weir: { line_base64: line.toString("base64") } });
  });

  test.each([
    { index: "logs-web-shop", want: { type: "logs", dataset: "web", namespace: "shop" } },
    { index: "logs-web", want: undefined },
    { index: "logs-web-shop-2", want: undefined },
  ])("data stream $index", ({ index, want }) => {
    expect(documentOf({}, "ecs", { dataStream: true, index }).data_stream).toEqual(want);
    expect(documentOf({}, "ecs", { index }).data_stream).toBeUndefined();
  });

  test("names beyond the limit: a record of a thousand of them is one document with the rest as text", () => {
    const fields = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`user-${i}`, i]));
    const names = new FieldNames({ max: 10, forgetMs: 0, now: () => 0 });
    const writer = new DocumentWriter(names, { form: "ecs", dataStream: false });
    const document = JSON.parse(writer.write(recordOf({ labels: { app: "a" }, fields }), "i") ?? "") as ReturnType<
      typeof ecs
    >;
    expect(Object.keys(document.fields as object)).toHaveLength(9);
    expect(Object.keys(rest(document) as object)).toHaveLength(991);
    expect(writer.leftOut).toBe(991);
    expect(rest(document)).toMatchObject({ "fields.user-999": 999 });
  });
});

describe("documents as the record is", () => {
  const asIs = (given: Given, options = {}) => documentOf(given, "record", options);

  test("its fields, and the time", () => {
    expect(asIs({ labels: { app: "x" }, fields: { log: "hello", "a.b": { c: [1] } } })).toEqual({
      ...TIME,
      log: "hello",
      "a.b": { c: [1] },
    });
  });

  test("a pushed line has its metadata beside it", () => {
    expect(asIs({ fields: "{}", metadata: [["pod", "p"]] })).toEqual({ ...TIME, pod: "p", line: "hello" });
  });

  test("what Elasticsearch or Weir needs is not the record's, and a message is text", () => {
    const fields = { "@timestamp": "yesterday", _id: "a", _p: "F", _source: 1, message: { a: 1 }, weir: 2 };
    const document = asIs({ fields });
    expect(document).toMatchObject({ ...TIME, _p: "F" });
    expect(Object.keys(document).sort()).toEqual(["@timestamp", "_p", "weir"]);
    expect(rest(document)).toEqual({ "@timestamp": "yesterday", _id: "a", _source: 1, message: { a: 1 }, weir: 2 });
  });

  test("data_stream is the record's own where there is none", () => {
    expect(asIs({ fields: { data_stream: "x" } }).data_stream).toBe("x");
    const document = asIs({ fields: { data_stream: "x" } }, { dataStream: true, index: "logs-a-b" });
    expect(document.data_stream).toEqual({ type: "logs", dataset: "a", namespace: "b" });
    expect(rest(document)).toEqual({ data_stream: "x" });
  });
});

test.each([-62_135_596_801, 253_402_300_800, 1e18])("there is no document for the time %d", (sec) => {
  const writer = new DocumentWriter(new FieldNames({ max: 1, forgetMs: 0, now: () => 0 }), {
    form: "ecs",
    dataStream: false,
  });
  expect(writer.write({ ...recordOf({}), sec }, "i")).toBeNull();
});

test.each([
  [-62_135_596_800, "0001-01-01T00:00:00.12Z"],
  [-1, "1969-12-31T23:59:59.12Z"],
  [253_402_300_799, "9999-12-31T23:59:59.12Z"],
])("the time %d", (sec, text) => {
  const writer = new DocumentWriter(new FieldNames({ max: 1, forgetMs: 0, now: () => 0 }), {
    form: "ecs",
    dataStream: false,
  });
  expect(JSON.parse(writer.write({ ...recordOf({}), sec }, "i") ?? "")["@timestamp"]).toBe(text);
});
