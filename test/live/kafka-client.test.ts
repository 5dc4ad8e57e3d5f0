import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { KafkaAdmin, OFFSET_EARLIEST } from "../../src/kafka/admin.ts";
import { openKafkaClient } from "../../src/kafka/client.ts";
import type { KafkaFeed, KafkaMessage } from "../../src/kafka/feed.ts";
import { KafkaGroup } from "../../src/kafka/group.ts";
import { kafkaConnection } from "../../src/kafka/options.ts";
import { KafkaProducer, partitionOfKey } from "../../src/kafka/producer.ts";
import { KAFKA_LIBS, KAFKA_PASSWORD, KAFKA_SKIPPED, KAFKA_USER, KafkaServer } from "./kafka-server.ts";

if (KAFKA_LIBS === "") console.warn(KAFKA_SKIPPED);

const log = silentLogger;
/** Longer than anything takes on a machine that has other work: what is tested here is not how long a request may take. */
const REQUEST_MS = 30_000;
const PATIENT = { request_timeout_ms: REQUEST_MS, connect_timeout_ms: REQUEST_MS };
const SESSION_MS = 15_000;

describe.skipIf(KAFKA_LIBS === "")("the Kafka client", { timeout: 300_000 }, () => {
  let server: KafkaServer;
  beforeAll(async () => {
    server = await KafkaServer.start({ sasl: true, tls: true });
  }, 900_000);
  afterAll(() => server.stop());

  const client = (more: object = {}) =>
    openKafkaClient(kafkaConnection.parse({ brokers: server.addresses, ...PATIENT, ...more }), log);

  const producerOf = async (compression: "none" | "gzip" | "snappy" = "none", more: object = {}) =>
    new KafkaProducer({ client: await client(more), compression, timeoutMs: REQUEST_MS, log });

  /** A member that collects what it reads. */
  const collector = async (topic: string, group: string, feedBytesMax = 1 << 20) => {
    const read: { partition: number; message: KafkaMessage }[] = [];
    const gained: number[] = [];
    const lost: number[] = [];
    const follow = async (feed: KafkaFeed) => {
      while (!feed.isLost) {
        const message = feed.poll();
        if (message === null) await feed.wait();
        else read.push({ partition: feed.partition, message });
      }
    };
    const member = new KafkaGroup(
      {
        group,
        topics: [topic],
        sessionTimeoutMs: SESSION_MS,
        rebalanceTimeoutMs: SESSION_MS,
        fetchBytes: 1 << 20,
        feedBytesMax,
      },
      {
        client: await client(),
        log,
        onGained: (feeds) => {
          for (const feed of feeds) {
            gained.push(feed.partition);
            feed.seek(0);
            void follow(feed);
          }
        },
        onLost: (feeds) => lost.push(...feeds.map(({ partition }) => partition)),
      },
    );
    member.start();
    return { member, read, gained, lost };
  };

  const until = async (what: () => boolean | Promise<boolean>) => {
    while (!(await what())) await sleep(20);
  };

  test.each(["none", "gzip", "snappy"] as const)("writes and reads back, byte for byte: %s", async (compression) => {
    const topic = `bytes-${compression}`;
    await server.createTopic(topic, 2);
    const producer = await producerOf(compression);
    const values = Array.from({ length: 200 }, (_, i) => Buffer.from(`line ${i} ${"x".repeat(i * 7)}\u0000\uffff`));
    const offsets = await producer.send(
      values.map((value, i) => ({
        topic,
        partition: i % 2,
        key: `key-${i % 2}`,
        value,
        headers: { n: Buffer.from([i, 0, 255]) },
        timestampMs: 1_700_000_000_000 + i,
      })),
    );
    expect([...offsets].toSorted()).toEqual([
      [`${topic}/0`, 0],
      [`${topic}/1`, 0],
    ]);
    expect(
      (await producer.send([{ topic, partition: 1, key: null, value: null, headers: {} }])).get(`${topic}/1`),
    ).toBe(100);
    const { member, read } = await collector(topic, `group-${compression}`);
    await until(() => read.length === 201);
    for (const partition of [0, 1]) {
      const messages = read.filter((one) => one.partition === partition).map(({ message }) => message);
      for (const [i, { offset, value, headers, timestampMs, key }] of messages.entries()) {
        expect(offset).toBe(i);
        const n = i * 2 + partition;
        if (n > 200) expect({ key, value }).toEqual({ key: null, value: null });
        else {
          expect(value).toEqual(values[n]);
          expect(headers).toEqual({ n: Buffer.from([n, 0, 255]) });
          expect(String(key)).toBe(`key-${partition}`);
          expect(timestampMs).toBe(1_700_000_000_000 + n);
        }
      }
    }
    await member.stop();
    await producer.close();
  });

  test("stops reading a partition whose records nobody takes, and goes on when they are taken", async () => {
    await server.createTopic("slow", 1);
    const producer = await producerOf();
    const value = Buffer.alloc(50_000, "a");
    for (let i = 0; i < 20; i++)
      await producer.send(
        Array.from({ length: 10 }, () => ({ topic: "slow", partition: 0, key: null, value, headers: {} })),
      );
    let feed: KafkaFeed | null = null;
    const member = new KafkaGroup(
      {
        group: "slow",
        topics: ["slow"],
        sessionTimeoutMs: SESSION_MS,
        rebalanceTimeoutMs: SESSION_MS,
        fetchBytes: 200_000,
        feedBytesMax: 300_000,
      },
      {
        client: await client(),
        log,
        onGained: ([gained]) => {
          feed = gained;
          gained.seek(5);
        },
        onLost: () => {},
      },
    );
    member.start();
    const fed = () => feed as unknown as KafkaFeed;
    await until(() => feed !== null && fed().fetchOffset > 5);
    await sleep(1500);
    // A batch of 10 comes whole.
    expect(fed().fetchOffset).toBeLessThanOrEqual(5 + 20);
    for (let offset = 5; offset < 200; ) {
      const message = fed().poll();
      if (message === null) await fed().wait();
      else expect(message.offset).toBe(offset++);
    }
    expect(fed().highWatermark).toBe(200);
    await member.stop();
    await producer.close();
  });

  test("tells about topics, and that one is not there", async () => {
    await server.createTopic("told", 3, { "max.message.bytes": "123456", "cleanup.policy": "compact" });
    const admin = new KafkaAdmin(await client());
    expect(await admin.topic("told")).toEqual({ partitions: 3, messageBytesMax: 123_456, isCompacted: true });
    expect(await admin.offsets("told")).toEqual([0, 1, 2].map((partition) => ({ partition, low: 0, high: 0 })));
    await expect(admin.topic("untold")).rejects.toMatchObject({ code: "kafka_no_topic" });
    await admin.close();
  });

  test("refuses a batch that is too large, and goes on after it", async () => {
    await server.createTopic("small", 1, { "max.message.bytes": "2000" });
    const producer = await producerOf();
    const record = (bytes: number) => ({
      topic: "small",
      partition: 0,
      key: null,
      value: Buffer.alloc(bytes),
      headers: {},
    });
    await expect(producer.send([record(5000)])).rejects.toMatchObject({ code: "kafka_too_large", retriable: false });
    expect(await producer.send([record(1000)])).toEqual(new Map([["small/0", 0]]));
    await producer.close();
  });

  test("shares partitions with a second member, keeps what it keeps, and gets all when that leaves", async () => {
    await server.createTopic("shared", 4);
    const producer = await producerOf();
    const first = await collector("shared", "shared");
    await until(() => first.gained.length === 4);
    const second = await collector("shared", "shared");
    await until(() => second.gained.length === 2 && first.lost.length === 2);
    expect([...second.gained].sort()).toEqual([...first.lost].sort());
    await producer.send(
      [0, 1, 2, 3].map((partition) => ({
        topic: "shared",
        partition,
        key: null,
        value: Buffer.from("a"),
        headers: {},
      })),
    );
    await until(() => first.read.length + second.read.length === 4);
    expect(first.read.map(({ partition }) => partition).sort()).toEqual(
      [0, 1, 2, 3].filter((p) => !first.lost.includes(p)),
    );
    const admin = new KafkaAdmin(await client());
    expect(await admin.members("shared")).toEqual(new Set([first.member.memberId, second.member.memberId]));
    await first.member.commit({ topic: "shared", partition: 1 }, 1, "said");
    expect((await admin.committed("shared", "shared"))[1]).toEqual({ partition: 1, offset: 1, metadata: "said" });
    await first.member.commitSurely({ topic: "shared", partition: 1 }, 2, "surely");
    const kept = { partition: 1, offset: 2, metadata: "surely" };
    expect((await admin.committed("shared", "shared"))[1]).toEqual(kept);
    // What was begun before the second one came, and comes late.
    Reflect.set(first.member, "generation", 1);
    const late = first.member.commitSurely({ topic: "shared", partition: 1 }, 1, "late");
    await expect(late).rejects.toMatchObject({ code: "kafka_unavailable", context: { type: "ILLEGAL_GENERATION" } });
    expect((await admin.committed("shared", "shared"))[1]).toEqual(kept);
    await second.member.stop();
    await until(() => first.gained.length === 6);
    await admin.close();
    await first.member.stop();
    await producer.close();
  });

  test.each([
    {
      name: "PLAIN",
      at: "sasl",
      more: { sasl: { mechanism: "plain", username: KAFKA_USER, password: KAFKA_PASSWORD } },
    },
    {
      name: "SCRAM-SHA-256",
      at: "sasl",
      more: { sasl: { mechanism: "scram-sha-256", username: KAFKA_USER, password: KAFKA_PASSWORD } },
    },
    {
      name: "SCRAM-SHA-512",
      at: "sasl",
      more: { sasl: { mechanism: "scram-sha-512", username: KAFKA_USER, password: KAFKA_PASSWORD } },
    },
    { name: "TLS", at: "tls", more: {} },
  ])("logs in by $name", async ({ name, at, more }) => {
    const topic = `login-${name.toLowerCase()}`;
    await server.createTopic(topic, 1);
    const where =
      at === "tls"
        ? { brokers: server.tlsAddresses, tls: { ca_file: server.caFile } }
        : { brokers: server.saslAddresses, ...more };
    const producer = await producerOf("gzip", where);
    const sent = await producer.send([{ topic, partition: 0, key: null, value: Buffer.from("in"), headers: {} }]);
    expect(sent.get(`${topic}/0`)).toBe(0);
    await producer.close();
    const admin = new KafkaAdmin(await client(where));
    expect((await admin.offsets(topic))[0]).toEqual({ partition: 0, low: 0, high: 1 });
    await admin.close();
  });

  test.each([
    {
      name: "a wrong password",
      more: { sasl: { mechanism: "scram-sha-256", username: KAFKA_USER, password: "no" } },
      at: "sasl",
      code: "kafka_login",
    },
    { name: "a certificate that nobody knows", more: { tls: {} }, at: "tls", code: "kafka_unavailable" },
  ])("says it for $name", async ({ more, at, code }) => {
    const brokers = at === "tls" ? server.tlsAddresses : server.saslAddresses;
    const admin = new KafkaAdmin(await client({ brokers, ...more }));
    await expect(admin.topic("told")).rejects.toMatchObject({ code });
    await admin.close();
  });

  test("goes on by itself when the broker was away: writing, asking and reading", async () => {
    await server.createTopic("away", 1);
    const producer = await producerOf("gzip");
    const admin = new KafkaAdmin(await client());
    const { member, read } = await collector("away", "away");
    const record = (text: string) => ({
      topic: "away",
      partition: 0,
      key: null,
      value: Buffer.from(text),
      headers: {},
    });
    await producer.send([record("before")]);
    await until(() => read.length === 1);
    await server.brokers[0].kill();
    await expect(producer.send([record("lost")])).rejects.toMatchObject({ retriable: true });
    await expect(admin.offsets("away")).rejects.toMatchObject({ code: "kafka_unavailable" });
    await until(() => member.trouble !== "");
    server.brokers[0].start();
    await server.whenUp();
    for (;;) {
      const sent = await producer.send([record("after")]).catch(() => null);
      if (sent !== null) break;
      await sleep(100);
    }
    // An answer may have come too late, and what was sent again stands there twice.
    const { high } = (await admin.offsets("away"))[0];
    await until(() => read.length === high);
    const texts = read.map(({ message }) => String(message.value));
    expect(texts).toEqual(["before", ...Array(high - 1).fill("after")]);
    expect(high).toBeGreaterThan(1);
    await until(() => member.trouble === "");
    await member.stop();
    await admin.close();
    await producer.close();
  });

  test("goes on at the oldest record when Kafka has removed what was next, and notices a topic that was made anew", async () => {
    const topic = "removed";
    await server.createTopic(topic, 1);
    const producer = await producerOf();
    const send = (count: number) =>
      producer.send(
        Array.from({ length: count }, () => ({ topic, partition: 0, key: null, value: Buffer.alloc(10), headers: {} })),
      );
    await send(10);
    let feed: KafkaFeed | null = null;
    const options = {
      sessionTimeoutMs: SESSION_MS,
      rebalanceTimeoutMs: SESSION_MS,
      fetchBytes: 1 << 20,
      feedBytesMax: 5000,
    };
    const member = new KafkaGroup(
      { group: "removed", topics: [topic], ...options },
      {
        client: await client(),
        log,
        onGained: ([gained]) => {
          feed = gained;
          gained.seek(0);
        },
        onLost: () => {},
      },
    );
    const admin = new KafkaAdmin(await client());
    const committed = async () => (await admin.committed("removed", topic))[0];
    member.start();
    const fed = () => feed as unknown as KafkaFeed;
    await until(() => feed !== null && fed().fetchOffset === 10);
    await member.commitSurely({ topic, partition: 0 }, 10, "mine");
    await send(10);
    // More waits then than is wanted, so nothing is read meanwhile.
    await until(() => fed().fetchOffset === 20);
    await send(20);
    await server.admin(async (kafka) => {
      await kafka.fetchTopicOffsets(topic); // The library wants to know the topic first.
      await kafka.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "35" }] });
    });
    const offsets: number[] = [];
    const take = () => {
      for (let message = fed().poll(); message !== null; message = fed().poll()) offsets.push(message.offset);
    };
    await until(() => {
      take();
      return offsets.at(-1) === 39;
    });
    expect(offsets).toEqual([...Array(20).keys(), 35, 36, 37, 38, 39]);
    // That is the library's doing.
    expect(await committed()).toMatchObject({ offset: OFFSET_EARLIEST, metadata: "" });
    expect(fed().isCut).toBe(false);
    await server.deleteTopic(topic);
    await server.createTopic(topic, 1);
    await until(() =>
      send(1).then(
        () => true,
        () => false,
      ),
    );
    await until(() => fed().isCut);
    expect(fed().poll()).toBeNull();
    await member.stop();
    await admin.close();
    await producer.close();
  });

  test("chooses the partitions that Kafka's own clients choose", () => {
    // What Java's Utils.toPositive(murmur2(key)) % 12 gives.
    expect(["21", "foobar", "a-little-bit-long-string"].map((key) => partitionOfKey(key, 12))).toEqual([
      (-973932308 & 0x7fffffff) % 12,
      (-790332482 & 0x7fffffff) % 12,
      (-985981536 & 0x7fffffff) % 12,
    ]);
  });
});

describe.skipIf(KAFKA_LIBS === "")("the Kafka client with three brokers", { timeout: 900_000 }, () => {
  test("writes and reads on when one of them dies", async () => {
    const server = await KafkaServer.start({ brokers: 3 });
    try {
      await server.createTopic("three", 3);
      const client = await openKafkaClient(
        kafkaConnection.parse({ brokers: server.addresses, ...PATIENT, request_timeout_ms: 10_000 }),
        log,
      );
      const producer = new KafkaProducer({ client, compression: "gzip", timeoutMs: 10_000, log });
      const read = new Set<string>();
      const follow = async (feed: KafkaFeed) => {
        feed.seek(0);
        while (!feed.isLost) {
          const message = feed.poll();
          if (message === null) await feed.wait();
          else read.add(String(message.value));
        }
      };
      const member = new KafkaGroup(
        {
          ...{ group: "three", topics: ["three"], sessionTimeoutMs: SESSION_MS, rebalanceTimeoutMs: SESSION_MS },
          ...{ fetchBytes: 1 << 20, feedBytesMax: 1 << 20 },
        },
        { client, log, onGained: (feeds) => feeds.map(follow), onLost: () => {} },
      );
      member.start();
      const sent = new Set<string>();
      /** As an intake does: again until it is there. */
      const send = async (n: number) => {
        const records = [0, 1, 2].map((partition) => {
          return { topic: "three", partition, key: null, value: Buffer.from(`${n}/${partition}`), headers: {} };
        });
        while ((await producer.send(records).catch(() => null)) === null) await sleep(100);
        for (const { value } of records) sent.add(String(value));
      };
      for (let n = 0; n < 20; n++) await send(n);
      await server.brokers[1].kill();
      for (let n = 20; n < 40; n++) await send(n);
      while (read.size < sent.size) await sleep(50);
      expect([...read].toSorted()).toEqual([...sent].toSorted());
      await member.stop();
      await producer.close();
    } finally {
      await server.stop();
    }
  });
});
