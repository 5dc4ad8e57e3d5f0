import type { Metrics } from "../../core/metrics.ts";
import type { MergeResult } from "./merge.ts";

/** Compaction in numbers. */
export interface CompactMetrics {
  merged(result: MergeResult, seconds: number): void;
  /** `lost`: another compactor was quicker. `late`: it took too long to be safe. `failed`: an error. */
  ended(outcome: "lost" | "late" | "failed"): void;
  passed(seconds: number): void;
  deleted(objects: number): void;
}

/** Lost pages that are named; a store that lost more is not told page by page. */
const NAMED_MAX = 50;
const FURTHER = "(further ones)";
const SECONDS = [0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600];

/** `lostPages`: pages of the catalog that can't be read. */
export function compactMetrics(metrics: Metrics, lostPages: () => readonly string[]): CompactMetrics {
  metrics.gauge(
    "weir_compact_lost_pages",
    `1 for each page of the catalog that could not be read at the last look, ${NAMED_MAX} of them by their names: what overlaps its segments in time is not merged.`,
    ["page"],
    (gauge) => {
      const keys = lostPages();
      for (const page of keys.slice(0, NAMED_MAX)) gauge.set({ page }, 1);
      if (keys.length > NAMED_MAX) gauge.set({ page: FURTHER }, keys.length - NAMED_MAX);
    },
  );
  const jobs = metrics.counter(
    "weir_compact_jobs_total",
    "Merges by outcome: done; lost, when another compactor was quicker; late, when one took too long to be safe; failed.",
    ["outcome"],
  );
  const seconds = metrics.histogram("weir_compact_job_seconds", "Time of a merge that was done.", SECONDS);
  const bytes = metrics.counter(
    "weir_compact_bytes_total",
    "Bytes of segments that merges have read, have written, and those of written blocks that were copied as they were.",
    ["kind"],
  );
  const segments = metrics.counter(
    "weir_compact_segments_total",
    "Segments that merges have taken in, and put in their place.",
    ["kind"],
  );
  const text = metrics.counter("weir_compact_text_bytes_total", "Bytes of lines in blocks that were compressed anew.");
  const passes = metrics.histogram("weir_compact_pass_seconds", "Time of a look at the whole catalog.", SECONDS);
  const deleted = metrics.counter(
    "weir_compact_deleted_objects_total",
    "Objects that were deleted because they had been replaced, or were nobody's.",
  );
  return {
    merged({ inputs, outputs, stats }, took) {
      jobs.inc({ outcome: "done" });
      seconds.observe(took);
      bytes.inc({ kind: "read" }, stats.bytesRead);
      bytes.inc({ kind: "written" }, stats.bytesWritten);
      bytes.inc({ kind: "copied" }, stats.bytesCopied);
      segments.inc({ kind: "in" }, inputs.length);
      segments.inc({ kind: "out" }, outputs.length);
      text.inc(stats.textBytesRewritten);
    },
    ended: (outcome) => jobs.inc({ outcome }),
    passed: (took) => passes.observe(took),
    deleted: (objects) => deleted.inc(objects),
  };
}
