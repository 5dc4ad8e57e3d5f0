import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { sleepFor } from "../core/wait.ts";
import type { PartitionOffsets } from "../kafka/admin.ts";

/** How often it is looked how far queries are behind. */
const LOOK_MS = 1000;
/** Looks that are remembered for a partition that is behind: ten minutes. Beyond it the age no longer grows by looks, but by time. */
const SAMPLES_MAX = 600;

export interface FreshnessDeps {
  readonly offsets: () => Promise<readonly PartitionOffsets[]>;
  /** Reads the catalog anew. */
  readonly refresh: () => Promise<void>;
  readonly chainEnd: (partition: number) => number;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds of a steady clock. */
  readonly now: () => number;
}

interface Sample {
  readonly atMs: number;
  readonly end: number;
}

/**
 * How far what queries see is behind what is received: by partition in entries, and in seconds since the oldest entry that is not
 * in the store was seen in Kafka.
 */
export class Freshness {
  private readonly deps: FreshnessDeps;
  private readonly lags = new Map<number, number>();
  /** By partition, the ends of the log that the store has not reached, and when they were seen first. */
  private readonly pending = new Map<number, Sample[]>();

  constructor(deps: FreshnessDeps) {
    this.deps = deps;
    deps.metrics.gauge(
      "weir_querier_lag_entries",
      "Entries of the intake topic that are not in the store yet, so no query sees them.",
      ["partition"],
      (gauge) => {
        for (const [partition, lag] of this.lags) gauge.set({ partition: String(partition) }, lag);
      },
    );
    deps.metrics.gauge(
      "weir_querier_behind_seconds",
      "Age of the oldest entry that no query sees yet: how long ago it was first seen in Kafka. 0: queries see everything.",
      [],
      (gauge) => gauge.set(this.behindMs / 1000),
    );
  }

  get behindMs(): number {
    const oldest = [...this.pending.values()].flatMap(([first]) => first?.atMs ?? []);
    return oldest.length === 0 ? 0 : this.deps.now() - Math.min(...oldest);
  }

  /** Looks every second until the signal. */
  async watch(signal: AbortSignal): Promise<void> {
    let hasFailed = false;
    while (!signal.aborted) {
      try {
        await this.look();
        hasFailed = false;
      } catch (error) {
        if (!hasFailed && !signal.aborted)
          this.deps.log.warn(`querier: can't find out how far queries are behind: ${messageOf(error)}`);
        hasFailed = true;
      }
      await sleepFor(LOOK_MS, signal);
    }
  }

  async look(): Promise<void> {
    const { offsets, refresh, chainEnd, now } = this.deps;
    const atMs = now();
    const found = await offsets();
    await refresh();
    for (const { partition, high, low } of found) {
      const end = Math.max(low, chainEnd(partition));
      this.lags.set(partition, Math.max(0, high - end));
      const before = (this.pending.get(partition) ?? []).filter((sample) => sample.end > end);
      const last = before.at(-1)?.end ?? end;
      if (high > last && before.length < SAMPLES_MAX) before.push({ atMs, end: high });
      this.pending.set(partition, before);
    }
  }
}
