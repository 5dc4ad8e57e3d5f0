import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeApi, queryString, type TestApi } from "./harness.ts";

const PATH = "/loki/api/v1/query";

describe("query", () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await makeApi();
  });
  afterAll(() => api.close());

  test("passes Grafana's health check", async () => {
    const answer = await api.get(`${PATH}?direction=backward&query=vector%281%29%2Bvector%281%29&time=4000000000`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    expect(answer.text).toMatch(
      /^\{"status":"success","data":\{"resultType":"vector","result":\[\{"metric":\{\},"value":\[4000000000,"2"\]\}\],"stats":\{.*\}\}\}\n$/,
    );
  });

  test.each([
    { query: "1+1", data: { resultType: "scalar", result: [5, "2"] } },
    { query: "2 ^ 3 ^ 2 - 4 % 3", data: { resultType: "scalar", result: [5, "511"] } },
    { query: "vector(4) > vector(5)", data: { resultType: "vector", result: [] } },
    { query: "vector(4) / vector(0)", data: { resultType: "vector", result: [{ metric: {}, value: [5, "NaN"] }] } },
    {
      query: "vector(1e21)",
      data: { resultType: "vector", result: [{ metric: {}, value: [5, "1000000000000000000000"] }] },
    },
    { query: "vector(1e308) * 10", data: { resultType: "vector", result: [{ metric: {}, value: [5, "+Inf"] }] } },
    { query: "vector(1) * -1e308 * 10", data: { resultType: "vector", result: [{ metric: {}, value: [5, "-Inf"] }] } },
    { query: "vector(1e-7)", data: { resultType: "vector", result: [{ metric: {}, value: [5, "0.0000001"] }] } },
  ])("gives $query", async ({ query, data }) => {
    for (const answer of [
      await api.get(PATH + queryString({ query, time: "5" })),
      await api.post(PATH, { query, time: "5" }),
    ]) {
      const { data: got, status } = JSON.parse(answer.text) as { status: string; data: Record<string, unknown> };
      expect({ ...got, stats: null }).toEqual({ ...data, stats: null });
      expect(status).toBe("success");
    }
  });

  test.each([
    { time: "1700000060.5", gives: 1700000060.5 },
    { time: "1700000060500000000", gives: 1700000060.5 },
    { time: "2023-11-14T22:14:20.5Z", gives: 1700000060.5 },
    { time: "1700000060500", gives: 1700.0 },
  ])("reads the time $time", async ({ time, gives }) => {
    const { data } = JSON.parse((await api.get(PATH + queryString({ query: "vector(1)", time }))).text) as {
      data: { result: { value: [number, string] }[] };
    };
    expect(data.result[0].value[0]).toBeCloseTo(gives, 3);
  });

  test("takes now without a time", async () => {
    const before = Date.now() / 1000;
    const { data } = JSON.parse((await api.get(PATH + queryString({ query: "vector(1)" }))).text) as {
      data: { result: { value: [number, string] }[] };
    };
    expect(data.result[0].value[0]).toBeGreaterThanOrEqual(Math.floor(before));
    expect(data.result[0].value[0]).toBeLessThan(before + 60);
  });

  test.each<{ params: Record<string, string>; says: string | RegExp }>([
    {
      params: { query: '{app="a"}' },
      says: "log queries are not supported as an instant query type, please change your query to a range query type\n",
    },
    { params: { query: "" }, says: "parse error : syntax error: unexpected $end\n" },
    { params: { query: "vector(1)", time: "x" }, says: 'strconv.ParseInt: parsing "x": invalid syntax\n' },
    { params: { query: "vector(1)", limit: "0" }, says: "limit must be a positive value\n" },
    { params: { query: "vector(1)", direction: "up" }, says: "invalid direction 'up'\n" },
  ])("refuses $params", async ({ params, says }) => {
    const answer = await api.get(PATH + queryString(params));
    expect(answer.status).toBe(400);
    if (typeof says === "string") expect(answer.text).toBe(says);
    else expect(answer.text).toMatch(says);
  });
});
