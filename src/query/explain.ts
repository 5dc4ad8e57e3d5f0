import { ColumnFilter } from "./column-filter.ts";
import { compileLog } from "./compile.ts";
import { isHeaderLeaf, needsOfLeaf } from "./metric/leaf-needs.ts";
import { planMetric } from "./metric/plan-metric.ts";
import type { QueryStats } from "./stats.ts";
import { isLog, type LogExpr } from "./syntax/ast.ts";
import { parseQuery } from "./syntax/parse.ts";
import { formatMatchers, formatQuery } from "./syntax/print.ts";

/** What is read for one part of a query: for a log query there is one, for a metric query one for each range aggregation. */
export interface ReadStep {
  /** LogQL; ` into by (…)` where samples are grouped as they are read. */
  readonly expression: string;
  readonly selector: string;
  /** How far into a block one has to look: `headers` (or only the index, where that says all), or `lines`. */
  readonly reads: "headers" | "lines";
  /** Label filters that are tried on the columns of structured metadata before a block is inflated. */
  readonly filters_metadata: boolean;
  /** Each line has one of every list; blocks are searched for the first list. */
  readonly literals: readonly (readonly string[])[];
  /** Names of the labels that are read out of lines; null for all of them. */
  readonly labels: readonly string[] | null;
}

export interface QueryPlan {
  readonly type: "log" | "metric";
  /** The query as it was understood. */
  readonly query: string;
  readonly reads: readonly ReadStep[];
}

/** What will be done for a query. Throws QueryError. */
export function describeQuery(text: string): QueryPlan {
  const expr = parseQuery(text);
  const query = formatQuery(expr);
  if (isLog(expr)) return { type: "log", query, reads: [step(expr, query, "lines", null)] };
  const reads = planMetric(expr).leaves.map((leaf) => {
    const { labels } = needsOfLeaf(leaf);
    const from = isHeaderLeaf(leaf) ? "headers" : "lines";
    return step(leaf.range.log, leaf.text, from, labels === null ? null : [...labels].sort());
  });
  return { type: "metric", query, reads };
}

function step(log: LogExpr, expression: string, reads: ReadStep["reads"], labels: readonly string[] | null): ReadStep {
  const literals = compileLog(log).prefilter?.requiredLiterals ?? [];
  return {
    expression,
    selector: formatMatchers(log.matchers),
    reads,
    filters_metadata: ColumnFilter.of(log) !== null,
    literals: literals.map((group) => group.map((literal) => literal.toString("utf8"))),
    labels,
  };
}

/** What a query cost, in the order in which its tests were made. */
export interface QueryFigures {
  readonly catalog: { readonly parts_read: number; readonly segments_opened: number };
  readonly blocks: {
    readonly seen: number;
    readonly pruned_by_labels: number;
    readonly pruned_by_time: number;
    readonly pruned_by_ids: number;
    /** All of whose lines have expired or were deleted. */
    readonly hidden: number;
    readonly planned: number;
    readonly counted_from_index: number;
    readonly read: number;
    readonly pruned_by_metadata: number;
    /** Read and not inflated, those that metadata pruned included. */
    readonly headers_only: number;
    readonly inflated: number;
    readonly pruned_by_literal: number;
    /** In memory, not compressed. */
    readonly open: number;
  };
  readonly bytes: { readonly read: number; readonly inflated: number };
  readonly lines: { readonly looked_at: number; readonly passed: number };
  /** What other queriers did of all that, and how many of them. */
  readonly peers: {
    readonly queriers: number;
    readonly batches: number;
    readonly blocks_read: number;
    readonly bytes_inflated: number;
  };
  readonly time_ms: { readonly waited: number; readonly ran: number };
}

export function figuresOf(stats: QueryStats): QueryFigures {
  const { plan, stored, open, plannedBlocks, fromIndex, peers, queueMs, execMs } = stats;
  return {
    catalog: { parts_read: plan.parts, segments_opened: plan.segments },
    blocks: {
      seen: plan.blocks,
      pruned_by_labels: plan.pruned.labels,
      pruned_by_time: plan.pruned.time,
      pruned_by_ids: plan.pruned.ids,
      hidden: plan.pruned.hidden,
      planned: plannedBlocks,
      counted_from_index: fromIndex,
      read: stored.blocks,
      pruned_by_metadata: stored.prunedByMetadata,
      headers_only: stored.headersOnly,
      inflated: stored.blocks - stored.headersOnly,
      pruned_by_literal: stored.prunedByLiteral,
      open: open.blocks,
    },
    bytes: { read: stored.readBytes, inflated: stored.textBytes },
    lines: { looked_at: stored.lines + open.lines, passed: stored.matched + open.matched },
    peers: {
      queriers: peers.names.size,
      batches: peers.batches,
      blocks_read: peers.stored.blocks,
      bytes_inflated: peers.stored.textBytes,
    },
    time_ms: { waited: Math.round(queueMs), ran: Math.round(execMs * 10) / 10 },
  };
}
