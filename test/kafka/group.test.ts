import { EventEmitter } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster, ConsumerConfig, Logger } from "kafkajs";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import type { KafkaClient } from "../../src/kafka/client.ts";
import type { KafkaFeed } from "../../src/kafka/feed.ts";
import { KafkaGroup, type KafkaGroupOptions } from "../../src/kafka/group.ts";

/** What a broker is told to keep. */
interface OffsetCommit {
  readonly groupId: string;
  readonly groupGenerationId: number;
  readonly memberId: string;
  readonly topics: readonly { topic: string; partitions: readonly object[] }[];
}

/** The library's consumer, as far as a group uses it. */
class FakeConsumer extends EventEmitter {
  readonly events = {
    HEARTBEAT: "heartbeat",
    FETCH: "fetch",
    CRASH: "crash",
    GROUP_JOIN: "join",
  };
  memberId = "";
  /** What the group's coordinator was sent, and what it says to it. */
  readonly commits: OffsetCommit[] = [];
  readonly cluster = {
    findGroupCoordinator: async () => ({
      offsetCommit: async (request: OffsetCommit) => {
        this.commits.push(request);
        await this.answersCommit();
      },
    }),
  };
  answersCommit: () => Promise<void> = async () => {};

  async connect(): Promise<void> {}
  disconnects = 0;
  async disconnect(): Promise<void> {
    this.disconnects++;
  }
  async subscribe(): Promise<void> {}
  readonly seeks: string[] = [];
  private eachBatch: (payload: object) => Promise<void> = async () => {};
  async run({ eachBatch }: { eachBatch: (payload: object) => Promise<void> }): Promise<void> {
    this.eachBatch = eachBatch;
  }
  isBroken = false;
  seek({ partition, offset }: { partition: number; offset: string }): void {
    if (this.isBroken) throw new Error("Consumer group was not initialized, consumer#run must be called first");
    this.seeks.push(`${partition}@${offset}`);
  }
  /** An answer of a broker that was asked from `fetchedOffset` on. */
  async answer(
    partition: number,
    fetchedOffset: number,
    offsets: readonly number[],
    end: number,
    value: Buffer | null = null,
  ): Promise<void> {
    const batch = {
      ...{ topic: "t", partition, fetchedOffset: String(fetchedOffset), highWatermark: String(end) },
      messages: offsets.map((offset) => ({ offset: String(offset), timestamp: "1", key: null, value })),
      lastOffset: () => String(offsets.at(-1)),
    };
    await this.eachBatch({ batch, isStale: () => false });
  }
  /** Partitions that are not to be read. */
  readonly paused = new Set<number>();
  pause([{ partitions }]: readonly { partitions: readonly number[] }[]): void {
    for (const partition of partitions) this.paused.add(partition);
  }
  resume([{ partitions }]: readonly { partitions: readonly number[] }[]): void {
    for (const partition of partitions) this.paused.delete(partition);
  }

  join(memberId: string, partitions: readonly number[]): void {
    this.memberId = memberId;
    this.emit("join", { payload: { memberId, memberAssignment: { t: [...partitions] } } });
  }

  /** The coordinator has answered a heartbeat. */
  beat(groupGenerationId: number, memberId = this.memberId): void {
    this.emit("heartbeat", { payload: { groupId: "g", memberId, groupGenerationId } });
  }
}

// The assigner logs nothing.
const NO_LOGGER = {} as Logger;

async function joined(beginsAnew: boolean, next: FakeConsumer[] = [], bounds: Partial<KafkaGroupOptions> = {}) {
  const consumer = new FakeConsumer();
  const consumers = [consumer, ...next];
  const gained: KafkaFeed[] = [];
  const lost: KafkaFeed[] = [];
  const options = {
    group: "g",
    topics: ["t"],
    sessionTimeoutMs: 60_000,
    rebalanceTimeoutMs: 60_000,
    fetchBytes: 1,
    feedBytesMax: 1,
  };
  const asked: ConsumerConfig[] = [];
  const take = (config: ConsumerConfig) => {
    asked.push(config);
    const given = consumers.shift();
    // Of the cluster only what a group asks of it.
    const cluster = given?.cluster as unknown as Cluster;
    for (const make of config.partitionAssigners ?? []) make({ cluster, groupId: config.groupId, logger: NO_LOGGER });
    return given;
  };
  const group = new KafkaGroup(
    { ...options, beginsAnew, ...bounds },
    {
      // Of the client and its consumer only what a group calls.
      client: { consumer: take } as unknown as KafkaClient,
      log: silentLogger,
      onGained: (feeds) => gained.push(...feeds),
      onLost: (feeds) => lost.push(...feeds),
    },
  );
  group.start();
  await new Promise((resolve) => setImmediate(resolve));
  consumer.join("m1", [0, 1]);
  return { consumer, group, gained, lost, asked };
}

const AT = { topic: "t", partition: 0 };

describe("a commit that somebody goes by", () => {
  test("is made once, in the name of the generation that the member belongs to", async () => {
    const { group, consumer } = await joined(true);
    consumer.beat(7);
    await group.commitSurely(AT, 5, "{}");
    const partitions = [{ partition: 0, offset: "5", metadata: "{}" }];
    const topics = [{ topic: "t", partitions }];
    expect(consumer.commits).toEqual([{ groupId: "g", groupGenerationId: 7, memberId: "m1", topics }]);
    await group.stop();
  });

  test("waits until brokers have said the generation, since the member joined last", async () => {
    const { group, consumer } = await joined(true);
    consumer.beat(7);
    consumer.join("m1", [0]);
    const commit = group.commitSurely(AT, 5, "{}");
    // Another's, as of a member that the group has given up on.
    consumer.beat(6, "m0");
    await sleep(60);
    expect(consumer.commits).toEqual([]);
    consumer.beat(8);
    await commit;
    expect(consumer.commits).toMatchObject([{ groupGenerationId: 8 }]);
    await group.stop();
  });

  test("is not made again by itself, whatever has become of the group meanwhile", async () => {
    const { group, consumer } = await joined(true);
    consumer.beat(7);
    consumer.answersCommit = async () => {
      consumer.join("m1", [0, 1]);
      consumer.beat(8);
      throw Object.assign(new Error("the coordinator is loading"), { retriable: true, type: "REBALANCE_IN_PROGRESS" });
    };
    await expect(group.commitSurely(AT, 5, "{}")).rejects.toMatchObject({ code: "kafka_unavailable", retriable: true });
    await sleep(400);
    expect(consumer.commits).toMatchObject([{ groupGenerationId: 7 }]);
    await group.stop();
  });

  test("is not made once the members have come together again since what it goes by", async () => {
    const { group, consumer } = await joined(true);
    consumer.beat(7);
    const { joins } = group;
    consumer.join("m1", [0, 1]);
    consumer.beat(8);
    await expect(group.commitSurely(AT, 5, "{}", joins)).rejects.toMatchObject({ code: "kafka_unavailable" });
    expect(consumer.commits).toEqual([]);
    // One that is under way meanwhile stays one of the generation that it was begun in, so that brokers refuse it.
    const begun = group.commitSurely(AT, 6, "{}");
    consumer.join("m1", [0, 1]);
    consumer.beat(9);
    await begun;
    expect(consumer.commits).toMatchObject([{ groupGenerationId: 8 }]);
    await group.stop();
  });

  test("is refused by a member that is away", async () => {
    const { group } = await joined(true);
    const commit = group.commitSurely(AT, 5, "{}");
    await group.stop();
    await expect(commit).rejects.toMatchObject({ code: "kafka_unavailable", retriable: true });
  });
});

describe("a member that the group has given up on", () => {
  test("has nothing of what it had, and gets it as new", async () => {
    const { group, consumer, gained, lost } = await joined(true);
    const [first] = gained;
    consumer.join("m1", [0]);
    expect(lost).toHaveLength(1);
    expect(first.isLost).toBe(false);
    consumer.join("m2", [0]);
    expect(first.isLost).toBe(true);
    expect(lost).toHaveLength(2);
    expect(gained).toHaveLength(3);
    expect(group.assigned).toEqual([gained[2]]);
    expect(gained[2].isLost).toBe(false);
    await group.stop();
  });

  test("keeps its feeds where nobody goes by the group's offsets", async () => {
    const { group, consumer, gained, lost } = await joined(false);
    consumer.join("m2", [0, 1]);
    expect(lost).toHaveLength(0);
    expect(gained).toHaveLength(2);
    await group.stop();
  });
});

describe("answers of brokers", () => {
  test("of one that hung, and led the partition before, leave nothing out", async () => {
    const { group, consumer, gained } = await joined(false);
    const [feed] = gained;
    feed.seek(500);
    await consumer.answer(0, 500, [500], 1000);
    // The worker begins again where the store ends; what it asked for before is still to be answered.
    feed.seek(100);
    await consumer.answer(0, 501, [501, 502], 1000);
    expect(feed.poll()).toBeNull();
    await consumer.answer(0, 100, [100], 1000);
    expect([feed.poll()?.offset, feed.poll()]).toEqual([100, null]);
    expect(consumer.seeks).toEqual(["0@500", "0@100", "0@100"]);
    await group.stop();
  });
});

test("a feed is sought while the library breaks down, and read from there when it has joined again", async () => {
  const { group, consumer, gained } = await joined(false);
  const [feed] = gained;
  consumer.isBroken = true;
  feed.seek(7);
  consumer.isBroken = false;
  consumer.join("m2", [0]);
  expect(consumer.seeks).toEqual(["0@7"]);
  await group.stop();
});

test("a library that was given up, and comes back to life, changes nothing, and is told to go", async () => {
  const second = new FakeConsumer();
  const { group, consumer, gained, lost } = await joined(false, [second]);
  consumer.emit("crash", { payload: { error: new Error("broken") } });
  await expect.poll(() => second.listenerCount("join")).toBe(1);
  await new Promise((resolve) => setImmediate(resolve));
  second.join("m2", [0, 1]);
  gained[0].seek(0);
  consumer.join("m1", [5]);
  await consumer.answer(0, 0, [0], 9);
  expect(group.memberId).toBe("m2");
  expect(gained.map(({ partition }) => partition)).toEqual([0, 1]);
  expect(lost).toEqual([]);
  expect(gained[0].poll()).toBeNull();
  expect(consumer.disconnects).toBe(2);
  await group.stop();
});

describe("what waits of all partitions that a member has", () => {
  const KIB = 1024;
  const ANSWER = 100 * KIB;
  const bounds = { fetchBytes: 1 << 20, feedBytesMax: 1 << 20, feedsBytesMax: 4 << 20 };
  const value = Buffer.alloc(ANSWER - 256);
  const sum = (feeds: readonly KafkaFeed[]) => feeds.reduce((all, { waitingBytes }) => all + waitingBytes, 0);
  /** Answers for all that are read, until none is. */
  const fill = async (consumer: FakeConsumer, group: KafkaGroup) => {
    for (let isMore = true; isMore; ) {
      isMore = false;
      for (const { partition, fetchOffset, wantsMore } of group.assigned) {
        expect(consumer.paused.has(partition)).toBe(!wantsMore);
        if (!wantsMore) continue;
        isMore = true;
        await consumer.answer(partition, fetchOffset, [fetchOffset], 1e9, value);
      }
    }
  };
  const upTo = (count: number) => Array.from({ length: count }, (_, partition) => partition);

  test.each([1, 2, 10, 40, 100])("is bounded in sum with %i of them, and each may have something", async (count) => {
    const { consumer, group, gained } = await joined(false, [], bounds);
    consumer.join("m1", upTo(count));
    for (const feed of gained) if (!feed.isLost) feed.seek(0);
    await fill(consumer, group);
    expect(group.assigned).toHaveLength(count);
    expect(sum(group.assigned)).toBeLessThanOrEqual(bounds.feedsBytesMax + count * ANSWER);
    for (const feed of group.assigned) {
      expect(feed.waitingBytes).toBeGreaterThan(0);
      expect(feed.waitingBytes).toBeLessThanOrEqual(bounds.feedBytesMax + ANSWER);
    }
    // One whose entries are taken is read on, though all others are full.
    const [first] = group.assigned;
    while (first.poll() !== null);
    expect(first.wantsMore).toBe(true);
    expect(consumer.paused.has(0)).toBe(false);
    await group.stop();
  });

  test("goes by the partitions that it has now", async () => {
    const { consumer, group, gained } = await joined(false, [], bounds);
    for (const feed of gained) feed.seek(0);
    await consumer.answer(0, 0, [0, 1], 9, value);
    expect(consumer.paused.has(0)).toBe(false);
    consumer.join("m1", upTo(40));
    expect(consumer.paused.has(0)).toBe(true);
    consumer.join("m1", upTo(2));
    expect(consumer.paused.has(0)).toBe(false);
    await group.stop();
  });

  test.each([
    [1, 419_430],
    [4, 104_857],
    [100, 65_536],
  ])("is asked for in answers that fit, of a topic with %i partitions", async (count, bytes) => {
    const { group, asked } = await joined(false, [], { ...bounds, partitions: async () => count });
    expect(asked[0]).toMatchObject({ maxBytesPerPartition: bytes, maxBytes: 2 << 20 });
    await group.stop();
  });

  test("a member that can't know how many partitions there are joins later", async () => {
    const second = new FakeConsumer();
    const answers = [Promise.reject(new Error("no broker")), Promise.resolve(7)];
    const partitions = () => answers.shift() ?? Promise.resolve(7);
    const { group, asked } = await joined(false, [second], { ...bounds, partitions });
    expect(asked).toEqual([]);
    await expect.poll(() => asked.length).toBe(1);
    await group.stop();
  });

  test("a member stops while nobody tells how many partitions there are", async () => {
    const { group, asked } = await joined(false, [], { ...bounds, partitions: () => new Promise(() => {}) });
    await group.stop();
    expect(asked).toEqual([]);
  });
});
