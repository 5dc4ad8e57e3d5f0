import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { SECOND, T0 } from "../query/run/harness.ts";
import { makeApi, queryString, type TestApi } from "./harness.ts";

/* `/api/prom/query` and `/api/prom/tail`. Source: "Loki's HTTP contract", 14. */

const RANGE = { start: String(T0), end: String(T0 + 100n * SECOND) };
let api: TestApi;
beforeAll(async () => {
  api = await makeApi();
  api.append({ labels: { app: "web" }, ns: T0 + 1n, text: 'one "a"', metadata: { id: "7" } });
  await api.flush();
  api.append({ labels: { app: "web" }, ns: T0 + 2n * SECOND, text: "two" });
  api.append({ labels: { app: "api" }, ns: T0 + 3n * SECOND, text: "three" });
});
afterAll(() => api.close());

const ask = (params: Record<string, string>) => api.get(`/api/prom/query${queryString({ ...RANGE, ...params })}`);

describe("/api/prom/query", () => {
  test("gives labels as text and times as RFC 3339, newest first", async () => {
    const { status, headers, text } = await ask({ query: '{app="web"}' });
    expect([status, headers.get("content-type")]).toEqual([200, "application/json; charset=UTF-8"]);
    expect(text.replace(/"stats":\{.*\}(?=\}\n$)/, '"stats":{}')).toBe(
      '{"streams":[' +
        '{"labels":"{app=\\"web\\", id=\\"7\\"}","entries":[{"ts":"2023-11-14T22:13:20.000000001Z","line":"one \\"a\\""}]},' +
        '{"labels":"{app=\\"web\\"}","entries":[{"ts":"2023-11-14T22:13:22Z","line":"two"}]}' +
        '],"stats":{}}\n',
    );
  });

  const lines = ({ text }: { text: string }) => {
    const { streams } = JSON.parse(text) as { streams: { entries: { line: string }[] }[] };
    return streams.flatMap(({ entries }) => entries.map(({ line }) => line)).sort();
  };

  test.each<{ params: Record<string, string>; gives: string[] }>([
    { params: { query: '{app=~".+"}', regexp: "t(wo|hree)" }, gives: ["three", "two"] },
    { params: { query: '{app=~".+"} # all', regexp: '"a"$' }, gives: ['one "a"'] },
    { params: { query: '{app=~".+"}', regexp: "\\s" }, gives: ['one "a"'] },
    { params: { query: '{app=~".+"} |= "o"', regexp: "^t" }, gives: ["two"] },
    { params: { query: '{app=~".+"}', limit: "1" }, gives: ["three"] },
    { params: { query: '{app=~".+"}', limit: "1", direction: "FORWARD" }, gives: ['one "a"'] },
    { params: { query: '{app="none"}' }, gives: [] },
  ])("takes $params", async ({ params, gives }) => {
    expect(lines(await ask(params))).toEqual(gives);
  });

  test("takes a form", async () => {
    expect(lines(await api.post("/api/prom/query", { ...RANGE, query: '{app="api"}' }))).toEqual(["three"]);
  });

  test.each<{ params: Record<string, string>; says: RegExp }>([
    { params: { query: 'rate({app="web"}[1m])' }, says: /^legacy endpoints only support streams result type/ },
    { params: { query: '{app="web"}', regexp: "(" }, says: /error parsing regexp: missing closing \)/ },
    { params: {}, says: /^parse error : syntax error: unexpected \$end\n$/ },
    { params: { query: "{}" }, says: /queries require at least one regexp or equality matcher/ },
    { params: { query: '{app="web"}', limit: "5001" }, says: /^max entries limit per query exceeded/ },
  ])("refuses $params", async ({ params, says }) => {
    const { status, text } = await ask(params);
    expect([status, text]).toEqual([400, expect.stringMatching(says)]);
  });
});

describe("/api/prom/tail", () => {
  test("gives messages of that form, and takes a regular expression", async () => {
    const params = { query: '{app="web"}', regexp: "^[ot]", start: String(T0) };
    const socket = new WebSocket(`${api.base.replace("http", "ws")}/api/prom/tail${queryString(params)}`, {
      headers: { "x-loki-response-encoding-flags": "categorize-labels" },
    });
    const [first] = (await once(socket, "message")) as [Buffer];
    expect(first.toString()).toBe(
      '{"streams":[' +
        '{"labels":"{app=\\"web\\", id=\\"7\\"}","entries":[{"ts":"2023-11-14T22:13:20.000000001Z","line":"one \\"a\\""}]},' +
        '{"labels":"{app=\\"web\\"}","entries":[{"ts":"2023-11-14T22:13:22Z","line":"two"}]}' +
        '],"dropped_entries":null}',
    );
    const next = once(socket, "message") as Promise<[Buffer]>;
    const ns = BigInt(Date.now()) * 1_000_000n;
    api.append({ labels: { app: "web" }, ns, text: "not this" });
    api.append({ labels: { app: "web" }, ns, text: "only this" });
    expect(JSON.parse((await next)[0].toString())).toMatchObject({ streams: [{ entries: [{ line: "only this" }] }] });
    socket.terminate();
    await expect.poll(() => api.writer.taps.size).toBe(0);
  });

  test("wants an upgrade", async () => {
    expect(await api.get('/api/prom/tail?query={app="web"}')).toMatchObject({ status: 400, text: "Bad Request\n" });
  });
});
