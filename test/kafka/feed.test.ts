import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { KafkaFeed } from "../../src/kafka/feed.ts";

const vendor = (offset: number, bytes = 10) => ({
  key: null,
  value: Buffer.alloc(bytes, "x"),
  timestamp: "7",
  attributes: 0,
  offset: String(offset),
  headers: { twice: ["a", Buffer.from("b")], text: "t" },
});

function makeFeed(bytesMax = 10_000) {
  const calls: string[] = [];
  const feed: KafkaFeed = new KafkaFeed("t", 2, {
    bytesMax,
    sought: () => calls.push(`seek ${feed.fetchOffset}`),
    turned: () => calls.push(feed.wantsMore ? "more" : "enough"),
  });
  return { feed, calls };
}

describe("a partition's feed", () => {
  test("gives nothing before it is told from where, and nothing below that", () => {
    const { feed, calls } = makeFeed();
    feed.push([vendor(0)], 5);
    expect(feed.poll()).toBeNull();
    feed.seek(3);
    expect(calls).toEqual(["seek 3"]);
    feed.push([vendor(1), vendor(2), vendor(3), vendor(4)], 9);
    expect([feed.poll()?.offset, feed.poll()?.offset, feed.poll()]).toEqual([3, 4, null]);
    expect(feed).toMatchObject({ fetchOffset: 5, highWatermark: 9 });
  });

  test("keeps nothing of a record that was taken", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const { feed } = makeFeed(1 << 30);
    feed.seek(0);
    feed.push(
      Array.from({ length: 100 }, (_, i) => vendor(i)),
      200,
    );
    const values = Array.from({ length: 50 }, () => new WeakRef(feed.poll()?.value ?? Buffer.alloc(1)));
    const kept = new WeakRef(feed.peek()?.value ?? Buffer.alloc(1));
    // What a WeakRef was made of in a turn stays for that turn.
    await new Promise<void>((resolve) => setImmediate(resolve));
    collect();
    expect(values.filter((value) => value.deref() !== undefined)).toEqual([]);
    expect(kept.deref()).toBeDefined();
  });

  test("knows the mean length of what was read, and soon of what is read now", () => {
    const { feed } = makeFeed(1 << 30);
    expect(feed.bytesARecord).toBeNull();
    feed.seek(10);
    // What stands below was not asked for.
    feed.push([vendor(9, 5000), vendor(10, 100), vendor(11, 300)], 20);
    expect(feed.bytesARecord).toBe(200);
    feed.seek(20);
    expect(feed.bytesARecord).toBe(200);
    const many = (from: number, bytes: number) => Array.from({ length: 50_000 }, (_, i) => vendor(from + i, bytes));
    feed.push(many(20, 10), 200_000);
    feed.push(many(100_000, 1000), 200_000);
    const mean = feed.bytesARecord ?? 0;
    expect(mean).toBeGreaterThan(800);
    expect(mean).toBeLessThanOrEqual(1000);
  });

  test("takes a header's last value, as bytes", () => {
    const { feed } = makeFeed();
    feed.seek(0);
    feed.push([vendor(0)], 1);
    expect(feed.poll()).toMatchObject({ timestampMs: 7, headers: { twice: Buffer.from("b"), text: Buffer.from("t") } });
  });

  test("wants no more while too much waits, and again when half of it is taken", () => {
    const { feed, calls } = makeFeed(3000);
    feed.seek(0);
    feed.push([vendor(0, 1000), vendor(1, 1000), vendor(2, 1000)], 3);
    expect(calls).toEqual(["seek 0", "enough"]);
    feed.poll();
    expect(calls).toHaveLength(2);
    feed.poll();
    expect(calls).toEqual(["seek 0", "enough", "more"]);
  });

  test("wakes all that wait, when something comes and when it is lost", async () => {
    const { feed } = makeFeed();
    feed.seek(0);
    const waiting = [feed.wait(), feed.wait()];
    feed.push([vendor(0)], 1);
    await Promise.all(waiting);
    await feed.wait();
    feed.poll();
    const last = feed.wait();
    feed.lose();
    await last;
    feed.push([vendor(1)], 2);
    expect(feed.poll()).toBeNull();
    expect(feed.isLost).toBe(true);
  });

  test("drops what waits when it is sent elsewhere", () => {
    const { feed } = makeFeed();
    feed.seek(0);
    feed.push([vendor(0), vendor(1)], 9);
    feed.seek(7);
    expect(feed.poll()).toBeNull();
    feed.push([vendor(7)], 9);
    expect(feed.poll()?.offset).toBe(7);
  });

  test("believes an answer that leaves something out only when asking again gives it again", () => {
    const { feed, calls } = makeFeed();
    feed.seek(100);
    feed.push([vendor(100)], 1000, 100);
    // A broker that hung answers what it was asked before: from where somebody was who has begun again since.
    feed.push([vendor(500), vendor(501)], 1000, 500);
    expect(calls).toEqual(["seek 100", "seek 101"]);
    feed.push([vendor(101), vendor(102)], 1000, 101);
    expect([feed.poll()?.offset, feed.poll()?.offset, feed.poll()?.offset, feed.poll()]).toEqual([100, 101, 102, null]);
    // One that comes twice by chance was not asked for at the same place.
    feed.push([vendor(500)], 1000, 500);
    feed.push([vendor(600)], 1000, 600);
    feed.push([vendor(500)], 1000, 500);
    expect(feed.poll()).toBeNull();
    expect(feed.fetchOffset).toBe(103);
    // Kafka has removed what was there.
    feed.push([vendor(500)], 1000, 500);
    expect(feed.poll()?.offset).toBe(500);
    expect(feed.fetchOffset).toBe(501);
  });

  test("goes on behind records that nobody is given", () => {
    const { feed, calls } = makeFeed();
    feed.seek(0);
    feed.push([vendor(0), vendor(1)], 9, 0, 3);
    feed.push([vendor(5)], 9, 3, 6);
    expect([feed.poll()?.offset, feed.poll()?.offset, feed.poll()?.offset]).toEqual([0, 1, 5]);
    expect(calls).toEqual(["seek 0"]);
    expect(feed.fetchOffset).toBe(6);
  });

  test("notices a log that ends before what was read of it", async () => {
    const { feed } = makeFeed();
    feed.seek(10);
    feed.push([vendor(8), vendor(9), vendor(10)], 11, 8);
    expect(feed.poll()?.offset).toBe(10);
    feed.push([vendor(10)], 11, 10);
    expect(feed.isCut).toBe(false);
    const waiting = feed.wait();
    // The library begins at the oldest record of a log that does not have the offset any more.
    feed.push([vendor(0), vendor(1)], 2, 0);
    await waiting;
    expect(feed.poll()).toBeNull();
    expect(feed.isCut).toBe(true);
    await feed.wait();
    feed.seek(2);
    expect(feed.isCut).toBe(false);
    feed.push([vendor(2)], 3, 2);
    expect(feed.poll()?.offset).toBe(2);
    feed.push([vendor(0)], 1, 0);
    feed.isWhole();
    expect(feed.isCut).toBe(false);
  });
});
