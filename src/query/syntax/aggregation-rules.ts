import type { Grouping, LogRange, RangeOp, VectorOp } from "./ast.ts";

/** The greatest number that Go's `int` holds. */
const INT_MAX = 2n ** 63n - 1n;

/** What is wrong with the parameter or grouping of a vector aggregation, in Loki's words, or null. */
export function vectorProblem(op: VectorOp, parameter: string | null, grouping: Grouping | null): string | null {
  if (op !== "topk" && op !== "bottomk" && op !== "approx_topk") {
    return parameter === null ? null : `unsupported parameter for operation ${op}(${parameter},`;
  }
  if (parameter === null) return `parameter required for operation ${op}`;
  if (!/^\d+$/.test(parameter) || BigInt(parameter) > INT_MAX) return `invalid parameter ${op}(${parameter},`;
  if (Number(parameter) <= 0) return `invalid parameter (must be greater than 0) ${op}(${parameter}`;
  return op === "approx_topk" && grouping !== null ? `grouping not allowed for ${op} aggregation` : null;
}

const MAY_GROUP: ReadonlySet<RangeOp> = new Set<RangeOp>([
  "avg_over_time",
  "min_over_time",
  "max_over_time",
  "stddev_over_time",
  "stdvar_over_time",
  "quantile_over_time",
  "first_over_time",
  "last_over_time",
]);
const MAY_LACK_UNWRAP: ReadonlySet<RangeOp> = new Set<RangeOp>([
  "count_over_time",
  "rate",
  "bytes_over_time",
  "bytes_rate",
  "absent_over_time",
]);
const NEVER_UNWRAP: ReadonlySet<RangeOp> = new Set<RangeOp>(["count_over_time", "bytes_over_time", "bytes_rate"]);

/** What is wrong with the parameter, grouping or `unwrap` of a range aggregation, in Loki's words, or null. */
export function rangeProblem(
  op: RangeOp,
  parameter: string | null,
  range: LogRange,
  grouping: Grouping | null,
): string | null {
  if (parameter !== null && op !== "quantile_over_time") {
    return `parameter ${parameter} not supported for operation ${op}`;
  }
  if (parameter === null && op === "quantile_over_time") return `parameter required for operation ${op}`;
  if (grouping !== null && !MAY_GROUP.has(op)) return `grouping not allowed for ${op} aggregation`;
  if (range.unwrap !== null) return NEVER_UNWRAP.has(op) ? `invalid aggregation ${op} with unwrap` : null;
  return MAY_LACK_UNWRAP.has(op) ? null : `invalid aggregation ${op} without unwrap`;
}
