import type { Labels } from "../core/labels.ts";
import type { MetadataCodes } from "./metadata-codes.ts";
import type { TimesWalk } from "./times.ts";

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
  /** The times of a sorted block as something to count rows with; null where only `sec` and `nsec` will do. */
  walkTimes(): TimesWalk | null;
  /** Bytes of `text`. Known without inflating. */
  readonly textBytes: number;
  /** Bytes of the rows' metadata, names and values: of an open block. Null for one that was read, of which the index says it. */
  readonly metadataBytes: number | null;
  /** Whether some line holds a newline, so that newlines do not count rows. */
  readonly hasNewlines: boolean;
  /** All lines, each followed by one LF. A read block inflates and checks itself at the first use, and throws `block_corrupt`. */
  readonly text: Buffer;
  /** Whether `text` is there already, so that asking for it costs nothing. */
  readonly inflated: boolean;
  /** Line `row` is text[lineStarts[row], lineStarts[row + 1] - 1). `rows + 1` values; computed at the first use. */
  readonly lineStarts: Uint32Array;
  /** Structured metadata of a row, in no particular order. May inflate: an id may stand in the line only. */
  metadata(row: number): (readonly [name: string, value: string])[];
  /**
   * The metadata of all rows by code, of the `names` given (null: of all). Never inflates: null where it would have to, because ids
   * are among the names.
   */
  metadataCodes(names: ReadonlySet<string> | null): MetadataCodes | null;
  /**
   * The rows with an id in `slot` (TRACE_ID, REQUEST_ID, … of core/line.ts) that ends in the bytes `low8` (8 bytes for all
   * slots: the low half of a 16-byte id). Further trace ids (`trace_id_alt`) count too. May inflate.
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
  /** How many compactions its lines went through; 0: as a writer flushed it. */
  readonly level: number;
  /** Which labels its streams may have (label-filter.ts); null: nothing is known. */
  readonly labelFilter: Uint8Array | null;
}

/** A label that a wanted stream has, with one of these values. "" stands for a stream that lacks the label. */
export interface LabelValues {
  readonly name: string;
  readonly values: readonly string[];
}

export interface SegmentQuery {
  readonly tenant: string;
  /** Segments that reach into [startNs, endNs). */
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** All have to hold. Segments that certainly have no such stream are left out. */
  readonly labels?: readonly LabelValues[];
}

/** Some of the segments that a query asks for, together: a page of the catalog, which may have to be read first. */
export interface SegmentPart {
  /** What to call it in a warning. */
  readonly key: string;
  /** No segment of it reaches further than these. */
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
  /** Lines of all its segments, those that the query does not ask for as well. */
  readonly lines: number;
  /**
   * The segments, in no particular order. Rejects with `object_missing`, `catalog_corrupt` or the object store's error. Calls
   * at the same time share one reading.
   */
  load(): Promise<readonly SegmentInfo[]>;
}

/** The committed segments at one moment: each line is in exactly one of them. Never changes. */
export interface SegmentView {
  /** Partitions of the intake log that segments are of, ascending. */
  readonly partitions: readonly number[];
  /** Tenants that have segments, sorted. */
  readonly tenants: readonly string[];
  /** The parts that hold the segments asked for. Reads nothing yet. */
  parts(query: SegmentQuery): readonly SegmentPart[];
  /** The segments asked for, in no particular order; reads all parts. Without `onLost` it rejects as they do. */
  segments(query: SegmentQuery, onLost?: (part: SegmentPart, error: unknown) => void): Promise<SegmentInfo[]>;
  /**
   * Whether the store has changed since so that objects that the view names may have been deleted: asked after `object_missing`,
   * and if so, the query is to begin again with a new view. Reads the catalog anew.
   */
  isOutdated(): Promise<boolean>;
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
  /** Bytes of its lines' metadata, names and values; 0 also where that is not known, because an older Weir wrote it. */
  readonly metadataBytes: number;
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
  readonly tenant: string;
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
  readonly segments: SegmentView;
  readonly pending: readonly PendingBlock[];
  readonly open: readonly BlockView[];
  /** Sentences about lines that could not be looked at just now. */
  readonly missing?: readonly string[];
}
