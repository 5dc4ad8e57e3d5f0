import { expect, test } from "vitest";
import type { IntakeEntry } from "../../src/core/intake-entry.ts";
import { KafkaSinkIntake } from "../../src/roles/kafka-sink-intake.ts";

/** A partition whose reader gives entries at `offsets`; all else below `end` are repeats. */
function partition(offsets: readonly number[], end: number) {
  const feed = { fetchOffset: -1, highWatermark: -1, bytesARecord: null as number | null };
  let next = 0;
  const log = {
    nextOffset: () => Math.max(feed.highWatermark, next),
    read: (_partition: number, from: number) => ({
      poll: async () => {
        feed.highWatermark = end;
        feed.fetchOffset = end;
        const offset = offsets.find((one) => one >= Math.max(from, next));
        next = offset === undefined ? end : offset + 1;
        // Nothing but the offset is looked at.
        return offset === undefined ? null : ({ offset } as IntakeEntry);
      },
      wait: async () => {},
      close: async () => {},
    }),
  };
  return { feed, log };
}

test("a sink has caught up when only repeats are left", async () => {
  const { feed, log } = partition([3, 4, 7], 10);
  const intake = new KafkaSinkIntake(feed, log, 9);
  // Before anything was read, the log's end is what was asked for.
  expect(intake.nextOffset()).toBe(9);
  const reader = intake.read(0, 2);
  expect(intake.nextOffset()).toBe(9);
  for (const offset of [3, 4, 7]) {
    expect((await reader.poll())?.offset).toBe(offset);
    expect(intake.nextOffset()).toBe(10);
  }
  expect(await reader.poll()).toBeNull();
  expect(intake.nextOffset()).toBe(8);
});

test("nothing to be had now is not the end, while Kafka has more", async () => {
  const { feed, log } = partition([3], 10);
  const intake = new KafkaSinkIntake(feed, log, 20);
  const reader = intake.read(0, 2);
  await reader.poll();
  expect(await reader.poll()).toBeNull();
  expect(intake.nextOffset()).toBe(20);
  feed.fetchOffset = 20;
  expect(intake.nextOffset()).toBe(4);
  feed.highWatermark = 21;
  expect(intake.nextOffset()).toBe(21);
});

test("bytes are those of the records read last, for each offset up to the log's end", () => {
  const { feed, log } = partition([], 0);
  const intake = new KafkaSinkIntake(feed, log, 100);
  expect(intake.bytesFrom(0, 40)).toBeNull();
  feed.bytesARecord = 2.5;
  expect(intake.bytesFrom(0, 40)).toBe(150);
  expect(intake.bytesFrom(0, 100)).toBe(0);
  expect(intake.bytesFrom(0, 101)).toBe(0);
  // While the feed is paused, somebody else says that the log went on.
  intake.sawEnd(200);
  intake.sawEnd(150);
  expect(intake.bytesFrom(0, 40)).toBe(400);
  feed.highWatermark = 300;
  expect(intake.bytesFrom(0, 40)).toBe(650);
});
