import type { Metrics } from "../core/metrics.ts";

export interface SinkCounter {
  inc(by?: number): void;
}

/** What is measured of one sink. */
export interface SinkMetrics {
  readonly sent: SinkCounter;
  readonly refused: SinkCounter;
  readonly dropped: SinkCounter;
  readonly droppedEntries: SinkCounter;
  readonly failures: SinkCounter;
  readonly up: { set(value: number): void };
  readonly stopped: { set(value: number): void };
  readonly lagMax: { set(bytes: number): void };
  readonly writeSeconds: { observe(seconds: number): void };
  /** Says where the present lag of another partition is read; gives what ends that. */
  lag(read: () => SinkLag): () => void;
}

/** How far a sink is behind in a partition. */
export interface SinkLag {
  /** Of the intake log; null where that can't be known. */
  readonly bytes: number | null;
  readonly entries: number;
  /** Age of what is to be sent next. */
  readonly ms: number;
}

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Declares the metrics of all sinks; gives those of one. */
export function sinkMetrics(metrics: Metrics): (sink: string) => SinkMetrics {
  const lags = new Map<string, Set<() => SinkLag>>();
  const records = metrics.counter(
    "weir_sink_records_total",
    "Records by what became of them: sent, refused (in the dead letters), or dropped (the sink was too far behind).",
    ["sink", "result"],
  );
  const droppedEntries = metrics.counter(
    "weir_sink_dropped_entries_total",
    "Intake entries that a sink left out because it was too far behind.",
    ["sink"],
  );
  const failures = metrics.counter("weir_sink_failures_total", "Requests of which nothing was taken.", ["sink"]);
  const up = metrics.gauge("weir_sink_up", "1 while the destination takes records.", ["sink"]);
  const stopped = metrics.gauge(
    "weir_sink_stopped",
    "1 when the sink has stopped by an error that it does not try again itself; it begins again with the process, over Kafka after 5 s.",
    ["sink"],
  );
  const writeSeconds = metrics.histogram("weir_sink_write_seconds", "Time of one request.", SECONDS, ["sink"]);
  metrics.gauge("weir_sink_lag_bytes", "Bytes of the intake log that a sink has still to take.", ["sink"], (gauge) => {
    for (const [sink, reads] of lags) {
      const known = [...reads].flatMap((read) => read().bytes ?? []);
      if (known.length > 0) gauge.set({ sink }, sum(known));
    }
  });
  metrics.gauge("weir_sink_lag_entries", "Intake entries that a sink has still to take.", ["sink"], (gauge) => {
    for (const [sink, reads] of lags) gauge.set({ sink }, sum([...reads].map((read) => read().entries)));
  });
  metrics.gauge(
    "weir_sink_lag_seconds",
    "Age of the oldest record that a sink has still to take; 0 when it has caught up.",
    ["sink"],
    (gauge) => {
      for (const [sink, reads] of lags) gauge.set({ sink }, Math.max(0, ...[...reads].map((read) => read().ms)) / 1000);
    },
  );
  const lagMax = metrics.gauge("weir_sink_lag_bytes_max", "Bytes that a sink may be behind in each partition.", [
    "sink",
  ]);
  return (sink) => ({
    sent: records.labels({ sink, result: "sent" }),
    refused: records.labels({ sink, result: "refused" }),
    dropped: records.labels({ sink, result: "dropped" }),
    droppedEntries: droppedEntries.labels({ sink }),
    failures: failures.labels({ sink }),
    up: up.labels({ sink }),
    stopped: stopped.labels({ sink }),
    lagMax: lagMax.labels({ sink }),
    writeSeconds: writeSeconds.labels({ sink }),
    lag: (read) => {
      const reads = lags.get(sink) ?? new Set();
      lags.set(sink, reads.add(read));
      return () => reads.delete(read);
    },
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
