import { afterEach, describe, expect, test } from "vitest";
import { type QuerierServer, startQuerierServer } from "../../src/api/querier-server.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { queryOptions } from "../../src/query/options.ts";
import { PeerMetrics } from "../../src/query/peers/metrics.ts";
import { PeerScans } from "../../src/query/peers/peer-scans.ts";
import { HELLO_PATH, SCAN_PATH, SCAN_TYPE } from "../../src/query/peers/protocol.ts";
import { decodeResult } from "../../src/query/peers/result-frame.ts";
import { encodeScanRequest, REQUEST_BYTES_MAX } from "../../src/query/peers/scan-request.ts";
import { emptyResult, type ScanJob } from "../../src/query/scan-job.ts";
import { FakeExecutor } from "../query/peers/fake-executor.ts";
import { until } from "../query/peers/support.ts";

const KEY = "open-sesame";
const servers: QuerierServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function open(key = KEY) {
  const executor = new FakeExecutor(2, 4);
  const metrics = new Metrics();
  const scans = new PeerScans({ id: "it", version: "1", executor, metrics: new PeerMetrics(metrics) });
  const server = await startQuerierServer({ listen: "127.0.0.1:0", key }, { scans, log: silentLogger });
  servers.push(server);
  const post = (body: Buffer | string, headers: Record<string, string> = {}, signal?: AbortSignal) =>
    fetch(`http://${server.address}${SCAN_PATH}`, {
      method: "POST",
      body: new Uint8Array(Buffer.from(body)),
      headers: { "content-type": SCAN_TYPE, authorization: `Bearer ${key}`, ...headers },
      ...(signal === undefined ? {} : { signal }),
    });
  return { executor, server, post, url: `http://${server.address}`, metrics };
}

const JOB: Omit<ScanJob, "id" | "control" | "endsAtMs"> = {
  ...{ tenant: "fake", mode: "scan", query: '{app="a"}', ids: null, startNs: 0n, endNs: 9n, limit: 10 },
  ...{ backward: true, categorize: false, textBytesMax: 0 },
};
const BLOCK = {
  ...{ key: "segments/fake/2023-11-14/0-00000000000000000120-0123456789ab.gz", offset: 0, length: 10, order: 1 },
  ...{ timeMinNs: 0n, timeMaxNs: 5n, bytes: null, rows: null, hide: null },
};

function request({ version = "1", timeoutMs = 10_000 } = {}): Buffer {
  const body = encodeScanRequest(version, { job: JOB, boundNs: null, timeoutMs, blocks: [BLOCK] });
  if (body === null) throw new Error("can't be asked");
  return body;
}

describe("the port for queriers", () => {
  test("says who it is to those who know the key", async () => {
    const { url } = await open();
    const answer = await fetch(url + HELLO_PATH, { headers: { authorization: `Bearer ${KEY}` } });
    expect(await answer.json()).toEqual({ id: "it", version: "1", parallel: 2, ahead: 4 });
  });

  test("scans for them", async () => {
    const { executor, post, metrics } = await open();
    const asked = post(request());
    await until("it has come", () => executor.calls.length === 1);
    const result = { ...emptyResult(), lost: [{ order: 1, reason: "broken" }] };
    executor.calls[0].finish(result);
    const answer = await asked;
    expect(answer.status).toBe(200);
    expect(decodeResult(Buffer.from(await answer.arrayBuffer()))).toEqual(result);
    await expect.poll(() => metrics.render()).toContain('weir_query_peer_scans_total{outcome="done"} 1');
  });

  test("takes requests and answers of 64 MiB together, and no more until some of them are gone", async () => {
    const { executor, post, metrics } = await open();
    // As large as one may be: a query's deletions make it so. What comes after the JSON is white space.
    const large = Buffer.concat([request(), Buffer.alloc(REQUEST_BYTES_MAX - request().length, " ")]);
    const asked = Array.from({ length: 16 }, () => post(large));
    await until("they have come", () => executor.calls.length === 16);
    const refused = await post(request());
    expect(refused.status).toBe(503);
    expect(await refused.text()).toBe("requests and answers of more than 67108864 bytes are here already; try again\n");
    expect(await metrics.render()).toContain('weir_query_peer_scans_total{outcome="refused"} 1');
    for (const call of executor.calls.splice(0)) call.finish(emptyResult());
    for (const answer of await Promise.all(asked)) {
      expect(answer.status).toBe(200);
      await answer.arrayBuffer();
    }
    const again = post(request());
    await until("it has come", () => executor.calls.length === 1);
    executor.calls[0].finish(emptyResult());
    expect((await again).status).toBe(200);
  });

  test("wants to know how long a request is", async () => {
    const { url } = await open();
    const answer = await fetch(url + SCAN_PATH, {
      method: "POST",
      body: new Blob([new Uint8Array(request())]).stream(),
      headers: { "content-type": SCAN_TYPE, authorization: `Bearer ${KEY}` },
      duplex: "half",
    } as RequestInit);
    expect(answer.status).toBe(411);
  });

  test("counts what was found until it is taken, and nothing of who has left", async () => {
    const scans = new PeerScans({
      ...{ id: "it", version: "1", executor: new FakeExecutor(2, 4), metrics: new PeerMetrics(new Metrics()) },
    });
    const hold = scans.admit(1000);
    hold(64 << 20);
    expect(() => scans.admit(1)).toThrow("try again");
    hold(0);
    hold(0);
    scans.admit(64 << 20);
    expect(() => scans.admit(1)).toThrow("try again");
  });

  test.each([
    "",
    KEY,
    `bearer ${KEY}`,
    "Bearer ",
    `Bearer ${KEY}x`,
    `Bearer ${KEY.slice(1)}`,
    `Basic ${KEY}`,
    `Bearer ${"x".repeat(8000)}`,
  ])("turns away whoever says %j", async (authorization) => {
    const { url, post, executor } = await open();
    expect((await fetch(url + HELLO_PATH, { headers: { authorization } })).status).toBe(401);
    expect((await post(request(), { authorization })).status).toBe(401);
    expect(executor.seen).toBe(0);
  });

  test("reads nothing of a stranger's body", async () => {
    const { url } = await open();
    let isAborted = false;
    // Never ends: an answer can only come before its end.
    const body = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(1024)),
      cancel: () => {
        isAborted = true;
      },
    });
    const init = { method: "POST", body, duplex: "half", headers: { "content-type": SCAN_TYPE } } as RequestInit;
    const status = await fetch(url + SCAN_PATH, init).then(
      (answer) => answer.status,
      () => 401, // The connection was ended before all was sent.
    );
    expect(status).toBe(401);
    expect(isAborted || status === 401).toBe(true);
  });

  test.each<{ name: string; headers: Record<string, string>; body: Buffer | string; status: number }>([
    { name: "a page in a browser", headers: { origin: "http://127.0.0.1:3100" }, body: request(), status: 403 },
    { name: "a form", headers: { "content-type": "application/x-www-form-urlencoded" }, body: "a=b", status: 415 },
    { name: "JSON of another type", headers: { "content-type": "application/json" }, body: request(), status: 415 },
    { name: "nothing", headers: {}, body: "", status: 400 },
    { name: "no JSON", headers: {}, body: "\u0000\uffff{", status: 400 },
    { name: "deep JSON", headers: {}, body: "[".repeat(1_000_000), status: 400 },
    { name: "a poisoned prototype", headers: {}, body: '{"__proto__":{"tenant":"fake"}}', status: 400 },
    { name: "more than a request may be", headers: {}, body: "x".repeat(REQUEST_BYTES_MAX + 1), status: 413 },
    { name: "another version", headers: {}, body: request({ version: "2" }), status: 409 },
  ])("refuses $name", async ({ headers, body, status }) => {
    const { post, executor } = await open();
    expect((await post(body, headers)).status).toBe(status);
    expect(executor.seen).toBe(0);
    // And goes on.
    executor.isQuick = true;
    expect((await post(request())).status).toBe(200);
  });

  test.each(["/", "/loki/api/v1/query_range", "/metrics", "/querier/v1/", "/querier/v2/scan"])(
    "has nothing else: %s",
    async (path) => {
      const { url } = await open();
      expect((await fetch(url + path, { headers: { authorization: `Bearer ${KEY}` } })).status).toBe(404);
    },
  );

  test("stops a scan when whoever asked goes", async () => {
    const { executor, post } = await open();
    const leaving = new AbortController();
    const asked = post(request(), {}, leaving.signal);
    await until("it has come", () => executor.calls.length === 1);
    leaving.abort();
    await expect(asked).rejects.toThrow();
    await until("it is stopped", () => executor.calls[0].control.stopped);
    expect(executor.stopped).toContain(executor.calls[0].job.id);
    executor.calls[0].finish();
  });

  test("stops a scan when its time is up", async () => {
    const { executor, post } = await open();
    const asked = post(request({ timeoutMs: 50 }));
    await until("it is stopped", () => executor.calls[0]?.control.stopped === true);
    executor.calls[0].finish();
    expect((await asked).status).toBe(504);
  });

  test("ends what is under way when it closes", async () => {
    const { executor, post, server } = await open();
    const asked = post(request());
    await until("it has come", () => executor.calls.length === 1);
    const failed = expect(asked).rejects.toThrow();
    await server.close();
    await failed;
    await until("it is stopped", () => executor.calls[0].control.stopped);
  });
});

describe("its options", () => {
  test.each(["127.0.0.1:3101", "[::1]:0", "localhost:1", ""])("need no key on this machine: %j", (listen) => {
    expect(queryOptions.safeParse({ querier_listen: listen }).success).toBe(true);
  });

  test.each(["0.0.0.0:3101", ":3101", "[::]:3101", "10.0.0.1:3101", "127.evil.example:3101"])(
    "need one beyond it: %j",
    (listen) => {
      expect(queryOptions.safeParse({ querier_listen: listen }).error?.issues[0]?.message).toContain("set querier_key");
      expect(queryOptions.safeParse({ querier_listen: listen, querier_key: "x" }).success).toBe(true);
    },
  );
});
