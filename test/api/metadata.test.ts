import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SECOND, T0 } from "../query/run/harness.ts";
import { makeApi, queryString, type TestApi } from "./harness.ts";

const RANGE = { start: String(T0), end: String(T0 + 10n * SECOND) };

describe("labels, values and series", () => {
  let api: TestApi;

  beforeAll(async () => {
    api = await makeApi();
    api.append({ labels: { app: "web", env: "prod" }, ns: T0 + SECOND, text: "x", metadata: { pod: "p1" } });
    await api.flush();
    api.append({ labels: { app: "db", env: "prod" }, ns: T0 + 2n * SECOND, text: "y" });
    api.append({ labels: { app: "old", zone: "z" }, ns: T0 - 100n * SECOND, text: "z" });
  });
  afterAll(() => api.close());

  const both = async (path: string, params: Record<string, string>) => {
    const answers = [await api.get(path + queryString(params)), await api.post(path, params)];
    expect(answers[0].text).toBe(answers[1].text);
    expect(answers[0].status).toBe(answers[1].status);
    return answers[0];
  };

  test.each([
    { path: "/loki/api/v1/labels", params: RANGE, body: '{"status":"success","data":["app","env"]}\n' },
    { path: "/loki/api/v1/label", params: RANGE, body: '{"status":"success","data":["app","env"]}\n' },
    { path: "/loki/api/v1/labels", params: { ...RANGE, start: "0", end: "2591999" }, body: '{"status":"success"}\n' },
    {
      path: "/loki/api/v1/labels",
      params: { ...RANGE, query: '{app="web"}' },
      body: '{"status":"success","data":["app","env"]}\n',
    },
    { path: "/loki/api/v1/labels", params: { ...RANGE, query: '{app="none"}' }, body: '{"status":"success"}\n' },
    { path: "/loki/api/v1/label/app/values", params: RANGE, body: '{"status":"success","data":["db","web"]}\n' },
    {
      path: "/loki/api/v1/label/app/values",
      params: { ...RANGE, query: '{app!="db", env="prod"}' },
      body: '{"status":"success","data":["web"]}\n',
    },
    { path: "/loki/api/v1/label/pod/values", params: RANGE, body: '{"status":"success"}\n' },
    { path: "/loki/api/v1/label/__proto__/values", params: RANGE, body: '{"status":"success"}\n' },
    { path: `/loki/api/v1/label/${"n".repeat(1000)}/values`, params: RANGE, body: '{"status":"success"}\n' },
  ])("$path $params", async ({ path, params, body }) => {
    const answer = await both(path, params);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    expect(answer.text).toBe(body);
  });

  const seriesOf = (text: string) => {
    const { status, data } = JSON.parse(text) as { status: string; data: Record<string, string>[] };
    expect(status).toBe("success");
    return data.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  };
  const DB = { app: "db", env: "prod" };
  const WEB = { app: "web", env: "prod" };

  test.each<{ name: string; matches: [string, string][]; gives: Record<string, string>[] }>([
    { name: "everything without a match", matches: [], gives: [DB, WEB] },
    { name: "everything for {}", matches: [["match[]", "{}"]], gives: [DB, WEB] },
    { name: "one match", matches: [["match", '{app="web"}']], gives: [WEB] },
    {
      name: "matches united",
      matches: [
        ["match[]", '{app="web"}'],
        ["match[]", '{app=~"d.*"}'],
        ["match", '{app="db"}'],
      ],
      gives: [DB, WEB],
    },
    { name: "nothing", matches: [["match[]", '{app="none"}']], gives: [] },
  ])("series: $name", async ({ matches, gives }) => {
    const params = new URLSearchParams([...Object.entries(RANGE), ...matches]);
    expect(seriesOf((await api.get(`/loki/api/v1/series?${params}`)).text)).toEqual(gives);
    expect(seriesOf((await api.post("/loki/api/v1/series", params)).text)).toEqual(gives);
  });

  const LOOKBACK = "this data is no longer available, it is past now - max_query_lookback (0s)";
  const EMPTY = /^parse error : queries require at least one regexp or equality matcher/;
  test.each<{ path: string; params: Record<string, string>; says: string | RegExp }>([
    { path: "/loki/api/v1/labels", params: { start: "2", end: "1" }, says: `${LOOKBACK}\n` },
    { path: "/loki/api/v1/label/app/values", params: { start: "2", end: "1" }, says: `${LOOKBACK}\n` },
    {
      path: "/loki/api/v1/series",
      params: { start: "2", end: "1" },
      says: "end timestamp must not be before or equal to start time\n",
    },
    {
      path: "/loki/api/v1/labels",
      params: { start: "0", end: "2880000" },
      says: "the query time range exceeds the limit (query length: 800h0m0s, limit: 30d1h)\n",
    },
    {
      path: "/loki/api/v1/series",
      params: { start: "0", end: "2880000" },
      says: "the query time range exceeds the limit (query length: 800h0m0s, limit: 30d1h)\n",
    },
    { path: "/loki/api/v1/labels", params: { query: "{}" }, says: EMPTY },
    { path: "/loki/api/v1/labels", params: { query: '{app="a"} |= "x"' }, says: "only label matchers are supported\n" },
    {
      path: "/loki/api/v1/label/app/values",
      params: { query: '{app="a"} | json' },
      says: "only label matchers are supported\n",
    },
    { path: "/loki/api/v1/series", params: { match: '{app="a"} |= "x"' }, says: "only label matchers are supported\n" },
    { path: "/loki/api/v1/series", params: { match: '{app=~".*"}' }, says: EMPTY },
    {
      path: "/loki/api/v1/labels",
      params: { since: "yesterday" },
      says: `could not parse 'since' parameter: not a valid duration string: "yesterday"\n`,
    },
  ])("$path refuses $params", async ({ path, params, says }) => {
    const answer = await both(path, params);
    expect(answer.status).toBe(400);
    if (typeof says === "string") expect(answer.text).toBe(says);
    else expect(answer.text).toMatch(says);
  });
});
