import { WeirError } from "../../core/errors.ts";
import { compareKeys, type PackedEntries } from "../entries.ts";
import type { PackedCells } from "../metric/cells.ts";
import { kindOf } from "../metric/kinds.ts";
import { type Leaf, planMetric } from "../metric/plan-metric.ts";
import type { MetricPartial } from "../metric/scanner.ts";
import { Windows } from "../metric/windows.ts";
import type { BatchBlock, BatchResult, ScanJob } from "../scan-job.ts";
import { isLog } from "../syntax/ast.ts";
import { parseQuery } from "../syntax/parse.ts";

/** What a leaf of a metric query can give. */
interface LeafShape {
  readonly kind: ReturnType<typeof kindOf>;
  readonly intervals: number;
}

/**
 * Whether what another querier has sent can be the result of a batch: what is merged without looking must not be able to
 * do harm. One for each query.
 */
export class ResultFits {
  private readonly job: ScanJob;
  private readonly leaves: readonly LeafShape[] | null;

  constructor(job: ScanJob) {
    this.job = job;
    this.leaves = job.evaluate === undefined ? null : leavesOf(job.query).map((leaf) => shapeOf(leaf, job.evaluate));
  }

  /** Throws `bad_scan_result`. */
  check({ entries, partial, lost }: BatchResult, blocks: readonly BatchBlock[]): void {
    const orders = new Set(blocks.map(({ order }) => order));
    if (lost.some(({ order }) => !orders.has(order))) throw bad("a block was lost that was not asked for");
    if ((partial !== null) !== (this.leaves !== null) || (entries !== null && partial !== null)) {
      throw bad("lines for a metric query, or numbers for a log query");
    }
    if (entries !== null) this.checkEntries(entries, orders);
    if (partial !== null && this.leaves !== null) checkPartial(partial, this.leaves, orders);
  }

  private checkEntries(entries: PackedEntries, orders: ReadonlySet<number>): void {
    const { limit, backward } = this.job;
    const { count, sec, nsec, block, row } = entries;
    if (count > limit) throw bad(`${count} lines, which are more than ${limit}`);
    const keyAt = (i: number) => ({ sec: sec[i], nsec: nsec[i], block: block[i], row: row[i] });
    for (let i = 0; i < count; i++) {
      if (!orders.has(block[i])) throw bad("lines of a block that was not asked for");
      if (!Number.isSafeInteger(sec[i]) || nsec[i] >= 1e9) throw bad(`a line at ${sec[i]} s and ${nsec[i]} ns`);
      if (i === 0) continue;
      const by = compareKeys(keyAt(i - 1), keyAt(i));
      if (backward ? by <= 0 : by >= 0) throw bad("lines that are not in order");
    }
  }
}

function checkPartial(
  { leaves, error }: MetricPartial,
  shapes: readonly LeafShape[],
  orders: ReadonlySet<number>,
): void {
  // The scan ended where the error was found; what it has beside it is thrown away.
  if (error !== null) return;
  if (leaves.length !== shapes.length) throw bad(`${leaves.length} leaves, where the query has ${shapes.length}`);
  for (const [i, cells] of leaves.entries()) if (cells !== null) checkCells(cells, shapes[i], orders);
}

function checkCells(
  { series, interval, states, kept }: PackedCells,
  { kind, intervals }: LeafShape,
  orders: ReadonlySet<number>,
): void {
  if (states.length !== series.length * kind.size) throw bad(`${states.length} numbers for ${series.length} cells`);
  for (const place of interval)
    if (place >= intervals) throw bad(`an interval of ${place}, where there are ${intervals}`);
  if ((kept !== null) !== (kind.keeps !== "nothing")) throw bad("samples where none are kept, or none where they are");
  if (kept === null || kind.keeps !== "timed") return;
  if (kept.sec.length !== kept.cell.length) throw bad("samples without their times");
  for (const order of kept.order) if (!orders.has(order)) throw bad("samples of a block that was not asked for");
}

function leavesOf(query: string): readonly Leaf[] {
  const expr = parseQuery(query);
  return isLog(expr) ? [] : planMetric(expr).leaves;
}

function shapeOf({ op, range }: Leaf, times: ScanJob["evaluate"]): LeafShape {
  const kind = kindOf(op);
  return { kind, intervals: times === undefined ? 0 : new Windows(times, range.rangeNs, range.offsetNs).intervals };
}

function bad(what: string): WeirError {
  return new WeirError("bad_scan_result", `result of a scan: ${what}`, { retriable: true });
}
