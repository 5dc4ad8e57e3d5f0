import path from "node:path";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { type FileOps, nodeFiles } from "../core/files.ts";
import type { EntryDraft } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { DiskReader } from "./disk-reader.ts";
import { DiskRoom } from "./disk-room.ts";
import { type FolderLock, lockFolder } from "./folder-lock.ts";
import { type Consumers, type EntryReader, type IntakeLog, type LineClaim, STORE_CONSUMER } from "./intake.ts";
import { type IntakeMetrics, intakeMetrics } from "./intake-metrics.ts";
import { LastKeys } from "./last-keys.ts";
import { LineRepeats } from "./line-repeats.ts";
import type { LogFile } from "./log-file.ts";
import { ENTRY_BYTES_MAX, entryBytes } from "./log-format.ts";
import { type DiskIntakeOptions, diskIntakeOptions } from "./options.ts";
import { PartitionLog } from "./partition-log.ts";
import { recoverPartition } from "./recover.ts";
import { Repeats } from "./repeats.ts";
import { readSeen, SEEN_CHUNKS, SEEN_LANES, SEEN_LINES, writeSeen } from "./seen-file.ts";
import { digestOf, SeenKeys } from "./seen-keys.ts";
import { realTimers, type Timers } from "./timers.ts";

export interface OpenDiskIntake {
  /** Folder of the log; created when it is missing. */
  readonly dir: string;
  /** How many partitions. A folder that already has more keeps them all, so that nothing in it is forgotten. */
  readonly partitions?: number;
  /**
   * For each partition the end of the catalog's chain: entries below it are in the store, and no entry gets an offset below it
   * again, whatever became of the folder.
   */
  readonly minNextOffset?: (partition: number) => number;
  /** Who reads the log beside the store: files are kept for them too. */
  readonly consumers?: Consumers;
  /** As the user set them; defaults for the rest. */
  readonly options?: Partial<DiskIntakeOptions>;
}

export interface DiskIntakeDeps {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly files?: FileOps;
  readonly timers?: Timers;
}

const PARTITIONS_MAX = 1024;
/** Files of 64 MiB that come free with one commit of a busy machine: four. */
const SPARE_BYTES = 4 * 65 * 1024 * 1024;

/**
 * Opens the intake log in a folder and recovers what a crash left. Layout of the folder: `<partition>/<first offset>.log`
 * (log-format.ts), `<partition>/safe` (safe-note.ts), `seen` (seen-file.ts), `lock.*` (folder-lock.ts).
 * Throws `folder_locked`, `folder_unusable`, or `intake_unavailable` when the folder can't be read.
 */
export async function openDiskIntake(request: OpenDiskIntake, deps: DiskIntakeDeps): Promise<IntakeLog> {
  const files = deps.files ?? nodeFiles;
  const options = diskIntakeOptions.parse(request.options ?? {});
  try {
    await files.mkdir(request.dir);
  } catch (error) {
    throw new WeirError("folder_unusable", `can't create the folder ${request.dir}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const lock = await lockFolder(files, request.dir);
  try {
    const intake = new DiskIntake(request, options, { ...deps, files, timers: deps.timers ?? realTimers }, lock);
    await intake.recover();
    return intake;
  } catch (error) {
    await lock.release();
    throw error;
  }
}

class DiskIntake implements IntakeLog {
  private readonly request: OpenDiskIntake;
  private readonly options: DiskIntakeOptions;
  private readonly deps: Required<DiskIntakeDeps>;
  private readonly lock: FolderLock;
  private readonly metrics: IntakeMetrics;
  private readonly logs: PartitionLog[] = [];
  /** Partition and consumer of each reader. */
  private readonly reading = new Set<string>();
  private readonly seen: SeenKeys;
  private readonly repeats: Repeats;
  private readonly lines: LineRepeats;
  private readonly lastKeys = new LastKeys();
  /** Room that the largest append needs which was refused for the size limit; 0 when none was. */
  private wantedBytes = 0;
  private isClosed = false;
  private readonly room: DiskRoom;
  private changeWaiters: (() => void)[] = [];
  private readyWaiters: (() => void)[] = [];
  private cleaning: Promise<void> = Promise.resolve();
  /** A file went before its ids were saved, so they are only in memory. */
  private idsAtRisk = false;

  constructor(request: OpenDiskIntake, options: DiskIntakeOptions, deps: Required<DiskIntakeDeps>, lock: FolderLock) {
    this.request = request;
    this.options = options;
    this.deps = deps;
    this.lock = lock;
    this.seen = new SeenKeys(options.seen_ids_max);
    this.repeats = new Repeats(this.seen);
    this.lines = new LineRepeats(new SeenKeys(options.seen_lines_max));
    this.metrics = intakeMetrics(deps.metrics);
    this.room = new DiskRoom(request.dir, options.disk_free_min_bytes, { ...deps, onRoom: () => this.changed() });
    deps.metrics.gauge("weir_intake_bytes", "Bytes of the intake log on disk.", [], (gauge) => gauge.set(this.bytes));
    deps.metrics.gauge("weir_intake_ready", "1 while entries are accepted.", [], (gauge) =>
      gauge.set(this.status().ready ? 1 : 0),
    );
  }

  get partitions(): number {
    return this.logs.length;
  }

  async recover(): Promise<void> {
    const { files, log } = this.deps;
    const { dir, minNextOffset } = this.request;
    const seen = await readSeen(files, dir);
    if (seen === null)
      log.error({ dir }, "intake: the file of seen ids is damaged; repeats of old chunks will be stored");
    for (const digest of seen?.digests ?? []) this.seen.add(digest);
    const seenLines = await readSeen(files, dir, SEEN_LINES);
    if (seenLines === null)
      log.error({ dir }, "intake: the file of seen lines is damaged; repeats of old lines will be stored");
    for (const id of seenLines?.digests ?? []) this.lines.add(id);
    const lanes = await readSeen(files, dir, SEEN_LANES);
    if (lanes === null)
      log.error({ dir }, "intake: the file of lanes is damaged; what a topic's last batch holds may be stored twice");
    const count = await this.partitionCount();
    for (let partition = 0; partition < count; partition++) {
      const folder = path.join(dir, String(partition));
      const onKey = (tenant: string, key: string, lane: { readonly receivedMs: number } | null) => {
        this.seen.add(digestOf(tenant, key));
        if (lane !== null) this.lastKeys.recover(tenant, key, lane.receivedMs);
      };
      const onLineIds = (ids: Buffer) => this.lines.add(ids);
      const recovered = await recoverPartition(folder, { files, log, onKey, onLineIds });
      if (recovered.tornBytes > 0) {
        log.warn({ partition, bytes: recovered.tornBytes }, "intake: dropped the torn end of the last write");
      }
      const chainEnd = minNextOffset?.(partition) ?? 0;
      const floor = Math.max(recovered.next, seen?.next[partition] ?? 0);
      this.logs.push(this.partitionLog(partition, folder, { ...recovered, next: floor }, chainEnd));
    }
    // Keys that stand in the log are newer than those in the file.
    this.lastKeys.load(lanes?.digests ?? []);
    await this.clean();
    await this.room.look();
  }

  private async partitionCount(): Promise<number> {
    let count = this.request.partitions ?? 1;
    for (const entry of await this.deps.files.readdir(this.request.dir)) {
      const number = /^\d{1,4}$/.test(entry.name) && entry.isDirectory() ? Number(entry.name) : -1;
      if (number < PARTITIONS_MAX) count = Math.max(count, number + 1);
    }
    return count;
  }

  private partitionLog(
    partition: number,
    folder: string,
    recovered: ConstructorParameters<typeof PartitionLog>[1],
    chainEnd: number,
  ): PartitionLog {
    const { options, deps } = this;
    // What is meant for the whole log is divided among the partitions that are written to.
    const parts = this.request.partitions ?? 1;
    return new PartitionLog(
      {
        partition,
        folder,
        fileBytes: Math.min(options.file_bytes, Math.floor(options.size_max_bytes / 4 / parts)),
        groupCommitMs: options.group_commit_ms,
        groupCommitBytes: options.group_commit_bytes,
        tailBytes: Math.floor(options.tail_bytes / parts),
        spareBytes: Math.floor(Math.min(SPARE_BYTES, options.size_max_bytes / 4) / parts),
      },
      recovered,
      chainEnd,
      this.request.consumers ?? {},
      {
        ...deps,
        metrics: this.metrics,
        changed: () => this.changed(),
        durable: (digest) => this.seen.add(digest),
        durableLines: (ids) => this.lines.add(ids),
      },
    );
  }

  async append(partition: number, draft: EntryDraft): Promise<{ offset: number | null }> {
    if (draft.dedupeKey === undefined) return { offset: await this.store(partition, draft, null) };
    const { tenant, dedupeKey } = draft;
    const digest = digestOf(tenant, dedupeKey);
    const isLast = draft.hasLane === true && this.lastKeys.has(tenant, dedupeKey);
    const offset = isLast ? null : await this.repeats.once(digest, () => this.store(partition, draft, digest));
    // Long before its file can be removed: that takes a commit of the store.
    if (draft.hasLane === true && offset !== null) this.lastKeys.add(tenant, dedupeKey);
    if (offset === null) this.metrics.appends.inc({ result: "repeat" });
    return { offset };
  }

  claimLines(ids: Buffer): Promise<LineClaim> {
    return this.lines.claim(ids);
  }

  private async store(partition: number, draft: EntryDraft, digest: Buffer | null): Promise<number> {
    const length = entryBytes(draft);
    this.admit(length, draft);
    try {
      const offset = await this.logs[partition].append(draft, length, digest);
      this.metrics.appends.inc({ result: "stored" });
      this.metrics.appendedBytes.inc(length);
      return offset;
    } catch (error) {
      this.metrics.appends.inc({ result: "unavailable" });
      throw error;
    }
  }

  private admit(length: number, draft: EntryDraft): void {
    if (this.isClosed) {
      this.metrics.appends.inc({ result: "closed" });
      throw new WeirError("intake_closed", "the intake log is closed", { retriable: true });
    }
    const most = Math.min(ENTRY_BYTES_MAX, this.options.size_max_bytes);
    if (length > most || draft.source.length > 0xff || draft.tenant.length > 0x3fff) {
      throw new WeirError(
        "intake_entry_too_large",
        `an entry of ${length} bytes can't be kept: the intake log takes ${most}; raise size_max_bytes or let agents send less at once`,
        { context: { length, most } },
      );
    }
    if (this.room.reason !== "") {
      this.metrics.appends.inc({ result: "full" });
      throw new WeirError("intake_full", this.room.reason, { retriable: true });
    }
    this.room.take(length);
    if (this.bytes + this.waitingBytes + length > this.options.size_max_bytes) {
      this.metrics.appends.inc({ result: "full" });
      const isFirst = this.wantedBytes === 0;
      if (isFirst) this.deps.log.warn({ bytes: this.bytes }, `intake: ${this.fullReason()}`);
      this.wantedBytes = Math.max(this.wantedBytes, length);
      // Where all that is there is done with, no commit comes any more that would make room.
      if (isFirst) void this.cleanLater();
      throw new WeirError("intake_full", this.fullReason(), { retriable: true });
    }
  }

  private fullReason(): string {
    return `the intake log is full: ${this.bytes} of ${this.options.size_max_bytes} bytes wait for the store or a sink`;
  }

  read(partition: number, from: number, consumer = STORE_CONSUMER): EntryReader {
    const key = `${partition} ${consumer}`;
    if (this.reading.has(key)) throw new Error(`partition ${partition} has a reader ${consumer} already`);
    this.reading.add(key);
    return new DiskReader(this.logs[partition], from, {
      ...this.deps,
      metrics: this.metrics,
      // What waits in memory goes to the one that it waits for; the others find it in the page cache.
      usesTail: consumer === STORE_CONSUMER,
      change: () => this.nextChange(),
      closed: () => this.reading.delete(key),
    });
  }

  commit(partition: number, next: number, consumer = STORE_CONSUMER): Promise<void> {
    this.logs[partition].commit(next, consumer);
    return this.cleanLater();
  }

  private cleanLater(): Promise<void> {
    this.cleaning = this.cleaning.then(() => this.clean());
    return this.cleaning;
  }

  bytesFrom(partition: number, next: number): number {
    return this.logs[partition].bytesFrom(next);
  }

  nextOffset(partition: number): number {
    return this.logs[partition].next;
  }

  status(): { ready: boolean; reason: string; bytes: number } {
    const { bytes } = this;
    if (this.isClosed) return { ready: false, reason: "the intake log is closed", bytes };
    const trouble = this.logs.find((log) => log.trouble !== "")?.trouble;
    if (trouble !== undefined) return { ready: false, reason: trouble, bytes };
    if (this.room.reason !== "") return { ready: false, reason: this.room.reason, bytes };
    if (this.wantedBytes > 0) return { ready: false, reason: this.fullReason(), bytes };
    return { ready: true, reason: "", bytes };
  }

  /** Also resolves when the log is closed: the next append then says so. */
  whenReady(): Promise<void> {
    if (this.isClosed || this.status().ready) return Promise.resolve();
    return new Promise((resolve) => this.readyWaiters.push(resolve));
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.room.close();
    await Promise.all(this.logs.map((log) => log.close()));
    await this.cleaning;
    this.changed();
    await this.lock.release();
  }

  private get bytes(): number {
    return this.logs.reduce((sum, log) => sum + log.bytes, 0);
  }

  private get waitingBytes(): number {
    return this.logs.reduce((sum, log) => sum + log.waitingBytes, 0);
  }

  private changed(): void {
    const waiters = this.changeWaiters;
    this.changeWaiters = [];
    for (const wake of waiters) wake();
    if (this.wantedBytes > 0 && this.bytes + this.wantedBytes <= this.options.size_max_bytes) this.wantedBytes = 0;
    if (!this.isClosed && !this.status().ready) return;
    const ready = this.readyWaiters;
    this.readyWaiters = [];
    for (const wake of ready) wake();
  }

  private nextChange(): Promise<void> {
    return new Promise((resolve) => this.changeWaiters.push(resolve));
  }

  /** Removes files whose entries are all in the store. What fails is tried again with the next commit. */
  private async clean(): Promise<void> {
    if (this.isClosed) return;
    if (this.wantedBytes > 0) for (const log of this.logs) await log.rotate();
    if (!this.idsAtRisk && !this.logs.some((log) => log.removable() !== null)) return;
    try {
      const saved = await this.saveSeen();
      for (const [partition, log] of this.logs.entries()) await this.removeFiles(partition, log, saved[partition]);
    } catch (error) {
      this.deps.log.warn({ error: messageOf(error) }, "intake: can't remove log files that are done with");
    }
    this.changed();
  }

  /** Saves the ids of all entries so far. Resolves with the offset of each partition below which they are saved. */
  private async saveSeen(): Promise<readonly number[]> {
    let next: readonly number[] = [];
    const save = async () => {
      const { files } = this.deps;
      next = this.logs.map((log) => log.next);
      await writeSeen(files, this.request.dir, next, this.seen, SEEN_CHUNKS);
      if (this.lastKeys.isChanged) await this.saveLanes(next);
      // Nothing was pushed since the last time: what stands there is right.
      if (!this.lines.isChanged) return;
      // What is added while this is written belongs to the next time.
      this.lines.isChanged = false;
      try {
        await writeSeen(files, this.request.dir, next, this.lines.seen, SEEN_LINES);
      } catch (error) {
        this.lines.isChanged = true;
        throw error;
      }
    };
    try {
      await save();
    } catch (error) {
      if (codeOf(error) !== "ENOSPC" && codeOf(error) !== "EDQUOT") throw error;
      // The room that this wants is the room that it makes: one file goes before its ids are saved.
      for (const log of this.logs) {
        const file = log.removable();
        if (file === null) continue;
        this.idsAtRisk = true; // Should the next attempt fail too, every commit makes another.
        await log.remove(file, false);
        break;
      }
      await save();
    }
    this.idsAtRisk = false;
    return next;
  }

  private async saveLanes(next: readonly number[]): Promise<void> {
    this.lastKeys.isChanged = false;
    try {
      await writeSeen(this.deps.files, this.request.dir, next, this.lastKeys, SEEN_LANES);
    } catch (error) {
      this.lastKeys.isChanged = true;
      throw error;
    }
  }

  /** Removes what is done with, as far as ids are saved: while they were, a file may have been filled, and its entries committed. */
  private async removeFiles(partition: number, log: PartitionLog, saved: number): Promise<void> {
    const first = this.removableBelow(log, saved);
    if (first === null) return;
    for (let file: LogFile | null = first; file !== null; file = this.removableBelow(log, saved))
      await log.remove(file);
    await this.deps.files.syncFolder(path.join(this.request.dir, String(partition)));
  }

  private removableBelow(log: PartitionLog, saved: number): LogFile | null {
    const file = log.removable();
    return file !== null && file.next <= saved ? file : null;
  }
}
