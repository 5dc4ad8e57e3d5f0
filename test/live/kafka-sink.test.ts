import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import kafka from "../../sinks/kafka.ts";
import { silentLogger } from "../../src/core/log.ts";
import type { RecordSink } from "../../src/core/sink.ts";
import { openKafkaClient } from "../../src/kafka/client.ts";
import type { KafkaMessage } from "../../src/kafka/feed.ts";
import { KafkaGroup } from "../../src/kafka/group.ts";
import { kafkaConnection } from "../../src/kafka/options.ts";
import { partitionOfKey } from "../../src/kafka/producer.ts";
import { record, recordSinkContract, records } from "../contract/sinks.ts";
import { deps } from "../sinks/destinations.ts";
import { KAFKA_LIBS, KAFKA_PASSWORD, KAFKA_SKIPPED, KAFKA_USER, KafkaServer } from "./kafka-server.ts";

if (KAFKA_LIBS === "") console.warn(KAFKA_SKIPPED);

const NEVER = new AbortController().signal;
/** Longer than anything takes on a machine that has other work. */
const PATIENT = { request_timeout_ms: 30_000, connect_timeout_ms: 30_000 };

describe.skipIf(KAFKA_LIBS === "")("the Kafka sink", { timeout: 900_000 }, () => {
  let server: KafkaServer;
  let topics = 0;
  beforeAll(async () => {
    server = await KafkaServer.start({ sasl: true });
  }, 900_000);
  afterAll(() => server.stop());

  const open = (more: object): RecordSink =>
    kafka.open(
      kafka.options.parse({
        brokers: server.addresses,
        ...PATIENT,
        ...more,
      }),
      deps(),
    );

  /** All messages of a topic, partition after partition. */
  async function read(topic: string): Promise<(KafkaMessage & { partition: number })[]> {
    const offsets = await server.admin((admin) => admin.fetchTopicOffsets(topic));
    const wanted = offsets.reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0);
    const found: (KafkaMessage & { partition: number })[] = [];
    const group = new KafkaGroup(
      {
        ...{ group: `look-${topics++}`, topics: [topic], sessionTimeoutMs: 15_000, rebalanceTimeoutMs: 15_000 },
        ...{ fetchBytes: 1 << 20, feedBytesMax: 16 << 20 },
      },
      {
        client: await openKafkaClient(kafkaConnection.parse({ brokers: server.addresses, ...PATIENT }), silentLogger),
        log: silentLogger,
        onGained: (feeds) => {
          for (const feed of feeds) feed.seek(0);
        },
        onLost: () => {},
      },
    );
    group.start();
    while (found.length < wanted) {
      for (const feed of group.assigned) {
        for (let one = feed.poll(); one !== null; one = feed.poll()) found.push({ ...one, partition: feed.partition });
      }
      await sleep(10);
    }
    await group.stop();
    return found.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
  }

  recordSinkContract(
    "kafka",
    async () => {
      const topic = `contract-${topics++}`;
      // As large as the largest record of the contract.
      await server.createTopic(topic, 1, { "max.message.bytes": "8000000" });
      return {
        sink: open({ topic, form: "line", compression: "none" }),
        taken: async () => (await read(topic)).map(({ value }) => value ?? Buffer.from("no value")),
        away: () => server.brokers[0].kill(),
        back: async () => {
          server.brokers[0].start();
          await server.whenUp();
        },
        hang: () => server.brokers[0].pause(),
        close: async () => server.brokers[0].resume(),
      };
    },
    {},
  );

  test("topic, key, headers and time are as they are asked for", async () => {
    await server.createTopic("logs-web", 3);
    await server.createTopic("logs-a_b", 3);
    const sink = open({
      topic: "logs-{app}",
      key: "{app}/{n}",
      headers: { tenant: "{tenant}", day: "{+yyyy-MM-dd}" },
      timestamp: "record",
    });
    const batch = [
      record(0, "one", { app: "web", n: "1" }),
      record(1, "two", { app: "web", n: "2" }),
      record(2, "three", { app: "a/b", n: "1" }),
    ];
    expect(await sink.write(batch, NEVER)).toEqual({ failed: [] });
    const web = await read("logs-web");
    expect(web.map(({ value }) => (JSON.parse(String(value)) as { line: string }).line).sort()).toEqual(["one", "two"]);
    for (const { key, partition, headers, timestampMs } of web) {
      expect(partition).toBe(partitionOfKey(String(key), 3));
      expect(headers).toMatchObject({ tenant: Buffer.from("fake"), day: Buffer.from("2023-11-14") });
      expect(timestampMs).toBe(String(key) === "web/1" ? 1_700_000_000_000 : 1_700_000_001_000);
    }
    expect(web.map(({ headers }) => String(headers.weir_id)).sort()).toEqual(["0-7-0", "0-7-1"]);
    expect(String((await read("logs-a_b"))[0].key)).toBe("a/b/1");
    await sink.close();
  });

  test("a record that the broker finds too large goes to the dead letters with its words, and no other is sent twice", async () => {
    await server.createTopic("small", 1, { "max.message.bytes": "3000" });
    const sink = open({ topic: "small", form: "line", compression: "none" });
    const lines = Array.from({ length: 40 }, (_, i) => (i === 13 ? "x".repeat(5000) : `${i} ${"y".repeat(200)}`));
    const { failed } = await sink.write(records(lines), NEVER);
    expect(failed).toEqual([
      {
        position: 13,
        retriable: false,
        reason: expect.stringMatching(/takes no batch of that size \((MESSAGE|RECORD_LIST)_TOO_LARGE\)/),
      },
    ]);
    expect((await read("small")).map(({ value }) => String(value))).toEqual(lines.filter((_, i) => i !== 13));
    await sink.close();
  });

  test("a timestamp that the broker refuses is that record's alone", async () => {
    await server.createTopic("clock", 1, { "message.timestamp.after.max.ms": "1000" });
    const sink = open({ topic: "clock", form: "line", timestamp: "record" });
    const batch = records(["a", "b", "c"]);
    const { failed } = await sink.write([batch[0], { ...batch[1], sec: 4_000_000_000 }, batch[2]], NEVER);
    expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([[1, false]]);
    expect([...new Set((await read("clock")).map(({ value }) => String(value)))].sort()).toEqual(["a", "c"]);
    await sink.close();
  });

  test("a name that no topic can have is refused; a topic that is not there is waited for and holds up no other", async () => {
    await server.createTopic("there", 1);
    const sink = open({ topic: "{app}", form: "line" });
    const batch = [
      record(0, "a", { app: "x".repeat(300) }),
      record(1, "b", { app: "not-there" }),
      record(2, "c", { app: "there" }),
    ];
    const { failed } = await sink.write(batch, NEVER);
    expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([
      [0, false],
      [1, true],
    ]);
    expect(failed[0].reason).toMatch(/is no name of a topic/);
    expect(failed[1].reason).toMatch(/no topic not-there: create it/);
    expect((await read("there")).map(({ value }) => String(value))).toEqual(["c"]);
    await sink.close();
  });

  test("a compacted topic takes no record without a key, which is said of each; others go on", async () => {
    await server.createTopic("compact", 1, { "cleanup.policy": "compact" });
    await server.createTopic("not-compact", 1);
    const sink = open({ topic: "{app}", form: "line" });
    const batch = [record(0, "a", { app: "compact" }), record(1, "b", { app: "not-compact" })];
    const reason = "topic compact is compacted (cleanup.policy), and takes no record without a key: set `key`";
    expect(await sink.write(batch, NEVER)).toEqual({ failed: [{ position: 0, retriable: false, reason }] });
    expect((await read("not-compact")).map(({ value }) => String(value))).toEqual(["b"]);
    await sink.close();
    const keyed = open({ topic: "{app}", key: "{app}", form: "line" });
    expect(await keyed.write([record(2, "", { app: "compact" })], NEVER)).toEqual({ failed: [] });
    // An empty line is no tombstone.
    expect((await read("compact")).map(({ key, value }) => [String(key), value?.length])).toEqual([["compact", 0]]);
    await keyed.close();
  });

  test("a topic that was made anew with fewer partitions gets everything all the same", async () => {
    const topic = "anew";
    const sink = open({ topic, key: "{n}", form: "line" });
    const batch = Array.from({ length: 40 }, (_, i) => record(i, `line ${i}`, { n: String(i) }));
    for (const count of [8, 2]) {
      await server.createTopic(topic, count);
      let rest = batch;
      while (rest.length > 0) {
        const { failed } = await sink.write(rest, NEVER);
        expect(failed.filter(({ retriable }) => !retriable)).toEqual([]);
        rest = failed.map(({ position }) => rest[position]);
        if (rest.length > 0) await sleep(100);
      }
      const got = await read(topic);
      expect(new Set(got.map(({ value }) => String(value))).size).toBe(40);
      for (const { key, partition } of got) expect(partition).toBe(partitionOfKey(String(key), count));
      await server.deleteTopic(topic);
    }
    await sink.close();
  });

  test("a topic is made where brokers make them by themselves", async () => {
    const generous = await KafkaServer.start({ properties: { "auto.create.topics.enable": "true" } });
    const sink = open({ brokers: generous.addresses, topic: "made", form: "line" });
    for (;;) {
      const { failed } = await sink.write(records(["a"]), NEVER);
      if (failed.length === 0) break;
      await sleep(200);
    }
    const offsets = await generous.admin((admin) => admin.fetchTopicOffsets("made"));
    expect(offsets.map(({ high }) => high)).toEqual(["1"]);
    await sink.close();
    await generous.stop();
  });

  test.each(["plain", "scram-sha-512"])("logs in by %s, and says it when it may not", async (mechanism) => {
    await server.createTopic(`login-${mechanism}`, 1);
    const login = (password: string) =>
      open({
        ...{ brokers: server.saslAddresses, topic: `login-${mechanism}`, form: "line" },
        sasl: { mechanism, username: KAFKA_USER, password },
      });
    const sink = login(KAFKA_PASSWORD);
    expect(await sink.write(records(["a"]), NEVER)).toEqual({ failed: [] });
    await sink.close();
    const stranger = login("wrong");
    await expect(stranger.write(records(["b"]), NEVER)).rejects.toMatchObject({ code: "kafka_login", retriable: true });
    await stranger.close();
  });
});
