import { WeirError } from "../core/errors.ts";
import type { EntryDraft, IntakeEntry } from "../core/intake-entry.ts";
import { type Consumers, type EntryReader, type IntakeLog, type LineClaim, STORE_CONSUMER } from "./intake.ts";
import { LineRepeats } from "./line-repeats.ts";
import { SeenKeys } from "./seen-keys.ts";

export interface MemoryIntakeOptions {
  readonly partitions?: number;
  readonly sizeMaxBytes?: number;
  readonly minNextOffset?: (partition: number) => number;
  readonly consumers?: Consumers;
}

interface Partition {
  readonly entries: IntakeEntry[];
  next: number;
  /** Of each consumer, the offset below which it is done. */
  readonly done: Map<string, number>;
  readonly readers: Set<string>;
}

const LINES_MAX = 65_536;
const TURN = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** An intake log that lasts as long as the process: for tests, and as the plainest reading of the interface. */
export class MemoryIntake implements IntakeLog {
  private readonly logs: Partition[];
  private readonly sizeMaxBytes: number;
  private readonly stored = new Map<string, Promise<number | null>>();
  private readonly lines = new LineRepeats(new SeenKeys(LINES_MAX));
  private waiters: (() => void)[] = [];
  private bytes = 0;
  private trouble = "";
  private wantedBytes = 0;
  private isClosed = false;

  constructor({
    partitions = 1,
    sizeMaxBytes = Number.POSITIVE_INFINITY,
    minNextOffset,
    consumers = {},
  }: MemoryIntakeOptions = {}) {
    this.sizeMaxBytes = sizeMaxBytes;
    this.logs = Array.from({ length: partitions }, (_, partition) => {
      const first = minNextOffset?.(partition) ?? 0;
      const done = new Map(Object.entries(consumers).map(([name, next]) => [name, next(partition)]));
      return { entries: [], next: first, done: done.set(STORE_CONSUMER, first), readers: new Set() };
    });
  }

  get partitions(): number {
    return this.logs.length;
  }

  /** Makes appends fail with `intake_unavailable` and this reason, until it is "". */
  setTrouble(reason: string): void {
    this.trouble = reason;
    this.changed();
  }

  async append(partition: number, draft: EntryDraft): Promise<{ offset: number | null }> {
    if (draft.dedupeKey === undefined) return { offset: await this.store(partition, draft) };
    const id = `${draft.tenant}\0${draft.dedupeKey}`;
    for (let first = this.stored.get(id); first !== undefined; first = this.stored.get(id)) {
      if ((await first) !== null) return { offset: null };
    }
    const stored = this.store(partition, draft);
    this.stored.set(
      id,
      stored.catch(() => {
        this.stored.delete(id);
        return null;
      }),
    );
    return { offset: await stored };
  }

  claimLines(ids: Buffer): Promise<LineClaim> {
    return this.lines.claim(ids);
  }

  private async store(partition: number, draft: EntryDraft): Promise<number> {
    this.admit(draft);
    this.bytes += draft.payload.length;
    await TURN(); // As on a disk, nothing is durable at once.
    if (this.trouble !== "") {
      this.bytes -= draft.payload.length;
      throw new WeirError("intake_unavailable", this.trouble, { retriable: true });
    }
    const log = this.logs[partition];
    const offset = log.next++;
    log.entries.push({ ...draft, offset });
    if (draft.lineIds !== undefined) this.lines.add(draft.lineIds);
    this.changed();
    return offset;
  }

  private admit({ payload }: EntryDraft): void {
    if (this.isClosed) throw new WeirError("intake_closed", "the intake log is closed", { retriable: true });
    if (this.trouble !== "") throw new WeirError("intake_unavailable", this.trouble, { retriable: true });
    if (this.bytes + payload.length <= this.sizeMaxBytes) return;
    this.wantedBytes = Math.max(this.wantedBytes, payload.length);
    throw new WeirError("intake_full", this.status().reason, { retriable: true });
  }

  read(partition: number, from: number, consumer = STORE_CONSUMER): EntryReader {
    const log = this.logs[partition];
    if (log.readers.has(consumer)) throw new Error(`partition ${partition} has a reader ${consumer} already`);
    log.readers.add(consumer);
    let next = from;
    let ended = false;
    const over = () => ended || this.isClosed;
    return {
      poll: async () => {
        const entry = over() ? undefined : log.entries.find(({ offset }) => offset >= next);
        if (entry === undefined) return null;
        next = entry.offset + 1;
        return entry;
      },
      wait: async () => {
        while (!over() && next >= log.next) await this.nextChange();
      },
      close: async () => {
        ended = true;
        log.readers.delete(consumer);
        this.changed();
      },
    };
  }

  commit(partition: number, next: number, consumer = STORE_CONSUMER): Promise<void> {
    const log = this.logs[partition];
    const before = log.done.get(consumer);
    if (before === undefined) throw new Error(`commit: the log was not opened with a consumer ${consumer}`);
    log.done.set(consumer, Math.max(before, next));
    const done = Math.min(...log.done.values());
    while (log.entries.length > 0 && log.entries[0].offset < done) {
      this.bytes -= log.entries.shift()?.payload.length ?? 0;
    }
    if (this.bytes + this.wantedBytes <= this.sizeMaxBytes) this.wantedBytes = 0;
    this.changed();
    return Promise.resolve();
  }

  bytesFrom(partition: number, next: number): number {
    let bytes = 0;
    for (const { offset, payload } of this.logs[partition].entries) if (offset >= next) bytes += payload.length;
    return bytes;
  }

  nextOffset(partition: number): number {
    return this.logs[partition].next;
  }

  status(): { ready: boolean; reason: string; bytes: number } {
    const reason = this.isClosed
      ? "the intake log is closed"
      : this.trouble !== ""
        ? this.trouble
        : this.wantedBytes > 0
          ? `the intake log is full: ${this.bytes} of ${this.sizeMaxBytes} bytes wait for the store or a sink`
          : "";
    return { ready: reason === "", reason, bytes: this.bytes };
  }

  async whenReady(): Promise<void> {
    while (!this.isClosed && !this.status().ready) await this.nextChange();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await TURN();
    this.changed();
  }

  private changed(): void {
    const { waiters } = this;
    this.waiters = [];
    for (const wake of waiters) wake();
  }

  private nextChange(): Promise<void> {
    return new Promise((resolve) => this.waiters.push(resolve));
  }
}
