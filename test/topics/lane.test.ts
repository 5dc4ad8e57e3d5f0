import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { OFFSET_EARLIEST } from "../../src/kafka/admin.ts";
import { decodeIntent, encodeIntent } from "../../src/topics/intent.ts";
import type { LaneIntake } from "../../src/topics/lane.ts";
import { tagOf, tagProblem } from "../../src/topics/tag.ts";
import { Random } from "../random.ts";
import { FakeIntake, FakeMember, FakePartition, until } from "./fake-kafka.ts";

const numbers = (from: number, below: number) => Array.from({ length: below - from }, (_, i) => String(from + i));

function partitionWith(count: number): FakePartition {
  const partition = new FakePartition();
  for (const text of numbers(0, count)) partition.write(text);
  return partition;
}

const settled = (partition: FakePartition) => () =>
  partition.committed.offset === partition.high && partition.committed.metadata === "";
/** An intake log that has something done when it has taken a batch, before anybody hears of that. */
const thenDo = (intake: FakeIntake, act: () => void): LaneIntake => ({
  append: async (draft) => {
    const answer = await intake.append(draft);
    act();
    return answer;
  },
  whenWritable: () => intake.whenWritable(),
});
const full = new WeirError("intake_full", "the intake log is full", { retriable: true });

describe("a lane", () => {
  test("puts each message into the intake log, in order, and says so when it is through", async () => {
    const partition = partitionWith(30);
    const intake = new FakeIntake();
    const member = new FakeMember("a", partition, intake);
    await until(settled(partition));
    partition.write("30");
    await until(settled(partition));
    await member.stop();
    expect(intake.lines).toEqual(numbers(0, 31));
  });

  test.each([
    { start: "earliest", want: numbers(3, 12) },
    { start: "latest", want: numbers(10, 12) },
  ])("begins at the $start message, and keeps that at once", async ({ start, want }) => {
    const partition = partitionWith(10);
    partition.removeBelow(3);
    const intake = new FakeIntake();
    const first = new FakeMember("a", partition, intake, { start });
    await until(() => partition.committed.offset !== null);
    first.kill(partition);
    partition.write("10");
    partition.write("11");
    const second = new FakeMember("b", partition, intake, { start });
    await until(settled(partition));
    await second.stop();
    expect(intake.lines).toEqual(want);
  });

  test("goes on at what there is when Kafka has removed messages, with an intent or without", async () => {
    for (const metadata of [
      "",
      encodeIntent({ next: 8, id: "x", member: "gone" }),
      encodeIntent({ next: 2, id: "x", member: "gone" }),
    ]) {
      const partition = partitionWith(10);
      partition.committed = { offset: 1, metadata };
      partition.removeBelow(4);
      const intake = new FakeIntake();
      const member = new FakeMember("a", partition, intake);
      await until(settled(partition));
      await member.stop();
      expect(intake.lines).toEqual(numbers(4, 10));
    }
  });

  test("begins with what there is where the library has put that in the place of a position that was removed", async () => {
    const partition = partitionWith(10);
    partition.removeBelow(4);
    partition.committed = { offset: OFFSET_EARLIEST, metadata: "" };
    const intake = new FakeIntake();
    const member = new FakeMember("a", partition, intake, { start: "latest" });
    await until(settled(partition));
    await member.stop();
    expect(intake.lines).toEqual(numbers(4, 10));
  });

  test("finds out where it stands when the partition is cut off while it is read, and stores nothing twice", async () => {
    const partition = partitionWith(10);
    const intake = new FakeIntake();
    const member = new FakeMember("a", partition, intake);
    await until(settled(partition));
    partition.log.splice(6);
    partition.committed = { offset: OFFSET_EARLIEST, metadata: "" };
    partition.write("new");
    member.feed.isCut = true;
    await until(() => partition.committed.offset === 7);
    partition.write("newer");
    await until(settled(partition));
    await member.stop();
    expect(intake.lines).toEqual([...numbers(0, 10), "newer"]);
  });

  test("goes on at the end of a partition that was cut off below what was read", async () => {
    for (const { offset, metadata } of [
      { offset: 20, metadata: "" },
      { offset: 5, metadata: encodeIntent({ next: 30, id: "x", member: "gone" }) },
    ]) {
      const partition = partitionWith(10);
      partition.committed = { offset, metadata };
      const intake = new FakeIntake();
      const member = new FakeMember("a", partition, intake);
      await until(() => partition.committed.offset === 10);
      partition.write("10");
      await until(settled(partition));
      await member.stop();
      expect(intake.lines).toEqual(offset === 20 ? ["10"] : numbers(5, 11));
    }
  });

  test("makes a batch that was declared again with the same bounds, and the intake log drops it", async () => {
    const partition = partitionWith(6);
    const intake = new FakeIntake();
    // Before it could say that the batch is durable.
    const killing = thenDo(intake, () => first.kill(partition));
    const first = new FakeMember("a", partition, killing, { batch_messages_max: 4 });
    await until(() => intake.lines.length === 4);
    const intent = decodeIntent(partition.committed.metadata);
    expect(partition.committed.offset).toBe(0);
    expect(intent).toMatchObject({ next: 4, member: "a" });
    for (const text of numbers(6, 20)) partition.write(text);
    const second = new FakeMember("b", partition, intake, { batch_messages_max: 100 });
    await until(settled(partition));
    await second.stop();
    expect(intake.lines).toEqual(numbers(0, 20));
  });

  test("waits while the intake log is full, and stops at once then, with nothing declared", async () => {
    const partition = partitionWith(10);
    const intake = new FakeIntake();
    intake.trouble = full;
    const first = new FakeMember("a", partition, intake);
    await until(() => intake.appends > 0);
    await first.stop();
    expect(partition.committed).toEqual({ offset: 0, metadata: "" });
    const second = new FakeMember("b", partition, intake);
    await until(() => intake.appends > 1);
    intake.mend();
    await until(settled(partition));
    await second.stop();
    expect(intake.lines).toEqual(numbers(0, 10));
  });

  test("hands over a partition while the intake log is full", async () => {
    const partition = partitionWith(10);
    const stuck = new FakeIntake();
    stuck.trouble = full;
    const first = new FakeMember("a", partition, stuck);
    await until(() => stuck.appends > 0);
    const free = new FakeIntake();
    const second = new FakeMember("b", partition, free);
    first.lose();
    await until(settled(partition));
    expect([stuck.lines, free.lines]).toEqual([[], numbers(0, 10)]);
    await Promise.all([first.done, second.stop()]);
  });

  test("waits for the member that had the partition, and takes over when that is gone", async () => {
    const partition = partitionWith(3);
    partition.members.add("old");
    partition.committed = { offset: 0, metadata: encodeIntent({ next: 2, id: "x", member: "old" }) };
    const intake = new FakeIntake();
    const member = new FakeMember("a", partition, intake);
    await sleep(300);
    expect(intake.appends).toBe(0);
    partition.members.delete("old");
    await until(settled(partition));
    expect(intake.lines).toEqual(numbers(0, 3));
    await member.stop();
  });

  test("leaves an intent that it found as it is when it loses the partition before the intake log takes it", async () => {
    const partition = partitionWith(3);
    partition.committed = { offset: 0, metadata: encodeIntent({ next: 2, id: "x", member: "gone" }) };
    const stuck = new FakeIntake();
    stuck.trouble = full;
    const first = new FakeMember("a", partition, stuck);
    await until(() => stuck.appends > 0);
    first.lose();
    await first.done;
    expect(partition.committed.offset).toBe(0);
    expect(decodeIntent(partition.committed.metadata)).toEqual({ next: 2, id: "x", member: "" });
  });

  test("begins nothing after the group has given it up, and finds out where the others are", async () => {
    const partition = partitionWith(3);
    const own = new FakeIntake();
    const zombie = new FakeMember("a", partition, own);
    await until(settled(partition));
    // It is away past its session, and hears of nothing.
    partition.members.delete("a");
    const others = new FakeIntake();
    const other = new FakeMember("b", partition, others);
    for (const text of numbers(3, 9)) partition.write(text);
    await until(settled(partition));
    await other.stop();
    partition.members.delete("b");
    // Now it joins again, and has what it had before.
    partition.members.add("a2");
    zombie.rejoin("a2");
    for (const text of numbers(9, 12)) partition.write(text);
    await until(settled(partition));
    await zombie.stop();
    expect([...own.lines, ...others.lines].sort((x, y) => Number(x) - Number(y))).toEqual(numbers(0, 12));
  });

  test("commits nothing on the word of a generation that is over, when it has lost the partition since", async () => {
    const partition = partitionWith(3);
    const [own, others] = [new FakeIntake(), new FakeIntake()];
    const first = new FakeMember("a", partition, own);
    await until(settled(partition));
    // The members come together again, and it keeps the partition: it looks whether anybody has committed meanwhile.
    let answer = () => {};
    first.answering = new Promise((resolve) => {
      answer = resolve;
    });
    const { asked } = first;
    first.rejoin();
    partition.write("3");
    await until(() => first.asked > asked);
    // Before it has the answer another one gets the partition, has the intake log take a batch, and dies.
    first.lose();
    const dying = thenDo(others, () => second.kill(partition));
    const second = new FakeMember("b", partition, dying);
    await until(() => !second.isAlive);
    const { committed } = partition;
    expect(decodeIntent(committed.metadata)).toMatchObject({ next: 4, member: "b" });
    answer();
    await first.done;
    expect(partition.committed).toEqual(committed);
    const third = new FakeMember("c", partition, others);
    await until(settled(partition));
    await third.stop();
    expect([own.lines, others.lines]).toEqual([numbers(0, 3), ["3"]]);
  });

  test("makes smaller batches where one is more than the intake log takes, and leaves out what is too large alone", async () => {
    const partition = new FakePartition();
    for (let i = 0; i < 12; i++) partition.write(i === 7 ? "x".repeat(3000) : String(i));
    const intake = new FakeIntake();
    intake.bytesMax = 200;
    const member = new FakeMember("a", partition, intake, { batch_messages_max: 100 });
    await until(settled(partition));
    await member.stop();
    expect(intake.lines).toEqual(numbers(0, 12).filter((text) => text !== "7"));
  });

  test("passes over tombstones, and commits behind them", async () => {
    const partition = partitionWith(2);
    partition.log.push({ ...partition.log[1], offset: 2, value: null });
    const intake = new FakeIntake();
    const member = new FakeMember("a", partition, intake);
    await until(settled(partition));
    await member.stop();
    expect([intake.lines, partition.committed.offset]).toEqual([["0", "1"], 3]);
  });

  test("stores each message once, whenever it is killed and whatever answers get lost", {
    timeout: 400_000,
  }, async () => {
    const random = new Random();
    const partition = new FakePartition();
    const intake = new FakeIntake();
    let written = 0;
    let member = new FakeMember("m0", partition, intake, { random, losesAnswers: true });
    for (let round = 1; round <= 60; round++) {
      for (let n = random.below(30); n > 0; n--) partition.write(String(written++));
      await sleep(random.below(60));
      member.kill(partition);
      member = new FakeMember(`m${round}`, partition, intake, {
        random,
        losesAnswers: true,
        batch_messages_max: 1 + random.below(20),
      });
    }
    await until(settled(partition));
    await member.stop();
    expect(intake.lines, `seed ${random.seed}`).toEqual(numbers(0, written));
  });

  test("stores each message once in all, however often the partition changes hands", { timeout: 400_000 }, async () => {
    const random = new Random();
    const partition = new FakePartition();
    const intakes = [new FakeIntake(), new FakeIntake(), new FakeIntake()];
    const given: Promise<void>[] = [];
    let written = 0;
    let member = new FakeMember("m0", partition, intakes[0], { random, losesAnswers: true });
    for (let round = 1; round <= 40; round++) {
      for (let n = random.below(30); n > 0; n--) partition.write(String(written++));
      await sleep(random.below(60));
      given.push(member.done);
      member.lose();
      // Each has a log of its own, so only what is handed over in order is stored once.
      member = new FakeMember(`m${round}`, partition, intakes[round % 3], { random, losesAnswers: true });
    }
    await until(settled(partition));
    await member.stop();
    await Promise.all(given);
    const all = intakes.flatMap(({ lines }) => lines).sort((a, b) => Number(a) - Number(b));
    expect(all, `seed ${random.seed}`).toEqual(numbers(0, written));
  });
});

describe("an intent", () => {
  test("comes back", () => {
    const intent = { next: 2 ** 50, id: "0123456789abcdef", member: 'weir-"x"' };
    expect(decodeIntent(encodeIntent(intent))).toEqual(intent);
  });
  test.each([
    "",
    "{",
    "x",
    "{}",
    "null",
    "[]",
    '{"weir":2,"next":1,"id":"a","member":"b"}',
    '{"weir":1,"next":-1,"id":"a","member":"b"}',
    '{"weir":1,"next":1.5,"id":"a","member":"b"}',
    '{"weir":1,"next":1,"id":5,"member":"b"}',
  ])("is none: %j", (metadata) => expect(decodeIntent(metadata)).toBeNull());
});

describe("a tag", () => {
  test("has the message's topic and partition", () => {
    expect(tagOf("kafka.{topic}.{partition}.{topic}", "a.$&b", 3)).toBe("kafka.a.$&b.3.a.$&b");
    expect(tagProblem("kafka.{topic}")).toBeNull();
  });
  test.each(["{", "a}b", "{offset}", "{}"])("is refused: %j", (template) => {
    expect(tagProblem(template)).toMatch(/want \{topic\} or \{partition\}/);
  });
});
