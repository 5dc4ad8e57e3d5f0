import type { Counter, Metrics } from "../core/metrics.ts";
import type { Fault } from "./checks.ts";

/** What receivers of pushes count. */
export class PushMetrics {
  private readonly lines: Counter<"receiver">;
  private readonly bytes: Counter<"receiver">;
  private readonly repeatedLines: Counter<"receiver">;
  private readonly refusedLines: Counter<"receiver" | "reason">;

  constructor(metrics: Metrics) {
    this.lines = metrics.counter("weir_push_lines_total", "Pushed lines that were stored.", ["receiver"]);
    this.bytes = metrics.counter(
      "weir_push_bytes_total",
      "Bytes of pushed lines in the intake log, metadata included.",
      ["receiver"],
    );
    this.repeatedLines = metrics.counter(
      "weir_push_repeated_lines_total",
      "Pushed lines that were stored already, and not stored again.",
      ["receiver"],
    );
    this.refusedLines = metrics.counter("weir_push_refused_lines_total", "Pushed lines that were refused, by reason.", [
      "receiver",
      "reason",
    ]);
  }

  stored(receiver: string, lines: number, bytes: number): void {
    this.lines.inc({ receiver }, lines);
    this.bytes.inc({ receiver }, bytes);
  }

  repeats(receiver: string, lines: number): void {
    this.repeatedLines.inc({ receiver }, lines);
  }

  refused(receiver: string, reason: Fault["reason"], lines: number): void {
    this.refusedLines.inc({ receiver, reason }, lines);
  }
}
