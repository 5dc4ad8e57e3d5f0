import { once } from "node:events";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { Engine } from "../../src/query/engine.ts";
import { SECOND, T0 } from "../query/run/harness.ts";
import { makeApi, queryString, type TestApi } from "./harness.ts";

interface Message {
  streams: { stream: Record<string, string>; values: [string, string, object?][] }[];
  dropped_entries?: { timestamp: string; labels: Record<string, string> }[];
  encodingFlags?: string[];
}

/** A tail and what it has received. */
class Client {
  readonly socket: WebSocket;
  readonly messages: Message[] = [];
  readonly texts: string[] = [];
  private wake: () => void = () => undefined;

  constructor(url: string, headers: Record<string, string> = {}) {
    this.socket = new WebSocket(url, { headers });
    // A refusal, or a terminate while connecting; the tests look at what came of it.
    this.socket.on("error", () => undefined);
    this.socket.on("message", (data: Buffer) => {
      const message = JSON.parse(data.toString()) as Message;
      this.messages.push(message);
      for (const { values } of message.streams) for (const [, line] of values) this.texts.push(line);
      this.wake();
    });
  }

  async lines(count: number): Promise<string[]> {
    while (this.texts.length < count) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return this.texts;
  }

  async closed(): Promise<{ code: number; reason: string }> {
    const [code, reason] = (await once(this.socket, "close")) as [number, Buffer];
    return { code, reason: reason.toString() };
  }
}

test("a tail that fails says why, however long that is and in whatever letters", async () => {
  const wrap = (engine: Engine): Engine =>
    Object.assign(Object.create(engine) as Engine, {
      tail: () => Promise.reject(new Error("Die Datei \u201ePrüfling\u201c fehlt: ".repeat(20))),
    });
  const api = await makeApi({ wrap });
  const client = new Client(`${api.base.replace("http", "ws")}/loki/api/v1/tail${queryString({ query: '{app="x"}' })}`);
  const { code, reason } = await client.closed();
  expect(code).toBe(1011);
  expect(Buffer.byteLength(reason)).toBeLessThanOrEqual(123);
  expect(reason).toMatch(/^Die Datei „Prüfling“ fehlt: Die Datei/);
  expect(reason).not.toContain("\ufffd");
  await api.close();
});

describe("tail", () => {
  let api: TestApi;
  const clients: Client[] = [];
  const at = (s: number) => T0 + BigInt(s) * SECOND;
  const open = (params: Record<string, string>, headers: Record<string, string> = {}) => {
    const client = new Client(
      `${api.base.replace("http", "ws")}/loki/api/v1/tail${queryString({ start: String(T0), ...params })}`,
      headers,
    );
    clients.push(client);
    return client;
  };

  beforeAll(async () => {
    api = await makeApi({ query: { max_concurrent_tail_requests: 2, tail_queue_bytes: 6000 } });
    for (let i = 0; i < 5; i++) {
      api.append({ labels: { app: "old" }, ns: at(i), text: `old ${i}` });
      if (i === 2) await api.flush();
    }
  });
  afterEach(async () => {
    for (const { socket } of clients.splice(0)) {
      if (socket.readyState === WebSocket.CLOSED) continue;
      const closed = new Promise((resolve) => socket.once("close", resolve));
      socket.terminate();
      await closed;
    }
    // The server has seen it too.
    await expect.poll(() => api.writer.taps.size).toBe(0);
  });
  afterAll(() => api.close());

  test("gives many long lines in several messages, in order", async () => {
    for (let i = 0; i < 40; i++) {
      api.append({ labels: { app: "long" }, ns: at(i), text: `${i} ${"x".repeat(50_000)}` });
    }
    const client = open({ query: '{app="long"}', limit: "40" });
    const lines = await client.lines(40);
    expect(lines.map((line) => line.split(" ", 1)[0])).toEqual(Array.from({ length: 40 }, (_, i) => String(i)));
    // Six of the lines fill one.
    expect(client.messages.map(({ streams }) => streams[0].values.length)).toEqual([6, 6, 6, 6, 6, 6, 4]);
  });

  test("gives the newest lines before now, oldest first, and then new ones", async () => {
    const client = open({ query: '{app="old"}', limit: "3" });
    expect(await client.lines(3)).toEqual(["old 2", "old 3", "old 4"]);
    api.append({ labels: { app: "old" }, ns: at(50), text: "new 1" });
    api.append({ labels: { app: "another" }, ns: at(50), text: "not wanted" });
    api.append({ labels: { app: "old" }, ns: at(51), text: "new 2" });
    expect(await client.lines(5)).toEqual(["old 2", "old 3", "old 4", "new 1", "new 2"]);
    expect(client.messages[0]).toEqual({
      streams: [{ stream: { app: "old" }, values: [2, 3, 4].map((i) => [String(at(i)), `old ${i}`]) }],
    });
  });

  test("begins its history at start", async () => {
    const client = open({ query: '{app="old"} |= "old"', start: String(at(4)) });
    expect(await client.lines(1)).toEqual(["old 4"]);
  });

  test("runs the query's stages on new lines and keeps labels apart when asked to", async () => {
    const client = open(
      { query: '{app="stages"} |= "keep" | logfmt | n > 1' },
      { "X-Loki-Response-Encoding-Flags": "categorize-labels" },
    );
    await expect.poll(() => api.writer.taps.size).toBe(1);
    api.append({ labels: { app: "stages" }, ns: at(1), text: "keep n=1" });
    api.append({
      labels: { app: "stages" },
      ns: at(2),
      text: "keep n=2",
      metadata: { pod: "p" },
      trace: "ab".repeat(16),
    });
    api.append({ labels: { app: "stages" }, ns: at(3), text: "drop n=3" });
    await client.lines(1);
    expect(client.messages).toEqual([
      {
        streams: [
          {
            stream: { app: "stages" },
            values: [
              [
                String(at(2)),
                "keep n=2",
                { structuredMetadata: { pod: "p", trace_id: "ab".repeat(16) }, parsed: { n: "2" } },
              ],
            ],
          },
        ],
        encodingFlags: ["categorize-labels"],
      },
    ]);
  });

  test("drops and reports what a burst has beyond the queue", async () => {
    const client = open({ query: '{app="burst"}' });
    await expect.poll(() => api.writer.taps.size).toBe(1);
    // All within one turn of the event loop, so nothing is sent meanwhile.
    for (let i = 0; i < 100; i++) api.append({ labels: { app: "burst" }, ns: at(i), text: "x".repeat(100) });
    await client.lines(10);
    const [message] = client.messages;
    expect(message.streams[0].values.length).toBeLessThan(20);
    expect(message.dropped_entries?.length).toBe(100 - message.streams[0].values.length);
    expect(message.dropped_entries?.at(-1)).toEqual({ timestamp: String(at(99)), labels: { app: "burst" } });
  });

  test("holds new lines back for delay_for", async () => {
    const client = open({ query: '{app="late"}', delay_for: "1" });
    await expect.poll(() => api.writer.taps.size).toBe(1);
    const appended = performance.now();
    api.append({ labels: { app: "late" }, ns: at(2), text: "second" });
    await new Promise((resolve) => setTimeout(resolve, 200));
    api.append({ labels: { app: "late" }, ns: at(1), text: "first" });
    await client.lines(2);
    expect(performance.now() - appended).toBeGreaterThan(950);
  });

  test("ends with 1011 for a metric query", async () => {
    const client = open({ query: 'rate({app="old"}[1m])' });
    expect(await client.closed()).toEqual({ code: 1011, reason: "only log selector is supported" });
  });

  test("is refused beyond the number of tails", async () => {
    const first = open({ query: '{app="old"}' });
    const second = open({ query: '{app="old"}' });
    await Promise.all([first.lines(5), second.lines(5)]);
    const answer = await refusal(open({ query: '{app="old"}' }));
    expect(answer).toEqual({
      status: 400,
      text: "max concurrent tail requests limit exceeded, count > limit (3 > 2)\n",
    });
  });

  test.each<{ params: Record<string, string>; says: string | RegExp }>([
    { params: { query: '{app="old"}', delay_for: "6" }, says: "delay_for can't be greater than 5\n" },
    { params: { query: '{app="old"}', delay_for: "x" }, says: /invalid syntax\n$/ },
    { params: { query: "{" }, says: /^parse error at line 1, col 2: / },
    { params: {}, says: "parse error : syntax error: unexpected $end\n" },
    { params: { query: '{app="old"}', limit: "x" }, says: 'strconv.Atoi: parsing "x": invalid syntax\n' },
    { params: { query: '{app="old"}', start: "x" }, says: /^could not parse 'start' parameter: / },
  ])("refuses $params before the upgrade", async ({ params, says }) => {
    const { status, text } = await refusal(open(params));
    expect(status).toBe(400);
    if (typeof says === "string") expect(text).toBe(says);
    else expect(text).toMatch(says);
  });

  test("wants an upgrade, and only its own path has one", async () => {
    expect(await api.get('/loki/api/v1/tail?query={app="old"}')).toMatchObject({ status: 400, text: "Bad Request\n" });
    const stray = new Client(`${api.base.replace("http", "ws")}/loki/api/v1/query`);
    clients.push(stray);
    expect(await refusal(stray)).toEqual({ status: 404, text: "404 page not found\n" });
  });

  test("survives what clients send", async () => {
    const client = open({ query: '{app="old"}' });
    await client.lines(5);
    client.socket.send("hello");
    client.socket.send(Buffer.alloc(100_000));
    // Too large a message ends that one tail.
    expect((await client.closed()).code).toBe(1009);
    expect((await api.get("/ready")).status).toBe(200);
  });
});

test("a tail sees no line twice and misses none around its beginning", async () => {
  // On a slow machine a round has thousands of lines.
  const api = await makeApi({ query: { max_entries_limit_per_query: 1_000_000 } });
  let n = 0;
  const timer = setInterval(() => {
    for (let i = 0; i < 2; i++) api.append({ labels: { app: "race" }, ns: T0 + BigInt(n), text: `${n++}` });
    if (n % 100 === 0) void api.flush();
  }, 1);
  try {
    for (let round = 0; round < 5; round++) {
      const client = new Client(
        `${api.base.replace("http", "ws")}/loki/api/v1/tail${queryString({ query: '{app="race"}', start: String(T0), limit: "1000000" })}`,
      );
      await client.lines(1);
      const target = n + 100;
      await client.lines(target);
      expect(client.texts.slice(0, target)).toEqual(Array.from({ length: target }, (_, i) => `${i}`));
      client.socket.close();
      await client.closed();
    }
  } finally {
    clearInterval(timer);
    await api.flush();
    await api.close();
  }
});

test("closing the server ends its tails with 1001", async () => {
  const api = await makeApi();
  api.append({ labels: { app: "a" }, ns: T0, text: "x" });
  const client = new Client(
    `${api.base.replace("http", "ws")}/loki/api/v1/tail${queryString({ query: '{app="a"}', start: String(T0) })}`,
  );
  await client.lines(1);
  const [{ code }] = await Promise.all([client.closed(), api.close()]);
  expect(code).toBe(1001);
});

async function refusal({ socket }: Client): Promise<{ status: number; text: string }> {
  const [, response] = (await once(socket, "unexpected-response")) as [
    unknown,
    AsyncIterable<Buffer> & { statusCode: number },
  ];
  let text = "";
  for await (const piece of response) text += piece.toString();
  return { status: response.statusCode, text };
}
