import type { Expr, MetricExpr } from "./syntax/ast.ts";
import { applyOperator, isSetOperator } from "./syntax/fold.ts";

/** A result without a log line behind it: a bare number, or one sample with no labels. */
export interface ScalarResult {
  readonly type: "scalar" | "vector";
  /** Null for a vector that came out empty, as `vector(4) > vector(5)` does. */
  readonly value: number | null;
}

/**
 * The value of an expression of numbers and `vector(n)` only, such as Grafana's health check `vector(1)+vector(1)`.
 * Null for one that reads logs or aggregates.
 */
export function evaluateScalar(expr: Expr): ScalarResult | null {
  if (expr.type === "log") return null;
  return evaluate(expr);
}

function evaluate(expr: MetricExpr): ScalarResult | null {
  switch (expr.type) {
    case "number":
      return { type: "scalar", value: expr.value };
    case "vector":
      return { type: "vector", value: expr.value };
    case "binary":
      break;
    default:
      return null;
  }
  const left = evaluate(expr.left);
  const right = evaluate(expr.right);
  if (left === null || right === null) return null;
  const type = left.type === "vector" || right.type === "vector" ? "vector" : "scalar";
  if (isSetOperator(expr.op)) {
    // Both samples have no labels, so they always match.
    if (expr.op === "or") return { type, value: left.value ?? right.value };
    const keep = (expr.op === "and") === (right.value !== null);
    return { type, value: keep ? left.value : null };
  }
  if (left.value === null || right.value === null) return { type, value: null };
  const value = applyOperator(expr.op, left.value, right.value);
  const isFilter = /^[=!<>]/.test(expr.op) && !expr.returnBool && type === "vector";
  if (!isFilter) return { type, value };
  // A comparison filters; what passes keeps the vector's value, the left one's when both are.
  if (value === 0) return { type, value: null };
  return { type, value: left.type === "vector" ? left.value : right.value };
}
