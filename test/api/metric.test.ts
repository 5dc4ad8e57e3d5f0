import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SECOND } from "../query/run/harness.ts";
import { makeApi, queryString, type TestApi } from "./harness.ts";

const INSTANT = "/loki/api/v1/query";
const RANGE = "/loki/api/v1/query_range";
/** 1,699,999,980 s is a whole minute. */
const MINUTE = 1_699_999_980;

interface Data {
  readonly resultType: string;
  readonly result: unknown;
  readonly stats: { readonly summary: Record<string, number> };
}

function dataOf(text: string): Data {
  return (JSON.parse(text) as { data: Data }).data;
}

describe("metric queries over HTTP", () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await makeApi({ query: { max_query_series: 20 } });
    for (let i = 0; i < 180; i++) {
      api.append({
        labels: { app: i % 3 === 0 ? "db" : "web" },
        ns: BigInt(MINUTE + i) * SECOND + 500_000_000n,
        text: i % 2 === 0 ? `level=info took=${i}ms` : `oops ${i}`,
        metadata: { detected_level: i % 5 === 0 ? "error" : "info" },
      });
    }
    await api.flush();
  });
  afterAll(() => api.close());

  test("query gives a vector sorted by labels", async () => {
    const time = String(MINUTE + 60);
    const answer = await api.get(
      INSTANT + queryString({ query: 'sum by (app) (count_over_time({app=~".+"}[1m]))', time }),
    );
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    expect(answer.text.endsWith("}\n")).toBe(true);
    expect(dataOf(answer.text)).toMatchObject({
      resultType: "vector",
      result: [
        { metric: { app: "db" }, value: [MINUTE + 60, "20"] },
        { metric: { app: "web" }, value: [MINUTE + 60, "40"] },
      ],
    });
  });

  test("query keeps the order of sort", async () => {
    const query = 'sort_desc(sum by (app) (count_over_time({app=~".+"}[1m])))';
    const answer = await api.post(INSTANT, { query, time: String(MINUTE + 60) });
    expect((dataOf(answer.text).result as { metric: unknown }[]).map(({ metric }) => metric)).toEqual([
      { app: "web" },
      { app: "db" },
    ]);
  });

  test("query_range gives a matrix at multiples of the step around the range", async () => {
    const params = { query: 'sum(count_over_time({app="db"}[1m]))', step: "60" };
    const answer = await api.get(
      RANGE + queryString({ ...params, start: String(MINUTE + 65), end: String(MINUTE + 185) }),
    );
    expect(dataOf(answer.text)).toMatchObject({
      resultType: "matrix",
      result: [
        {
          metric: {},
          values: [
            [MINUTE + 60, "20"],
            [MINUTE + 120, "20"],
            [MINUTE + 180, "20"],
          ],
        },
      ],
    });
  });

  test("query_range takes a step of its own making without one", async () => {
    const params = { query: 'sum(rate({app="db"}[1m]))', start: String(MINUTE), end: String(MINUTE + 250 * 7) };
    const { result } = dataOf((await api.get(RANGE + queryString(params))).text);
    const [{ values }] = result as { values: [number, string][] }[];
    expect(values[1][0] - values[0][0]).toBe(7);
    expect(values.every(([time]) => time % 7 === 0)).toBe(true);
  });

  test("Explore's volume histogram works over lines of any kind, and Drilldown's panels do", async () => {
    for (const query of [
      'sum by (level, detected_level) (count_over_time({app=~".+"} | logfmt | drop __error__[1m]))',
      'sum by (level) (count_over_time({app=~".+"}[60s]))',
      'sum(count_over_time({app="web"} | detected_level != "" [1m])) by (detected_level)',
      'sum by (level) (count_over_time({app="web"} | json | logfmt | drop __error__, __error_details__ | level!="" [1m]))',
      'avg_over_time({app="web"} | logfmt | unwrap duration(took) | __error__="" [1m]) by ()',
    ]) {
      const params = { query, start: String(MINUTE), end: String(MINUTE + 180), step: "60" };
      const answer = await api.get(RANGE + queryString(params), { headers: { "X-Query-Tags": "Source=logvolhist" } });
      expect(answer.status, `${query}: ${answer.text}`).toBe(200);
      expect((dataOf(answer.text).result as unknown[]).length, query).toBeGreaterThan(0);
    }
  });

  test("stats carry Loki's names", async () => {
    const params = { query: 'sum(count_over_time({app="db"} |= "info" [1m]))', time: String(MINUTE + 60) };
    const { summary } = dataOf((await api.get(INSTANT + queryString(params))).text).stats;
    expect(summary.totalBytesProcessed).toBeGreaterThan(0);
    expect(summary.totalLinesProcessed).toBeGreaterThan(0);
    expect(summary.totalPostFilterLines).toBe(10);
    expect(summary.totalEntriesReturned).toBe(1);
  });

  const time = String(MINUTE + 60);
  test.each<{ name: string; params: Record<string, string>; status: number; says: RegExp }>([
    {
      name: "a sample with an error",
      params: { query: 'count_over_time({app="web"} | json [1m])', time },
      status: 400,
      says: /^pipeline error: 'JSONParserErr' for series: '\{__error__="JSONParserErr", __error_details__=".*", app="web"(?:, detected_level="\w+")?\}'\.\nUse a label filter to intentionally skip this error\. \(e\.g \| __error__!="JSONParserErr"\)\.\nTo skip all potential errors you can match empty errors\.\(e\.g __error__=""\)\nThe label filter can also be specified after unwrap\. \(e\.g \| unwrap latency \| __error__="" \)\n/,
    },
    {
      name: "too many series",
      params: { query: 'count_over_time({app="web"} | logfmt | drop __error__, __error_details__[1m])', time },
      status: 400,
      says: /^maximum number of series \(20\) reached for a single query; consider reducing query cardinality/,
    },
    {
      name: "vectors that do not match",
      params: {
        query: 'sum(count_over_time({app="db"}[1m])) + on () sum by (app) (count_over_time({app=~".+"}[1m]))',
        time,
      },
      status: 500,
      says: /^found duplicate series on the right hand-side;many-to-many matching not allowed: matching labels must be unique on one side\n$/,
    },
    {
      name: "a stage that can't be built, though nobody needs it",
      params: { query: 'sum(count_over_time({app="db"} | regexp "x" [1m]))', time },
      status: 400,
      says: /invalid regexp parser: at least one named capture must be supplied/,
    },
    {
      name: "an aggregation over a number",
      params: { query: "sum(1)", time },
      status: 400,
      says: /^parse error : queries require at least one regexp or equality matcher/,
    },
    {
      name: "an aggregation without unwrap",
      params: { query: 'sum_over_time({app="db"}[1m])', time },
      status: 400,
      says: /^parse error : invalid aggregation sum_over_time without unwrap\n$/,
    },
  ])("refuse $name", async ({ params, status, says }) => {
    const answer = await api.get(INSTANT + queryString(params));
    expect(answer.status).toBe(status);
    expect(answer.text).toMatch(says);
  });

  test("give Drilldown a part of too many series, and a warning", async () => {
    const query = 'count_over_time({app="web"} | logfmt | drop __error__, __error_details__[1m])';
    const headers = { "X-Query-Tags": "Source=grafana-lokiexplore-app" };
    const answer = await api.get(INSTANT + queryString({ query, time }), { headers });
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toMatchObject({
      warnings: ["maximum number of series (20) reached for a single query; returning partial results"],
    });
    expect(dataOf(answer.text).result).toHaveLength(20);
  });

  test("explain says what was read", async () => {
    const params = { query: 'sum by (app) (count_over_time({app=~".+"} |= "oops" [1m]))', step: "60" };
    const answer = await api.get(
      `/api/v1/explain${queryString({ ...params, start: String(MINUTE), end: String(MINUTE + 180) })}`,
    );
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toMatchObject({
      status: "success",
      data: {
        type: "metric",
        reads: [{ selector: '{app=~".+"}', reads: "lines", literals: [["oops"]], labels: ["app"] }],
        blocks: { pruned_by_labels: 0, counted_from_index: 0 },
        lines: { passed: 90 },
        results: 2,
        warnings: [],
      },
    });
    const log = await api.get(
      `/api/v1/explain${queryString({ query: '{app="db"} |= "zzz"', start: String(MINUTE), end: String(MINUTE + 180) })}`,
    );
    expect(JSON.parse(log.text)).toMatchObject({ data: { type: "log", results: 0, lines: { passed: 0 } } });
    const wrong = await api.get(`/api/v1/explain${queryString({ query: "{" })}`);
    expect(wrong.status).toBe(400);
  });
});
