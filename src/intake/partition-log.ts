import path from "node:path";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { type FileOps, writeAll } from "../core/files.ts";
import type { EntryDraft } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import { troubleOf } from "./disk-trouble.ts";
import { type Consumers, STORE_CONSUMER } from "./intake.ts";
import type { IntakeMetrics } from "./intake-metrics.ts";
import { type LogFile, noteEntry, positionNear } from "./log-file.ts";
import { encodeEntryHead, encodeFileHeader, FILE_HEADER_BYTES, fileName, sealEntry } from "./log-format.ts";
import { drawMark, type Recovered } from "./recover.ts";
import { noteSafe } from "./safe-note.ts";
import { SpareFiles } from "./spare-files.ts";
import { Tail } from "./tail.ts";
import type { Timer, Timers } from "./timers.ts";

// Entries in one write: bounds what a flood of tiny entries holds up, and the list that writev gets.
const BATCH_ENTRIES_MAX = 1024;
const PROBE_FIRST_MS = 250;
const PROBE_LAST_MS = 10_000;
// A probe writes as much as the write that failed, within these bounds, so that a disk with room for a header alone
// isn't taken for a working one.
const PROBE_BYTES_MIN = 64 * 1024;
const PROBE_BYTES_MAX = 16 << 20;

export interface PartitionOptions {
  readonly partition: number;
  /** The partition's own. */
  readonly folder: string;
  readonly fileBytes: number;
  readonly groupCommitMs: number;
  readonly groupCommitBytes: number;
  readonly tailBytes: number;
  /** Bytes of files that are done with and kept to be written again. */
  readonly spareBytes: number;
}

export interface PartitionDeps {
  readonly files: FileOps;
  readonly log: Logger;
  readonly metrics: IntakeMetrics;
  readonly timers: Timers;
  /** Entries became durable, the disk began to refuse or to work again, or the log was closed. */
  readonly changed: () => void;
  /** Called with what was given to `append` as soon as that entry is durable, before anything can come of it. */
  readonly durable: (digest: Buffer) => void;
  /** The same for the ids of an entry's lines. */
  readonly durableLines: (ids: Buffer) => void;
}

interface Pending {
  readonly draft: EntryDraft;
  readonly head: Buffer;
  readonly length: number;
  readonly digest: Buffer | null;
  readonly resolve: (offset: number) => void;
  readonly reject: (error: unknown) => void;
}

/** The file that is being written. It joins `files` when its first entry is durable. */
interface ActiveFile {
  readonly file: LogFile;
  readonly fd: number;
  /** Whether its header and its name are on the disk. */
  durable: boolean;
  /** Bytes of an earlier use that the file still has; 0 for a new one. */
  readonly oldBytes: number;
}

/**
 * One partition's files and the writer of them: entries that arrive within a few milliseconds, or while a write is under way, go
 * out together in one writev and one fdatasync.
 *
 * After a write that failed nothing in the file behind the last durable entry is believed, least of all after a failed fdatasync,
 * when the kernel may have dropped the pages and will not say so again. So a file that failed once is cut back and left, and
 * the next entries go to a new one, whose name says from which offset on the old one doesn't count.
 */
export class PartitionLog {
  readonly files: LogFile[];
  readonly tail: Tail;
  /** Offset after the last durable entry. */
  next: number;
  /** Entries below are in the store. */
  committed = 0;
  /** Of each other consumer, the offset below which it is done. */
  private readonly done = new Map<string, number>();
  closed = false;
  /** Why the disk refuses, or "" when it works. */
  trouble = "";
  /** Bytes on disk. */
  bytes: number;
  /** Bytes of entries that wait for the disk. */
  waitingBytes = 0;
  private readonly options: PartitionOptions;
  private readonly deps: PartitionDeps;
  private queue: Pending[] = [];
  private active: ActiveFile | null = null;
  /** The newest file with entries that this process wrote. */
  private written: LogFile | null = null;
  private writing: Promise<void> | null = null;
  private writeTimer: Timer | null = null;
  private probeTimer: Timer | null = null;
  private probing: Promise<void> | null = null;
  private probes = 0;
  private readonly spares: SpareFiles;

  constructor(
    options: PartitionOptions,
    recovered: Recovered,
    minNextOffset: number,
    consumers: Consumers,
    deps: PartitionDeps,
  ) {
    this.options = options;
    this.deps = deps;
    this.files = recovered.files;
    this.next = Math.max(recovered.next, minNextOffset);
    this.committed = minNextOffset;
    this.bytes = recovered.files.reduce((sum, file) => sum + file.end, 0);
    this.tail = new Tail(options.tailBytes);
    this.spares = new SpareFiles(options.folder, options.spareBytes, deps);
    for (const [name, next] of Object.entries(consumers)) this.done.set(name, next(options.partition));
  }

  /** Says that a consumer is done with entries below `next`. */
  commit(next: number, consumer: string): void {
    if (consumer === STORE_CONSUMER) {
      this.committed = Math.max(this.committed, next);
      this.tail.dropBelow(this.committed);
      return;
    }
    const before = this.done.get(consumer);
    if (before === undefined) throw new Error(`commit: the log was not opened with a consumer ${consumer}`);
    this.done.set(consumer, Math.max(before, next));
  }

  /** Entries below are done with by all. */
  private get doneByAll(): number {
    let least = this.committed;
    for (const next of this.done.values()) least = Math.min(least, next);
    return least;
  }

  /** Bytes of the entries at and after `next`, to about a MiB. */
  bytesFrom(next: number): number {
    let bytes = 0;
    for (const file of this.files) {
      if (file.next <= next) continue;
      bytes += file.end - (next <= file.first ? 0 : (positionNear(file, next) ?? 0));
    }
    return bytes;
  }

  fileAfter(file: LogFile): LogFile | undefined {
    return this.files[this.files.indexOf(file) + 1];
  }

  /** Resolves with the offset once the entry is durable. `length` is `entryBytes(draft)`. */
  append(draft: EntryDraft, length: number, digest: Buffer | null): Promise<number> {
    if (this.trouble !== "") return Promise.reject(this.unavailable());
    return new Promise((resolve, reject) => {
      this.queue.push({ draft, head: encodeEntryHead(draft, length), length, digest, resolve, reject });
      this.waitingBytes += length;
      this.schedule();
    });
  }

  private schedule(): void {
    if (this.writing !== null) return; // The write under way sees to it.
    const { groupCommitMs, groupCommitBytes } = this.options;
    if (groupCommitMs === 0 || this.waitingBytes >= groupCommitBytes || this.queue.length >= BATCH_ENTRIES_MAX) {
      this.start();
    } else this.writeTimer ??= this.deps.timers.set(() => this.start(), groupCommitMs);
  }

  private start(): void {
    if (this.writeTimer !== null) this.deps.timers.clear(this.writeTimer);
    this.writeTimer = null;
    if (this.writing !== null || this.queue.length === 0) return;
    this.writing = this.writeQueue();
  }

  private async writeQueue(): Promise<void> {
    while (this.queue.length > 0 && this.trouble === "") await this.writeBatch(this.takeBatch());
    // Here and not in a callback of the promise: an append that comes before that would find nobody to write it.
    this.writing = null;
  }

  private async writeBatch(batch: readonly Pending[]): Promise<void> {
    const started = performance.now();
    try {
      await this.write(batch);
    } catch (error) {
      await this.refuse(batch, error);
      return;
    }
    this.probes = 0;
    this.deps.metrics.writeSeconds.observe((performance.now() - started) / 1000);
    this.deps.metrics.batchEntries.observe(batch.length);
    this.accept(batch);
    if (this.active !== null && this.active.file.end >= this.options.fileBytes) await this.leaveActive();
  }

  private takeBatch(): Pending[] {
    let bytes = 0;
    let count = 0;
    for (const { length } of this.queue) {
      if (count > 0 && (bytes + length > this.options.groupCommitBytes || count === BATCH_ENTRIES_MAX)) break;
      bytes += length;
      count++;
    }
    return this.queue.splice(0, count);
  }

  private async write(batch: readonly Pending[]): Promise<void> {
    this.active ??= await this.create();
    const { active } = this;
    const { file } = active;
    const buffers: Uint8Array[] = [];
    if (!active.durable) buffers.push(this.headerOf(file));
    let offset = this.next;
    for (const { head, draft } of batch) {
      sealEntry(head, offset++, file.mark);
      buffers.push(head);
      if (draft.payload.length > 0) buffers.push(draft.payload);
    }
    await writeAll(this.deps.files, active.fd, buffers, active.durable ? file.end : 0);
    await this.deps.files.datasync(active.fd);
    if (!active.durable) await this.deps.files.syncFolder(this.options.folder);
    active.durable = true;
  }

  /** The batch is durable: gives out its offsets and lets the reader have it. */
  private accept(batch: readonly Pending[]): void {
    const { file } = this.active as ActiveFile;
    if (file.end === 0) file.end = FILE_HEADER_BYTES;
    if (file.next === file.first) {
      this.files.push(file);
      this.written = file;
      this.bytes += FILE_HEADER_BYTES;
    }
    for (const { draft, length, digest, resolve } of batch) {
      const offset = this.next++;
      noteEntry(file, offset, file.end);
      file.end += length;
      this.bytes += length;
      this.waitingBytes -= length;
      this.tail.add({ ...draft, offset });
      if (digest !== null) this.deps.durable(digest);
      if (draft.lineIds !== undefined) this.deps.durableLines(draft.lineIds);
      resolve(offset);
    }
    file.next = this.next;
    this.deps.changed();
  }

  private headerOf({ first, mark }: LogFile, reused = false): Buffer {
    return encodeFileHeader({ partition: this.options.partition, first, mark, reused });
  }

  private async create(): Promise<ActiveFile> {
    const { files } = this.deps;
    const name = path.join(this.options.folder, fileName(this.next));
    const file: LogFile = { path: name, first: this.next, mark: drawMark(), next: this.next, end: 0, index: [] };
    const spare = await this.spares.take(name, this.headerOf(file, true));
    if (spare !== null) {
      file.end = FILE_HEADER_BYTES;
      return { file, fd: spare.fd, durable: true, oldBytes: spare.bytes };
    }
    try {
      return { file, fd: await files.open(name, "wx"), durable: false, oldBytes: 0 };
    } catch (error) {
      if (codeOf(error) === "ENOENT") {
        await files.mkdir(this.options.folder);
        await files.syncFolder(path.dirname(this.options.folder));
      } else if (codeOf(error) === "EEXIST") {
        // No durable entry has this offset, so what is there was never acknowledged.
        await files.unlink(name);
      } else throw error;
      return { file, fd: await files.open(name, "wx"), durable: false, oldBytes: 0 };
    }
  }

  /** Ends the active file; the next entry begins another. A file without entries goes. */
  private async leaveActive(): Promise<void> {
    const { active } = this;
    if (active === null) return;
    this.active = null;
    const { files, log } = this.deps;
    const { file, fd, oldBytes } = active;
    const attempt = async (what: string, act: Promise<void>) => {
      await act.catch((error: unknown) => {
        log.warn({ file: file.path, error: messageOf(error) }, `intake: can't ${what} a log file`);
      });
    };
    const empty = file.next === file.first;
    const hasMore = this.trouble !== "" || oldBytes > file.end;
    if (!empty && hasMore) await attempt("cut back", files.truncate(fd, file.end));
    await attempt("close", files.close(fd));
    if (empty) await attempt("remove", files.unlink(file.path));
  }

  private async refuse(batch: readonly Pending[], error: unknown): Promise<void> {
    const { log, metrics } = this.deps;
    const failed = [...batch, ...this.queue];
    const bytes = this.waitingBytes;
    this.trouble = troubleOf(error, this.options.folder);
    this.queue = [];
    this.waitingBytes = 0;
    metrics.writeErrors.inc();
    log.error(
      { partition: this.options.partition, entries: failed.length, error: messageOf(error) },
      `intake: ${this.trouble}`,
    );
    await this.leaveActive();
    await this.spares.clear(); // A full disk wants the room.
    const reason = this.unavailable(error);
    for (const { reject } of failed) reject(reason);
    this.deps.changed();
    this.probeLater(Math.min(PROBE_BYTES_MAX, Math.max(PROBE_BYTES_MIN, bytes)));
  }

  private unavailable(cause?: unknown): WeirError {
    return new WeirError("intake_unavailable", this.trouble, {
      retriable: true,
      context: { partition: this.options.partition },
      cause,
    });
  }

  private probeLater(bytes: number): void {
    if (this.closed) return;
    const delay = Math.min(PROBE_LAST_MS, PROBE_FIRST_MS * 2 ** this.probes++);
    this.probeTimer = this.deps.timers.set(() => {
      this.probeTimer = null;
      this.probing = this.probe(bytes).finally(() => {
        this.probing = null;
      });
    }, delay);
  }

  /** Tries the disk with a new file and as many bytes as were refused. The file then takes the next entries. */
  private async probe(bytes: number): Promise<void> {
    const { files, log } = this.deps;
    try {
      const active = await this.create();
      this.active = active;
      await writeAll(files, active.fd, [this.headerOf(active.file), Buffer.alloc(bytes)], 0);
      await files.datasync(active.fd);
      await files.truncate(active.fd, FILE_HEADER_BYTES);
      await files.datasync(active.fd);
      await files.syncFolder(this.options.folder);
      active.durable = true;
      active.file.end = FILE_HEADER_BYTES;
    } catch (error) {
      this.trouble = troubleOf(error, this.options.folder);
      await this.leaveActive();
      this.deps.changed();
      this.probeLater(bytes);
      return;
    }
    this.trouble = "";
    log.info({ partition: this.options.partition }, "intake: the disk works again");
    this.deps.changed();
  }

  /** The oldest file if all consumers are done with its entries and nobody writes to it. */
  removable(): LogFile | null {
    const [file] = this.files;
    return file === undefined || file === this.active?.file || file.next > this.doneByAll ? null : file;
  }

  /** Removes the file that `removable` gave, or with `mayKeep` keeps it to be written again. */
  async remove(file: LogFile, mayKeep = true): Promise<void> {
    const isGood = file.end >= this.options.fileBytes && this.trouble === "" && !this.closed;
    if (!mayKeep) await this.spares.clear();
    if (!mayKeep || !isGood || !(await this.spares.keep(file.path, file.end))) await this.unlink(file);
    this.files.shift();
    this.bytes -= file.end;
  }

  private async unlink(file: LogFile): Promise<void> {
    await this.deps.files.unlink(file.path).catch((error: unknown) => {
      if (codeOf(error) !== "ENOENT") throw error;
    });
  }

  /** Lets go of the file being written when all are done with its entries, so that it can be removed. */
  async rotate(): Promise<void> {
    if (this.writing === null && this.probing === null && this.active !== null && this.next <= this.doneByAll) {
      // As a write, so that an append that comes meanwhile waits for its end.
      this.writing = this.leaveActive().then(() => this.writeQueue());
      await this.writing;
    }
  }

  /** Spares the next start making sure of a file whose every entry has been synced. */
  private async noteWritten(): Promise<void> {
    const { written } = this;
    if (written === null || this.trouble !== "" || this.files[this.files.length - 1] !== written) return;
    await noteSafe(this.deps.files, this.deps.log, written);
  }

  /** Writes what waits, then ends. */
  async close(): Promise<void> {
    this.closed = true;
    if (this.probeTimer !== null) this.deps.timers.clear(this.probeTimer);
    this.start();
    while (this.writing !== null) {
      await this.writing;
      this.start();
    }
    if (this.probing !== null) await this.probing;
    await this.leaveActive();
    await this.noteWritten();
    await this.spares.clear();
    this.tail.clear();
    this.deps.changed();
  }
}
