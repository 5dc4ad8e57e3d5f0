import { describe, expect, test } from "vitest";
import { PushBatchCursor, PushBatchWriter } from "../../src/codec/push-batch.ts";
import { WeirError } from "../../src/core/errors.ts";
import { ENTRY_FORWARD, ENTRY_PUSH, type EntryDraft, type IntakeEntry } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { KafkaPartition, type KafkaPartitionDeps, type WindowStore } from "../../src/intake/kafka-partition.ts";
import { kafkaReadMetrics } from "../../src/intake/kafka-read-metrics.ts";
import { encodeHeaders, type Headers } from "../../src/intake/kafka-record.ts";
import { WindowRoom } from "../../src/intake/window-room.ts";
import { KafkaFeed } from "../../src/kafka/feed.ts";

const forward = (text: string, dedupeKey?: string): EntryDraft => ({
  kind: ENTRY_FORWARD,
  tenant: "t",
  source: "in",
  receivedMs: 1,
  payload: Buffer.from(text),
  ...(dedupeKey === undefined ? {} : { dedupeKey }),
});

interface Record {
  readonly headers: Headers;
  readonly value: Buffer | null;
}
const record = (draft: EntryDraft): Record => ({
  headers: encodeHeaders(draft, draft.payload, null, draft.lineIds),
  value: draft.payload,
});

function push(...lines: string[]): EntryDraft {
  const writer = new PushBatchWriter(64);
  writer.stream('{"app":"a"}');
  for (const line of lines) writer.line(1, 2, Buffer.from([0x80]), Buffer.from(line));
  const lineIds = Buffer.concat(lines.map((line) => Buffer.alloc(16, line)));
  return { kind: ENTRY_PUSH, tenant: "t", source: "push", receivedMs: 1, payload: writer.finish(), lineIds };
}

function textOf({ kind, payload }: IntakeEntry): string {
  if (kind === ENTRY_FORWARD) return String(payload);
  const cursor = new PushBatchCursor(payload);
  const lines: string[] = [];
  while (cursor.next()) lines.push(payload.toString("utf8", cursor.lineStart, cursor.lineEnd));
  return lines.join("+");
}

/** A partition whose log is `log`, of which [low, …) is there. */
function partitionOf(
  log: readonly (Record | null)[],
  {
    low = 0,
    high = log.length,
    entries = 100,
    roomBytes = 1 << 20,
    windows,
    offsets,
  }: Partial<KafkaPartitionDeps> & { low?: number; high?: number; entries?: number; roomBytes?: number } = {},
) {
  const kept: WindowStore = windows ?? { load: async () => null, save: async () => {} };
  const sought: number[] = [];
  const feed: KafkaFeed = new KafkaFeed("topic", 3, {
    bytesMax: 1 << 30,
    turned: () => {},
    sought: () => {
      const from = feed.fetchOffset;
      sought.push(from);
      queueMicrotask(() => {
        const messages = log.flatMap((one, offset) =>
          one === null || offset < Math.max(from, low)
            ? []
            : [
                {
                  ...one,
                  key: null,
                  timestamp: "1",
                  attributes: 0,
                  offset: String(offset),
                  headers: { ...one.headers },
                },
              ],
        );
        feed.push(messages, high);
      });
    },
  });
  const metrics = new Metrics();
  const readMetrics = kafkaReadMetrics(metrics);
  const room = new WindowRoom(roomBytes, readMetrics.forgotten);
  const partition = new KafkaPartition({
    feed,
    windows: kept,
    room,
    bounds: { entries, lines: 1000 },
    offsets: offsets ?? (async () => ({ partition: 3, low, high })),
    commit: async () => {},
    metrics: readMetrics,
    log: silentLogger,
  });
  const value = async (name: string) =>
    Number(new RegExp(`^${name}(?:\\{.*\\})? (\\d+)$`, "m").exec(await metrics.render())?.[1] ?? 0);
  return { partition, feed, sought, value, room };
}

/** What a reader gives from `from` on, until nothing waits. */
async function read(partition: KafkaPartition, from: number): Promise<{ offset: number; text: string }[]> {
  const reader = partition.read(3, from);
  const found: { offset: number; text: string }[] = [];
  await reader.poll().then((entry) => entry !== null && found.push({ offset: entry.offset, text: textOf(entry) }));
  await new Promise((resolve) => setImmediate(resolve));
  for (let entry = await reader.poll(); entry !== null; entry = await reader.poll())
    found.push({ offset: entry.offset, text: textOf(entry) });
  await reader.close();
  return found;
}

describe("a partition of the intake topic", () => {
  const doubled = record(forward("doubled"));
  const log = [
    record(forward("a", "ka")),
    doubled,
    record(push("x", "y")),
    record(forward("a", "ka")),
    doubled,
    record(push("y", "z")),
    record(push("x", "z")),
    record(forward("b", "kb")),
  ];
  const all = [
    { offset: 0, text: "a" },
    { offset: 1, text: "doubled" },
    { offset: 2, text: "x+y" },
    { offset: 5, text: "z" },
    { offset: 7, text: "b" },
  ];

  test("gives entries once, wherever a worker begins", async () => {
    for (let from = 0; from <= log.length; from++) {
      const { partition } = partitionOf(log);
      expect(await read(partition, from)).toEqual(all.filter(({ offset }) => offset >= from));
    }
  });

  test("takes room for its window while it is read, and no more than there is", async () => {
    const { partition, room, value } = partitionOf(log);
    const reader = partition.read(3, 0);
    await reader.poll();
    await new Promise((resolve) => setImmediate(resolve));
    while ((await reader.poll()) !== null);
    // Three chunks, one of them twice in the topic by mistake, and three lines.
    expect(room.size).toBe(6);
    await reader.close();
    expect(room.size).toBe(0);
    expect(await value("weir_intake_repeats_forgotten_total")).toBe(0);
    // Of four things none is known long enough: what is sent again is given again.
    const small = partitionOf(log, { roomBytes: 2 * 200 });
    const given = await read(small.partition, 0);
    expect(given.map(({ offset }) => offset)).toEqual(expect.arrayContaining(all.map(({ offset }) => offset)));
    expect(given.length).toBeGreaterThan(all.length);
    expect(await small.value("weir_intake_repeats_forgotten_total")).toBeGreaterThan(0);
  });

  test("reads from what was kept of the window, and the whole reach again where that does not serve", async () => {
    const saved = new Map<number, Buffer>();
    const windows: WindowStore = {
      load: async (_partition, next) => saved.get(Math.max(...[...saved.keys()].filter((at) => at <= next))) ?? null,
      save: async (_partition, next, window) => {
        saved.set(next, window);
      },
    };
    const first = partitionOf(log.slice(0, 5), { windows });
    await read(first.partition, 0);
    await first.partition.saveWindow();
    expect([...saved.keys()]).toEqual([5]);
    const second = partitionOf(log, { windows });
    expect(await read(second.partition, 5)).toEqual(all.slice(3));
    expect(second.sought).toEqual([5]);
    // Cut, it is as if it were not there.
    saved.set(5, saved.get(5)?.subarray(0, 20) ?? Buffer.alloc(0));
    const third = partitionOf(log, { windows });
    expect(await read(third.partition, 5)).toEqual(all.slice(3));
    expect(third.sought).toEqual([0]);
  });

  test("waits for a window that the store does not give just now: without it a lane's last entry may be taken twice", async () => {
    const lane = { ...forward("lane", "the lane\0batch 1"), hasLane: true };
    const fill = Array.from({ length: 8 }, (_, i) => record(forward(`fill ${i}`)));
    const log = [record(lane), ...fill, record(lane)];
    const saved: Buffer[] = [];
    let isAway = false;
    const windows: WindowStore = {
      load: async () => {
        if (!isAway) return saved[0] ?? null;
        isAway = false;
        throw new WeirError("store_unavailable", "away", { retriable: true });
      },
      save: async (_partition, _next, window) => void saved.push(window),
    };
    const first = partitionOf(log.slice(0, 9), { windows, entries: 4 });
    expect(await read(first.partition, 0)).toHaveLength(9);
    await first.partition.saveWindow();
    isAway = true;
    const second = partitionOf(log, { windows, entries: 4 });
    expect(await read(second.partition, 9)).toEqual([]);
  });

  test("knows what it knew when Kafka has removed some of what came after, and was stored", async () => {
    const lane = { ...forward("lane", "the lane\0batch 1"), hasLane: true };
    const fill = Array.from({ length: 5 }, (_, i) => record(forward(`fill ${i}`)));
    const log = [record(lane), record(forward("a", "ka")), ...fill, record(forward("a", "ka")), record(lane)];
    const saved: Buffer[] = [];
    const windows: WindowStore = {
      load: async () => saved[0] ?? null,
      save: async (_partition, _next, window) => void saved.push(window),
    };
    const first = partitionOf(log.slice(0, 3), { windows });
    await read(first.partition, 0);
    await first.partition.saveWindow();
    const second = partitionOf(log, { windows, low: 5 });
    expect(await read(second.partition, 7)).toEqual([]);
    expect(second.sought).toEqual([5]);
    expect(await second.value("weir_intake_lost_entries_total")).toBe(0);
  });

  test("says what was lost, and goes on behind it", async () => {
    const { partition, value } = partitionOf(log, { low: 5 });
    expect(await read(partition, 1)).toEqual([
      { offset: 5, text: "y+z" },
      { offset: 6, text: "x" },
      { offset: 7, text: "b" },
    ]);
    expect(await value("weir_intake_lost_entries_total")).toBe(4);
    const gap = partitionOf([log[0], null, null, log[7]]);
    expect(await read(gap.partition, 0)).toHaveLength(2);
    expect(await gap.value("weir_intake_lost_entries_total")).toBe(2);
  });

  test("refuses a topic that ends before what is stored", async () => {
    const { partition } = partitionOf(log);
    await expect(partition.read(3, 9).poll()).rejects.toMatchObject({ code: "kafka_topic_lost" });
  });

  test("reads nothing on from a log that was made anew while it was read", async () => {
    const ends = { low: 0, high: log.length };
    const { partition, feed } = partitionOf(log, { offsets: async () => ({ partition: 3, ...ends }) });
    const reader = partition.read(3, 7);
    await expect.poll(async () => (await reader.poll())?.offset).toBe(7);
    const old = [{ key: null, value: null, timestamp: "1", attributes: 0, offset: "0", headers: {} }];
    // A broker that is late says the same; then nothing is wrong.
    feed.push(old, 1, 0);
    expect(await reader.poll()).toBeNull();
    ends.high = 1;
    feed.push(old, 1, 0);
    await expect(reader.poll()).rejects.toMatchObject({ code: "kafka_topic_lost", context: { high: 1, from: 8 } });
  });

  test("passes over what is none of its own, and counts it", async () => {
    const damaged = { ...record(forward("c")), value: Buffer.from("d") };
    const { partition, value } = partitionOf([
      { headers: {}, value: Buffer.from("?") },
      damaged,
      { ...damaged, value: null },
      log[7],
    ]);
    expect(await read(partition, 0)).toEqual([{ offset: 3, text: "b" }]);
    expect(await value("weir_intake_unreadable_entries_total")).toBe(3);
  });

  test("tries on while brokers do not answer", async () => {
    let calls = 0;
    const { partition } = partitionOf(log, {
      offsets: async () => {
        if (++calls < 2) throw new WeirError("kafka_unavailable", "away", { retriable: true });
        return { partition: 3, low: 0, high: log.length };
      },
    });
    expect(await read(partition, 7)).toEqual(all.slice(4));
  });

  test("ends when another has it", async () => {
    const { partition, feed } = partitionOf([]);
    const reader = partition.read(3, 0);
    expect(await reader.poll()).toBeNull();
    const waited = reader.wait();
    feed.lose();
    await waited;
    expect(await reader.poll()).toBeNull();
  });
});
