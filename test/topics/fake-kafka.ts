import { setTimeout as sleep } from "node:timers/promises";
import { WeirError } from "../../src/core/errors.ts";
import type { EntryDraft } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { KafkaMessage } from "../../src/kafka/feed.ts";
import {
  type Committed,
  type LaneDeps,
  type LaneFeed,
  type LaneGroup,
  type LaneIntake,
  TopicLane,
} from "../../src/topics/lane.ts";
import { topicMetrics } from "../../src/topics/metrics.ts";
import { Slots } from "../../src/topics/slots.ts";
import type { Random } from "../random.ts";
import { limits, optionsOf, plain, readPart } from "./support.ts";

const NEVER = new Promise<never>(() => {});

/** One partition and its group, as brokers see them. */
export class FakePartition {
  readonly log: KafkaMessage[] = [];
  committed: Committed = { offset: null, metadata: "" };
  low = 0;
  /** Members that the group has. */
  readonly members = new Set<string>();
  /** How often the members have come together. */
  generation = 0;

  write(value: string): void {
    this.log.push({
      offset: this.low + this.log.length,
      timestampMs: 1_700_000_000_000,
      key: null,
      value: Buffer.from(value),
      headers: {},
    });
  }

  get high(): number {
    return this.low + this.log.length;
  }

  /** Removes what is below `offset`. */
  removeBelow(offset: number): void {
    this.log.splice(0, offset - this.low);
    this.low = offset;
  }
}

/** An intake log that knows the last key of each lane, as little as one may know. */
export class FakeIntake implements LaneIntake {
  readonly lines: string[] = [];
  /** The error of the next appends. */
  trouble: WeirError | null = null;
  bytesMax = Number.POSITIVE_INFINITY;
  appends = 0;
  private readonly last = new Map<string, string>();
  private waiters: (() => void)[] = [];

  async append(draft: EntryDraft): Promise<{ offset: number | null }> {
    this.appends++;
    await sleep(0);
    const key = draft.dedupeKey ?? "";
    const lane = key.slice(0, key.indexOf("\0"));
    if (draft.hasLane !== true || lane === "") throw new Error("an entry without a lane");
    if (this.last.get(lane) === key) return { offset: null };
    if (draft.payload.length > this.bytesMax) throw new WeirError("intake_entry_too_large", "too large");
    if (this.trouble !== null) throw this.trouble;
    this.last.set(lane, key);
    for (const { record } of readPart(draft)) this.lines.push(String((plain(record) as { log: string }).log));
    return { offset: this.lines.length };
  }

  whenWritable(): Promise<void> {
    if (this.trouble === null) return Promise.resolve();
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  mend(): void {
    this.trouble = null;
    for (const wake of this.waiters.splice(0)) wake();
  }
}

class FakeFeed implements LaneFeed {
  readonly topic = "logs";
  readonly partition = 0;
  isLost = false;
  isCut = false;
  private readonly of: FakePartition;
  private next = -1;
  constructor(of: FakePartition) {
    this.of = of;
  }
  get highWatermark(): number {
    return this.of.high;
  }
  get waitingBytes(): number {
    return this.of.log.length;
  }
  get wantsMore(): boolean {
    return !this.isLost;
  }
  seek(offset: number): void {
    this.next = offset;
    this.isCut = false;
  }
  peek(): KafkaMessage | null {
    return this.isLost ? null : (this.of.log.find(({ offset }) => this.next >= 0 && offset >= this.next) ?? null);
  }
  poll(): KafkaMessage | null {
    const message = this.peek();
    if (message !== null) this.next = message.offset + 1;
    return message;
  }
  async wait(): Promise<void> {
    while (!this.isLost && !this.isCut && this.peek() === null) await sleep(1);
  }
}

/** A process that reads the partition while it has it. */
export class FakeMember {
  id: string;
  readonly feed: FakeFeed;
  readonly done: Promise<void>;
  /** Once it is dead nothing that it has begun ends, and nothing it begins has an effect. */
  isAlive = true;
  /** The answer to what is committed comes after this. */
  answering: Promise<void> = Promise.resolve();
  /** How often it has asked that. */
  asked = 0;
  /** Makes every request slow by up to so many milliseconds, and lets answers get lost now and then. */
  readonly stopping = new AbortController();
  readonly abandoned = new AbortController();
  private seenGeneration: number;

  constructor(
    id: string,
    partition: FakePartition,
    intake: LaneIntake,
    {
      random,
      losesAnswers = false,
      ...more
    }: { random?: Random; losesAnswers?: boolean } & Record<string, unknown> = {},
  ) {
    this.id = id;
    partition.members.add(id);
    partition.generation++;
    this.seenGeneration = partition.generation;
    this.feed = new FakeFeed(partition);
    const call = async <T>(act: () => T | Promise<T>, mayLose = losesAnswers): Promise<T> => {
      await sleep(random?.below(3) ?? 0);
      if (!this.isAlive) return NEVER;
      const result = await act();
      await sleep(random?.below(3) ?? 0);
      if (!this.isAlive) return NEVER;
      if (mayLose && random?.below(12) === 0)
        throw new WeirError("kafka_unavailable", "no answer", { retriable: true });
      return result;
    };
    const me = this;
    const group: LaneGroup = {
      get memberId() {
        return me.id;
      },
      get joins() {
        return me.seenGeneration;
      },
      commit: (_topic, _partition, offset, metadata, joins) =>
        call(() => {
          // A commit says of which generation of the group it is, and one of an older one is refused.
          if (joins !== me.seenGeneration)
            throw new WeirError("kafka_unavailable", "ILLEGAL_GENERATION", { retriable: true });
          if (!partition.members.has(me.id))
            throw new WeirError("kafka_unavailable", "UNKNOWN_MEMBER_ID", { retriable: true });
          partition.committed = { offset, metadata };
        }),
      committed: async () => {
        const found = await call(() => partition.committed);
        me.asked++;
        await me.answering;
        return found;
      },
      members: () => call(() => new Set(partition.members)),
      offsets: () => call(() => ({ low: partition.low, high: partition.high })),
    };
    const deps: LaneDeps = {
      options: optionsOf({ format: "line", linger_ms: 0, batch_messages_max: 7, metadata: [], ...more }),
      receiver: "in",
      feed: this.feed,
      group,
      intake: {
        // What it rejects it has not stored: that is what an intake log on disk promises.
        append: (draft) => call(() => intake.append(draft), false),
        whenWritable: () => intake.whenWritable(),
      },
      slots: new Slots(1),
      stopping: this.stopping.signal,
      abandoned: this.abandoned.signal,
      metrics: topicMetrics(new Metrics()),
      log: silentLogger,
      limits,
      now: Date.now,
    };
    this.done = new TopicLane(deps).run();
  }

  /** The group has come together again, and this member hears of it. */
  rejoin(id = this.id): void {
    this.id = id;
    this.seenGeneration++;
  }

  /** Another member has the partition now. */
  lose(): void {
    this.rejoin();
    this.feed.isLost = true;
  }

  kill(partition: FakePartition): void {
    this.isAlive = false;
    partition.members.delete(this.id);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.done;
  }
}

export async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(2);
}
