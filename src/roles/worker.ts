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

  constructor(deps: WorkerDeps) {
    this.deps = deps;
    const partition = String(deps.partition);
    deps.metrics.gauge(
      "weir_worker_lag_entries",
      "Intake entries that the worker has not taken yet.",
      ["partition"],
      (gauge) => gauge.set({ partition }, Math.max(0, deps.intake.nextOffset(deps.partition) - this.next)),
    );
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
    if (!writer.needsFlush()) return;
    // One flush at a time: a second one that is due waits, and with it the intake log behind the worker fills.
    if (this.flushing !== null) await this.flushing;
    if (!this.taken && writer.needsFlush()) void this.beginFlush();
  }

  /** Waits for an entry, the end, or the age of the open lines. */
  private async idle(reader: EntryReader): Promise<void> {
    this.listen(reader);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, AGE_CHECK_MS).unref();
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    if (this.failed !== null) throw this.failed.error;
    if (this.flushing === null && (this.deps.writer.needsFlush() || this.isAhead())) void this.beginFlush();
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

  /** Commits everything up to `next`. Never rejects: a lost commit sets `taken`, and the writer itself retries the rest. */
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
      } catch (error) {
        if (codeOf(error) === "position_taken") {
          log.warn({ partition, upTo }, messageOf(error));
          this.taken = true;
        } else {
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
