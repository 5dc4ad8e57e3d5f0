import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { compressionLimit } from "./limit.ts";
import { row, section } from "./print.ts";
import type { SentReport } from "./sender.ts";
import { BenchServer, folderBytes } from "./server.ts";

const SENDER = fileURLToPath(new URL("./sender.js", import.meta.url));

/** Has the agent of sender.ts send `lineBytes` of lines to HOST:PORT. Resolves when all are acknowledged. */
export async function sendLines(forward: string, lineBytes: number, seed: number): Promise<SentReport> {
  const { stdout } = await promisify(execFile)(process.execPath, [SENDER, forward, String(lineBytes), String(seed)]);
  return JSON.parse(stdout) as SentReport;
}

export interface IngestCost {
  readonly sent: SentReport;
  /** Until all lines are in blocks. */
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakRssBytes: number;
  /** Of the main thread's event loop, in seconds, as its own metrics have it: the 99th percentile of its delay. */
  readonly loopDelay: number;
}

/** Sends `lineBytes` of generated lines to a new Weir on `data`. `extra`: further arguments of `weir run`. */
export async function ingestOnce(
  data: string,
  lineBytes: number,
  seed: number,
  extra: readonly string[] = [],
): Promise<IngestCost> {
  const server = await BenchServer.start(data, extra);
  const before = server.cpuSeconds();
  const started = performance.now();
  const sent = await sendLines(server.forward, lineBytes, seed);
  await server.whenTaken();
  const wallSeconds = (performance.now() - started) / 1000;
  const peakRssBytes = server.peakRssBytes();
  const loopDelay = await server.metric("nodejs_eventloop_lag_p99_seconds");
  return { sent, wallSeconds, cpuSeconds: (await server.stop()) - before, peakRssBytes, loopDelay };
}

/** Sends `lineBytes` of generated lines to a new Weir on `data` and prints what that cost. */
export async function benchIngest(data: string, lineBytes: number, seed: number): Promise<SentReport> {
  section(`intake to store: ${(lineBytes / 1e6).toFixed(0)} MB of lines, 100 streams, default settings`);
  const { sent, wallSeconds: wall, cpuSeconds: cpu, peakRssBytes: peak } = await ingestOnce(data, lineBytes, seed);
  const gb = sent.lineBytes / 1e9;
  const store = path.join(data, "store");
  const stored = existsSync(store) ? folderBytes(store) : Number.NaN;
  row("lines", sent.lines.toLocaleString("en"));
  row(
    "bytes a line, wire bytes a line byte",
    `${(sent.lineBytes / sent.lines).toFixed(0)}, ${(sent.wireBytes / sent.lineBytes).toFixed(2)}`,
  );
  row("lines/s (wall, until all are in blocks)", Math.round(sent.lines / wall).toLocaleString("en"));
  row("MB/s of lines", (sent.lineBytes / 1e6 / wall).toFixed(1));
  row("stored bytes a line byte, everything included", (stored / sent.lineBytes).toFixed(4));
  row("peak RSS", `${(peak / 1e6).toFixed(0)} MB`);
  row("CPU seconds a GB of lines", (cpu / gb).toFixed(2));
  const limit = await compressionLimit(store);
  row(
    `CPU seconds a GB, compressing the same blocks alone (level ${limit.level})`,
    (limit.cpuSeconds / (limit.textBytes / 1e9)).toFixed(2),
  );
  row("ratio of the two", (cpu / gb / (limit.cpuSeconds / (limit.textBytes / 1e9))).toFixed(2));
  return sent;
}
