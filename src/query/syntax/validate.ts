import { compileRegex } from "../../codec/re2.ts";
import { type Expr, isLog, type Matcher, type MetricExpr } from "./ast.ts";
import { parseError } from "./errors.ts";
import type { Problems } from "./parse-metric.ts";

const EMPTY_COMPATIBLE =
  "queries require at least one regexp or equality matcher that does not have an empty-compatible value. " +
  'For instance, app=~".*" does not meet this requirement, but app=~".+" will';

/** Checks beyond the grammar, from the outside in, in the order in which Loki meets them. Throws QueryError. */
export function validate(expr: Expr, problems: Problems): void {
  if (isLog(expr)) {
    validateMatchers(expr.matchers);
    return;
  }
  const problem = problems.get(expr);
  if (problem !== undefined) throw parseError(problem);
  switch (expr.type) {
    case "number":
    case "vector":
      return;
    case "range_aggregation":
      validateMatchers(expr.range.log.matchers);
      return;
    case "vector_aggregation":
      if ((expr.op === "sort" || expr.op === "sort_desc") && (expr.grouping?.labels.length ?? 0) > 0) {
        throw parseError("sort and sort_desc doesn't allow grouping by ");
      }
      validate(expr.inner, problems);
      return;
    case "label_replace":
      validate(expr.inner, problems);
      return;
    case "binary":
      validate(expr.left, problems);
      validate(expr.right, problems);
  }
}

/** A selector must name something: at least one matcher that an absent label does not satisfy. */
export function validateMatchers(matchers: readonly Matcher[]): void {
  if (!matchers.some((matcher) => !matchesEmpty(matcher))) throw parseError(EMPTY_COMPATIBLE);
}

function matchesEmpty({ op, value }: Matcher): boolean {
  switch (op) {
    case "=":
      return value === "";
    case "!=":
      return value !== "";
    case "=~":
      return compileRegex(value, { anchored: true, dotAll: true }).test("");
    case "!~":
      return !compileRegex(value, { anchored: true, dotAll: true }).test("");
  }
}

/**
 * Loki's parser takes an aggregation over a bare number (`sum(1)`, `sum(vector(1))`), its HTTP API refuses it with the text
 * for empty-compatible selectors. Call this for queries that come in over HTTP. Throws QueryError.
 */
export function validateForApi(expr: Expr): void {
  if (isLog(expr)) return;
  switch (expr.type) {
    case "binary":
      validateForApi(expr.left);
      validateForApi(expr.right);
      return;
    case "vector_aggregation":
    case "label_replace":
      if (!readsLogs(expr.inner)) throw parseError(EMPTY_COMPATIBLE);
      validateForApi(expr.inner);
      return;
    default:
      return;
  }
}

/** Whether the leftmost leaf is a log selector, which is the one that Loki looks at. */
function readsLogs(expr: MetricExpr): boolean {
  switch (expr.type) {
    case "range_aggregation":
      return true;
    case "number":
    case "vector":
      return false;
    case "binary":
      return readsLogs(expr.left);
    default:
      return readsLogs(expr.inner);
  }
}
