import { messageOf } from "../core/errors.ts";
import type { MetricsScope } from "../core/metrics.ts";
import { endsWithin } from "../core/wait.ts";
import { KafkaPartition, type WindowStore } from "../intake/kafka-partition.ts";
import type { KafkaReadMetrics } from "../intake/kafka-read-metrics.ts";
import type { WindowRoom } from "../intake/window-room.ts";
import type { KafkaFeed } from "../kafka/feed.ts";
import type { KafkaGroup } from "../kafka/group.ts";
import type { KafkaWorkersDeps } from "./kafka-workers.ts";
import { PartitionWorker, type WorkerConfig } from "./partition-worker.ts";

/*
 * With each offset that a worker commits to the group stands who has the partition, for the next one to wait for:
 * `weir1 open <member id>` while it works, `weir1 released` when it has committed all it had.
 */
const OPEN = "weir1 open ";
const RELEASED = "weir1 released";
/** How often the window of repeats is kept beside the segments: what a start reads again at most, besides what is not stored. */
const WINDOW_MS = 60_000;

export interface KafkaMemberDeps extends KafkaWorkersDeps {
  readonly group: KafkaGroup;
  readonly windows: WindowStore;
  /** For the windows of all members. */
  readonly room: WindowRoom;
  readonly readMetrics: KafkaReadMetrics;
  /** For tests; WINDOW_MS otherwise. */
  readonly windowMs?: number;
}

/** One partition of the intake topic while this process has it. */
export class KafkaMember {
  private readonly deps: KafkaMemberDeps;
  private readonly feed: KafkaFeed;
  private readonly part: PartitionWorker;
  private readonly intake: KafkaPartition;
  private readonly metrics: MetricsScope;
  /** The first one is kept as soon as something is stored: a start that finds none knows of lanes only what it reads again. */
  private savedMs = Number.NEGATIVE_INFINITY;
  private saving: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | null = null;

  constructor(config: WorkerConfig, feed: KafkaFeed, deps: KafkaMemberDeps) {
    this.deps = deps;
    this.feed = feed;
    this.metrics = deps.metrics.scope();
    const { kafka, windows, room, readMetrics, objects, catalog, log } = deps;
    this.intake = new KafkaPartition({
      ...{ feed, windows, room, log, metrics: readMetrics },
      bounds: { entries: kafka.options.repeat_window_entries, lines: kafka.options.repeat_window_lines },
      offsets: async () => {
        const found = (await kafka.offsets()).find(({ partition }) => partition === feed.partition);
        if (found === undefined) throw new Error(`the intake topic has no partition ${feed.partition} any more`);
        return found;
      },
      commit: (next) => this.committed(next),
    });
    const { flush_age_ms } = config.sections.store;
    this.part = new PartitionWorker(config, feed.partition, {
      ...{ intake: this.intake, objects, catalog, log, metrics: this.metrics },
      // So that what queries have not seen yet is not said to be something that no line came of.
      ...(flush_age_ms === undefined ? {} : { commitAgeMs: flush_age_ms }),
    });
  }

  /** Throws `bad_pipeline` when the pipelines can't work: said once, at the start. */
  static check(config: WorkerConfig, { objects, catalog, metrics, log }: Omit<KafkaWorkersDeps, "kafka">): void {
    const scope = metrics.scope();
    const none = () => Promise.reject(new Error("nothing is read here"));
    const intake = { read: () => ({ poll: none, wait: none, close: none }), commit: none, nextOffset: () => 0 };
    new PartitionWorker(config, 0, { intake, objects, catalog, log, metrics: scope }).writer.discard();
    scope.close();
  }

  /** The member that works on a partition by what stands with its offset, or null. */
  static ownerOf(metadata: string): string | null {
    return metadata.startsWith(OPEN) ? metadata.slice(OPEN.length) : null;
  }

  /** Works until the partition is released, or an error that the worker can't mend. */
  async run(): Promise<void> {
    const { worker } = this.part;
    await worker.start();
    await this.committed(this.deps.catalog.chainEnd(this.feed.partition));
    await worker.ended();
  }

  /** Why what was read can't be committed, or "". */
  get trouble(): string {
    return this.part.worker.trouble;
  }

  flush(): Promise<void> {
    return this.part.worker.flush();
  }

  /** Commits what was read, for at most `ms`, and says that the next one may begin. */
  async release(ms: number): Promise<void> {
    const { log, group } = this.deps;
    const { partition, topic } = this.feed;
    const drained = this.part.worker.drain().then(
      () => this.saveWindow(),
      () => {}, // `run` has it.
    );
    if (!(await endsWithin(drained, ms)))
      log.warn(
        { partition },
        "worker: not everything of the partition was committed in time; the next one reads it again",
      );
    this.drop();
    const { committedOffset } = this.intake;
    // It has not begun, nor said so.
    if (committedOffset < 0) return;
    try {
      await group.commit({ topic, partition }, committedOffset, RELEASED);
    } catch (error) {
      log.debug({ partition }, `worker: can't say that the partition is released: ${messageOf(error)}`);
    }
  }

  /** Ends at once. What is not committed is read again. */
  drop(): void {
    this.part.worker.stop();
    this.part.writer.discard();
    if (this.timer !== null) clearTimeout(this.timer);
    this.metrics.close();
  }

  /** Everything below `next` is in the store. For tools that show lag, and for the next one; nobody goes by the number. */
  private async committed(next: number): Promise<void> {
    const { group, log } = this.deps;
    const { partition, topic } = this.feed;
    // Another member says it now, if anybody.
    if (this.feed.isLost) return;
    group
      .commit({ topic, partition }, next, `${OPEN}${group.memberId}`)
      .catch((error: unknown) => log.debug({ partition }, `worker: ${messageOf(error)}`));
    if (this.intake.hasWindow) this.keepWindow();
  }

  /** Now, or when the one that was kept last is old enough: also what comes last before a long silence is to be kept. */
  private keepWindow(): void {
    const { windowMs = WINDOW_MS } = this.deps;
    const waitMs = this.savedMs + windowMs - performance.now();
    if (waitMs > 0) {
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.keepWindow();
      }, waitMs);
      this.timer.unref();
      return;
    }
    this.savedMs = performance.now();
    // Nobody waits for it, and only one is under way.
    this.saving = this.saving.then(() => this.saveWindow());
  }

  private async saveWindow(): Promise<void> {
    try {
      await this.intake.saveWindow();
    } catch (error) {
      this.deps.log.warn(
        { partition: this.feed.partition },
        `worker: can't keep the window of repeats: ${messageOf(error)}`,
      );
    }
  }
}
