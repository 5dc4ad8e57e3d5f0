import { z } from "zod";
import { compileRegex } from "../codec/re2.ts";
import { messageOf } from "../core/errors.ts";
import { type Expr, isLog } from "./syntax/ast.ts";
import { QueryError } from "./syntax/errors.ts";
import { parseQuery } from "./syntax/parse.ts";

/*
 * Queries that the operator does not want to be run. Names and meaning are those of Loki's `blocked_queries`, except that each entry is
 * looked at: in Loki none counts behind one with a hash that is another query's.
 */

/** Kinds of queries, in Loki's words: numbers, lines that were chosen by what they hold, and all lines of streams. */
const TYPES = ["metric", "filter", "limited"] as const;
const TYPE_LIST = /^(?:metric|filter|limited)(?:,(?:metric|filter|limited))*$/;

export const blockedQuery = z
  .strictObject({
    pattern: z.string().default("").describe("The query's whole text. Empty, and without a hash: any query."),
    regex: z.boolean().default(false).describe("Whether the pattern is an RE2 pattern, found anywhere in the text."),
    hash: z
      .int()
      .min(0)
      .max(0xffff_ffff)
      .default(0)
      .describe(
        "FNV-1 hash of the query's text, 32 bits, which Loki has in its logs. Goes before the pattern; 0 is none.",
      ),
    types: z
      .union([
        z.array(z.enum(TYPES)),
        z.string().regex(TYPE_LIST, "want metric, filter or limited, with commas between"),
      ])
      .default([])
      .describe(
        "Only queries of these kinds: `metric`, `filter` (lines, with a filter of lines or labels), `limited` (lines without). All kinds by default.",
      ),
  })
  .superRefine(({ pattern, regex }, context) => {
    if (!regex) return;
    try {
      compileRegex(pattern);
    } catch (error) {
      context.addIssue({ code: "custom", path: ["pattern"], message: messageOf(error) });
    }
  });
export type BlockedQuery = z.output<typeof blockedQuery>;

/** Throws QueryError, with Loki's text, for a query that one of the rules is about. */
export function checkBlocked(rules: readonly BlockedQuery[], query: string): void {
  if (rules.some((rule) => isAbout(rule, query))) throw new BlockedError();
}

export class BlockedError extends QueryError {
  constructor() {
    super("query blocked by policy");
  }
}

function isAbout({ pattern, regex, hash, types }: BlockedQuery, query: string): boolean {
  if (!hasText(query, { pattern, regex, hash })) return false;
  const wanted = typeof types === "string" ? types.split(",") : types;
  return wanted.length === 0 || wanted.includes(typeOf(parseQuery(query)));
}

function hasText(query: string, { pattern, regex, hash }: Omit<BlockedQuery, "types">): boolean {
  if (hash > 0) return hash === fnv1(query);
  if (pattern === "" || pattern.trim() === query.trim()) return true;
  return regex && compileRegex(pattern).test(query);
}

function typeOf(expr: Expr): (typeof TYPES)[number] {
  if (!isLog(expr)) return "metric";
  return expr.stages.some(({ type }) => type === "line_filter" || type === "label_filter") ? "filter" : "limited";
}

/** FNV-1 with 32 bits, of the text's UTF-8. */
export function fnv1(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = (Math.imul(hash, 0x01000193) ^ byte) >>> 0;
  return hash;
}
