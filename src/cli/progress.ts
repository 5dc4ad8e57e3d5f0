import type { CliIo } from "./io.ts";

const EVERY_MS = 100;
const BAR = 24;

/** How far a command is; `share` is 0 to 1, or null where nobody knows how much there will be. */
export interface ProgressState {
  readonly share: number | null;
  readonly lines: number;
  readonly bytes: number;
}

/** A progress bar in one line of stderr, on a terminal only; elsewhere it writes nothing. */
export class Progress {
  private readonly io: CliIo;
  private readonly nowMs: () => number;
  private readonly startMs: number;
  private lastMs = Number.NEGATIVE_INFINITY;
  private shown = false;

  constructor(io: CliIo, nowMs: () => number) {
    this.io = io;
    this.nowMs = nowMs;
    this.startMs = nowMs();
  }

  /** Shows the state, unless it was shown a moment ago. */
  update(state: ProgressState): void {
    const now = this.nowMs();
    if (!this.io.isTTY.stderr || now - this.lastMs < EVERY_MS) return;
    this.lastMs = now;
    this.shown = true;
    this.io.stderr.write(`\r\x1b[K${progressLine(state, (now - this.startMs) / 1000)}`);
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.shown) this.io.stderr.write("\r\x1b[K");
    this.shown = false;
  }
}

export function progressLine({ share, lines, bytes }: ProgressState, seconds: number): string {
  const done = `${count(lines)} lines, ${size(bytes)}, ${count(perSecond(lines, seconds))} lines/s`;
  if (share === null) return done;
  const full = Math.round(Math.min(1, share) * BAR);
  return `[${"#".repeat(full)}${"-".repeat(BAR - full)}] ${String(Math.floor(Math.min(1, share) * 100)).padStart(3)}%  ${done}`;
}

export function perSecond(amount: number, seconds: number): number {
  return Math.round(amount / Math.max(seconds, 0.001));
}

/** 1234567 as `1,234,567`. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Bytes in the largest unit that keeps a digit before the point: `512 B`, `1.5 kB`, `2.0 GB`; units of 1000. */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit]}`;
}
