import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Random } from "../random.ts";
import { Agent } from "./agent.ts";
import { type ClusterPlaces, Member } from "./cluster.ts";
import { KAFKA_LIBS, KAFKA_SKIPPED, KafkaServer } from "./kafka-server.ts";
import { committedLines } from "./program.ts";
import { FORMATS } from "./topic-messages.ts";
import { type MessageFormat, TopicWriter } from "./topic-writer.ts";

if (KAFKA_LIBS === "") console.warn(KAFKA_SKIPPED);

const ARRIVAL_MS = 240_000;
/** Short times, so that a member that was killed or paused is missed soon, and so that there are many batches. */
const SHORT =
  "session_timeout_ms: 2000, rebalance_timeout_ms: 2000, request_timeout_ms: 3000, connect_timeout_ms: 2000, linger_ms: 5, batch_messages_max: 40";

describe.skipIf(KAFKA_LIBS === "")("the Kafka receiver over the intake log in Kafka", { timeout: 900_000 }, () => {
  let server: KafkaServer;
  let folder = "";
  let members: Member[] = [];
  let writers: TopicWriter[] = [];
  beforeAll(async () => {
    server = await KafkaServer.start();
  }, 900_000);
  afterAll(() => server.stop());
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-topics-roles-"));
  });
  afterEach(async () => {
    await Promise.all(members.map((member) => (member.program.ended ? null : member.kill())));
    await Promise.all(writers.map((writer) => writer.close()));
    members = [];
    writers = [];
    rmSync(folder, { recursive: true, force: true });
  });

  const start = async (...[places, role, name, whenReady]: Parameters<typeof Member.start>) => {
    const member = await Member.start(places, role, name, whenReady);
    members.push(member);
    return member;
  };
  const writer = async (topic: string, partitions: number, format: MessageFormat) => {
    await server.createTopic(topic, partitions);
    const one = await TopicWriter.open(server.addresses, topic, partitions, format);
    writers.push(one);
    return one;
  };
  const receiver = (topic: string, format: string, more = SHORT) =>
    `${topic}: { type: kafka, brokers: [${server.addresses.map((one) => JSON.stringify(one)).join(", ")}], topics: [${topic}], group: from-${topic}, format: ${format}, ${more} }`;
  const cluster = async (topic: string, more: Partial<ClusterPlaces>, config = {}): Promise<ClusterPlaces> => {
    await server.createTopic(topic, 2, config);
    return { folder, brokers: server.addresses, topic, store: path.join(folder, "store"), ...more };
  };

  /** Waits until a querier has as many lines of the topic as were written, and some more for one too many; says what is wrong. */
  const expectAll = async (querier: Member, { lines }: TopicWriter, topic: string, note = "") => {
    let got: string[] = [];
    for (const until = Date.now() + ARRIVAL_MS; got.length < lines.length && Date.now() < until; ) {
      got = await committedLines(querier.http, `{tag="${topic}"}`);
      await sleep(100);
    }
    await sleep(1500);
    got = await committedLines(querier.http, `{tag="${topic}"}`);
    const seen = new Set(got);
    const twice = got.toSorted().filter((line, i, sorted) => line === sorted[i - 1]);
    const missing = lines.filter((line) => !seen.has(line));
    const wrong = { missing: missing.slice(0, 5), twice: twice.slice(0, 5), lines: got.length };
    expect(wrong, `${topic} ${note}`).toEqual({ missing: [], twice: [], lines: lines.length });
    expect(got.toSorted()).toEqual(lines.toSorted());
  };

  test("stores every format, in batches that are larger than the intake topic takes at once", async () => {
    const topics = Object.entries(FORMATS);
    const receivers = topics.map(([name, { format }]) => receiver(name, format, "linger_ms: 500"));
    const places = await cluster("formats", { receivers }, { "max.message.bytes": "20000" });
    const written: TopicWriter[] = [];
    for (const [name, format] of topics) written.push(await writer(name, 2, format));
    for (const one of written) await one.write(600, (n) => `n ${n} ${"x".repeat((n * 37) % 400)}`);
    const from = await start(places, "receiver", "r");
    await start(places, "worker", "w");
    const querier = await start(places, "querier", "q");
    for (const [i, [name]] of topics.entries()) await expectAll(querier, written[i], name);
    const counted = () => from.metric("weir_topic_messages_total");
    await expect.poll(counted).toBeGreaterThanOrEqual(600 * topics.length);
    expect(await counted()).toBe(600 * topics.length);
    const rows = await rowsOf(querier, '{tag="otlp_proto",service_name="shop"} | kafka_header_place="7"');
    expect(rows).toEqual([written[4].lines[7]]);
    expect(await from.kill("SIGTERM")).toBe(0);
  });

  test("stores each message once over receivers that are killed and paused, and over a broker that ends", async () => {
    const random = new Random();
    const formats = { killed: FORMATS.raw, killed_otlp: FORMATS.otlp_proto };
    const topics = Object.entries(formats);
    const places = await cluster("killed-intake", {
      receivers: topics.map(([name, { format }]) => receiver(name, format)),
    });
    const written: TopicWriter[] = [];
    for (const [name, format] of topics) written.push(await writer(name, 3, format));
    await start(places, "worker", "w");
    const querier = await start(places, "querier", "q");
    let receivers = [await start(places, "receiver", "r0"), await start(places, "receiver", "r1")];
    for (const one of written) one.flow(20, 25);
    let takenOver = 0;
    // One that is killed comes back at once, when others have its partitions, or not before they have.
    for (let round = 0; round < 6; round++) {
      await sleep(500 + random.below(2500));
      const which = random.below(2);
      await receivers[which].kill();
      takenOver += await standing("killed", "killed_otlp");
      await sleep([0, 0, 3000, 6000][random.below(4)]);
      receivers[which] = await start(places, "receiver", `r${which}-${round}`);
    }
    for (let round = 0; round < 3; round++) {
      const one = receivers[random.below(2)];
      one.pause();
      await sleep([1000, 5000, 9000][random.below(3)] + random.below(1000));
      one.resume();
      await sleep(1000 + random.below(2000));
    }
    // What the writers get no answer for could stand there twice, so they wait; there is enough to do.
    for (const one of written) await one.pause();
    for (const one of written) await one.write(2000);
    await server.brokers[0].kill();
    await sleep(500 + random.below(1500));
    server.brokers[0].start();
    await server.whenUp();
    await sleep(random.below(2000));
    await receivers[0].kill();
    receivers = [receivers[1], await start(places, "receiver", "r-last", false)];
    const note = `WEIR_TEST_SEED=${random.seed}`;
    for (const [i, [name]] of topics.entries()) await expectAll(querier, written[i], name, note);
    const count = written.reduce((sum, { lines }) => sum + lines.length, 0);
    console.log(`${count} messages; ${takenOver} batches were under way when their process was killed; ${note}`);
    for (const one of receivers) {
      await one.whenReady();
      expect(await one.kill("SIGTERM")).toBe(0);
    }
  });

  test("knows a batch whose process comes back much later, when the window of repeats is long past it", async () => {
    const random = new Random();
    const places = await cluster("late-intake", {
      receivers: [receiver("late", "line")],
      intake: `session_timeout_ms: 3000, handover_timeout_ms: 4000, repeat_window_entries: 8`,
    });
    const written = await writer("late", 2, FORMATS.raw);
    let worker = await start(places, "worker", "w");
    const querier = await start(places, "querier", "q");
    // Others go on meanwhile.
    const others = await start({ ...places, folder: subfolder(), receivers: [] }, "receiver", "others");
    const agents = Array.from({ length: 6 }, (_, i) => new Agent(`agent-${i}`, `noise.${i}`, () => others.forward));
    for (const agent of agents) agent.start();
    written.flow(20, 20);
    let underWay = 0;
    for (let round = 0; round < 5; round++) {
      const one = await start(places, "receiver", `r${round}`);
      await sleep(1500 + random.below(1500));
      await one.kill();
      underWay += await standing("late");
      if (round === 2) {
        await worker.kill();
        worker = await start(places, "worker", "w");
      }
      // Its session ends, and many entries come.
      await sleep(2500);
    }
    await written.pause();
    await Promise.all(agents.map((agent) => agent.finish()));
    await start(places, "receiver", "last");
    const note = `WEIR_TEST_SEED=${random.seed}`;
    await expectAll(querier, written, "late", note);
    console.log(
      `${written.lines.length} messages; ${underWay} batches were under way when their process was killed; ${note}`,
    );
  });

  /** Batches that are declared, and not said to be in the intake log. */
  async function standing(...topics: readonly string[]): Promise<number> {
    const found = await Promise.all(
      topics.map((topic) => server.admin((admin) => admin.fetchOffsets({ groupId: `from-${topic}`, topics: [topic] }))),
    );
    return found.flat().flatMap(({ partitions }) => partitions.filter(({ metadata }) => (metadata ?? "") !== ""))
      .length;
  }

  const subfolder = () => mkdtempSync(path.join(folder, "other-"));
});

async function rowsOf(querier: Member, query: string): Promise<string[]> {
  return committedLines(querier.http, query);
}
