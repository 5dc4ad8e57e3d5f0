import { codeOf, messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { endsWithin, sleepFor } from "../core/wait.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { Catalog } from "../store/catalog.ts";
import { Compactor, emptyReport, type PassReport } from "../store/compact/compactor.ts";
import type { CompactorOptions } from "../store/compact/options.ts";
import type { RemovalSource } from "../store/compact/removals.ts";

/** Part by which a pause is longer or shorter by chance, so that two compactors do not go on in step. */
const JITTER = 0.2;
/** Part of the grace time after which replaced objects are looked for: that lists the manifest. */
const COLLECT_PART = 1 / 6;
/** How long a stop waits for a request to the store that is under way. */
const STOP_MS = 2000;

export interface CompactorRoleDeps {
  readonly objects: ObjectStore;
  readonly catalog: Catalog;
  /** `store.block_bytes`. */
  readonly blockBytes: number;
  readonly removals: RemovalSource | null;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Runs passes of compaction, one after the other with pauses, until it is stopped. */
export class CompactorRole {
  private readonly options: CompactorOptions;
  private readonly deps: CompactorRoleDeps;
  private readonly abort = new AbortController();
  private readonly compactor: Compactor;
  private done: Promise<void> = Promise.resolve();
  private removalMs = Number.NEGATIVE_INFINITY;
  private collectedMs = Number.NEGATIVE_INFINITY;
  private sweptMs: number;

  constructor(options: CompactorOptions, deps: CompactorRoleDeps) {
    this.options = options;
    this.deps = deps;
    // The first search for leftovers waits: a process that is started again and again must not list the store each time.
    this.sweptMs = performance.now();
    const { signal } = this.abort;
    this.compactor = new Compactor(options, { ...deps, now: Date.now, sleep: sleepFor, signal });
  }

  start(): void {
    this.done = this.loop();
    this.done.catch((error: unknown) => this.deps.log.fatal({ err: error }, `compaction: ${messageOf(error)}`));
  }

  /** Gives up what is under way: the store is then as if it had never begun. */
  async stop(): Promise<void> {
    this.abort.abort();
    if (!(await endsWithin(this.done, STOP_MS))) this.deps.log.warn("stop: compaction waits for the store; left alone");
  }

  /**
   * Everything that is due, at once: fold, merge, remove, delete, search for leftovers. Gives what was done until something
   * failed, and what failed; null for nothing.
   */
  async once(): Promise<{ readonly report: PassReport; readonly failure: { readonly error: unknown } | null }> {
    const report = emptyReport();
    try {
      for (let removals = true, more = true; more; removals = false) {
        const last = await this.compactor.pass({ removals });
        more = last.more;
        report.merges += last.merges;
        report.segmentsIn += last.segmentsIn;
        report.segmentsOut += last.segmentsOut;
        report.bytesIn += last.bytesIn;
        report.bytesOut += last.bytesOut;
        report.removedLines += last.removedLines;
      }
      report.deleted += await this.compactor.collect();
      report.deleted += await this.compactor.sweep();
    } catch (error) {
      return { report, failure: { error } };
    }
    return { report, failure: null };
  }

  private async loop(): Promise<void> {
    const { signal } = this.abort;
    let more = false;
    while (!signal.aborted) {
      if (!more) await sleepFor(this.options.interval_ms * (1 + JITTER * (2 * Math.random() - 1)), signal);
      if (signal.aborted) return;
      more = await this.pass();
    }
  }

  /** One pass, and whether another should follow at once. Never rejects: what fails is tried again after a pause. */
  private async pass(): Promise<boolean> {
    const { log } = this.deps;
    try {
      const now = performance.now();
      const removals =
        now - this.removalMs >= this.options.removal_interval_ms || this.deps.removals?.isDue?.() === true;
      if (removals) this.removalMs = now;
      const { more } = await this.compactor.pass({ removals });
      if (now - this.collectedMs >= this.options.grace_ms * COLLECT_PART) {
        this.collectedMs = now;
        await this.compactor.collect();
      }
      if (now - this.sweptMs >= this.options.sweep_interval_ms) {
        this.sweptMs = now;
        await this.compactor.sweep();
      }
      return more;
    } catch (error) {
      if (!this.abort.signal.aborted) {
        log.error({ code: codeOf(error) }, `compaction: ${messageOf(error)}; it is tried again later`);
      }
      return false;
    }
  }
}
