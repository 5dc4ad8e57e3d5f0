import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { encode } from "@msgpack/msgpack";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Agent, untilAcknowledged } from "./agent.ts";
import { type ClusterPlaces, Member } from "./cluster.ts";
import { KAFKA_LIBS, KAFKA_PASSWORD, KAFKA_SKIPPED, KAFKA_USER, KafkaServer } from "./kafka-server.ts";
import { committedLines } from "./program.ts";
import { BUCKET, S3_KEYS, S3_PROGRAM, S3Server } from "./s3-server.ts";

if (KAFKA_LIBS === "") console.warn(KAFKA_SKIPPED);

describe.skipIf(KAFKA_LIBS === "")("roles over Kafka", { timeout: 900_000 }, () => {
  let server: KafkaServer;
  let folder = "";
  let members: Member[] = [];
  let topics = 0;
  beforeAll(async () => {
    server = await KafkaServer.start({ sasl: true });
  }, 900_000);
  afterAll(() => server.stop());
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-roles-"));
  });
  afterEach(async () => {
    await Promise.all(members.map((member) => (member.program.ended ? null : member.kill())));
    members = [];
    rmSync(folder, { recursive: true, force: true });
  });

  const cluster = async (partitions: number, more: Partial<ClusterPlaces> = {}): Promise<ClusterPlaces> => {
    const topic = `intake-${topics++}`;
    await server.createTopic(topic, partitions);
    return { folder, brokers: server.addresses, topic, store: path.join(folder, "store"), ...more };
  };
  const start = async (...[places, role, name, whenReady]: Parameters<typeof Member.start>) => {
    const member = await Member.start(places, role, name, whenReady);
    members.push(member);
    return member;
  };

  /** Waits until a querier sees as many lines as there should be, and some more for one too many. */
  const linesOf = async (querier: Member, query: string, count: number) => {
    let lines: string[] = [];
    for (const until = Date.now() + 240_000; Date.now() < until; ) {
      lines = await committedLines(querier.http, query);
      if (lines.length >= count) break;
      await sleep(200);
    }
    await sleep(1500);
    return (await committedLines(querier.http, query)).toSorted();
  };

  test("receive, store and answer together, over a worker that is killed", async () => {
    const places = await cluster(3);
    const receiver = await start(places, "receiver", "receiver");
    let worker = await start(places, "worker", "worker");
    const querier = await start(places, "querier", "querier");
    const agents = Array.from({ length: 4 }, (_, i) => new Agent(`agent-${i}`, `roles.${i}`, () => receiver.forward));
    for (const agent of agents) agent.start();
    for (let round = 0; round < 2; round++) {
      await sleep(2000);
      await worker.kill();
      worker = await start(places, "worker", "worker", false);
    }
    await worker.whenReady();
    await sleep(1000);
    await untilAcknowledged(agents, 300);
    await Promise.all(agents.map((agent) => agent.finish()));
    const acknowledged = agents.flatMap((agent) => agent.acknowledged).toSorted();
    console.log(`${acknowledged.length} lines acknowledged`);
    expect(await linesOf(querier, '{tag=~"roles.+"}', acknowledged.length)).toEqual(acknowledged);
    for (const member of [receiver, worker, querier]) expect(await member.kill("SIGTERM")).toBe(0);
  });

  test("hand partitions over to each other, and one that slept past its session commits nothing more", async () => {
    const s3 = S3_PROGRAM === "" ? null : await S3Server.start();
    // Inherited by the processes that are started.
    Object.assign(process.env, S3_KEYS);
    try {
      const inS3 = s3 === null ? {} : { store: `s3://${BUCKET}/roles`, args: ["--s3-endpoint", s3.endpoint] };
      // Long enough for what is under way to be committed on any machine.
      const intake = "session_timeout_ms: 6000, handover_timeout_ms: 60000, request_timeout_ms: 6000";
      const places = await cluster(4, { ...inS3, intake });
      const receivers = [await start(places, "receiver", "r1"), await start(places, "receiver", "r2")];
      const first = await start(places, "worker", "w1");
      const querier = await start(places, "querier", "q");
      const agents = Array.from(
        { length: 6 },
        (_, i) => new Agent(`agent-${i}`, `handed.${i}`, () => receivers[i % receivers.length].forward),
      );
      for (const agent of agents) agent.start();
      const partitions = (member: Member) => member.metric("weir_worker_partitions");
      while ((await partitions(first)) !== 4) await sleep(50);
      const second = await start(places, "worker", "w2");
      while ((await partitions(first)) !== 2 || (await partitions(second)) !== 2) await sleep(50);
      await sleep(1000);
      first.pause();
      while ((await partitions(second)) !== 4) await sleep(50);
      await sleep(1500);
      first.resume();
      while ((await partitions(first)) !== 2) await sleep(50);
      await sleep(1000);
      // And one that ends in order.
      expect(await second.kill("SIGTERM")).toBe(0);
      while ((await partitions(first)) !== 4) await sleep(50);
      await Promise.all(agents.map((agent) => agent.finish()));
      const acknowledged = agents.flatMap((agent) => agent.acknowledged).toSorted();
      console.log(`${acknowledged.length} lines acknowledged, ${s3 === null ? "in a folder" : "in S3"}`);
      expect(await linesOf(querier, '{tag=~"handed.+"}', acknowledged.length)).toEqual(acknowledged);
      // What was given away was committed first.
      expect(second.program.stderr).not.toMatch(/not everything|not released in time/);
    } finally {
      for (const name of Object.keys(S3_KEYS)) delete process.env[name];
      await s3?.stop();
    }
  });

  test("wait while the broker is away, say so, and go on by themselves", async () => {
    const places = await cluster(2);
    const receiver = await start(places, "receiver", "r");
    const worker = await start(places, "worker", "w");
    const querier = await start(places, "querier", "q");
    const agents = Array.from({ length: 3 }, (_, i) => new Agent(`agent-${i}`, `away.${i}`, () => receiver.forward));
    for (const agent of agents) agent.start();
    await sleep(1500);
    await server.brokers[0].kill();
    await receiver.whenReady(false);
    expect(await (await fetch(`${receiver.http}/ready`)).text()).toMatch(/Kafka/);
    // One that begins without a broker stays up as well.
    const late = await start(places, "receiver", "late", false);
    await late.whenReady(false);
    server.brokers[0].start();
    await server.whenUp();
    for (const member of [receiver, worker, late]) await member.whenReady();
    await sleep(1000);
    await untilAcknowledged(agents, 50);
    await Promise.all(agents.map((agent) => agent.finish()));
    const acknowledged = agents.flatMap((agent) => agent.acknowledged).toSorted();
    expect(await linesOf(querier, '{tag=~"away.+"}', acknowledged.length)).toEqual(acknowledged);
  });

  test("know what is sent again, by whatever receiver, and split what is too large for the topic", async () => {
    const topic = "small-limit";
    await server.createTopic(topic, 3, { "max.message.bytes": "20000" });
    const places = { ...(await cluster(1)), topic };
    const receivers = [await start(places, "receiver", "r1"), await start(places, "receiver", "r2")];
    let worker = await start(places, "worker", "w");
    const querier = await start(places, "querier", "q");
    const now = Math.floor(Date.now() / 1000);
    const lines = Array.from({ length: 600 }, (_, i) => `line ${i} ${"x".repeat(i % 300)}`);
    const entries = Buffer.concat(lines.map((log, i) => Buffer.from(encode([now + (i % 7), { log }]))));
    const large = Buffer.from(encode(["again.large", gzipSync(entries), { chunk: "large-1", compressed: "gzip" }]));
    const small = Buffer.from(encode(["again.small", [[now, { log: "small" }]], { chunk: "small-1" }]));
    for (const receiver of [...receivers, receivers[0]]) {
      expect(await sendChunk(receiver.forward, large)).toBe("large-1");
      expect(await sendChunk(receiver.forward, small)).toBe("small-1");
    }
    const push = async (receiver: Member, values: readonly string[]) => {
      const stream = (app: string) => ({
        stream: { app, again: "push" },
        values: values.map((text, i) => [`${now}00000000${i}`, `${app} ${text}`]),
      });
      const body = JSON.stringify({ streams: ["a", "b", "c", "d"].map(stream) });
      const headers = { "content-type": "application/json" };
      return (await fetch(`${receiver.http}/loki/api/v1/push`, { method: "POST", headers, body })).status;
    };
    expect(await push(receivers[0], ["one", "two"])).toBe(204);
    expect(await push(receivers[1], ["one", "two"])).toBe(204);
    // A worker that begins here has to know what was before.
    expect((await linesOf(querier, '{again="push"}', 8)).length).toBe(8);
    await worker.kill();
    worker = await start(places, "worker", "w");
    expect(await push(receivers[0], ["one", "two", "three"])).toBe(204);
    for (const receiver of receivers) expect(await sendChunk(receiver.forward, large)).toBe("large-1");
    expect(await linesOf(querier, '{again="push"}', 12)).toEqual(
      ["a", "b", "c", "d"].flatMap((app) => ["one", "three", "two"].map((text) => `${app} ${text}`)),
    );
    expect(await linesOf(querier, '{tag=~"again.+"}', 601)).toEqual([...lines, "small"].toSorted());
    await expect.poll(() => worker.metric("weir_intake_repeats_total")).toBeGreaterThan(5);
    // Repeats are committed too, though no line comes of them: nobody is said to be behind for them.
    while ((await querier.metric("weir_querier_lag_entries")) !== 0) await sleep(50);
    // A single event that is too large is refused, and the connection with it.
    const huge = Buffer.from(encode(["again.huge", [[now, { log: "x".repeat(30_000) }]], { chunk: "huge" }]));
    expect(await sendChunk(receivers[0].forward, huge)).toBeNull();
    await expect.poll(() => receivers[0].metric("weir_forward_rejected_total")).toBe(1);
  });

  test("show what is received within the flush age and two seconds, follow it live, and forget it when told", async () => {
    const FRESH_MS = 1000 + 2000;
    const places = await cluster(2, { flushAgeMs: 1000 });
    const receiver = await start(places, "receiver", "r");
    const worker = await start(places, "worker", "w");
    const querier = await start(places, "querier", "q");
    const compactor = await start(places, "compactor", "c");
    const send = (text: string) => {
      const chunk = `fresh-${text}`;
      const entry = [Math.floor(Date.now() / 1000), { log: text }];
      return sendChunk(receiver.forward, Buffer.from(encode(["fresh", [entry], { chunk }])));
    };
    const { socket, lines: tailed } = tail(querier, '{tag="fresh"}');
    await once(socket, "open");
    // The best of some: others may load the machine.
    let bestMs = Number.POSITIVE_INFINITY;
    const sent: string[] = [];
    for (let i = 0; i < 5 || (i < 30 && bestMs >= FRESH_MS); i++) {
      const began = performance.now();
      sent.push(`line ${i}`);
      await send(`line ${i}`);
      while ((await committedLines(querier.http, '{tag="fresh"}')).length <= i) await sleep(20);
      bestMs = Math.min(bestMs, performance.now() - began);
    }
    console.log(`freshness: ${Math.round(bestMs)} ms with a flush age of 1000 ms`);
    expect(bestMs).toBeLessThan(FRESH_MS);
    while (tailed.length < sent.length) await sleep(50);
    expect(tailed.toSorted()).toEqual(sent.toSorted());
    socket.close();
    while ((await querier.metric("weir_querier_behind_seconds")) !== 0) await sleep(50);
    await expect.poll(() => querier.metric("weir_querier_lag_entries")).toBe(0);
    // Roles answer for what they do, and say who does the rest.
    for (const member of [receiver, worker, compactor]) {
      const answer = await fetch(`${member.http}/loki/api/v1/query_range?query=${encodeURIComponent('{tag="fresh"}')}`);
      expect(answer.status).toBe(404);
      expect(await answer.text()).toMatch(/ask a querier/);
    }
    const asked = new URLSearchParams({
      query: '{tag="fresh"} |= "line 3"',
      start: String(Math.floor(Date.now() / 1000) - 3600),
    });
    const answer = await fetch(`${querier.http}/loki/api/v1/delete?${asked}`, { method: "POST" });
    expect(answer.status).toBe(204);
    expect(await committedLines(querier.http, '{tag="fresh"}')).toEqual(sent.filter((text) => text !== "line 3"));
    for (const member of [receiver, worker, querier, compactor]) expect(await member.kill("SIGTERM")).toBe(0);
  });

  test("show a live tail what was sent twice once, be it from before the tail", async () => {
    const places = await cluster(2);
    const receivers = [await start(places, "receiver", "r1"), await start(places, "receiver", "r2")];
    await start(places, "worker", "w");
    const querier = await start(places, "querier", "q");
    const send = async (to: Member, text: string) => {
      const entry = [Math.floor(Date.now() / 1000), { log: text }];
      expect(await sendChunk(to.forward, Buffer.from(encode(["twice", [entry], { chunk: text }])))).toBe(text);
    };
    const now = Math.floor(Date.now() / 1000);
    const push = async (to: Member, ...texts: string[]) => {
      const stream = { tag: "twice", from: "push" };
      const values = texts.map((text, i) => [`${now}00000000${i}`, text]);
      const body = JSON.stringify({ streams: [{ stream, values }] });
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${to.http}/loki/api/v1/push`, { method: "POST", headers, body });
      expect(answer.status).toBe(204);
    };
    await send(receivers[0], "before");
    await push(receivers[0], "pushed 0", "pushed 1");
    await linesOf(querier, '{tag="twice"}', 3);
    const tails = [tail(querier, '{tag="twice"}'), tail(querier, '{tag="twice"}')];
    await once(tails[0].socket, "open");
    await send(receivers[1], "first");
    while (!tails[0].lines.includes("first")) await sleep(50);
    // A tail that begins later has the reader go back, or on: neither may show anything again.
    tails.push(tail(querier, '{tag="twice"}'));
    for (const text of ["before", "first", "second"]) for (const receiver of receivers) await send(receiver, text);
    for (const receiver of receivers) await push(receiver, "pushed 0", "pushed 1", "pushed 2");
    await send(receivers[0], "last");
    for (const { lines } of tails) while (!lines.includes("last") || !lines.includes("pushed 2")) await sleep(50);
    await sleep(1000);
    const want = ["before", "first", "last", "pushed 0", "pushed 1", "pushed 2", "second"];
    for (const { lines, socket } of tails) {
      expect(lines.toSorted()).toEqual(want);
      socket.close();
    }
    expect(await querier.kill("SIGTERM")).toBe(0);
  });

  test("are one process over Kafka with a login, which goes on where it was", async () => {
    const login = `sasl: { mechanism: scram-sha-512, username: ${KAFKA_USER}, password: ${KAFKA_PASSWORD} }, compression: snappy`;
    const places = await cluster(2, { intake: login, brokers: server.saslAddresses });
    let all = await start(places, "all", "all");
    const agent = new Agent("agent", "login", () => all.forward);
    agent.start();
    await sleep(1500);
    const stopped = all.kill("SIGTERM");
    expect(await stopped).toBe(0);
    all = await start(places, "all", "all");
    await sleep(1000);
    await agent.finish();
    expect(await linesOf(all, '{tag="login"}', agent.acknowledged.length)).toEqual(agent.acknowledged.toSorted());
  });
});

/** Follows a query, its history first. */
function tail(querier: Member, query: string): { readonly socket: WebSocket; readonly lines: string[] } {
  const url = `${querier.http.replace("http", "ws")}/loki/api/v1/tail?query=${encodeURIComponent(query)}`;
  const socket = new WebSocket(url);
  const lines: string[] = [];
  socket.on("message", (data) => {
    const { streams } = JSON.parse(String(data)) as { streams: { values: [string, string][] }[] };
    lines.push(...streams.flatMap(({ values }) => values.map(([, line]) => line)));
  });
  return { socket, lines };
}

/** Sends one message; gives the chunk that was acknowledged, or null when the connection ended instead. */
async function sendChunk(to: { host: string; port: number }, message: Buffer): Promise<string | null> {
  const socket = net.connect(to);
  socket.on("error", () => {}); // A reset is an end like any other.
  socket.write(message);
  const answer = await Promise.race([once(socket, "data"), once(socket, "close").then(() => null)]);
  socket.destroy();
  if (answer === null) return null;
  const ack = (answer[0] as Buffer).toString("latin1");
  return ack.slice(ack.indexOf("ack") + 4);
}
