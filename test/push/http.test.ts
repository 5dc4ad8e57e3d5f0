import { once } from "node:events";
import net from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { httpOptions } from "../../src/api/options.ts";
import { type HttpServer, startHttp } from "../../src/api/server.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryIntake } from "../../src/intake/memory.ts";
import { Ingest } from "../../src/push/ingest.ts";
import { ingestOptions, otlpOptions, pushOptions } from "../../src/push/options.ts";
import { lokiReceiver, otlpReceiver } from "../../src/push/receivers.ts";
import { makeStore, type TestStore } from "../query/run/harness.ts";

/*
 * Pushes as they come over a socket: too large, cut off, slow, and very many.
 */

const KIB = 1024;
let open: { server: HttpServer; store: TestStore } | null = null;
afterEach(async () => {
  await open?.server.close();
  await open?.store.close();
  open = null;
});

interface Served {
  readonly host: string;
  readonly port: number;
  readonly intake: MemoryIntake;
  readonly server: HttpServer;
}

async function serve(
  limits: { body?: number; inflated?: number; memory?: number; until?: Promise<void> } = {},
): Promise<Served> {
  const store = await makeStore();
  const intake = new MemoryIntake();
  const ingest = new Ingest(
    ingestOptions.parse({
      ingestion_rate_mb: 0,
      per_stream_rate_limit_mb: 0,
      inflated_bytes_max: limits.inflated ?? 1 << 20,
    }),
    {
      intake: {
        append: async (draft) => {
          await limits.until;
          return intake.append(0, draft);
        },
        claimLines: (ids) => intake.claimLines(ids),
      },
      metrics: new Metrics(),
      now: Date.now,
    },
  );
  const server = await startHttp(httpOptions.parse({ listen: "127.0.0.1:0" }), {
    engine: store.engine,
    ready: () => ({ ready: true, reason: "" }),
    metrics: store.metrics,
    log: silentLogger,
    version: "1",
    push: {
      receivers: [
        lokiReceiver("push", pushOptions.parse({}), ingest),
        otlpReceiver("otlp", otlpOptions.parse({}), ingest, Date.now),
      ],
      bodyBytesMax: limits.body ?? 256 * KIB,
      memoryBytesMax: limits.memory ?? 1 << 20,
    },
  });
  open = { server, store };
  const [host = "", port = ""] = server.address.split(":");
  return { host, port: Number(port), intake, server };
}

const body = (bytes: number, n = 0): Buffer =>
  Buffer.from(
    JSON.stringify({
      streams: [
        { stream: { app: "a" }, values: [[`${BigInt(Date.now()) * 1_000_000n + BigInt(n)}`, "x".repeat(bytes)]] },
      ],
    }),
  );

/** Sends bytes as they are, and gives the status and text of the answer; 0 when there is none. */
async function raw(
  { host, port }: Served,
  pieces: readonly (Buffer | string)[],
  end = true,
): Promise<{ status: number; text: string }> {
  const socket = net.connect(port, host);
  let text = "";
  socket.on("data", (data: Buffer) => {
    text += data.toString("latin1");
  });
  socket.on("error", () => {}); // The server may cut a body off that it does not want.
  await once(socket, "connect");
  for (const piece of pieces) socket.write(piece);
  if (end) socket.end();
  await once(socket, "close");
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), text };
}

const head = (extra: string, path = "/loki/api/v1/push"): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n${extra}\r\n\r\n`;

const post = (it: Served, bytes: Buffer, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`http://${it.host}:${it.port}/loki/api/v1/push`, {
    method: "POST",
    body: bytes,
    headers: { "content-type": "application/json", ...headers },
  });

test.each([
  {
    path: "/loki/api/v1/push",
    type: "application/json",
    status: 500,
    answer: "text/plain; charset=utf-8",
    says: "a bug\n",
  },
  // A collector repeats a 503, and drops what got a 500.
  {
    path: "/otlp/v1/logs",
    type: "application/json",
    status: 503,
    answer: "application/octet-stream",
    says: "\x12\x05a bug",
  },
])("what is Weir's own fault is $status at $path", async ({ path, type, status, answer, says }) => {
  const until = Promise.reject(new Error("a bug"));
  until.catch(() => {}); // Appends hear of it.
  const it = await serve({ until });
  const otlp = { resourceLogs: [{ scopeLogs: [{ logRecords: [{ body: { stringValue: "x" } }] }] }] };
  const sent = await fetch(`http://${it.host}:${it.port}${path}`, {
    method: "POST",
    body: path.startsWith("/otlp") ? JSON.stringify(otlp) : new Uint8Array(body(10)),
    headers: { "content-type": type },
  });
  expect([sent.status, sent.headers.get("content-type")]).toEqual([status, answer]);
  expect(await sent.text()).toBe(says);
});

test.each([
  { type: "json", says: "snappy: corrupt input\n" },
  { type: ";", says: "mime: no media type\n" },
  { type: "x y/z", says: "snappy: corrupt input\n" },
])("what is no type is nobody's JSON: $type", async ({ type, says }) => {
  const it = await serve();
  const sent = await post(it, Buffer.from("{}"), { "content-type": type });
  expect([sent.status, await sent.text()]).toEqual([400, says]);
});

describe("a body", () => {
  test("that says it is too long is refused before it is read", async () => {
    const it = await serve();
    const { status, text } = await raw(it, [head("Content-Length: 999999999")]);
    expect(status).toBe(413);
    expect(text).toMatch(/request body too large: got 999999999 bytes, limit 262144\n$/);
  });

  test("that turns out to be too long is refused, and not read to its end", async () => {
    const it = await serve();
    const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;
    const { status } = await raw(
      it,
      [head("Transfer-Encoding: chunked"), ...Array.from({ length: 50 }, () => chunk)],
      false,
    );
    expect(status).toBe(413);
    expect(it.intake.nextOffset(0)).toBe(0);
  });

  test("that is cut off stores nothing", async () => {
    const it = await serve();
    const whole = body(100);
    for (const length of [0, 1, 50, whole.length - 1]) {
      const { status } = await raw(it, [head(`Content-Length: ${whole.length}`), whole.subarray(0, length)]);
      expect(status).not.toBe(204);
    }
    expect(it.intake.nextOffset(0)).toBe(0);
    // Nothing of them is held.
    expect((await post(it, body(200_000))).status).toBe(204);
  });

  test("in pieces is taken", async () => {
    const it = await serve();
    const whole = body(100);
    const { status } = await raw(
      it,
      [head(`Content-Length: ${whole.length}`), ...[...whole].map((byte) => Buffer.of(byte))],
      false,
    );
    expect(status).toBe(204);
    expect(it.intake.nextOffset(0)).toBe(1);
  });

  test.each([
    {
      name: "gzip",
      path: "/loki/api/v1/push",
      type: "application/json",
      encoding: "gzip",
      bytes: gzipSync(Buffer.alloc(100 << 20, " ")),
    },
    {
      name: "OTLP gzip",
      path: "/otlp/v1/logs",
      type: "application/x-protobuf",
      encoding: "gzip",
      bytes: gzipSync(Buffer.alloc(100 << 20)),
    },
    {
      name: "snappy",
      path: "/loki/api/v1/push",
      type: "application/x-protobuf",
      encoding: "snappy",
      bytes: Buffer.from("ffffffff0f00", "hex"),
    },
  ])("that is a bomb of $name is 413, and costs little memory", async ({ path, type, encoding, bytes }) => {
    const it = await serve();
    const before = process.memoryUsage().rss;
    const answers = await Promise.all(
      Array.from({ length: 5 }, () =>
        fetch(`http://${it.host}:${it.port}${path}`, {
          method: "POST",
          body: bytes,
          headers: { "content-type": type, "content-encoding": encoding },
        }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual([413, 413, 413, 413, 413]);
    expect(process.memoryUsage().rss - before).toBeLessThan(100 << 20);
    expect(it.intake.nextOffset(0)).toBe(0);
  });
});

describe("many pushes at once", () => {
  test("take no more memory than they may: the others are told to come again", async () => {
    let go: () => void = () => {};
    const until = new Promise<void>((resolve) => {
      go = resolve;
    });
    const it = await serve({ memory: 512 * KIB, until });
    const pushes = Array.from({ length: 30 }, (_, n) => post(it, body(100_000, n)));
    // Five of them fit; those that are refused have their answers at once.
    await Promise.any(pushes);
    go();
    const answers = await Promise.all(pushes);
    const codes = answers.map(({ status }) => status);
    expect(new Set(codes)).toEqual(new Set([204, 503]));
    expect(it.intake.nextOffset(0)).toBe(codes.filter((code) => code === 204).length);
    // What was held is free again.
    expect((await post(it, body(200_000, 99))).status).toBe(204);
  });

  test("a thousand slow senders hold up nobody", async () => {
    const it = await serve();
    const sockets = await Promise.all(
      Array.from({ length: 1000 }, async () => {
        const socket = net.connect(it.port, it.host);
        socket.on("error", () => {});
        await once(socket, "connect");
        socket.write(`${head("Content-Length: 1000")}{"streams":[`);
        return socket;
      }),
    );
    const started = performance.now();
    expect((await post(it, body(10))).status).toBe(204);
    expect(performance.now() - started).toBeLessThan(30_000);
    for (const socket of sockets) socket.destroy();
    expect(it.intake.nextOffset(0)).toBe(1);
  });
});

/** Begins a push whose body is to come, and resolves when the server has seen it. */
async function begun({ host, port }: Served, bytes: number): Promise<{ socket: net.Socket; text: () => string }> {
  const socket = net.connect(port, host);
  let text = "";
  socket.on("data", (data: Buffer) => {
    text += data.toString("latin1");
  });
  socket.on("error", () => {}); // It may be cut off.
  await once(socket, "connect");
  socket.write(head(`Content-Length: ${bytes}\r\nExpect: 100-continue`));
  while (!text.startsWith("HTTP/1.1 100 Continue\r\n\r\n")) await once(socket, "data");
  return { socket, text: () => text.slice("HTTP/1.1 100 Continue\r\n\r\n".length) };
}

test("a stop refuses further pushes, and waits for those under way", async () => {
  const it = await serve();
  const whole = body(100);
  // So that nothing has to be loaded in the time that there is after the stop.
  expect((await fetch(`http://${it.host}:${it.port}/ready`)).status).toBe(200);
  const { socket, text } = await begun(it, whole.length);
  socket.write(whole.subarray(0, 20));
  let stopped = false;
  const stopping = it.server.stopPushes().then(() => {
    stopped = true;
  });
  const refused = await post(it, body(10));
  expect([refused.status, await refused.text()]).toEqual([503, "the server is stopping\n"]);
  expect((await fetch(`http://${it.host}:${it.port}/ready`)).status).toBe(503);
  expect(stopped).toBe(false);
  socket.write(whole.subarray(20));
  await stopping;
  await once(socket, "close");
  expect(text()).toMatch(/^HTTP\/1\.1 204/);
  expect(it.intake.nextOffset(0)).toBe(1);
});

test("a stop cuts off a body that does not end", async () => {
  const it = await serve();
  const { socket, text } = await begun(it, 1000);
  socket.write('{"streams":');
  const closed = once(socket, "close");
  await it.server.stopPushes();
  await closed;
  expect(text()).not.toMatch(/^HTTP\/1\.1 204/);
  expect(it.intake.nextOffset(0)).toBe(0);
});
