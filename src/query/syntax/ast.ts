/*
 * A parsed query. Everything is plain data: it can be cloned, compared and sent to a worker.
 */

export type Expr = LogExpr | MetricExpr;

export type MatchOp = "=" | "!=" | "=~" | "!~";
export interface Matcher {
  readonly name: string;
  readonly op: MatchOp;
  readonly value: string;
}

export interface LogExpr {
  readonly type: "log";
  readonly matchers: readonly Matcher[];
  readonly stages: readonly Stage[];
}

export type LineFilterOp = "|=" | "!=" | "|~" | "!~" | "|>" | "!>";
export interface LineFilterOperand {
  readonly text: string;
  /** `ip("...")` rather than a string. */
  readonly ip: boolean;
}

export interface Extraction {
  readonly name: string;
  /** A JSON path or a logfmt key. */
  readonly path: string;
}

/** `a=b` (rename, `from`) or `a="{{.b}}"` (`template`). */
export type LabelFormat =
  | { readonly name: string; readonly from: string }
  | { readonly name: string; readonly template: string };

export type Stage =
  | { readonly type: "line_filter"; readonly op: LineFilterOp; readonly operands: readonly LineFilterOperand[] }
  | { readonly type: "json"; readonly extractions: readonly Extraction[] | null }
  | {
      readonly type: "logfmt";
      readonly strict: boolean;
      readonly keepEmpty: boolean;
      readonly extractions: readonly Extraction[] | null;
    }
  | { readonly type: "regexp"; readonly pattern: string }
  | { readonly type: "pattern"; readonly pattern: string }
  | { readonly type: "unpack" }
  | { readonly type: "label_filter"; readonly filter: LabelFilter }
  | { readonly type: "line_format"; readonly template: string }
  | { readonly type: "label_format"; readonly formats: readonly LabelFormat[] }
  | { readonly type: "decolorize" }
  | { readonly type: "drop"; readonly items: readonly (string | Matcher)[] }
  | { readonly type: "keep"; readonly items: readonly (string | Matcher)[] };

export type StageOf<T extends Stage["type"]> = Extract<Stage, { type: T }>;

export type CompareOp = "==" | "!=" | ">" | ">=" | "<" | "<=";
export type LabelFilter =
  | { readonly type: "string"; readonly matcher: Matcher }
  | { readonly type: "number"; readonly name: string; readonly op: CompareOp; readonly value: number }
  | { readonly type: "duration"; readonly name: string; readonly op: CompareOp; readonly ns: number }
  | { readonly type: "bytes"; readonly name: string; readonly op: CompareOp; readonly bytes: number }
  | { readonly type: "ip"; readonly name: string; readonly op: "=" | "!="; readonly pattern: string }
  | { readonly type: "and"; readonly left: LabelFilter; readonly right: LabelFilter }
  | { readonly type: "or"; readonly left: LabelFilter; readonly right: LabelFilter };

export interface Grouping {
  readonly without: boolean;
  readonly labels: readonly string[];
}

export interface Unwrap {
  readonly label: string;
  readonly conversion: "" | "bytes" | "duration" | "duration_seconds";
  readonly filters: readonly LabelFilter[];
}

/** What a range aggregation reads. Durations in nanoseconds. */
export interface LogRange {
  readonly log: LogExpr;
  readonly unwrap: Unwrap | null;
  readonly rangeNs: number;
  readonly offsetNs: number;
}

export const RANGE_OPS = [
  "count_over_time",
  "rate",
  "rate_counter",
  "bytes_over_time",
  "bytes_rate",
  "avg_over_time",
  "sum_over_time",
  "min_over_time",
  "max_over_time",
  "stdvar_over_time",
  "stddev_over_time",
  "quantile_over_time",
  "first_over_time",
  "last_over_time",
  "absent_over_time",
] as const;
export type RangeOp = (typeof RANGE_OPS)[number];

export const VECTOR_OPS = [
  "sum",
  "avg",
  "count",
  "max",
  "min",
  "stddev",
  "stdvar",
  "bottomk",
  "topk",
  "sort",
  "sort_desc",
  "approx_topk",
] as const;
export type VectorOp = (typeof VECTOR_OPS)[number];

export const BINARY_OPS = [
  "or",
  "and",
  "unless",
  "==",
  "!=",
  "<",
  "<=",
  ">",
  ">=",
  "+",
  "-",
  "*",
  "/",
  "%",
  "^",
] as const;
export type BinaryOp = (typeof BINARY_OPS)[number];

/** `on (labels)` or `ignoring (labels)`, with `group_left (include)` or `group_right (include)`. */
export interface VectorMatching {
  readonly on: boolean;
  readonly labels: readonly string[];
  readonly group: "" | "left" | "right";
  readonly include: readonly string[];
}

export type MetricExpr =
  | {
      readonly type: "range_aggregation";
      readonly op: RangeOp;
      /** The quantile; null for the others. */
      readonly parameter: number | null;
      readonly range: LogRange;
      readonly grouping: Grouping | null;
    }
  | {
      readonly type: "vector_aggregation";
      readonly op: VectorOp;
      /** The k of topk and its kin; null for the others. */
      readonly parameter: number | null;
      /** Null where none was written, which means the same as `by ()`. */
      readonly grouping: Grouping | null;
      readonly inner: MetricExpr;
    }
  | {
      readonly type: "binary";
      readonly op: BinaryOp;
      readonly returnBool: boolean;
      /** Null where neither `on` nor `ignoring` was written. */
      readonly matching: VectorMatching | null;
      readonly left: MetricExpr;
      readonly right: MetricExpr;
    }
  | { readonly type: "number"; readonly value: number }
  | { readonly type: "vector"; readonly value: number }
  | {
      readonly type: "label_replace";
      readonly inner: MetricExpr;
      readonly target: string;
      readonly replacement: string;
      readonly source: string;
      readonly regex: string;
    };

export type MetricOf<T extends MetricExpr["type"]> = Extract<MetricExpr, { type: T }>;

export function isLog(expr: Expr): expr is LogExpr {
  return expr.type === "log";
}
