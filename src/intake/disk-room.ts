import { messageOf } from "../core/errors.ts";
import type { FileOps } from "../core/files.ts";
import type { Logger } from "../core/log.ts";
import type { Timer, Timers } from "./timers.ts";

/** Bytes of new entries after which the disk is looked at again: less than what is kept free, by far. */
const LOOK_BYTES = 4 << 20;
/** How often it is looked at while there is too little. */
const LOOK_MS = 250;
/** Of a small disk no more than this part is kept free. */
const PART_MAX = 1 / 4;

export interface DiskRoomDeps {
  readonly files: FileOps;
  readonly log: Logger;
  readonly timers: Timers;
  /** Called when there is room again. */
  readonly onRoom: () => void;
}

/**
 * Keeps some of the disk free of the intake log. The store is often on the same disk, and only what it writes gives the log's
 * room back: a log that takes the last byte would wait for ever.
 */
export class DiskRoom {
  /** Why no more may be written, or "". */
  reason = "";
  private readonly dir: string;
  private readonly freeMinBytes: number;
  private readonly deps: DiskRoomDeps;
  private written = 0;
  private looking: Promise<void> | null = null;
  private timer: Timer | null = null;
  private isClosed = false;

  constructor(dir: string, freeMinBytes: number, deps: DiskRoomDeps) {
    this.dir = dir;
    this.freeMinBytes = freeMinBytes;
    this.deps = deps;
  }

  /** So many bytes are about to be written. */
  take(bytes: number): void {
    this.written += bytes;
    if (this.written >= LOOK_BYTES) void this.look();
  }

  /** Looks at the disk. Never rejects: where nobody can say how much is free, writing has to show it. */
  look(): Promise<void> {
    this.looking ??= this.measure().finally(() => {
      this.looking = null;
    });
    return this.looking;
  }

  close(): void {
    this.isClosed = true;
    if (this.timer !== null) this.deps.timers.clear(this.timer);
  }

  private async measure(): Promise<void> {
    if (this.freeMinBytes === 0 || this.isClosed) return;
    this.written = 0;
    const { files, log, timers, onRoom } = this.deps;
    const wasLow = this.reason !== "";
    try {
      const { free, total } = await files.space(this.dir);
      const least = Math.min(this.freeMinBytes, total * PART_MAX);
      this.reason =
        free >= least
          ? ""
          : `the disk of ${this.dir} has ${free} bytes free, and ${Math.floor(least)} are kept for the store; make room there`;
    } catch (error) {
      log.debug({ error: messageOf(error) }, "intake: can't tell how much of the disk is free");
      this.reason = "";
    }
    if (this.isClosed) return;
    if (this.reason !== "") {
      if (!wasLow) log.warn(`intake: ${this.reason}`);
      this.timer = timers.set(() => {
        this.timer = null;
        void this.look();
      }, LOOK_MS);
    } else if (wasLow) {
      log.info("intake: the disk has room again");
      onRoom();
    }
  }
}
