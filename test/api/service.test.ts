import net from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { httpOptions } from "../../src/api/options.ts";
import { startHttp } from "../../src/api/server.ts";
import { silentLogger } from "../../src/core/log.ts";
import { makeApi, type TestApi } from "./harness.ts";

/** Sends bytes as they are and gives everything that comes back until the server closes, or `ms` have passed. */
function raw(address: string, request: string, ms = 120_000): Promise<string> {
  const [host, port] = address.split(":");
  return new Promise((resolve) => {
    const socket = net.connect(Number(port), host);
    let got = "";
    const done = () => {
      socket.destroy();
      resolve(got);
    };
    const timer = setTimeout(done, ms);
    socket.on("data", (bytes) => {
      got += bytes.toString("latin1");
    });
    socket.on("error", done);
    socket.on("close", () => {
      clearTimeout(timer);
      done();
    });
    socket.write(request);
  });
}

describe("the server", () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await makeApi({ http: { body_bytes_max: 15_000 } });
  });
  afterAll(() => api.close());

  test("says whether it is ready, and why not", async () => {
    expect(await api.get("/ready")).toMatchObject({ status: 200, text: "ready\n" });
    api.state = { ready: false, reason: "the intake log is full" };
    const answer = await api.get("/ready");
    expect(answer).toMatchObject({ status: 503, text: "the intake log is full\n" });
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    api.state = { ready: true, reason: "" };
  });

  test("tells its version without an envelope", async () => {
    const answer = await api.get("/loki/api/v1/status/buildinfo");
    expect(answer.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    expect(JSON.parse(answer.text)).toEqual({
      version: "9.9.9",
      revision: "",
      branch: "",
      buildUser: "",
      buildDate: "",
      goVersion: "",
    });
  });

  test("shows metrics of its requests, by route", async () => {
    await api.get("/loki/api/v1/label/one/values");
    await api.get("/loki/api/v1/label/two/values");
    await api.get("/no/such/path");
    await expect
      .poll(async () => (await api.get("/metrics")).text)
      .toMatch(/weir_api_requests_total\{route="\/loki\/api\/v1\/label\/:name\/values",code="200"\} 2/);
    await expect
      .poll(async () => (await api.get("/metrics")).text)
      .toMatch(/weir_api_requests_total\{route="none",code="404"\} 1/);
    const { text, headers } = await api.get("/metrics");
    expect(headers.get("content-type")).toContain("text/plain");
    expect(text).toContain("weir_query_queries_total");
  });

  test.each([
    "/",
    "/loki",
    "/loki/api/v1/",
    "/loki/api/v1/nothing",
    "/loki/api/v1/label//values",
    "/api/v1/traces",
    "/ready/",
  ])("does not know %s", async (path) => {
    const answer = await api.get(path);
    expect(answer).toMatchObject({ status: 404, text: "404 page not found\n" });
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
  });

  test.each([
    { method: "PUT", path: "/loki/api/v1/query_range" },
    { method: "DELETE", path: "/loki/api/v1/labels" },
    { method: "PATCH", path: "/loki/api/v1/label/app/values" },
    { method: "HEAD", path: "/loki/api/v1/query" },
    { method: "DELETE", path: "/api/v1/traces/abc" },
    { method: "POST", path: "/ready" },
  ])("refuses $method $path with 405 and nothing else", async ({ method, path }) => {
    expect(await api.get(path, { method })).toMatchObject({ status: 405, text: "" });
  });

  test.each([
    { name: "no request at all", request: "GARBAGE\r\n\r\n", says: "400 Bad Request" },
    {
      name: "a blank in the address",
      request: 'GET /x?query={app="a b"} HTTP/1.1\r\nHost: x\r\n\r\n',
      says: "400 Bad Request",
    },
    {
      name: "a body that is not as long as its pieces say",
      request:
        "POST /loki/api/v1/query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nquery\r\n0\r\n\r\n",
      says: "400 Bad Request",
    },
    {
      name: "an address of more than a megabyte",
      request: `GET /${"a".repeat(1_100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
      says: "431 Request Header Fields Too Large",
    },
  ])("answers $name in plain text, and goes on with others", async ({ request, says }) => {
    const answer = await raw(api.server.address, request);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${says}\r\n`));
    expect(answer).toContain("Content-Type: text/plain; charset=utf-8\r\n");
    expect(answer.endsWith(`\r\n\r\n${says}\n`)).toBe(true);
    expect((await api.get("/ready")).status).toBe(200);
  });

  test.each([
    { name: "JSON", type: "application/json", body: "{broken" },
    { name: "an unknown type", type: "application/x-thing", body: "\0\0" },
    { name: "multipart", type: "multipart/form-data; boundary=x", body: "--x" },
    { name: "no type", type: "", body: "query=vector(2)" },
  ])("ignores a body of $name, as Go does", async ({ type, body }) => {
    const request =
      `POST /loki/api/v1/query?query=vector(1) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n` +
      `${type === "" ? "" : `Content-Type: ${type}\r\n`}Content-Length: ${body.length}\r\n\r\n${body}`;
    expect(await raw(api.server.address, request)).toMatch(/^HTTP\/1\.1 200 [\s\S]*"1"\]\}\]/);
  });

  test.each(["garbage", ";;", "a/b/c", "text/plain", "application/json"])(
    "ignores a body of the type %s, and takes what the address says",
    async (type) => {
      const init = { method: "POST", body: "xx", headers: { "content-type": type } };
      const answer = await api.get("/loki/api/v1/query?query=vector(1)&time=1", init);
      expect(answer).toMatchObject({ status: 200, text: expect.stringContaining('"value":[1,"1"]') as string });
    },
  );

  test("takes ten thousand parameters, and no more", async () => {
    const path = "/loki/api/v1/query";
    const few = `query=vector(1)${"&".repeat(4000)}`;
    const many = `query=vector(1)${"&".repeat(10_000)}`;
    const says = { status: 400, text: "too many parameters: want no more than 10000\n" };
    const form = (body: string) =>
      api.get(path, { method: "POST", body, headers: { "content-type": "application/x-www-form-urlencoded" } });
    expect((await api.get(`${path}?${few}`)).status).toBe(200);
    expect((await form(few)).status).toBe(200);
    expect(await api.get(`${path}?${many}`)).toMatchObject(says);
    expect(await form(many)).toMatchObject(says);
  });

  test.each([
    { path: "/loki/api/v1/label/%zz/values", status: 400 },
    { path: `/loki/api/v1/label/${"x".repeat(3000)}/values`, status: 414 },
  ])("says as text what it can't read in an address", async ({ path, status }) => {
    const answer = await api.get(path);
    expect(answer.status).toBe(status);
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(answer.text).toMatch(/\/loki\/api\/v1\/label\/.*\n$/);
  });

  test("refuses a body that is too large", async () => {
    const answer = await api.post("/loki/api/v1/query", { query: "x".repeat(20_000) });
    expect(answer.status).toBe(413);
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  });

  test("takes a query of 100 KB in the address", async () => {
    const answer = await api.get(`/loki/api/v1/query?query=${encodeURIComponent(`vector(1) #${'"'.repeat(100_000)}`)}`);
    expect(answer.status).toBe(200);
  });

  test.each([
    { name: "a broken escape", path: "/loki/api/v1/labels?start=%zz&end=%" },
    { name: "a broken escape in the path", path: "/loki/api/v1/label/%zz/values" },
    { name: "NUL", path: "/loki/api/v1/query_range?query=%00&start=%00" },
    { name: "ill-formed UTF-8", path: "/loki/api/v1/query_range?query=%ff%fe%7B" },
    { name: "many parameters", path: `/loki/api/v1/series?${"match[]=%7Ba%3D%22b%22%7D&".repeat(500)}` },
    { name: "names of Object's", path: "/loki/api/v1/query?__proto__=1&constructor=2&query=vector(1)" },
    {
      name: "huge numbers",
      path: "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&start=-9223372036854775808&end=9223372036854775807",
    },
    { name: "a float beyond all times", path: "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&start=1e300." },
    {
      name: "times that are no numbers",
      path: "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&start=NaN&end=Infinity",
    },
    { name: "deep nesting", path: `/loki/api/v1/query?query=${"(".repeat(20_000)}1${")".repeat(20_000)}` },
  ])("survives $name", async ({ path }) => {
    const answer = await api.get(path);
    expect([200, 400, 404]).toContain(answer.status);
    expect((await api.get("/ready")).status).toBe(200);
  });

  test("says in one line why it can't listen", async () => {
    const { engine, metrics } = api;
    const deps = { engine, ready: () => api.state, metrics, log: silentLogger, version: "" };
    await expect(startHttp(httpOptions.parse({ listen: api.server.address }), deps)).rejects.toMatchObject({
      code: "listen_failed",
      message: expect.stringMatching(new RegExp(`^http: cannot listen on ${api.server.address}: .*EADDRINUSE`)),
    });
  });

  test.each(["127.0.0.1", "localhost:", "1.2.3.4:99999x", ""])("refuses to listen on %j", (listen) => {
    expect(httpOptions.safeParse({ listen }).success).toBe(false);
  });
});
