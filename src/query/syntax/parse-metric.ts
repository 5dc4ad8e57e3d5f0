import { compileRegex } from "../../codec/re2.ts";
import { messageOf } from "../../core/errors.ts";
import { rangeProblem, vectorProblem } from "./aggregation-rules.ts";
import {
  BINARY_OPS,
  type BinaryOp,
  type Expr,
  type Grouping,
  isLog,
  type LogExpr,
  type MetricExpr,
  RANGE_OPS,
  type RangeOp,
  type Stage,
  VECTOR_OPS,
  type VectorMatching,
  type VectorOp,
} from "./ast.ts";
import type { Cursor } from "./cursor.ts";
import { applyOperator, isSetOperator } from "./fold.ts";
import { parseLogRange } from "./parse-range.ts";
import { atStage, numberOf, parseNumber, parseSelectorTokens, parseStage } from "./parse-stages.ts";

const RANGE_BY_TOKEN = new Map<string, RangeOp>(RANGE_OPS.map((op) => [op.toUpperCase(), op]));
const VECTOR_BY_TOKEN = new Map<string, VectorOp>(VECTOR_OPS.map((op) => [op.toUpperCase(), op]));

/** Precedence from loose to tight. Only `^` groups to the right. */
const PRECEDENCE = new Map<string, number>([
  ["or", 1],
  ["and", 2],
  ["unless", 2],
  ["==", 3],
  ["!=", 3],
  ["<", 3],
  ["<=", 3],
  [">", 3],
  [">=", 3],
  ["+", 4],
  ["-", 4],
  ["*", 5],
  ["/", 5],
  ["%", 5],
  ["^", 6],
]);
const OPERATORS: ReadonlySet<string> = new Set(BINARY_OPS);

function isOperator(type: string): type is BinaryOp {
  return OPERATORS.has(type);
}

/**
 * What is wrong with a part although the grammar takes it. Loki reports such a thing only when the whole text has been
 * read, so it is kept beside the tree until then.
 */
export type Problems = Map<MetricExpr, string>;

export class ExprParser {
  private readonly cursor: Cursor;
  readonly problems: Problems = new Map();

  constructor(cursor: Cursor) {
    this.cursor = cursor;
  }

  /** A whole query. */
  query(): Expr {
    const expr = this.expression(0);
    if (!this.cursor.is("$end")) throw this.cursor.unexpected();
    return expr;
  }

  /** Operands and operators that bind tighter than `above`; `first` is an operand that has been read already. */
  private expression(above: number, first: Expr | null = null): Expr {
    return this.cursor.nested(() => {
      let left = first ?? this.primary();
      for (let terms = 1; ; terms++) {
        // A long chain makes a tree that is as deep as one of parentheses.
        this.cursor.checkDepth(terms);
        const op = this.cursor.peek().type;
        const precedence = PRECEDENCE.get(op);
        if (precedence === undefined || precedence <= above || !isOperator(op)) return left;
        this.cursor.next();
        const returnBool = this.cursor.take("bool");
        const matching = this.matching();
        const right = this.expression(op === "^" ? precedence - 1 : precedence);
        left = this.binary(op, returnBool, matching, left, right);
      }
    });
  }

  private primary(): Expr {
    const token = this.cursor.peek();
    const rangeOp = RANGE_BY_TOKEN.get(token.type);
    if (rangeOp !== undefined) return this.rangeAggregation(rangeOp);
    const vectorOp = VECTOR_BY_TOKEN.get(token.type);
    if (vectorOp !== undefined) return this.vectorAggregation(vectorOp);
    switch (token.type) {
      case "{":
        return this.log();
      case "(": {
        this.cursor.next();
        const inner = this.expression(0);
        if (!this.cursor.is(")")) throw this.cursor.unexpected();
        this.cursor.next();
        return inner;
      }
      case "NUMBER":
      case "+":
      case "-":
        return { type: "number", value: parseNumber(this.cursor) };
      case "VECTOR": {
        this.cursor.next();
        this.cursor.expect("(");
        const value = numberOf(this.cursor.expect("NUMBER").text);
        this.cursor.expect(")");
        return { type: "vector", value };
      }
      case "label_replace":
        return this.labelReplace();
      default:
        throw this.cursor.unexpected();
    }
  }

  private log(): LogExpr {
    const matchers = parseSelectorTokens(this.cursor);
    const stages: Stage[] = [];
    while (atStage(this.cursor)) {
      const stage = parseStage(this.cursor, false);
      if (stage !== "unwrap") stages.push(stage);
    }
    return { type: "log", matchers, stages };
  }

  private binary(
    op: BinaryOp,
    returnBool: boolean,
    matching: VectorMatching | null,
    left: Expr,
    right: Expr,
  ): MetricExpr {
    if (isLog(left)) return this.wrongType("left", op, left);
    if (isLog(right)) return this.wrongType("right", op, right);
    if (isSetOperator(op)) {
      if (left.type === "number" && !this.problems.has(left)) return this.wrongLiteral("left", op, left.value);
      if (right.type === "number" && !this.problems.has(right)) return this.wrongLiteral("right", op, right.value);
    }
    if (left.type === "number" && right.type === "number" && !this.problems.has(left) && !this.problems.has(right)) {
      return { type: "number", value: applyOperator(op, left.value, right.value) };
    }
    return { type: "binary", op, returnBool, matching, left, right };
  }

  /** Stands for an expression that is refused once everything has been read. */
  private wrong(problem: string): MetricExpr {
    const expr: MetricExpr = { type: "number", value: Number.NaN };
    this.problems.set(expr, problem);
    return expr;
  }

  private wrongType(side: string, op: BinaryOp, leg: LogExpr): MetricExpr {
    const kind = leg.stages.length === 0 ? "MatchersExpr" : "PipelineExpr";
    return this.wrong(`unexpected type for ${side} leg of binary operation (${op}): *syntax.${kind}`);
  }

  private wrongLiteral(side: string, op: BinaryOp, value: number): MetricExpr {
    return this.wrong(`unexpected literal for ${side} leg of logical/set binary operation (${op}): ${goFixed(value)}`);
  }

  private matching(): VectorMatching | null {
    const { cursor } = this;
    if (!cursor.is("on") && !cursor.is("ignoring")) return null;
    const on = cursor.next().type === "on";
    const labels = this.labelList();
    const { type } = cursor.peek();
    if (type !== "group_left" && type !== "group_right") return { on, labels, group: "", include: [] };
    cursor.next();
    const include = cursor.is("(") ? this.labelList() : [];
    return { on, labels, group: type === "group_left" ? "left" : "right", include };
  }

  private labelList(): string[] {
    const { cursor } = this;
    cursor.expect("(");
    const labels: string[] = [];
    if (!cursor.is("IDENTIFIER")) {
      cursor.expect("IDENTIFIER", ")");
      return labels;
    }
    do labels.push(cursor.identifier());
    while (cursor.expect(",", ")").type === ",");
    return labels;
  }

  private grouping(): Grouping | null {
    if (!this.cursor.is("by") && !this.cursor.is("without")) return null;
    const without = this.cursor.next().type === "without";
    return { without, labels: this.labelList() };
  }

  private vectorAggregation(op: VectorOp): MetricExpr {
    const { cursor } = this;
    cursor.next();
    let grouping = this.grouping();
    if (grouping === null) cursor.expect("(", "by", "without");
    else cursor.expect("(");
    let parameter: string | null = null;
    let inner: Expr | null = null;
    // A number may be the parameter or the beginning of the expression; only the comma tells.
    if (cursor.is("NUMBER")) {
      const number = cursor.next();
      if (cursor.take(",")) parameter = number.text;
      else inner = this.expression(0, { type: "number", value: numberOf(number.text) });
    }
    inner ??= this.expression(0);
    if (isLog(inner) || !cursor.is(")")) throw cursor.unexpected();
    cursor.next();
    grouping ??= this.grouping();
    const k = parameter !== null && /^\d+$/.test(parameter) ? Number(parameter) : null;
    const expr: MetricExpr = { type: "vector_aggregation", op, parameter: k, grouping, inner };
    const problem = vectorProblem(op, parameter, grouping);
    if (problem !== null) this.problems.set(expr, problem);
    return expr;
  }

  private rangeAggregation(op: RangeOp): MetricExpr {
    const { cursor } = this;
    cursor.next();
    cursor.expect("(");
    let parameter: string | null = null;
    if (cursor.is("NUMBER")) {
      parameter = cursor.next().text;
      cursor.expect(",");
      if (!cursor.is("{") && !cursor.is("(")) throw cursor.unexpected(["{", "("]);
    } else if (!cursor.is("{") && !cursor.is("(")) throw cursor.unexpected(["NUMBER", "{", "("]);
    const range = parseLogRange(cursor);
    cursor.expect(")");
    const grouping = this.grouping();
    const quantile = parameter !== null && op === "quantile_over_time" ? numberOf(parameter) : null;
    const expr: MetricExpr = { type: "range_aggregation", op, parameter: quantile, range, grouping };
    const problem = rangeProblem(op, parameter, range, grouping);
    if (problem !== null) this.problems.set(expr, problem);
    return expr;
  }

  private labelReplace(): MetricExpr {
    const { cursor } = this;
    cursor.next();
    cursor.expect("(");
    const inner = this.expression(0);
    if (isLog(inner) || !cursor.is(",")) throw cursor.unexpected();
    const texts: string[] = [];
    for (let i = 0; i < 4; i++) {
      cursor.expect(",");
      texts.push(i === 3 ? cursor.anchoredRegex() : cursor.expect("STRING").text);
    }
    cursor.expect(")");
    const [target = "", replacement = "", source = "", regex = ""] = texts;
    const expr: MetricExpr = { type: "label_replace", inner, target, replacement, source, regex };
    try {
      compileRegex(regex, { anchored: true });
    } catch (error) {
      this.problems.set(expr, `invalid regex in label_replace: ${messageOf(error)}`);
    }
    return expr;
  }
}

/** Go's %f. */
function goFixed(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return Math.abs(value) < 1e21 ? value.toFixed(6) : `${BigInt(value)}.000000`;
}
