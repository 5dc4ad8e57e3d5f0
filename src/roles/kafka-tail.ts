import { randomBytes } from "node:crypto";
import { setImmediate as nextTick } from "node:timers/promises";
import { parsers } from "../../parsers/index.ts";
import { lineSinks } from "../../sinks/index.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import type { IntakeEntry } from "../core/intake-entry.ts";
import type { LineSink } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import { type Counter, Metrics } from "../core/metrics.ts";
import type { EntryReader } from "../intake/intake.ts";
import { KafkaPartition, type WindowStore } from "../intake/kafka-partition.ts";
import { kafkaReadMetrics } from "../intake/kafka-read-metrics.ts";
import type { WindowRoom } from "../intake/window-room.ts";
import type { KafkaFeed } from "../kafka/feed.ts";
import { KafkaGroup } from "../kafka/group.ts";
import { compilePipelines, type Pipelines } from "../pipeline/compile.ts";
import { LiveTail } from "../query/live-tail.ts";
import type { TailWanted } from "../query/snapshots.ts";
import { feedBounds } from "./kafka-feeds.ts";
import type { KafkaSide } from "./kafka-side.ts";
import { windowRoom } from "./kafka-windows.ts";
import type { WorkerConfig } from "./partition-worker.ts";
import { pipelinesWithout } from "./record-sinks.ts";
import { recordSinksOf } from "./sink-specs.ts";

/** Tails at once: each is offered every line of the topic. */
const TAILS_MAX = 64;
const FEED_BYTES = 4 << 20;
const SESSION_MS = 30_000;
const LINES_A_TURN = 1000;
/** Entries that are so much older, with so many more behind them, are left out: a live tail shows what happens now. */
const BEHIND_MS = 30_000;
const BEHIND_ENTRIES = 1000;
/** How far back a tail knows what agents and brokers have sent twice, at most: 5 MB a partition. Workers look back further. */
const WINDOW_ENTRIES_MAX = 8192;
const WINDOW_LINES_MAX = 16_384;

export interface KafkaTailsDeps {
  readonly kafka: KafkaSide;
  /** Only read: what workers keep. */
  readonly windows: WindowStore;
  readonly metrics: Metrics;
  readonly log: Logger;
}

interface Tail {
  readonly live: LiveTail;
  /** By partition, the offset of the next entry that this tail wants. */
  readonly next: Map<number, number>;
}

/**
 * Live tails over the intake log in Kafka. While there is one, the topic is read, by a group of this process's own, and its entries go
 * through the pipelines as a worker's would, without those that a worker would leave out as repeats; each tail sees those from where
 * its history ends. One reader serves all: for a new tail it goes back to where that begins, and the others wait for what they have
 * not seen.
 */
export class KafkaTails {
  private readonly deps: KafkaTailsDeps;
  private readonly config: WorkerConfig;
  private readonly tails = new Set<Tail>();
  private readonly skipped: Counter<string>;
  private reader: TailReader | null = null;

  constructor(config: WorkerConfig, deps: KafkaTailsDeps) {
    this.config = config;
    this.deps = deps;
    this.skipped = deps.metrics.counter(
      "weir_tail_skipped_entries_total",
      "Entries of the intake topic that live tails left out because they were too far behind.",
    );
  }

  /** Begins a tail at `from`, by partition. Throws QueryError, and `query_busy` when there are too many. */
  open(wanted: TailWanted, from: ReadonlyMap<number, number>): { readonly live: LiveTail; close(): void } {
    if (this.tails.size >= TAILS_MAX)
      throw new WeirError("query_busy", `too many live tails: there are ${TAILS_MAX} already`, { retriable: true });
    const tail: Tail = { live: new LiveTail(wanted), next: new Map(from) };
    this.tails.add(tail);
    this.reader ??= new TailReader(this.config, this.tails, this.skipped, this.deps);
    this.reader.begin(from);
    return { live: tail.live, close: () => this.end(tail) };
  }

  async close(): Promise<void> {
    this.tails.clear();
    const { reader } = this;
    this.reader = null;
    await reader?.stop();
  }

  private end(tail: Tail): void {
    this.tails.delete(tail);
    if (this.tails.size > 0 || this.reader === null) return;
    const { reader } = this;
    this.reader = null;
    reader.stop().catch((error: unknown) => this.deps.log.warn(`live tail: ${messageOf(error)}`));
  }
}

/** One partition while it is read. */
interface Follower {
  readonly feed: KafkaFeed;
  readonly reader: EntryReader;
  /** Where the reader began. */
  readonly from: number;
  /** Ends its wait. */
  wake: () => void;
}

/** Reads the topic for all tails that there are, until it is stopped. */
class TailReader {
  private readonly tails: ReadonlySet<Tail>;
  private readonly skipped: Counter<string>;
  private readonly deps: KafkaTailsDeps;
  private readonly group: KafkaGroup;
  /** Nobody's: a worker says what there is to say. */
  private readonly readMetrics = kafkaReadMetrics(new Metrics());
  /** For the windows of all partitions. */
  private readonly room: WindowRoom;
  private readonly pipelines: Pipelines;
  private readonly followers = new Map<number, Follower>();
  /** Those that there were when the entry at work was begun: whoever comes while it is at work reads it anew. */
  private shownTo: readonly Tail[] = [];
  private readonly running = new Set<Promise<void>>();
  private readonly stopping = new AbortController();
  /** The pipelines do one entry after the other. */
  private turn: Promise<unknown> = Promise.resolve();
  /** Where the entry at work stands. */
  private partition = 0;
  private offset = 0;

  constructor(config: WorkerConfig, tails: ReadonlySet<Tail>, skipped: Counter<string>, deps: KafkaTailsDeps) {
    const { kafka, log } = deps;
    const { group, topic } = kafka.options;
    this.tails = tails;
    this.skipped = skipped;
    this.deps = deps;
    this.room = windowRoom(kafka.options, "live tail", this.readMetrics, log);
    this.pipelines = this.compile(config);
    this.group = new KafkaGroup(
      {
        ...{ group: `${group}-tail-${randomBytes(6).toString("hex")}`, topics: [topic] },
        ...{ sessionTimeoutMs: SESSION_MS, rebalanceTimeoutMs: SESSION_MS },
        ...feedBounds(kafka, FEED_BYTES),
      },
      {
        client: kafka.client,
        log,
        onGained: (feeds) => {
          for (const feed of feeds) this.keep(feed);
        },
        onLost: () => {}, // Followers look at their feeds.
      },
    );
    this.group.start();
  }

  /** A tail has begun that wants what is from `from` on. */
  begin(from: ReadonlyMap<number, number>): void {
    for (const [partition, { reader, from: began }] of this.followers) {
      if (Math.max(began, reader.passed ?? 0) > (from.get(partition) ?? 0)) this.restart(partition);
    }
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    for (const partition of this.followers.keys()) this.restart(partition);
    await this.group.stop();
    await Promise.all(this.running);
  }

  private compile(config: WorkerConfig): Pipelines {
    const tap: LineSink = {
      stream: (tenant, labels, canonical) => ({ tenant, labels, canonical }),
      append: (stream, line) => {
        for (const { live, next } of this.shownTo)
          if (this.offset >= (next.get(this.partition) ?? 0)) live.tap(stream, line);
      },
    };
    const nowhere: LineSink = { stream: tap.stream, append: () => {} };
    const sinks: Record<string, LineSink> = {};
    for (const { name, type } of config.sinks) if (type in lineSinks) sinks[name] = type === "store" ? tap : nowhere;
    const pipelines = pipelinesWithout(recordSinksOf(config.sinks), config.pipelines);
    // The workers count the same records.
    return compilePipelines(pipelines, {
      ...{ parsers, sinks, metrics: new Metrics(), log: this.deps.log, limits: config.sections.limits },
    });
  }

  private keep(feed: KafkaFeed): void {
    const { log } = this.deps;
    const { partition } = feed;
    const running: Promise<void> = this.follow(feed)
      .catch((error: unknown) => log.error({ partition, err: error }, `live tail: ${messageOf(error)}`))
      .finally(() => {
        if (this.followers.get(partition)?.feed === feed) this.followers.delete(partition);
        this.running.delete(running);
      });
    this.running.add(running);
  }

  /** Ends the partition's reader; its follower goes on where the tails want it. */
  private restart(partition: number): void {
    const follower = this.followers.get(partition);
    if (follower === undefined) return;
    this.followers.delete(partition);
    // It closes at once, and never rejects.
    void follower.reader.close();
    follower.wake();
  }

  private isOver(feed: KafkaFeed): boolean {
    return feed.isLost || this.stopping.signal.aborted;
  }

  private async follow(feed: KafkaFeed): Promise<void> {
    const { partition } = feed;
    const { kafka, windows, log } = this.deps;
    const { repeat_window_entries, repeat_window_lines } = kafka.options;
    const from = new KafkaPartition({
      ...{ feed, windows, room: this.room, log, reader: "live tail" },
      bounds: {
        entries: Math.min(repeat_window_entries, WINDOW_ENTRIES_MAX),
        lines: Math.min(repeat_window_lines, WINDOW_LINES_MAX),
      },
      offsets: () => kafka.offsetsOf(partition),
      commit: () => Promise.resolve(),
      metrics: this.readMetrics,
    });
    while (!this.isOver(feed)) {
      const start = Math.min(...[...this.tails].map(({ next }) => next.get(partition) ?? 0));
      const follower: Follower = { feed, reader: from.read(partition, start), from: start, wake: () => {} };
      this.followers.set(partition, follower);
      await this.readOn(feed, follower);
      await follower.reader.close();
    }
  }

  /** Shows one entry after the other, until the reader is closed. */
  private async readOn(feed: KafkaFeed, follower: Follower): Promise<void> {
    const { partition } = feed;
    const { reader } = follower;
    const isClosed = () => this.isOver(feed) || this.followers.get(partition) !== follower;
    while (!isClosed()) {
      const entry = await reader.poll();
      if (isClosed()) return;
      if (entry !== null) {
        const shown = this.turn.then(() => (isClosed() ? undefined : this.show(feed, entry)));
        this.turn = shown.catch(() => {}); // The follower's to say.
        await shown;
        await nextTick();
        continue;
      }
      await new Promise<void>((resolve) => {
        follower.wake = resolve;
        void reader.wait().then(resolve); // Never rejects.
      });
    }
  }

  private async show(feed: KafkaFeed, entry: IntakeEntry): Promise<void> {
    const { partition } = feed;
    const { offset } = entry;
    const behind = feed.highWatermark - offset;
    if (behind > BEHIND_ENTRIES && Date.now() - entry.receivedMs > BEHIND_MS) {
      this.skipped.inc(behind);
      this.deps.log.warn({ partition, entries: behind }, "live tail: too far behind; goes on at the end of the topic");
      for (const { next } of this.tails) next.set(partition, feed.highWatermark);
      this.restart(partition);
      return;
    }
    this.partition = partition;
    this.offset = offset;
    this.shownTo = [...this.tails];
    const run = this.pipelines.begin(entry);
    while (run.step(LINES_A_TURN)) await nextTick();
    for (const { next } of this.shownTo) next.set(partition, Math.max(next.get(partition) ?? 0, offset + 1));
  }
}
