import { afterEach, describe, expect, test } from "vitest";
import { deleteParams } from "../../src/api/delete-routes.ts";
import { retentionSection } from "../../src/cli/retention-section.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { type Forgetting, openForgetting } from "../../src/roles/forget.ts";
import { SECOND, T0 } from "../query/run/harness.ts";
import { makeApi, queryString, type TestApi } from "./harness.ts";

const PATH = "/loki/api/v1/delete";
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

interface DeleteApi extends TestApi {
  readonly forgetting: Forgetting;
  send(method: string, params: Record<string, string>, headers?: Record<string, string>): ReturnType<TestApi["get"]>;
  list(headers?: Record<string, string>): Promise<Record<string, unknown>[]>;
  lines(query: string, headers?: Record<string, string>): Promise<string[]>;
}

/** Milliseconds that `now` of the deletion requests is ahead of the clock. */
const clock = { aheadMs: 0 };
const open: DeleteApi[] = [];
afterEach(async () => {
  clock.aheadMs = 0;
  for (const api of open.splice(0)) await api.close();
});

async function deleteApi(http: Record<string, unknown> = {}): Promise<DeleteApi> {
  const forgetting = await openForgetting(retentionSection.parse({}), {
    objects: new MemoryStore(),
    catalog: { refresh: async () => {}, refreshAnew: async () => {}, chainEnd: () => 0 },
    intakeEnds: async () => ({ 0: 12 }),
    metrics: new Metrics(),
    log: silentLogger,
    now: () => Date.now() + clock.aheadMs,
  });
  const api = await makeApi({ http, hidden: forgetting.hidden, deletes: forgetting.service });
  const made: DeleteApi = Object.assign(api, {
    forgetting,
    send: (method: string, params: Record<string, string>, headers: Record<string, string> = {}) =>
      api.get(PATH + queryString(params), { method, headers }),
    list: async (headers: Record<string, string> = {}) => {
      const { status, text } = await api.get(PATH, { headers });
      expect(status).toBe(200);
      return JSON.parse(text) as Record<string, unknown>[];
    },
    lines: async (query: string, headers: Record<string, string> = {}) => {
      const range = { start: `${T0}`, end: `${T0 + 1000n * SECOND}`, query };
      const { text } = await api.get(`/loki/api/v1/query_range${queryString(range)}`, { headers });
      const { data } = JSON.parse(text) as { data: { result: { values: [string, string][] }[] } };
      return data.result.flatMap(({ values }) => values.map(([, line]) => line)).sort();
    },
  });
  open.push(made);
  return made;
}

const START = String(T0 / SECOND);
const QUERY = '{app="web"} |= "secret"';

describe("a request", () => {
  test.each(["POST", "PUT"])("by %s is answered with 204 and its id, and listed as Loki lists it", async (method) => {
    const api = await deleteApi();
    const before = Date.now() / 1000;
    const { status, headers, text } = await api.send(method, { query: QUERY, start: START, end: "1700003600" });
    expect({ status, text }).toEqual({ status: 204, text: "" });
    const [one, ...others] = await api.list();
    expect(others).toEqual([]);
    expect(one).toEqual({
      request_id: headers.get("x-delete-request-id"),
      start_time: 1700000000,
      end_time: 1700003600,
      query: QUERY,
      status: "received",
      created_at: expect.closeTo(before, -2),
      user_id: "",
      removed: { lines: 0, bytes: 0, segments: 0 },
      processed_at: null,
    });
    expect(one.request_id).toMatch(/^[0-9a-f]{8}$/);
    expect(Object.keys(one).slice(0, 7)).toEqual([
      "request_id",
      "start_time",
      "end_time",
      "query",
      "status",
      "created_at",
      "user_id",
    ]);
  });

  test("hides its lines at once, stored and open, and shows them again when it is cancelled", async () => {
    const api = await deleteApi();
    const texts = ["a secret", "plain", "another secret", "late"];
    for (const [i, text] of texts.entries()) {
      api.append({ labels: { app: "web" }, ns: T0 + BigInt(i) * SECOND, text });
      if (i === 1) await api.flush();
    }
    api.append({ labels: { app: "other" }, ns: T0, text: "not this secret" });
    const all = ["a secret", "another secret", "late", "not this secret", "plain"];
    expect(await api.lines('{app=~".+"}')).toEqual(all);
    const { headers } = await api.send("POST", { query: QUERY, start: START });
    expect(await api.lines('{app=~".+"}')).toEqual(["late", "not this secret", "plain"]);
    const id = headers.get("x-delete-request-id") ?? "";
    expect((await api.send("DELETE", { request_id: id })).status).toBe(204);
    expect(await api.lines('{app=~".+"}')).toEqual(all);
    expect(await api.list()).toEqual([]);
  });

  test("is not counted by metric queries, not even by those that read headers alone", async () => {
    const api = await deleteApi();
    for (let i = 0; i < 300; i++) {
      api.append({
        labels: { app: "web" },
        ns: T0 + BigInt(i) * SECOND,
        text: `line ${i} ${i % 10 === 0 ? "secret" : ""}`,
      });
    }
    await api.flush();
    const sum = async (inner: string) => {
      const params = { query: `sum(${inner}({app="web"}[10m]))`, time: String(T0 + 599n * SECOND) };
      const { text } = await api.get(`/loki/api/v1/query${queryString(params)}`);
      const { data } = JSON.parse(text) as { data: { result: { value: [number, string] }[] } };
      return Number(data.result[0]?.value[1] ?? 0);
    };
    expect(await sum("count_over_time")).toBe(300);
    const bytes = await sum("bytes_over_time");
    await api.send("POST", { query: QUERY, start: START });
    expect(await sum("count_over_time")).toBe(270);
    expect(await sum("bytes_over_time")).toBeLessThan(bytes - 30 * "secret".length);
    // All of some blocks, and a part of others.
    await api.send("POST", { query: '{app="web"}', start: "1700000100", end: "1700000199" });
    expect(await sum("count_over_time")).toBe(180);
  });

  test("is not counted by index/stats and index/volume, whether it takes blocks or a part of one", async () => {
    const api = await deleteApi();
    for (const app of ["web", "api"]) {
      for (let i = 0; i < 300; i++) api.append({ labels: { app }, ns: T0 + BigInt(i) * SECOND, text: `line ${i}` });
    }
    await api.flush();
    for (let i = 0; i < 300; i++)
      api.append({ labels: { app: "web" }, ns: T0 + BigInt(i) * SECOND, text: `open ${i}` });
    const range = { start: START, end: String(T0 / SECOND + 1000n) };
    const stats = async () => {
      const { text } = await api.get(`/loki/api/v1/index/stats${queryString({ query: '{app=~".+"}', ...range })}`);
      return JSON.parse(text) as { streams: number; chunks: number; bytes: number; entries: number };
    };
    const volumes = async () => {
      const { text } = await api.get(`/loki/api/v1/index/volume${queryString({ query: '{app=~".+"}', ...range })}`);
      const { data } = JSON.parse(text) as { data: { result: { metric: { app: string }; value: [number, string] }[] } };
      return Object.fromEntries(data.result.map(({ metric, value }) => [metric.app, Number(value[1])]));
    };
    expect(await stats()).toMatchObject({ streams: 2, entries: 900 });
    const before = await volumes();
    await api.send("POST", { query: '{app="api"}', start: START });
    expect(await stats()).toMatchObject({ streams: 1, entries: 600 });
    expect(await volumes()).toEqual({ web: before.web });
    // Two requests that overlap: seconds 50 to 249 of 300.
    await api.send("POST", { query: '{app="web"}', start: "1700000050", end: "1700000199" });
    await api.send("POST", { query: '{app=~"w.+"}', start: "1700000150", end: "1700000249" });
    const { entries } = await stats();
    expect(Math.abs(entries - 200)).toBeLessThan(5);
    expect(Math.abs((await volumes()).web - before.web / 3)).toBeLessThan(before.web / 30);
  });

  test("takes both ends of its time", async () => {
    const api = await deleteApi();
    for (let i = 0; i < 5; i++) api.append({ labels: { app: "web" }, ns: T0 + BigInt(i) * SECOND, text: `line ${i}` });
    await api.send("POST", { query: '{app="web"}', start: "1700000001", end: "1700000003" });
    expect(await api.lines('{app="web"}')).toEqual(["line 0", "line 4"]);
  });

  test("shows how far compaction has come, and then what is removed", async () => {
    const api = await deleteApi();
    await api.send("POST", { query: QUERY, start: START });
    const { deletes } = api.forgetting;
    const [request] = deletes.active("fake");
    expect(request.upto).toEqual({ 0: 12 });
    await deletes.begin(request);
    await deletes.note(request, { removed: { lines: 2, bytes: 30, segments: 1 }, percent: 40, clean: [] });
    expect(await api.list()).toMatchObject([{ status: "40% Complete", removed: { lines: 2, bytes: 30, segments: 1 } }]);
    await deletes.finish(request, { lines: 1, bytes: 9, segments: 1 });
    const [done] = await api.list();
    expect(done).toMatchObject({ status: "processed", removed: { lines: 3, bytes: 39, segments: 2 } });
    expect(done.processed_at).toEqual(expect.closeTo(Date.now() / 1000, -2));
  });

  test("is the tenant's own", async () => {
    const api = await deleteApi({ auth_enabled: true });
    const [a, b] = ["a", "b"].map((tenant) => ({ "x-scope-orgid": tenant }));
    for (const tenant of ["a", "b"]) api.append({ labels: { app: "web" }, ns: T0, text: "x secret", tenant });
    const { headers } = await api.send("POST", { query: QUERY, start: START }, a);
    const id = headers.get("x-delete-request-id") ?? "";
    expect([(await api.list(a)).length, (await api.list(b)).length]).toEqual([1, 0]);
    expect(await api.send("DELETE", { request_id: id }, b)).toMatchObject({ status: 404 });
    expect(await api.send("GET", {})).toMatchObject({ status: 401, text: "no org id\n" });
    expect(await api.send("POST", { query: QUERY, start: START })).toMatchObject({ status: 401, text: "no org id\n" });
  });

  test("has no path where nobody takes requests, and no other methods", async () => {
    const bare = await makeApi();
    expect((await bare.get(PATH)).status).toBe(404);
    await bare.close();
    const api = await deleteApi();
    expect((await api.get(PATH, { method: "PATCH" })).status).toBe(405);
  });
});

describe("what is refused", () => {
  const ok = { query: QUERY, start: START };
  test.each<{ name: string; params: Record<string, string>; want: string | RegExp }>([
    { name: "no query", params: { start: START }, want: "query not set" },
    { name: "an empty query", params: { ...ok, query: "" }, want: "query not set" },
    { name: "no start", params: { query: QUERY }, want: "start time not set" },
    { name: "the query before the start", params: {}, want: "query not set" },
    {
      name: "a query that is none",
      params: { ...ok, query: "{app=" },
      want: /^invalid query expression: parse error at line 1, col 6: /,
    },
    { name: "a metric query", params: { ...ok, query: 'rate({app="web"}[1m])' }, want: /^invalid query expression: / },
    {
      name: "a start that is no time",
      params: { ...ok, start: "yesterday" },
      want: "invalid start time: require unix seconds or RFC3339 format",
    },
    {
      name: "a start in milliseconds",
      params: { ...ok, start: "1700000000000" },
      want: "invalid start time: require unix seconds or RFC3339 format",
    },
    {
      name: "an end that is no time",
      params: { ...ok, end: "1700000000.5" },
      want: "invalid end time: require unix seconds or RFC3339 format",
    },
    { name: "an end to come", params: { ...ok, end: "9999999999" }, want: "deletes in the future are not allowed" },
    {
      name: "an end before the start",
      params: { ...ok, end: "1600000000" },
      want: "start time can't be greater than end time",
    },
    {
      name: "a filter over less than a second",
      params: { ...ok, end: START },
      want: "difference between start time and end time must be at least one second",
    },
    {
      name: "an interval that is no duration",
      params: { ...ok, max_interval: "1d" },
      want: "invalid max_interval: valid time units are 's', 'm', 'h'",
    },
    {
      name: "an interval below a second",
      params: { ...ok, max_interval: "500ms" },
      want: "invalid max_interval: valid time units are 's', 'm', 'h'",
    },
    {
      name: "an interval above the limit",
      params: { ...ok, max_interval: "25h" },
      want: "max_interval can't be greater than 24h0m0s",
    },
    {
      name: "an interval longer than the range",
      params: { ...ok, end: "1700003600", max_interval: "2h" },
      want: "max_interval can't be greater than the interval to be deleted (1h0m0s)",
    },
  ])("$name", async ({ params, want }) => {
    const api = await deleteApi();
    const { status, text } = await api.send("POST", params);
    expect(status).toBe(400);
    if (typeof want === "string") expect(text).toBe(`${want}\n`);
    else expect(text).toMatch(want);
    expect(await api.list()).toEqual([]);
  });

  test("an id that nobody has, with Loki's words", async () => {
    const api = await deleteApi();
    const want = { status: 404, text: "could not find delete request with given id\n" };
    expect(await api.send("DELETE", { request_id: "cdbeb1f3" })).toMatchObject(want);
    expect(await api.send("DELETE", {})).toMatchObject(want);
  });

  test("to cancel after a day, unless it is forced", async () => {
    const api = await deleteApi();
    const { headers } = await api.send("POST", ok);
    const id = headers.get("x-delete-request-id") ?? "";
    clock.aheadMs = DAY_MS + 1000;
    expect(await api.send("DELETE", { request_id: id })).toMatchObject({
      status: 400,
      text: "deletion of request past the deadline of 24h0m0s since its creation is not allowed. To force, use the ?force query parameter\n",
    });
    expect((await api.send("DELETE", { request_id: id, force: "true" })).status).toBe(204);
    expect(await api.list()).toEqual([]);
  });

  test("to cancel what has begun, unless it is forced, and what is done, anyhow", async () => {
    const api = await deleteApi();
    const { deletes } = api.forgetting;
    for (let i = 0; i < 2; i++) await api.send("POST", ok);
    const [begun, done] = deletes.active("fake");
    await deletes.begin(begun);
    await deletes.finish(done, { lines: 0, bytes: 0, segments: 0 });
    expect(await api.send("DELETE", { request_id: begun.id })).toMatchObject({
      status: 400,
      text: "Unable to cancel partially completed delete request. To force, use the ?force query parameter\n",
    });
    expect((await api.send("DELETE", { request_id: begun.id, force: "true" })).status).toBe(204);
    expect(await api.send("DELETE", { request_id: done.id, force: "true" })).toMatchObject({
      status: 400,
      text: "deletion of request which is in process or already processed is not allowed\n",
    });
  });
});

describe("times of a request", () => {
  const now = Date.UTC(2024, 0, 1);
  const params = (start: string, end = "") =>
    deleteParams(new URLSearchParams({ query: '{a="b"}', start, end }), now, DAY_MS);
  test.each([
    {
      name: "unix seconds",
      start: "1700000000",
      end: "1700000001",
      startNs: 1700000000n * SECOND,
      endNs: 1700000001n * SECOND,
    },
    {
      name: "RFC 3339, to the nanosecond",
      start: "2023-11-14T22:13:20.000000001Z",
      end: "2023-11-15T00:13:20+01:00",
      startNs: 1700000000n * SECOND + 1n,
      endNs: 1700003600n * SECOND,
    },
    {
      name: "no end: all of this millisecond",
      start: "1700000000",
      end: "",
      startNs: 1700000000n * SECOND,
      endNs: BigInt(now) * 1_000_000n + 999_999n,
    },
    {
      name: "one moment, without a filter",
      start: "1700000000",
      end: "1700000000",
      startNs: 1700000000n * SECOND,
      endNs: 1700000000n * SECOND,
    },
  ])("$name", ({ start, end, startNs, endNs }) => {
    expect(params(start, end)).toEqual({ query: '{a="b"}', startNs, endNs });
  });
});
