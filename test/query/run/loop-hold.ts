import { closeSync, openSync, readSync } from "node:fs";

/** Where Linux says for how many nanoseconds this thread has had a processor, as the first of three numbers. */
const SCHEDSTAT = "/proc/thread-self/schedstat";
const TURN_MS = 1;

/**
 * Measures the longest that this thread works without giving others a turn, in milliseconds of its own CPU time: what a busy machine lets
 * it wait for counts for nothing. Where there is no `/proc` it is the time on the clock.
 */
export class LoopHold {
  private readonly file: number | null;
  private readonly bytes = Buffer.alloc(128);
  private readonly timer: NodeJS.Timeout;
  private readonly began: number;
  private last: number;
  private longest = 0;

  constructor() {
    this.file = openOrNull(SCHEDSTAT);
    this.last = this.now();
    this.began = this.last;
    this.timer = setInterval(() => this.look(), TURN_MS);
  }

  /** Ends the measurement. Gives the longest hold. */
  stop(): number {
    this.look();
    clearInterval(this.timer);
    if (this.file !== null) closeSync(this.file);
    return this.longest;
  }

  /** All of the time until the end of the measurement. */
  get totalMs(): number {
    return this.last - this.began;
  }

  private look(): void {
    const now = this.now();
    this.longest = Math.max(this.longest, now - this.last);
    this.last = now;
  }

  private now(): number {
    if (this.file === null) return performance.now();
    const length = readSync(this.file, this.bytes, 0, this.bytes.length, 0);
    return Number(this.bytes.toString("latin1", 0, length).split(" ")[0]) / 1e6;
  }
}

function openOrNull(path: string): number | null {
  try {
    return openSync(path, "r");
  } catch {
    return null;
  }
}
