import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { type KafkaAdmin, OFFSET_EARLIEST } from "../kafka/admin.ts";
import type { KafkaFeed } from "../kafka/feed.ts";
import type { KafkaGroup } from "../kafka/group.ts";
import type { SinkPosition } from "./sink-position.ts";

/** While the members of a group come together, its brokers take no offset: so often, and with such pauses, it is tried. */
const TRIES = 5;
const PAUSE_MS = 250;

/*
 * How far a sink has come in a partition is kept in the sink's own consumer group. The offset is the entry that is next; with it
 * stands, as JSON, what else the position has, and the member that has the partition:
 *
 *   {"weir":1,"place":0,"until":120,"owner":"weir-1b4e28ba"}
 *
 * `place` and `until` as in sink-position.ts; `owner` is left out once the member has released the partition.
 */
const schema = z.object({
  weir: z.literal(1),
  place: z.int().nonnegative(),
  until: z.int().nonnegative().optional(),
  owner: z.string().min(1).optional(),
});

export interface PlaceNote {
  readonly position: SinkPosition;
  /** null: nobody's. */
  readonly owner: string | null;
}

/** What is to stand with the position's offset. */
export function encodePlace({ position, owner }: PlaceNote): string {
  const { place, until } = position;
  return JSON.stringify({ weir: 1, place, until, ...(owner === null ? {} : { owner }) });
}

/** Of an offset that somebody else has set, as tools do, nothing more is known: the entry is sent from its first record on. */
export function decodePlace(offset: number, metadata: string): PlaceNote {
  let found: unknown = null;
  try {
    found = JSON.parse(metadata);
  } catch {
    // Somebody else's.
  }
  const { success, data } = schema.safeParse(found);
  if (!success) return { position: { offset, place: 0 }, owner: null };
  const { place, until, owner = null } = data;
  return { position: { offset, place, ...(until === undefined ? {} : { until }) }, owner };
}

function isFurther(a: SinkPosition, b: SinkPosition): boolean {
  return a.offset > b.offset || (a.offset === b.offset && a.place > b.place);
}

export interface PlaceDeps {
  readonly admin: Pick<KafkaAdmin, "committed">;
  readonly group: Pick<KafkaGroup, "memberId" | "joins" | "commitSurely">;
  /** The group's name. */
  readonly name: string;
  readonly log: Logger;
  /** For tests; PAUSE_MS otherwise. */
  readonly pauseMs?: number;
}

/** Where a sink has come to in one partition, while this process has it. */
export class KafkaSinkPlace {
  private readonly feed: KafkaFeed;
  private readonly deps: PlaceDeps;
  private position: SinkPosition | null = null;
  /** Under which id the position was kept last. */
  private owner = "";

  constructor(feed: KafkaFeed, deps: PlaceDeps) {
    this.feed = feed;
    this.deps = deps;
  }

  /** What the group has of the partition, or null; OFFSET_EARLIEST for a position that Kafka has removed. Errors as KafkaAdmin. */
  async read(): Promise<PlaceNote | null> {
    const { admin, name } = this.deps;
    const { topic, partition } = this.feed;
    const found = (await admin.committed(name, topic)).find((one) => one.partition === partition);
    if (found === undefined || found.offset === null) return null;
    return decodePlace(found.offset, found.metadata);
  }

  get(): SinkPosition | null {
    return this.position;
  }

  /** Resolves when Kafka has it; once the partition is another's, at once: `release` is for that then. Errors as kafkaError. */
  async set(_partition: number, position: SinkPosition): Promise<void> {
    const { group } = this.deps;
    this.position = position;
    await this.insist(async () => {
      if (this.feed.isLost) return;
      this.owner = group.memberId;
      try {
        await this.commit({ position, owner: this.owner });
      } catch (error) {
        if (!this.feed.isLost) throw error;
      }
    });
  }

  /** Leaves the position to whoever goes on, unless somebody has gone on already. Never rejects. */
  async release(): Promise<void> {
    const { log } = this.deps;
    const { position } = this;
    if (position === null) return;
    try {
      await this.insist(async () => {
        const { joins } = this.deps.group;
        // Whoever has gone on without waiting knows better: an older position would send its records once more.
        const kept = await this.read();
        const isReset = kept?.position.offset === OFFSET_EARLIEST;
        if (!isReset && (kept === null || kept.owner !== this.owner || isFurther(kept.position, position))) return;
        await this.commit({ position, owner: null }, joins);
      });
    } catch (error) {
      // The next one waits a little longer, and sends again what was taken since the last commit.
      log.debug({ partition: this.feed.partition }, `sink: can't release the partition: ${messageOf(error)}`);
    }
  }

  private async insist(act: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await act();
      } catch (error) {
        if (tries === TRIES) throw error;
      }
      await sleep(this.deps.pauseMs ?? PAUSE_MS);
    }
  }

  private commit(note: PlaceNote, joins?: number): Promise<void> {
    const { topic, partition } = this.feed;
    return this.deps.group.commitSurely({ topic, partition }, note.position.offset, encodePlace(note), joins);
  }
}
