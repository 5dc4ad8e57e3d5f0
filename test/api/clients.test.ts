import net from "node:net";
import { afterEach, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import type { Engine, LogRequest, LogResult } from "../../src/query/engine.ts";
import { SECOND, T0 } from "../query/run/harness.ts";
import { makeApi, queryString, type TestApi } from "./harness.ts";

/*
 * Clients as they are: slow, gone, and many at once.
 */

const MIB = 1024 * 1024;
const apis: TestApi[] = [];
afterEach(async () => {
  for (const api of apis.splice(0)) await api.close();
});

/** How long the machine, which has other work, may take for something that happens at once. */
const PATIENT = { timeout: 120_000 };

async function makeLargeApi(
  http: Record<string, unknown>,
  {
    lines = 64,
    bytes = 256 * 1024,
    query = {},
  }: { lines?: number; bytes?: number; query?: Record<string, unknown> } = {},
): Promise<TestApi> {
  const api = await makeApi({ http, store: { block_bytes: MIB }, query });
  apis.push(api);
  for (let i = 0; i < lines; i++) api.append({ labels: { app: "large" }, ns: T0 + BigInt(i), text: "x".repeat(bytes) });
  await api.flush();
  return api;
}

const LARGE = `/loki/api/v1/query_range${queryString({ query: '{app="large"}', start: String(T0), end: String(T0 + SECOND), limit: "1000" })}`;

/** Asks, and reads nothing of the answer until told to. */
class SlowReader {
  readonly socket: net.Socket;
  readonly closed: Promise<void>;
  bytes = 0;
  text = "";

  constructor(api: TestApi, path: string) {
    const [host, port] = api.server.address.split(":");
    this.socket = net.connect(Number(port), host);
    this.socket.pause();
    this.socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => this.socket.once("close", () => resolve()));
    this.socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    this.socket.on("data", (piece) => {
      this.bytes += piece.length;
      this.text = (this.text + piece.toString("latin1")).slice(0, 500);
    });
    this.socket.pause();
  }

  read(): void {
    this.socket.resume();
  }
}

const unread = async (api: TestApi) =>
  Number(/^weir_api_unread_answer_bytes (\d+)/m.exec((await api.get("/metrics")).text)?.[1]);

test("answers that nobody reads are counted, and beyond a limit there are no more of them", async () => {
  const api = await makeLargeApi({ answers_bytes_max: 40 * MIB });
  const readers = [new SlowReader(api, LARGE), new SlowReader(api, LARGE)];
  await expect.poll(() => unread(api), PATIENT).toBeGreaterThan(30 * MIB);
  const refused = await api.get(LARGE);
  expect(refused.status).toBe(503);
  expect(refused.text).toBe("too many answers are still being read by their clients; try again later\n");
  // What needs no lines goes on.
  expect((await api.get("/loki/api/v1/query?query=vector(1)")).status).toBe(200);
  for (const reader of readers) reader.read();
  await expect.poll(() => unread(api), PATIENT).toBe(0);
  expect((await api.get(LARGE)).status).toBe(200);
  for (const { socket } of readers) socket.destroy();
});

test("a thousand slow readers cost no more than the limit", async () => {
  const api = await makeLargeApi({ answers_bytes_max: 20 * MIB }, { lines: 16, query: { max_waiting_queries: 20 } });
  const before = process.memoryUsage().rss;
  const readers = Array.from({ length: 1000 }, () => new SlowReader(api, LARGE));
  await expect
    .poll(async () => /code="503"\} (\d+)/.exec((await api.get("/metrics")).text)?.[1] ?? "0", PATIENT)
    .not.toBe("0");
  expect(await unread(api)).toBeLessThanOrEqual(20 * MIB);
  expect(process.memoryUsage().rss - before).toBeLessThan(400 * MIB);
  for (const { socket } of readers) socket.destroy();
  await expect.poll(() => unread(api), PATIENT).toBe(0);
});

test("a client that reads nothing for too long is cut off", async () => {
  const api = await makeLargeApi({ stall_timeout_ms: 3000 });
  const reader = new SlowReader(api, LARGE);
  await expect.poll(() => unread(api), PATIENT).toBeGreaterThan(0);
  await expect.poll(() => unread(api), PATIENT).toBe(0);
  reader.read();
  await reader.closed;
  expect(reader.bytes).toBeLessThan(16 * MIB);
});

test("lists of streams are answers like others: in pieces, whole, and counted while nobody reads them", async () => {
  const api = await makeApi({ http: { answers_bytes_max: 3 * MIB } });
  apis.push(api);
  const filler = "x".repeat(2000);
  for (let i = 0; i < 6000; i++) api.append({ labels: { app: "many", i: `${i} ${filler}` }, ns: T0, text: "x" });
  const range = { start: String(T0), end: String(T0 + SECOND) };
  const series = `/loki/api/v1/series${queryString(range)}`;
  const reader = new SlowReader(api, series);
  await expect.poll(() => unread(api), PATIENT).toBeGreaterThan(2 * MIB);
  for (const path of [series, `/loki/api/v1/label/i/values${queryString(range)}`]) {
    expect(await api.get(path)).toMatchObject({ status: 503 });
  }
  reader.read();
  await expect.poll(() => unread(api), PATIENT).toBe(0);
  reader.socket.destroy();
  const { data } = JSON.parse((await api.get(series)).text) as { data: { i: string }[] };
  expect(new Set(data.map(({ i }) => i)).size).toBe(6000);
  const values = JSON.parse((await api.get(`/loki/api/v1/label/i/values${queryString(range)}`)).text) as {
    data: string[];
  };
  expect(values.data).toEqual(data.map(({ i }) => i).sort());
});

test("a large answer arrives whole", async () => {
  const api = await makeLargeApi({}, { lines: 128, bytes: 100_000 });
  const { data } = JSON.parse((await api.get(LARGE)).text) as { data: { result: { values: [string, string][] }[] } };
  expect(data.result[0].values.length).toBe(128);
  expect(data.result[0].values.every(([, line]) => line.length === 100_000)).toBe(true);
});

test("a client that leaves ends its query", async () => {
  let seen: AbortSignal | undefined;
  const wrap = (engine: Engine): Engine =>
    Object.assign(Object.create(engine) as Engine, {
      queryRange: ({ signal }: LogRequest) => {
        seen = signal;
        return new Promise<LogResult>((_resolve, reject) =>
          signal?.addEventListener("abort", () => reject(new WeirError("query_cancelled", "left"))),
        );
      },
    });
  const api = await makeApi({ wrap });
  apis.push(api);
  const abort = new AbortController();
  const asked = api.get(LARGE, { signal: abort.signal });
  await expect.poll(() => seen, PATIENT).toBeDefined();
  expect(seen?.aborted).toBe(false);
  abort.abort();
  await expect(asked).rejects.toThrow();
  await expect.poll(() => seen?.aborted, PATIENT).toBe(true);
  await expect.poll(async () => (await api.get("/metrics")).text, PATIENT).toMatch(/query_range",code="499"\} 1/);
});

test("closing lets answers under way end, takes no more, and cuts off who does not read", async () => {
  const api = await makeLargeApi({});
  const slow = new SlowReader(api, LARGE);
  const stuck = new SlowReader(api, LARGE);
  await expect.poll(() => unread(api), PATIENT).toBeGreaterThan(16 * MIB);
  const closing = api.server.close();
  slow.read();
  const started = performance.now();
  await closing;
  expect(performance.now() - started).toBeLessThan(60_000);
  expect(slow.bytes).toBeGreaterThan(16 * MIB);
  stuck.read();
  await stuck.closed;
  expect(stuck.bytes).toBeLessThan(16 * MIB);
  await expect(fetch(`${api.base}/ready`)).rejects.toThrow();
});
