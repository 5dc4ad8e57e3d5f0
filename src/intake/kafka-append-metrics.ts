import type { Counter, Histogram, Metrics } from "../core/metrics.ts";

/** What the writing side of an intake log in Kafka says about itself; names as the one on disk has them, where they mean the same. */
export interface KafkaAppendMetrics {
  /** By result: stored, full, unavailable, closed. */
  readonly appends: Counter<"result">;
  readonly appendedBytes: Counter<string>;
  readonly batchEntries: Histogram<string>;
  readonly writeSeconds: Histogram<string>;
  readonly writeErrors: Counter<string>;
}

export function kafkaAppendMetrics(metrics: Metrics): KafkaAppendMetrics {
  const seconds = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10, 30];
  return {
    appends: metrics.counter("weir_intake_appends_total", "Entries offered to the intake log, by result.", ["result"]),
    appendedBytes: metrics.counter("weir_intake_appended_bytes_total", "Bytes of entries made durable."),
    batchEntries: metrics.histogram(
      "weir_intake_write_entries",
      "Entries that shared one write.",
      [1, 2, 4, 8, 16, 32, 64, 128, 512, 2048],
    ),
    writeSeconds: metrics.histogram("weir_intake_write_seconds", "Time of one write.", seconds),
    writeErrors: metrics.counter("weir_intake_write_errors_total", "Writes that failed; they are made again."),
  };
}
