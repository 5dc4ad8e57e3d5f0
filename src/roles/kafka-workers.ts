import { messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { endsWithin, sleepFor } from "../core/wait.ts";
import { kafkaReadMetrics } from "../intake/kafka-read-metrics.ts";
import type { KafkaFeed } from "../kafka/feed.ts";
import { KafkaGroup } from "../kafka/group.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { Catalog } from "../store/catalog.ts";
import { feedBounds } from "./kafka-feeds.ts";
import { KafkaMember } from "./kafka-member.ts";
import type { KafkaSide } from "./kafka-side.ts";
import { windowRoom, windowStore } from "./kafka-windows.ts";
import type { WorkerConfig } from "./partition-worker.ts";
import type { PartState } from "./process-config.ts";
import { withoutRecordSinks } from "./worker-config.ts";

/** How long a worker that has failed waits until it begins again. */
const RETRY_MS = 5000;
/** How long a stop waits for the group to be left. */
const LEAVE_MS = 1000;
/** How often it is looked whether a partition was released. */
const HANDOVER_LOOK_MS = 200;
/** `store.flush_age_ms` where nobody has set it: what is in memory here, no query sees. */
const FLUSH_AGE_MS = 5000;

export interface KafkaWorkersDeps {
  readonly kafka: KafkaSide;
  readonly objects: ObjectStore;
  readonly catalog: Catalog;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/**
 * The workers of a process over the intake log in Kafka: one for each partition that the consumer group gives to it. A partition
 * begins where the store's chain ends, once whoever had it before has committed what it had; one that goes to another process is
 * committed and released. Whatever goes wrong with that, the store takes each position once.
 */
export class KafkaWorkers {
  private readonly config: WorkerConfig;
  private readonly deps: KafkaWorkersDeps;
  private readonly group: KafkaGroup;
  private readonly members = new Map<number, KafkaMember>();
  private readonly releasing = new Map<number, Promise<void>>();
  private readonly stopping = new AbortController();
  private readonly failures = new Map<number, string>();
  private readonly shared: Omit<ConstructorParameters<typeof KafkaMember>[2], "group">;

  /** Joins no group yet. */
  constructor(config: WorkerConfig, deps: KafkaWorkersDeps) {
    const { kafka, objects, metrics, log } = deps;
    const { group, topic, session_timeout_ms, feed_bytes_max } = kafka.options;
    this.deps = deps;
    this.config = this.withShareOfMemory(config);
    const readMetrics = kafkaReadMetrics(metrics);
    const room = windowRoom(kafka.options, "worker", readMetrics, log);
    this.shared = { ...deps, windows: windowStore(objects), room, readMetrics };
    this.group = new KafkaGroup(
      {
        ...{ group, topics: [topic], sessionTimeoutMs: session_timeout_ms, rebalanceTimeoutMs: session_timeout_ms },
        ...feedBounds(kafka, feed_bytes_max),
      },
      {
        client: kafka.client,
        log,
        onGained: (feeds) => {
          for (const feed of feeds) this.keep(feed);
        },
        onLost: (feeds) => {
          for (const { partition } of feeds) this.release(partition);
        },
      },
    );
    metrics.gauge("weir_worker_partitions", "Partitions of the intake topic that this process has.", [], (gauge) =>
      gauge.set(this.members.size),
    );
  }

  /** What is the process's for all its workers is divided among those that it has at the moment. */
  private withShareOfMemory(config: WorkerConfig): WorkerConfig {
    const { store } = config.sections;
    const { members } = this;
    const shared = {
      ...store,
      flush_age_ms: store.flush_age_ms ?? FLUSH_AGE_MS,
      get memory_bytes() {
        return Math.floor(store.memory_bytes / Math.max(1, members.size));
      },
    };
    return withoutRecordSinks({ ...config, sections: { ...config.sections, store: shared } });
  }

  /**
   * Rejects when the topic is not there or the brokers refuse the user, and with `bad_pipeline` when a pipeline can't work; with no
   * broker to be reached it begins all the same.
   */
  async start(): Promise<void> {
    const { kafka, log } = this.deps;
    try {
      await kafka.admin.topic(kafka.options.topic);
    } catch (error) {
      if (!(error instanceof WeirError) || error.code !== "kafka_unavailable") throw error;
      log.warn(`worker: ${error.message}; trying on`);
    }
    KafkaMember.check(this.config, this.shared);
    this.group.start();
  }

  state(): PartState {
    const [failure] = this.failures.values();
    const { trouble } = this.group;
    const reason = failure ?? (trouble === "" ? this.stuck : `the worker reads nothing: ${trouble}`);
    return { ready: reason === "", reason };
  }

  /** Why what was read of a partition can't be committed, or "". */
  private get stuck(): string {
    for (const [partition, { trouble }] of this.members) {
      if (trouble !== "") return `the worker of partition ${partition} can't commit, and tries on: ${trouble}`;
    }
    return "";
  }

  /** Commits what was taken so far; resolves when that was tried. */
  async flush(): Promise<void> {
    await Promise.all([...this.members.values()].map((member) => member.flush()));
  }

  /** Reads nothing more, commits what was read, and leaves the group; whether all was committed within `ms`. */
  async drain(ms: number): Promise<boolean> {
    this.stopping.abort();
    for (const feed of this.group.assigned) feed.lose();
    const until = performance.now() + ms;
    for (const partition of [...this.members.keys()]) this.release(partition, ms);
    const done = await endsWithin(Promise.all(this.releasing.values()), ms);
    await endsWithin(this.group.stop(), Math.max(LEAVE_MS, until - performance.now()));
    return done;
  }

  /** Drops what is not committed: it is read again by whoever gets the partition. Bounded. */
  async stop(): Promise<void> {
    this.stopping.abort();
    for (const member of this.members.values()) member.drop();
    // A library that is about to join a group hears of nothing before it has, or gives up.
    await endsWithin(this.group.stop(), LEAVE_MS);
  }

  /** Works on a partition, again after failures, until it is lost. */
  private keep(feed: KafkaFeed): void {
    const { log } = this.deps;
    const { partition } = feed;
    this.work(feed)
      .catch((error: unknown) => log.fatal({ partition, err: error }, `worker: ${messageOf(error)}`))
      .finally(() => this.failures.delete(partition));
  }

  private async work(feed: KafkaFeed): Promise<void> {
    const { kafka, log } = this.deps;
    const { partition } = feed;
    const { signal } = this.stopping;
    // This process itself may have it still, when it was given away and came back.
    await this.releasing.get(partition);
    await this.handedOver(feed);
    while (!feed.isLost && !signal.aborted) {
      const member = new KafkaMember(this.config, feed, { ...this.shared, group: this.group });
      this.members.set(partition, member);
      try {
        await member.run();
        return;
      } catch (error) {
        const reason = `the worker of partition ${partition} of ${kafka.options.topic} has stopped: ${messageOf(error)}`;
        this.failures.set(partition, reason);
        log.error({ partition, err: error }, `${reason}; begins again`);
        member.drop();
        if (this.members.get(partition) === member) this.members.delete(partition);
        await sleepFor(RETRY_MS, signal);
      }
      this.failures.delete(partition);
    }
  }

  private release(partition: number, ms = this.deps.kafka.options.handover_timeout_ms): void {
    const member = this.members.get(partition);
    if (member === undefined) return;
    this.members.delete(partition);
    const before = this.releasing.get(partition) ?? Promise.resolve();
    const released = before
      .then(() => member.release(ms))
      .finally(() => {
        if (this.releasing.get(partition) === released) this.releasing.delete(partition);
      });
    this.releasing.set(partition, released);
  }

  /** Resolves when the member that had the partition has released it, is gone, or takes too long. */
  private async handedOver(feed: KafkaFeed): Promise<void> {
    const { partition } = feed;
    const { kafka, log } = this.deps;
    const { group, topic, handover_timeout_ms } = kafka.options;
    const { signal } = this.stopping;
    const until = performance.now() + handover_timeout_ms;
    for (let isFirst = true; !feed.isLost && !signal.aborted; isFirst = false) {
      try {
        const committed = await kafka.admin.committed(group, topic);
        const owner = KafkaMember.ownerOf(committed.find((one) => one.partition === partition)?.metadata ?? "");
        if (owner === null || owner === this.group.memberId) return;
        if (!(await kafka.admin.members(group)).has(owner)) return;
        if (isFirst) log.debug({ partition, owner }, "worker: waits for the partition to be released");
      } catch (error) {
        // What it can't find out, it does without: the store takes each position once.
        log.warn({ partition }, `worker: ${messageOf(error)}`);
        return;
      }
      if (performance.now() > until) {
        log.warn({ partition }, "worker: the partition was not released in time; begins where the store ends");
        return;
      }
      await sleepFor(HANDOVER_LOOK_MS, signal);
    }
  }
}
