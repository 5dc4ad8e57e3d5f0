import { codeOf, messageOf } from "../core/errors.ts";
import type { FileOps } from "../core/files.ts";
import type { IntakeEntry } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import { EntryCursor } from "./entry-cursor.ts";
import type { EntryReader } from "./intake.ts";
import type { IntakeMetrics } from "./intake-metrics.ts";
import { type LogFile, positionNear } from "./log-file.ts";
import { FILE_HEADER_BYTES } from "./log-format.ts";
import type { PartitionLog } from "./partition-log.ts";
import { markOf } from "./recover.ts";
import type { Timers } from "./timers.ts";

const READ_BYTES = 2 << 20;
const RETRY_FIRST_MS = 50;
const RETRY_LAST_MS = 5_000;
// About half a minute: a disk that was away for a moment is waited for, a bad sector is passed over.
const ATTEMPTS_MAX = 12;

export interface ReaderDeps {
  readonly files: FileOps;
  readonly log: Logger;
  readonly metrics: IntakeMetrics;
  readonly timers: Timers;
  /** Resolves at the next change of the log: new entries, or its end. */
  readonly change: () => Promise<void>;
  readonly closed: () => void;
  /** Whether entries that are still in memory are for this reader. */
  readonly usesTail: boolean;
}

interface OpenFile {
  readonly file: LogFile;
  readonly fd: number;
  readonly cursor: EntryCursor;
}

/**
 * Reads a partition in order: entries that are still in memory from there, others from the files, in large reads.
 * A file that can't be read now is tried again for a while. What is broken for good is passed over, counted and logged.
 */
export class DiskReader implements EntryReader {
  private readonly partition: PartitionLog;
  private readonly deps: ReaderDeps;
  /** The offset wanted next. */
  private next: number;
  private open: OpenFile | null = null;
  private failures = 0;
  private isClosed = false;

  constructor(partition: PartitionLog, from: number, deps: ReaderDeps) {
    this.partition = partition;
    this.next = from;
    this.deps = deps;
    if (deps.usesTail) partition.tail.dropBelow(from);
  }

  async poll(): Promise<IntakeEntry | null> {
    while (!this.ended) {
      const ready = this.deps.usesTail ? this.partition.tail.take(this.next) : undefined;
      if (ready !== undefined) {
        this.next++;
        this.deps.metrics.reads.inc({ from: "memory" });
        return ready;
      }
      if (this.next >= this.partition.next) break;
      const entry = await this.tryDisk();
      if (entry !== null) {
        this.next = entry.offset + 1;
        this.deps.metrics.reads.inc({ from: "disk" });
        return entry;
      }
    }
    // Nothing is left on disk, so the file need not stay open (it may be removed meanwhile).
    await this.leaveFile();
    return null;
  }

  async wait(): Promise<void> {
    while (!this.ended && this.next >= this.partition.next) await this.deps.change();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await this.leaveFile();
    this.deps.closed();
  }

  private get ended(): boolean {
    return this.isClosed || this.partition.closed;
  }

  /** An entry, or null after a step that leaves the question open (a file's end, a pause after an error). */
  private async tryDisk(): Promise<IntakeEntry | null> {
    const file = this.partition.files.find(({ next }) => next > this.next);
    if (file === undefined) {
      this.next = this.partition.next;
      return null;
    }
    try {
      const open = await this.fileAt(file);
      const entry = await this.fromFile(open);
      this.failures = 0;
      return entry;
    } catch (error) {
      await this.failed(file, error);
      return null;
    }
  }

  private async fileAt(file: LogFile): Promise<OpenFile> {
    this.next = Math.max(this.next, file.first);
    const near = positionNear(file, this.next) ?? FILE_HEADER_BYTES;
    if (this.open?.file === file) {
      const { cursor } = this.open;
      cursor.limit = file.end;
      if (near > cursor.position + READ_BYTES) cursor.seek(near);
      return this.open;
    }
    await this.leaveFile();
    const { files } = this.deps;
    const fd = await files.open(file.path, "r");
    try {
      if (file.end === 0) {
        const size = await files.size(fd);
        file.mark = await markOf(files, fd, size, file.first);
        file.end = size;
      }
    } catch (error) {
      await files.close(fd);
      throw error;
    }
    const below = this.partition.fileAfter(file)?.first ?? Number.POSITIVE_INFINITY;
    const place = { fd, mark: file.mark, position: near, limit: file.end, below, chunkBytes: READ_BYTES, reuse: true };
    this.open = { file, fd, cursor: new EntryCursor(files, place) };
    return this.open;
  }

  private async fromFile({ file, cursor }: OpenFile): Promise<IntakeEntry | null> {
    for (;;) {
      const found = await cursor.next();
      const offset = found ? cursor.head.offset : file.next;
      if (cursor.skippedBytes > 0 || offset > this.next) this.lost(file, cursor.position, cursor.skippedBytes, offset);
      if (!found) return null;
      if (offset < this.next) continue;
      if (await cursor.load()) return cursor.head.entry(cursor.bytes, cursor.at);
      this.lost(file, cursor.position + cursor.head.length, cursor.head.length, offset + 1);
    }
  }

  /** Entries from the wanted one to before `found` can't be had any more: `bytes` before place `end` are broken. */
  private lost(file: LogFile, end: number, bytes: number, found: number): void {
    const entries = Math.max(0, found - this.next);
    const { log, metrics } = this.deps;
    metrics.unreadableBytes.inc(bytes);
    metrics.lostEntries.inc(entries);
    log.error(
      { file: file.path, at: end - bytes, bytes, first: this.next, entries },
      "intake: a log file is damaged; what can't be read is passed over",
    );
    this.next = Math.max(this.next, found);
  }

  private async failed(file: LogFile, error: unknown): Promise<void> {
    const { log, timers } = this.deps;
    if (!this.partition.files.includes(file)) return; // All of it is in the store by now, and it was removed.
    if (codeOf(error) === "ENOENT") {
      this.lost(file, file.end, file.end, file.next);
      return;
    }
    this.failures++;
    if (this.failures === 1) log.error({ file: file.path, error: messageOf(error) }, "intake: can't read a log file");
    if (this.failures >= ATTEMPTS_MAX && (await this.passOver(file))) return;
    const delay = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** Math.min(this.failures, 10));
    let over = false;
    let wake: (() => void) | undefined;
    const pause = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const timer = timers.set(() => {
      over = true;
      wake?.();
    }, delay);
    while (!over && !this.ended) await Promise.race([pause, this.deps.change()]);
    timers.clear(timer);
  }

  /** Goes behind what can't be read, provided that other parts of the file can: else the whole disk may be away. */
  private async passOver(file: LogFile): Promise<boolean> {
    const { open } = this;
    if (open === null || open.file !== file) return false;
    const works = await this.deps.files.read(open.fd, Buffer.alloc(FILE_HEADER_BYTES), 0).then(
      () => true,
      () => false,
    );
    if (!works) return false;
    await open.cursor.passOver();
    this.failures = 0;
    return true;
  }

  private async leaveFile(): Promise<void> {
    const { open } = this;
    this.open = null;
    if (open === null) return;
    await this.deps.files.close(open.fd).catch((error: unknown) => {
      this.deps.log.warn({ file: open.file.path, error: messageOf(error) }, "intake: can't close a log file");
    });
  }
}
