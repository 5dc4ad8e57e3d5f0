import type { Labels } from "../../core/labels.ts";
import { Slices } from "../../core/slices.ts";
import { QueryError } from "../syntax/errors.ts";
import { AbsentSteps, absentLabels } from "./absent.ts";
import { AggregateSteps, SelectSteps } from "./aggregate.ts";
import { combine, LiteralSteps } from "./binary.ts";
import type { CellTable } from "./cells.ts";
import { LabelReplaceSteps } from "./label-replace.ts";
import { LeafSteps, type StepVector, type VectorSource } from "./leaf-steps.ts";
import { seriesCut, seriesLimit } from "./pass.ts";
import type { Leaf, MetricNode, MetricPlan } from "./plan-metric.ts";
import { compareLabels } from "./series-table.ts";
import { type EvalTimes, INSTANT_STEP_NS, pointCount, Windows } from "./windows.ts";

/** One series of a result: its value at the points of the query's times where it has one. */
export interface MetricSeries {
  readonly labels: Labels;
  /** Point i is at `startNs + i * stepNs`. Ascending. */
  readonly points: readonly number[];
  readonly values: readonly number[];
}

export interface EvalLimits {
  readonly maxSeries: number;
  /** Cut the result to `maxSeries` and say so, rather than fail. */
  readonly cutSeries: boolean;
  readonly signal: AbortSignal;
}

export interface Evaluated {
  /** Sorted by labels, unless the query asks for another order. */
  readonly series: readonly MetricSeries[];
  readonly warnings: readonly string[];
}

/**
 * Computes a query's result from the partial results of its leaves, point after point.
 * Throws QueryError for too many series, `query_vector_matching` for vectors that don't fit together.
 */
export async function evaluate(
  { root, leaves }: MetricPlan,
  times: EvalTimes,
  tables: readonly CellTable[],
  limits: EvalLimits,
): Promise<Evaluated> {
  const { maxSeries, cutSeries, signal } = limits;
  const points = pointCount(times);
  const sources = leaves.map((leaf, i) => leafSource(leaf, times, tables[i]));
  const source = root.type === "number" ? constant(root.value) : sourceOf(root, sources);
  const found = new Map<number, { labels: Labels; points: number[]; values: number[] }>();
  let isCut = false;
  const slices = new Slices();
  await source.prepare(slices);
  signal.throwIfAborted();
  for (let point = 0; point < points; point++) {
    const { ids, values } = source.step(point);
    for (let i = 0; i < ids.length; i++) {
      let series = found.get(ids[i]);
      if (series === undefined) {
        if (found.size >= maxSeries) {
          if (!cutSeries) throw seriesLimit(maxSeries);
          isCut = true;
          continue;
        }
        series = { labels: source.labels[ids[i]], points: [], values: [] };
        found.set(ids[i], series);
      } else if (series.points.at(-1) === point) {
        throw new QueryError("vector cannot contain metrics with the same labelset");
      }
      series.points.push(point);
      series.values.push(values[i]);
    }
    await slices.turn();
    signal.throwIfAborted();
  }
  const series = [...found.values()];
  // A range may have one point as well, and has its series in order of labels all the same.
  const isInstant = points === 1 && times.stepNs === INSTANT_STEP_NS;
  if (!isInstant || !isSorted(root)) series.sort((a, b) => compareLabels(a.labels, b.labels));
  return { series, warnings: isCut ? [seriesCut(maxSeries)] : [] };
}

/** Whether the query itself says in which order its series come. */
function isSorted(root: MetricNode): boolean {
  return root.type === "aggregate" && (root.expr.op === "sort" || root.expr.op === "sort_desc");
}

function leafSource(leaf: Leaf, times: EvalTimes, table: CellTable): VectorSource {
  const steps = new LeafSteps(leaf, new Windows(times, leaf.range.rangeNs, leaf.range.offsetNs), table);
  return leaf.op === "absent_over_time" ? new AbsentSteps(steps, absentLabels(leaf.range.log.matchers)) : steps;
}

function sourceOf(node: Exclude<MetricNode, { type: "number" }>, leaves: readonly VectorSource[]): VectorSource {
  switch (node.type) {
    case "leaf":
      return leaves[node.leaf];
    case "vector":
      return constant(node.value);
    case "aggregate": {
      const inner = operand(node.inner, leaves);
      return SELECTS.has(node.expr.op) ? new SelectSteps(node.expr, inner) : new AggregateSteps(node.expr, inner);
    }
    case "label_replace":
      return new LabelReplaceSteps(node.expr, operand(node.inner, leaves));
    case "binary": {
      const { left, right } = node;
      if (left.type === "number") return new LiteralSteps(node, operand(right, leaves), left.value, true);
      if (right.type === "number") return new LiteralSteps(node, operand(left, leaves), right.value, false);
      return combine(node, sourceOf(left, leaves), sourceOf(right, leaves));
    }
  }
}

/** The parser lets a number stand where a vector is wanted; it then counts as one sample without labels. */
function operand(node: MetricNode, leaves: readonly VectorSource[]): VectorSource {
  return node.type === "number" ? constant(node.value) : sourceOf(node, leaves);
}

const SELECTS: ReadonlySet<string> = new Set(["topk", "bottomk", "approx_topk", "sort", "sort_desc"]);

/** One sample without labels at every point. */
function constant(value: number): VectorSource {
  const vector: StepVector = { ids: [0], values: [value] };
  return { labels: [{}], prepare: async () => undefined, step: () => vector };
}
