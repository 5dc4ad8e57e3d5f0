import type { Labels } from "../core/labels.ts";

/**
 * A run of lines of one stream, still open in memory or read from a segment: what a scan looks at. A block that was
 * read has its rows in time order (equal times in arrival order); an open one has them as they arrived.
 */
export interface BlockView {
  readonly tenant: string;
  readonly labels: Labels;
  /** `canonicalLabels(labels)`. */
  readonly canonical: string;
  readonly rows: number;
  /** Times of the rows: seconds since 1970 UTC and nanoseconds below 1e9. At least `rows` long. */
  readonly sec: Float64Array;
  readonly nsec: Uint32Array;
  /** Whether rows are in time order. */
  readonly sorted: boolean;
  /** Bytes of `text`. Known without inflating. */
  readonly textBytes: number;
  /** Whether some line holds a newline, so that newlines do not count rows. */
  readonly hasNewlines: boolean;
  /** All lines, each followed by one LF. A read block inflates and checks itself at the first use, and throws `block_corrupt`. */
  readonly text: Buffer;
  /** Line `row` is text[lineStarts[row], lineStarts[row + 1] - 1). `rows + 1` values; computed at the first use. */
  readonly lineStarts: Uint32Array;
  /** Structured metadata of a row, in no particular order. May inflate: an id may stand in the line only. */
  metadata(row: number): (readonly [name: string, value: string])[];
  /**
   * The rows whose id in `slot` (TRACE_ID, REQUEST_ID, … of core/line.ts) ends in the bytes `low8` (8 bytes for all
   * slots: the low half of a 16-byte id). May inflate.
   */
  rowsWithId(slot: number, low8: Uint8Array): number[];
}

/** What the catalog says of a committed segment. */
export interface SegmentInfo {
  readonly key: string;
  readonly bytes: number;
  readonly tenant: string;
  readonly partition: number;
  /** First intake offset covered. Segments of a partition in this order hold lines in arrival order. */
  readonly firstOffset: number;
  readonly nextOffset: number;
  /** Nanoseconds since 1970, both inclusive. */
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
  readonly lines: number;
  readonly textBytes: number;
  readonly streams: number;
}

/** A block's place and worth, from a segment's index. */
export interface BlockInfo {
  /** Place in `SegmentIndex.streams`. */
  readonly stream: number;
  /** Bytes from the start of the object, and of the whole gzip member. */
  readonly offset: number;
  readonly length: number;
  readonly rows: number;
  readonly textBytes: number;
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
}

/** What a segment says of itself: its streams and blocks, in the order in which they stand. */
export interface SegmentIndex {
  readonly streams: readonly { readonly labels: Labels; readonly canonical: string }[];
  readonly blocks: readonly BlockInfo[];
  /** False when the block certainly has no id in `slot` that ends in `low8`. */
  mayHoldId(block: number, slot: number, low8: Uint8Array): boolean;
}

/** A block that is compressed but whose segment is not committed yet. */
export interface PendingBlock {
  readonly labels: Labels;
  readonly canonical: string;
  readonly info: BlockInfo;
  /** The whole gzip member. */
  readonly bytes: Buffer;
  mayHoldId(slot: number, low8: Uint8Array): boolean;
}

/**
 * Everything a query may read, taken in one tick: each acknowledged and processed line is in exactly one of the
 * three parts, and nothing changes while the query holds the snapshot.
 * Order of arrival: segments by (partition, firstOffset), then `pending`, then `open`.
 */
export interface StoreSnapshot {
  readonly segments: readonly SegmentInfo[];
  readonly pending: readonly PendingBlock[];
  readonly open: readonly BlockView[];
}
