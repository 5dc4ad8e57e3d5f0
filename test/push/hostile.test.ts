import v8 from "node:v8";
import vm from "node:vm";
import fc from "fast-check";
import { PbfWriter } from "pbf";
import snappy from "snappyjs";
import { describe, expect, test } from "vitest";
import { LoopHold } from "../query/run/loop-hold.ts";
import { SEED } from "../random.ts";
import { body, NOW_NS, pushProto, Receive, stream } from "./receive.ts";

/** Of CPU time: what a busy machine lets it wait for is no work. */
const LONGEST_MS = 1000;

const json = Buffer.from(
  JSON.stringify(
    body(
      stream({ app: "web", env: 'p"r' }, [NOW_NS, "one é\n", { trace_id: "abc" }], [NOW_NS, "two"]),
      stream({ app: "api" }, [NOW_NS, ""]),
    ),
  ),
);
const proto = pushProto([
  {
    labels: '{app="web", env="prod"}',
    entries: [
      { sec: 1_700_000_000, nsec: 5, line: "one", metadata: [["a", "b"]] },
      { sec: 1_700_000_000, line: "two" },
    ],
  },
  { labels: '{app="api"}', entries: [{ sec: 1_699_999_999, line: "three" }] },
]);
const otlpJson = Buffer.from(
  JSON.stringify({
    resourceLogs: [
      {
        resource: { attributes: [{ key: "service.name", value: { stringValue: "s" } }] },
        scopeLogs: [
          {
            scope: { name: "n" },
            logRecords: [
              { timeUnixNano: NOW_NS, body: { kvlistValue: { values: [{ key: "k", value: { intValue: "1" } }] } } },
            ],
          },
        ],
      },
    ],
  }),
);
// resource_logs { scope_logs { log_records { time, body "hi", attributes, trace_id } } }
const otlpProto = Buffer.from(
  "0a3412321230 0900 00c52a36a2971728 2a040a026869320b0a016b12060a04abcdefff4a100af7651916cd43dd8448eb211c80319c".replaceAll(
    " ",
    "",
  ),
  "hex",
);

const BODIES = [
  { name: "JSON", to: "loki", contentType: "application/json", bytes: json, wrap: (bytes: Buffer) => bytes },
  {
    name: "protobuf",
    to: "loki",
    contentType: "application/x-protobuf",
    bytes: proto,
    wrap: (bytes: Buffer) => snappy.compress(bytes),
  },
  {
    name: "protobuf in bad snappy",
    to: "loki",
    contentType: "application/x-protobuf",
    bytes: snappy.compress(proto),
    wrap: (bytes: Buffer) => bytes,
  },
  { name: "OTLP JSON", to: "otlp", contentType: "application/json", bytes: otlpJson, wrap: (bytes: Buffer) => bytes },
  {
    name: "OTLP protobuf",
    to: "otlp",
    contentType: "application/x-protobuf",
    bytes: otlpProto,
    wrap: (bytes: Buffer) => bytes,
  },
] as const;

/** One change to some bytes: cut, a byte set, a piece doubled, put in, or taken out. */
function mutated(bytes: Buffer): fc.Arbitrary<Buffer> {
  const place = fc.nat(bytes.length - 1);
  const once = fc.oneof(
    place.map((at) => (it: Buffer) => it.subarray(0, at)),
    fc.tuple(place, fc.nat(255)).map(([at, byte]) => (it: Buffer) => {
      const out = Buffer.from(it);
      if (at < out.length) out[at] = byte;
      return out;
    }),
    fc.tuple(place, place).map(
      ([a, b]) =>
        (it: Buffer) =>
          Buffer.concat([it.subarray(0, a), it.subarray(b)]),
    ),
    fc.tuple(place, fc.uint8Array({ maxLength: 12 })).map(
      ([at, more]) =>
        (it: Buffer) =>
          Buffer.concat([it.subarray(0, at), more, it.subarray(at)]),
    ),
  );
  return fc
    .array(once, { minLength: 1, maxLength: 4 })
    .map((changes) => changes.reduce((it, change) => change(it), bytes));
}

describe.each(BODIES)("mutated $name", ({ to, contentType, bytes, wrap }) => {
  test("is an answer each, soon, and what is stored was acknowledged", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          mutated(bytes),
          fc.uint8Array({ maxLength: 200 }).map((it) => Buffer.from(it)),
        ),
        async (changed) => {
          const receive = new Receive();
          const started = process.cpuUsage();
          const { status, text } = await receive.send(to, { contentType, body: wrap(changed) });
          const { user, system } = process.cpuUsage(started);
          expect((user + system) / 1000).toBeLessThan(LONGEST_MS);
          expect([204, 400, 413, 422]).toContain(status);
          expect(text === "").toBe(status === 204);
          if (status === 413 || status === 422) expect(receive.drafts).toEqual([]);
          // Whatever was taken can be read back.
          for (const row of receive.stored()) expect(Object.keys(row.labels).length).toBeGreaterThan(0);
        },
      ),
      { numRuns: 3000, seed: SEED },
    );
  });
});

test("a body cut anywhere stores nothing", async () => {
  for (const { to, contentType, bytes, wrap } of BODIES.slice(0, 4)) {
    for (let length = 0; length < bytes.length; length++) {
      const receive = new Receive();
      const { status } = await receive.send(to, { contentType, body: wrap(bytes.subarray(0, length)) });
      // A protobuf message cut between two fields is a whole one: fewer streams, and those are acknowledged.
      if (status === 204) expect(contentType).toBe("application/x-protobuf");
      else expect(receive.drafts).toEqual([]);
    }
  }
});

test("a body of very many streams, lines, or labels is worked on in slices", async () => {
  const receive = new Receive({ ingestion_rate_mb: 0, per_stream_rate_limit_mb: 0, max_global_streams_per_user: 0 });
  const values = Array.from({ length: 200_000 }, (_, i) => [String(BigInt(NOW_NS) + BigInt(i)), "x"]);
  const many = Buffer.from(JSON.stringify(body({ stream: { a: "b" }, values })));
  const hold = new LoopHold();
  expect(await receive.send("loki", { body: many })).toMatchObject({ status: 204 });
  // 7 MB of short lines take half a second or more, and nobody else has to wait that long, however slow the machine is.
  expect(hold.stop()).toBeLessThan(hold.totalMs / 3);
});

describe("bodies of very many very small things", () => {
  const many = (n: number, item: string): string => Array.from({ length: n }, () => item).join(",");
  test.each([
    {
      name: "streams",
      to: "loki",
      contentType: "application/json",
      bytes: () => Buffer.from(`{"streams":[${many(600_000, "{}")}]}`),
    },
    {
      name: "protobuf streams",
      to: "loki",
      contentType: "x/y",
      bytes: () => snappy.compress(Buffer.alloc(1_200_000, Buffer.of(0x0a, 0))),
    },
    {
      name: "lines",
      to: "loki",
      contentType: "application/json",
      bytes: () => Buffer.from(`{"streams":[{"values":[${many(600_000, '["1"]')}]}]}`),
    },
    {
      name: "OTLP resources",
      to: "otlp",
      contentType: "application/x-protobuf",
      bytes: () => Buffer.alloc(1_200_000, Buffer.of(0x0a, 0)),
    },
    {
      name: "OTLP records",
      to: "otlp",
      contentType: "application/json",
      bytes: () => Buffer.from(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[${many(600_000, "{}")}]}]}]}`),
    },
  ] as const)("of $name are 413, and their memory is counted", async ({ to, contentType, bytes }) => {
    let held = 0;
    const hold = (more: number): void => {
      held += more;
    };
    const receive = new Receive();
    expect((await receive.send(to, { contentType, body: bytes(), hold })).status).toBe(413);
    expect(held).toBeGreaterThan(100 << 20);
    const full = () => {
      throw new Error("no memory");
    };
    await expect(receive.send(to, { contentType, body: bytes(), hold: full })).rejects.toThrow("no memory");
    expect(receive.drafts).toEqual([]);
  });
});

describe("a body has no place where very much is done at once", () => {
  const many = (n: number, item: string): string => Array.from({ length: n }, () => item).join(",");
  const unknown = (n: number) => Buffer.alloc(2 * n, Buffer.of(0x78, 1)); // Field 15, which is none.
  const field = (number: number, bytes: Buffer): Buffer => {
    const pbf = new PbfWriter();
    pbf.writeBytesField(number, bytes);
    return Buffer.from(pbf.finish());
  };
  test.each([
    {
      name: "attributes of an OTLP resource",
      to: "otlp",
      contentType: "application/json",
      body: () => Buffer.from(`{"resourceLogs":[{"resource":{"attributes":[${many(20_000, "{}")}]}}]}`),
      status: 413,
    },
    {
      name: "metadata of a line",
      to: "loki",
      contentType: "application/json",
      body: () => Buffer.from(`{"streams":[{"values":[["1","",{${many(20_000, '"a":""')}}]]}]}`),
      status: 413,
    },
    {
      name: "labels as JSON",
      to: "loki",
      contentType: "application/json",
      body: () => Buffer.from(`{"streams":[{"stream":{${many(40_000, '"a":""')}},"values":[["1",""]]}]}`),
      status: 400,
    },
    {
      name: "labels as text",
      to: "loki",
      contentType: "x/y",
      body: () => snappy.compress(field(1, field(1, Buffer.from(`{a="${"x".repeat(300_000)}"}`)))),
      status: 400,
    },
    ...[
      { name: "one value of metadata", metadata: { a: "é".repeat(600_000) } },
      { name: "one name of metadata", metadata: { [`a.${"x".repeat(1_200_000)}`]: "" } },
      {
        name: "values of metadata",
        metadata: Object.fromEntries([..."abcdefghijkl"].map((a) => [a, a.repeat(100_000)])),
      },
    ].map(({ name, metadata }) => ({
      name,
      to: "loki" as const,
      contentType: "application/json",
      body: () => Buffer.from(JSON.stringify(body(stream({ a: "b" }, [NOW_NS, "", metadata])))),
      status: 413,
    })),
    {
      name: "a label of an OTLP resource",
      to: "otlp",
      contentType: "application/x-protobuf",
      body: () =>
        field(
          1,
          field(
            1,
            field(
              1,
              Buffer.concat([field(1, Buffer.from("service.name")), field(2, field(1, Buffer.alloc(1_200_000, "x")))]),
            ),
          ),
        ),
      status: 413,
    },
    {
      name: "a name of nothing",
      to: "otlp",
      contentType: "application/json",
      body: () => Buffer.from(`{"${"x".repeat(1_200_000)}":1}`),
      status: 413,
    },
    {
      name: "space",
      to: "loki",
      contentType: "application/json",
      body: () => Buffer.from(`{${" ".repeat(100_000)}}`),
      status: 400,
    },
    {
      name: "unknown fields of a line",
      to: "loki",
      contentType: "x/y",
      body: () => snappy.compress(field(1, field(2, unknown(400_000)))),
      status: 400,
    },
    {
      name: "unknown fields of a record",
      to: "otlp",
      contentType: "application/x-protobuf",
      body: () => field(1, field(2, field(2, unknown(400_000)))),
      status: 400,
    },
  ] as const)("as $name", async ({ to, contentType, body, status }) => {
    const receive = new Receive();
    const sent = await receive.send(to, { contentType, body: body() });
    expect(sent.status).toBe(status);
    expect(sent.text.length).toBeLessThan(1000);
    expect(receive.drafts).toEqual([]);
  });

  test("unknown fields between lines, streams and records are passed over", async () => {
    const line = pushProto([{ labels: '{a="b"}', entries: [{ sec: 1_700_000_000, line: "x" }] }]);
    // The stream without the tag and length around it.
    const inner = line.subarray(2);
    const receive = new Receive();
    const padded = Buffer.concat([unknown(400_000), field(1, Buffer.concat([unknown(400_000), inner]))]);
    expect(await receive.proto(padded)).toMatchObject({ status: 204 });
    const records = Array.from({ length: 100 }, () => field(2, unknown(10_000)));
    const logs = field(1, field(2, Buffer.concat(records)));
    expect(await receive.send("otlp", { contentType: "application/x-protobuf", body: logs })).toMatchObject({
      status: 204,
    });
    expect(receive.stored()).toHaveLength(2); // Records that are all the same are one.
  });
});

test("names that are made valid are remembered only while they are short", async () => {
  v8.setFlagsFromString("--expose-gc");
  const gc = vm.runInNewContext("gc") as () => void;
  const receive = new Receive();
  gc();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 100; i++) {
    const name = `a.${i}${"x".repeat(1_000_000)}`;
    expect((await receive.json(body(stream({ a: "b" }, [NOW_NS, "", { [name]: "v" }])))).status).toBe(400);
    const attributes = [{ key: name, value: { stringValue: "v" } }];
    const resource = { resourceLogs: [{ resource: { attributes }, scopeLogs: [{ logRecords: [{}] }] }] };
    const sent = await receive.send("otlp", { body: Buffer.from(JSON.stringify(resource)) });
    expect(sent.status).toBe(400);
  }
  const kept = () => {
    gc();
    return process.memoryUsage().heapUsed - before;
  };
  await expect.poll(kept).toBeLessThan(50 << 20);
});

test("an answer names what was refused, but is never as long as what was sent", async () => {
  const receive = new Receive();
  const long = stream({ a: "x".repeat(200_000) }, [NOW_NS, "x"]);
  const old = Array.from({ length: 100 }, (_, i) => stream({ a: `${i}${"x".repeat(2000)}` }, ["1", "x"], ["2", "x"]));
  const { status, text } = await receive.json(body(long, ...old));
  expect(status).toBe(400);
  expect(text).toMatch(/^stream '\{a="x+… \(\d+ characters more\)\n$/s);
  expect(text.length).toBeLessThan(140_000);
});
