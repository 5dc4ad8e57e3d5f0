import { gzipSync } from "node:zlib";
import snappy from "snappyjs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pushProto } from "./receive.ts";
import { agoNs, TestWeir } from "./weir.ts";

/*
 * Pushes of clients that are no Node packages, as they send them. Source: "Loki's HTTP contract", 1. pino-loki and OpenTelemetry's
 * exporter themselves are in test/live/push-clients.test.ts.
 */

let weir: TestWeir;
beforeAll(async () => {
  weir = await TestWeir.start();
});
afterAll(() => weir.close());

const lines = async (query: string) => (await weir.rows(query)).map(({ line }) => line);

describe.each([
  { name: "promtail", agent: "promtail/3.5.0" },
  { name: "alloy", agent: "Alloy/v1.11.0 (linux; )" },
])("$name", ({ name, agent }) => {
  const headers = { "content-type": "application/x-protobuf", "user-agent": agent };
  const sec = Math.floor(Date.now() / 1000) - 60;
  const entries = [
    { sec, nsec: 1, line: "one", metadata: [["pod", "p-1"]] as const },
    { sec, nsec: 2, line: "two" },
  ];

  test("a batch is taken whole", async () => {
    const bytes = pushProto([{ labels: `{job="${name}", filename="/var/log/a.log"}`, entries }]);
    const sent = await weir.post("/loki/api/v1/push", snappy.compress(bytes), headers);
    expect([sent.status, sent.text]).toEqual([204, ""]);
    const rows = await weir.rows(`{job="${name}"}`);
    expect(rows.map(({ line }) => line)).toEqual(["one", "two"]);
    expect(rows[0].stream).toMatchObject({ filename: "/var/log/a.log", service_name: name, pod: "p-1" });
  });

  test("a batch that can't be taken is an answer that it drops the batch by, and not one that it repeats", async () => {
    const bytes = pushProto([{ labels: `{job="${name}", x="y"}`, entries: [{ sec: 1, line: "from 1970" }] }]);
    const sent = await weir.post("/loki/api/v1/push", snappy.compress(bytes), headers);
    expect(sent.status).toBe(400);
    expect(sent.text).toMatch(/has timestamp too old/);
    expect(await lines(`{job="${name}", x="y"}`)).toEqual([]);
  });
});

describe("Fluent Bit's loki output", () => {
  const body = (line: string) =>
    Buffer.from(
      `{"streams":[{"stream":{"job":"fluent-bit","host":"h"},"values":[["${agoNs(60)}","${line}",{"trace":"abc"}]]}]}`,
    );

  test.each<{ name: string; headers: Record<string, string>; wrap: (bytes: Buffer) => Buffer }>([
    { name: "as it is", headers: {}, wrap: (bytes) => bytes },
    { name: "with gzip", headers: { "content-encoding": "gzip" }, wrap: (bytes) => gzipSync(bytes) },
  ])("$name", async ({ name, headers, wrap }) => {
    const sent = await weir.post("/loki/api/v1/push", wrap(body(name)), {
      "content-type": "application/json",
      "user-agent": "Fluent-Bit",
      ...headers,
    });
    // 200 to 205 are success to it.
    expect(sent.status).toBe(204);
    expect(await lines('{job="fluent-bit"} | trace="abc"')).toContain(name);
  });
});

describe("Vector's loki sink", () => {
  test("asks whether Weir is ready, and pushes either form", async () => {
    const ready = await weir.get("/ready");
    expect([ready.status, ready.text]).toEqual([200, "ready\n"]);
    const json = await weir.post(
      "/loki/api/v1/push",
      `{"streams":[{"stream":{"forwarder":"vector"},"values":[["${agoNs(61)}","as JSON"]]}]}`,
      { "content-type": "application/json", "user-agent": "Vector/0.50.0" },
    );
    expect(json.status).toBe(204);
    const sec = Math.floor(Date.now() / 1000) - 60;
    const bytes = pushProto([{ labels: '{forwarder="vector"}', entries: [{ sec, line: "as protobuf" }] }]);
    const proto = await weir.post("/loki/api/v1/push", snappy.compress(bytes), {
      "content-type": "application/x-protobuf",
      "content-encoding": "snappy",
      "user-agent": "Vector/0.50.0",
    });
    expect(proto.status).toBe(204);
    expect(await lines('{forwarder="vector"}')).toEqual(["as JSON", "as protobuf"]);
  });
});
