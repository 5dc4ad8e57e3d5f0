import { once } from "node:events";
import net from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { register as registerQuery } from "../../src/cli/query.ts";
import { register as registerTail } from "../../src/cli/tail.ts";
import { encode } from "../../src/codec/msgpack.ts";
import { fakeIo, run } from "../cli/harness.ts";
import { agoNs, PIPELINE, TestWeir } from "../push/weir.ts";

const as = (tenant: string): Record<string, string> => ({ "x-scope-orgid": tenant });
const QUERY = encodeURIComponent('{app="web"}');
const COUNT = encodeURIComponent('sum(count_over_time({app="web"}[1h]))');
const TRACE = "0af7651916cd43dd8448eb211c80319c";

/** Every path that reads data, and what of another tenant's line its answer would show. */
const READ_PATHS = [
  `/loki/api/v1/query_range?query=${QUERY}&since=1h`,
  `/loki/api/v1/query_range?query=${COUNT}&since=1h`,
  `/loki/api/v1/query?query=${COUNT}`,
  "/loki/api/v1/labels",
  "/loki/api/v1/label",
  "/loki/api/v1/label/owner/values",
  "/loki/api/v1/series",
  `/api/v1/traces/${TRACE}`,
  `/api/prom/query?query=${QUERY}`,
  "/api/prom/label/owner/values",
  "/api/prom/series",
  `/loki/api/v1/index/volume?query=${encodeURIComponent("{}")}`,
  `/loki/api/v1/index/volume_range?query=${encodeURIComponent("{}")}`,
];

/** The same of paths whose answers are numbers, which would be larger with another tenant's lines. */
const COUNTING_PATHS = [
  { path: `/loki/api/v1/index/stats?query=${QUERY}`, shows: /"streams":2,.*"entries":2\}/ },
  { path: "/loki/api/v1/detected_labels", shows: /"label":"owner","cardinality":1\}/ },
  { path: `/loki/api/v1/detected_fields?query=${QUERY}`, shows: /"label":"trace_id","type":"string","cardinality":1,/ },
  {
    path: `/loki/api/v1/detected_field/trace_id/values?query=${QUERY}`,
    shows: new RegExp(`"values":\\["${TRACE}"\\]`),
  },
  { path: `/loki/api/v1/patterns?query=${QUERY}`, shows: /"data":\[\]/ },
  { path: `/api/v1/explain?query=${QUERY}`, shows: /"results":2,/ },
  { path: "/loki/api/v1/drilldown-limits", shows: /"limits":/ },
  { path: "/config/tenant/v1/limits", shows: /max_line_size/ },
];

/** Where there is nothing to be seen. */
const EMPTY_PATHS = [
  "/prometheus/api/v1/rules",
  "/prometheus/api/v1/alerts",
  "/loki/api/v1/rules",
  "/api/prom/rules",
  "/loki/api/v1/tail",
  "/api/prom/tail",
];

describe("with auth_enabled", () => {
  let weir: TestWeir;
  beforeAll(async () => {
    weir = await TestWeir.start(
      PIPELINE.replace('listen: "127.0.0.1:0" }\nquery', 'listen: "127.0.0.1:0", auth_enabled: true }\nquery'),
    );
    for (const owner of ["one", "two"]) {
      const sent = await weir.push(
        {
          streams: [
            { stream: { app: "web", owner }, values: [[agoNs(60), `line of ${owner}`, { trace_id: TRACE }]] },
            // Labels that are the same for both: only the tenant tells the streams apart.
            { stream: { app: "web" }, values: [[agoNs(60), `also of ${owner}`, { trace_id: TRACE }]] },
          ],
        },
        as(owner),
      );
      expect(sent.status).toBe(204);
    }
    await weir.settle();
  });
  afterAll(() => weir.close());

  test.each([...READ_PATHS, ...COUNTING_PATHS.map(({ path }) => path), ...EMPTY_PATHS])(
    "%s wants a tenant",
    async (path) => {
      expect(await weir.get(path)).toMatchObject({ status: 401, text: "no org id\n" });
      expect(await weir.get(path, as(""))).toMatchObject({ status: 401, text: "no org id\n" });
    },
  );

  test.each(READ_PATHS)("%s shows a tenant's own data alone", async (path) => {
    const one = await weir.get(path, as("one"));
    expect(one.status).toBe(200);
    expect(one.text).not.toMatch(/two/);
    const two = await weir.get(path, as("two"));
    expect(two.text).not.toMatch(/\bone\b/);
    // One of two lines each, and one of two series.
    if (path.includes("count_over")) expect(one.text).toMatch(/"2"/);
    else expect(one.text === two.text).toBe(path.endsWith("/labels") || path.endsWith("/label"));
  });

  test.each(COUNTING_PATHS)("$path counts a tenant's own data alone", async ({ path, shows }) => {
    for (const tenant of ["one", "two"]) expect((await weir.get(path, as(tenant))).text).toMatch(shows);
  });

  test("a tenant that never wrote has no data, and is no error", async () => {
    expect(await weir.rows('{app="web"}', as("nobody"))).toEqual([]);
  });

  test.each([
    { tenant: "a b", status: 400, text: "tenant ID 'a b' contains unsupported character ' '\n" },
    { tenant: "..", status: 400, text: "tenant ID is '.' or '..'\n" },
    { tenant: ".", status: 400, text: "tenant ID is '.' or '..'\n" },
    { tenant: "x".repeat(151), status: 400, text: "tenant ID is too long: max 150 characters\n" },
    { tenant: "one|two", status: 400, text: "multiple org IDs present\n" },
    { tenant: "one|one", status: 200, text: undefined },
    { tenant: "a-B_9.*'()!", status: 200, text: undefined },
  ])("the tenant $tenant is answered with $status", async ({ tenant, status, text }) => {
    const read = await weir.get("/loki/api/v1/labels", as(tenant));
    expect(read.status).toBe(status);
    if (text !== undefined) expect(read.text).toBe(text);
    const sent = await weir.push({ streams: [{ stream: { app: "x" }, values: [] }] }, as(tenant));
    expect(sent.status).toBe(status === 200 ? 204 : status);
    if (text !== undefined) expect(sent.text).toBe(text);
  });

  test("a push wants a tenant, on every path", async () => {
    for (const path of ["/loki/api/v1/push", "/api/prom/push"]) {
      expect(await weir.post(path, '{"streams":[]}')).toMatchObject({ status: 401, text: "no org id\n" });
    }
    const otlp = await weir.post("/otlp/v1/logs", "{}");
    expect(otlp).toMatchObject({ status: 401, text: "no org id\n" });
    expect(otlp.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  });

  test.each(["/ready", "/metrics", "/loki/api/v1/status/buildinfo"])("%s wants none", async (path) => {
    expect((await weir.get(path)).status).toBe(200);
  });

  test("a tail gives its tenant's lines alone, and wants one", async () => {
    const url = `${weir.base.replace("http", "ws")}/loki/api/v1/tail?query=${QUERY}`;
    const refused = await new Promise<number>((resolve) => {
      const client = new WebSocket(url);
      client.on("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
      client.on("error", () => {});
    });
    expect(refused).toBe(401);
    const messages: string[] = [];
    const client = new WebSocket(url, { headers: as("one") });
    client.on("message", (data: Buffer) => messages.push(data.toString()));
    await new Promise((resolve) => client.once("open", resolve));
    for (const owner of ["two", "one"]) {
      await weir.push(
        { streams: [{ stream: { app: "web", owner }, values: [[agoNs(0), `live of ${owner}`]] }] },
        as(owner),
      );
    }
    while (!messages.some((text) => text.includes("live of one")))
      await new Promise((resolve) => setTimeout(resolve, 20));
    client.close();
    expect(messages.join("\n")).not.toMatch(/two/);
  });
});

test("a receiver of the forward protocol has a tenant of its own", async () => {
  const yaml = PIPELINE.replace("udp_heartbeat: false", "udp_heartbeat: false, tenant: shop").replace(
    'listen: "127.0.0.1:0" }\nquery',
    'listen: "127.0.0.1:0", auth_enabled: true }\nquery',
  );
  const weir = await TestWeir.start(yaml);
  try {
    const socket = net.connect(Number(new URL(weir.forward).port), "127.0.0.1");
    const chunk = { chunk: "c1" };
    socket.write(encode(["a.tag", [[Math.floor(Date.now() / 1000), { log: "from an agent" }]], chunk]));
    await once(socket, "data"); // The acknowledgement.
    socket.destroy();
    expect(await weir.rows('{tag="a.tag"}', as("shop"))).toMatchObject([{ line: "from an agent" }]);
    expect(await weir.rows('{tag="a.tag"}', as("other"))).toEqual([]);
  } finally {
    await weir.close();
  }
});

describe("without auth_enabled", () => {
  let weir: TestWeir;
  beforeAll(async () => {
    weir = await TestWeir.start(
      `${PIPELINE}`.replace(
        "receivers:",
        "receivers:\n  own: { type: push, path: /own/push, tenant: other }\n  push: { type: push }",
      ),
    );
  });
  afterAll(() => weir.close());

  test("the header means nothing, and a receiver may have a tenant of its own", async () => {
    await weir.push({ streams: [{ stream: { app: "web" }, values: [[agoNs(5), "fake's"]] }] }, as("a b"));
    expect(
      await weir.post(
        "/own/push",
        JSON.stringify({ streams: [{ stream: { app: "web" }, values: [[agoNs(5), "other's"]] }] }),
      ),
    ).toMatchObject({ status: 204 });
    expect(await weir.rows('{app="web"}', as("other"))).toMatchObject([{ line: "fake's" }]);
  });
});

describe("weir query and weir tail", () => {
  let weir: TestWeir;
  beforeAll(async () => {
    weir = await TestWeir.start(
      PIPELINE.replace('listen: "127.0.0.1:0" }\nquery', 'listen: "127.0.0.1:0", auth_enabled: true }\nquery'),
    );
    await weir.push({ streams: [{ stream: { app: "web" }, values: [[agoNs(5), "mine"]] }] }, as("a-b(c)"));
    await weir.settle();
  });
  afterAll(() => weir.close());

  test.each<{ name: string; argv: string[]; env: Record<string, string> }>([
    { name: "a flag", argv: ["--tenant", "a-b(c)"], env: {} },
    { name: "the environment", argv: [], env: { WEIR_TENANT: "a-b(c)" } },
  ])("have a tenant by $name", async ({ argv, env }) => {
    const url = ["--url", weir.base];
    const asked = await run(registerQuery, ["query", '{app="web"}', ...url, ...argv], fakeIo({ env }));
    expect([asked.stdout, asked.stderr, asked.exitCode]).toEqual([expect.stringContaining("mine"), "", 0]);
    const io = fakeIo({ env });
    const tailing = run(registerTail, ["tail", '{app="web"}', ...url, ...argv], io);
    await expect.poll(() => io.out().toString()).toContain("mine");
    io.interrupt();
    expect((await tailing).exitCode).toBe(0);
  });

  test("are told that they lack one", async () => {
    const asked = await run(registerQuery, ["query", '{app="web"}', "--url", weir.base]);
    expect(asked.stderr).toContain("no org id");
    expect(asked.exitCode).toBe(1);
  });
});
