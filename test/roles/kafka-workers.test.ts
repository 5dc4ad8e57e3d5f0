import { expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { kafkaIntakeOptions } from "../../src/intake/kafka-options.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import type { KafkaSide } from "../../src/roles/kafka-side.ts";
import { KafkaWorkers } from "../../src/roles/kafka-workers.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { defaultStoreOptions } from "../../src/store/options.ts";

test("workers stop while the library waits for brokers that hang", { timeout: 15_000 }, async () => {
  const objects = new MemoryStore();
  let isJoining = false;
  const consumer = {
    events: {},
    on: () => {},
    connect: async () => {},
    subscribe: async () => {},
    run: () => {
      isJoining = true;
      return new Promise(() => {});
    },
    disconnect: async () => {},
  };
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
        admin: { topic: async () => ({ partitions: 1 }) },
      } as unknown as KafkaSide,
      objects,
      catalog: await openCatalog(objects, new Metrics(), silentLogger),
      metrics: new Metrics(),
      log: silentLogger,
    },
  );
  await workers.start();
  await expect.poll(() => isJoining).toBe(true);
  expect(await workers.drain(10)).toBe(true);
  await workers.stop();
});
