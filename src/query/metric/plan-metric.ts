import { ERROR_LABEL } from "../stages/entry.ts";
import type { BinaryOp, Grouping, LogRange, MetricExpr, MetricOf, RangeOp, VectorMatching } from "../syntax/ast.ts";
import { formatQuery } from "../syntax/print.ts";

/** One range aggregation of a query, with as much of what stands around it as can be done where blocks are read. */
export interface Leaf {
  readonly op: RangeOp;
  /** The quantile. */
  readonly parameter: number | null;
  readonly range: LogRange;
  /** Which labels tell series apart; null for all of them. */
  readonly grouping: Grouping | null;
  /** LogQL that means the same as this leaf. */
  readonly text: string;
}

/** What is done with the leaves, step by step, on the main thread. */
export type MetricNode =
  | { readonly type: "leaf"; readonly leaf: number }
  | { readonly type: "number"; readonly value: number }
  | { readonly type: "vector"; readonly value: number }
  | { readonly type: "aggregate"; readonly expr: MetricOf<"vector_aggregation">; readonly inner: MetricNode }
  | { readonly type: "label_replace"; readonly expr: MetricOf<"label_replace">; readonly inner: MetricNode }
  | {
      readonly type: "binary";
      readonly op: BinaryOp;
      readonly returnBool: boolean;
      readonly matching: VectorMatching | null;
      readonly left: MetricNode;
      readonly right: MetricNode;
    };

export interface MetricPlan {
  readonly leaves: readonly Leaf[];
  readonly root: MetricNode;
}

/**
 * Takes a metric query apart: range aggregations, each once however often it is written, and what is computed from them.
 * Gives the same for the same query in every thread.
 */
export function planMetric(expr: MetricExpr): MetricPlan {
  const leaves: Leaf[] = [];
  const byText = new Map<string, number>();
  const leaf = (range: MetricOf<"range_aggregation">, outer: Grouping | null): MetricNode => {
    const made = makeLeaf(range, outer);
    let place = byText.get(made.text);
    if (place === undefined) {
      place = leaves.length;
      byText.set(made.text, place);
      leaves.push(made);
    }
    return { type: "leaf", leaf: place };
  };
  const node = (at: MetricExpr): MetricNode => {
    switch (at.type) {
      case "number":
      case "vector":
        return at;
      case "range_aggregation":
        return leaf(at, null);
      case "vector_aggregation":
        if (at.inner.type === "range_aggregation" && isPushable(at, at.inner)) {
          return leaf(at.inner, at.grouping ?? { without: false, labels: [] });
        }
        return { type: "aggregate", expr: at, inner: node(at.inner) };
      case "label_replace":
        return { type: "label_replace", expr: at, inner: node(at.inner) };
      case "binary": {
        const { op, returnBool, matching } = at;
        return { type: "binary", op, returnBool, matching, left: node(at.left), right: node(at.right) };
      }
    }
  };
  const root = node(expr);
  return { leaves, root };
}

function makeLeaf(expr: MetricOf<"range_aggregation">, outer: Grouping | null): Leaf {
  const { op, parameter, range } = expr;
  // One value whatever the series: that anything matched.
  const grouping = op === "absent_over_time" ? { without: false, labels: [] } : (outer ?? expr.grouping);
  const text = outer === null ? formatQuery(expr) : `${formatQuery(expr)} into ${groupingText(outer)}`;
  return { op, parameter, range, grouping, text };
}

function groupingText({ without, labels }: Grouping): string {
  return `${without ? "without" : "by"} (${labels.join(",")})`;
}

/**
 * Whether grouping samples before the range aggregation gives what aggregating its series after it gives: sums of sums,
 * the greatest of the greatest. Loki does it for `sum` alone, which shows: there the label that becomes the value can be grouped by,
 * and `__error__` asked for. Under `min` and `max` neither is there any more.
 */
function isPushable({ op, grouping }: MetricOf<"vector_aggregation">, inner: MetricOf<"range_aggregation">): boolean {
  if (inner.grouping !== null) return false;
  const isShown = grouping?.labels.some((name) => name === ERROR_LABEL || name === inner.range.unwrap?.label) === true;
  switch (inner.op) {
    case "count_over_time":
    case "rate":
    case "bytes_over_time":
    case "bytes_rate":
    case "sum_over_time":
      return op === "sum";
    case "min_over_time":
      return op === "min" && !isShown;
    case "max_over_time":
      return op === "max" && !isShown;
    default:
      return false;
  }
}

/** Whether samples with errors are wanted rather than a reason to fail: the grouping names the label itself. */
export function wantsErrors({ grouping }: Leaf): boolean {
  return grouping?.labels.includes(ERROR_LABEL) ?? false;
}
