import { EventEmitter } from "node:events";
import { setImmediate as tick } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { kafkaIntakeOptions } from "../../src/intake/kafka-options.ts";
import { encodeHeaders } from "../../src/intake/kafka-record.ts";
import type { KafkaFeed } from "../../src/kafka/feed.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import type { KafkaSide } from "../../src/roles/kafka-side.ts";
import { KafkaWorkers } from "../../src/roles/kafka-workers.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { defaultStoreOptions } from "../../src/store/options.ts";
import { chunk } from "./sink-harness.ts";

const ROUNDS = 300;

/** The library's consumer, as far as a group uses it, with nothing to read. */
class FakeConsumer extends EventEmitter {
  readonly events = { HEARTBEAT: "h", FETCH: "f", CRASH: "c", GROUP_JOIN: "join", COMMIT_OFFSETS: "o" };
  isJoining = false;
  run: () => Promise<void> = async () => {
    this.isJoining = true;
  };
  async connect(): Promise<void> {}
  async subscribe(): Promise<void> {}
  async disconnect(): Promise<void> {}
  async commitOffsets(): Promise<void> {}
  seek(): void {}
  pause(): void {}
  resume(): void {}

  join(partitions: readonly number[]): void {
    this.emit("join", { payload: { memberId: "m", memberAssignment: { t: [...partitions] } } });
  }
}

async function started(consumer: FakeConsumer, objects: ObjectStore = new MemoryStore()) {
  const metrics = new Metrics();
  const options = kafkaIntakeOptions.parse({ type: "kafka", brokers: ["a:1"], topic: "t" });
  const workers = new KafkaWorkers(
    {
      pipelines: [{ name: "all", from: ["in"], match: ["**"], line: ["log"], steps: [], to: ["store"] }],
      sinks: [{ name: "store", type: "store", options: {} }],
      sections: { store: defaultStoreOptions, limits: limitsOptions.parse({}) },
    },
    {
      // Of Kafka what workers and their group ask of it.
      kafka: {
        options,
        client: { consumer: () => consumer },
        admin: { topic: async () => ({ partitions: 2 }), committed: async () => [], members: async () => new Set() },
        offsets: async () => [0, 1].map((partition) => ({ partition, low: 0, high: 0 })),
      } as unknown as KafkaSide,
      objects,
      catalog: await openCatalog(objects, new Metrics(), silentLogger),
      metrics,
      log: silentLogger,
    },
  );
  await workers.start();
  await expect.poll(() => consumer.isJoining).toBe(true);
  return { workers, metrics };
}

test("workers stop while the library waits for brokers that hang", async () => {
  const consumer = new FakeConsumer();
  consumer.run = () => {
    consumer.isJoining = true;
    return new Promise(() => {});
  };
  const { workers } = await started(consumer);
  expect(await workers.drain(10)).toBe(true);
  await workers.stop();
});

test("nothing is left of partitions that came and went", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const warnings: string[] = [];
  const warn = ({ name }: Error) => void warnings.push(name);
  process.on("warning", warn);
  const consumer = new FakeConsumer();
  const { workers, metrics } = await started(consumer);
  const group: unknown = Reflect.get(workers, "group");
  const feeds: WeakRef<object>[] = [];
  const partitions = async () => /^weir_worker_partitions (\d+)$/m.exec(await metrics.render())?.[1];
  const settle = async (count: string) => {
    while ((await partitions()) !== count) await tick();
    // Now and then the change comes while a worker still begins.
    if (feeds.length % 3 === 0) for (let i = 0; i < 20; i++) await tick();
  };
  const round = async () => {
    consumer.join([0, 1]);
    for (const feed of Reflect.get(group as object, "assigned") as object[]) feeds.push(new WeakRef(feed));
    await settle("2");
    consumer.join([]);
    await settle("0");
  };
  await round();
  const before = (await metrics.render()).length;
  for (let i = 1; i < ROUNDS; i++) await round();
  for (let i = 0; i < 50 && feeds.filter((feed) => feed.deref() !== undefined).length > 4; i++) {
    await tick();
    collect();
  }
  expect(feeds).toHaveLength(2 * ROUNDS);
  expect(feeds.filter((feed) => feed.deref() !== undefined).length).toBeLessThanOrEqual(4);
  expect((await metrics.render()).length).toBeLessThan(before * 1.1);
  expect(Reflect.get(workers, "releasing")).toHaveProperty("size", 0);
  expect(warnings).toEqual([]);
  process.off("warning", warn);
  await workers.stop();
});

test("a worker that can't commit is not ready, and says why", async () => {
  class Refusing extends MemoryStore {
    isMended = false;
    override async putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
      if (!this.isMended) throw new WeirError("store_refused", "got 501, want 200");
      await super.putIfAbsent(key, parts);
    }
  }
  const objects = new Refusing();
  const consumer = new FakeConsumer();
  const { workers } = await started(consumer, objects);
  consumer.join([0]);
  const [feed] = Reflect.get(Reflect.get(workers, "group") as object, "assigned") as KafkaFeed[];
  await expect.poll(() => feed.wantsMore).toBe(true);
  expect(workers.state()).toEqual({ ready: true, reason: "" });
  const draft = chunk(["a line"]);
  const headers = { ...encodeHeaders(draft, draft.payload, null) };
  feed.push([{ key: null, value: draft.payload, timestamp: "1", attributes: 0, offset: "0", headers }], 1);
  await expect.poll(() => feed.peek()).toBeNull();
  await workers.flush();
  expect(workers.state()).toEqual({
    ready: false,
    reason: "the worker of partition 0 can't commit, and tries on: got 501, want 200",
  });
  objects.isMended = true;
  await workers.flush();
  expect(workers.state()).toEqual({ ready: true, reason: "" });
  await workers.drain(1000);
  await workers.stop();
});
