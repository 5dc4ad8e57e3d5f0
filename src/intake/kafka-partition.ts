import { messageOf, WeirError } from "../core/errors.ts";
import type { IntakeEntry } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import { sleepFor } from "../core/wait.ts";
import type { PartitionOffsets } from "../kafka/admin.ts";
import type { KafkaFeed, KafkaMessage } from "../kafka/feed.ts";
import type { EntryReader } from "./intake.ts";
import type { KafkaReadMetrics } from "./kafka-read-metrics.ts";
import { checkPayload, decodeHeaders } from "./kafka-record.ts";
import { PartitionWindow, type PartitionWindowBounds } from "./partition-window.ts";
import { keepLines } from "./split-push.ts";
import type { WindowRoom } from "./window-room.ts";

const RETRY_MS = 1000;
/** Records that are passed over without a turn for others. */
const PASSED_A_TURN = 500;
const TURN = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Keeps a partition's window beside its segments. */
export interface WindowStore {
  /** The newest one that was kept for an offset up to `next`, or null. */
  load(partition: number, next: number): Promise<Buffer | null>;
  /** Below `stored` everything is in the store: whoever begins to read begins there, or behind it. */
  save(partition: number, next: number, window: Buffer, stored: number): Promise<void>;
}

/** For a log that ends at `high`, before `from`, where somebody goes on who has read all below. */
export function topicLost(partition: number, high: number, from: number): WeirError {
  return new WeirError(
    "kafka_topic_lost",
    `partition ${partition} of the intake topic ends at offset ${high}, but it was read up to ${from}: the topic was created anew, or lost what was acknowledged; use a topic of another name`,
    { context: { partition, high, from } },
  );
}

export interface KafkaPartitionDeps {
  readonly feed: KafkaFeed;
  /** What there is of the partition now. Errors as KafkaAdmin.offsets. */
  readonly offsets: () => Promise<PartitionOffsets>;
  readonly windows: WindowStore;
  readonly bounds: PartitionWindowBounds;
  /** What the windows of all partitions may take that this reader has. */
  readonly room: WindowRoom;
  /** Keeps the offset for tools that show lag; never rejects. */
  readonly commit: (next: number) => Promise<void>;
  readonly metrics: KafkaReadMetrics;
  readonly log: Logger;
  /**
   * Who reads, for what is logged; the store's worker if nobody else is named. The worker waits for the window that was kept while the
   * store does not give it: no part of the log says of a lane what the window does. Others do without.
   */
  readonly reader?: string;
}

/**
 * One partition of the intake log in Kafka, for the worker or the sink that has it. A reader first goes through the log from before its
 * beginning, as far as the window of repeats reaches, so that its verdicts are those of any worker before it; then it gives
 * the entries, without those that stand in the window before them.
 */
export class KafkaPartition {
  private readonly deps: KafkaPartitionDeps;
  private readonly partition: number;
  private reader: PartitionReader | null = null;
  /** Below it everything is in the store. */
  private committed = -1;

  constructor(deps: KafkaPartitionDeps) {
    this.deps = deps;
    this.partition = deps.feed.partition;
  }

  read(partition: number, from: number): EntryReader {
    if (partition !== this.partition) throw new Error(`read: got partition ${partition}, want ${this.partition}`);
    this.committed = Math.max(this.committed, from);
    this.reader = new PartitionReader(from, this.deps);
    return this.reader;
  }

  async commit(_partition: number, next: number): Promise<void> {
    this.committed = Math.max(this.committed, next);
    await this.deps.commit(next);
  }

  /** As far as is known from the last answer that had records. */
  nextOffset(): number {
    return Math.max(this.deps.feed.highWatermark, this.reader?.nextOffset ?? 0);
  }

  /** Whether a reader has come so far that there is a window to be kept. */
  get hasWindow(): boolean {
    return this.reader?.hasWindow ?? false;
  }

  /** Keeps the window as it is now, for whoever reads on from any later offset. */
  async saveWindow(): Promise<void> {
    const seen = this.reader?.window();
    if (seen === undefined || seen === null) return;
    await this.deps.windows.save(this.partition, seen.next, seen.bytes, this.committed);
  }

  /** Below it everything is in the store; -1 before the first reader. */
  get committedOffset(): number {
    return this.committed;
  }
}

class PartitionReader implements EntryReader {
  private readonly deps: KafkaPartitionDeps;
  private readonly who: string;
  private readonly from: number;
  private readonly seen: PartitionWindow;
  private readonly closing = new AbortController();
  private opening: Promise<void> | null = null;
  private isOpen = false;
  /** All records below it were looked at. */
  private next = 0;

  constructor(from: number, deps: KafkaPartitionDeps) {
    this.from = from;
    this.deps = deps;
    this.who = deps.reader ?? "worker";
    this.seen = new PartitionWindow(deps.bounds, deps.room);
  }

  get nextOffset(): number {
    return Math.max(this.next, this.from);
  }

  get passed(): number {
    return this.next;
  }

  async poll(): Promise<IntakeEntry | null> {
    if (!this.isOpen) {
      this.opening ??= this.open();
      await this.opening;
    }
    const { feed } = this.deps;
    if (feed.isCut) await this.checkEnd();
    for (let passed = 1; !this.isOver; passed++) {
      const message = feed.poll();
      if (message === null) return null;
      const entry = this.take(message);
      if (entry !== null) return entry;
      if (passed % PASSED_A_TURN === 0) await TURN();
    }
    return null;
  }

  wait(): Promise<void> {
    return this.isOver || !this.isOpen ? Promise.resolve() : this.deps.feed.wait();
  }

  close(): Promise<void> {
    this.closing.abort();
    this.seen.leaveRoom();
    return Promise.resolve();
  }

  get hasWindow(): boolean {
    return this.isOpen && this.next >= this.from;
  }

  /** The window, once the reader has come to where it gives entries; null before. */
  window(): { next: number; bytes: Buffer } | null {
    if (!this.hasWindow) return null;
    return { next: this.next, bytes: this.seen.encode(this.next) };
  }

  private get isOver(): boolean {
    return this.closing.signal.aborted || this.deps.feed.isLost;
  }

  /** Finds where to begin to read, and lets the feed begin there. Tries on while that can't be known. */
  private open(): Promise<void> {
    const { feed, offsets } = this.deps;
    return this.tryOn(async () => {
      const { low, high } = await offsets();
      if (high < this.from) throw topicLost(this.deps.feed.partition, high, this.from);
      const next = await this.begin(low);
      if (low > this.from)
        this.lost(this.from, low, "Kafka has thrown them away before they were read: raise the topic's retention");
      this.next = next;
      feed.seek(this.next);
      this.isOpen = true;
    });
  }

  /** What is written to a log that ends before what was read of it is passed over as read, so nothing is read on. */
  private checkEnd(): Promise<void> {
    const { feed, offsets } = this.deps;
    return this.tryOn(async () => {
      const { high } = await offsets();
      if (high < feed.fetchOffset) throw topicLost(feed.partition, high, feed.fetchOffset);
      feed.isWhole();
    });
  }

  private async tryOn(act: () => Promise<void>): Promise<void> {
    const { feed, log, metrics } = this.deps;
    for (let attempt = 0; !this.isOver; attempt++) {
      try {
        await act();
        return;
      } catch (error) {
        if (!(error instanceof WeirError) || !error.retriable) throw error;
        metrics.troubles.inc();
        log[attempt === 0 ? "warn" : "debug"](
          { partition: feed.partition },
          `${this.who}: ${error.message}; trying on`,
        );
        await sleepFor(RETRY_MS, this.closing.signal);
      }
    }
  }

  /** The offset to read from, so that the window is what it has to be at `from`. */
  private async begin(low: number): Promise<number> {
    const { windows, feed, bounds, log } = this.deps;
    try {
      const kept = await windows.load(feed.partition, this.from);
      if (kept !== null) {
        const next = this.seen.decode(kept);
        // What it does not have yet is read, as far as it is there still. Without the window even less would be known.
        if (next <= this.from) return Math.max(next, low);
      }
    } catch (error) {
      if (this.deps.reader === undefined && error instanceof WeirError && error.retriable) throw error;
      log.warn({ partition: feed.partition }, `${this.who}: ${messageOf(error)}; reads the log again instead`);
    }
    this.seen.clear();
    return Math.max(low, this.from - bounds.entries, 0);
  }

  private take(message: KafkaMessage): IntakeEntry | null {
    const { metrics, log, feed } = this.deps;
    const { offset } = message;
    if (offset > this.next && offset > this.from)
      this.lost(Math.max(this.next, this.from), offset, "they are not in the topic any more");
    this.next = offset + 1;
    try {
      const head = decodeHeaders(message.headers);
      // What is damaged was not seen: an undamaged one may follow it.
      const payload = checkPayload(head, message.value);
      const verdict = this.seen.see(head, offset);
      if (offset < this.from) return null;
      if (verdict.repeat) {
        metrics.repeats.inc({ what: head.lineIds === null ? "chunk" : "push" });
        return null;
      }
      metrics.entries.inc();
      return {
        kind: head.kind,
        tenant: head.tenant,
        source: head.source,
        receivedMs: head.receivedMs,
        payload: verdict.isNew === null ? payload : this.withoutRepeats(payload, verdict.isNew, verdict.lines),
        offset,
        ...(head.dedupeKey === null ? {} : { dedupeKey: head.dedupeKey }),
      };
    } catch (error) {
      if (!(error instanceof WeirError)) throw error;
      if (offset < this.from) return null;
      metrics.unreadable.inc();
      log.error(
        { partition: feed.partition, offset },
        `${this.who}: ${error.message} (partition ${feed.partition}, offset ${offset}); passed over`,
      );
      return null;
    }
  }

  private withoutRepeats(payload: Buffer, isNew: Uint8Array, lines: number): Buffer {
    this.deps.metrics.repeats.inc({ what: "line" }, isNew.length - lines);
    return keepLines(payload, isNew);
  }

  private lost(first: number, next: number, why: string): void {
    const { metrics, log, feed } = this.deps;
    metrics.lostEntries.inc(next - first);
    log.error(
      { partition: feed.partition, first, next },
      `${this.who}: offsets ${first} to ${next - 1} of partition ${feed.partition} are lost: ${why}`,
    );
  }
}
