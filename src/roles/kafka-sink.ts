import { messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { RecordSink } from "../core/sink.ts";
import { endsWithin, sleepFor } from "../core/wait.ts";
import { KafkaPartition, topicLost, type WindowStore } from "../intake/kafka-partition.ts";
import type { KafkaReadMetrics } from "../intake/kafka-read-metrics.ts";
import type { WindowRoom } from "../intake/window-room.ts";
import { OFFSET_EARLIEST } from "../kafka/admin.ts";
import type { KafkaFeed } from "../kafka/feed.ts";
import { KafkaGroup } from "../kafka/group.ts";
import type { Catalog } from "../store/catalog.ts";
import { feedBounds } from "./kafka-feeds.ts";
import type { KafkaSide } from "./kafka-side.ts";
import { KafkaSinkIntake } from "./kafka-sink-intake.ts";
import { KafkaSinkPlace } from "./kafka-sink-place.ts";
import { windowRoom } from "./kafka-windows.ts";
import type { OpenedSink } from "./record-sinks.ts";
import type { SinkRunner } from "./sink-runner.ts";

/** How often it is looked whether a partition was released. */
const HANDOVER_LOOK_MS = 200;
/** How often it is looked where the log ends, for sinks that read no further now. */
const END_LOOK_MS = 2000;
/** Pause after an error that has ended a runner, until another one begins; and how long that one has to hold to be taken for well. */
const RESTART_MS = 5000;
/** Pause after brokers, or the store, did not say where to begin. */
const RETRY_MS = 1000;
/** What is under way when a partition goes to another process may take so long, and so much of the time that the other one waits. */
const LEAVE_MS = 5000;
const LEAVE_PART = 0.5;
/** How long a stop waits for the same: the destination has what it took, and the rest goes on elsewhere. */
const STOP_MS = 1000;
const RELEASE_MS = 1500;
const LEAVE_GROUP_MS = 2000;

export interface KafkaSinkDeps {
  readonly kafka: KafkaSide;
  readonly catalog: Catalog;
  /** Only read: what workers keep. */
  readonly windows: WindowStore;
  readonly readMetrics: KafkaReadMetrics;
  readonly log: Logger;
  /** For tests; RESTART_MS otherwise. */
  readonly restartMs?: number;
}

/** One partition while this process has it for a sink. */
interface Member {
  readonly feed: KafkaFeed;
  readonly place: KafkaSinkPlace;
  readonly intake: KafkaSinkIntake;
  readonly runner: SinkRunner;
}

/**
 * One sink over the intake log in Kafka: a member of the sink's own consumer group, with a runner for each partition that the group
 * gives to it. A runner goes on where the group's offset says, once whoever had the partition before has released it, is gone, or
 * takes too long; and again, after a pause, when an error has ended the runner.
 */
export class KafkaSink {
  private readonly name: string;
  private readonly sink: OpenedSink;
  private readonly deps: KafkaSinkDeps;
  private readonly groupName: string;
  private readonly group: KafkaGroup;
  private readonly held: RecordSink;
  /** For the windows of all partitions. */
  private readonly room: WindowRoom;
  private readonly members = new Map<number, Member>();
  private readonly releasing = new Map<number, Promise<void>>();
  private readonly stopping = new AbortController();
  /** Why nothing of a partition is sent, until that is mended for sure. */
  private readonly failures = new Map<KafkaFeed, string>();

  /** Joins no group yet. */
  constructor(name: string, sink: OpenedSink, deps: KafkaSinkDeps) {
    const { client, options } = deps.kafka;
    const { topic, session_timeout_ms, feed_bytes_max } = options;
    this.name = name;
    this.sink = sink;
    this.deps = deps;
    this.groupName = `${options.group}-sink-${name}`;
    this.held = sink.hold();
    this.room = windowRoom(options, `sink ${name}`, deps.readMetrics, deps.log);
    this.group = new KafkaGroup(
      {
        group: this.groupName,
        topics: [topic],
        sessionTimeoutMs: session_timeout_ms,
        rebalanceTimeoutMs: session_timeout_ms,
        ...feedBounds(deps.kafka, feed_bytes_max),
        beginsAnew: true,
      },
      {
        client,
        log: deps.log,
        onGained: (feeds) => {
          for (const feed of feeds) this.keep(feed);
        },
        onLost: (feeds) => {
          const ms = Math.min(LEAVE_MS, options.handover_timeout_ms * LEAVE_PART);
          for (const { partition } of feeds) this.release(partition, ms);
        },
      },
    );
  }

  start(): void {
    this.group.start();
    this.lookAtEnds().catch((error: unknown) => {
      const reason = `sink ${this.name}: no longer looks how far it is behind: ${messageOf(error)}`;
      this.deps.log.fatal({ sink: this.name, err: error }, reason);
    });
  }

  /** Partitions that the sink sends from here. */
  get partitions(): number {
    return this.members.size;
  }

  /** Why nothing is sent from here, or only a part, or "". */
  get failure(): string {
    const stopped = [...this.members.values()].flatMap(({ runner }) => runner.failure ?? []);
    const { trouble } = this.group;
    const reading = trouble === "" ? [] : [`sink ${this.name} reads nothing: ${trouble}`];
    return [...new Set([...stopped, ...reading, ...this.failures.values()])].join("; ");
  }

  /** Keeps the positions, and leaves the group, within some seconds. */
  async stop(): Promise<void> {
    this.stopping.abort();
    for (const feed of this.group.assigned) feed.lose();
    for (const partition of [...this.members.keys()]) this.release(partition, STOP_MS);
    const { log } = this.deps;
    if (!(await endsWithin(Promise.all(this.releasing.values()), STOP_MS + RELEASE_MS)))
      log.warn(
        { sink: this.name },
        `stop: sink ${this.name} did not end in time; whoever goes on sends some records again`,
      );
    await endsWithin(this.group.stop(), LEAVE_GROUP_MS);
    await this.held.close().catch((error: unknown) => log.warn({ sink: this.name }, messageOf(error)));
  }

  /** A partition of which enough waits is not read, and nothing else tells how it grows. */
  private async lookAtEnds(): Promise<void> {
    const { signal } = this.stopping;
    const { kafka, log } = this.deps;
    while (!signal.aborted) {
      await sleepFor(END_LOOK_MS, signal);
      if (signal.aborted || [...this.members.values()].every(({ feed }) => feed.wantsMore)) continue;
      try {
        for (const { partition, high } of await kafka.offsets()) this.members.get(partition)?.intake.sawEnd(high);
      } catch (error) {
        if (!(error instanceof WeirError)) throw error;
        log.debug({ sink: this.name }, `sink ${this.name}: ${error.message}`);
      }
    }
  }

  private keep(feed: KafkaFeed): void {
    const { log } = this.deps;
    const { partition } = feed;
    this.work(feed)
      .catch((error: unknown) => log.fatal({ sink: this.name, partition, err: error }, messageOf(error)))
      .finally(() => this.fails(feed, null));
  }

  /** Sends what comes of a partition, again after errors, until it is lost. */
  private async work(feed: KafkaFeed): Promise<void> {
    const { log, restartMs = RESTART_MS } = this.deps;
    const { partition } = feed;
    // This process itself may have it still, when it was given away and came back.
    await this.releasing.get(partition);
    while (!this.isOver(feed)) {
      try {
        await this.run(feed);
        return;
      } catch (error) {
        if (this.isOver(feed)) return;
        const reason = this.reasonOf(partition, error);
        if (this.failures.get(feed) !== reason) log.error({ sink: this.name, partition, err: error }, reason);
        this.fails(feed, reason);
        await sleepFor(restartMs, this.stopping.signal);
      }
    }
  }

  private reasonOf(partition: number, error: unknown): string {
    return `sink ${this.name} sends nothing of partition ${partition}, and begins again soon: ${messageOf(error)}`;
  }

  private fails(feed: KafkaFeed, reason: string | null): void {
    if (reason !== null) this.failures.set(feed, reason);
    else this.failures.delete(feed);
    this.sink.showStopped(this.failures.size > 0);
  }

  /** Resolves when the partition is lost, or the sink is stopped; rejects with what has ended the runner, once it is gone. */
  private async run(feed: KafkaFeed): Promise<void> {
    const { kafka, log, restartMs = RESTART_MS } = this.deps;
    const { partition } = feed;
    const place = new KafkaSinkPlace(feed, { admin: kafka.admin, group: this.group, name: this.groupName, log });
    const end = await this.begin(feed, place);
    if (end === null || this.isOver(feed)) return place.release();
    const intake = this.intakeOf(feed, end);
    const runner = this.sink.runner({ partition, positions: place, intake, beginsAgain: "soon" });
    const member = { feed, place, intake, runner };
    this.members.set(partition, member);
    runner.start();
    const well = setTimeout(() => this.fails(feed, null), restartMs);
    well.unref();
    try {
      await runner.over();
    } catch (error) {
      clearTimeout(well);
      // Of one that was released it is no news.
      if (this.members.get(partition) !== member) return;
      // The runner has logged it.
      this.fails(feed, this.reasonOf(partition, error));
      this.release(partition, LEAVE_MS);
      await this.releasing.get(partition);
      throw error;
    } finally {
      clearTimeout(well);
    }
  }

  private isOver(feed: KafkaFeed): boolean {
    return feed.isLost || this.stopping.signal.aborted;
  }

  private intakeOf(feed: KafkaFeed, end: number): KafkaSinkIntake {
    const { kafka, windows, readMetrics, log } = this.deps;
    const { repeat_window_entries, repeat_window_lines } = kafka.options;
    const partition = new KafkaPartition({
      ...{ feed, windows, room: this.room, log, metrics: readMetrics, reader: `sink ${this.name}` },
      bounds: { entries: repeat_window_entries, lines: repeat_window_lines },
      offsets: () => kafka.offsetsOf(feed.partition),
      commit: () => Promise.resolve(),
    });
    return new KafkaSinkIntake(feed, partition, end);
  }

  /**
   * Takes the position over, and has Kafka know that it is this member's now. Resolves to where the log ends, or to null when the
   * partition is another's by then. Rejects with `kafka_topic_lost` while the log ends before the position.
   */
  private async begin(feed: KafkaFeed, place: KafkaSinkPlace): Promise<number | null> {
    const { kafka, catalog, log } = this.deps;
    const { partition } = feed;
    const until = performance.now() + kafka.options.handover_timeout_ms;
    for (let attempt = 0; !this.isOver(feed); attempt++) {
      try {
        const note = await place.read();
        const owner = note?.owner ?? null;
        if (owner === null || performance.now() > until || (await this.isGone(owner))) {
          // One that was never here begins where the store is.
          if (note === null) await catalog.refreshAnew();
          const { low, high } = await kafka.offsetsOf(partition);
          const found = note?.position ?? { offset: catalog.chainEnd(partition), place: 0 };
          if (found.offset > high) throw topicLost(partition, high, found.offset);
          await place.set(partition, found.offset === OFFSET_EARLIEST ? { offset: low, place: 0 } : found);
          return high;
        }
        await sleepFor(HANDOVER_LOOK_MS, this.stopping.signal);
      } catch (error) {
        if (!(error instanceof WeirError) || error.code === "kafka_topic_lost") throw error;
        const level = attempt === 0 ? "warn" : "debug";
        log[level]({ sink: this.name, partition }, `sink ${this.name}: ${error.message}; trying on`);
        await sleepFor(RETRY_MS, this.stopping.signal);
      }
    }
    return null;
  }

  private async isGone(owner: string): Promise<boolean> {
    if (owner === this.group.memberId) return true;
    return !(await this.deps.kafka.admin.members(this.groupName)).has(owner);
  }

  private release(partition: number, ms: number): void {
    const member = this.members.get(partition);
    if (member === undefined) return;
    this.members.delete(partition);
    const before = this.releasing.get(partition) ?? Promise.resolve();
    const released = before
      .then(async () => {
        const left = member.runner.leave(ms);
        if (!(await endsWithin(left, ms + RELEASE_MS)))
          this.deps.log.warn({ sink: this.name, partition }, `sink ${this.name}: what is under way does not end`);
        await member.place.release();
      })
      .finally(() => {
        if (this.releasing.get(partition) === released) this.releasing.delete(partition);
      });
    this.releasing.set(partition, released);
  }
}
