import { setImmediate as nextTick } from "node:timers/promises";
import { messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { RecordSink, Refused, SinkRecord } from "../core/sink.ts";
import { sleepFor } from "../core/wait.ts";
import type { EntryReader, IntakeLog } from "../intake/intake.ts";
import type { Pipelines } from "../pipeline/compile.ts";
import type { Collected, SinkCollector } from "./sink-collector.ts";
import type { SinkMetrics } from "./sink-metrics.ts";
import type { DeliveryOptions } from "./sink-options.ts";
import type { SinkPosition, SinkPositions } from "./sink-position.ts";

/** Records between two looks at the batch and at the clock. */
const RECORDS_A_TURN = 250;
/** How often a sink that has nothing to send looks whether its records are old enough, or it has come further. */
const IDLE_MS = 200;
/** A jump over what is too much leaves this part of the room free, so that the next one is not due at once. */
const LAG_KEPT_PART = 0.9;

/** A record that a destination refused for good. */
export interface DeadLetter {
  readonly record: SinkRecord;
  readonly reason: string;
}

/** Where those go. */
export interface DeadLetters {
  /** Resolves when they are durable. */
  add(sink: string, letters: readonly DeadLetter[]): Promise<void>;
}

export interface SinkRunnerDeps {
  /** The sink's name in the pipeline file, and its name as a consumer of the intake log. */
  readonly name: string;
  readonly partition: number;
  readonly intake: IntakeLog;
  /** The sink's own, compiled with `collector` in its place. */
  readonly pipelines: Pipelines;
  readonly collector: SinkCollector;
  readonly sink: RecordSink;
  readonly positions: SinkPositions;
  readonly deadLetters: DeadLetters;
  readonly metrics: SinkMetrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** For tests; timers and Math.random otherwise. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random?: () => number;
}

/**
 * Takes one sink through the intake log at the sink's own pace: reads entries, runs the pipelines that lead to it, and
 * writes what they give in batches, one at a time and in order. The position moves only over records that the destination
 * has taken, that are in the dead letters, or that were left out because the sink was too far behind; it is durable before
 * the intake log may forget them.
 */
export class SinkRunner {
  private readonly deps: SinkRunnerDeps;
  private readonly options: DeliveryOptions;
  private readonly abort = new AbortController();
  private position: SinkPosition;
  /** Entries below are collected whole. */
  private collected: number;
  /** When the oldest record that was collected and not handed over came, as `performance.now()` counts. */
  private sinceMs: number | null = null;
  private writing: Promise<void> = Promise.resolve();
  private isWriting = false;
  private running: Promise<void> = Promise.resolve();
  /** When the agent's chunk that is at work was received. */
  private receivedMs: number | null = null;
  private hasTrouble = false;
  private ended: string | null = null;

  /** A sink that has never been in the partition begins at its first entry. */
  constructor(options: DeliveryOptions, deps: SinkRunnerDeps) {
    this.options = options;
    this.deps = deps;
    this.position = deps.positions.get(deps.partition) ?? { offset: 0, place: 0 };
    this.collected = this.position.offset;
    deps.metrics.lag(() => ({
      bytes: deps.intake.bytesFrom(deps.partition, this.position.offset),
      ms: this.receivedMs === null ? 0 : Math.max(0, deps.now() - this.receivedMs),
    }));
  }

  start(): void {
    this.dontWaitForThePast();
    this.running = this.loop();
    // Whatever ends it is a mistake of ours: the other sinks and the store go on.
    this.running.catch((error: unknown) => {
      if (this.abort.signal.aborted) return;
      const { log, metrics, name } = this.deps;
      this.ended = `sink ${name} has stopped, and begins again with the process: ${messageOf(error)}`;
      metrics.up.set(0);
      metrics.stopped.set(1);
      log.fatal({ err: error, sink: name }, this.ended);
    });
  }

  /** Why the sink has stopped although nobody asked it to, or null. */
  get failure(): string | null {
    return this.ended;
  }

  /** Ends the requests under way, and resolves when the sink is closed. What it has not taken it gets after the next start. */
  async stop(): Promise<void> {
    this.abort.abort();
    await this.running.catch(() => {}); // Said in `start`.
    await this.writing.catch(() => {}); // The position does not move over what was not taken.
    const { sink, log, name } = this.deps;
    await sink
      .close()
      .catch((error: unknown) => log.warn({ sink: name, err: error }, `sink ${name}: ${messageOf(error)}`));
  }

  /** A log that was replaced by an empty one counts from where the store is: what it holds has not been sent. */
  private dontWaitForThePast(): void {
    const { intake, partition, name, log } = this.deps;
    const next = intake.nextOffset(partition);
    if (this.position.offset <= next) return;
    log.error(
      { sink: name, position: this.position.offset, next },
      `sink ${name}: its position is beyond the intake log, which must have been removed; goes on at the log's end, and ids of records may come again for others`,
    );
    this.position = { offset: next, place: 0 };
    this.collected = next;
  }

  private async loop(): Promise<void> {
    const { intake, partition, name } = this.deps;
    let reader = intake.read(partition, this.position.offset, name);
    try {
      while (!this.abort.signal.aborted) {
        const jump = this.jump();
        if (jump !== null) {
          await reader.close();
          await this.leaveOut(jump);
          reader = intake.read(partition, jump, name);
        }
        const entry = await reader.poll();
        if (entry === null) {
          await this.idle(reader);
          continue;
        }
        this.receivedMs = entry.receivedMs;
        if (this.isTooOld(entry.receivedMs)) await this.leaveOut(entry.offset + 1);
        else await this.collect(entry);
      }
    } finally {
      await reader.close();
    }
  }

  private async collect(entry: Parameters<Pipelines["begin"]>[0]): Promise<void> {
    const { collector, pipelines } = this.deps;
    const isFirst = entry.offset === this.position.offset;
    collector.begin(entry.offset, entry.receivedMs, isFirst ? this.position.place : 0);
    const run = pipelines.begin(entry);
    for (let more = true; more && !this.abort.signal.aborted; ) {
      more = run.step(RECORDS_A_TURN);
      if (collector.records.length > 0) this.sinceMs ??= performance.now();
      if (this.isFull()) await this.handOver();
      if (more) await nextTick();
    }
    this.collected = entry.offset + 1;
    if (this.isDue()) await this.handOver();
  }

  private isFull(): boolean {
    const { records, bytes } = this.deps.collector;
    return records.length >= this.options.batch_records_max || bytes >= this.options.batch_bytes_max;
  }

  private isDue(): boolean {
    return this.sinceMs !== null && performance.now() - this.sinceMs >= this.options.batch_age_ms;
  }

  /** Waits for an entry, or for the moment at which what is collected has to go. */
  private async idle(reader: EntryReader): Promise<void> {
    const wake = new AbortController();
    const stop = () => wake.abort();
    this.abort.signal.addEventListener("abort", stop, { once: true });
    await Promise.race([reader.wait(), sleepFor(IDLE_MS, wake.signal)]);
    this.abort.signal.removeEventListener("abort", stop);
    wake.abort();
    if (this.isDue()) await this.handOver();
    else if (this.sinceMs === null && !this.isWriting) {
      await this.writing; // Where it failed, nothing may be passed over: this ends the loop.
      await this.moveTo({ offset: this.collected, place: 0 });
    }
    if (this.position.offset >= this.deps.intake.nextOffset(this.deps.partition)) this.receivedMs = null;
  }

  /** Hands what is collected to the writing side, once that is through with the batches before. */
  private async handOver(): Promise<void> {
    this.sinceMs = null;
    for (const batch of this.batches(this.deps.collector.take())) {
      await this.writing;
      if (this.abort.signal.aborted) return;
      this.isWriting = true;
      this.writing = this.deliver(batch).finally(() => {
        this.isWriting = false;
      });
      // Its error ends the loop at the next batch, or the loop's end hears of it.
      this.writing.catch(() => {});
    }
  }

  private *batches(records: readonly Collected[]): Generator<readonly Collected[]> {
    const { batch_records_max, batch_bytes_max } = this.options;
    let batch: Collected[] = [];
    let bytes = 0;
    for (const item of records) {
      if (batch.length > 0 && (batch.length >= batch_records_max || bytes + item.bytes > batch_bytes_max)) {
        yield batch;
        batch = [];
        bytes = 0;
      }
      batch.push(item);
      bytes += item.bytes;
    }
    if (batch.length > 0) yield batch;
  }

  /** Writes a batch until each of its records is taken, refused for good, or left out; then moves the position. */
  private async deliver(batch: readonly Collected[]): Promise<void> {
    const { metrics, log, name } = this.deps;
    const last = batch[batch.length - 1];
    let rest: readonly Collected[] = batch;
    for (let attempt = 1; rest.length > 0; attempt++) {
      rest = await this.tryOnce(rest);
      if (rest.length === 0) break;
      this.abort.signal.throwIfAborted();
      if (this.jump() !== null || this.isTooOld(rest[0].receivedMs)) {
        metrics.dropped.inc(rest.length);
        log.warn(
          { sink: name, records: rest.length },
          `sink ${name}: too far behind; left out records that it has not taken`,
        );
        break;
      }
      await this.pause(attempt);
      this.abort.signal.throwIfAborted();
    }
    await this.moveTo({ offset: last.offset, place: last.place + 1 });
  }

  /** One request; what is to be written again. Refused records are in the dead letters when it resolves. */
  private async tryOnce(batch: readonly Collected[]): Promise<readonly Collected[]> {
    const { sink, metrics } = this.deps;
    const started = performance.now();
    try {
      const { failed } = await sink.write(
        batch.map(({ record }) => record),
        this.abort.signal,
      );
      metrics.writeSeconds.observe((performance.now() - started) / 1000);
      const refused = failed.filter(({ retriable }) => !retriable);
      const buried = refused.length === 0 || (await this.bury(batch, refused));
      // What was taken is not sent again, whatever becomes of the others.
      const again = buried ? failed.filter(({ retriable }) => retriable) : failed;
      const later = again.find(({ retriable }) => retriable);
      if (later !== undefined)
        this.trouble(`${again.length} of ${batch.length} records not taken now: ${later.reason}`);
      else if (buried) this.works();
      metrics.sent.inc(batch.length - failed.length);
      return again.map(({ position }) => batch[position]);
    } catch (error) {
      this.abort.signal.throwIfAborted();
      if (!(error instanceof WeirError)) throw error;
      metrics.failures.inc();
      this.trouble(error.message);
      return batch;
    }
  }

  /** Puts refused records into the dead letters. False when there is no room or no way now: then they are sent again. */
  private async bury(batch: readonly Collected[], refused: readonly Refused[]): Promise<boolean> {
    const { deadLetters, metrics, name } = this.deps;
    try {
      await deadLetters.add(
        name,
        refused.map(({ position, reason }) => ({ record: batch[position].record, reason })),
      );
    } catch (error) {
      if (!(error instanceof WeirError)) throw error;
      metrics.failures.inc();
      this.trouble(error.message);
      return false;
    }
    metrics.refused.inc(refused.length);
    return true;
  }

  private trouble(what: string): void {
    const { log, name } = this.deps;
    if (!this.hasTrouble) log.warn({ sink: name }, `sink ${name}: ${what}; trying on`);
    this.hasTrouble = true;
    this.deps.metrics.up.set(0);
  }

  private works(): void {
    if (this.hasTrouble) this.deps.log.info({ sink: this.deps.name }, `sink ${this.deps.name}: takes records again`);
    this.hasTrouble = false;
    this.deps.metrics.up.set(1);
  }

  /** Twice as long each time, and by chance up to half less, so that many senders don't come back at once. */
  private pause(attempt: number): Promise<void> {
    const { retry_min_ms, retry_max_ms } = this.options;
    const { sleep = sleepFor, random = Math.random } = this.deps;
    const most = Math.min(retry_max_ms, retry_min_ms * 2 ** Math.min(attempt - 1, 20));
    return sleep(most * (1 - random() / 2), this.abort.signal);
  }

  private isTooOld(receivedMs: number): boolean {
    return this.options.on_lag === "drop_oldest" && this.deps.now() - receivedMs > this.options.lag_age_max_ms;
  }

  /** The offset to go on at when more waits than may, or null. */
  private jump(): number | null {
    const { intake, partition } = this.deps;
    const { on_lag, lag_bytes_max } = this.options;
    if (on_lag !== "drop_oldest" || intake.bytesFrom(partition, this.position.offset) <= lag_bytes_max) return null;
    let low = this.position.offset;
    let high = intake.nextOffset(partition);
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (intake.bytesFrom(partition, middle) > lag_bytes_max * LAG_KEPT_PART) low = middle + 1;
      else high = middle;
    }
    return low > this.position.offset ? low : null;
  }

  /** Goes on at entry `offset`, without what is before it. */
  private async leaveOut(offset: number): Promise<void> {
    const { collector, metrics, log, name } = this.deps;
    await this.writing;
    const lost = collector.take().length;
    this.sinceMs = null;
    const entries = offset - this.position.offset;
    metrics.dropped.inc(lost);
    metrics.droppedEntries.inc(Math.max(0, entries));
    log.warn(
      { sink: name, from: this.position.offset, to: offset, entries },
      `sink ${name}: too far behind; left out ${entries} entries of the intake log (raise lag_bytes_max or lag_age_max_ms, or set on_lag: block)`,
    );
    this.collected = Math.max(this.collected, offset);
    await this.moveTo({ offset, place: 0 });
  }

  private async moveTo(position: SinkPosition): Promise<void> {
    const { positions, intake, partition, name, log } = this.deps;
    const { offset, place } = this.position;
    if (position.offset < offset || (position.offset === offset && position.place <= place)) return;
    this.position = position;
    for (let attempt = 1; ; attempt++) {
      try {
        await positions.set(partition, position);
        break;
      } catch (error) {
        if (attempt === 1)
          log.error({ sink: name, err: error }, `sink ${name}: can't keep its position: ${messageOf(error)}`);
        await this.pause(attempt);
        this.abort.signal.throwIfAborted();
      }
    }
    await intake.commit(partition, position.offset, name);
  }
}
