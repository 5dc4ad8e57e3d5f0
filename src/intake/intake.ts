import type { EntryDraft, IntakeEntry } from "../core/intake-entry.ts";

/**
 * The intake log: what has been received and is durable but not yet in the store. Append-only entries in
 * partitions; the offsets of a partition count up from wherever it began, without a gap.
 */
export interface IntakeLog {
  readonly partitions: number;

  /**
   * Resolves when the entry is durable, or is a repeat of one that is. `offset` is null for a repeat.
   * Rejects with a retriable WeirError, and then nothing was stored: `intake_full` (the size limit is reached),
   * `intake_unavailable` (the disk refuses), `intake_closed`.
   */
  append(partition: number, draft: EntryDraft): Promise<{ offset: number | null }>;

  /**
   * Says which of some lines are new, by their ids of 16 bytes each (EntryDraft.lineIds), and takes those for the caller, who
   * stores them or not, and then ends the claim. Waits for lines that others have taken.
   */
  claimLines(ids: Buffer): Promise<LineClaim>;

  /**
   * Durable entries from offset `from` on, in order; only one reader a partition and consumer. The store's is the one
   * without a name; others are those that the log was opened with, each with its own pace.
   */
  read(partition: number, from: number, consumer?: string): EntryReader;

  /** Says that the consumer is done with entries below `next`: what all are done with may be removed. */
  commit(partition: number, next: number, consumer?: string): Promise<void>;

  /** Bytes of the entries at and after `next`, roughly: how far a consumer that is there is behind. */
  bytesFrom(partition: number, next: number): number;

  /** The offset that the next entry of the partition will get. */
  nextOffset(partition: number): number;

  /** Whether appends are accepted now, and if not, why (a sentence for `/ready`). */
  status(): { ready: boolean; reason: string; bytes: number };

  /** Resolves as soon as `status().ready`. */
  whenReady(): Promise<void>;

  /** Finishes appends under way, then refuses more. */
  close(): Promise<void>;
}

/** Lines that are to be stored now. */
export interface LineClaim {
  /** For each id 1 when the line is new, 0 when it is stored already or stands earlier among these. */
  readonly isNew: Uint8Array;
  readonly newCount: number;
  /** To be called once, after the entry with the new lines is durable or will never be. */
  end(): void;
}

/** The store's worker, as a consumer of the intake log. */
export const STORE_CONSUMER = "";

/** Consumers beside the store, by name: from which offset of a partition on each wants entries. */
export type Consumers = Readonly<Record<string, (partition: number) => number>>;

export interface EntryReader {
  /** Once `poll` has given null: nothing below this offset is left, be it that it was given or left out. Absent: what was given says it. */
  readonly passed?: number;
  /**
   * The next durable entry, or null when there is none yet (or `close` was called on the log). The bytes of an entry are
   * valid until the next call.
   */
  poll(): Promise<IntakeEntry | null>;
  /** Resolves when `poll` may give an entry, or the log is closed. */
  wait(): Promise<void>;
  close(): Promise<void>;
}
