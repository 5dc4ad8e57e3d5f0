import { setImmediate as nextTick } from "node:timers/promises";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { EntryReader, IntakeLog } from "../intake/intake.ts";
import type { Pipelines } from "../pipeline/compile.ts";
import type { StreamWriter } from "../store/writer.ts";

/** Lines that a pipeline run may take before the event loop gets a turn: about 1 to 2 ms of work. */
const LINES_A_TURN = 1000;
/** How long a worker keeps the event loop over several small entries before it lets others have a turn. */
const TURN_MS = 4;
/** How often the age of open lines is looked at. Far below any sensible flush age, and costs nothing. */
const AGE_CHECK_MS = 250;
/** Pause after a flush whose error the writer does not try again by itself, such as a store that refuses it: somebody may mend that. */
const FLUSH_RETRY_MS = 5000;

/** The part of the intake log that a worker needs. */
export type WorkerIntake = Pick<IntakeLog, "read" | "commit" | "nextOffset">;

export interface WorkerDeps {
  readonly partition: number;
  readonly intake: WorkerIntake;
  readonly pipelines: Pipelines;
  readonly writer: StreamWriter;
  /**
   * After so long offsets are committed that no line came of: repeats, and records that the pipelines dropped. Absent: they are
   * committed with the next lines.
   */
  readonly commitAgeMs?: number;
  /** The offset at which the partition's chain of catalog entries ends, read anew at each call. */
  readonly chainEnd: () => Promise<number>;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** For tests; FLUSH_RETRY_MS otherwise. */
  readonly flushRetryMs?: number;
}

/**
 * Owns one partition: reads its intake entries in order, runs the pipelines over them, and commits what the store's
 * writer has collected together with the offsets that it covers (architecture, D5).
 */
export class Worker {
  private readonly deps: WorkerDeps;
  private next = 0;
  private draining = false;
  private stopped = false;
  private wake: () => void = () => {};
  private flushing: Promise<void> | null = null;
  /** A commit that lost: another worker has the partition's next position. */
  private taken = false;
  private done: Promise<void> | null = null;
  private isOver = false;
  /** Offsets below it are in a flush, and since when there are others. */
  private flushed = 0;
  private aheadSinceMs: number | null = null;
  /** The reader that was asked to say when there is an entry, and has not said so yet. */
  private listening: EntryReader | null = null;
  private failed: { readonly error: unknown } | null = null;
  /** Those that wait for a flush that they asked for. */
  private asked: (() => void)[] = [];
  /** Why the last flush failed for good, and when that was; null once one went well. */
  private flushFailed: { readonly reason: string; readonly ms: number } | null = null;

  constructor(deps: WorkerDeps) {
    this.deps = deps;
    const partition = String(deps.partition);
    deps.metrics.gauge(
      "weir_worker_lag_entries",
      "Intake entries that the worker has not taken yet.",
      ["partition"],
      (gauge) => gauge.set({ partition }, Math.max(0, deps.intake.nextOffset(deps.partition) - this.next)),
    );
    deps.metrics.gauge(
      "weir_worker_stuck",
      "1 while the store refuses what the worker has taken, for a reason that does not pass by itself; it is tried again every 5 s.",
      ["partition"],
      (gauge) => gauge.set({ partition }, this.flushFailed === null ? 0 : 1),
    );
  }

  /** Why what was taken can't be committed, although that is tried again and again; "" while nothing is known against it. */
  get trouble(): string {
    return this.flushFailed?.reason ?? "";
  }

  /** Begins at the end of the catalog's chain. Rejects when that cannot be read. */
  async start(): Promise<void> {
    await this.beginAtChainEnd();
    this.done = this.loop();
    // The loop only ends by an error that nobody can mend: say so loudly, and let `drain` report it too.
    this.done.catch((error: unknown) => this.deps.log.fatal({ err: error }, `worker: ${messageOf(error)}`));
  }

  /** Resolves, or rejects with its reason, when the worker has ended. */
  ended(): Promise<void> {
    return this.done ?? Promise.resolve();
  }

  /** Takes what is in the intake log, commits it, and ends. */
  async drain(): Promise<void> {
    this.draining = true;
    this.wake();
    await this.done;
  }

  /** Commits what has been taken, soon: between two entries. Resolves when that was tried. */
  flush(): Promise<void> {
    if (this.isOver || this.stopped) return Promise.resolve();
    const flushed = new Promise<void>((resolve) => this.asked.push(resolve));
    this.wake();
    return flushed;
  }

  /** Ends at once, without a commit: what is not committed is read again at the next start. */
  stop(): void {
    this.stopped = true;
    this.answerAsked();
    this.wake();
  }

  private async loop(): Promise<void> {
    const { intake, partition, writer } = this.deps;
    let reader = intake.read(partition, this.next);
    let turnStart = performance.now();
    try {
      while (!this.stopped) {
        if (this.taken) reader = await this.restart(reader);
        if (this.asked.length > 0 && this.flushing === null) this.flushAsked();
        const entry = await reader.poll();
        if (entry === null) {
          this.next = Math.max(this.next, reader.passed ?? 0);
          if (this.draining) break;
          await this.idle(reader);
          turnStart = performance.now();
          continue;
        }
        const run = this.deps.pipelines.begin(entry);
        while (run.step(LINES_A_TURN)) {
          await nextTick();
          turnStart = performance.now();
        }
        this.next = entry.offset + 1;
        await this.afterEntry();
        // There is no room for the rest, and nothing that will make some: it is read again at the next start.
        if (this.draining && this.flushFailed !== null && !writer.hasRoom()) break;
        if (performance.now() - turnStart > TURN_MS) {
          await nextTick();
          turnStart = performance.now();
        }
      }
      if (this.stopped) return;
      await this.flushing;
      await this.beginFlush();
      if (this.taken)
        this.deps.log.warn({ partition }, "worker: another process owns the partition; left its work to it");
    } finally {
      this.isOver = true;
      this.answerAsked();
      await reader.close();
      if (this.stopped) writer.discard();
    }
  }

  private async afterEntry(): Promise<void> {
    const { writer } = this.deps;
    const pressure = writer.pressure();
    if (pressure !== null) await pressure;
    await this.waitForRoom();
    if (!writer.needsFlush() && !this.isRetryDue()) return;
    // One flush at a time: a second one that is due waits, and with it the intake log behind the worker fills.
    if (this.flushing !== null) await this.flushing;
    if (!this.taken && (writer.needsFlush() || this.isRetryDue())) void this.beginFlush();
  }

  /** Of memory that only a flush frees, which failed for good: nothing more is taken until one goes well. */
  private async waitForRoom(): Promise<void> {
    const { writer } = this.deps;
    while (!this.isEnding && !this.taken && !writer.hasRoom()) {
      if (this.flushing !== null) await this.flushing;
      // Without a failure a flush is due, and begun.
      else if (this.flushFailed === null) return;
      else if (this.isRetryDue() || this.asked.length > 0) this.flushAsked();
      else await this.pause(AGE_CHECK_MS);
    }
  }

  private get isEnding(): boolean {
    return this.stopped || this.draining;
  }

  private isRetryDue(): boolean {
    const { flushRetryMs = FLUSH_RETRY_MS } = this.deps;
    return (
      this.flushFailed !== null && this.flushing === null && performance.now() - this.flushFailed.ms >= flushRetryMs
    );
  }

  /** Waits for an entry, the end, or the age of the open lines. */
  private async idle(reader: EntryReader): Promise<void> {
    this.listen(reader);
    await this.pause(AGE_CHECK_MS);
    if (this.failed !== null) throw this.failed.error;
    if (this.flushing !== null) return;
    if (this.deps.writer.needsFlush() || this.isAhead() || this.isRetryDue()) void this.beginFlush();
  }

  /** Resolves after `ms`, or at `wake`. */
  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /**
   * Has the reader say when there is an entry: once for all the turns that pass without one, since whatever waits for it stays
   * behind until then. Four times a second for a night that is a hundred thousand.
   */
  private listen(reader: EntryReader): void {
    if (this.listening === reader) return;
    this.listening = reader;
    const done = () => {
      if (this.listening !== reader) return;
      this.listening = null;
      this.wake();
    };
    reader.wait().then(done, (error: unknown) => {
      if (this.listening === reader) this.failed = { error };
      done();
    });
  }

  /** Whether offsets wait for being committed that no line came of. */
  private isAhead(): boolean {
    const { commitAgeMs } = this.deps;
    if (commitAgeMs === undefined || this.next <= this.flushed) {
      this.aheadSinceMs = null;
      return false;
    }
    this.aheadSinceMs ??= performance.now();
    return performance.now() - this.aheadSinceMs >= commitAgeMs;
  }

  /**
   * Commits everything up to `next`. Never rejects: a lost commit sets `taken`, the writer itself tries again what may pass, and what it
   * does not is tried again by the loop, after a pause.
   */
  private beginFlush(): Promise<void> {
    const { intake, partition, writer, log } = this.deps;
    // Whoever stops it has the writer drop what it has: a commit would cover these offsets without their lines.
    if (this.stopped) return Promise.resolve();
    const upTo = this.next;
    this.flushed = upTo;
    this.aheadSinceMs = null;
    const flush = (async () => {
      try {
        await writer.flush(upTo);
        await intake.commit(partition, upTo);
        if (this.flushFailed !== null) log.info({ partition, upTo }, "worker: commits again");
        this.flushFailed = null;
      } catch (error) {
        if (codeOf(error) === "position_taken") {
          log.warn({ partition, upTo }, messageOf(error));
          this.taken = true;
        } else {
          if (!this.stopped) this.flushFailed = { reason: messageOf(error), ms: performance.now() };
          log.error({ partition, upTo, err: error }, `flush: ${messageOf(error)}`);
        }
      } finally {
        this.flushing = null;
      }
    })();
    this.flushing = flush;
    return flush;
  }

  private flushAsked(): void {
    const asked = this.asked.splice(0);
    void this.beginFlush().then(() => {
      for (const resolve of asked) resolve();
    });
  }

  private answerAsked(): void {
    for (const resolve of this.asked.splice(0)) resolve();
  }

  /** Drops uncommitted work and begins again where the chain ends now. */
  private async restart(reader: EntryReader): Promise<EntryReader> {
    const { intake, partition, writer } = this.deps;
    await this.flushing;
    this.listening = null;
    await reader.close();
    writer.discard();
    this.flushFailed = null;
    await this.beginAtChainEnd();
    this.taken = false;
    return intake.read(partition, this.next);
  }

  /** What is read and what is committed begin at one place, wherever the chain ends when the first lines are committed. */
  private async beginAtChainEnd(): Promise<void> {
    this.next = await this.deps.chainEnd();
    this.flushed = this.next;
    this.deps.writer.beginAt(this.next);
  }
}
