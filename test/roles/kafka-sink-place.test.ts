import { describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { type CommittedOffset, OFFSET_EARLIEST } from "../../src/kafka/admin.ts";
import { KafkaFeed } from "../../src/kafka/feed.ts";
import { decodePlace, encodePlace, KafkaSinkPlace } from "../../src/roles/kafka-sink-place.ts";
import { Random, SEED } from "../random.ts";

describe("what stands with a sink's offset", () => {
  test.each([
    {
      name: "a member's",
      note: { position: { offset: 7, place: 3 }, owner: "weir-1" },
      text: '{"weir":1,"place":3,"owner":"weir-1"}',
    },
    {
      name: "an interval's",
      note: { position: { offset: 7, place: 0, until: 12 }, owner: "weir-1" },
      text: '{"weir":1,"place":0,"until":12,"owner":"weir-1"}',
    },
    { name: "nobody's", note: { position: { offset: 0, place: 0 }, owner: null }, text: '{"weir":1,"place":0}' },
  ])("is read as it was written: $name", ({ note, text }) => {
    expect(encodePlace(note)).toBe(text);
    expect(decodePlace(note.position.offset, text)).toEqual(note);
  });

  test.each([
    "",
    "null",
    "[]",
    "{",
    '{"weir":2,"place":3}',
    '{"weir":1,"place":-1}',
    '{"weir":1,"place":0,"owner":""}',
    "weir1 released",
  ])("is the entry's beginning where somebody else has set it: %j", (metadata) => {
    expect(decodePlace(9, metadata)).toEqual({ position: { offset: 9, place: 0 }, owner: null });
  });

  test("is cut and changed at random, and never stops anybody", () => {
    const random = new Random(SEED);
    const text = encodePlace({ position: { offset: 5, place: 17, until: 40 }, owner: "weir-1b4e28ba" });
    for (let end = 0; end < text.length; end++)
      expect(decodePlace(5, text.slice(0, end)).position).toEqual({ offset: 5, place: 0 });
    for (let i = 0; i < 5000; i++) {
      const bytes = Buffer.from(text);
      for (let n = 0; n < 3; n++) bytes[random.below(bytes.length)] = random.below(256);
      const { position } = decodePlace(5, bytes.toString("latin1"));
      expect(position.offset).toBe(5);
      expect(Number.isSafeInteger(position.place) && position.place >= 0).toBe(true);
    }
  });
});

/** A group that keeps one offset, as Kafka does. */
function fakeGroup() {
  const kept: { offset: number | null; metadata: string } = { offset: null, metadata: "" };
  const group = {
    kept,
    memberId: "a",
    joins: 1,
    isAway: false,
    /** So many commits are refused before one is taken, as while the group's members come together. */
    refusals: 0,
    commitSurely: async (_at: unknown, next: number, metadata: string, joins?: number) => {
      const isRefused = group.refusals > 0 || (joins ?? group.joins) !== group.joins;
      if (group.refusals > 0) group.refusals--;
      if (group.isAway || isRefused) throw new WeirError("kafka_unavailable", "away", { retriable: true });
      Object.assign(kept, { offset: next, metadata });
    },
    committed: async (): Promise<readonly CommittedOffset[]> => [{ partition: 0, ...kept }],
  };
  return group;
}

function placeOf(group: ReturnType<typeof fakeGroup>) {
  const feed = new KafkaFeed("t", 0, { bytesMax: 1, sought: () => {}, turned: () => {} });
  return { feed, place: new KafkaSinkPlace(feed, { admin: group, group, name: "g", log: silentLogger, pauseMs: 1 }) };
}

describe("a sink's place in Kafka", () => {
  test("is given back where the library has forgotten it", async () => {
    const group = fakeGroup();
    const { place } = placeOf(group);
    await place.set(0, { offset: 7, place: 2 });
    Object.assign(group.kept, { offset: OFFSET_EARLIEST, metadata: "" });
    expect(await placeOf(group).place.read()).toEqual({ position: { offset: OFFSET_EARLIEST, place: 0 }, owner: null });
    await place.release();
    expect(group.kept).toEqual({ offset: 7, metadata: '{"weir":1,"place":2}' });
  });

  test("is nowhere, then where it was set, and nobody's when it is released", async () => {
    const group = fakeGroup();
    const { place } = placeOf(group);
    expect(await place.read()).toBeNull();
    await place.set(0, { offset: 4, place: 2, until: 9 });
    expect(await place.read()).toEqual({ position: { offset: 4, place: 2, until: 9 }, owner: "a" });
    await place.release();
    expect(await place.read()).toEqual({ position: { offset: 4, place: 2, until: 9 }, owner: null });
  });

  test("that Kafka does not take is an error while the partition is the member's", async () => {
    const group = fakeGroup();
    const { place } = placeOf(group);
    group.isAway = true;
    await expect(place.set(0, { offset: 4, place: 0 })).rejects.toThrow("away");
  });

  test("is kept, and released, while the group's members come together", async () => {
    const group = fakeGroup();
    const { place } = placeOf(group);
    group.refusals = 3;
    await place.set(0, { offset: 4, place: 0 });
    expect((await place.read())?.owner).toBe("a");
    group.refusals = 3;
    await place.release();
    expect(await place.read()).toEqual({ position: { offset: 4, place: 0 }, owner: null });
  });

  test("is not set once more for a partition that is lost between two tries", async () => {
    const group = fakeGroup();
    const { feed, place } = placeOf(group);
    await place.set(0, { offset: 4, place: 0 });
    group.refusals = 1;
    const setting = place.set(0, { offset: 6, place: 0 });
    feed.lose();
    await setting;
    expect(group.kept.offset).toBe(4);
  });

  test("is released by a look at it that no other member can have come after", async () => {
    const group = fakeGroup();
    const { feed, place } = placeOf(group);
    await place.set(0, { offset: 4, place: 0 });
    feed.lose();
    await place.set(0, { offset: 5, place: 0 });
    const { committed } = group;
    group.committed = async () => {
      const found = await committed();
      // The partition goes to another one between the look and the commit.
      group.committed = committed;
      group.joins++;
      Object.assign(group.kept, {
        offset: 9,
        metadata: encodePlace({ position: { offset: 9, place: 0 }, owner: "b" }),
      });
      return found;
    };
    await place.release();
    expect(await place.read()).toEqual({ position: { offset: 9, place: 0 }, owner: "b" });
  });

  test("moves once more when the partition is released, after it was lost", async () => {
    const group = fakeGroup();
    const { feed, place } = placeOf(group);
    await place.set(0, { offset: 4, place: 0 });
    feed.lose();
    await place.set(0, { offset: 6, place: 1 });
    expect(group.kept.offset).toBe(4);
    await place.release();
    expect(await place.read()).toEqual({ position: { offset: 6, place: 1 }, owner: null });
  });

  test("is left alone by one that slept, when another has gone on", async () => {
    const group = fakeGroup();
    const { feed, place } = placeOf(group);
    await place.set(0, { offset: 4, place: 0 });
    feed.lose();
    await place.set(0, { offset: 5, place: 0 });
    group.memberId = "b";
    const other = placeOf(group).place;
    await other.set(0, { offset: 50, place: 3 });
    await place.release();
    expect(await place.read()).toEqual({ position: { offset: 50, place: 3 }, owner: "b" });
    // And once that one has released it, too.
    await other.release();
    await place.release();
    expect(await place.read()).toEqual({ position: { offset: 50, place: 3 }, owner: null });
  });

  test("is not set back by what this very member had of the partition before it came back to it", async () => {
    const group = fakeGroup();
    const before = placeOf(group);
    await before.place.set(0, { offset: 4, place: 1 });
    before.feed.lose();
    const { place } = placeOf(group);
    await place.set(0, { offset: 4, place: 2 });
    await before.place.release();
    expect(await place.read()).toEqual({ position: { offset: 4, place: 2 }, owner: "a" });
  });

  test("that was never set is not released", async () => {
    const group = fakeGroup();
    await placeOf(group).place.release();
    expect(group.kept.offset).toBeNull();
  });

  test("can't be released while Kafka is away, which stops nobody", async () => {
    const group = fakeGroup();
    const { place } = placeOf(group);
    await place.set(0, { offset: 4, place: 0 });
    group.isAway = true;
    await place.release();
    expect((await place.read())?.owner).toBe("a");
  });
});
