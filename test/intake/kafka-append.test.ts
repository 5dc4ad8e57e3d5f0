import { describe, expect, test } from "vitest";
import { PushBatchCursor, PushBatchWriter } from "../../src/codec/push-batch.ts";
import { WeirError } from "../../src/core/errors.ts";
import { ENTRY_FORWARD, ENTRY_PUSH, type EntryDraft } from "../../src/core/intake-entry.ts";
import { type Logger, silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { KafkaAppender } from "../../src/intake/kafka-append.ts";
import { kafkaIntakeOptions } from "../../src/intake/kafka-options.ts";
import { decodeHeaders, type Headers } from "../../src/intake/kafka-record.ts";
import { PartitionWindow } from "../../src/intake/partition-window.ts";
import type { KafkaAdmin } from "../../src/kafka/admin.ts";
import type { KafkaProducer, KafkaRecord } from "../../src/kafka/producer.ts";

const options = (more: object = {}) =>
  kafkaIntakeOptions.parse({
    type: "kafka",
    brokers: ["k:1"],
    topic: "topic",
    linger_ms: 0,
    compression: "none",
    ...more,
  });

const away = () => new WeirError("kafka_unavailable", "kafka: away", { retriable: true });

/** A Kafka that does what it is told. */
class FakeKafka {
  readonly log: KafkaRecord[][] = [];
  readonly sends: KafkaRecord[][] = [];
  partitions = 4;
  messageBytesMax = 1_000_000;
  /** What each of the next sends does; without one they succeed. */
  faults: ("before" | "after" | "too large")[] = [];
  isAway = false;
  hold: Promise<void> | null = null;

  readonly producer = {
    send: async (records: readonly KafkaRecord[]) => {
      await this.hold;
      this.sends.push([...records]);
      const fault = this.faults.shift();
      if (fault === "before" || this.isAway) throw away();
      if (fault === "too large") throw new WeirError("kafka_too_large", "kafka: write: too large");
      const offsets = new Map<string, number>();
      for (const record of records) {
        const partition = this.log[record.partition] ?? [];
        this.log[record.partition] = partition;
        const place = `${record.topic}/${record.partition}`;
        if (!offsets.has(place)) offsets.set(place, partition.length);
        partition.push(record);
      }
      if (fault === "after") throw away();
      return offsets;
    },
    close: async () => {},
  } as unknown as KafkaProducer;

  readonly admin = {
    topic: async () => {
      if (this.isAway) throw away();
      return { partitions: this.partitions, messageBytesMax: this.messageBytesMax, isCompacted: false };
    },
  } as unknown as KafkaAdmin;

  open(more: object = {}, log: Logger = silentLogger): Promise<KafkaAppender> {
    const { producer, admin } = this;
    return KafkaAppender.open(options(more), { producer, admin, metrics: new Metrics(), log });
  }
}

const draft = (text: string, origin = "one"): EntryDraft => ({
  kind: ENTRY_FORWARD,
  tenant: "t",
  source: "in",
  receivedMs: 5,
  payload: Buffer.from(text),
  origin,
});

const idOf = ({ headers }: KafkaRecord) => String(headers["weir-id"]);

describe("the writing side of an intake log in Kafka", () => {
  test("writes what comes together in one go, and tells each its offset", async () => {
    const kafka = new FakeKafka();
    const appender = await kafka.open();
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => appender.append(draft(`entry ${i}`))));
    expect(results.map(({ offset }) => offset)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(kafka.sends.length).toBeLessThan(4);
    const [partition] = kafka.log.filter((log) => log !== undefined);
    expect(partition.map(({ value }) => String(value))).toEqual(Array.from({ length: 20 }, (_, i) => `entry ${i}`));
    await appender.close();
  });

  test.each(["before", "after"] as const)(
    "writes the same again, with the same ids, when a write failed %s it was made",
    async (fault) => {
      const kafka = new FakeKafka();
      const appender = await kafka.open();
      kafka.faults = [fault, fault];
      await appender.append(draft("a"));
      expect(kafka.sends).toHaveLength(3);
      expect(new Set(kafka.sends.flat().map(idOf)).size).toBe(1);
      expect(appender.status()).toMatchObject({ ready: true });
      await appender.close();
    },
  );

  test("takes nothing more while a write fails, says why, and goes on by itself", async () => {
    const kafka = new FakeKafka();
    const appender = await kafka.open();
    kafka.isAway = true;
    const first = appender.append(draft("a"));
    while (appender.status().ready) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(appender.status().reason).toMatch(/Kafka takes nothing: kafka: away/);
    await expect(appender.append(draft("b"))).rejects.toMatchObject({ code: "intake_unavailable", retriable: true });
    kafka.isAway = false;
    await appender.whenReady();
    await first;
    await appender.append(draft("b"));
    await appender.close();
  });

  test("begins while no broker can be reached, and is ready when there is one", async () => {
    const kafka = new FakeKafka();
    kafka.isAway = true;
    const said: string[] = [];
    const note = (text: string) => said.push(text);
    const appender = await kafka.open({}, { ...silentLogger, warn: note, info: note } as unknown as Logger);
    expect(appender.status()).toMatchObject({
      ready: false,
      reason: "the intake log in Kafka takes nothing: kafka: away",
    });
    await expect(appender.append(draft("a"))).rejects.toMatchObject({ code: "intake_unavailable" });
    kafka.isAway = false;
    await appender.whenReady();
    await appender.append(draft("a"));
    expect(said).toEqual([
      "the intake log in Kafka takes nothing: kafka: away; agents have to wait",
      "kafka: the intake topic takes entries again",
    ]);
    await appender.close();
  });

  test("holds no more than it may", async () => {
    const kafka = new FakeKafka();
    const appender = await kafka.open({ queue_bytes_max: 1 << 20 });
    let release = () => {};
    kafka.hold = new Promise((resolve) => {
      release = resolve;
    });
    const waiting = [appender.append(draft("x".repeat(600_000))), appender.append(draft("y".repeat(300_000)))];
    await expect(appender.append(draft("z".repeat(300_000)))).rejects.toMatchObject({
      code: "intake_full",
      retriable: true,
    });
    expect(appender.status().ready).toBe(false);
    release();
    await Promise.all(waiting);
    await appender.whenReady();
    await appender.append(draft("z".repeat(300_000)));
    await appender.close();
  });

  test("of each partition writes no more at once than the topic takes", async () => {
    const kafka = new FakeKafka();
    kafka.partitions = 1;
    kafka.messageBytesMax = 10_000;
    const appender = await kafka.open();
    await Promise.all(Array.from({ length: 30 }, (_, i) => appender.append(draft(String(i).repeat(1000)))));
    for (const send of kafka.sends)
      expect(send.reduce((sum, { value }) => sum + (value?.length ?? 0) + 300, 0)).toBeLessThan(11_000);
    expect(kafka.log[0].map(({ value }) => String(value))).toEqual(
      Array.from({ length: 30 }, (_, i) => String(i).repeat(1000)),
    );
    await appender.close();
  });

  test("looks the limit up again when a write is too large after all", async () => {
    const kafka = new FakeKafka();
    const appender = await kafka.open();
    kafka.faults = ["too large"];
    kafka.messageBytesMax = 5000;
    await expect(appender.append(draft("x".repeat(900)))).rejects.toMatchObject({
      code: "intake_unsure",
      retriable: true,
    });
    await appender.append(draft("x".repeat(900)));
    await appender.close();
  });

  test("keeps a source in its partition", async () => {
    const kafka = new FakeKafka();
    const appender = await kafka.open();
    for (let i = 0; i < 40; i++) await appender.append(draft(`${i}`, `origin ${i % 10}`));
    const homes = new Map<string, Set<number>>();
    for (const record of kafka.sends.flat()) {
      const key = String(record.key);
      homes.set(key, (homes.get(key) ?? new Set()).add(record.partition));
    }
    expect(homes.size).toBe(10);
    expect([...homes.values()].every(({ size }) => size === 1)).toBe(true);
    await appender.close();
  });

  test("refuses what waits when it closes while Kafka is away", async () => {
    const kafka = new FakeKafka();
    const appender = await kafka.open();
    kafka.isAway = true;
    const waiting = appender.append(draft("a"));
    while (appender.status().ready) await new Promise((resolve) => setTimeout(resolve, 5));
    // Of what it was given it can't be certain: a write whose answer got lost is one.
    const refused = expect(waiting).rejects.toMatchObject({ code: "intake_unsure", retriable: true });
    await appender.close();
    await refused;
    await expect(appender.append(draft("b"))).rejects.toMatchObject({ code: "intake_closed" });
  });

  test("numbers the parts of a push that has a key, so that none is taken for a repeat of another", async () => {
    const kafka = new FakeKafka();
    kafka.messageBytesMax = 3000;
    const appender = await kafka.open();
    const push = () => {
      const writer = new PushBatchWriter(100);
      for (const app of ["a", "b", "c"]) {
        writer.stream(`{"app":"${app}"}`);
        for (let i = 0; i < 20; i++)
          writer.line(1, i, Buffer.from([0x80]), Buffer.from(`${app} ${i} ${"x".repeat(200)}`));
      }
      const one = { ...draft(""), kind: ENTRY_PUSH, payload: writer.finish() } as const;
      return { ...one, dedupeKey: "lane\0 1", hasLane: true };
    };
    await appender.append(push());
    await appender.append(push());
    const lines: string[] = [];
    for (const records of kafka.log.filter((one) => one !== undefined)) {
      const window = new PartitionWindow({ entries: 2, lines: 10 });
      for (const [offset, record] of records.entries()) {
        const head = decodeHeaders(record.headers as Headers);
        if (window.see(head, offset).repeat) continue;
        const cursor = new PushBatchCursor(record.value ?? Buffer.alloc(0));
        while (cursor.next()) lines.push(cursor.bytes.toString("utf8", cursor.lineStart, cursor.lineEnd).slice(0, 4));
      }
    }
    expect(lines.length).toBe(60);
    expect(new Set(lines).size).toBe(60);
    await appender.close();
  });

  test("claims lines once within a push", async () => {
    const kafka = new FakeKafka();
    const appender = await kafka.open();
    const claim = await appender.claimLines(
      Buffer.concat([Buffer.alloc(16, 1), Buffer.alloc(16, 2), Buffer.alloc(16, 1)]),
    );
    expect(claim).toMatchObject({ isNew: Uint8Array.of(1, 1, 0), newCount: 2 });
    await appender.close();
  });
});
