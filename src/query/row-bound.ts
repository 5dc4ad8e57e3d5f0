interface Span {
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
  readonly rows: number;
}

/**
 * For a query that takes every line: what is known of the best `limit` lines from the blocks' times and row counts alone,
 * before a block is read. Blocks that hold `limit` rows together, none of them older than t, leave nothing to find in a block that
 * ends before t (and the other way round forward).
 */
export class RowBound {
  private readonly limit: number;
  private readonly backward: boolean;
  private readonly startNs: bigint;
  private readonly endNs: bigint;
  /** The blocks that reach the least far back (forward: ahead), the farthest last. */
  private readonly nearest: Span[] = [];
  private rows = 0;

  constructor(request: { limit: number; backward: boolean; startNs: bigint; endNs: bigint }) {
    this.limit = request.limit;
    this.backward = request.backward;
    this.startNs = request.startNs;
    this.endNs = request.endNs;
  }

  add(span: Span): void {
    // Rows outside of the query's range are no result, and nobody knows yet how many they are.
    if (span.timeMinNs < this.startNs || span.timeMaxNs >= this.endNs) return;
    if (this.rows >= this.limit && !this.isNearer(span, this.nearest[this.nearest.length - 1])) return;
    let at = this.nearest.length;
    while (at > 0 && this.isNearer(span, this.nearest[at - 1])) at--;
    this.nearest.splice(at, 0, span);
    this.rows += span.rows;
    for (
      let last = this.nearest.at(-1);
      last !== undefined && this.rows - last.rows >= this.limit;
      last = this.nearest.at(-1)
    ) {
      this.rows -= last.rows;
      this.nearest.pop();
    }
  }

  /** Whether the block may hold one of the best lines. */
  canHelp(span: Span): boolean {
    const last = this.nearest.at(-1);
    if (last === undefined || this.rows < this.limit) return true;
    // An equal time may win by order of arrival.
    return this.backward ? span.timeMaxNs >= last.timeMinNs : span.timeMinNs <= last.timeMaxNs;
  }

  private isNearer(a: Span, b: Span): boolean {
    return this.backward ? a.timeMinNs > b.timeMinNs : a.timeMaxNs < b.timeMaxNs;
  }
}
