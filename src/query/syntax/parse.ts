import { type Expr, isLog, type LogExpr, type Matcher } from "./ast.ts";
import { Cursor, Spent } from "./cursor.ts";
import { parseError, QueryError } from "./errors.ts";
import { ExprParser } from "./parse-metric.ts";
import { parseSelectorTokens } from "./parse-stages.ts";
import { validate } from "./validate.ts";

/** A query of this many bytes of UTF-8 is refused. */
export const INPUT_MAX = 131_072;

/** Parses and validates a LogQL query. Throws QueryError with Loki's text. */
export function parseQuery(text: string): Expr {
  checkSize(text);
  return parseWithin(text, new Spent());
}

function parseWithin(text: string, spent: Spent): Expr {
  const cursor = new Cursor(text, spent);
  const parser = new ExprParser(cursor);
  const expr = cursor.checked(() => parser.query());
  validate(expr, parser.problems);
  return expr;
}

/** Parses a query that must be a log query, for live tail and the like. */
export function parseLogQuery(text: string): LogExpr {
  const expr = parseQuery(text);
  if (!isLog(expr)) throw new QueryError("only log selector is supported");
  return expr;
}

/**
 * Parses a plain stream selector, as the label and series endpoints take it. Throws QueryError, with
 * `only label matchers are supported` when there is more than matchers.
 */
export function parseSelector(text: string): readonly Matcher[] {
  return parseSelectors([text])[0];
}

/** The selectors of one request, which together may be as large as a query: each by itself would be a thousand times a query's work. */
export function parseSelectors(texts: readonly string[]): (readonly Matcher[])[] {
  checkSize(...texts);
  const spent = new Spent();
  return texts.map((text) => matchersOf(parseWithin(text, spent)));
}

function matchersOf(expr: Expr): readonly Matcher[] {
  if (!isLog(expr) || expr.stages.length > 0) throw new QueryError("only label matchers are supported");
  return expr.matchers;
}

/** A selector that may match everything: `{}` is allowed here, as for volume. Throws QueryError. */
export function parseAnySelector(text: string): readonly Matcher[] {
  checkSize(text);
  const cursor = new Cursor(text);
  const matchers = cursor.checked(() => parseSelectorTokens(cursor));
  if (!cursor.is("$end")) throw new QueryError("only label matchers are supported");
  return matchers;
}

function checkSize(...texts: readonly string[]): void {
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes >= INPUT_MAX) throw parseError(`input size too long (${bytes} > ${INPUT_MAX})`);
}
