import { messageOf, WeirError } from "../core/errors.ts";
import type { EntryDraft } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { endsWithin, sleepFor } from "../core/wait.ts";
import { type KafkaAdmin, MESSAGE_BYTES_DEFAULT } from "../kafka/admin.ts";
import type { KafkaProducer } from "../kafka/producer.ts";
import type { LineClaim } from "./intake.ts";
import { type KafkaAppendMetrics, kafkaAppendMetrics } from "./kafka-append-metrics.ts";
import type { KafkaIntakeOptions } from "./kafka-options.ts";
import { AppendQueue, type Waiting } from "./kafka-queue.ts";
import { partitionBytesOf, type RecordLimits, recordsOf } from "./kafka-records-of.ts";

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5000;
/** How long a stop waits for what was handed over and is not in Kafka. */
const CLOSE_MS = 5000;
/** How often the topic is looked at, whose limit and number of partitions may be changed. */
const LOOK_MS = 60_000;
const LINE_ID_BYTES = 16;

export interface KafkaAppendDeps {
  readonly producer: KafkaProducer;
  readonly admin: KafkaAdmin;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/**
 * The writing side of the intake log in Kafka. Entries wait in one bounded queue and are written together, one write after
 * the other. A write that failed is made again, the same records with the same ids, until Kafka has it: so an append either
 * resolves or waits. Meanwhile nothing more is taken: whoever receives stops reading (`status`, `whenReady`).
 */
export class KafkaAppender {
  private readonly options: KafkaIntakeOptions;
  private readonly deps: KafkaAppendDeps;
  private readonly metrics: KafkaAppendMetrics;
  private readonly queue: AppendQueue;
  private readonly stopping = new AbortController();
  private limits: RecordLimits | null = null;
  private trouble = "";
  private isFull = false;
  private isClosed = false;
  private readyWaiters: (() => void)[] = [];
  private wake: () => void = () => {};
  private writing: Promise<void> = Promise.resolve();
  private looking: Promise<void> = Promise.resolve();

  private constructor(options: KafkaIntakeOptions, deps: KafkaAppendDeps) {
    this.options = options;
    this.deps = deps;
    this.queue = new AppendQueue(options);
    this.metrics = kafkaAppendMetrics(deps.metrics);
    deps.metrics.gauge("weir_intake_bytes", "Bytes of entries that wait for being written.", [], (gauge) =>
      gauge.set(this.queue.bytes),
    );
    deps.metrics.gauge("weir_intake_ready", "1 while entries are accepted.", [], (gauge) =>
      gauge.set(this.status().ready ? 1 : 0),
    );
  }

  /**
   * Looks up the topic and begins. Rejects when there is no such topic, or the brokers refuse the user; with no broker to be
   * reached it begins all the same, and is ready when there is one.
   */
  static async open(options: KafkaIntakeOptions, deps: KafkaAppendDeps): Promise<KafkaAppender> {
    const appender = new KafkaAppender(options, deps);
    try {
      await appender.look();
    } catch (error) {
      if (!(error instanceof WeirError) || error.code !== "kafka_unavailable") throw error;
      appender.setTrouble(error);
    }
    appender.writing = appender.write();
    appender.looking = appender.keepLooking();
    for (const loop of [appender.writing, appender.looking]) {
      loop.catch((error: unknown) => {
        appender.trouble = `writing to Kafka has ended: ${messageOf(error)}`;
        deps.log.fatal({ err: error }, appender.trouble);
      });
    }
    return appender;
  }

  /** Resolves when Kafka has all of the entry. `offset` is that of its last record. */
  async append(draft: EntryDraft): Promise<{ offset: number | null }> {
    const limits = this.admit(draft);
    const records = recordsOf(draft, this.options, limits);
    const waiting = records.map((record) => this.queue.add(record));
    this.wake();
    let offset: number | null = null;
    // All of them are heard before one is thrown.
    for (const result of await Promise.allSettled(waiting)) {
      if (result.status === "rejected") throw result.reason;
      offset = result.value;
    }
    this.metrics.appends.inc({ result: "stored" });
    this.metrics.appendedBytes.inc(records.reduce((sum, { bytes }) => sum + bytes, 0));
    return { offset };
  }

  /** All lines are new but those that stand twice among these: what was pushed before is told by the worker. */
  claimLines(ids: Buffer): Promise<LineClaim> {
    const isNew = new Uint8Array(ids.length / LINE_ID_BYTES);
    const seen = new Set<string>();
    for (let i = 0; i < isNew.length; i++) {
      const id = ids.toString("latin1", i * LINE_ID_BYTES, (i + 1) * LINE_ID_BYTES);
      if (seen.has(id)) continue;
      seen.add(id);
      isNew[i] = 1;
    }
    return Promise.resolve({ isNew, newCount: seen.size, end: () => {} });
  }

  status(): { ready: boolean; reason: string; bytes: number } {
    const { bytes } = this.queue;
    if (this.isClosed) return { ready: false, reason: "the intake log is closed", bytes };
    if (this.trouble !== "") return { ready: false, reason: this.trouble, bytes };
    if (this.isFull) return { ready: false, reason: this.fullReason(), bytes };
    return { ready: true, reason: "", bytes };
  }

  /** Also resolves when it is closed: the next append then says so. */
  whenReady(): Promise<void> {
    if (this.isClosed || this.status().ready) return Promise.resolve();
    return new Promise((resolve) => this.readyWaiters.push(resolve));
  }

  /** Writes what waits, as far as that can be done in time, and refuses the rest. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.wake();
    const written = this.trouble === "" && (await endsWithin(this.queue.whenEmpty(), CLOSE_MS));
    this.stopping.abort();
    this.wake();
    // What is under way, or a part of it, Kafka may have all the same.
    const unsure = "the intake log is closed, and whether it has the entry is not known";
    if (!written) this.queue.refuse(new WeirError("intake_unsure", unsure, { retriable: true }));
    this.changed();
    await this.deps.producer.close();
    await Promise.all([this.writing, this.looking].map((loop) => loop.catch(() => {}))); // Said in `open`.
  }

  private admit(draft: EntryDraft): RecordLimits {
    const refuse = (result: string, code: string, reason: string) => {
      this.metrics.appends.inc({ result });
      return new WeirError(code, reason, { retriable: true });
    };
    if (this.isClosed) throw refuse("closed", "intake_closed", "the intake log is closed");
    const { limits } = this;
    if (this.trouble !== "" || limits === null) throw refuse("unavailable", "intake_unavailable", this.trouble);
    const { queue_bytes_max } = this.options;
    // One that is larger than the whole queue has it for itself.
    if (this.queue.bytes > 0 && this.queue.bytes + draft.payload.length > queue_bytes_max) {
      this.isFull = true;
      throw refuse("full", "intake_full", this.fullReason());
    }
    return limits;
  }

  private fullReason(): string {
    return `${this.queue.bytes} of ${this.options.queue_bytes_max} bytes wait for being written to Kafka`;
  }

  /** One write after the other, until it is closed. */
  private async write(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await this.whenDue();
      const batch = this.queue.take();
      if (batch.length > 0) await this.writeUntilDone(batch);
    }
  }

  /** Resolves when a write is to begin: there is something, and it has waited for others. */
  private async whenDue(): Promise<void> {
    const { signal } = this.stopping;
    while (this.queue.isEmpty && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    if (!this.queue.isLarge && !this.isClosed) await sleepFor(this.options.linger_ms, signal);
  }

  private async writeUntilDone(batch: readonly Waiting[]): Promise<void> {
    const { signal } = this.stopping;
    const { producer } = this.deps;
    for (let attempt = 0; ; attempt++) {
      const began = performance.now();
      try {
        const offsets = await producer.send(batch.map(({ record }) => record));
        this.metrics.writeSeconds.observe((performance.now() - began) / 1000);
        this.metrics.batchEntries.observe(batch.length);
        this.queue.done(batch, offsets);
        this.endTrouble();
        this.changed();
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.metrics.writeErrors.inc();
        if (error instanceof WeirError && error.code === "kafka_too_large") {
          await this.tooLarge(batch, error);
          return;
        }
        this.setTrouble(error);
        await sleepFor(Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** attempt) * (1 - Math.random() / 2), signal);
        if (signal.aborted) return;
      }
    }
  }

  /**
   * The topic's limit was lowered, and nobody was told. Whoever sent these is, and sends them again: they are split anew then.
   * Nothing is lost by that, and the connections that it ends open again. Of one that was split before, and of which a part is in Kafka
   * already, that part comes twice: another split has other parts.
   */
  private async tooLarge(batch: readonly Waiting[], error: WeirError): Promise<void> {
    this.deps.log.warn({ entries: batch.length }, `${error.message}; looks the topic's limit up again`);
    await this.look().catch((failed: unknown) => this.setTrouble(failed));
    // Of a split entry other parts may be in Kafka already.
    this.queue.fail(batch, new WeirError("intake_unsure", error.message, { retriable: true, cause: error }));
    this.changed();
  }

  private async look(): Promise<void> {
    const { topic, compression } = this.options;
    const { log } = this.deps;
    const { partitions, messageBytesMax, isCompacted } = await this.deps.admin.topic(topic);
    if (isCompacted) {
      throw new WeirError(
        "kafka_topic",
        `kafka: topic ${topic} has cleanup.policy=compact, which throws entries away; set it to delete`,
      );
    }
    const before = this.limits;
    if (before !== null && before.partitions !== partitions) {
      log.warn(
        { topic, before: before.partitions, partitions },
        `kafka: topic ${topic} has ${partitions} partitions now, so sources go to other ones; a chunk that is sent again just now may be stored twice`,
      );
    }
    if (messageBytesMax === null && before === null)
      log.warn(
        { topic },
        `kafka: can't ask for max.message.bytes of topic ${topic} (allow the user DescribeConfigs on it); goes by Kafka's default`,
      );
    this.limits = { partitions, messageBytesMax: messageBytesMax ?? MESSAGE_BYTES_DEFAULT };
    this.queue.setPartitionBytes(partitionBytesOf(this.limits.messageBytesMax, compression));
  }

  /** While Kafka is away and nothing waits, this is what finds out that it is back. */
  private async keepLooking(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await sleepFor(this.trouble === "" ? LOOK_MS : RETRY_MS_MAX / 5, signal);
      if (signal.aborted) return;
      try {
        await this.look();
        // Where something waits, writing it is the better test.
        if (this.queue.isEmpty) this.endTrouble();
        this.changed();
      } catch (error) {
        if (this.queue.isEmpty && !signal.aborted) this.setTrouble(error);
      }
    }
  }

  private setTrouble(error: unknown): void {
    const reason = `the intake log in Kafka takes nothing: ${messageOf(error)}`;
    if (this.trouble === "") this.deps.log.warn(`${reason}; agents have to wait`);
    this.trouble = reason;
  }

  private endTrouble(): void {
    if (this.trouble !== "") this.deps.log.info("kafka: the intake topic takes entries again");
    this.trouble = "";
  }

  private changed(): void {
    if (this.isFull && this.queue.bytes <= this.options.queue_bytes_max / 2) this.isFull = false;
    if (!this.isClosed && !this.status().ready) return;
    const waiters = this.readyWaiters;
    this.readyWaiters = [];
    for (const wake of waiters) wake();
  }
}
