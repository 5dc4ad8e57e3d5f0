import type { Batch, Cluster, Consumer } from "kafkajs";
import { messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { countdown, endsWithin, sleepFor, unlessAborted } from "../core/wait.ts";
import { grouped, placeOf, stickyAssigner, type TopicPartition } from "./assigner.ts";
import type { KafkaClient } from "./client.ts";
import { kafkaError } from "./errors.ts";
import { KafkaFeed } from "./feed.ts";

/** So many partitions may fill one answer: it is inflated as a whole, whatever the feeds have room for. */
const ANSWER_PARTITIONS = 2;
/** What is compressed becomes so many times as much, about. */
const INFLATED = 10;
/** Least of one partition that is asked for at a time, of however many. */
const FETCH_BYTES_MIN = 64 * 1024;
/** Longest wait of a broker for something to read: bounds how late a partition is read that was paused. */
const FETCH_WAIT_MS = 250;
/** How often a member says that it is there, at most: only by an answer to that it knows its generation (`commitSurely`). */
const HEARTBEAT_MS = 500;
/** How long a commit waits for that after the member has joined, and how often it looks. */
const GENERATION_MS = 5000;
const GENERATION_LOOK_MS = 20;
/** How long a member may take to leave its group before its connections are dropped. */
const LEAVE_MS = 3000;
const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 5000;
/** A member that has not been heard of for so many session timeouts is thrown away: the library may hang without a word. */
const SILENT_SESSIONS = 2;

export interface KafkaGroupOptions {
  readonly group: string;
  readonly topics: readonly string[];
  /** After so much silence the group goes on without this member. */
  readonly sessionTimeoutMs: number;
  /** How long members may take to come together again. */
  readonly rebalanceTimeoutMs: number;
  /** Most bytes of one partition in one answer; a larger batch still comes whole. Less where `partitions` says that there are many. */
  readonly fetchBytes: number;
  /** Bytes of each partition that may wait for being taken. */
  readonly feedBytesMax: number;
  /**
   * Bytes of all partitions together that may wait, divided evenly among those that this member has; one answer may always wait of
   * each. Absent: as many as come of `feedBytesMax`.
   */
  readonly feedsBytesMax?: number;
  /**
   * How many partitions there are, all of which this member may come to have: one answer of each is to be no more than `feedsBytesMax`
   * in sum, once inflated. Asked each time before the member joins. Errors as KafkaAdmin.
   */
  readonly partitions?: () => Promise<number>;
  /**
   * A member that the group has given up on, and that joins anew, has nothing of what it had: its feeds are lost, and come as gained.
   * For those who go by the group's offsets.
   */
  readonly beginsAnew?: boolean;
}

export interface KafkaGroupDeps {
  readonly client: KafkaClient;
  readonly log: Logger;
  /**
   * Partitions that this member has from now on and had not before. Nothing of one is read until its feed is told from where.
   * Those that it keeps through a change of the group go on by themselves.
   */
  readonly onGained: (feeds: readonly KafkaFeed[]) => void;
  /** Partitions that another member has now. */
  readonly onLost: (feeds: readonly KafkaFeed[]) => void;
}

/**
 * One member of a consumer group. What the library reads goes to one feed a partition, each with its own bound, so a slow
 * partition holds up no other and no heartbeat. Keeps its membership by itself: whatever breaks, it joins again, with longer
 * and longer pauses. Offsets are whatever the caller commits, and are never gone by.
 */
export class KafkaGroup {
  private readonly options: KafkaGroupOptions;
  private readonly deps: KafkaGroupDeps;
  private readonly feeds = new Map<string, KafkaFeed>();
  private readonly stopping = new AbortController();
  private consumer: Consumer | null = null;
  private member = "";
  /** The id that this member had when it joined last. */
  private joinedAs = "";
  /** The consumer's way to the brokers. */
  private cluster: Cluster | null = null;
  /** Which coming together of the group's members the last join belongs to, or null while it is not known. */
  private generation: number | null = null;
  private running: Promise<void> = Promise.resolve();
  private reason = "has not joined its group yet";
  private heardMs = 0;
  private joined = 0;

  constructor(options: KafkaGroupOptions, deps: KafkaGroupDeps) {
    this.options = options;
    this.deps = deps;
  }

  start(): void {
    this.running = this.run();
    this.running.catch((error: unknown) => {
      this.reason = `the group member has stopped: ${messageOf(error)}`;
      this.deps.log.fatal({ err: error, group: this.options.group }, this.reason);
    });
  }

  /** This member's id in the group; "" before it has joined, and while it is away. */
  get memberId(): string {
    return this.member;
  }

  /** How often this member has joined: while it stays the same, nobody else can have had a partition that this one has. */
  get joins(): number {
    return this.joined;
  }

  /** Why nothing is read, or "". */
  get trouble(): string {
    return this.reason;
  }

  /** The feeds that this member has. */
  get assigned(): readonly KafkaFeed[] {
    return [...this.feeds.values()];
  }

  /**
   * Keeps an offset in the group: what is below `next` is done with. Any member may do that for any partition. Errors as
   * kafkaError; `kafka_unavailable` while this member is away.
   */
  async commit(at: TopicPartition, next: number, metadata = ""): Promise<void> {
    const { consumer } = this;
    if (consumer === null || this.member === "")
      throw new WeirError("kafka_unavailable", "kafka: commit: not a member of the group now", { retriable: true });
    try {
      await consumer.commitOffsets([{ ...at, offset: String(next), metadata }]);
    } catch (error) {
      throw kafkaError(`commit an offset of ${placeOf(at)}`, error, "Read");
    }
  }

  /**
   * As `commit`, for those who go by the offset. It is made once, in the name of the generation of the group that this member belongs to
   * since it joined as `joins` (default: now), and brokers refuse it once the members have come together again, however late it comes.
   * So it never stands over what another member has committed since. (The library makes a commit that failed again under whatever
   * generation it belongs to by then, and calls one done that it has given up on while it stops.)
   */
  async commitSurely(at: TopicPartition, next: number, metadata: string, joins: number = this.joined): Promise<void> {
    const what = `commit an offset of ${placeOf(at)}`;
    const { group: groupId } = this.options;
    const left = countdown(GENERATION_MS);
    while (this.isIn(joins) && this.generation === null && left() > 0 && !this.stopping.signal.aborted)
      await sleepFor(GENERATION_LOOK_MS, this.stopping.signal);
    const { member: memberId, generation, cluster } = this;
    if (!this.isIn(joins) || generation === null || cluster === null) {
      const why = this.isIn(joins) ? "the brokers have not said its generation yet" : "the group has changed since";
      throw new WeirError("kafka_unavailable", `kafka: ${what}: ${why}`, { retriable: true });
    }
    const partitions = [{ partition: at.partition, offset: String(next), metadata }];
    try {
      const coordinator = await cluster.findGroupCoordinator({ groupId });
      const topics = [{ topic: at.topic, partitions }];
      await coordinator.offsetCommit({ groupId, groupGenerationId: generation, memberId, topics });
    } catch (error) {
      throw kafkaError(what, error, "Read");
    }
  }

  /** Whether this member is in its group, and has not joined anew since `joins`. */
  private isIn(joins: number): boolean {
    return this.consumer !== null && this.member !== "" && this.joined === joins;
  }

  /** Leaves the group. All feeds are lost then. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running.catch(() => {}); // Said in `start`.
    for (const feed of this.feeds.values()) feed.lose();
    this.feeds.clear();
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (let attempt = 0; !signal.aborted; attempt++) {
      const began = performance.now();
      const error = await this.membership();
      this.member = "";
      if (signal.aborted) return;
      this.reason = kafkaError(`group ${this.options.group}`, error, "Read").message;
      // One that held for a while and broke begins with the short pauses again.
      if (performance.now() - began > this.options.sessionTimeoutMs) attempt = 0;
      const pauseMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** attempt) * (1 - Math.random() / 2);
      const level = attempt === 0 ? "warn" : "debug";
      this.deps.log[level]({ group: this.options.group }, `${this.reason}; joins again`);
      await sleepFor(pauseMs, signal);
    }
  }

  /** Joins, and resolves to what has ended the membership. */
  private async membership(): Promise<unknown> {
    const { group, topics, sessionTimeoutMs, rebalanceTimeoutMs, fetchBytes } = this.options;
    let partitionBytes: number;
    try {
      partitionBytes = await this.partitionBytes();
    } catch (error) {
      return this.stopping.signal.aborted ? null : error;
    }
    if (this.stopping.signal.aborted) return null;
    let cluster: Cluster | null = null;
    const consumer = this.deps.client.consumer({
      groupId: group,
      partitionAssigners: [
        (config) => {
          cluster = config.cluster;
          return stickyAssigner(() => grouped([...this.feeds.values()]))(config);
        },
      ],
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
      heartbeatInterval: Math.min(HEARTBEAT_MS, Math.floor(sessionTimeoutMs / 5)),
      maxBytesPerPartition: partitionBytes,
      maxBytes: fetchBytes * ANSWER_PARTITIONS,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      minBytes: 1,
      allowAutoTopicCreation: false,
      // Beginning anew is done here, with bounds of our own.
      retry: { retries: 5, restartOnFailure: async () => false },
    });
    const ended = this.endOf(consumer);
    try {
      this.heardMs = performance.now();
      await consumer.connect();
      await consumer.subscribe({ topics: [...topics], fromBeginning: true });
      this.consumer = consumer;
      this.cluster = cluster;
      await consumer.run({
        autoCommit: false,
        partitionsConsumedConcurrently: 1,
        eachBatch: async ({ batch, isStale }) => {
          if (this.consumer !== consumer || isStale()) return;
          const feed = this.feeds.get(placeOf(batch));
          feed?.push(batch.messages, Number(batch.highWatermark), askedFrom(batch), Number(batch.lastOffset()) + 1);
        },
      });
      return await ended.promise;
    } catch (error) {
      return error;
    } finally {
      ended.close();
      this.consumer = null;
      this.cluster = null;
      await endsWithin(consumer.disconnect(), LEAVE_MS);
    }
  }

  /** Most bytes of one partition in one answer. Rejects when the member is stopped meanwhile, and as `partitions` does. */
  private async partitionBytes(): Promise<number> {
    const { fetchBytes, feedsBytesMax, partitions } = this.options;
    if (feedsBytesMax === undefined || partitions === undefined) return fetchBytes;
    const count = await unlessAborted(partitions(), this.stopping.signal);
    const share = Math.floor(feedsBytesMax / (INFLATED * Math.max(1, count)));
    return Math.min(fetchBytes, Math.max(FETCH_BYTES_MIN, share));
  }

  /** Bytes of each partition that may wait while this member has as many as it has. */
  private get shareBytes(): number {
    const { feedBytesMax, feedsBytesMax = Number.POSITIVE_INFINITY } = this.options;
    return Math.min(feedBytesMax, feedsBytesMax / Math.max(1, this.feeds.size));
  }

  /** What ends a membership: a crash of the library, its silence, or `stop`. */
  private endOf(consumer: Consumer): { promise: Promise<unknown>; close: () => void } {
    const { signal } = this.stopping;
    let resolve: (error: unknown) => void = () => {};
    const promise = new Promise<unknown>((done) => {
      resolve = done;
    });
    const silentMs = SILENT_SESSIONS * Math.max(this.options.sessionTimeoutMs, this.options.rebalanceTimeoutMs);
    const timer = setInterval(() => {
      const quietMs = Math.round(performance.now() - this.heardMs);
      if (quietMs > silentMs) resolve(new Error(`nothing was heard of the brokers for ${quietMs} ms`));
    }, 1000);
    const stop = () => resolve(null);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const { events } = consumer;
    let isOver = false;
    const hear = () => {
      if (!isOver) this.heardMs = performance.now();
    };
    consumer.on(events.HEARTBEAT, ({ payload }) => {
      hear();
      // One of the generation before may come late: what is committed in its name is refused, until the next one has come.
      if (!isOver && payload.memberId === this.member) this.generation = payload.groupGenerationId;
    });
    consumer.on(events.FETCH, hear);
    consumer.on(events.CRASH, ({ payload }) => resolve(payload.error));
    consumer.on(events.GROUP_JOIN, ({ payload }) => {
      // A library that hung was given up, and another member has taken its place here.
      if (isOver) {
        consumer.disconnect().catch((error: unknown) => this.deps.log.debug(`kafka: ${messageOf(error)}`));
        return;
      }
      hear();
      // A listener that throws would end the library's own join.
      try {
        this.onJoin(consumer, payload.memberId, payload.memberAssignment);
      } catch (error) {
        resolve(error);
      }
    });
    return {
      promise,
      close: () => {
        isOver = true;
        clearInterval(timer);
        signal.removeEventListener("abort", stop);
      },
    };
  }

  private onJoin(consumer: Consumer, memberId: string, assignment: Readonly<Record<string, number[]>>): void {
    this.member = memberId;
    this.joined++;
    this.generation = null;
    this.reason = "";
    const mine = Object.entries(assignment).flatMap(([topic, partitions]) =>
      partitions.map((partition) => ({ topic, partition })),
    );
    const places = new Set(mine.map(placeOf));
    const isAnew = this.options.beginsAnew === true && memberId !== this.joinedAs;
    this.joinedAs = memberId;
    const lost = [...this.feeds].filter(([place]) => isAnew || !places.has(place));
    for (const [place, feed] of lost) {
      this.feeds.delete(place);
      feed.lose();
    }
    const gained: KafkaFeed[] = [];
    for (const at of mine) {
      const known = this.feeds.get(placeOf(at));
      const feed = known ?? this.newFeed(at);
      if (known === undefined) gained.push(feed);
    }
    for (const feed of this.feeds.values()) {
      // What each may have goes by how many there are.
      feed.fit();
      // The library has forgotten where it was, and would begin at the group's offsets.
      this.steer(consumer, feed, true);
    }
    const { group } = this.options;
    this.deps.log.info(
      { group, partitions: mine.length, gained: gained.length, lost: lost.length },
      `kafka: group ${group}: has ${mine.length} partitions, ${gained.length} of them new, and gave up ${lost.length}`,
    );
    if (lost.length > 0) this.deps.onLost(lost.map(([, feed]) => feed));
    if (gained.length > 0) this.deps.onGained(gained);
  }

  private newFeed(at: TopicPartition): KafkaFeed {
    const bytesMax = () => this.shareBytes;
    const feed: KafkaFeed = new KafkaFeed(at.topic, at.partition, {
      get bytesMax() {
        return bytesMax();
      },
      sought: () => this.steerNow(feed, true),
      turned: () => this.steerNow(feed, false),
    });
    this.feeds.set(placeOf(at), feed);
    return feed;
  }

  private steerNow(feed: KafkaFeed, seeks: boolean): void {
    // While the member is away nothing is read; it is steered when it joins again.
    if (this.consumer === null || this.member === "" || this.feeds.get(placeOf(feed)) !== feed) return;
    try {
      this.steer(this.consumer, feed, seeks);
    } catch (error) {
      // A library that breaks down takes nothing any more, and says that it has broken down once all its connections are closed.
      this.deps.log.debug({ group: this.options.group }, `kafka: ${placeOf(feed)}: ${messageOf(error)}`);
    }
  }

  private steer(consumer: Consumer, feed: KafkaFeed, seeks: boolean): void {
    const { topic, partition } = feed;
    const one = [{ topic, partitions: [partition] }];
    if (seeks && feed.fetchOffset >= 0) consumer.seek({ topic, partition, offset: String(feed.fetchOffset) });
    if (feed.wantsMore) consumer.resume(one);
    else consumer.pause(one);
  }
}

/** The offset that the library has asked a broker for. It keeps it in the batch, and says nothing of it in its types. */
function askedFrom(batch: Batch): number {
  const from = "fetchedOffset" in batch ? Number(batch.fetchedOffset) : Number.NaN;
  if (Number.isNaN(from)) throw new Error("kafkajs: a batch does not say any more from where it was asked for");
  return from;
}
