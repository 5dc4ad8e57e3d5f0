/** What kind of bytes an intake entry holds. The number is what stands on disk. */
export const ENTRY_FORWARD = 1;
export const ENTRY_PUSH = 2;
export type EntryKind = typeof ENTRY_FORWARD | typeof ENTRY_PUSH;

/** What a receiver hands to the intake log. The intake owns `payload` from then on. */
export interface EntryDraft {
  readonly kind: EntryKind;
  readonly tenant: string;
  /** Name of the receiver in the pipeline file; pipelines choose by it. At most 255 bytes of UTF-8. */
  readonly source: string;
  /** Milliseconds since 1970 UTC. */
  readonly receivedMs: number;
  /**
   * For ENTRY_FORWARD one whole message of the forward protocol as received: [tag, entries, options]. For ENTRY_PUSH the
   * accepted lines of a pushed body (codec/push-batch.ts).
   */
  readonly payload: Buffer;
  /** Whether nobody else uses the memory that `payload` lies in, so that it can be handed to another thread. Absent: nobody knows. */
  readonly isAlone?: boolean;
  /** What makes a repeat recognisable: tag and chunk id of a forward message. Absent: never a repeat. */
  readonly dedupeKey?: string;
  /** What the entry's partition is chosen by: a text for each source of logs. Not written to the log. */
  readonly origin?: string;
  /**
   * Says that the part of `dedupeKey` before its first zero byte names a lane: a series of entries, one after the other, of
   * which only the last may ever come again. That one's key is remembered for good, however many other keys come after it.
   */
  readonly hasLane?: boolean;
  /**
   * 16 bytes for each line of an ENTRY_PUSH, in their order, which make a repeat of a single line recognisable. Written to
   * the log, and not given back with an entry. Never together with `dedupeKey`.
   */
  readonly lineIds?: Buffer;
  /**
   * The entries of a compressed message, already inflated by the receiver. Kept in memory with the entry so that
   * nobody inflates twice; not written to the log, so absent on an entry that was read back from disk.
   */
  readonly inflated?: Buffer;
}

/** An entry with its place in a partition. Offsets count entries: 0, 1, 2, … without a gap. */
export interface IntakeEntry extends EntryDraft {
  readonly offset: number;
}
