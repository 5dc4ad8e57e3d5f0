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

  /** Durable entries from offset `from` on, in order; only one reader a partition. */
  read(partition: number, from: number): EntryReader;

  /** Says that entries below `next` are in the store: what holds only such entries may be removed. */
  commit(partition: number, next: number): Promise<void>;

  /** The offset that the next entry of the partition will get. */
  nextOffset(partition: number): number;

  /** Whether appends are accepted now, and if not, why (a sentence for `/ready`). */
  status(): { ready: boolean; reason: string; bytes: number };

  /** Resolves as soon as `status().ready`. */
  whenReady(): Promise<void>;

  /** Finishes appends under way, then refuses more. */
  close(): Promise<void>;
}

export interface EntryReader {
  /** The next durable entry, or null when there is none yet (or `close` was called on the log). */
  poll(): Promise<IntakeEntry | null>;
  /** Resolves when `poll` may give an entry, or the log is closed. */
  wait(): Promise<void>;
  close(): Promise<void>;
}
