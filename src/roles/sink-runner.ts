import { setImmediate as nextTick } from "node:timers/promises";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { endsWithin, sleepFor } from "../core/wait.ts";
import type { EntryReader, IntakeLog } from "../intake/intake.ts";
import type { Pipelines } from "../pipeline/compile.ts";
import { batchesOf } from "./sink-batches.ts";
import type { Collected, Collector, EntryAt } from "./sink-collector.ts";
import { type DeliveryDeps, SinkDelivery } from "./sink-delivery.ts";
import type { SinkMetrics } from "./sink-metrics.ts";
import type { DeliveryOptions } from "./sink-options.ts";
import type { SinkPosition, SinkPositions } from "./sink-position.ts";

/** Records between two looks at the batch and at the clock. */
const RECORDS_A_TURN = 250;
/** How often a sink that has nothing to send looks whether its records are old enough, or it has come further. */
const IDLE_MS = 200;
/** How often the position follows over entries of which nothing goes out, while one comes after the other. */
const MOVE_MS = 1000;
/** A jump over what is too much leaves this part of the room free, so that the next one is not due at once. */
const LAG_KEPT_PART = 0.9;
/** Part of the lag's bound that may wait for the end of an interval: what waits on purpose must not be left out for it. */
const INTERVAL_LAG_PART = 0.5;

/** A quarter of what an intake log on disk keeps by default, so that one sink that is away does not fill it. */
const LAG_BYTES_MAX = 1 << 30;

const NOBODY = (): void => {};

/** The part of the intake log that a sink needs. */
export interface SinkIntake extends Pick<IntakeLog, "read" | "commit" | "nextOffset"> {
  /** As IntakeLog's; null while nobody knows: then `lag_bytes_max` bounds nothing. */
  bytesFrom(partition: number, next: number): number | null;
  /** `lag_bytes_max` where nobody has set it. Absent: LAG_BYTES_MAX. */
  readonly lagBytesMax?: number;
}

export interface SinkRunnerDeps extends DeliveryDeps {
  /** The sink's name in the pipeline file, and its name as a consumer of the intake log. */
  readonly name: string;
  readonly partition: number;
  readonly intake: SinkIntake;
  /** The sink's own, compiled with `collector` in its place. */
  readonly pipelines: Pipelines;
  readonly collector: Collector;
  readonly positions: Pick<SinkPositions, "get" | "set">;
  readonly metrics: SinkMetrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** When another runner takes the place of one that an error has ended; "with the process" where nobody says it. */
  readonly beginsAgain?: string;
}

/**
 * Takes one sink through the intake log at the sink's own pace: reads entries, runs the pipelines that lead to it, and
 * writes what they give in batches, one at a time and in order. The position moves only over records that the destination
 * has taken, that are in the dead letters, or that were left out because the sink was too far behind; it is durable before
 * the intake log may forget them.
 *
 * What goes out at the end of an interval only (a digest) holds the position until then; so does a sink that has to be asked
 * whether it has made durable what it took (RecordSink.flush).
 */
export class SinkRunner {
  private readonly deps: SinkRunnerDeps;
  private readonly options: DeliveryOptions;
  private readonly delivery: SinkDelivery;
  private readonly lagBytesMax: number;
  private readonly abort = new AbortController();
  private readonly endLag: () => void;
  /** Nothing more is begun. */
  private isLeaving = false;
  private position: SinkPosition;
  /** The end of the interval that was being sent when the process died. */
  private until: number | null;
  /** Entries below are collected whole. */
  private collected: number;
  /** When the oldest record that was collected and not handed over came, as `performance.now()` counts. */
  private sinceMs: number | null = null;
  private writing: Promise<void> = Promise.resolve();
  /** When the oldest entry of the batch under way was received; null while none is. */
  private writingMs: number | null = null;
  private running: Promise<void> = Promise.resolve();
  /** When the entry at work was received; null when the sink has caught up. */
  private receivedMs: number | null = null;
  /** Whether entries that are too old are being passed over; said once. */
  private isPassing = false;
  private movedMs = 0;
  private ended: string | null = null;
  /** The reader's word that there is an entry, while it is waited for. */
  private waiting: Promise<void> | null = null;
  private wake: () => void = NOBODY;
  private failed: { readonly error: unknown } | null = null;
  /** What the sink has taken and not made durable: where it goes on once it has, and when the oldest of it was received. */
  private held: { position: SinkPosition; receivedMs: number } | null = null;
  private flushMs = 0;
  private failedFlushes = 0;

  /** A sink that has never been in the partition begins at its first entry. */
  constructor(options: DeliveryOptions, deps: SinkRunnerDeps) {
    this.options = options;
    this.deps = deps;
    this.delivery = new SinkDelivery(options, this.abort.signal, deps);
    const at = deps.positions.get(deps.partition);
    this.position = { offset: at?.offset ?? 0, place: at?.place ?? 0 };
    this.until = this.isByInterval ? (at?.until ?? null) : null;
    this.collected = this.position.offset;
    this.lagBytesMax = options.lag_bytes_max ?? deps.intake.lagBytesMax ?? LAG_BYTES_MAX;
    if (Number.isFinite(this.lagBytesMax)) deps.metrics.lagMax.set(this.lagBytesMax);
    this.endLag = deps.metrics.lag(() => ({
      bytes: deps.intake.bytesFrom(deps.partition, this.position.offset),
      entries: Math.max(0, deps.intake.nextOffset(deps.partition) - this.position.offset),
      ms: this.oldestMs === null ? 0 : Math.max(0, deps.now() - this.oldestMs),
    }));
  }

  start(): void {
    this.dontWaitForThePast();
    this.flushMs = performance.now();
    this.running = this.loop();
    // Whatever ends it is a mistake of ours: the other sinks and the store go on.
    this.running.catch((error: unknown) => {
      if (this.abort.signal.aborted) return;
      const { log, metrics, name, beginsAgain } = this.deps;
      this.ended = `sink ${name} has stopped, and begins again ${beginsAgain ?? "with the process"}: ${messageOf(error)}`;
      metrics.up.set(0);
      metrics.stopped.set(1);
      log[beginsAgain === undefined ? "fatal" : "error"]({ err: error, sink: name }, this.ended);
    });
  }

  /** Resolves when the runner was told to end, and has; rejects with the error that has ended it. */
  over(): Promise<void> {
    return this.running;
  }

  /** Why the sink has stopped although nobody asked it to, or null. */
  get failure(): string | null {
    return this.ended;
  }

  /** Ends the requests under way, and resolves when the sink is closed. What it has not taken it gets after the next start. */
  async stop(): Promise<void> {
    this.abort.abort();
    this.endLag();
    this.wake();
    await this.running.catch(() => {}); // Said in `start`.
    await this.writing.catch(() => {}); // The position does not move over what was not taken.
    const { sink, log, name } = this.deps;
    await sink
      .close()
      .catch((error: unknown) => log.warn({ sink: name, err: error }, `sink ${name}: ${messageOf(error)}`));
  }

  /**
   * Begins nothing more, and stops once what is under way has ended, so that whoever goes on (the next start, or another process)
   * need not send it again: for at most `ms`, and as long as the destination takes records.
   */
  async leave(ms: number): Promise<void> {
    this.isLeaving = true;
    this.wake();
    if (!this.delivery.isInTrouble) await endsWithin(this.settle(), ms);
    await this.stop();
  }

  private async settle(): Promise<void> {
    await this.running.catch(() => {}); // Said in `start`; what is under way may be taken all the same.
    await this.writing;
    const { held } = this;
    const { flush } = this.deps.sink;
    if (held === null || flush === undefined || !(await this.delivery.flush(flush.run))) return;
    this.held = null;
    await this.moveTo(held.position);
  }

  private get isEnding(): boolean {
    return this.isLeaving || this.abort.signal.aborted;
  }

  /** When the oldest entry was received that the destination does not have yet. */
  private get oldestMs(): number | null {
    const { collector } = this.deps;
    return this.held?.receivedMs ?? this.writingMs ?? collector.oldestMs ?? this.receivedMs;
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
    this.until = null;
    this.collected = next;
    this.deps.sink.beginAnew?.(partition);
  }

  private async loop(): Promise<void> {
    const { intake, partition, name } = this.deps;
    let reader = intake.read(partition, this.position.offset, name);
    try {
      while (!this.isEnding) {
        if (this.jump() !== null) reader = await this.leaveOut(reader);
        const entry = await reader.poll();
        if (entry === null) await this.idle(reader);
        else {
          this.receivedMs = entry.receivedMs;
          if (this.isTooOld(entry.receivedMs)) this.passOver(entry);
          else await this.collect(entry);
        }
        if (this.isDue()) await this.handOver();
        if (entry === null || performance.now() - this.movedMs >= MOVE_MS) await this.follow();
        this.flushIfDue();
        if (entry === null && this.position.offset >= intake.nextOffset(partition)) this.receivedMs = null;
      }
    } finally {
      await reader.close();
    }
  }

  private async collect(entry: Parameters<Pipelines["begin"]>[0]): Promise<void> {
    const { collector, pipelines } = this.deps;
    if (this.until !== null ? entry.offset >= this.until : collector.endsBefore(entry)) await this.endInterval();
    const isFirst = entry.offset === this.position.offset;
    const isWhole = this.isByInterval;
    this.isPassing = false;
    collector.begin(entry, isFirst ? this.position.place : 0);
    const run = pipelines.begin(entry);
    for (let more = true; more && !this.isEnding; ) {
      more = run.step(RECORDS_A_TURN);
      if (collector.count > 0 && !isWhole) this.sinceMs ??= performance.now();
      if (!isWhole && this.isFull()) await this.handOver();
      if (more) await nextTick();
    }
    if (this.isEnding) return;
    this.collected = entry.offset + 1;
    // Of one that is behind, the next entry may be of the same interval, though that is long over.
    const now = Math.min(this.deps.now(), entry.receivedMs);
    if (isWhole && this.until === null && (collector.endsBy(now) || this.waitsForMuch())) await this.endInterval();
  }

  private get isByInterval(): boolean {
    return this.options.digest !== undefined;
  }

  private isFull(): boolean {
    const { count, bytes } = this.deps.collector;
    return count >= this.options.batch_records_max || bytes >= this.options.batch_bytes_max;
  }

  private isDue(): boolean {
    return this.sinceMs !== null && performance.now() - this.sinceMs >= this.options.batch_age_ms;
  }

  private waitsForMuch(): boolean {
    const { intake, partition } = this.deps;
    const behind = intake.bytesFrom(partition, this.position.offset);
    const rest = intake.bytesFrom(partition, this.collected);
    return behind !== null && rest !== null && behind - rest > this.lagBytesMax * INTERVAL_LAG_PART;
  }

  /** Waits for an entry, or for the moment at which what is collected has to go. */
  private async idle(reader: EntryReader): Promise<void> {
    this.listen(reader);
    const wake = new AbortController();
    this.wake = () => wake.abort();
    if (this.waiting === null || this.isEnding) wake.abort();
    await sleepFor(IDLE_MS, wake.signal);
    this.wake = NOBODY;
    if (this.failed !== null) throw this.failed.error;
    if (this.isEnding || !this.isByInterval) return;
    const { collector, now, intake, partition } = this.deps;
    const isSaidBefore = this.until !== null && this.until <= intake.nextOffset(partition);
    if (isSaidBefore ? this.collected >= (this.until ?? 0) : collector.endsBy(now())) await this.endInterval();
  }

  /**
   * Has the reader say when there is an entry: once for all the turns that pass without one, since whatever waits for it stays
   * behind until then.
   */
  private listen(reader: EntryReader): void {
    if (this.waiting !== null) return;
    const waiting = reader.wait();
    this.waiting = waiting;
    const done = () => {
      if (this.waiting === waiting) this.waiting = null;
      this.wake();
    };
    waiting.then(done, (error: unknown) => {
      this.failed = { error };
      done();
    });
  }

  /**
   * Sends what an interval has come to. Where the interval ends is durable before: should the process die now, the same entries
   * make the same records with the same ids.
   */
  private async endInterval(): Promise<void> {
    await this.writing;
    const { collector } = this.deps;
    if (collector.count > 0) await this.keep({ ...this.position, until: this.collected });
    this.until = null;
    await this.handOver();
  }

  /** Hands what is collected to the writing side, once that is through with the batches before. */
  private async handOver(): Promise<void> {
    this.sinceMs = null;
    const { batch_records_max: records, batch_bytes_max: bytes } = this.options;
    const collected = this.deps.collector.take(this.collected);
    for (const batch of batchesOf(collected, { records, bytes }, (item) => item.bytes)) {
      await this.writing;
      if (this.isEnding) return;
      this.writingMs = batch[0].receivedMs;
      this.writing = this.deliver(batch).finally(() => {
        this.writingMs = null;
      });
      // Its error ends the loop at the next batch, or the loop's end hears of it.
      this.writing.catch(() => {});
    }
  }

  /** Writes a batch, then moves the position over it; where the sink has to be asked for that, it is held until then. */
  private async deliver(batch: readonly Collected[]): Promise<void> {
    await this.delivery.deliver(batch, (rest) => this.notTooLate(rest));
    const { after } = batch[batch.length - 1];
    if (this.deps.sink.flush === undefined) await this.moveTo(after);
    else this.held = { position: after, receivedMs: this.held?.receivedMs ?? batch[0].receivedMs };
  }

  /** Those of `rest` that are within the bounds; the position goes to where the bound in bytes begins. */
  private async notTooLate(rest: readonly Collected[]): Promise<readonly Collected[]> {
    const from = this.jump();
    const kept = rest.filter(
      ({ after, receivedMs }) => (from === null || after.offset >= from) && !this.isTooOld(receivedMs),
    );
    if (from !== null && kept.length > 0) await this.moveTo({ offset: from, place: 0 });
    return kept;
  }

  /** Asks the sink to make durable what it took, if it is time; between batches, so that none is half in it. */
  private flushIfDue(): void {
    const { flush } = this.deps.sink;
    if (flush === undefined || this.writingMs !== null || performance.now() < this.flushMs) return;
    this.writingMs = this.deps.now();
    this.writing = this.writing
      .then(async () => {
        const done = await this.delivery.flush(flush.run);
        this.failedFlushes = done ? 0 : this.failedFlushes + 1;
        this.flushMs = performance.now() + (done ? flush.everyMs : this.delivery.pauseMs(this.failedFlushes));
        const { held } = this;
        if (!done || held === null) return;
        this.held = null;
        await this.moveTo(held.position);
      })
      .finally(() => {
        this.writingMs = null;
      });
    this.writing.catch(() => {}); // As in `handOver`.
  }

  /** Moves the position over entries of which nothing went out. */
  private async follow(): Promise<void> {
    const { collector } = this.deps;
    if (this.isEnding || collector.oldestMs !== null || this.writingMs !== null || this.held !== null) return;
    await this.writing; // Where it failed, nothing may be passed over: this ends the loop.
    this.movedMs = performance.now();
    await this.moveTo({ offset: this.collected, place: 0 });
  }

  private isTooOld(receivedMs: number): boolean {
    return this.options.on_lag === "drop_oldest" && this.deps.now() - receivedMs > this.options.lag_age_max_ms;
  }

  /** Leaves out an entry that is too old. */
  private passOver({ offset }: EntryAt): void {
    const { metrics, log, name } = this.deps;
    metrics.droppedEntries.inc();
    if (!this.isPassing) {
      log.warn(
        { sink: name, from: offset },
        `sink ${name}: too far behind; leaves out entries of the intake log that are older than lag_age_max_ms (raise it, or set on_lag: block)`,
      );
    }
    this.isPassing = true;
    this.collected = offset + 1;
  }

  /** The offset to go on at when more waits than may, or null. */
  private jump(): number | null {
    const { intake, partition } = this.deps;
    const { lagBytesMax } = this;
    const bytesFrom = (offset: number) => intake.bytesFrom(partition, offset) ?? 0;
    if (this.options.on_lag !== "drop_oldest" || bytesFrom(this.position.offset) <= lagBytesMax) return null;
    let low = this.position.offset;
    let high = intake.nextOffset(partition);
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (bytesFrom(middle) > lagBytesMax * LAG_KEPT_PART) low = middle + 1;
      else high = middle;
    }
    return low > this.position.offset ? low : null;
  }

  /** Goes on behind what is too much; gives the reader to go on with. */
  private async leaveOut(reader: EntryReader): Promise<EntryReader> {
    await this.writing; // It may have come far enough meanwhile.
    const offset = this.jump();
    if (offset === null) return reader;
    const { collector, metrics, log, name, intake, partition } = this.deps;
    if (this.held !== null && this.held.position.offset >= offset) {
      // The sink has those, though they are not durable: nothing is left out, unless the process dies before they are.
      log.warn({ sink: name }, `sink ${name}: too far behind; no longer waits for what it took to be durable`);
      await this.moveTo(this.held.position);
      return reader;
    }
    await reader.close();
    this.waiting = null;
    const lost = collector.take(this.collected).filter(({ after }) => after.offset < offset).length;
    this.sinceMs = null;
    this.until = null;
    const entries = offset - this.position.offset;
    metrics.dropped.inc(lost);
    metrics.droppedEntries.inc(entries);
    log.warn(
      { sink: name, from: this.position.offset, to: offset, entries },
      `sink ${name}: too far behind; left out ${entries} entries of the intake log (raise lag_bytes_max, or set on_lag: block)`,
    );
    this.collected = offset;
    await this.moveTo({ offset, place: 0 });
    return intake.read(partition, offset, name);
  }

  private async moveTo(position: SinkPosition): Promise<void> {
    const { intake, partition, name } = this.deps;
    const { offset, place } = this.position;
    if (position.offset < offset || (position.offset === offset && position.place <= place)) return;
    this.position = position;
    await this.keep(position);
    await intake.commit(partition, position.offset, name);
  }

  /** Resolves when the position is on the disk. */
  private async keep(position: SinkPosition): Promise<void> {
    const { positions, partition, name, log } = this.deps;
    for (let attempt = 1; ; attempt++) {
      try {
        return await positions.set(partition, position);
      } catch (error) {
        if (attempt === 1)
          log.error({ sink: name, err: error }, `sink ${name}: can't keep its position: ${messageOf(error)}`);
        await this.delivery.pause(attempt);
      }
    }
  }
}
