import { describe, expect, test } from "vitest";
import { type BlockedQuery, blockedQuery, checkBlocked, fnv1 } from "../../src/query/blocked.ts";
import { queryLimits, queryOptions } from "../../src/query/options.ts";

const isBlocked = (query: string, ...rules: Record<string, unknown>[]): boolean => {
  const parsed: BlockedQuery[] = rules.map((rule) => blockedQuery.parse(rule));
  try {
    checkBlocked(parsed, query);
    return false;
  } catch (error) {
    expect(error).toMatchObject({ message: "query blocked by policy", status: 400, code: "bad_query" });
    return true;
  }
};

const METRIC = 'sum(rate({app="a"} |= "x" [1m]))';
const FILTER = '{app="a"} | json | level="x"';
const LIMITED = '{app="a"} | json';

describe("blocked queries", () => {
  test.each([
    { name: "the whole text", rule: { pattern: METRIC }, hits: [METRIC], misses: [FILTER, `${METRIC} + 1`] },
    { name: "space around it does not count", rule: { pattern: ` ${METRIC}\n` }, hits: [`\t${METRIC} `], misses: [] },
    { name: "no pattern means any", rule: {}, hits: [METRIC, FILTER, LIMITED], misses: [] },
    { name: "a text is no pattern", rule: { pattern: ".*" }, hits: [], misses: [METRIC] },
    { name: "a pattern, anywhere", rule: { pattern: "rate\\(", regex: true }, hits: [METRIC], misses: [FILTER] },
    { name: "a pattern that is the text", rule: { pattern: METRIC, regex: true }, hits: [METRIC], misses: [] },
    { name: "a hash", rule: { hash: fnv1(FILTER), pattern: METRIC }, hits: [FILTER], misses: [METRIC, ` ${FILTER}`] },
    { name: "numbers", rule: { types: ["metric"] }, hits: [METRIC, "1+1"], misses: [FILTER, LIMITED] },
    { name: "two kinds, in one text", rule: { types: "filter,limited" }, hits: [FILTER, LIMITED], misses: [METRIC] },
    { name: "lines with a filter", rule: { types: ["filter"] }, hits: [FILTER, '{app="a"} != "x"'], misses: [LIMITED] },
    { name: "lines without", rule: { types: ["limited"] }, hits: [LIMITED, '{app="a"}'], misses: [FILTER] },
    { name: "text and kind", rule: { pattern: METRIC, types: ["limited"] }, hits: [], misses: [METRIC] },
  ])("$name", ({ rule, hits, misses }) => {
    expect(hits.filter((query) => !isBlocked(query, rule))).toEqual([]);
    expect(misses.filter((query) => isBlocked(query, rule))).toEqual([]);
  });

  test("each of several rules counts", () => {
    expect(isBlocked(FILTER, { hash: 1 }, { types: ["metric"] }, { pattern: FILTER })).toBe(true);
    expect(isBlocked(LIMITED, { hash: 1 }, { types: ["metric"] }, { pattern: FILTER })).toBe(false);
    expect(isBlocked(LIMITED)).toBe(false);
  });

  // Test vectors of FNV-1, 32 bits.
  test.each([
    { text: "", hash: 0x811c9dc5 },
    { text: "a", hash: 0x050c5d7e },
    { text: "foobar", hash: 0x31f0b262 },
  ])("the hash of $text", ({ text, hash }) => {
    expect(fnv1(text)).toBe(hash);
  });

  test.each([
    { pattern: "(", regex: true },
    { types: ["other"] },
    { types: "metric, filter" },
    { hash: -1 },
    { hash: 2 ** 32 },
  ])("a rule such as %j is refused", (rule) => {
    expect(blockedQuery.safeParse(rule).success).toBe(false);
    expect(queryOptions.safeParse({ overrides: { t: { blocked_queries: [rule] } } }).success).toBe(false);
  });

  test("a tenant's own rules take the place of those of all", () => {
    const options = queryOptions.parse({
      blocked_queries: [{ types: ["metric"] }],
      overrides: { own: { blocked_queries: [] }, same: { max_query_series: 1 } },
    });
    expect(queryLimits(options, "own").blocked_queries).toEqual([]);
    expect(queryLimits(options, "same").blocked_queries).toHaveLength(1);
    expect(queryLimits(options, "other").blocked_queries).toHaveLength(1);
  });
});
