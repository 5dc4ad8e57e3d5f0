import http from "node:http";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { agoNs, PIPELINE, type Reply, TestWeir } from "../push/weir.ts";
import { makeApi } from "./harness.ts";

/*
 * What Loki's clients ask beside queries, in the exact forms in which they ask. Source: "Loki's HTTP contract", 1 and 7 to 14.
 */

const enc = encodeURIComponent;
const json = ({ text }: Reply): unknown => JSON.parse(text);
const UUID = "84961386-6d84-429d-98bd-c5aee93b5c88";

describe("endpoints", () => {
  let weir: TestWeir;
  /** Nanoseconds of a minute from which the lines are. */
  const base = (BigInt(Date.now()) / 60_000n) * 60_000_000_000n - 600_000_000_000n;
  const at = (seconds: number): string => String(base + BigInt(seconds) * 1_000_000_000n);
  const range = `start=${base}&end=${at(300)}`;
  beforeAll(async () => {
    weir = await TestWeir.start(`${PIPELINE}log_level: silent\n`);
    const sent = await weir.push({
      streams: [
        {
          stream: { app: "web", env: "prod", build: "17" },
          values: [
            [at(0), '{"level":"warn","took":"12ms","user":{"id":7},"size":"2 KB","app":"x","list":[1]}'],
            [at(10), '{"level":"error","took":"1.5s","ok":true,"ratio":0.5}', { trace_id: "abc" }],
          ],
        },
        {
          stream: { app: "api", env: "prod", build: "18", id: UUID, flag: "0" },
          values: [[at(20), 'level=info msg="a b" took=3 empty= bare']],
        },
        { stream: { app: "api", env: "test", pod: "1" }, values: [[at(130), "x".repeat(1000)]] },
      ],
    });
    expect(sent.status).toBe(204);
    await weir.settle();
  });
  afterAll(() => weir.close());

  describe("index/stats", () => {
    test.each([
      {
        name: "Grafana's and logcli's form",
        query: '{env="prod"}',
        // Lines of 81, 53 and 39 bytes; their levels, and the trace id.
        gives: { streams: 2, chunks: 2, bytes: 173 + 18 + 19 + 18 + 11, entries: 3 },
      },
      { name: "nothing", query: '{env="none"}', gives: { streams: 0, chunks: 0, bytes: 0, entries: 0 } },
    ])("of $name", async ({ query, gives }) => {
      const answer = await weir.get(`/loki/api/v1/index/stats?query=${enc(query)}&${range}`);
      expect(json(answer)).toEqual(gives);
    });

    test.each([
      { query: '{env="prod"} |= "x"', text: /only label matchers are supported/ },
      { query: "{}", text: /queries require at least one regexp or equality matcher/ },
      { query: "", text: /syntax error: unexpected \$end/ },
    ])("refuses $query", async ({ query, text }) => {
      const answer = await weir.get(`/loki/api/v1/index/stats?query=${enc(query)}&${range}`);
      expect(answer.status).toBe(400);
      expect(answer.text).toMatch(text);
    });
  });

  describe("index/volume", () => {
    const volume = async (params: string) => {
      const answer = await weir.get(`/loki/api/v1/index/volume?${range}&${params}`);
      expect([answer.status, answer.text.slice(0, 200)]).toEqual([200, expect.any(String)]);
      const { data } = json(answer) as {
        data: { resultType: string; result: { metric: object; value: [number, string] }[] };
      };
      expect(data.resultType).toBe("vector");
      for (const { value } of data.result) expect(value[0]).toBe(Number(base / 1_000_000_000n) + 300);
      return data.result.map(({ metric, value }) => [metric, Number(value[1])]);
    };

    test("as Logs Drilldown asks, largest first", async () => {
      expect(await volume(`query=${enc('{service_name=~".+"}')}&limit=5000`)).toEqual([
        [{ service_name: "api" }, 57 + 1021],
        [{ service_name: "web" }, 182],
      ]);
    });

    test.each([
      {
        name: "by the labels of matchers",
        params: `query=${enc('{app=~".+",env="prod"}')}`,
        gives: [
          [{ app: "web", env: "prod" }, 182],
          [{ app: "api", env: "prod" }, 57],
        ],
      },
      {
        name: "by target labels",
        params: `query=${enc("{}")}&targetLabels=env,pod`,
        gives: [[{ env: "test", pod: "1" }, 1021]],
      },
      {
        name: "of everything, limited",
        params: `query=${enc("{}")}&limit=1`,
        gives: [[{ app: "api", env: "test", pod: "1", service_name: "api" }, 1021]],
      },
      {
        name: "by the names of labels",
        params: `query=${enc("{}")}&aggregateBy=labels&targetLabels=app,pod`,
        gives: [
          [{ app: "" }, 57 + 1021 + 182],
          [{ pod: "" }, 1021],
        ],
      },
    ])("$name", async ({ params, gives }) => {
      expect(await volume(params)).toEqual(gives);
    });

    test("takes no more memory than it may", async () => {
      const api = await makeApi({ query: { max_query_partial_bytes: 100_000 } });
      try {
        const T0 = 1_700_000_000;
        for (const app of ["a", "b"]) {
          for (const sec of [T0, T0 + 5000])
            api.append({ labels: { app }, ns: BigInt(sec) * 1_000_000_000n, text: "x".repeat(2000) });
        }
        await api.flush();
        const ask = (step: string) =>
          api.get(`/loki/api/v1/index/volume_range?query={}&start=${T0 - 10}&end=${T0 + 6000}&step=${step}`);
        expect(await ask("1")).toMatchObject({
          status: 400,
          text: expect.stringMatching(/^the volumes need too much memory \(got: \d+B, limit: 100000B\); consider /),
        });
        expect((await ask("60")).status).toBe(200);
      } finally {
        await api.close();
      }
    });

    test("refuses another aggregation", async () => {
      const answer = await weir.get(`/loki/api/v1/index/volume?${range}&query={}&aggregateBy=x`);
      expect(answer).toMatchObject({ status: 400, text: "invalid aggregation option\n" });
    });
  });

  test("index/volume_range has buckets that end a millisecond before the next", async () => {
    const answer = await weir.get(`/loki/api/v1/index/volume_range?${range}&query=${enc('{app="api"}')}&step=60`);
    const sec = Number(base / 1_000_000_000n);
    expect(json(answer)).toMatchObject({
      data: {
        resultType: "matrix",
        result: [
          {
            metric: { app: "api" },
            values: [
              [sec + 59.999, "57"],
              [sec + 179.999, "1021"],
            ],
          },
        ],
      },
    });
    const one = await weir.get(`/loki/api/v1/index/volume_range?${range}&query=${enc('{app="web"}')}&step=300`);
    expect(json(one)).toMatchObject({
      data: { resultType: "vector", result: [{ value: [sec + 300, expect.any(String)] }] },
    });
  });

  test.each(["detected_labels", "detected_fields", "detected_field/level/values", "patterns", "series", "index/stats"])(
    "%s wants a range in order, and not too long a one",
    async (path) => {
      const ask = (params: string) => weir.get(`/loki/api/v1/${path}?query=${enc('{env="prod"}')}&${params}`);
      expect(await ask(`start=${at(1)}&end=${at(0)}`)).toMatchObject({
        status: 400,
        text: "end timestamp must not be before or equal to start time\n",
      });
      expect((await ask(`start=${at(0)}&end=${at(0)}`)).status).toBe(200);
      expect(await ask(`start=1700000000&end=${1_700_000_000 + 2_880_000}`)).toMatchObject({
        status: 400,
        text: "the query time range exceeds the limit (query length: 800h0m0s, limit: 30d1h)\n",
      });
    },
  );

  test.each(["detected_fields", "detected_field/level/values", "patterns"])("%s checks its step", async (path) => {
    const ask = (step: string) => weir.get(`/loki/api/v1/${path}?query=${enc('{env="prod"}')}&${range}&step=${step}`);
    expect((await ask("1m")).status).toBe(200);
    expect((await ask("0")).text).toContain("zero or negative query resolution step widths are not accepted");
    expect((await ask("0.001")).text).toContain("exceeded maximum resolution of 11,000 points per time series");
    expect((await ask("x")).text).toBe('cannot parse "x" to a valid duration\n');
  });

  describe("detected", () => {
    test("labels leave out numbers and ids, but not flags and pods", async () => {
      const answer = await weir.get(`/loki/api/v1/detected_labels?query=&${range}`);
      expect(json(answer)).toEqual({
        detectedLabels: [
          { label: "app", cardinality: 2 },
          { label: "env", cardinality: 2 },
          { label: "flag", cardinality: 1 },
          { label: "pod", cardinality: 1 },
          { label: "service_name", cardinality: 2 },
        ],
      });
    });

    test("fields of JSON, of logfmt, and of metadata", async () => {
      const answer = await weir.get(
        `/loki/api/v1/detected_fields?query=${enc('{env="prod"}')}&${range}&line_limit=100`,
      );
      const { fields, limit } = json(answer) as { fields: { label: string }[]; limit: number };
      expect(limit).toBe(1000);
      const byName = Object.fromEntries(fields.map((field) => [field.label, field]));
      expect(byName).toMatchObject({
        level: { type: "string", cardinality: 3, parsers: ["json", "logfmt"], jsonPath: ["level"] },
        took: { cardinality: 3, parsers: ["json", "logfmt"] },
        user_id: { type: "int", cardinality: 1, parsers: ["json"], jsonPath: ["user", "id"] },
        size: { type: "bytes" },
        ok: { type: "boolean" },
        ratio: { type: "float" },
        app_extracted: { type: "string", parsers: ["json"], jsonPath: ["app"] },
        msg: { parsers: ["logfmt"] },
        trace_id: { type: "string", cardinality: 1, parsers: null },
        detected_level: { parsers: null },
      });
      for (const absent of ["app", "env", "empty", "bare", "list"]) expect(byName).not.toHaveProperty(absent);
      expect(byName.msg).not.toHaveProperty("jsonPath");
    });

    test("fields may come after a pipeline, and be few", async () => {
      const query = enc('{env="prod"} | json | logfmt | drop __error__, __error_details__');
      const answer = await weir.get(`/loki/api/v1/detected_fields?query=${query}&${range}&field_limit=2`);
      expect((json(answer) as { fields: object[] }).fields).toHaveLength(2);
    });

    test("values of a field, sizes in short form", async () => {
      const get = async (name: string) =>
        json(await weir.get(`/loki/api/v1/detected_field/${name}/values?query=${enc('{env="prod"}')}&${range}`));
      expect(await get("size")).toEqual({ limit: 1000, values: ["2KB"] });
      expect(await get("nothing")).toEqual({});
    });

    test("a metric query is refused", async () => {
      const query = enc('count_over_time({env="prod"}[1m])');
      expect(await weir.get(`/loki/api/v1/detected_fields?query=${query}&${range}`)).toMatchObject({
        status: 400,
        text: "only log selector is supported\n",
      });
    });

    test("nothing", async () => {
      expect(json(await weir.get(`/loki/api/v1/detected_fields?query=${enc('{env="none"}')}&${range}`))).toEqual({
        limit: 1000,
      });
    });
  });

  test.each([
    { path: `/loki/api/v1/patterns?query=${enc('{app="web"}')}&step=10s`, gives: { status: "success", data: [] } },
    { path: "/prometheus/api/v1/rules", gives: { status: "success", data: { groups: [] }, errorType: "", error: "" } },
    { path: "/prometheus/api/v1/alerts", gives: { status: "success", data: { alerts: [] }, errorType: "", error: "" } },
    {
      path: `/loki/api/v1/format_query?query=${enc('sum by (a)(rate({app="t1"}|="x" [5m]))')}`,
      gives: { status: "success", data: 'sum by (a)(rate({app="t1"} |= "x"[5m]))' },
    },
    {
      path: `/loki/api/v1/format_query?query=${enc('{app="t1"} |~ "("')}`,
      gives: { status: "success", data: '{app="t1"} |~ "("' },
    },
    { path: "/log_level", gives: { message: "Current log level is silent" } },
  ])("$path", async ({ path, gives }) => {
    const answer = await weir.get(path);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    expect(answer.text.endsWith("}\n")).toBe(true);
    expect(json(answer)).toEqual(gives);
  });

  test.each([
    { query: '{app="web"} |= "x"', text: "only label matchers are supported\n" },
    { query: '{app="web"} | json', text: "only label matchers are supported\n" },
    { query: "{}", text: expect.stringContaining("queries require at least one") as string },
  ])("patterns refuses $query", async ({ query, text }) => {
    expect(await weir.get(`/loki/api/v1/patterns?query=${enc(query)}`)).toMatchObject({ status: 400, text });
  });

  test("format_query says where a query is wrong", async () => {
    const answer = await weir.get(`/loki/api/v1/format_query?query=${enc('{app="t1"')}`);
    expect(answer.status).toBe(400);
    expect(json(answer)).toEqual({
      status: "invalid-query",
      error: expect.stringMatching(/^parse error at line 1, col \d+: syntax error/) as string,
    });
  });

  test.each(["/loki/api/v1/rules", "/loki/api/v1/rules/test/test", "/api/prom/rules"])("%s is 404", async (path) => {
    expect((await weir.get(path)).status).toBe(404);
  });

  test("drilldown-limits", async () => {
    expect(json(await weir.get("/loki/api/v1/drilldown-limits"))).toMatchObject({
      limits: {
        discover_log_levels: true,
        discover_service_name: expect.arrayContaining(["service", "app"]) as string[],
        max_entries_limit_per_query: 5000,
        max_query_length: "30d1h",
        max_query_bytes_read: "0B",
        max_query_series: 500,
        query_timeout: "1m",
        retention_period: "0s",
        volume_enabled: true,
      },
      pattern_ingester_enabled: false,
    });
  });

  test("log_level is changed by a post", async () => {
    const set = (level: string) => weir.post(`/log_level?log_level=${level}`, "", { "content-type": "text/plain" });
    expect(json(await set("fatal"))).toEqual({ message: "Log level set to fatal", status: "success" });
    expect(json(await weir.get("/log_level"))).toEqual({ message: "Current log level is fatal" });
    expect(await set("loud")).toMatchObject({ status: 400, text: 'unrecognized log level "loud"\n' });
    await set("silent");
  });

  test("config, tenant limits, services and flush", async () => {
    const config = await weir.get("/config");
    expect(config.text).toMatch(/^receivers:\n {2}forward:\n {4}type: "forward"/);
    expect(config.text).toMatch(/\npipelines:\n {2}default:\n/);
    expect((await weir.get("/config?mode=diff")).text).toMatch(/query:\n {2}threads: 0\n/);
    expect((await weir.get("/config?mode=defaults")).text).toMatch(/query:\n {2}threads: "auto"\n/);
    expect((await weir.get("/config/tenant/v1/limits")).text).toMatch(/^max_line_size: 262144\n/);
    expect((await weir.get("/services")).text).toMatch(/^server => Running\n/);
    expect((await weir.post("/flush", "", { "content-type": "text/plain" })).status).toBe(204);
    expect(await weir.metrics.render()).toMatch(
      /weir_store_flushes_total\{[^}]*outcome="ok"[^}]*\} 1|weir_store_flush.* 1/,
    );
  });

  describe("HTTP", () => {
    test("an answer is gzip for whoever takes it, and as it is for others", async () => {
      const path = `/loki/api/v1/query_range?query=${enc('{env="test"}')}&${range}`;
      const raw = (headers: Record<string, string>) =>
        new Promise<{ headers: http.IncomingHttpHeaders; body: Buffer }>((resolve, reject) => {
          http
            .get(weir.base + path, { headers }, (response) => {
              const pieces: Buffer[] = [];
              response.on("data", (piece: Buffer) => pieces.push(piece));
              response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(pieces) }));
            })
            .on("error", reject);
        });
      const plain = await raw({});
      expect(plain.headers["content-encoding"]).toBeUndefined();
      const small = await raw({ "accept-encoding": "gzip, deflate, br" });
      expect(small.headers["content-encoding"]).toBe("gzip");
      expect(small.headers.vary?.toLowerCase()).toContain("accept-encoding");
      const strip = (text: string) => text.replace(/"stats":.*/, "");
      expect(strip(gunzipSync(small.body).toString())).toBe(strip(plain.body.toString()));
      for (const [accepts, encoding] of [
        ["GZIP", "gzip"],
        ["*", "gzip"],
        ["br;q=1.0, gzip;q=0.5", "gzip"],
        ["gzip;q=0", undefined],
        ["gzip;q=0, *;q=0", undefined],
        ["identity", undefined],
        ["br, zstd", undefined],
      ]) {
        const { headers } = await raw({ "accept-encoding": accepts ?? "" });
        expect(headers["content-encoding"], accepts).toBe(encoding);
      }
    });

    test("the oldest names of labels and series still work", async () => {
      for (const path of ["label", "label/app/values", "series"]) {
        const [old, now] = await Promise.all([
          weir.get(`/api/prom/${path}?${range}`),
          weir.get(`/loki/api/v1/${path}?${range}`),
        ]);
        expect(old.text).toBe(now.text);
        expect(old.text).toMatch(/web/.test(now.text) ? /web/ : /app/);
      }
    });

    test("a request has an id, its own or a new one", async () => {
      expect((await weir.get("/ready", { "x-request-id": "mine-1" })).headers.get("x-request-id")).toBe("mine-1");
      const [one, two] = [await weir.get("/ready", { "x-request-id": "no\tspaces allowed" }), await weir.get("/ready")];
      expect(one.headers.get("x-request-id")).toMatch(/^[0-9a-f]{12}-/);
      expect(one.headers.get("x-request-id")).not.toBe(two.headers.get("x-request-id"));
    });

    test.each([
      { method: "DELETE", path: "/loki/api/v1/index/stats", status: 405 },
      { method: "GET", path: "/loki/api/v1/push", status: 404 },
      { method: "GET", path: "/otlp/v1/logs", status: 404 },
      { method: "GET", path: "/", status: 404 },
      { method: "GET", path: "/loki/api/v1/index/shardz", status: 404 },
    ])("$method $path is $status", async ({ method, path, status }) => {
      expect((await fetch(weir.base + path, { method })).status).toBe(status);
    });
  });
});

describe("CORS", () => {
  test("lets listed origins read, and no others", async () => {
    const weir = await TestWeir.start(
      PIPELINE.replace(
        'listen: "127.0.0.1:0" }\nquery',
        'listen: "127.0.0.1:0", cors_origins: ["https://a.example"] }\nquery',
      ),
    );
    try {
      const asked = await fetch(`${weir.base}/loki/api/v1/labels`, {
        method: "OPTIONS",
        headers: {
          origin: "https://a.example",
          "access-control-request-method": "GET",
          "access-control-request-headers": "x-scope-orgid",
        },
      });
      expect(asked.status).toBe(204);
      expect(asked.headers.get("access-control-allow-origin")).toBe("https://a.example");
      expect(asked.headers.get("access-control-allow-headers")).toBe("x-scope-orgid");
      const read = await weir.get("/loki/api/v1/labels", { origin: "https://a.example" });
      expect(read.headers.get("access-control-allow-origin")).toBe("https://a.example");
      const other = await weir.get("/loki/api/v1/labels", { origin: "https://b.example" });
      expect(other.headers.get("access-control-allow-origin")).toBeNull();
    } finally {
      await weir.close();
    }
  });
});

describe("a stop", () => {
  test("lets pushes under way end, and refuses further ones", async () => {
    const weir = await TestWeir.start();
    const times = Array.from({ length: 30 }, (_, i) => agoNs(10, i));
    const answers = Promise.all(
      times.map(async (ns) => {
        try {
          return [ns, (await weir.push({ streams: [{ stream: { app: "a" }, values: [[ns, "x"]] }] })).status] as const;
        } catch {
          return [ns, 0] as const; // The connection was refused: nothing was acknowledged.
        }
      }),
    );
    await new Promise((resolve) => setTimeout(resolve, 5));
    const dir = await weir.stop();
    const acked = (await answers).filter(([, status]) => status === 204).map(([ns]) => ns);
    for (const [, status] of await answers) expect([204, 503, 0]).toContain(status);
    const again = await TestWeir.start(PIPELINE, dir);
    try {
      expect((await again.rows('{app="a"}')).map(({ ns }) => ns)).toEqual(acked);
    } finally {
      await again.close();
    }
  });
});
