import { afterEach, expect, test, vi } from "vitest";
import { DEFAULT_TENANT } from "../../src/core/labels.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { encodeHeaders } from "../../src/intake/kafka-record.ts";
import { KafkaFeed } from "../../src/kafka/feed.ts";
import type { KafkaGroupDeps } from "../../src/kafka/group.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import type { KafkaSide } from "../../src/roles/kafka-side.ts";
import { KafkaTails } from "../../src/roles/kafka-tail.ts";
import { defaultStoreOptions } from "../../src/store/options.ts";
import { chunk } from "./sink-harness.ts";

/** The topic: the lines of each entry of its one partition. */
const topic = vi.hoisted(() => ({ entries: [] as string[][], feeds: [] as unknown[] }));

vi.mock("../../src/kafka/group.ts", () => ({
  /** A member that has the partition at once. */
  KafkaGroup: class {
    private readonly deps: KafkaGroupDeps;
    private readonly feed: KafkaFeed;

    constructor(_options: unknown, deps: KafkaGroupDeps) {
      this.deps = deps;
      const feed = new KafkaFeed("t", 0, {
        bytesMax: 1 << 24,
        turned: () => {},
        sought: () => setImmediate(answer, feed),
      });
      this.feed = feed;
      topic.feeds.push(feed);
    }
    start(): void {
      this.deps.onGained([this.feed]);
    }
    async stop(): Promise<void> {
      this.feed.lose();
    }
  },
}));

function answer(feed: KafkaFeed): void {
  const messages = topic.entries.map((lines, offset) => {
    const draft = { ...chunk(lines), receivedMs: Date.now() };
    const headers = { ...encodeHeaders(draft, draft.payload, null) };
    return { key: null, value: draft.payload, timestamp: "1", attributes: 0, offset: String(offset), headers };
  });
  feed.push(messages, topic.entries.length);
}

const TAG = { name: "labels", options: { tag: { value: "$tag" } } };
const open: KafkaTails[] = [];
afterEach(async () => {
  for (const tails of open.splice(0)) await tails.close();
});

function tailsOver(entries: string[][]): KafkaTails {
  topic.entries = entries;
  const kafka = {
    options: {
      group: "g",
      topic: "t",
      repeat_window_entries: 10,
      repeat_window_lines: 10,
      repeat_windows_bytes_max: 1 << 20,
    },
    offsetsOf: async () => ({ partition: 0, low: 0, high: topic.entries.length }),
  } as unknown as KafkaSide; // All that tails ask of it.
  const tails = new KafkaTails(
    {
      pipelines: [{ name: "all", from: ["in"], match: ["**"], line: ["log"], steps: [TAG], to: ["store"] }],
      sinks: [{ name: "store", type: "store", options: {} }],
      sections: { store: defaultStoreOptions, limits: limitsOptions.parse({}) },
    },
    { kafka, windows: { load: async () => null, save: async () => {} }, metrics: new Metrics(), log: silentLogger },
  );
  open.push(tails);
  return tails;
}

const WANTED = { tenant: DEFAULT_TENANT, query: '{tag=~".+"}', categorize: false, queueBytes: 1 << 24 };

test("a tail that begins while an entry is at work for another one misses nothing and repeats nothing", async () => {
  const entries = Array.from({ length: 4 }, (_, entry) =>
    Array.from({ length: 3000 }, (_, line) => `entry ${entry} line ${line}`),
  );
  const tails = tailsOver(entries);
  const first = tails.open(WANTED, new Map([[0, 2]]));
  const got = { first: [] as string[], second: [] as string[] };
  const look = () => {
    got.first.push(...first.live.take(0).entries.map(({ line }) => String(line)));
    return got.first.length;
  };
  // An entry takes several turns of the event loop, so this ends in the middle of one.
  while (look() === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(got.first.length).toBeLessThan(3000);
  const second = tails.open(WANTED, new Map([[0, 1]]));
  const lengths = () => {
    look();
    got.second.push(...second.live.take(0).entries.map(({ line }) => String(line)));
    return [got.first.length, got.second.length];
  };
  await expect.poll(lengths).toEqual([6000, 9000]);
  expect(new Set(got.first)).toEqual(new Set(entries.slice(2).flat()));
  expect(new Set(got.second)).toEqual(new Set(entries.slice(1).flat()));
  first.close();
  second.close();
});
