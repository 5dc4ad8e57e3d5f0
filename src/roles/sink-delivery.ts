import { WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { RecordSink, Refused, SinkRecord } from "../core/sink.ts";
import { sleepFor } from "../core/wait.ts";
import type { Collected } from "./sink-collector.ts";
import type { SinkMetrics } from "./sink-metrics.ts";
import type { DeliveryOptions } from "./sink-options.ts";

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

export interface DeliveryDeps {
  /** The sink's name in the pipeline file. */
  readonly name: string;
  readonly sink: RecordSink;
  readonly deadLetters: DeadLetters;
  readonly metrics: SinkMetrics;
  readonly log: Logger;
  /** For tests; timers and Math.random otherwise. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random?: () => number;
}

/** Brings batches to a destination, however long that takes, and says how it is doing. */
export class SinkDelivery {
  private readonly options: DeliveryOptions;
  private readonly deps: DeliveryDeps;
  private readonly signal: AbortSignal;
  private hasTrouble = false;

  constructor(options: DeliveryOptions, signal: AbortSignal, deps: DeliveryDeps) {
    this.options = options;
    this.signal = signal;
    this.deps = deps;
  }

  /** The last request was not taken. */
  get isInTrouble(): boolean {
    return this.hasTrouble;
  }

  /**
   * Writes a batch until each of its records is taken, refused for good, or left out. `keep` says after each try which of the
   * rest are not to be left out yet. Rejects when the signal is aborted, and for what is a mistake of ours.
   */
  async deliver(
    batch: readonly Collected[],
    keep: (rest: readonly Collected[]) => Promise<readonly Collected[]>,
  ): Promise<void> {
    const { metrics, log, name } = this.deps;
    let rest: readonly Collected[] = batch;
    for (let attempt = 1; rest.length > 0; attempt++) {
      rest = await this.tryOnce(rest);
      if (rest.length === 0) return;
      this.signal.throwIfAborted();
      const kept = await keep(rest);
      if (kept.length < rest.length) {
        metrics.dropped.inc(rest.length - kept.length);
        log.warn(
          { sink: name, records: rest.length - kept.length },
          `sink ${name}: too far behind; left out records that it has not taken`,
        );
      }
      rest = kept;
      if (rest.length === 0) return;
      await this.pause(attempt);
    }
  }

  /** Asks the sink to make durable what it was given; whether it did. */
  async flush(flush: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    try {
      await flush(this.signal);
      this.works();
      return true;
    } catch (error) {
      this.signal.throwIfAborted();
      if (!(error instanceof WeirError)) throw error;
      this.deps.metrics.failures.inc();
      this.trouble(error.message);
      return false;
    }
  }

  /** One request; what is to be written again. Refused records are in the dead letters when it resolves. */
  private async tryOnce(batch: readonly Collected[]): Promise<readonly Collected[]> {
    const { sink, metrics } = this.deps;
    const started = performance.now();
    try {
      const { failed } = await sink.write(
        batch.map(({ record }) => record),
        this.signal,
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
      this.signal.throwIfAborted();
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
  pauseMs(attempt: number): number {
    const { retry_min_ms, retry_max_ms } = this.options;
    const { random = Math.random } = this.deps;
    return Math.min(retry_max_ms, retry_min_ms * 2 ** Math.min(attempt - 1, 20)) * (1 - random() / 2);
  }

  /** Rejects when the signal is aborted meanwhile. */
  async pause(attempt: number): Promise<void> {
    const { sleep = sleepFor } = this.deps;
    await sleep(this.pauseMs(attempt), this.signal);
    this.signal.throwIfAborted();
  }
}
