import type { Expr, Grouping, LogExpr, LogRange, MetricExpr, MetricOf, Unwrap } from "./ast.ts";
import { INPUT_MAX } from "./parse.ts";
import {
  formatConversion,
  formatFilter,
  formatMatchers,
  formatNumber,
  formatOperator,
  formatQuery,
  formatStage,
} from "./print.ts";
import { quote } from "./strings.ts";
import { formatGoDuration, formatPromDuration } from "./units.ts";

/** What is longer, in bytes, is broken over lines, as Loki's `format_query` does. */
const LINE_MAX = 100;
const INDENT = "  ";

/**
 * A query laid out to be read: on one line while it is short; else each stage, each operand and each argument on a line of its
 * own. Parsing it gives an equal tree. Loki leaves out the parentheses of an operand that it breaks; here they stay.
 */
export function prettyQuery(expr: Expr): string {
  const pretty = new Layout().query(expr, 0);
  // What is nested very deep is mostly indentation by now, and more than is read again.
  return Buffer.byteLength(pretty) < INPUT_MAX ? pretty : formatQuery(expr);
}

class Layout {
  /** Whether an expression fits on a line. Kept, since each one around it asks again. */
  private readonly known = new Map<Expr, boolean>();

  query(expr: Expr, level: number): string {
    if (expr.type === "log") return this.log(expr, level);
    const indent = INDENT.repeat(level);
    if (this.fits(expr)) return indent + formatQuery(expr);
    switch (expr.type) {
      case "number":
      case "vector":
        return indent + formatQuery(expr);
      case "range_aggregation": {
        const parameters = expr.parameter === null ? [] : [inner(level, formatNumber(expr.parameter))];
        return called(level, expr.op, "", [...parameters, this.range(expr.range, level + 1)]) + grouped(expr.grouping);
      }
      case "vector_aggregation": {
        const parameters = expr.parameter === null ? [] : [inner(level, String(expr.parameter))];
        return called(level, expr.op, grouped(expr.grouping), [...parameters, this.query(expr.inner, level + 1)]);
      }
      case "label_replace": {
        const texts = [expr.target, expr.replacement, expr.source, expr.regex].map((text) => inner(level, quote(text)));
        return called(level, "label_replace", "", [this.query(expr.inner, level + 1), ...texts]);
      }
      case "binary":
        return this.binary(expr, level);
    }
  }

  private binary(expr: MetricOf<"binary">, level: number): string {
    const operand = (side: MetricExpr) => {
      if (side.type !== "binary" || this.fits(side)) return this.query(side, level + 1);
      return `${inner(level, "(")}\n${this.binary(side, level + 1)}\n${inner(level, ")")}`;
    };
    return `${operand(expr.left)}\n${INDENT.repeat(level)}${formatOperator(expr)}\n${operand(expr.right)}`;
  }

  private log(log: LogExpr, level: number): string {
    const indent = INDENT.repeat(level);
    if (this.fits(log)) return indent + formatQuery(log);
    return [indent + formatMatchers(log.matchers), ...log.stages.map((stage) => inner(level, formatStage(stage)))].join(
      "\n",
    );
  }

  private range({ log, unwrap, rangeNs, offsetNs }: LogRange, level: number): string {
    const unwrapped = unwrap === null ? "" : unwrapLines(unwrap, level);
    return `${this.log(log, level)}${unwrapped} [${formatPromDuration(rangeNs)}]${offsetText(offsetNs)}`;
  }

  private fits(expr: Expr): boolean {
    const known = this.known.get(expr);
    if (known !== undefined) return known;
    // The text of what is around something long is not even made.
    const fits = childrenOf(expr).every((child) => this.fits(child)) && isShort(formatQuery(expr));
    this.known.set(expr, fits);
    return fits;
  }
}

function isShort(text: string): boolean {
  return Buffer.byteLength(text) <= LINE_MAX;
}

function childrenOf(expr: Expr): readonly Expr[] {
  switch (expr.type) {
    case "log":
    case "number":
    case "vector":
      return [];
    case "range_aggregation":
      return [expr.range.log];
    case "vector_aggregation":
    case "label_replace":
      return [expr.inner];
    case "binary":
      return [expr.left, expr.right];
  }
}

/** A text one level further in. */
function inner(level: number, text: string): string {
  return INDENT.repeat(level + 1) + text;
}

function called(level: number, name: string, grouping: string, args: readonly string[]): string {
  const indent = INDENT.repeat(level);
  return `${indent}${name}${grouping}(\n${args.join(",\n")}\n${indent})`;
}

function grouped(grouping: Grouping | null): string {
  if (grouping === null) return "";
  return ` ${grouping.without ? "without" : "by"} (${grouping.labels.join(", ")})`;
}

function unwrapLines(unwrap: Unwrap, level: number): string {
  const lines = [
    `| unwrap ${formatConversion(unwrap)}`,
    ...unwrap.filters.map((filter) => `| ${formatFilter(filter)}`),
  ];
  return lines.map((line) => `\n${inner(level, line)}`).join("");
}

/** Prometheus' form where it says all of it. */
function offsetText(ns: number): string {
  if (ns === 0) return "";
  return ` offset ${ns % 1e6 === 0 ? formatPromDuration(ns) : formatGoDuration(ns)}`;
}
