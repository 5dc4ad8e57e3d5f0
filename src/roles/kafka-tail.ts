import { randomBytes } from "node:crypto";
import { setImmediate as nextTick } from "node:timers/promises";
import { parsers } from "../../parsers/index.ts";
import { lineSinks } from "../../sinks/index.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import type { IntakeEntry } from "../core/intake-entry.ts";
import type { LineSink } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import { type Counter, Metrics } from "../core/metrics.ts";
import { sleepFor } from "../core/wait.ts";
import { checkPayload, decodeHeaders } from "../intake/kafka-record.ts";
import { PartitionWindow } from "../intake/partition-window.ts";
import { keepLines } from "../intake/split-push.ts";
import type { KafkaFeed, KafkaMessage } from "../kafka/feed.ts";
import { KafkaGroup } from "../kafka/group.ts";
import { compilePipelines, type Pipelines } from "../pipeline/compile.ts";
import { LiveTail } from "../query/live-tail.ts";
import type { TailWanted } from "../query/snapshots.ts";
import type { KafkaSide } from "./kafka-side.ts";
import type { WorkerConfig } from "./partition-worker.ts";
import { pipelinesWithout } from "./record-sinks.ts";
import { recordSinksOf } from "./sink-specs.ts";

/** Tails at once: each is offered every line of the topic. */
const TAILS_MAX = 64;
const FETCH_BYTES = 1 << 20;
const FEED_BYTES = 4 << 20;
const SESSION_MS = 30_000;
const LINES_A_TURN = 1000;
/** How often it is looked for new entries. */
const LOOK_MS = 50;
/** Entries that are so much older, with so many more behind them, are left out: a live tail shows what happens now. */
const BEHIND_MS = 30_000;
const BEHIND_ENTRIES = 1000;
/** How far back a tail knows what agents and brokers have sent twice. */
const WINDOW = { entries: 4096, lines: 16_384 } as const;

export interface KafkaTailsDeps {
  readonly kafka: KafkaSide;
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
 * through the pipelines as a worker's would; each tail sees those from where its history ends. One reader serves all: for a new
 * tail it goes back to where that begins, and the others wait for what they have not seen.
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

/** Reads the topic for all tails that there are, until it is stopped. */
class TailReader {
  private readonly tails: ReadonlySet<Tail>;
  private readonly skipped: Counter<string>;
  private readonly log: Logger;
  private readonly group: KafkaGroup;
  private readonly pipelines: Pipelines;
  private readonly windows = new Map<number, PartitionWindow>();
  private readonly stopping = new AbortController();
  private readonly running: Promise<void>;
  /** Where the entry at work stands. */
  private partition = 0;
  private offset = 0;

  constructor(config: WorkerConfig, tails: ReadonlySet<Tail>, skipped: Counter<string>, deps: KafkaTailsDeps) {
    const { kafka, log } = deps;
    const { group, topic } = kafka.options;
    this.tails = tails;
    this.skipped = skipped;
    this.log = log;
    this.pipelines = this.compile(config);
    this.group = new KafkaGroup(
      {
        ...{ group: `${group}-tail-${randomBytes(6).toString("hex")}`, topics: [topic] },
        ...{ sessionTimeoutMs: SESSION_MS, rebalanceTimeoutMs: SESSION_MS },
        ...{ fetchBytes: FETCH_BYTES, feedBytesMax: FEED_BYTES },
      },
      {
        client: kafka.client,
        log,
        onGained: (feeds) => {
          for (const feed of feeds) this.seek(feed);
        },
        onLost: () => {},
      },
    );
    this.group.start();
    this.running = this.run();
    this.running.catch((error: unknown) => log.error({ err: error }, `live tail: ${messageOf(error)}`));
  }

  /** A tail has begun that wants what is from `from` on. */
  begin(from: ReadonlyMap<number, number>): void {
    for (const feed of this.group.assigned) {
      if (feed.fetchOffset > (from.get(feed.partition) ?? 0)) this.seek(feed);
    }
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running.catch(() => {}); // Said in the constructor.
    await this.group.stop();
  }

  private compile(config: WorkerConfig): Pipelines {
    const tap: LineSink = {
      stream: (tenant, labels, canonical) => ({ tenant, labels, canonical }),
      append: (stream, line) => {
        for (const { live, next } of this.tails)
          if (this.offset >= (next.get(this.partition) ?? 0)) live.tap(stream, line);
      },
    };
    const nowhere: LineSink = { stream: tap.stream, append: () => {} };
    const sinks: Record<string, LineSink> = {};
    for (const { name, type } of config.sinks) if (type in lineSinks) sinks[name] = type === "store" ? tap : nowhere;
    const pipelines = pipelinesWithout(recordSinksOf(config.sinks), config.pipelines);
    // The workers count the same records.
    return compilePipelines(pipelines, {
      ...{ parsers, sinks, metrics: new Metrics(), log: this.log, limits: config.sections.limits },
    });
  }

  private seek(feed: KafkaFeed): void {
    const starts = [...this.tails].map(({ next }) => next.get(feed.partition) ?? 0);
    this.windows.set(feed.partition, new PartitionWindow(WINDOW));
    feed.seek(Math.min(...starts));
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      let isIdle = true;
      for (const feed of this.group.assigned) {
        const message = feed.poll();
        if (message === null || signal.aborted) continue;
        isIdle = false;
        await this.show(feed, message);
      }
      if (isIdle) await sleepFor(LOOK_MS, signal);
      else await nextTick();
    }
  }

  private async show(feed: KafkaFeed, message: KafkaMessage): Promise<void> {
    const { partition } = feed;
    const { offset } = message;
    this.partition = partition;
    this.offset = offset;
    const entry = this.entryOf(partition, message);
    if (entry !== null) {
      const behind = feed.highWatermark - offset;
      if (behind > BEHIND_ENTRIES && Date.now() - entry.receivedMs > BEHIND_MS) {
        this.skipped.inc(behind);
        this.log.warn({ partition, entries: behind }, "live tail: too far behind; goes on at the end of the topic");
        for (const { next } of this.tails) next.set(partition, feed.highWatermark);
        this.seek(feed);
        return;
      }
      const run = this.pipelines.begin(entry);
      while (run.step(LINES_A_TURN)) await nextTick();
    }
    for (const { next } of this.tails) next.set(partition, Math.max(next.get(partition) ?? 0, offset + 1));
  }

  /** Null for a repeat, and for what is none of ours: a worker says that. */
  private entryOf(partition: number, { offset, headers, value }: KafkaMessage): IntakeEntry | null {
    try {
      const head = decodeHeaders(headers);
      const payload = checkPayload(head, value);
      const verdict = this.windows.get(partition)?.see(head, offset);
      if (verdict === undefined || verdict.repeat) return null;
      const { kind, tenant, source, receivedMs } = head;
      return {
        kind,
        tenant,
        source,
        receivedMs,
        offset,
        payload: verdict.isNew === null ? payload : keepLines(payload, verdict.isNew),
      };
    } catch (error) {
      if (error instanceof WeirError) return null;
      throw error;
    }
  }
}
