import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { agoNs, PIPELINE, TestWeir } from "../push/weir.ts";

const FILE = `${PIPELINE.replace("http: {", "http: { auth_enabled: true,").replace(
  "query: {",
  "query: { overrides: { still: { blocked_queries: [{ types: [filter, metric] }] } },",
)}
ingest:
  overrides:
    full: { block_ingestion_until: "2999-01-01T01:02:03+01:00" }
    quiet: { block_ingestion_until: "2999-01-01T00:00:00Z", block_ingestion_status_code: 200 }
    past: { block_ingestion_until: "1999-01-01T00:00:00Z" }
`;
const as = (tenant: string): Record<string, string> => ({ "x-scope-orgid": tenant });
const lines = '{app="a"}';
const filtered = '{app="a"} |= "x"';
const count = "sum(count_over_time({app=~`.+`}[1h]))";

describe("what the operator doesn't want", () => {
  let weir: TestWeir;
  beforeAll(async () => {
    weir = await TestWeir.start(FILE);
  });
  afterAll(async () => {
    await weir.stop();
  });
  const push = (tenant: string, path = "/loki/api/v1/push"): Promise<Response> =>
    fetch(weir.base + path, {
      method: "POST",
      headers: { ...as(tenant), "content-type": "application/json" },
      body: path.includes("otlp")
        ? '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}'
        : JSON.stringify({ streams: [{ stream: { app: "a" }, values: [[agoNs(1), "x"]] }] }),
    });
  const query = (tenant: string, path: string, text: string): Promise<Response> =>
    fetch(`${weir.base}${path}?since=1h&query=${encodeURIComponent(text)}`, { headers: as(tenant) });

  test("pushes are answered with the code, and nothing is stored", async () => {
    const text = "ingestion blocked for user full until '2999-01-01T00:02:03Z' with status code '260'";
    const refused = await push("full");
    expect({ status: refused.status, text: await refused.text() }).toEqual({ status: 260, text: `${text}\n` });
    const otlp = await push("full", "/otlp/v1/logs");
    expect(otlp.status).toBe(260);
    expect(await otlp.text()).toContain(text);
    const quiet = await push("quiet");
    expect({ status: quiet.status, text: await quiet.text() }).toEqual({ status: 204, text: "" });
    expect((await push("past")).status).toBe(204);
    for (const [tenant, wanted] of [
      ["full", 0],
      ["quiet", 0],
      ["past", 1],
    ] as const) {
      const answer = await query(tenant, "/loki/api/v1/query", count);
      const { data } = (await answer.json()) as { data: { result: unknown[] } };
      expect(data.result).toHaveLength(wanted);
    }
    const metrics = await (await fetch(`${weir.base}/metrics`)).text();
    expect(metrics).toMatch(/weir_push_refused_lines_total\{receiver="push",reason="blocked"\} 2/);
  });

  test.each([
    { path: "/loki/api/v1/query_range", text: filtered },
    { path: "/loki/api/v1/query_range", text: count },
    { path: "/loki/api/v1/query", text: count },
    { path: "/loki/api/v1/query", text: "vector(1)" },
    { path: "/api/prom/query", text: filtered },
    { path: "/api/v1/explain", text: count },
    { path: "/loki/api/v1/detected_fields", text: filtered },
  ])("$path with $text is 400", async ({ path, text }) => {
    const answer = await query("still", path, text);
    expect({ status: answer.status, text: await answer.text() }).toEqual({
      status: 400,
      text: "query blocked by policy\n",
    });
    expect((await query("other", path, text)).status).toBe(200);
  });

  test("other kinds of queries go on", async () => {
    expect((await query("still", "/loki/api/v1/query_range", lines)).status).toBe(200);
    expect((await query("still", "/loki/api/v1/labels", lines)).status).toBe(200);
  });

  test("a live tail ends with the reason", async () => {
    const url = `${weir.base.replace("http", "ws")}/loki/api/v1/tail?query=${encodeURIComponent(filtered)}`;
    const socket = new WebSocket(url, { headers: as("still") });
    const [code, reason] = (await once(socket, "close")) as [number, Buffer];
    expect({ code, reason: reason.toString() }).toEqual({ code: 1011, reason: "query blocked by policy" });
  });

  test("the limits say so", async () => {
    const limits = await (await fetch(`${weir.base}/config/tenant/v1/limits`, { headers: as("still") })).text();
    expect(limits).toMatch(/^blocked_queries:\n(?: .*\n)* +- "filter"$/m);
    expect(limits).toMatch(/^block_ingestion_status_code: 260$/m);
  });
});
