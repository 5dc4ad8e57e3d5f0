import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { openKafkaClient } from "../../src/kafka/client.ts";
import { kafkaConnection } from "../../src/kafka/options.ts";
import { KafkaProducer } from "../../src/kafka/producer.ts";
import { startTopics, type TopicReceiver } from "../../src/topics/receiver.ts";
import { Random } from "../random.ts";
import { FakeIntake, until } from "../topics/fake-kafka.ts";
import { limits, optionsOf } from "../topics/support.ts";
import { KAFKA_LIBS, KAFKA_PASSWORD, KAFKA_SKIPPED, KAFKA_USER, KafkaServer } from "./kafka-server.ts";
import { Program } from "./program.ts";

if (KAFKA_LIBS === "") console.warn(KAFKA_SKIPPED);

const byNumber = (a: string, b: string) => Number(a) - Number(b);
const numbers = (below: number) => Array.from({ length: below }, (_, i) => String(i));

describe.skipIf(KAFKA_LIBS === "")("the Kafka receiver", { timeout: 900_000 }, () => {
  let server: KafkaServer;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-topics-"));
    server = await KafkaServer.start({ sasl: true, tls: true });
  }, 900_000);
  afterAll(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Writes texts to partitions by turns, each until Kafka has it; a repeat of a send that got no answer would be a message of its own. */
  async function writer(topic: string, partitions: number) {
    const connection = kafkaConnection.parse({
      brokers: server.addresses,
      request_timeout_ms: 120_000,
      connect_timeout_ms: 60_000,
    });
    const client = await openKafkaClient(connection, silentLogger);
    const producer = new KafkaProducer({ client, compression: "gzip", timeoutMs: 120_000, log: silentLogger });
    let sent = 0;
    return {
      get sent() {
        return sent;
      },
      write: async (count: number, text: (n: number) => string = String) => {
        await producer.send(
          Array.from({ length: count }, (_, i) => ({
            ...{ topic, partition: (sent + i) % partitions, key: `k${sent + i}`, headers: { h: "x" } },
            value: Buffer.from(text(sent + i)),
          })),
        );
        sent += count;
      },
      close: () => producer.close(),
    };
  }

  const startIn = (name: string, intake: FakeIntake, more: object): Promise<TopicReceiver> =>
    startTopics(
      optionsOf({
        ...{ brokers: server.addresses, format: "line", linger_ms: 10, metadata: [] },
        // Of logs that know nothing of each other, each must not lose its partitions for being slow.
        ...{
          session_timeout_ms: 15_000,
          rebalance_timeout_ms: 15_000,
          request_timeout_ms: 15_000,
          connect_timeout_ms: 15_000,
        },
        ...more,
      }),
      { name, intake, limits, metrics: new Metrics(), log: silentLogger },
    );

  test("two in one group share a topic, hand partitions over, and store each message once between them", async () => {
    await server.createTopic("shared", 4);
    const to = await writer("shared", 4);
    const intakes = [new FakeIntake(), new FakeIntake(), new FakeIntake()];
    const all = () => intakes.flatMap(({ lines }) => lines);
    const options = { topics: ["shared"], group: "shared", batch_messages_max: 20 };
    let writing = true;
    const flow = (async () => {
      while (writing) await to.write(37);
    })();
    const first = await startIn("first", intakes[0], options);
    await until(() => intakes[0].lines.length > 200);
    const second = await startIn("second", intakes[1], options);
    await until(() => intakes[1].lines.length > 200);
    await first.close();
    const third = await startIn("third", intakes[2], options);
    await until(() => intakes[2].lines.length > 200);
    await second.close();
    writing = false;
    await flow;
    await until(() => all().length >= to.sent);
    await third.close();
    expect(all().sort(byNumber)).toEqual(numbers(to.sent));
    const committed = await server.admin((admin) => admin.fetchOffsets({ groupId: "shared", topics: ["shared"] }));
    const offsets = committed[0].partitions.map(({ offset }) => Number(offset));
    expect(offsets.reduce((sum, offset) => sum + offset, 0)).toBe(to.sent);
    await to.close();
  });

  test("keeps its place in the group while the intake log is full, however long", async () => {
    await server.createTopic("full", 2);
    const to = await writer("full", 2);
    await to.write(500);
    const intake = new FakeIntake();
    intake.trouble = new WeirError("intake_full", "the intake log is full", { retriable: true });
    const receiver = await startIn("in", intake, {
      ...{ topics: ["full"], group: "full", partition_bytes_max: 65_536, session_timeout_ms: 8000 },
    });
    await until(() => intake.appends > 0);
    const membersOf = async () => {
      const { groups } = await server.admin((admin) => admin.describeGroups(["full"]));
      return groups[0].members.map(({ memberId }) => memberId);
    };
    const members = await membersOf();
    expect(members).toHaveLength(1);
    await to.write(2000, (n) => String(n));
    await sleep(12_000); // Half as long again as the session lasts.
    expect(await membersOf()).toEqual(members);
    expect(intake.lines).toEqual([]);
    intake.mend();
    await until(() => intake.lines.length >= to.sent);
    await receiver.close();
    expect([...intake.lines].sort(byNumber)).toEqual(numbers(to.sent));
    await to.close();
  });

  test("logs in by SCRAM over TLS", async () => {
    await server.createTopic("secret", 1);
    const to = await writer("secret", 1);
    await to.write(10);
    const intake = new FakeIntake();
    const receiver = await startIn("in", intake, {
      brokers: server.saslTlsAddresses,
      tls: { ca_file: server.caFile },
      sasl: { mechanism: "scram-sha-512", username: KAFKA_USER, password: KAFKA_PASSWORD },
      topics: ["secret"],
      group: "secret",
    });
    await until(() => intake.lines.length === 10);
    await until(() => receiver.trouble === "");
    await receiver.close();
    await to.close();
  });

  test("says what is wrong while it can't read, and reads when it can", async () => {
    const intake = new FakeIntake();
    const receiver = await startIn("in", intake, { topics: ["later"], group: "later" });
    await until(() => receiver.trouble.includes("group later") && !receiver.trouble.includes("not joined"));
    await server.createTopic("later", 1);
    const to = await writer("later", 1);
    await to.write(5);
    await until(() => intake.lines.length === 5);
    await until(() => receiver.trouble === "");
    await receiver.close();
    await to.close();
  });

  test("each message is in the store once, though Weir and the broker are killed again and again", async () => {
    const random = new Random();
    await server.createTopic("killed", 3);
    const pipeline = path.join(folder, "killed.yaml");
    writeFileSync(
      pipeline,
      JSON.stringify({
        receivers: {
          forward: { type: "forward", listen: ["tcp://127.0.0.1:0"] },
          topic: {
            ...{ type: "kafka", brokers: server.addresses, topics: ["killed"], group: "killed", tag: "kafka.{topic}" },
            ...{ session_timeout_ms: 2000, rebalance_timeout_ms: 2000, linger_ms: 5, batch_messages_max: 50 },
            ...{ request_timeout_ms: 3000, connect_timeout_ms: 2000, metadata: ["key"] },
          },
        },
        // A few ids are remembered, so that it is the lane that knows repeats.
        intake: { seen_ids_max: 1 },
        pipelines: { all: { from: "topic", match: "kafka.*", steps: [{ labels: { job: "$tag" } }] } },
      }),
    );
    const data = path.join(folder, "killed");
    const to = await writer("killed", 3);
    const text = (n: number) => (n % 10 === 9 ? `not json ${n}` : JSON.stringify({ message: `line ${n}` }));
    let writing = true;
    const flow = (async () => {
      while (writing) {
        await to.write(40, text);
        await sleep(20);
      }
    })();
    for (let round = 0; round < 4; round++) {
      const program = await Program.run(pipeline, data);
      await sleep(2500 + random.below(2500));
      await program.kill();
    }
    writing = false;
    await flow;
    const program = await Program.run(pipeline, data);
    await sleep(1000 + random.below(1500));
    await server.brokers[0].kill();
    await sleep(500);
    server.brokers[0].start();
    await server.whenUp();
    await untilTrue(async () => (await committedOf("killed")) === to.sent);
    const lines = await program.lines('{job="kafka.killed"}', to.sent);
    const ids = lines.map((line) => String(Number(line.replace(/\D/g, "")))).sort(byNumber);
    expect(ids.length, `seed ${random.seed}`).toBe(to.sent);
    expect(ids).toEqual(numbers(to.sent));
    // What is not of the format is there as it came, with the reason.
    const unreadable = await program.lines('{job="kafka.killed"} | kafka_error != ""');
    expect(unreadable.length).toBe(Math.floor(to.sent / 10));
    expect(unreadable.every((line) => line.startsWith("not json "))).toBe(true);
    // What the metrics say is of a moment before, when the group may still have been away from the broker.
    const metrics = async () => (await fetch(`${program.http}/metrics`)).text();
    await untilTrue(async () => /^weir_topic_up\{receiver="topic"\} 1$/m.test(await metrics()));
    const lag = /^weir_topic_lag_messages\{receiver="topic",topic="killed",partition="\d"\} (\d+)$/gm;
    await untilTrue(async () => {
      const lags = [...(await metrics()).matchAll(lag)].map((found) => found[1]);
      return lags.length === 3 && lags.every((messages) => messages === "0");
    });
    expect(await program.kill("SIGTERM")).toBe(0);
    await to.close();
  });

  /** The sum over a topic's partitions, where nothing is under way. */
  async function committedOf(topic: string): Promise<number> {
    const found = await server.admin((admin) => admin.fetchOffsets({ groupId: topic, topics: [topic] }));
    return found[0].partitions.reduce(
      (sum, { offset, metadata }) => sum + ((metadata ?? "") === "" ? Number(offset) : Number.NaN),
      0,
    );
  }
});

async function untilTrue(what: () => Promise<boolean>): Promise<void> {
  while (!(await what().catch(() => false))) await sleep(100);
}
