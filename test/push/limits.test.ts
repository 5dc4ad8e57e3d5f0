import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { body, NOW_MS, NOW_NS, Receive, stream } from "./receive.ts";

const at = (seconds: number): string => String(BigInt(NOW_NS) + BigInt(seconds) * 1_000_000_000n);
const DAY = 86_400;
const name = '{app="t1", service_name="t1"}';

/** One good line beside each bad one: it is stored whatever becomes of the other. */
describe("a line or stream that is refused leaves the others", () => {
  const long = "x".repeat(2000);
  test.each([
    {
      what: "too old",
      values: [[at(-7 * DAY - 17), "x"]],
      text: `entry for stream '${name}' has timestamp too old: 2023-11-07T22:13:03Z, oldest acceptable timestamp is: 2023-11-07T22:13:20Z`,
    },
    {
      what: "before 1970, with old lines taken",
      options: { reject_old_samples: false },
      values: [["-1", "x"]],
      text: `entry for stream '${name}' has timestamp too old: 1969-12-31T23:59:59Z, oldest acceptable timestamp is: 1970-01-01T00:00:00Z`,
    },
    {
      what: "too new",
      values: [[at(601), "x"]],
      text: `entry for stream '${name}' has timestamp too new: 2023-11-14T22:23:21Z`,
    },
    {
      what: "too long",
      values: [[at(0), "x".repeat(300_000)]],
      text: `max entry size '262144' bytes exceeded for stream '${name}' while adding an entry with length '300000' bytes`,
    },
    {
      what: "metadata too large",
      values: [[at(0), "x", { k: "v".repeat(70_000) }]],
      text: new RegExp(
        `^stream '${name.replace(/[{}]/g, "\\$&")}' has structured metadata too large: '70001' bytes, limit: '65536' bytes\\. Please see `,
      ),
    },
    {
      what: "too much metadata",
      values: [[at(0), "x", Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`k${i}`, "v"]))]],
      text: /has too many structured metadata labels: '129', limit: '128'\. Please see /,
    },
    {
      what: "metadata where none is wanted",
      options: { allow_structured_metadata: false },
      values: [[at(0), "x", { k: "v" }]],
      text: /includes structured metadata, but this feature is disallowed/,
    },
    {
      what: "too many labels",
      labels: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`l${i}`, "v"])),
      values: [[at(0), "x"]],
      text: /^entry for stream '\{l0="v".* service_name="unknown_service"\}' has 16 label names; limit 15$/,
    },
    {
      what: "a label name too long",
      labels: { [`n${"x".repeat(1024)}`]: "v" },
      values: [[at(0), "x"]],
      text: /^stream '.*' has label name too long: 'nx+'$/,
    },
    {
      what: "a label value too long",
      labels: { app: `v${"x".repeat(2048)}` },
      values: [[at(0), "x"]],
      text: /^stream '.*' has label value too long: 'vx+'$/,
    },
  ])("$what", async ({ options = {}, labels = { app: "t1" }, values, text }) => {
    const receive = new Receive({ ...options });
    const sent = await receive.json(body(stream(labels, ...values), stream({ app: "good" }, [at(0), long])));
    expect(sent.status).toBe(400);
    if (typeof text === "string") expect(sent.text).toBe(`${text}\n`);
    else expect(sent.text.trimEnd()).toMatch(text);
    expect(receive.stored().map(({ labels: { app }, line }) => [app, line])).toEqual([["good", long]]);
  });

  test("within a stream", async () => {
    const receive = new Receive();
    const sent = await receive.json(body(stream({ app: "t1" }, [at(0), "one"], [at(-8 * DAY), "old"], [at(1), "two"])));
    expect(sent.status).toBe(400);
    expect(receive.stored().map(({ line }) => line)).toEqual(["one", "two"]);
  });

  test("of which ten are named", async () => {
    const receive = new Receive();
    const values = Array.from({ length: 25 }, (_, i) => [at(-8 * DAY - i), "old"]);
    const sent = await receive.json(body(stream({ app: "t1" }, ...values), stream({ app: "t2" }, [at(-8 * DAY), "x"])));
    expect(sent.text.trimEnd().split("\n")).toHaveLength(11);
    expect(receive.drafts).toEqual([]);
    expect(await receive.metric("weir_push_refused_lines_total")).toMatch(/reason="time"\} 26$/);
  });
});

test("lines come in any order, a week back and ten minutes ahead", async () => {
  const receive = new Receive();
  const times = [0, -7 * DAY + 1, 599, -3600 * 5, 3];
  const sent = await receive.json(body(stream({ app: "a" }, ...times.map((seconds) => [at(seconds), `${seconds}`]))));
  expect(sent.status).toBe(204);
  expect(receive.stored().map(({ line }) => line)).toEqual(times.map(String));
});

test("long lines are cut where that is wanted", async () => {
  const receive = new Receive({ max_line_size: 5, max_line_size_truncate: true });
  expect(await receive.json(body(stream({ app: "a" }, [at(0), "123456"])))).toMatchObject({ status: 204 });
  expect(receive.stored()).toMatchObject([{ line: "12345" }]);
});

describe("rates", () => {
  const MB = 1 << 20;
  const line = (bytes: number): string => "x".repeat(bytes);

  test("above the tenant's rate all is refused, and taken later", async () => {
    const receive = new Receive({ ingestion_rate_mb: 1, ingestion_burst_size_mb: 0.002 });
    const push = () => receive.json(body(stream({ app: "a" }, [`${receive.nowMs}000000`, line(2000)])));
    expect(await push()).toMatchObject({ status: 204 });
    expect(await push()).toMatchObject({
      status: 429,
      text: `ingestion rate limit exceeded for user fake (limit: ${MB} bytes/sec) while attempting to ingest '1' lines totaling '2000' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased\n`,
    });
    receive.nowMs += 10;
    expect(await push()).toMatchObject({ status: 204 });
    expect(receive.stored()).toHaveLength(2);
  });

  test("are each tenant's own, and limits may differ", async () => {
    const receive = new Receive({
      ingestion_rate_mb: 1,
      ingestion_burst_size_mb: 0.001,
      overrides: { big: { ingestion_burst_size_mb: 1 } },
    });
    const push = (tenant: string) => receive.json(body(stream({ app: "a" }, [at(0), line(2000)])), { tenant });
    expect(await push("small")).toMatchObject({ status: 429 });
    expect(await push("big")).toMatchObject({ status: 204 });
    expect(await push("small")).toMatchObject({ status: 429 });
    expect(receive.stored()).toMatchObject([{ tenant: "big" }]);
  });

  test("above a stream's rate only its lines are refused", async () => {
    const receive = new Receive({ per_stream_rate_limit_mb: 1, per_stream_rate_limit_burst_mb: 0.001 });
    const sent = await receive.json(
      body(stream({ app: "a" }, [at(0), line(2000)]), stream({ app: "b" }, [at(0), "y"])),
    );
    expect(sent).toMatchObject({
      status: 429,
      text: `Per stream rate limit exceeded (limit: 1MB/sec) while attempting to ingest for stream '{app="a", service_name="a"}' totaling 2000B, consider splitting a stream via additional labels or contact your Loki administrator to see if the limit can be increased\n`,
    });
    expect(receive.stored()).toMatchObject([{ line: "y" }]);
  });

  test("a stream too many is refused, until others have been idle for half an hour", async () => {
    const receive = new Receive({ max_global_streams_per_user: 2 });
    const push = (...apps: string[]) =>
      receive.json(body(...apps.map((app) => stream({ app }, [`${receive.nowMs}000000`, "x"]))));
    expect(await push("a", "b")).toMatchObject({ status: 204 });
    expect(await push("c", "a")).toMatchObject({
      status: 429,
      text: `maximum active stream limit exceeded when trying to create stream {app="c", service_name="c"}, reduce the number of active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be increased, user: 'fake'\n`,
    });
    receive.nowMs = NOW_MS + 1_800_000;
    expect(await push("c")).toMatchObject({ status: 204 });
    expect(receive.stored().map(({ labels: { app } }) => app)).toEqual(["a", "b", "c"]);
  });
});

describe("sizes", () => {
  const text = Buffer.from(JSON.stringify(body(stream({ app: "a" }, [at(0), "x".repeat(100_000)]))));
  test.each([
    {
      name: "gzip that becomes too long",
      request: { body: gzipSync(Buffer.alloc(50 << 20)), contentEncoding: "gzip" },
    },
    {
      name: "snappy that says it is too long",
      request: { contentType: "x/y", body: Buffer.of(0xff, 0xff, 0xff, 0xff, 0x0f, 0) },
    },
  ])("$name is 413", async ({ request }) => {
    const receive = new Receive({ inflated_bytes_max: 1 << 20 });
    const sent = await receive.send("loki", request);
    expect(sent.status).toBe(413);
    expect(sent.text).toMatch(/^request body too large: /);
  });

  test("as much as is allowed is taken", async () => {
    const receive = new Receive({ inflated_bytes_max: text.length });
    expect(await receive.send("loki", { body: gzipSync(text), contentEncoding: "gzip" })).toMatchObject({
      status: 204,
    });
    const less = new Receive({ inflated_bytes_max: text.length - 1 });
    expect(await less.send("loki", { body: gzipSync(text), contentEncoding: "gzip" })).toMatchObject({ status: 413 });
  });
});

describe("an intake log that takes nothing", () => {
  test.each([{ trouble: "the disk is gone", status: 503, text: "the disk is gone\n" }])(
    "is $status",
    async ({ trouble, status, text }) => {
      const receive = new Receive();
      receive.intake.setTrouble(trouble);
      const push = () => receive.json(body(stream({ app: "a" }, [at(0), "x"])));
      expect(await push()).toMatchObject({ status, text });
      receive.intake.setTrouble("");
      // What was not stored is no repeat.
      expect(await push()).toMatchObject({ status: 204 });
      expect(receive.stored()).toHaveLength(1);
    },
  );
});
