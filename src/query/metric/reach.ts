import { parseDurationMs } from "../../core/time.ts";
import type { LabelValues } from "../../store/view.ts";
import { compileLog } from "../compile.ts";
import { labelValues } from "../label-values.ts";
import type { MetricExpr } from "../syntax/ast.ts";
import { QueryError } from "../syntax/errors.ts";
import { formatMatchers } from "../syntax/print.ts";
import { formatPromDuration } from "../syntax/units.ts";
import { CellTable } from "./cells.ts";
import { kindOf } from "./kinds.ts";
import { type MetricPlan, planMetric } from "./plan-metric.ts";
import { compileUnwrap } from "./unwrap.ts";
import { type EvalTimes, Windows } from "./windows.ts";

/** Throws QueryError for a stage that can't be built, whether or not it would be needed for the result. */
export function checkMetric(expr: MetricExpr): void {
  for (const { range } of planMetric(expr).leaves) {
    const { entry } = compileLog(range.log);
    if (range.unwrap !== null) compileUnwrap(range.unwrap, entry);
  }
}

/** Refuses ranges longer than `max_query_range`, which `maxText` is as configured; "0s" is no limit. */
export function checkRanges({ leaves }: MetricPlan, maxText: string): void {
  const maxNs = parseDurationMs(maxText) * 1e6;
  for (const { range } of leaves) {
    if (maxNs === 0 || range.rangeNs <= maxNs) continue;
    throw new QueryError(`[interval] value exceeds limit: [${formatPromDuration(range.rangeNs)}] > [${maxText}]`);
  }
}

/** The times of all lines that some window holds: `startNs` up to, not including, `endNs`; null for none. */
export function reachOf({ leaves }: MetricPlan, times: EvalTimes): { startNs: bigint; endNs: bigint } | null {
  const spans = leaves
    .map(({ range }) => new Windows(times, range.rangeNs, range.offsetNs))
    .filter(({ firstNs, lastNs }) => firstNs <= lastNs);
  if (spans.length === 0) return null;
  let { firstNs, lastNs } = spans[0];
  for (const span of spans) {
    if (span.firstNs < firstNs) firstNs = span.firstNs;
    if (span.lastNs > lastNs) lastNs = span.lastNs;
  }
  return { startNs: firstNs, endNs: lastNs + 1n };
}

/** What the selectors ask of labels' values, as far as all leaves ask the same. */
export function leafLabels({ leaves }: MetricPlan): readonly LabelValues[] {
  const selectors = new Map(leaves.map(({ range }) => [formatMatchers(range.log.matchers), range.log.matchers]));
  const [only] = selectors.values();
  return selectors.size === 1 && only !== undefined ? labelValues(only) : [];
}

/** What there is when no window holds anything. */
export function emptyTables({ leaves }: MetricPlan): CellTable[] {
  return leaves.map(({ op }) => new CellTable(kindOf(op)));
}
