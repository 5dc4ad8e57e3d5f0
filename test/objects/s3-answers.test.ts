import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { Metrics } from "../../src/core/metrics.ts";
import { removeLeftovers } from "../../src/objects/leftovers.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { openObjectStore } from "../../src/objects/open.ts";
import { s3Options } from "../../src/objects/options.ts";
import { S3Store } from "../../src/objects/s3.ts";
import { createS3Client } from "../../src/objects/s3-client.ts";

/** One answer of a server that says what a test wants. */
interface Answer {
  readonly status: number;
  readonly body?: string;
  readonly headers?: Record<string, string>;
}

const xmlError = (code: string) => `<Error><Code>${code}</Code><Message>said so</Message></Error>`;

describe("answers of an S3 server", () => {
  let server: http.Server;
  let answer: (request: http.IncomingMessage) => Answer = () => ({ status: 200 });
  let requests: { method: string; url: string; headers: http.IncomingHttpHeaders }[] = [];
  let endpoint = "";
  beforeAll(async () => {
    server = http.createServer((request, response) => {
      const { method = "", url = "", headers } = request;
      requests.push({ method, url, headers });
      request.resume().on("end", () => {
        const { status, body = "", headers: given = {} } = answer(request);
        response.writeHead(status, { ...given, "content-length": body.length }).end(method === "HEAD" ? "" : body);
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    endpoint = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  });
  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  beforeEach(() => {
    requests = [];
    vi.stubEnv("AWS_ACCESS_KEY_ID", "key");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
    vi.stubEnv("AWS_PROFILE", "");
  });
  afterEach(() => vi.unstubAllEnvs());

  const waits: number[] = [];
  const open = (options: Record<string, unknown> = {}, metrics?: Metrics): S3Store =>
    new S3Store(
      { bucket: "logs", prefix: "weir/", options: s3Options.parse({ endpoint, attempts: 2, ...options }) },
      {
        sleep: async (ms) => {
          waits.push(ms);
        },
        random: () => 0.5,
        ...(metrics === undefined ? {} : { metrics }),
      },
    );

  test.each([
    {
      status: 403,
      name: "AccessDenied",
      code: "store_denied",
      retriable: true,
      tries: 1,
      says: /allow s3:GetObject.*s3:ListBucket/,
    },
    {
      status: 403,
      name: "SignatureDoesNotMatch",
      code: "store_denied",
      retriable: true,
      tries: 1,
      says: /check the access key/,
    },
    { status: 400, name: "ExpiredToken", code: "store_denied", retriable: true, tries: 1, says: /expired/ },
    { status: 403, name: "RequestTimeTooSkewed", code: "store_denied", retriable: true, tries: 2, says: /clock/ },
    { status: 404, name: "NoSuchBucket", code: "store_bucket", retriable: true, tries: 1, says: /create the bucket/ },
    { status: 301, name: "PermanentRedirect", code: "store_bucket", retriable: true, tries: 1, says: /another region/ },
    {
      status: 400,
      name: "AuthorizationHeaderMalformed",
      code: "store_bucket",
      retriable: true,
      tries: 1,
      says: /another region/,
    },
    {
      status: 400,
      name: "KMS.DisabledException",
      code: "store_refused",
      retriable: true,
      tries: 1,
      says: /s3: section/,
    },
    { status: 501, name: "NotImplemented", code: "store_unsupported", retriable: false, tries: 1, says: /lacks/ },
    { status: 500, name: "InternalError", code: "store_unavailable", retriable: true, tries: 2, says: /said so/ },
    { status: 503, name: "SlowDown", code: "store_unavailable", retriable: true, tries: 2, says: /SlowDown/ },
    { status: 429, name: "TooManyRequests", code: "store_unavailable", retriable: true, tries: 2, says: /said so/ },
    {
      status: 409,
      name: "ConditionalRequestConflict",
      code: "store_unavailable",
      retriable: true,
      tries: 2,
      says: /said so/,
    },
    { status: 400, name: "RequestTimeout", code: "store_unavailable", retriable: true, tries: 2, says: /said so/ },
    { status: 412, name: "PreconditionFailed", code: "object_exists", retriable: false, tries: 1, says: /already/ },
  ])("$status $name is $code", async ({ status, name, code, retriable, tries, says }) => {
    answer = () => ({ status, body: xmlError(name) });
    const store = open();
    await expect(store.putIfAbsent("k", [Buffer.from("x")])).rejects.toMatchObject({
      code,
      retriable,
      message: expect.stringMatching(says),
    });
    expect(requests).toHaveLength(tries);
    await store.close();
  });

  test("waits between tries grow, are bounded, and are longer when the server asks for less", async () => {
    answer = () => ({ status: 500, body: xmlError("InternalError") });
    waits.length = 0;
    const store = open({ attempts: 9 });
    await expect(store.get("k")).rejects.toMatchObject({ code: "store_unavailable" });
    expect(waits).toEqual([75, 150, 300, 600, 1200, 2400, 3750, 3750]);
    waits.length = 0;
    answer = () => ({ status: 503, body: xmlError("SlowDown") });
    await expect(store.get("k")).rejects.toMatchObject({ code: "store_unavailable" });
    expect(waits.slice(0, 3)).toEqual([375, 750, 1500]);
    await store.close();
  });

  test("many requests that wait for their next try are no warning of Node's", async () => {
    answer = () => ({ status: 500, body: xmlError("InternalError") });
    const warnings: string[] = [];
    const onWarning = ({ message }: Error) => warnings.push(message);
    process.on("warning", onWarning);
    const options = s3Options.parse({ endpoint, attempts: 2 });
    const store = new S3Store({ bucket: "logs", prefix: "weir/", options });
    const results = await Promise.allSettled(Array.from({ length: 30 }, () => store.get("k")));
    await store.close();
    process.off("warning", onWarning);
    expect(results.every(({ status }) => status === "rejected")).toBe(true);
    expect(warnings).toEqual([]);
  });

  test("a server that ignores the condition is refused when the store is opened", async () => {
    answer = () => ({ status: 200 });
    await expect(openObjectStore(`s3://logs/weir?endpoint=${endpoint}`)).rejects.toMatchObject({
      code: "store_unsupported",
      retriable: false,
      message: expect.stringContaining('ignores "If-None-Match: *"'),
    });
    expect(requests.map(({ method, url, headers }) => [method, url.split("?")[0], headers["if-none-match"]])).toEqual([
      ["PUT", "/logs/weir/weir-store.json", "*"],
      ["PUT", "/logs/weir/weir-store.json", "*"],
    ]);
  });

  test("one request opens a store that was opened before", async () => {
    answer = () => ({ status: 412, body: xmlError("PreconditionFailed") });
    await (await openObjectStore(`s3://logs/weir?endpoint=${endpoint}`)).close();
    expect(requests).toHaveLength(1);
  });

  test("a store that was looked at already is opened without a request", async () => {
    await (await openObjectStore(`s3://logs/weir?endpoint=${endpoint}`, { isChecked: true })).close();
    expect(requests).toHaveLength(0);
  });

  test("a server that can't be reached is store_unavailable", async () => {
    const store = open({ endpoint: "http://127.0.0.1:1" });
    await expect(store.get("k")).rejects.toMatchObject({
      code: "store_unavailable",
      message: expect.stringContaining("ECONNREFUSED"),
    });
    await store.close();
  });

  test("without keys the error says where they may come from", async () => {
    vi.stubEnv("AWS_ACCESS_KEY_ID", undefined);
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", undefined);
    vi.stubEnv("AWS_EC2_METADATA_DISABLED", "true");
    vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", "none");
    vi.stubEnv("AWS_CONFIG_FILE", "none");
    const store = open();
    await expect(store.get("k")).rejects.toMatchObject({
      code: "store_denied",
      message: expect.stringContaining("AWS_ACCESS_KEY_ID"),
    });
    expect(requests).toHaveLength(0);
    await store.close();
  });

  test("a listing out of order is refused, and what is no key of Weir's left out", async () => {
    const page = (keys: readonly string[]) => ({
      status: 200,
      body: `<ListBucketResult>${keys.map((key) => `<Contents><Key>weir/${key}</Key><Size>1</Size></Contents>`).join("")}</ListBucketResult>`,
    });
    const store = open();
    const list = async () => {
      const keys: string[] = [];
      for await (const { key } of store.list("")) keys.push(key);
      return keys;
    };
    answer = () => page(["a", "folder/", "has space", "weir-store.json", "z"]);
    expect(await list()).toEqual(["a", "z"]);
    answer = () => page(["b", "a"]);
    await expect(list()).rejects.toMatchObject({
      code: "store_unsupported",
      message: expect.stringContaining("order"),
    });
    await store.close();
  });

  test.each(["", "<NextContinuationToken></NextContinuationToken>"])(
    "a listing that has more and does not say how to go on is refused, not taken for the whole: %s",
    async (token) => {
      answer = () => ({
        status: 200,
        body: `<ListBucketResult><IsTruncated>true</IsTruncated>${token}<Contents><Key>weir/a</Key><Size>1</Size></Contents></ListBucketResult>`,
      });
      const store = open();
      const list = async () => {
        for await (const { key } of store.list("")) expect(key).toBe("a");
      };
      await expect(list()).rejects.toMatchObject({
        code: "store_unsupported",
        message: expect.stringContaining("more after a,"),
      });
      expect(requests).toHaveLength(1);
      await store.close();
    },
  );

  test("a server that does not know ranges gives whole objects, of which the range is taken", async () => {
    answer = () => ({ status: 200, body: "0123456789" });
    const store = open();
    expect((await store.getRange("k", 2, 3)).toString()).toBe("234");
    expect(await store.getSuffix("k", 4)).toEqual({ bytes: Buffer.from("6789"), size: 10 });
    await expect(store.getRange("k", 8, 3)).rejects.toMatchObject({ code: "object_range" });
    await store.close();
  });

  test("the end of an object without bytes is empty, however the server says it", async () => {
    const store = open();
    answer = () => ({ status: 206, headers: { "content-range": "bytes 0--1/0" } });
    expect(await store.getSuffix("k", 10)).toEqual({ bytes: Buffer.alloc(0), size: 0 });
    answer = ({ method }) => (method === "HEAD" ? { status: 200 } : { status: 416, body: xmlError("InvalidRange") });
    expect(await store.getSuffix("k", 10)).toEqual({ bytes: Buffer.alloc(0), size: 0 });
    await store.close();
  });

  test("keys of which one can't be deleted are an error", async () => {
    const denied = "<Error><Key>weir/b</Key><Code>AccessDenied</Code><Message>no</Message></Error>";
    answer = () => ({ status: 200, body: `<DeleteResult>${denied}</DeleteResult>` });
    const store = open();
    await expect(store.deleteMany(["a", "b"])).rejects.toMatchObject({ code: "store_denied" });
    expect(requests).toHaveLength(1);
    await store.close();
  });

  test.each([
    { sse: {}, headers: {} },
    { sse: { sse: "AES256" }, headers: { "x-amz-server-side-encryption": "AES256" } },
    {
      sse: { sse: "aws:kms", sse_kms_key_id: "alias/logs" },
      headers: {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "alias/logs",
        "x-amz-server-side-encryption-bucket-key-enabled": "true",
      },
    },
  ])("objects are written with the encryption that is wanted: $sse", async ({ sse, headers }) => {
    answer = () => ({ status: 200 });
    const store = open(sse);
    await store.put("k", [Buffer.from("x")]);
    const sent = Object.entries(requests[0].headers).filter(([name]) => name.includes("encryption"));
    expect(Object.fromEntries(sent)).toEqual(headers);
    await store.close();
  });

  test.each([
    { path_style: "auto", url: "/logs/weir/k?x-id=GetObject" },
    { path_style: true, url: "/logs/weir/k?x-id=GetObject" },
  ])("the bucket stands in the path for a server of one's own: $path_style", async ({ path_style, url }) => {
    answer = () => ({ status: 200, body: "x" });
    const store = open({ path_style });
    await store.get("k");
    expect(requests[0].url).toBe(url);
    await store.close();
  });

  test("requests are counted by operation and result", async () => {
    const metrics = new Metrics();
    const store = open({}, metrics);
    answer = () => ({ status: requests.length === 1 ? 500 : 200, body: "x" });
    await store.get("k");
    answer = () => ({ status: 404, body: xmlError("NoSuchKey") });
    await expect(store.get("k")).rejects.toMatchObject({ code: "object_missing" });
    const text = await metrics.render();
    for (const result of ["retry", "ok", "missing"]) {
      expect(text).toContain(`weir_objects_requests_total{op="GetObject",result="${result}"} 1`);
    }
    expect(text).toContain('weir_objects_request_seconds_count{op="GetObject"} 3');
    await store.close();
  });
});

test.each([
  { name: "AWS, by option", options: { region: "eu-1" }, env: { AWS_REGION: "us-2" }, region: "eu-1", path: false },
  { name: "AWS, by environment", options: {}, env: { AWS_REGION: "us-2" }, region: "us-2", path: false },
  { name: "AWS, by its other variable", options: {}, env: { AWS_DEFAULT_REGION: "us-3" }, region: "us-3", path: false },
  { name: "a server", options: { endpoint: "http://h:1" }, env: {}, region: "us-east-1", path: true },
  {
    name: "a server of AWS's variable",
    options: {},
    env: { AWS_ENDPOINT_URL: "http://h:1" },
    region: "us-east-1",
    path: true,
  },
  {
    name: "a server with a region",
    options: { endpoint: "http://h:1" },
    env: { AWS_REGION: "x" },
    region: "x",
    path: true,
  },
  {
    name: "bucket names in hosts",
    options: { endpoint: "http://h:1", path_style: false },
    env: {},
    region: "us-east-1",
    path: false,
  },
])("region and style of addresses for $name", async ({ options, env, region, path }) => {
  const client = createS3Client(s3Options.parse(options), env);
  expect(await client.config.region()).toBe(region);
  expect(client.config.forcePathStyle).toBe(path);
  client.destroy();
});

test("a store without uploads in parts has no leftovers", async () => {
  expect(await removeLeftovers(new MemoryStore(), Date.now())).toBe(0);
});
