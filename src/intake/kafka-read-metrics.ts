import type { Counter, Metrics } from "../core/metrics.ts";

export interface ReadCounter {
  inc(by?: number): void;
}

/** What the reading side of an intake log in Kafka says about itself. */
export interface KafkaReadMetrics {
  readonly entries: ReadCounter;
  /** By what: a chunk that was there before; a push of which no line was new; lines of a push that others of were new. */
  readonly repeats: Counter<"what">;
  /** What left the windows of repeats before its time. */
  readonly forgotten: ReadCounter;
  readonly lostEntries: ReadCounter;
  readonly unreadable: ReadCounter;
  readonly troubles: ReadCounter;
}

export function kafkaReadMetrics(metrics: Metrics): KafkaReadMetrics {
  return {
    entries: metrics.counter("weir_intake_read_entries_total", "Entries taken from the intake topic by the workers."),
    repeats: metrics.counter(
      "weir_intake_repeats_total",
      "What stood in the intake topic before and was left out: chunks, whole pushes, and lines of pushes.",
      ["what"],
    ),
    forgotten: metrics.counter(
      "weir_intake_repeats_forgotten_total",
      "Chunks and pushed lines that workers forgot before their time, because all windows of repeats together were as large as `repeat_windows_bytes_max`: one that is sent again after that is stored twice.",
    ),
    lostEntries: metrics.counter(
      "weir_intake_lost_entries_total",
      "Offsets of the intake topic that were gone before they were stored. Each gap is logged with its place.",
    ),
    unreadable: metrics.counter(
      "weir_intake_unreadable_entries_total",
      "Records of the intake topic that are none of Weir's, or are damaged. Each is logged with its place.",
    ),
    troubles: metrics.counter("weir_intake_read_troubles_total", "Times that brokers did not answer a worker."),
  };
}
