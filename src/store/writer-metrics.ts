import type { Metrics } from "../core/metrics.ts";
import type { SegmentInfo } from "./view.ts";

const FLUSH_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** What a writer's gauges show at each scrape. */
export interface WriterState {
  memoryBytes(): number;
  openStreams(): number;
}

export interface WriterMetrics {
  sealed(lines: number, textBytes: number): void;
  compressed(blockBytes: number): void;
  flushed(result: "ok" | "failed", seconds: number): void;
  committed(segments: readonly SegmentInfo[]): void;
  retried(): void;
}

/** The store's writing side in numbers. Lines are counted when their block is closed: a counter a line would cost too much. */
export function writerMetrics(metrics: Metrics, partition: string, state: WriterState): WriterMetrics {
  const lines = metrics.counter("weir_store_lines_total", "Lines in blocks that were closed.", ["partition"]);
  const text = metrics.counter("weir_store_text_bytes_total", "Bytes of lines in blocks that were closed.", [
    "partition",
  ]);
  const blocks = metrics.counter("weir_store_blocks_total", "Blocks that were compressed.", ["partition"]);
  const stored = metrics.counter("weir_store_block_bytes_total", "Bytes of compressed blocks.", ["partition"]);
  const flushes = metrics.counter("weir_store_flushes_total", "Flushes by result.", ["partition", "result"]);
  const seconds = metrics.histogram("weir_store_flush_seconds", "Time of a flush that went well.", FLUSH_SECONDS, [
    "partition",
  ]);
  const retries = metrics.counter("weir_store_retries_total", "Writes that were tried again.", ["partition"]);
  const segments = metrics.counter("weir_store_segments_written_total", "Segments committed.", ["partition"]);
  const bytes = metrics.counter("weir_store_segment_bytes_total", "Bytes of segments committed.", ["partition"]);
  metrics.gauge("weir_store_memory_bytes", "Memory of open and pending blocks.", ["partition"], (gauge) =>
    gauge.set({ partition }, state.memoryBytes()),
  );
  metrics.gauge("weir_store_open_streams", "Streams with lines that are not flushed.", ["partition"], (gauge) =>
    gauge.set({ partition }, state.openStreams()),
  );
  return {
    sealed(count, textBytes) {
      lines.inc({ partition }, count);
      text.inc({ partition }, textBytes);
    },
    compressed(blockBytes) {
      blocks.inc({ partition });
      stored.inc({ partition }, blockBytes);
    },
    flushed(result, took) {
      flushes.inc({ partition, result });
      if (result === "ok") seconds.observe({ partition }, took);
    },
    committed(written) {
      for (const segment of written) {
        segments.inc({ partition });
        bytes.inc({ partition }, segment.bytes);
      }
    },
    retried() {
      retries.inc({ partition });
    },
  };
}
