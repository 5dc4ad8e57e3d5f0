import { readFileSync } from "node:fs";
import { encode as encodeReference } from "@msgpack/msgpack";
import stringify from "fast-json-stable-stringify";
import { describe, expect, test } from "vitest";
import { encode } from "../../src/codec/msgpack.ts";
import { Random } from "../random.ts";
import { entryOf, eventBytes, type GivenStep, packed, runEntry, setUp } from "./harness.ts";

/** As pipelines/quickstart.yaml has it. */
const QUICKSTART: GivenStep[] = [
  { trace: {} },
  { level: {} },
  {
    labels: {
      namespace: "kubernetes.namespace_name",
      app: ['kubernetes.labels["app.kubernetes.io/name"]', "kubernetes.labels.app", "kubernetes.container_name"],
      container: "kubernetes.container_name",
      stream: "stream",
    },
  },
  { metadata: { pod: "kubernetes.pod_name", node: "kubernetes.host", user: "user", first: ["a", "nested.x.y", "b"] } },
];

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What becomes of a record, worked out from its values and with no regard to speed. */
function slow(
  record: { [key: string]: Json },
  tag: string,
): { text: string; labels: Record<string, string>; metadata: Record<string, string> } {
  const line = ["log", "message", "msg", "MESSAGE"]
    .map((name) => record[name])
    .find((value) => value !== undefined && value !== null);
  const text = line === undefined ? stringify(record) : typeof line === "string" ? line : stringify(line);
  const at = (...path: string[]): string => {
    let value: Json | undefined = record;
    for (const name of path) {
      value =
        typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
          ? value[name]
          : undefined;
    }
    if (value === undefined || value === null) return "";
    return typeof value === "object" ? stringify(value) : String(value);
  };
  const present = (entries: Record<string, string>) =>
    Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== ""));
  const labels = present({
    namespace: at("kubernetes", "namespace_name"),
    app:
      at("kubernetes", "labels", "app.kubernetes.io/name") ||
      at("kubernetes", "labels", "app") ||
      at("kubernetes", "container_name"),
    container: at("kubernetes", "container_name"),
    stream: at("stream"),
  });
  return {
    text,
    labels: Object.keys(labels).length === 0 ? { tag } : labels,
    metadata: present({
      pod: at("kubernetes", "pod_name"),
      node: at("kubernetes", "host"),
      user: at("user"),
      first: at("a") || at("nested", "x", "y") || at("b"),
    }),
  };
}

describe("random records come out as the slow reading says", () => {
  test.each([
    { seed: 1, contexts_max: 10_000 },
    { seed: 2, contexts_max: 16 },
    { seed: 3, contexts_max: 200 },
  ])("seed $seed, $contexts_max contexts", ({ seed, contexts_max }) => {
    const { below, pick } = new Random(seed);
    const text = () =>
      pick(["", "a", "shop", "checkout", "é日😀", "x".repeat(40), "line\nbreak", "0", '"q"', String(below(1000))]);
    const value = (depth: number): Json => {
      const kind = below(10);
      if (kind < 5) return text();
      if (kind === 5) return pick([0, 1, -1, 127, 128, -33, 65_536, 4_294_967_296, -2_147_483_649, 1.5, -0.25, 1e300]);
      if (kind === 6) return pick([true, false, null]);
      if (depth > 2) return {};
      return kind === 7
        ? Array.from({ length: below(20) }, () => value(depth + 1))
        : object(["x", "y", "z", "app", "", "__x"], depth + 1);
    };
    const object = (keys: string[], depth: number): { [key: string]: Json } =>
      Object.fromEntries(Array.from({ length: below(keys.length + 1) }, () => [pick(keys), value(depth)]));
    const pods = Array.from({ length: 30 }, () => ({
      ...object(["namespace_name", "pod_name", "container_name", "host", "other"], 1),
      labels: object(["app", "app.kubernetes.io/name", "x"], 2),
    }));
    const record = () => ({
      ...object(
        ["log", "message", "msg", "MESSAGE", "stream", "user", "a", "b", "nested", "other", "longer_name_of_a_field"],
        0,
      ),
      ...(below(4) > 0 ? { kubernetes: pick(pods) } : below(4) === 0 ? { kubernetes: value(0) } : {}),
    });

    const { pipelines, sink } = setUp({ steps: QUICKSTART, limits: { contexts_max } });
    const want: ReturnType<typeof slow>[] = [];
    for (let n = 0; n < 40; n++) {
      const tag = pick(["kube.a", "kube.b", "web"]);
      const records = Array.from({ length: 100 }, record);
      want.push(...records.map((one) => slow(one, tag)));
      // Half of them by an encoder that is not ours.
      const events = records.map((one) => eventBytes(Buffer.from(below(2) === 0 ? encode(one) : encodeReference(one))));
      runEntry(pipelines, entryOf(packed(events, tag)), 1 + below(200));
    }
    expect(sink.got).toHaveLength(want.length);
    for (const [i, got] of sink.got.entries()) {
      const { detected_level, trace_id, span_id, request_id, ...metadata } = got.metadata;
      expect({ text: got.text, labels: got.labels, metadata }).toEqual(want[i]);
      expect(detected_level).toBeDefined();
    }
  });

  test("damaged records of a sound message neither end the run nor disturb the next (seed 9)", () => {
    const { below } = new Random(9);
    const whole = encode({
      log: "a trace_id=0af7651916cd43dd8448eb211c80319c",
      kubernetes: { labels: { app: "x" }, n: [1, 2.5, null] },
      headers: { b3: "0" },
    });
    let shared = setUp({ steps: QUICKSTART });
    for (let n = 0; n < 20_000; n++) {
      const record = Buffer.from(whole);
      for (let i = 0; i <= below(3); i++) record[1 + below(record.length - 1)] = below(256);
      if (n % 500 === 0) shared = setUp({ steps: QUICKSTART });
      const { pipelines, sink } = shared;
      const before = sink.got.length;
      runEntry(pipelines, entryOf(packed([eventBytes({ log: "first" }), eventBytes(record)])));
      runEntry(pipelines, entryOf(packed([eventBytes({ log: "last" })])));
      expect(sink.got[before]?.text).toBe("first");
      expect(sink.got.at(-1)?.text).toBe("last");
    }
  });
});

/** Captured bytes of real agents, through the pipeline of the quickstart. */
describe("captured messages", () => {
  const folder = new URL("../fixtures/forward/", import.meta.url);
  interface Expected {
    readonly tag: string;
    readonly time_ns: string;
    readonly record: { readonly [key: string]: Json };
  }

  /** Whole messages of a captured connection, by the table that was made with it. */
  function messages(file: string): Buffer[] {
    const bytes = readFileSync(new URL(file, folder));
    const frames: Record<string, Record<string, { messages: { offset: number; length: number }[] }>> = JSON.parse(
      readFileSync(new URL("frames.json", folder), "utf8"),
    );
    const found = Object.values(frames)
      .flatMap((files) => Object.entries(files))
      .find(([name]) => name === file)?.[1];
    return (found?.messages ?? []).map(({ offset, length }) => bytes.subarray(offset, offset + length));
  }

  test.each([
    "kube-cri",
    "kube-filter",
    "kube-cri-nested",
    "tail-default",
    "compress-gzip",
    "v4-tail-default",
    "otel-logs",
    "otel-logs-gzip",
    "metadata-retained",
    "default-dummy",
    "two-tags",
  ])("%s", (name) => {
    const { pipelines, sink } = setUp({ steps: QUICKSTART });
    for (const payload of messages(`${name}.bin`)) runEntry(pipelines, entryOf(payload));
    const expected: Expected[] = JSON.parse(readFileSync(new URL(`${name}.expected.json`, folder), "utf8"));
    expect(sink.got).toHaveLength(expected.length);
    for (const [i, { tag, time_ns, record }] of expected.entries()) {
      const got = sink.got[i];
      const line = record.log ?? record.message;
      if (typeof line === "string") expect(got?.text).toBe(line);
      expect(`${got?.sec}${String(got?.nsec).padStart(9, "0")}`).toBe(time_ns);
      expect(got?.labels).toEqual(slow(record, tag).labels);
      expect(got?.metadata).toMatchObject(slow(record, tag).metadata);
    }
  });

  test("bytes that are no UTF-8 come through (tail-odd-bytes)", () => {
    const { pipelines, sink } = setUp({ steps: QUICKSTART });
    for (const payload of messages("tail-odd-bytes.bin")) runEntry(pipelines, entryOf(payload));
    const expected: { record: { log: string | { $invalid_utf8_b64: string } } }[] = JSON.parse(
      readFileSync(new URL("tail-odd-bytes.expected.json", folder), "utf8"),
    );
    const lines = expected.map(({ record: { log } }) =>
      typeof log === "string" ? Buffer.from(log) : Buffer.from(log.$invalid_utf8_b64, "base64"),
    );
    expect(sink.got.map(({ bytes }) => bytes.toString("hex"))).toEqual(lines.map((line) => line.toString("hex")));
  });

  test("OTLP's ids, severity, attributes, resource and scope (otel-logs, otel-logs-protobuf)", () => {
    const { pipelines, sink } = setUp({ steps: QUICKSTART });
    for (const name of ["otel-logs.bin", "otel-logs-protobuf.bin"])
      for (const payload of messages(name)) runEntry(pipelines, entryOf(payload));
    expect(sink.got.map(({ text, metadata }) => [text, metadata])).toEqual([
      [
        "cart opened",
        {
          scope_name: "shop.cart",
          scope_version: "0.3",
          lib: "pino",
          service_name: "checkout",
          service_version: "1.4.2",
          host_name: "node-a",
          severity_number: "9",
          severity_text: "INFO",
          user_id: "u-1",
          items: "3",
          vip: "true",
          ratio: "0.5",
          tags: '["a","b"]',
          detected_level: "info",
          trace_id: "0af7651916cd43dd8448eb211c80319c",
          span_id: "b7ad6b7169203331",
          trace_source: "otlp",
        },
      ],
      [
        '{"event":"payment failed","order":{"id":"o-77","total":12.5}}',
        {
          scope_name: "shop.cart",
          scope_version: "0.3",
          lib: "pino",
          service_name: "checkout",
          service_version: "1.4.2",
          host_name: "node-a",
          severity_number: "17",
          severity_text: "ERROR",
          user_id: "u-2",
          detected_level: "error",
        },
      ],
      [
        "queue is long",
        {
          scope_name: "smtp",
          service_name: "mailer",
          severity_number: "13",
          severity_text: "WARN",
          detected_level: "warn",
        },
      ],
      ["no severity", { scope_name: "imap", service_name: "mailer", detected_level: "unknown" }],
      [
        "binary attr",
        {
          scope_name: "lib",
          service_name: "checkout",
          severity_number: "9",
          severity_text: "INFO",
          big: "1",
          raw: "AP/+",
          neg: "-5",
          detected_level: "info",
          trace_id: "0af7651916cd43dd8448eb211c80319c",
          span_id: "b7ad6b7169203331",
          trace_source: "otlp",
        },
      ],
    ]);
  });
});
