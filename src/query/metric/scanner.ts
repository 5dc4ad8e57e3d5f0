import type { Labels } from "../../core/labels.ts";
import type { BlockView } from "../../store/view.ts";
import { RowHider } from "../deletes-hide.ts";
import { type BatchBlock, emptyStats, ScanControl, type ScanJob, type ScanStats } from "../scan-job.ts";
import { isLog } from "../syntax/ast.ts";
import { QueryError } from "../syntax/errors.ts";
import { parseQuery } from "../syntax/parse.ts";
import { cellBuffers, type PackedCells } from "./cells.ts";
import { LeafScan, type MetricBlock } from "./leaf-scan.ts";
import { planMetric } from "./plan-metric.ts";
import type { EvalTimes } from "./windows.ts";

/** Rows of one step of a sliced scan, as for log queries. */
const SLICE_ROWS = 128;

type TimeSpan = Pick<BatchBlock, "timeMinNs" | "timeMaxNs">;

/** What the scan of some blocks gives: the partial results of each leaf, or the error that ends the query. */
export interface MetricPartial {
  readonly leaves: readonly (PackedCells | null)[];
  readonly error: string | null;
}

/** The buffers of a partial result, for the transfer list of `postMessage`. */
export function partialBuffers({ leaves }: MetricPartial): ArrayBuffer[] {
  return leaves.flatMap((cells) => (cells === null ? [] : cellBuffers(cells)));
}

/** Runs all range aggregations of a metric query over blocks: a block is read and inflated once for all of them. */
export class MetricScanner {
  private readonly leaves: readonly LeafScan[];
  private readonly control: ScanControl;
  /** Shared with the leaves, which count into it. */
  private readonly stats: ScanStats = emptyStats();
  /** Which leaves select a stream, by its canonical labels. */
  private readonly selected = new Map<string, readonly LeafScan[]>();

  /** Throws QueryError when the query can't be run. */
  constructor(job: ScanJob, times: EvalTimes) {
    const expr = parseQuery(job.query);
    if (isLog(expr)) throw new QueryError("a log query has no samples");
    const hider = new RowHider();
    this.control = new ScanControl(job.control, job.backward);
    this.leaves = planMetric(expr).leaves.map((leaf) => new LeafScan(leaf, times, this.stats, hider));
  }

  /** Whether the headers of blocks are all that is needed of them, hidden lines aside. */
  get headersOnly(): boolean {
    return this.leaves.every((leaf) => leaf.headersOnly);
  }

  /** Bytes of text that it has read since the last `take`. */
  get textBytes(): number {
    return this.stats.textBytes;
  }

  get stopped(): boolean {
    return this.control.stopped || this.leaves.some(({ error }) => error !== null);
  }

  /** Which leaves want something of a block of the stream with these times. */
  wanting(canonical: string, labels: Labels, { timeMinNs, timeMaxNs }: TimeSpan): LeafScan[] {
    let selected = this.selected.get(canonical);
    if (selected === undefined) {
      selected = this.leaves.filter((leaf) => leaf.matches(labels));
      this.selected.set(canonical, selected);
    }
    return selected.filter(({ windows }) => windows.overlaps(timeMinNs, timeMaxNs));
  }

  /** Every block is wanted while the query goes on. */
  wantsBlock(): boolean {
    return !this.stopped;
  }

  /** Looks at a block. Throws what reading it throws; what was found before stays. */
  scanBlock(view: BlockView, block: MetricBlock): void {
    const { stats } = this;
    stats.blocks++;
    stats.lines += view.rows;
    for (const leaf of this.wanting(view.canonical, view.labels, block)) leaf.scan(view, block, 0, view.rows);
    if (view.inflated) stats.textBytes += view.textBytes;
    else stats.headersOnly++;
  }

  /** Looks at an open block from row `done` until about `deadline`. Gives how many rows have been looked at then. */
  scanSlice(view: BlockView, block: MetricBlock, done: number, deadline: number): number {
    if (done === 0) {
      this.stats.blocks++;
      this.stats.lines += view.rows;
      this.stats.textBytes += view.textBytes;
    }
    const leaves = this.wanting(view.canonical, view.labels, block);
    while (done < view.rows && !this.stopped) {
      const to = Math.min(view.rows, done + SLICE_ROWS);
      for (const leaf of leaves) leaf.scan(view, block, done, to);
      done = to;
      if (performance.now() >= deadline) break;
    }
    return this.stopped ? view.rows : done;
  }

  /** What was found since the last call. */
  take(): { entries: null; partial: MetricPartial; stats: ScanStats } {
    const stats = { ...this.stats };
    Object.assign(this.stats, emptyStats());
    const failed = this.leaves.find(({ error }) => error !== null);
    const partial = { leaves: this.leaves.map((leaf) => leaf.take()), error: failed?.error ?? null };
    return { entries: null, partial, stats };
  }
}
