import type { IntakeEntry } from "../core/intake-entry.ts";
import type { EntryReader } from "../intake/intake.ts";
import type { WorkerIntake } from "./worker.ts";
import type { FromThread, Offsets, PostedEntry, ToThread } from "./worker-messages.ts";

/** Entries and bytes after which the main thread is told that they were taken, at the latest: far less than it sends ahead. */
const TAKEN_ENTRIES = 64;
const TAKEN_BYTES = 1024 * 1024;

type Post = (message: FromThread) => void;

/** The intake log as a worker thread has it: the main thread sends entries ahead of their use, as many as it has room for. */
export class ThreadIntake implements WorkerIntake {
  private readonly post: Post;
  private readonly readers = new Map<number, PostedReader>();
  private nextReader = 0;
  /** Where partitions end, as the main thread said last. */
  private ends: Offsets = {};
  private isDraining = false;

  constructor(post: Post) {
    this.post = post;
  }

  read(partition: number, from: number): EntryReader {
    const id = this.nextReader++;
    const reader = new PostedReader({ id, partition, from }, this.post, () => this.readers.delete(id));
    this.readers.set(id, reader);
    this.post({ type: "read", reader: id, partition, from });
    if (this.isDraining) reader.drainTo(this.nextOffset(partition));
    return reader;
  }

  async commit(partition: number, next: number): Promise<void> {
    this.post({ type: "done", partition, next });
  }

  /** As the main thread said last. */
  nextOffset(partition: number): number {
    return this.ends[partition] ?? 0;
  }

  take({ reader, entries, through }: Extract<ToThread, { type: "entries" }>): void {
    // A reader that was closed meanwhile wants them no more.
    this.readers.get(reader)?.add(entries, through);
  }

  setEnds(ends: Offsets): void {
    this.ends = ends;
  }

  /** From now on a reader has nothing left only where it has come to these ends. */
  drain(ends: Offsets): void {
    this.ends = ends;
    this.isDraining = true;
    for (const reader of this.readers.values()) reader.drainTo(this.nextOffset(reader.partition));
  }
}

/** Hands out what the main thread has sent. */
class PostedReader implements EntryReader {
  readonly partition: number;
  private readonly id: number;
  private readonly post: Post;
  private readonly onClose: () => void;
  private queue: PostedEntry[] = [];
  private taken = 0;
  /** All entries below have come, or are lost. */
  private through: number;
  /** How far entries have to come before there is nothing left. */
  private drainEnd = 0;
  private untoldEntries = 0;
  private untoldBytes = 0;
  private isClosed = false;
  private wake: () => void = () => {};

  constructor(
    { id, partition, from }: { readonly id: number; readonly partition: number; readonly from: number },
    post: Post,
    onClose: () => void,
  ) {
    this.id = id;
    this.partition = partition;
    this.through = from;
    this.post = post;
    this.onClose = onClose;
  }

  add(entries: readonly PostedEntry[], through: number): void {
    if (this.taken > 0) this.queue = this.queue.slice(this.taken);
    this.taken = 0;
    this.queue.push(...entries);
    this.through = through;
    this.wake();
  }

  drainTo(end: number): void {
    this.drainEnd = end;
    this.wake();
  }

  async poll(): Promise<IntakeEntry | null> {
    while (!this.isClosed && this.isEmpty && this.through < this.drainEnd) await this.change();
    if (this.isClosed || this.isEmpty) return null;
    const { payload, inflated, ...head } = this.queue[this.taken++];
    this.tell(payload.length + (inflated?.length ?? 0));
    return {
      ...head,
      payload: bufferOf(payload),
      ...(inflated === null ? {} : { inflated: bufferOf(inflated) }),
    };
  }

  async wait(): Promise<void> {
    while (!this.isClosed && this.isEmpty && this.through >= this.drainEnd) await this.change();
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.queue = [];
    this.onClose();
    this.post({ type: "unread", reader: this.id });
    this.wake();
  }

  private get isEmpty(): boolean {
    return this.taken === this.queue.length;
  }

  private change(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.wake;
      this.wake = () => {
        this.wake = () => {};
        before();
        resolve();
      };
    });
  }

  private tell(bytes: number): void {
    this.untoldEntries++;
    this.untoldBytes += bytes;
    if (!this.isEmpty && this.untoldEntries < TAKEN_ENTRIES && this.untoldBytes < TAKEN_BYTES) return;
    this.post({ type: "taken", reader: this.id, entries: this.untoldEntries, bytes: this.untoldBytes });
    this.untoldEntries = 0;
    this.untoldBytes = 0;
  }
}

function bufferOf({ buffer, byteOffset, length }: Uint8Array<ArrayBuffer>): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
