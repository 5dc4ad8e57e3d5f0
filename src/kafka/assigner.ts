import type { PartitionAssigner } from "kafkajs";
import { AssignerProtocol } from "./vendor.ts";

/*
 * Who gets which partition: as even as can be, and whoever has one keeps it if that stays even. Kafka's own word for it is
 * sticky. Each member says in its subscription what it has:
 *
 *   userData: UTF-8 JSON {"v":1,"owned":{"<topic>":[partition, …]}}
 */
const NAME = "weir-sticky";
const VERSION = 1;

export type Owned = ReadonlyMap<string, readonly number[]>;

/** An assigner whose member has what `owned` gives at the time of each join. */
export function stickyAssigner(owned: () => Owned): PartitionAssigner {
  return ({ cluster }) => ({
    name: NAME,
    version: VERSION,
    protocol: ({ topics }) => ({
      name: NAME,
      metadata: AssignerProtocol.MemberMetadata.encode({
        version: VERSION,
        topics,
        userData: Buffer.from(JSON.stringify({ v: VERSION, owned: Object.fromEntries(owned()) })),
      }),
    }),
    assign: async ({ members, topics }) => {
      const partitions = topics.flatMap((topic) =>
        cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => ({ topic, partition: partitionId })),
      );
      const claims = new Map(members.map(({ memberId, memberMetadata }) => [memberId, claimsOf(memberMetadata)]));
      return [...assignSticky(partitions, claims)].map(([memberId, mine]) => ({
        memberId,
        memberAssignment: AssignerProtocol.MemberAssignment.encode({
          version: VERSION,
          assignment: Object.fromEntries(grouped(mine)),
          userData: Buffer.alloc(0),
        }),
      }));
    },
  });
}

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

export const placeOf = ({ topic, partition }: TopicPartition): string => `${topic}/${partition}`;

/**
 * Shares `partitions` out to the members. `claims` has for each member what it says that it has; one that several claim stays
 * with none of them in particular. The same input gives the same answer, whatever its order.
 */
export function assignSticky(
  partitions: readonly TopicPartition[],
  claims: ReadonlyMap<string, readonly string[]>,
): Map<string, TopicPartition[]> {
  const members = [...claims.keys()].sort();
  const shares = new Map<string, TopicPartition[]>(members.map((member) => [member, []]));
  if (members.length === 0) return shares;
  const all = [...partitions].sort((a, b) =>
    a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition,
  );
  const owners = ownersOf(claims);
  const least = Math.floor(all.length / members.length);
  // So many members may have one more than the others.
  let larger = all.length % members.length;
  const free: TopicPartition[] = [];
  for (const one of all) {
    const share = shares.get(owners.get(placeOf(one)) ?? "");
    if (share === undefined || share.length > least || (share.length === least && larger === 0)) {
      free.push(one);
      continue;
    }
    if (share.length === least) larger--;
    share.push(one);
  }
  for (const one of free) {
    let smallest = shares.get(members[0]) ?? [];
    for (const share of shares.values()) if (share.length < smallest.length) smallest = share;
    smallest.push(one);
  }
  return shares;
}

function ownersOf(claims: ReadonlyMap<string, readonly string[]>): Map<string, string> {
  const owners = new Map<string, string>();
  for (const [member, places] of claims) {
    for (const place of places) owners.set(place, owners.has(place) ? "" : member);
  }
  return owners;
}

/** What a member says that it has; nothing, where it says nothing that can be read. */
export function claimsOf(metadata: Buffer): string[] {
  try {
    const userData = AssignerProtocol.MemberMetadata.decode(metadata)?.userData;
    const said: unknown = JSON.parse(String(userData ?? "null"));
    if (typeof said !== "object" || said === null || !("owned" in said)) return [];
    const { owned } = said;
    if (typeof owned !== "object" || owned === null) return [];
    return Object.entries(owned).flatMap(([topic, partitions]) =>
      Array.isArray(partitions) ? partitions.map((partition) => `${topic}/${partition}`) : [],
    );
  } catch {
    return []; // Another program's, or another version's. It gets its share all the same.
  }
}

export function grouped(partitions: readonly TopicPartition[]): Map<string, number[]> {
  const topics = new Map<string, number[]>();
  for (const { topic, partition } of partitions) {
    const list = topics.get(topic);
    if (list === undefined) topics.set(topic, [partition]);
    else list.push(partition);
  }
  return topics;
}
