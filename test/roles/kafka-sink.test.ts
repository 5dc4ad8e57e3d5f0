import { EventEmitter } from "node:events";
import type { Cluster, ConsumerConfig, Logger } from "kafkajs";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { ALL_TAKEN } from "../../src/core/sink.ts";
import { kafkaIntakeOptions } from "../../src/intake/kafka-options.ts";
import { kafkaReadMetrics } from "../../src/intake/kafka-read-metrics.ts";
import { encodeHeaders } from "../../src/intake/kafka-record.ts";
import type { KafkaFeed } from "../../src/kafka/feed.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import type { KafkaSide } from "../../src/roles/kafka-side.ts";
import { KafkaSink } from "../../src/roles/kafka-sink.ts";
import { windowStore } from "../../src/roles/kafka-windows.ts";
import { OpenedSink } from "../../src/roles/record-sinks.ts";
import { sinkMetrics } from "../../src/roles/sink-metrics.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { chunk, FakeDestination, SINK } from "./sink-harness.ts";

interface OffsetCommit {
  readonly topics: readonly { readonly partitions: readonly { offset: string; metadata: string }[] }[];
}

/** Brokers with a topic of one partition, and the offset of one group. */
class FakeKafka extends EventEmitter {
  readonly events = { HEARTBEAT: "h", FETCH: "f", CRASH: "c", GROUP_JOIN: "join" };
  readonly log: Parameters<KafkaFeed["push"]>[0][number][] = [];
  kept: { offset: number; metadata: string } | null = null;
  /** What the brokers say that the log ends at; null: where it does. */
  says: number | null = null;
  /** What they say instead. */
  refuses: Error | null = null;
  isJoining = false;

  get end(): number {
    return this.says ?? this.log.length;
  }

  write(count: number): void {
    for (let i = 0; i < count; i++) {
      const offset = this.log.length;
      const draft = chunk([`line ${offset}`], Date.now());
      const headers = { ...encodeHeaders(draft, draft.payload, null) };
      this.log.push({
        key: null,
        value: draft.payload,
        timestamp: "1",
        attributes: 0,
        offset: String(offset),
        headers,
      });
    }
  }

  async connect(): Promise<void> {}
  async subscribe(): Promise<void> {}
  async disconnect(): Promise<void> {}
  async run(): Promise<void> {
    this.isJoining = true;
  }
  seek(): void {}
  pause(): void {}
  resume(): void {}

  join(partitions: readonly number[]): void {
    this.emit("join", { payload: { memberId: "m", memberAssignment: { t: [...partitions] } } });
    this.emit("h", { payload: { groupId: "g", memberId: "m", groupGenerationId: 1 } });
  }

  /** What a group asks of its cluster. */
  private readonly cluster = {
    findGroupCoordinator: async () => ({
      offsetCommit: async ({ topics }: OffsetCommit) => {
        const [{ partitions }] = topics;
        const [{ offset, metadata }] = partitions;
        this.kept = { offset: Number(offset), metadata };
      },
    }),
  };

  private consumer({ partitionAssigners }: ConsumerConfig): this {
    const cluster = this.cluster as unknown as Cluster;
    for (const make of partitionAssigners ?? []) make({ cluster, groupId: "g", logger: {} as Logger });
    return this;
  }

  get side(): KafkaSide {
    const offsets = async () => {
      if (this.refuses !== null) throw this.refuses;
      return { partition: 0, low: 0, high: this.end };
    };
    // What a sink and its group ask of Kafka.
    return {
      options: kafkaIntakeOptions.parse({ type: "kafka", brokers: ["a:1"], topic: "t" }),
      client: { consumer: (config: ConsumerConfig) => this.consumer(config) },
      admin: {
        committed: async () => (this.kept === null ? [] : [{ partition: 0, ...this.kept }]),
        members: async () => new Set(["m"]),
      },
      offsets: async () => [{ partition: 0, low: 0, high: this.end }],
      offsetsOf: offsets,
    } as unknown as KafkaSide;
  }
}

async function started(kafka: FakeKafka) {
  const objects = new MemoryStore();
  const metrics = new Metrics();
  const destination = new FakeDestination();
  const sink = new OpenedSink(
    {
      name: SINK,
      spec: { name: "fake", summary: "Takes all.", options: z.object({}), open: () => destination },
      options: { batch_age_ms: 0 },
    },
    sinkMetrics(metrics)(SINK),
    {
      dataDir: "unused",
      pipelines: [{ name: "all", from: ["in"], match: ["**"], line: ["log"], steps: [], to: [SINK] }],
      parsers: {},
      limits: limitsOptions.parse({}),
      deadLetters: { add: async () => {} },
      metrics,
      log: silentLogger,
    },
  );
  const kafkaSink = new KafkaSink(SINK, sink, {
    kafka: kafka.side,
    catalog: await openCatalog(objects, new Metrics(), silentLogger),
    windows: windowStore(objects),
    readMetrics: kafkaReadMetrics(metrics),
    log: silentLogger,
    restartMs: 50,
  });
  onTestFinished(() => kafkaSink.stop());
  kafka.isJoining = false;
  kafkaSink.start();
  await expect.poll(() => kafka.isJoining).toBe(true);
  kafka.join([0]);
  const feed = () => (Reflect.get(Reflect.get(kafkaSink, "group") as object, "assigned") as KafkaFeed[])[0];
  /** Answers what is asked for. */
  const answer = () => {
    const { fetchOffset } = feed();
    if (fetchOffset >= 0) feed().push(kafka.log.slice(fetchOffset, kafka.end), kafka.end);
  };
  /** Resolves when the destination has just these lines. */
  const takes = (count: number) =>
    expect
      .poll(() => {
        answer();
        return destination.texts;
      })
      .toEqual(Array.from({ length: count }, (_, i) => `line ${i}`));
  const isStopped = async () => /weir_sink_stopped\{sink="out"\} (\d)/.exec(await metrics.render())?.[1];
  return { sink: kafkaSink, destination, feed, answer, takes, isStopped };
}

test("a sink whose topic seems to be lost says so, and goes on where it was once the topic is whole", async () => {
  const kafka = new FakeKafka();
  kafka.write(3);
  const { sink, destination, feed, takes, isStopped } = await started(kafka);
  await takes(3);
  await expect.poll(() => kafka.kept?.offset).toBe(3);
  expect(sink.failure).toBe("");
  // A broker that is late: what it gives was read before, and it knows of no more.
  kafka.says = 1;
  feed().push(kafka.log.slice(0, 1), 1);
  await expect
    .poll(() => sink.failure)
    .toMatch(/^sink out sends nothing of partition 0, and begins again soon: .*ends at offset 1/);
  expect(await isStopped()).toBe("1");
  // Tries meanwhile go nowhere else, and leave the position alone.
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(kafka.kept?.offset).toBe(3);
  expect(sink.failure).toContain("ends at offset 1");
  kafka.says = null;
  kafka.write(2);
  await takes(5);
  await expect.poll(() => sink.failure).toBe("");
  expect(await isStopped()).toBe("0");
  expect(destination.closed).toBe(false);
  expect(new Set(destination.taken.map(({ id }) => id)).size).toBe(5);
});

test("a sink goes nowhere in a log that ends before its position, also after a start", async () => {
  const kafka = new FakeKafka();
  kafka.write(2);
  kafka.kept = { offset: 4, metadata: "" };
  const { sink, destination } = await started(kafka);
  await expect.poll(() => sink.failure).toContain("ends at offset 2, but it was read up to 4");
  expect(kafka.kept).toEqual({ offset: 4, metadata: "" });
  kafka.write(3);
  await expect.poll(() => sink.partitions).toBe(1);
  expect(kafka.kept.offset).toBe(4);
  expect(destination.taken).toEqual([]);
});

test("a sink begins again after any error, with nothing left out", async () => {
  const kafka = new FakeKafka();
  kafka.refuses = new Error("the intake topic has no partition 0 any more");
  kafka.write(3);
  const { sink, takes, destination, answer } = await started(kafka);
  await expect.poll(() => sink.failure).toContain("has no partition 0 any more");
  kafka.refuses = null;
  await takes(3);
  await expect.poll(() => sink.failure).toBe("");
  destination.answer = () => new TypeError("a mistake of ours");
  kafka.write(2);
  await expect
    .poll(() => {
      answer();
      return sink.failure;
    })
    .toContain("a mistake of ours");
  destination.answer = () => ALL_TAKEN;
  await takes(5);
  await expect.poll(() => sink.failure).toBe("");
});

test("a sink that waits to begin again leaves a partition that is another's by then", async () => {
  const kafka = new FakeKafka();
  kafka.write(3);
  const { sink, feed, takes } = await started(kafka);
  await takes(3);
  kafka.says = 1;
  feed().push(kafka.log.slice(0, 1), 1);
  await expect.poll(() => sink.failure).not.toBe("");
  await expect.poll(() => kafka.kept?.metadata).not.toContain("owner");
  kafka.join([]);
  await expect.poll(() => sink.failure).toBe("");
  kafka.says = null;
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(sink.partitions).toBe(0);
  expect(kafka.kept?.metadata).not.toContain("owner");
  // It comes back, and goes on.
  kafka.join([0]);
  kafka.write(1);
  await takes(4);
});
