import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pino } from "pino";
import { afterAll } from "vitest";
import type { FileOps } from "../../src/core/files.ts";
import { type Logger, silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { type OpenDiskIntake, openDiskIntake } from "../../src/intake/disk.ts";
import type { IntakeLog } from "../../src/intake/intake.ts";
import type { Timers } from "../../src/intake/timers.ts";

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "weir-intake-"));
  folders.push(folder);
  return folder;
}

/** Real timers that wait a millisecond where the program would wait for seconds. */
export const fastTimers: Timers = {
  set: (act, delayMs) => setTimeout(act, Math.min(delayMs, 1)),
  clear: (timer) => clearTimeout(timer),
};

export function openLog(
  request: OpenDiskIntake,
  { files, log = silentLogger, metrics = new Metrics() }: { files?: FileOps; log?: Logger; metrics?: Metrics } = {},
): Promise<IntakeLog> {
  return openDiskIntake(request, { log, metrics, files, timers: fastTimers });
}

/** A logger that keeps what it was given. */
export function recordingLogger(): { log: Logger; lines: { msg: string; [name: string]: unknown }[] } {
  const lines: { msg: string }[] = [];
  const log = pino({ level: "debug", base: undefined }, { write: (text: string) => lines.push(JSON.parse(text)) });
  return { log, lines };
}

export const built = path.resolve("dist/src/intake/disk.js");
export const isBuilt = existsSync(built);
