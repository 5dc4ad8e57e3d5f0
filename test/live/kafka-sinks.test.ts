import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { encode } from "@msgpack/msgpack";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Agent, untilAcknowledged } from "./agent.ts";
import { type ClusterPlaces, Member } from "./cluster.ts";
import { KAFKA_LIBS, KAFKA_SKIPPED, KafkaServer } from "./kafka-server.ts";
import { Program } from "./program.ts";
import { BUCKET, S3_KEYS, S3_PROGRAM, S3_SKIPPED, S3Server } from "./s3-server.ts";

if (KAFKA_LIBS === "") console.warn(KAFKA_SKIPPED);
else if (S3_PROGRAM === "") console.warn(`${S3_SKIPPED}: the store is a folder`);

/** How long what is still on its way may take. */
const ARRIVAL_MS = 240_000;

interface Posted {
  readonly id: string;
  readonly line: string;
}

/** A destination that takes NDJSON by HTTP, and keeps what came to each path. */
class Destination {
  readonly posted = new Map<string, Posted[]>();
  private readonly server: http.Server;
  /** What it answers, by path; 200 otherwise. */
  readonly answers = new Map<string, number>();

  private constructor() {
    this.server = http.createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("error", () => {}); // A sender that was killed sends again.
      request.on("end", () => {
        const at = request.url ?? "";
        const status = this.answers.get(at) ?? 200;
        if (status === 200) this.of(at).push(...recordsOf(Buffer.concat(parts)));
        response.writeHead(status).end("no");
      });
    });
  }

  static async listen(): Promise<Destination> {
    const destination = new Destination();
    destination.server.listen(0, "127.0.0.1");
    await once(destination.server, "listening");
    return destination;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  of(at: string): Posted[] {
    const known = this.posted.get(at) ?? [];
    this.posted.set(at, known);
    return known;
  }

  /** By id. Whatever comes twice with one id has to be the same. */
  byId(at: string): Map<string, string> {
    const found = new Map<string, string>();
    for (const { id, line } of this.of(at)) {
      expect(found.get(id) ?? line, id).toBe(line);
      found.set(id, line);
    }
    return found;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

function recordsOf(body: Buffer): Posted[] {
  const rows = gunzipSync(body).toString().trimEnd().split("\n");
  return rows.map((row) => JSON.parse(row) as Posted); // What the sink `http` sends as `form: json`.
}

/** The same lines, as often; of many it shows few. */
function expectSame(got: readonly string[], want: readonly string[]): void {
  const wanted = new Set(want);
  const seen = new Set(got);
  const missing = want.filter((line) => !seen.has(line));
  const more = got.filter((line) => !wanted.has(line));
  const first = { missing: missing.slice(0, 10), more: more.slice(0, 10) };
  expect({ ...first, lines: got.length, different: seen.size }).toEqual({
    ...{ missing: [], more: [] },
    ...{ lines: want.length, different: wanted.size },
  });
}

/** Sends one message, and waits for its acknowledgement. */
async function sendMessage(to: { host: string; port: number }, message: Uint8Array): Promise<void> {
  const socket = net.connect(to);
  socket.write(message);
  await once(socket, "data");
  socket.destroy();
}

describe.skipIf(KAFKA_LIBS === "")("sinks over Kafka", { timeout: 900_000 }, () => {
  let server: KafkaServer;
  let s3: S3Server | null = null;
  let destination: Destination;
  let folder = "";
  let members: Member[] = [];
  let topics = 0;
  beforeAll(async () => {
    server = await KafkaServer.start();
    s3 = S3_PROGRAM === "" ? null : await S3Server.start();
    // Inherited by the processes that are started.
    Object.assign(process.env, S3_KEYS);
  }, 900_000);
  afterAll(async () => {
    for (const name of Object.keys(S3_KEYS)) delete process.env[name];
    await s3?.stop();
    await server.stop();
  });
  beforeEach(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-kafka-sinks-"));
    destination = await Destination.listen();
  });
  afterEach(async () => {
    await Promise.all(members.map((member) => (member.program.ended ? null : member.kill())));
    members = [];
    destination.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const cluster = async (partitions: number, sinks: Readonly<Record<string, string>>): Promise<ClusterPlaces> => {
    const topic = `sinks-${topics++}`;
    await server.createTopic(topic, partitions);
    const more = Object.entries({ store: "type: store", ...sinks }).map(
      ([name, options]) => `  ${name}: { ${options} }`,
    );
    return {
      ...{ folder, brokers: server.addresses, topic },
      store: s3 === null ? path.join(folder, "store") : `s3://${BUCKET}/${topic}?endpoint=${s3.endpoint}`,
      to: ["store", ...Object.keys(sinks)],
      more: `sinks:\n${more.join("\n")}`,
    };
  };
  const start = async (...[places, role, name, whenReady]: Parameters<typeof Member.start>) => {
    const member = await Member.start(places, role, name, whenReady);
    members.push(member);
    return member;
  };
  const agentsFor = (receiver: Member, tag: string) => {
    const agents = Array.from({ length: 3 }, (_, i) => new Agent(`${tag}-${i}`, `${tag}.${i}`, () => receiver.forward));
    for (const agent of agents) agent.start();
    return agents;
  };
  const finish = async (agents: readonly Agent[]) => {
    await Promise.all(agents.map((agent) => agent.finish()));
    return agents.flatMap((agent) => agent.acknowledged).toSorted();
  };
  const until = async (isSo: () => boolean | Promise<boolean>) => {
    for (const end = Date.now() + ARRIVAL_MS; !(await isSo()) && Date.now() < end; ) await sleep(100);
  };
  /** Waits until this member has so many partitions for each sink. */
  const has = async (member: Member, partitions: number) => {
    let found = 0;
    await until(async () => {
      found = await member.metric("weir_sink_partitions");
      return found === partitions;
    });
    expect(found, member.program.stderr).toBe(partitions);
  };

  test("send each record at least once, with one id, over workers that are killed, paused and stopped", async () => {
    const places = await cluster(4, {
      out: `type: http, url: "${destination.url}/out", batch_records_max: 500, batch_age_ms: 50`,
      sums: `type: http, url: "${destination.url}/sums", digest: { by: [], level: false, shape: false, interval_ms: 1000 }`,
    });
    const receiver = await start(places, "receiver", "r");
    const first = await start(places, "worker", "w1");
    const agents = agentsFor(receiver, "sunk");
    await has(first, 8);
    const second = await start(places, "worker", "w2");
    await has(first, 4);
    await has(second, 4);
    await sleep(1500);
    await first.kill();
    await has(second, 8);
    const third = await start(places, "worker", "w3");
    await has(second, 4);
    await sleep(1000);
    // One that hangs past its session comes back to partitions that are another's.
    second.pause();
    await has(third, 8);
    await sleep(1500);
    second.resume();
    await has(second, 4);
    await sleep(1000);
    expect(await second.kill("SIGTERM")).toBe(0);
    await has(third, 8);
    await untilAcknowledged(agents, 300);
    const acknowledged = await finish(agents);
    const sumOf = () => {
      const digests = [...destination.byId("/sums").values()].map((line) => JSON.parse(line) as { count: number });
      return digests.reduce((sum, { count }) => sum + count, 0);
    };
    await until(() => destination.byId("/out").size >= acknowledged.length && sumOf() >= acknowledged.length);
    await sleep(1500);
    const sent = destination.byId("/out");
    console.log(
      `${acknowledged.length} lines acknowledged; ${destination.of("/out").length} records sent, with ${sent.size} ids; ${destination.of("/sums").length} digests with ${destination.byId("/sums").size} ids`,
    );
    // As many ids as lines: a line that an agent sent twice is a repeat for every owner of its partition.
    expectSame([...sent.values()], acknowledged);
    expect(sumOf()).toBe(acknowledged.length);
    expect(await third.metric("weir_sink_lost_entries_total")).toBe(0);
    await expect.poll(() => third.metric("weir_sink_lag_entries")).toBe(0);
  });

  test("miss nothing when partitions go from one process to another in order, and begin where the store is", async () => {
    // Nobody is to lose a partition for being slow: what is under way then would be sent again.
    const intake = "session_timeout_ms: 15000, handover_timeout_ms: 30000, request_timeout_ms: 15000";
    const plain = { ...(await cluster(3, {})), intake };
    const receiver = await start(plain, "receiver", "r");
    const alone = await start(plain, "worker", "w0");
    const early = agentsFor(receiver, "before");
    await sleep(500);
    const before = await finish(early);
    // The store has those; a sink that is new does not want them. (Its worker's lag may be of a moment before the last of them.)
    const stored = () => alone.metric("weir_store_lines_total");
    await until(async () => (await stored()) >= before.length);
    expect(await stored()).toBe(before.length);
    expect(await alone.kill("SIGTERM")).toBe(0);
    const out = `type: http, url: "${destination.url}/out", batch_records_max: 200, batch_age_ms: 20`;
    const places = { ...plain, to: ["store", "out"], more: `sinks: { store: { type: store }, out: { ${out} } }` };
    let worker = await start(places, "worker", "w1");
    await has(worker, 3);
    const agents = agentsFor(receiver, "after");
    for (const name of ["w2", "w3"]) {
      await sleep(1000);
      const next = await start(places, "worker", name);
      await until(async () => (await next.metric("weir_sink_partitions")) > 0);
      await sleep(500);
      expect(await worker.kill("SIGTERM")).toBe(0);
      await has(next, 3);
      worker = next;
    }
    const acknowledged = await finish(agents);
    await until(() => destination.byId("/out").size >= acknowledged.length);
    await sleep(500);
    const sent = destination.byId("/out");
    const posted = destination.of("/out").length;
    console.log(
      `${before.length} lines before, ${acknowledged.length} after; ${posted} records sent, with ${sent.size} ids`,
    );
    expectSame([...sent.values()], acknowledged);
    // What was under way was waited for, where that was said to be in time.
    const said = members.map(({ program }) => program.stderr).join("\n");
    if (!/did not end in time|does not end/.test(said)) expect(posted).toBe(sent.size);
  });

  test("leave out what is more than lag_bytes_max, and nothing that is younger", async () => {
    const places = await cluster(1, {
      out: `type: http, url: "${destination.url}/out", lag_bytes_max: 1048576, batch_records_max: 1, batch_age_ms: 0, retry_min_ms: 20, retry_max_ms: 100`,
    });
    destination.answers.set("/out", 503);
    const receiver = await start({ ...places, intake: "compression: none" }, "receiver", "r");
    const short = "session_timeout_ms: 3000, feed_bytes_max: 1048576";
    const worker = await start({ ...places, intake: short }, "worker", "w");
    await has(worker, 1);
    const lines = Array.from({ length: 60 }, (_, i) => `bounded ${String(i).padStart(2, "0")} ${"x".repeat(100_000)}`);
    for (const [i, log] of lines.entries()) {
      const entry = [Math.floor(Date.now() / 1000), { log }];
      await sendMessage(receiver.forward, encode(["bounded", [entry], { chunk: `bounded-${i}` }]));
    }
    const lag = () => worker.metric("weir_sink_lag_bytes");
    const dropped = () => worker.metric("weir_sink_dropped_entries_total");
    // What it knows of the log's end may be of a moment before, and then more is left out.
    let said: readonly [dropped: number, lag: number] = [0, Number.POSITIVE_INFINITY];
    await until(async () => {
      said = [await dropped(), await lag()];
      return said[0] > 40 && said[1] <= 1 << 20;
    });
    expect(said[0]).toBeGreaterThan(40);
    expect(said[1]).toBeLessThanOrEqual(1 << 20);
    expect(await worker.metric("weir_sink_lag_bytes_max")).toBe(1 << 20);
    destination.answers.set("/out", 200);
    const arrived = () => [...destination.byId("/out").values()].toSorted();
    await until(() => arrived().at(-1) === lines.at(-1));
    await until(async () => (await worker.metric("weir_sink_lag_entries")) === 0);
    const sent = arrived();
    console.log(`${sent.length} of ${lines.length} records of 100 kB sent, ${await dropped()} entries left out`);
    expect(sent.slice(-9)).toEqual(lines.slice(-9));
    // The one that was under way was left out by itself, and counts as a record.
    expect(sent.length + (await dropped())).toBeGreaterThanOrEqual(lines.length - 1);
    expect(sent.length).toBeLessThan(20);
    expect(worker.program.stderr).toMatch(/too far behind; left out \d+ entries/);
  });

  test("keep what is refused for good, from several workers, as dead letters", async () => {
    const places = await cluster(2, {
      out: `type: http, url: "${destination.url}/out", batch_age_ms: 20, retry_min_ms: 20`,
    });
    destination.answers.set("/out", 400);
    const receiver = await start(places, "receiver", "r");
    const workers = [await start(places, "worker", "w1"), await start(places, "worker", "w2")];
    for (const worker of workers) await has(worker, 1);
    const agents = Array.from({ length: 4 }, (_, i) => new Agent(`agent-${i}`, `dead.${i}`, () => receiver.forward));
    for (const agent of agents) agent.start();
    await sleep(200);
    const acknowledged = await finish(agents);
    const refused = async () => {
      const counts = await Promise.all(workers.map((worker) => worker.metric("weir_sink_records_total")));
      return counts.reduce((sum, count) => sum + count, 0);
    };
    await until(async () => (await refused()) >= acknowledged.length);
    const shown = async () => {
      const show = new Program(["dead", "show", places.store, "--limit", "1000000", "--output", "json"]);
      expect(await show.exit(), show.stderr).toBe(0);
      const rows = show.stdout.split("\n").filter((row) => row !== "");
      return rows.map((row) => JSON.parse(row) as { id: string; line: string; reason: string });
    };
    let letters = await shown();
    // What was refused by two, because a partition changed hands, counts twice.
    await until(async () => {
      letters = await shown();
      return new Set(letters.map(({ id }) => id)).size >= acknowledged.length;
    });
    const byId = new Map(letters.map(({ id, line }) => [id, line]));
    console.log(`${letters.length} dead letters, with ${byId.size} ids`);
    expectSame([...byId.values()], acknowledged);
    expect(letters[0].reason).toMatch(/400/);
  });
});
