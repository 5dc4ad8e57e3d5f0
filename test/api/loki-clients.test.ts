import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Answer, makeApi, type TestApi } from "./harness.ts";

/*
 * Requests of Loki's clients, letter by letter as they send them, and the whole answers. Source: "Loki's HTTP contract", 1.
 */

const T0 = 1_700_000_000n;
const ns = (seconds: number, plus = 0): bigint => (T0 + BigInt(seconds)) * 1_000_000_000n + BigInt(plus);
const START = String(ns(0));
const END = String(ns(120));

let api: TestApi;
beforeAll(async () => {
  api = await makeApi();
  const web = { app: "web", service_name: "web" };
  api.append({ labels: web, ns: ns(1), text: '{"msg":"one"}', metadata: { detected_level: "info", trace: "abc" } });
  api.append({ labels: web, ns: ns(2), text: "x=1", metadata: { detected_level: "warn" } });
  await api.flush();
  api.append({ labels: web, ns: ns(70), text: "two", metadata: { detected_level: "info" } });
  api.append({
    labels: { app: "api", service_name: "api" },
    ns: ns(5),
    text: "other",
    metadata: { detected_level: "error" },
  });
});
afterAll(() => api.close());

/** The answer with its statistics, which differ from run to run, left out. */
function golden({ text }: Answer): string {
  return text.replace(/"stats":\{.*\}(?=\}\}\n$)/, '"stats":{}');
}

const GRAFANA = { "user-agent": "Grafana/12.1.0", accept: "*/*" };
const CATEGORIZE = { ...GRAFANA, "x-loki-response-encoding-flags": "categorize-labels" };

describe("Grafana", () => {
  test("Save & test", async () => {
    const answer = await api.get(
      "/loki/api/v1/query?direction=backward&query=vector%281%29%2Bvector%281%29&time=4000000000",
      {
        headers: GRAFANA,
      },
    );
    expect(answer.status).toBe(200);
    expect(golden(answer)).toBe(
      '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4000000000,"2"]}],"stats":{}}}\n',
    );
  });

  test("Explore, logs", async () => {
    const answer = await api.get(
      `/loki/api/v1/query_range?direction=backward&end=${END}&limit=1000&query=%7Bapp%3D%22web%22%7D+%7C+logfmt&start=${START}&step=2000ms`,
      { headers: CATEGORIZE },
    );
    expect(golden(answer)).toBe(
      '{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"app":"web","service_name":"web"},"values":[' +
        `["${ns(70)}","two",{"structuredMetadata":{"detected_level":"info"}}],` +
        `["${ns(2)}","x=1",{"structuredMetadata":{"detected_level":"warn"},"parsed":{"x":"1"}}],` +
        `["${ns(1)}","{\\"msg\\":\\"one\\"}",{"structuredMetadata":{"detected_level":"info","trace":"abc"}}]` +
        ']}],"stats":{}}}\n',
    );
  });

  test("Explore, logs volume", async () => {
    const query = 'sum by (level, detected_level) (count_over_time({app="web"} | drop __error__[1m]))';
    const answer = await api.get(
      `/loki/api/v1/query_range?direction=backward&end=${END}&query=${encodeURIComponent(query)}&start=${START}&step=60000ms`,
      { headers: { ...GRAFANA, "x-query-tags": "Source=logvolhist" } },
    );
    const series = (JSON.parse(answer.text) as { data: { result: { metric: object; values: [number, string][] }[] } })
      .data.result;
    expect(series.map(({ metric }) => metric)).toEqual([{ detected_level: "info" }, { detected_level: "warn" }]);
    const total = series.flatMap(({ values }) => values).reduce((sum, [, value]) => sum + Number(value), 0);
    expect(total).toBe(3);
    for (const { values } of series) for (const [time] of values) expect(time % 60).toBe(0);
  });

  test("Explore, context: what was before a line, and what came from it on", async () => {
    const get = (direction: string, from: bigint, to: bigint) =>
      api.get(
        `/loki/api/v1/query_range?direction=${direction}&end=${to}&limit=10&query=%7Bapp%3D%22web%22%7D&start=${from}`,
        { headers: CATEGORIZE },
      );
    const lines = (answer: Answer) => [...answer.text.matchAll(/\["\d+","((?:[^"\\]|\\.)*)"/g)].map(([, line]) => line);
    expect(lines(await get("backward", ns(-7200), ns(2)))).toEqual(['{\\"msg\\":\\"one\\"}']);
    expect(lines(await get("forward", ns(2), ns(7200)))).toEqual(["x=1", "two"]);
  });

  test.each([
    {
      path: `/loki/api/v1/labels?start=${START}&end=${END}`,
      text: '{"status":"success","data":["app","service_name"]}\n',
    },
    {
      path: `/loki/api/v1/label/app/values?start=${START}&end=${END}&query=%7Bservice_name%3D%22web%22%7D`,
      text: '{"status":"success","data":["web"]}\n',
    },
    { path: `/loki/api/v1/label/nothing/values?start=${START}&end=${END}`, text: '{"status":"success"}\n' },
    {
      path: `/loki/api/v1/series?match%5B%5D=%7Bapp%3D%22web%22%7D&start=${START}&end=${END}`,
      text: '{"status":"success","data":[{"app":"web","service_name":"web"}]}\n',
    },
    {
      path: `/loki/api/v1/index/stats?query=%7Bapp%3D%22web%22%7D&start=${START}&end=${END}`,
      text: '{"streams":1,"chunks":2,"bytes":81,"entries":3}\n',
    },
    { path: "/prometheus/api/v1/rules", text: '{"status":"success","data":{"groups":[]},"errorType":"","error":""}\n' },
  ])("$path", async ({ path, text }) => {
    const answer = await api.get(path, { headers: GRAFANA });
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "application/json; charset=UTF-8"]);
    expect(answer.text).toBe(text);
  });

  test("older Explore's logs volume, and the sample of lines beside a metric query", async () => {
    const query = encodeURIComponent('sum by (level) (count_over_time({app="web"}[1m]))');
    const volume = await api.get(
      `/loki/api/v1/query_range?direction=backward&end=${END}&query=${query}&start=${START}&step=60000ms`,
      { headers: { ...GRAFANA, "x-query-tags": "Source=logvolhist" } },
    );
    expect(golden(volume)).toBe(
      '{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1700000040,"2"],[1700000100,"1"]]}],"stats":{}}}\n',
    );
    const sample = await api.get(
      `/loki/api/v1/query_range?direction=backward&end=${END}&limit=20&query=%7Bapp%3D%22web%22%7D&start=${START}&step=60000ms`,
      { headers: { ...CATEGORIZE, "x-query-tags": "Source=logsample" } },
    );
    expect(sample.text).toMatch(
      /^\{"status":"success","data":\{"resultType":"streams","encodingFlags":\["categorize-labels"\]/,
    );
  });

  test("Explore, fields for autocompletion", async () => {
    const answer = await api.get(`/loki/api/v1/detected_fields?end=${END}&query=%7Bapp%3D%22web%22%7D&start=${START}`, {
      headers: GRAFANA,
    });
    const { fields } = JSON.parse(answer.text) as { fields: { label: string; parsers: string[] | null }[] };
    expect(fields.map(({ label, parsers }) => [label, parsers])).toEqual([
      ["detected_level", null],
      ["x", ["logfmt"]],
      ["trace", null],
      ["msg", ["json"]],
    ]);
  });

  test("live tail: nothing but the query, through a browser", async () => {
    const socket = new WebSocket(`${api.base.replace("http", "ws")}/loki/api/v1/tail?query=%7Bapp%3D%22live%22%7D`, {
      origin: "https://grafana.example",
    });
    await once(socket, "open");
    const first = once(socket, "message") as Promise<[Buffer]>;
    const now = BigInt(Date.now()) * 1_000_000n;
    api.append({ labels: { app: "live", service_name: "live" }, ns: now, text: "fresh", metadata: { n: "0" } });
    expect((await first)[0].toString()).toBe(
      `{"streams":[{"stream":{"app":"live","n":"0","service_name":"live"},"values":[["${now}","fresh"]]}]}`,
    );
    socket.terminate();
    await expect.poll(() => api.writer.taps.size).toBe(0);
  });

  test.each(["/loki/api/v1/rules", "/loki/api/v1/rules/test/test"])("%s says that there is no ruler", async (path) => {
    expect((await api.get(path, { headers: GRAFANA })).status).toBe(404);
  });
});

describe("Logs Drilldown", () => {
  const headers = { ...GRAFANA, "x-query-tags": "Source=grafana-lokiexplore-app" };
  const times = "start=2023-11-14T22%3A13%3A20.000Z&end=2023-11-14T22%3A15%3A20.000Z";

  test("services", async () => {
    const answer = await api.get(
      `/loki/api/v1/index/volume?query=%7Bservice_name%3D~%22.%2B%22%7D&limit=5000&${times}`,
      { headers },
    );
    expect(answer.text).toBe(
      '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"service_name":"web"},"value":[1700000120,"81"]},{"metric":{"service_name":"api"},"value":[1700000120,"24"]}],"stats":{}}}\n',
    );
  });

  test("levels of a service", async () => {
    const query = encodeURIComponent(
      'sum(count_over_time({service_name="web"} | detected_level != "" [1m])) by (detected_level)',
    );
    const answer = await api.get(`/loki/api/v1/query_range?query=${query}&${times}&step=60s`, { headers });
    expect(answer.status).toBe(200);
    expect(answer.text).toMatch(/"metric":\{"detected_level":"info"\}/);
  });

  test("a field's panel over lines of any format", async () => {
    const query = encodeURIComponent(
      'sum(count_over_time({service_name="web"} | json | logfmt | drop __error__, __error_details__ | x!="" [1m])) by (x)',
    );
    const answer = await api.get(`/loki/api/v1/query_range?query=${query}&${times}&step=60s`, { headers });
    expect(answer.status).toBe(200);
    expect(answer.text).toMatch(/"metric":\{"x":"1"\}/);
  });

  test("a field's average, merged over all streams", async () => {
    const query = encodeURIComponent(
      'avg_over_time({service_name="web"} | json | logfmt | drop __error__, __error_details__ | x!="" | unwrap x | __error__="" [1m]) by ()',
    );
    const answer = await api.get(`/loki/api/v1/query_range?query=${query}&${times}&step=60s`, { headers });
    expect(answer.text).toMatch(/"result":\[\{"metric":\{\},"values":\[\[1700000040,"1"\]\]\}\]/);
    const durations = encodeURIComponent(
      'avg_over_time({service_name="web"} | json | logfmt | drop __error__, __error_details__ | unwrap duration(x) | __error__="" [1m]) by ()',
    );
    const none = await api.get(`/loki/api/v1/query_range?query=${durations}&${times}&step=60s`, { headers });
    expect([none.status, golden(none)]).toEqual([
      200,
      '{"status":"success","data":{"resultType":"matrix","result":[],"stats":{}}}\n',
    ]);
  });

  test("lines of any format, with all fields", async () => {
    const query = encodeURIComponent('{service_name="web"} | json | logfmt | drop __error__, __error_details__');
    const answer = await api.get(`/loki/api/v1/query_range?query=${query}&limit=10&direction=backward&${times}`, {
      headers: { ...headers, "x-loki-response-encoding-flags": "categorize-labels" },
    });
    expect(golden(answer)).toContain(
      `["${ns(1)}","{\\"msg\\":\\"one\\"}",{"structuredMetadata":{"detected_level":"info","trace":"abc"},"parsed":{"msg":"one"}}]`,
    );
  });

  test("what it may ask", async () => {
    const answer = await api.get("/loki/api/v1/drilldown-limits", { headers });
    expect(JSON.parse(answer.text)).toMatchObject({
      limits: { max_query_length: "30d1h", retention_period: "0s", max_entries_limit_per_query: 5000 },
      pattern_ingester_enabled: false,
      version: expect.any(String) as string,
    });
  });

  test.each([
    {
      path: `/loki/api/v1/detected_fields?query=%7Bservice_name%3D%22api%22%7D&limit=1000&line_limit=1000&${times}`,
      text: '{"fields":[{"label":"detected_level","type":"string","cardinality":1,"parsers":null}],"limit":1000}\n',
    },
    {
      path: `/loki/api/v1/detected_field/detected_level/values?query=%7Bservice_name%3D%22api%22%7D&${times}`,
      text: '{"limit":1000,"values":["error"]}\n',
    },
    {
      path: `/loki/api/v1/labels?query=%7Bservice_name%3D%22api%22%7D&${times}`,
      text: '{"status":"success","data":["app","service_name"]}\n',
    },
    { path: `/loki/api/v1/label/service_name/values?${times}`, text: '{"status":"success","data":["api","web"]}\n' },
    {
      path: `/loki/api/v1/detected_labels?query=&${times}`,
      text: '{"detectedLabels":[{"label":"app","cardinality":2},{"label":"service_name","cardinality":2}]}\n',
    },
    {
      path: `/loki/api/v1/patterns?query=%7Bservice_name%3D%22web%22%7D&${times}`,
      text: '{"status":"success","data":[]}\n',
    },
  ])("$path", async ({ path, text }) => {
    expect((await api.get(path, { headers })).text).toBe(text);
  });
});

describe("logcli", () => {
  const headers = { "user-agent": "loki-logcli/3.5.0" };

  test("query", async () => {
    const answer = await api.get(
      `/loki/api/v1/query_range?direction=BACKWARD&end=${END}&limit=30&query=%7Bapp%3D%22web%22%7D+%7C%3D+%22two%22&start=${START}`,
      { headers },
    );
    expect(golden(answer)).toBe(
      `{"status":"success","data":{"resultType":"streams","result":[{"stream":{"app":"web","detected_level":"info","service_name":"web"},"values":[["${ns(70)}","two"]]}],"stats":{}}}\n`,
    );
    // `--stats` wants the object to be there.
    expect(answer.text).toMatch(/"stats":\{"summary":\{"bytesProcessedPerSecond":\d+/);
  });

  test("query with step and interval as float seconds", async () => {
    const answer = await api.get(
      `/loki/api/v1/query_range?direction=FORWARD&end=${END}&interval=30.000000&limit=30&query=%7Bapp%3D%22web%22%7D&start=${START}&step=60.000000`,
      { headers },
    );
    expect(answer.text).toMatch(/one/);
    expect(answer.text).not.toMatch(/x=1/);
    expect(answer.text).toMatch(/two/);
  });

  test("instant query", async () => {
    const query = encodeURIComponent('sum by (app) (count_over_time({app=~".+"}[2m]))');
    const answer = await api.get(`/loki/api/v1/query?direction=BACKWARD&limit=30&query=${query}&time=${END}`, {
      headers,
    });
    expect(golden(answer)).toBe(
      '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"app":"api"},"value":[1700000120,"1"]},{"metric":{"app":"web"},"value":[1700000120,"3"]}],"stats":{}}}\n',
    );
  });

  test("tail, with all that it says", async () => {
    const socket = new WebSocket(
      `${api.base.replace("http", "ws")}/loki/api/v1/tail?delay_for=0&limit=30&query=%7Bapp%3D%22api%22%7D&start=${START}`,
      { headers },
    );
    const [first] = (await once(socket, "message")) as [Buffer];
    expect(first.toString()).toBe(
      `{"streams":[{"stream":{"app":"api","detected_level":"error","service_name":"api"},"values":[["${ns(5)}","other"]]}]}`,
    );
    socket.terminate();
    await expect.poll(() => api.writer.taps.size).toBe(0);
  });

  test.each([
    {
      path: `/loki/api/v1/labels?end=${END}&start=${START}`,
      text: /^\{"status":"success","data":\["app","service_name"\]\}\n$/,
    },
    {
      path: `/loki/api/v1/series?end=${END}&match=%7Bapp%3D%22web%22%7D&match=%7Bapp%3D%22api%22%7D&start=${START}`,
      text: /"app":"api".*"app":"web"|"app":"web".*"app":"api"/,
    },
    {
      path: `/loki/api/v1/label/app/values?end=${END}&start=${START}`,
      text: /^\{"status":"success","data":\["api","web"\]\}\n$/,
    },
    {
      path: `/loki/api/v1/index/stats?end=${END}&query=%7Bapp%3D%22web%22%7D&start=${START}`,
      text: /^\{"streams":1,"chunks":2,"bytes":81,"entries":3\}\n$/,
    },
    {
      path: `/loki/api/v1/detected_field/msg/values?end=${END}&limit=1000&line_limit=1000&query=%7Bapp%3D%22web%22%7D&start=${START}`,
      text: /^\{"limit":1000,"values":\["one"\]\}\n$/,
    },
    {
      path: `/loki/api/v1/index/volume?aggregateBy=series&end=${END}&limit=30&query=%7Bapp%3D%22web%22%7D&start=${START}`,
      text: /"metric":\{"app":"web"\},"value":\[1700000120,"81"\]/,
    },
    {
      path: `/loki/api/v1/index/volume_range?aggregateBy=series&end=${END}&limit=30&query=%7Bapp%3D%22web%22%7D&start=${START}&step=60.000000`,
      text: /"resultType":"matrix".*\[1700000059.999,"60"\],\[1700000120,"21"\]/,
    },
    {
      path: `/loki/api/v1/detected_fields?end=${END}&limit=1000&line_limit=1000&query=%7Bapp%3D%22web%22%7D&start=${START}`,
      text: /"label":"msg","type":"string","cardinality":1,"parsers":\["json"\],"jsonPath":\["msg"\]/,
    },
  ])("$path", async ({ path, text }) => {
    const answer = await api.get(path, { headers });
    expect(answer.status).toBe(200);
    expect(answer.text).toMatch(text);
  });

  test("an error's text comes as it is", async () => {
    const answer = await api.get(`/loki/api/v1/query_range?query=%7Bapp%3D&start=${START}&end=${END}`, { headers });
    expect(answer.status).toBe(400);
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(answer.text).toMatch(/^parse error at line 1, col \d+: syntax error: unexpected \$end, expecting STRING\n$/);
  });

  test("forms in a body count as parameters", async () => {
    const answer = await api.post("/loki/api/v1/query_range", {
      query: '{app="web"} |= "two"',
      start: START,
      end: END,
    });
    expect(answer.text).toContain('"two"');
  });
});
