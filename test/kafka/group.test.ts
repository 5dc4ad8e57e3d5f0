import { EventEmitter } from "node:events";
import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import type { KafkaClient } from "../../src/kafka/client.ts";
import type { KafkaFeed } from "../../src/kafka/feed.ts";
import { KafkaGroup } from "../../src/kafka/group.ts";

type Committed = { topic: string; partition: number; offset: string }[];

/** What the library says offsets in. */
class Long {
  private readonly value: bigint;
  constructor(text: string) {
    this.value = BigInt(text);
  }
  toString(): string {
    return String(this.value);
  }
}

/** The library's consumer, as far as a group uses it. */
class FakeConsumer extends EventEmitter {
  readonly events = {
    HEARTBEAT: "heartbeat",
    FETCH: "fetch",
    CRASH: "crash",
    GROUP_JOIN: "join",
    COMMIT_OFFSETS: "commit",
  };
  memberId = "";
  /** What becomes of a commit: who is told to have made it, or null when the library gives up without a word. */
  commitsAs: () => string | null = () => this.memberId;

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
  async answer(partition: number, fetchedOffset: number, offsets: readonly number[], end: number): Promise<void> {
    const batch = {
      ...{ topic: "t", partition, fetchedOffset: String(fetchedOffset), highWatermark: String(end) },
      messages: offsets.map((offset) => ({ offset: String(offset), timestamp: "1", key: null, value: null })),
      lastOffset: () => String(offsets.at(-1)),
    };
    await this.eachBatch({ batch, isStale: () => false });
  }
  pause(): void {}
  resume(): void {}

  join(memberId: string, partitions: readonly number[]): void {
    this.memberId = memberId;
    this.emit("join", { payload: { memberId, memberAssignment: { t: [...partitions] } } });
  }

  async commitOffsets(offsets: Committed): Promise<void> {
    const memberId = this.commitsAs();
    if (memberId === null) return;
    const topics = offsets.map(({ topic, partition, offset }) => ({
      topic,
      partitions: [{ partition, offset: new Long(offset) }],
    }));
    this.emit("commit", { payload: { memberId, topics } });
  }
}

async function joined(beginsAnew: boolean, next: FakeConsumer[] = []) {
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
  const group = new KafkaGroup(
    { ...options, beginsAnew },
    {
      // Of the client and its consumer only what a group calls.
      client: { consumer: () => consumers.shift() } as unknown as KafkaClient,
      log: silentLogger,
      onGained: (feeds) => gained.push(...feeds),
      onLost: (feeds) => lost.push(...feeds),
    },
  );
  group.start();
  await new Promise((resolve) => setImmediate(resolve));
  consumer.join("m1", [0, 1]);
  return { consumer, group, gained, lost };
}

const AT = { topic: "t", partition: 0 };

describe("a commit that somebody goes by", () => {
  test("is done when the brokers have it", async () => {
    const { group } = await joined(true);
    await group.commitSurely(AT, 5, "{}");
    await group.stop();
  });

  test("is not done when the library gave it up while it stopped", async () => {
    const { group, consumer } = await joined(true);
    consumer.commitsAs = () => null;
    await expect(group.commitSurely(AT, 5, "{}")).rejects.toMatchObject({ code: "kafka_unavailable", retriable: true });
    await group.stop();
  });

  test("is not done when it was made after the group had given up on the member", async () => {
    const { group, consumer } = await joined(true);
    consumer.commitsAs = () => "m2";
    await expect(group.commitSurely(AT, 5, "{}")).rejects.toMatchObject({ code: "kafka_unavailable" });
    await group.stop();
  });

  test("is not another one, for another partition or offset", async () => {
    const { group, consumer } = await joined(true);
    consumer.commitsAs = () => null;
    const commit = group.commitSurely(AT, 5, "{}");
    const others = [
      {
        topic: "t",
        partitions: [
          { partition: 1, offset: "5" },
          { partition: 0, offset: "4" },
        ],
      },
      { topic: "u", partitions: [{ partition: 0, offset: "5" }] },
    ];
    consumer.emit("commit", { payload: { memberId: "m1", topics: others } });
    await expect(commit).rejects.toMatchObject({ code: "kafka_unavailable" });
    await group.stop();
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
