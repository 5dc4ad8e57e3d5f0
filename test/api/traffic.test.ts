import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { httpOptions } from "../../src/api/options.ts";
import { type HttpServer, startHttp } from "../../src/api/server.ts";
import { makeStore, type TestStore } from "../query/run/harness.ts";
import { makeApi, type TestApi } from "./harness.ts";

let open: { server: HttpServer; store: Pick<TestStore, "close"> } | null = null;
afterEach(async () => {
  await open?.server.close();
  await open?.store.close();
  open = null;
});

test.each([
  { level: "debug", lines: 1 },
  { level: "info", lines: 0 },
])("a request is $lines line of log at level $level", async ({ level, lines }) => {
  const written: string[] = [];
  const log = pino({ level }, { write: (line: string) => void written.push(line) });
  const store = await makeStore();
  const server = await startHttp(httpOptions.parse({ listen: "127.0.0.1:0" }), {
    engine: store.engine,
    ready: () => ({ ready: true, reason: "" }),
    metrics: store.metrics,
    log,
    version: "1",
  });
  open = { server, store };
  const headers = { "x-request-id": "r-7", "x-query-tags": "Source=test", "user-agent": "me" };
  await (await fetch(`http://${server.address}/loki/api/v1/labels?since=1h`, { headers })).text();
  await expect.poll(() => written.length).toBe(lines);
  for (const line of written) {
    expect(JSON.parse(line)).toMatchObject({
      id: "r-7",
      method: "GET",
      url: "/loki/api/v1/labels?since=1h",
      status: 200,
      ms: expect.any(Number) as number,
      tags: "Source=test",
      agent: "me",
      msg: "http",
    });
  }
});

describe("large answers as gzip", () => {
  const T0 = 1_700_000_000_000_000_000n;
  const path = `/loki/api/v1/query_range?query=%7Bapp%3D%22a%22%7D&start=${T0}&end=${T0 + 3_600_000_000_000n}&limit=5000`;

  async function serve(http: Record<string, unknown> = {}): Promise<TestApi> {
    const api = await makeApi({ http });
    open = { server: api.server, store: api };
    for (let i = 0; i < 400; i++) {
      api.append({ labels: { app: "a" }, ns: T0 + BigInt(i), text: randomBytes(15_000).toString("base64") });
    }
    return api;
  }

  function get(api: TestApi): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      request(api.base + path, { headers: { "accept-encoding": "gzip" } }, resolve)
        .on("error", reject)
        .end();
    });
  }

  test("arrive whole", async () => {
    const api = await serve();
    const response = await get(api);
    expect(response.headers["content-encoding"]).toBe("gzip");
    const text = gunzipSync(await buffer(response)).toString();
    const { data } = JSON.parse(text) as { data: { result: { values: unknown[] }[] } };
    expect(data.result[0]?.values).toHaveLength(400);
  });

  test("are forgotten when the client leaves, or reads nothing for too long", async () => {
    const api = await serve({ stall_timeout_ms: 3000 });
    const unread = async () => /weir_api_unread_answer_bytes (\d+)/.exec((await api.get("/metrics")).text)?.[1];
    const leaving = await get(api);
    await once(leaving, "readable");
    expect(await unread()).not.toBe("0");
    leaving.destroy();
    const stuck = await get(api);
    stuck.pause();
    await expect.poll(unread).toBe("0");
    stuck.destroy();
    expect((await api.get("/ready")).status).toBe(200);
  });
});
