import type { Counter, Histogram, Metrics } from "../core/metrics.ts";

/** What the disk intake says about itself. */
export interface IntakeMetrics {
  /** By result: stored, repeat, full, unavailable, closed. */
  readonly appends: Counter<"result">;
  readonly appendedBytes: Counter<string>;
  readonly batchEntries: Histogram<string>;
  readonly writeSeconds: Histogram<string>;
  readonly writeErrors: Counter<string>;
  /** By where the pipeline's entries came from: memory, disk. */
  readonly reads: Counter<"from">;
  readonly lostEntries: Counter<string>;
  readonly unreadableBytes: Counter<string>;
}

export function intakeMetrics(metrics: Metrics): IntakeMetrics {
  const seconds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10];
  return {
    appends: metrics.counter("weir_intake_appends_total", "Entries offered to the intake log, by result.", ["result"]),
    appendedBytes: metrics.counter("weir_intake_appended_bytes_total", "Bytes of entries made durable."),
    batchEntries: metrics.histogram(
      "weir_intake_write_entries",
      "Entries that shared one write and one fdatasync.",
      [1, 2, 4, 8, 16, 32, 64, 128, 512],
    ),
    writeSeconds: metrics.histogram("weir_intake_write_seconds", "Time of one write with its fdatasync.", seconds),
    writeErrors: metrics.counter("weir_intake_write_errors_total", "Writes that the disk refused."),
    reads: metrics.counter("weir_intake_reads_total", "Entries handed to the pipeline, by where they were.", ["from"]),
    lostEntries: metrics.counter(
      "weir_intake_lost_entries_total",
      "Entries that were durable and could not be read back. Each is logged with its file and place.",
    ),
    unreadableBytes: metrics.counter("weir_intake_unreadable_bytes_total", "Bytes of log files that were passed over."),
  };
}
