import type { Labels } from "../../core/labels.ts";
import type { BlockView, SegmentInfo } from "../view.ts";

/*
 * What compaction leaves out: lines of deletion requests and lines past their retention. The store knows neither; whoever
 * runs compaction hands both in as functions. A removal has an id, under which is counted what it took.
 */

/** What is to be left out of one stream. Times are nanoseconds since 1970, both inclusive. */
export interface StreamFilter {
  /**
   * What goes of a block with these times: null for nothing (its bytes are copied), all of it, on the account of a
   * removal, or "rows": ask for each row.
   */
  block(timeMinNs: bigint, timeMaxNs: bigint): null | "rows" | { readonly all: string };
  /** A test of a block's rows: the id of the removal that takes the row, or null for one that stays. May inflate. */
  rows(view: BlockView): (row: number) => string | null;
}

/** What is to be left out of a stream; null for nothing. Asked once for a stream and compaction. */
export type RowFilter = (tenant: string, labels: Labels, canonical: string) => StreamFilter | null;

/** What one removal took. */
export interface Removed {
  lines: number;
  /** Bytes of the lines, each with its LF. */
  bytes: number;
}

/** What removals took, by their ids. */
export type RemovedBy = ReadonlyMap<string, Removed>;

/** What becomes of a segment for the removals' sake, by what the catalog says of it alone. */
export type Verdict = "keep" | "check" | { readonly all: string };

/** The removals of one pass of compaction. Nothing in it changes during the pass. */
export interface Removals {
  /**
   * "keep": certainly no line goes. "check": some may; the segment is read, and written anew if some do. `all`: every
   * line goes, on the account of a removal; the segment is not even read.
   */
  judge(segment: SegmentInfo): Verdict;
  readonly filter: RowFilter;
}

/** What a pass of compaction tells whoever handed in the removals. */
export interface RemovalPass extends Removals {
  /** A segment that was to be checked holds nothing that goes; it stays as it is. */
  kept(segment: SegmentInfo): void;
  /** The catalog has `outputs` in place of `inputs`, without what was removed. */
  replaced(
    inputs: readonly SegmentInfo[],
    outputs: readonly SegmentInfo[],
    removed: RemovedBy,
    segments?: number,
  ): Promise<void>;
  /** The pass is over. `complete`: every segment that was to be looked at was kept or replaced. */
  end(complete: boolean): Promise<void>;
}

/** Where the removals come from. */
export interface RemovalSource {
  /** What the pass that begins now removes; asked before the catalog is looked at. */
  begin(): Promise<RemovalPass>;
  /** Counts what a pass has removed. */
  count(removed: RemovedBy): void;
  /** Whether something waits that no pass has taken on yet, so that the next one had better. */
  isDue?(): boolean;
}

export const NO_REMOVALS: RemovalPass = {
  judge: () => "keep",
  filter: () => null,
  kept: () => {},
  replaced: async () => {},
  end: async () => {},
};

/** Adds up what removals take. */
export class RemovedCounts {
  readonly byId = new Map<string, Removed>();

  add(id: string, lines: number, bytes: number): void {
    const known = this.byId.get(id);
    if (known === undefined) this.byId.set(id, { lines, bytes });
    else {
      known.lines += lines;
      known.bytes += bytes;
    }
  }
}
