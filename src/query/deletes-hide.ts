import type { Labels } from "../core/labels.ts";
import { splitNs } from "../core/time.ts";
import type { BlockView } from "../store/view.ts";
import { CompiledDeletes, type DeleteFilter } from "./deletes.ts";

/*
 * What a query must not see: lines that are past their retention, and lines of deletion requests that compaction has yet
 * to remove. The plan says for each block what of it may be hidden (`HiddenLines`), which for nearly all blocks is
 * nothing or everything; only the others carry a `BlockHide`, and where they are scanned it becomes a test of rows (`RowHider`).
 */

/** What is hidden from one tenant's queries, as it was when the query began. */
export interface HiddenScope {
  /** Lines before have expired, whatever their stream; null when some stream is kept for ever. */
  readonly floorNs: bigint | null;
  /** Lines of the stream before have expired; null when it is kept for ever. Never below `floorNs`. */
  cutoffNs(canonical: string, labels: Labels): bigint | null;
  /** Deletion requests that are not done yet. */
  readonly deletes: readonly DeleteFilter[];
}

/** What may be hidden of one block. Plain data, so that it can be posted to a thread. */
export interface BlockHide {
  /** Lines before are hidden; null for none. */
  readonly fromNs: bigint | null;
  /** Requests that select the block's stream and overlap its time. */
  readonly deletes: readonly DeleteFilter[];
}

interface StreamHide {
  readonly cutoffNs: bigint | null;
  readonly deletes: readonly DeleteFilter[];
}

/**
 * A query's view of what is hidden. Nothing of a block may be counted from its header alone unless `blockHide` gives null.
 */
export class HiddenLines {
  private readonly scope: HiddenScope;
  private readonly compiled = new CompiledDeletes();
  private readonly streams = new Map<string, StreamHide>();

  constructor(scope: HiddenScope) {
    this.scope = scope;
  }

  /** Whether everything up to `timeMaxNs` has expired, whatever its stream. */
  isPast(timeMaxNs: bigint): boolean {
    const { floorNs } = this.scope;
    return floorNs !== null && timeMaxNs < floorNs;
  }

  /** Whether all lines of the stream up to `timeMaxNs` have expired. */
  isExpired(canonical: string, labels: Labels, timeMaxNs: bigint): boolean {
    const { cutoffNs } = this.stream(canonical, labels);
    return cutoffNs !== null && timeMaxNs < cutoffNs;
  }

  /** What may be hidden of a block of the stream with these times (inclusive): null for nothing, "all" for every line. */
  blockHide(canonical: string, labels: Labels, timeMinNs: bigint, timeMaxNs: bigint): BlockHide | null | "all" {
    const { cutoffNs, deletes } = this.stream(canonical, labels);
    if (cutoffNs !== null && timeMaxNs < cutoffNs) return "all";
    const fromNs = cutoffNs !== null && timeMinNs < cutoffNs ? cutoffNs : null;
    if (deletes.length === 0) return fromNs === null ? null : { fromNs, deletes };
    const touching = deletes.filter(({ startNs, endNs }) => startNs <= timeMaxNs && endNs >= timeMinNs);
    if (touching.some((filter) => this.takesAll(filter, fromNs ?? timeMinNs, timeMaxNs))) return "all";
    return fromNs === null && touching.length === 0 ? null : { fromNs, deletes: touching };
  }

  /**
   * Between which times (inclusive) of a block something may be seen, and about how large a part of its lines, taken to be spread
   * evenly over its time. Requests that choose lines by their text hide nothing here: what they choose is not known without reading.
   */
  visiblePart(
    { fromNs, deletes }: BlockHide,
    timeMinNs: bigint,
    timeMaxNs: bigint,
  ): { readonly timeMinNs: bigint; readonly timeMaxNs: bigint; readonly part: number } {
    const hidden = deletes
      .filter(({ query }) => !this.compiled.query(query).hasFilter)
      .map(({ startNs, endNs }) => ({ startNs, endNs }));
    if (fromNs !== null) hidden.push({ startNs: timeMinNs, endNs: fromNs - 1n });
    hidden.sort((a, b) => (a.startNs < b.startNs ? -1 : a.startNs > b.startNs ? 1 : 0));
    let [first, last]: (bigint | null)[] = [null, null];
    let seenNs = 0n;
    const see = (startNs: bigint, endNs: bigint) => {
      if (endNs < startNs) return;
      first ??= startNs;
      last = endNs;
      seenNs += endNs - startNs + 1n;
    };
    let at = timeMinNs;
    for (const { startNs, endNs } of hidden) {
      see(at, startNs - 1n < timeMaxNs ? startNs - 1n : timeMaxNs);
      if (endNs >= at) at = endNs + 1n;
    }
    see(at, timeMaxNs);
    const part = Number(seenNs) / Number(timeMaxNs - timeMinNs + 1n);
    return { timeMinNs: first ?? timeMinNs, timeMaxNs: last ?? timeMinNs, part };
  }

  private takesAll({ query, startNs, endNs }: DeleteFilter, timeMinNs: bigint, timeMaxNs: bigint): boolean {
    return startNs <= timeMinNs && endNs >= timeMaxNs && !this.compiled.query(query).hasFilter;
  }

  private stream(canonical: string, labels: Labels): StreamHide {
    let known = this.streams.get(canonical);
    if (known === undefined) {
      const { scope, compiled } = this;
      known = {
        cutoffNs: scope.cutoffNs(canonical, labels),
        deletes: scope.deletes.filter(({ query }) => compiled.query(query).matchesStream(labels)),
      };
      this.streams.set(canonical, known);
    }
    return known;
  }
}

/** Tests rows of blocks where they are scanned. One for each scan: it is no use to two at a time. */
export class RowHider {
  private readonly compiled = new CompiledDeletes();

  /** A test of the block's rows, true for those that must not be seen. May inflate when it is asked. */
  open(view: BlockView, { fromNs, deletes }: BlockHide): (row: number) => boolean {
    const tests = deletes.map((filter) => this.compiled.rowTest(filter));
    const from = fromNs === null ? null : splitNs(fromNs);
    return (row) => {
      if (from !== null) {
        const sec = view.sec[row];
        if (sec < from.sec || (sec === from.sec && view.nsec[row] < from.nsec)) return true;
      }
      for (const test of tests) if (test(view, row)) return true;
      return false;
    };
  }
}
