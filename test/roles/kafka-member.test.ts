import { expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { kafkaReadMetrics } from "../../src/intake/kafka-read-metrics.ts";
import { encodeHeaders } from "../../src/intake/kafka-record.ts";
import { WindowRoom } from "../../src/intake/window-room.ts";
import { KafkaFeed } from "../../src/kafka/feed.ts";
import type { KafkaGroup } from "../../src/kafka/group.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import { KafkaMember } from "../../src/roles/kafka-member.ts";
import type { KafkaSide } from "../../src/roles/kafka-side.ts";
import { windowStore } from "../../src/roles/kafka-windows.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { defaultStoreOptions } from "../../src/store/options.ts";
import { chunk } from "./sink-harness.ts";

async function member(lines: readonly string[], more: { windowMs?: number } = {}) {
  const objects = new MemoryStore();
  const commits: string[] = [];
  const answer = (texts: readonly string[], first: number) => {
    const messages = texts.map((line, i) => {
      const draft = chunk([line]);
      const headers = { ...encodeHeaders(draft, draft.payload, null) };
      return { key: null, value: draft.payload, timestamp: "1", attributes: 0, offset: String(first + i), headers };
    });
    feed.push(messages, first + texts.length);
  };
  const feed: KafkaFeed = new KafkaFeed("t", 0, {
    bytesMax: 1 << 20,
    turned: () => {},
    sought: () => setImmediate(answer, lines, 0),
  });
  const of = new KafkaMember(
    {
      pipelines: [{ name: "all", from: ["in"], match: ["**"], line: ["log"], steps: [], to: ["store"] }],
      sinks: [{ name: "store", type: "store", options: {} }],
      sections: { store: { ...defaultStoreOptions, flush_age_ms: 20 }, limits: limitsOptions.parse({}) },
    },
    feed,
    {
      // Of Kafka and the group what a member asks of them.
      kafka: {
        options: { repeat_window_entries: 10, repeat_window_lines: 10 },
        offsets: async () => [{ partition: 0, low: 0, high: lines.length }],
      } as unknown as KafkaSide,
      group: {
        memberId: "me",
        commit: async (_at: unknown, next: number, metadata: string) => void commits.push(`${next} ${metadata}`),
      } as unknown as KafkaGroup,
      windows: windowStore(objects),
      room: new WindowRoom(1 << 20, { inc: () => {} }),
      readMetrics: kafkaReadMetrics(new Metrics()),
      objects,
      catalog: await openCatalog(objects, new Metrics(), silentLogger),
      metrics: new Metrics(),
      log: silentLogger,
      ...more,
    },
  );
  const windows = async () => {
    const keys: string[] = [];
    for await (const { key } of objects.list("windows/")) keys.push(key);
    return keys;
  };
  return { of, feed, commits, windows, answer };
}

test("a member keeps its window of repeats with the first lines that it has stored, and says when it has released", async () => {
  const { of, feed, commits, windows } = await member(["a"]);
  const running = of.run();
  await expect.poll(windows).toEqual(["windows/0/00000000000000000001"]);
  feed.lose();
  await of.release(60_000);
  await running;
  expect(commits).toEqual(["0 weir1 open me", "1 weir1 open me", "1 weir1 released"]);
});

test("a member keeps its window again some time after what came last", async () => {
  const { of, feed, windows, answer } = await member(["a"], { windowMs: 1500 });
  const running = of.run();
  await expect.poll(windows).toHaveLength(1);
  answer(["b"], 1);
  await expect.poll(windows).toContain("windows/0/00000000000000000002");
  feed.lose();
  await of.release(60_000);
  await running;
});

test("a member that has not begun says nothing of offsets", async () => {
  const { of, feed, commits } = await member([]);
  feed.lose();
  await of.release(10);
  expect(commits).toEqual([]);
});
