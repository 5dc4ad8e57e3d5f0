import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { ingestOnce } from "./ingest.ts";
import { row, section } from "./print.ts";

/** 0: the main thread does all of it. */
const WORKERS = [0, 1, 2, 4];

/** The same lines into a new Weir with so many workers, one after the other: on a busy machine only the ratios say something. */
export async function benchScaling(lineBytes: number, seed: number): Promise<void> {
  section(`workers: ${(lineBytes / 1e6).toFixed(0)} MB of lines each, on ${os.availableParallelism()} cores`);
  let first: number | null = null;
  for (const workers of WORKERS) {
    const data = mkdtempSync(path.join(os.tmpdir(), "weir-scaling-"));
    try {
      const { sent, wallSeconds, cpuSeconds, peakRssBytes, loopDelay } = await ingestOnce(data, lineBytes, seed, [
        "--workers",
        String(workers),
      ]);
      const rate = sent.lines / wallSeconds;
      first ??= rate;
      row(
        workers === 0 ? "the main thread alone" : `${workers} worker${workers === 1 ? "" : "s"}`,
        [
          `${Math.round(rate).toLocaleString("en")} lines/s (${(rate / first).toFixed(2)} of the first)`,
          `${(cpuSeconds / (sent.lineBytes / 1e9)).toFixed(1)} CPU s a GB`,
          `${(peakRssBytes / 1e6).toFixed(0)} MB`,
          `the main thread's delay ${(loopDelay * 1000).toFixed(0)} ms (99%)`,
        ].join(", "),
      );
    } finally {
      rmSync(data, { recursive: true, force: true });
    }
  }
}
