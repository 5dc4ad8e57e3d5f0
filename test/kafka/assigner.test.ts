import { AssignerProtocol } from "kafkajs";
import { describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { assignSticky, claimsOf, placeOf, type TopicPartition } from "../../src/kafka/assigner.ts";
import { SEED } from "../random.ts";

const topicOf = (count: number, topic = "t"): TopicPartition[] =>
  Array.from({ length: count }, (_, partition) => ({ topic, partition }));

const claims = (of: Readonly<Record<string, readonly string[]>>) => new Map(Object.entries(of));
const places = (shares: ReadonlyMap<string, readonly TopicPartition[]>) =>
  Object.fromEntries([...shares].map(([member, share]) => [member, share.map(placeOf)]));
const sorted = (shares: ReadonlyMap<string, readonly TopicPartition[]>) =>
  Object.fromEntries([...shares].map(([member, share]) => [member, share.map(placeOf).toSorted()]));

describe("the sticky assigner", () => {
  test.each([
    { name: "gives one member everything", count: 2, has: { a: [] }, gives: { a: ["t/0", "t/1"] } },
    { name: "leaves each what it has", count: 2, has: { a: ["t/1"], b: ["t/0"] }, gives: { a: ["t/1"], b: ["t/0"] } },
    {
      name: "takes the surplus away for a new one",
      count: 4,
      has: { a: ["t/0", "t/1", "t/2", "t/3"], b: [] },
      gives: { a: ["t/0", "t/1"], b: ["t/2", "t/3"] },
    },
    {
      name: "lets the larger share stay where it is",
      count: 3,
      has: { a: ["t/2"], b: ["t/0", "t/1"] },
      gives: { a: ["t/2"], b: ["t/0", "t/1"] },
    },
    {
      name: "leaves a member without where there are too few",
      count: 1,
      has: { a: [], b: ["t/0"], c: [] },
      gives: { a: [], b: ["t/0"], c: [] },
    },
    {
      name: "believes nobody what two claim",
      count: 2,
      has: { a: ["t/0", "t/1"], b: ["t/0"] },
      gives: { a: ["t/1"], b: ["t/0"] },
    },
    { name: "forgets partitions that are not there", count: 1, has: { a: ["t/7", "u/0"] }, gives: { a: ["t/0"] } },
  ])("$name", ({ count, has, gives }) => {
    expect(places(assignSticky(topicOf(count), claims(has as unknown as Record<string, string[]>)))).toEqual(gives);
  });

  test("shares everything evenly, moves as little as it can, and does not care about the order", () => {
    const random = new Random(SEED);
    for (let round = 0; round < 300; round++) {
      const partitions = [...topicOf(random.below(20), "t"), ...topicOf(random.below(6), "u")];
      const members = Array.from({ length: 1 + random.below(6) }, (_, i) => `m${i}`);
      const has = new Map<string, string[]>(members.map((member) => [member, []]));
      for (const one of partitions) {
        const owner = members[random.below(members.length + 1)];
        if (owner !== undefined) has.get(owner)?.push(placeOf(one));
      }
      const shares = assignSticky(partitions, has);
      const all = [...shares.values()].flat().map(placeOf);
      expect(all.toSorted()).toEqual(partitions.map(placeOf).toSorted());
      const sizes = [...shares.values()].map(({ length }) => length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      // Who has no more than a fair share keeps all of it.
      const least = Math.floor(partitions.length / members.length);
      for (const [member, share] of shares) {
        const kept = share.map(placeOf).filter((place) => has.get(member)?.includes(place)).length;
        expect(kept).toBeGreaterThanOrEqual(Math.min(least, has.get(member)?.length ?? 0));
      }
      const shuffled = new Map([...has].reverse());
      expect(places(assignSticky([...partitions].reverse(), shuffled))).toEqual(places(shares));
      // Asked again, everybody stays.
      const settled = new Map([...shares].map(([member, share]) => [member, share.map(placeOf)]));
      expect(sorted(assignSticky(partitions, settled))).toEqual(sorted(shares));
    }
  });

  test.each([
    { name: "nothing", bytes: Buffer.alloc(0) },
    {
      name: "no user data",
      bytes: AssignerProtocol.MemberMetadata.encode({ version: 1, topics: ["t"], userData: Buffer.alloc(0) }),
    },
    {
      name: "other user data",
      bytes: AssignerProtocol.MemberMetadata.encode({ version: 1, topics: ["t"], userData: Buffer.from("null") }),
    },
    {
      name: "user data of another shape",
      bytes: AssignerProtocol.MemberMetadata.encode({
        version: 1,
        topics: [],
        userData: Buffer.from('{"owned":{"t":3}}'),
      }),
    },
  ])("reads no claims from $name", ({ bytes }) => {
    expect(claimsOf(bytes)).toEqual([]);
  });
});
