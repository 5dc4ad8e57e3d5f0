import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SECOND, T0 } from "../query/run/harness.ts";
import { makeApi, queryString, type TestApi } from "./harness.ts";

const PATH = "/loki/api/v1/query_range";
const CATEGORIZE = { "X-Loki-Response-Encoding-Flags": "categorize-labels" };
const WEB = { app: "web", env: "prod" };
const DB = { app: "db" };

/** An answer's `data`, without the figures of `stats`. */
function dataOf(text: string): Record<string, unknown> {
  const { status, data } = JSON.parse(text) as { status: string; data: Record<string, unknown> };
  expect(status).toBe("success");
  expect(data.stats).toBeTypeOf("object");
  const { stats: _, ...rest } = data;
  return rest;
}

describe("query_range", () => {
  let api: TestApi;
  const at = (s: bigint) => String(T0 + s * SECOND);

  beforeAll(async () => {
    api = await makeApi();
    api.append({ labels: WEB, ns: T0 + 1n * SECOND, text: "level=info one", metadata: { pod: "p1" } });
    api.append({ labels: WEB, ns: T0 + 2n * SECOND, text: "level=warn two", metadata: { pod: "p1" } });
    api.append({ labels: DB, ns: T0 + 2n * SECOND, text: 'quote " and \\ and tab\t' });
    await api.flush();
    api.append({ labels: WEB, ns: T0 + 3n * SECOND, text: "level=error three", metadata: { pod: "p2" } });
    api.append({ labels: DB, ns: T0 + 4n * SECOND, text: Buffer.from([0x61, 0xff, 0x00, 0x0a, 0x62]) });
  });
  afterAll(() => api.close());

  test("gives streams, grouped by labels and metadata, groups by label text, entries newest first", async () => {
    const answer = await api.get(PATH + queryString({ query: '{app=~".+"}', start: at(0n), end: at(10n) }));
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    expect(answer.text.endsWith("}\n")).toBe(true);
    expect(dataOf(answer.text)).toEqual({
      resultType: "streams",
      result: [
        {
          stream: { app: "db" },
          values: [
            [at(4n), "a\ufffd\u0000\nb"],
            [at(2n), 'quote " and \\ and tab\t'],
          ],
        },
        {
          stream: { app: "web", env: "prod", pod: "p1" },
          values: [
            [at(2n), "level=warn two"],
            [at(1n), "level=info one"],
          ],
        },
        { stream: { app: "web", env: "prod", pod: "p2" }, values: [[at(3n), "level=error three"]] },
      ],
    });
  });

  test("takes Explore's request: categorised labels, the flag before the result", async () => {
    const params = {
      direction: "backward",
      end: at(10n),
      limit: "1000",
      query: '{app="web"} |= `three` | logfmt',
      start: at(0n),
      step: "2000ms",
    };
    const answer = await api.get(PATH + queryString(params), { headers: CATEGORIZE });
    expect(answer.text.indexOf('"encodingFlags"')).toBeLessThan(answer.text.indexOf('"result":'));
    expect(answer.text.indexOf('"resultType"')).toBeLessThan(answer.text.indexOf('"result":'));
    expect(dataOf(answer.text)).toEqual({
      resultType: "streams",
      encodingFlags: ["categorize-labels"],
      result: [
        {
          stream: WEB,
          values: [[at(3n), "level=error three", { structuredMetadata: { pod: "p2" }, parsed: { level: "error" } }]],
        },
      ],
    });
  });

  test("leaves empty categories out and does not split by metadata", async () => {
    const params = { query: '{app=~"web|db"}', start: at(0n), end: at(3n), direction: "forward" };
    expect(dataOf((await api.get(PATH + queryString(params), { headers: CATEGORIZE })).text).result).toEqual([
      { stream: DB, values: [[at(2n), 'quote " and \\ and tab\t', {}]] },
      {
        stream: WEB,
        values: [
          [at(1n), "level=info one", { structuredMetadata: { pod: "p1" } }],
          [at(2n), "level=warn two", { structuredMetadata: { pod: "p1" } }],
        ],
      },
    ]);
  });

  test.each([
    { flags: "categorize-labels,x", categorised: true, echoed: ["categorize-labels", "x"] },
    { flags: "x", categorised: false, echoed: ["x"] },
    { flags: "x, categorize-labels", categorised: false, echoed: ["x", " categorize-labels"] },
    { flags: "Categorize-Labels", categorised: false, echoed: ["Categorize-Labels"] },
  ])("echoes the flags $flags", async ({ flags, categorised, echoed }) => {
    const headers = { "X-Loki-Response-Encoding-Flags": flags };
    const data = dataOf(
      (await api.get(PATH + queryString({ query: '{app="db"}', start: at(0n), end: at(3n) }), { headers })).text,
    );
    expect(data.encodingFlags).toEqual(echoed);
    expect(data.result).toMatchObject([{ values: [{ length: categorised ? 3 : 2 }] }]);
  });

  test("takes logcli's request: decimal nanoseconds, float step", async () => {
    const path = `${PATH}?direction=BACKWARD&end=${at(10n)}&limit=30&query=%7Bapp%3D%22db%22%7D&start=${at(0n)}&step=14.000000`;
    expect(dataOf((await api.get(path)).text).result).toMatchObject([{ stream: DB, values: [{}, {}] }]);
  });

  test("takes a form body, merged with the address, the body first", async () => {
    const answer = await api.post(`${PATH}?query=ignored&direction=forward&limit=1`, {
      query: '{app="web"}',
      start: at(0n),
      end: at(10n),
    });
    expect(dataOf(answer.text).result).toEqual([
      { stream: { ...WEB, pod: "p1" }, values: [[at(1n), "level=info one"]] },
    ]);
  });

  test("begins at start and ends before end", async () => {
    const times = async (start: string, end: string) => {
      const params = { query: '{app="web"}', start, end, direction: "forward" };
      const { result } = dataOf((await api.get(PATH + queryString(params), { headers: CATEGORIZE })).text);
      return (result as { values: [string][] }[]).flatMap(({ values }) => values.map(([time]) => time));
    };
    expect(await times(at(1n), at(3n))).toEqual([at(1n), at(2n)]);
    expect(await times("1700000002", "1700000003.001")).toEqual([at(2n), at(3n)]);
    expect(await times("2023-11-14T22:13:22Z", "2023-11-14T22:13:23.000000001Z")).toEqual([at(2n), at(3n)]);
    expect(await times(at(1n), at(1n))).toEqual([]);
  });

  test("counts the limit over all streams", async () => {
    const params = { query: '{app=~".+"}', start: at(0n), end: at(10n), limit: "2" };
    expect(dataOf((await api.get(PATH + queryString(params))).text).result).toEqual([
      { stream: DB, values: [[at(4n), "a\ufffd\u0000\nb"]] },
      { stream: { ...WEB, pod: "p2" }, values: [[at(3n), "level=error three"]] },
    ]);
  });

  test("is empty for what nobody has", async () => {
    const answer = await api.get(PATH + queryString({ query: '{app="none"}', start: at(0n), end: at(10n) }));
    expect(dataOf(answer.text)).toEqual({ resultType: "streams", result: [] });
  });

  test("counts a line once that is found by its time, and then read", async () => {
    const answer = await api.get(PATH + queryString({ query: '{app="web"}', start: at(0n), end: at(10n) }));
    const { stats } = (JSON.parse(answer.text) as { data: { stats: { summary: Record<string, number> } } }).data;
    expect(stats).toMatchObject({
      summary: { totalLinesProcessed: 3, totalEntriesReturned: 3, totalPostFilterLines: 3 },
    });
  });

  test("fills the figures that Grafana shows", async () => {
    const answer = await api.get(PATH + queryString({ query: '{app="web"} |= "two"', start: at(0n), end: at(10n) }));
    const { stats } = (JSON.parse(answer.text) as { data: { stats: { summary: Record<string, number> } } }).data;
    expect(stats).toMatchObject({
      summary: { totalLinesProcessed: 3, totalEntriesReturned: 1, totalPostFilterLines: 1 },
      querier: { store: { chunk: { decompressedLines: 2 } } },
      ingester: { store: { chunk: { headChunkLines: 1 } } },
    });
    const { summary } = stats;
    expect(summary.totalBytesProcessed).toBe("level=info one\nlevel=warn two\nlevel=error three\n".length);
    expect(summary.execTime).toBeGreaterThan(0);
  });

  test.each([
    {
      name: "a number",
      query: "1+1",
      values: [
        [1_699_999_980, "2"],
        [1_700_000_040, "2"],
        [1_700_000_100, "2"],
        [1_700_000_160, "2"],
      ],
    },
    {
      name: "a vector",
      query: "vector(0.5)",
      values: [
        [1_699_999_980, "0.5"],
        [1_700_000_040, "0.5"],
        [1_700_000_100, "0.5"],
        [1_700_000_160, "0.5"],
      ],
    },
  ])(
    "gives $name at each step, the first and last one at multiples of it around the range",
    async ({ query, values }) => {
      const params = { query, start: "1700000000", end: "1700000120", step: "60" };
      const answer = await api.get(PATH + queryString(params));
      expect(dataOf(answer.text)).toEqual({ resultType: "matrix", result: [{ metric: {}, values }] });
    },
  );

  const range = { start: "1700000000", end: "1700000010" };
  test.each<{ name: string; params: Record<string, string>; says: string | RegExp }>([
    { name: "no query", params: range, says: "parse error : syntax error: unexpected $end" },
    {
      name: "a query of comments",
      params: { ...range, query: "# all" },
      says: /^parse error .*syntax error: unexpected \$end\n$/,
    },
    {
      name: "a selector that is cut",
      params: { ...range, query: '{app="a"' },
      says: "parse error at line 1, col 9: syntax error: unexpected $end, expecting } or ,",
    },
    {
      name: "a selector that matches everything",
      params: { ...range, query: '{app=~".*"}' },
      says: 'parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~".*" does not meet this requirement, but app=~".+" will',
    },
    {
      name: "a bad regex",
      params: { ...range, query: '{app="a"} |~ "("' },
      says: /^parse error : stage '\|~ "\("' : error parsing regexp: missing closing \): /,
    },
    {
      name: "a bad start",
      params: { query: '{app="a"}', start: "x" },
      says: `could not parse 'start' parameter: strconv.ParseInt: parsing "x": invalid syntax`,
    },
    {
      name: "a bad end",
      params: { query: '{app="a"}', end: "1.2.3" },
      says: `could not parse 'end' parameter: strconv.ParseInt: parsing "1.2.3": invalid syntax`,
    },
    {
      name: "a start beyond 64 bits",
      params: { query: '{app="a"}', start: "99999999999999999999" },
      says: `could not parse 'start' parameter: strconv.ParseInt: parsing "99999999999999999999": value out of range`,
    },
    {
      name: "a bad since",
      params: { query: '{app="a"}', since: "1x" },
      says: `could not parse 'since' parameter: not a valid duration string: "1x"`,
    },
    {
      name: "the end before the start",
      params: { query: '{app="a"}', start: "2", end: "1" },
      says: "end timestamp must not be before or equal to start time",
    },
    { name: "limit 0", params: { ...range, query: '{app="a"}', limit: "0" }, says: "limit must be a positive value" },
    {
      name: "a negative limit",
      params: { ...range, query: '{app="a"}', limit: "-1" },
      says: "limit must be a positive value",
    },
    {
      name: "a limit that is none",
      params: { ...range, query: '{app="a"}', limit: "x" },
      says: 'strconv.Atoi: parsing "x": invalid syntax',
    },
    {
      name: "a large limit",
      params: { ...range, query: '{app="a"}', limit: "5001" },
      says: "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)",
    },
    {
      name: "a bad direction",
      params: { ...range, query: '{app="a"}', direction: "up" },
      says: "invalid direction 'up'",
    },
    {
      name: "step 0",
      params: { ...range, query: '{app="a"}', step: "0" },
      says: "zero or negative query resolution step widths are not accepted. Try a positive integer",
    },
    {
      name: "a bad step",
      params: { ...range, query: '{app="a"}', step: "1.5s" },
      says: 'cannot parse "1.5s" to a valid duration',
    },
    {
      name: "too many steps",
      params: { query: '{app="a"}', start: "0", end: "11001", step: "1" },
      says: "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
    },
    {
      name: "a negative interval",
      params: { ...range, query: '{app="a"}', interval: "-1" },
      says: "interval must be >= 0",
    },
    {
      name: "a long range",
      params: { query: '{app="a"}', start: "0", end: "2880000", step: "1h" },
      says: "the query time range exceeds the limit (query length: 800h0m0s, limit: 30d1h)",
    },
    {
      name: "a long query",
      params: { ...range, query: `{app="${"a".repeat(131_100)}"}` },
      says: "parse error : input size too long (131108 > 131072)",
    },
  ])("refuses $name", async ({ params, says }) => {
    for (const answer of [await api.get(PATH + queryString(params)), await api.post(PATH, params)]) {
      expect(answer.status).toBe(400);
      expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
      expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
      if (typeof says === "string") expect(answer.text).toBe(`${says}\n`);
      else expect(answer.text).toMatch(says);
    }
  });
});
