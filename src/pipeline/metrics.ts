import type { Counter, Metrics } from "../core/metrics.ts";
import { REJECT_REASONS } from "./trace/candidates.ts";

/** What all pipelines count together, and where the counts of each go. */
export class PipelineMetrics {
  readonly unrouted: Counter;
  readonly broken: Counter;
  private readonly records: Counter<"pipeline">;
  private readonly traced: Counter<"pipeline">;
  private readonly dropped: Counter<"pipeline">;
  private readonly failed: Counter<"pipeline">;
  private readonly unparsed: Counter<"pipeline">;
  private readonly badTimes: Counter<"pipeline">;
  private readonly cutLines: Counter<"pipeline">;
  private readonly cutLabels: Counter<"pipeline">;
  private readonly droppedLabels: Counter<"label">;
  private readonly droppedMetadata: Counter<"pipeline">;
  private readonly rejectedIds: Counter<"reason">;

  constructor(metrics: Metrics) {
    const counter = (name: string, help: string) => metrics.counter(`weir_pipeline_${name}_total`, help, ["pipeline"]);
    this.unrouted = metrics.counter("weir_pipeline_unrouted_records_total", "Records that no pipeline takes.");
    this.broken = metrics.counter(
      "weir_pipeline_broken_entries_total",
      "Intake entries that could not be read to their end.",
    );
    this.records = counter("records", "Records that came to a pipeline.");
    this.traced = counter("traced_lines", "Lines with a trace id.");
    this.dropped = counter("dropped_records", "Records that a drop step left out.");
    this.failed = counter("failed_records", "Records stored without the pipeline's steps, because one failed.");
    this.unparsed = counter("unparsed_lines", "Lines that no parser of a step took.");
    this.badTimes = counter("bad_times", "Times that a step could not read.");
    this.cutLines = counter("cut_lines", "Lines cut to line_bytes_max.");
    this.cutLabels = counter("cut_labels", "Label values cut to label_value_bytes_max, once for each set of labels.");
    this.droppedLabels = metrics.counter(
      "weir_pipeline_dropped_labels_total",
      "Labels given up for a limit, once for each look-up of a set of labels.",
      ["label"],
    );
    this.droppedMetadata = counter("dropped_metadata", "Metadata entries beyond the limits of a line.");
    this.rejectedIds = metrics.counter("weir_pipeline_rejected_ids_total", "Values in place of an id that are none.", [
      "reason",
    ]);
  }

  droppedLabel(label: string): void {
    this.droppedLabels.inc({ label });
  }

  /** Adds the counts of a pipeline to the metrics and sets them back: per slice of work, since a counter's `inc` costs as much as a record. */
  take(counts: PipelineCounts): void {
    const { pipeline } = counts;
    const add = (counter: Counter<"pipeline">, count: number) => {
      if (count > 0) counter.inc({ pipeline }, count);
    };
    add(this.records, counts.records);
    add(this.traced, counts.traced);
    add(this.dropped, counts.dropped);
    add(this.failed, counts.failed);
    add(this.unparsed, counts.unparsed);
    add(this.badTimes, counts.badTimes);
    add(this.cutLines, counts.cutLines);
    add(this.cutLabels, counts.cutLabels);
    add(this.droppedMetadata, counts.droppedMetadata);
    counts.clear();
  }

  /** Adds counts of rejected ids, by reason, and sets them back. */
  takeRejected(counts: Float64Array): void {
    for (let i = 0; i < REJECT_REASONS.length; i++) {
      if (counts[i] > 0) this.rejectedIds.inc({ reason: REJECT_REASONS[i] }, counts[i]);
    }
    counts.fill(0);
  }
}

/** Counts of one pipeline since they were last taken. */
export class PipelineCounts {
  readonly pipeline: string;
  records = 0;
  traced = 0;
  dropped = 0;
  failed = 0;
  unparsed = 0;
  badTimes = 0;
  cutLines = 0;
  cutLabels = 0;
  droppedMetadata = 0;

  constructor(pipeline: string) {
    this.pipeline = pipeline;
  }

  clear(): void {
    this.records = 0;
    this.traced = 0;
    this.dropped = 0;
    this.failed = 0;
    this.unparsed = 0;
    this.badTimes = 0;
    this.cutLines = 0;
    this.cutLabels = 0;
    this.droppedMetadata = 0;
  }
}
