import { PbfWriter } from "pbf";
import { describe, expect, test } from "vitest";
import { type Encodable, encode } from "../../src/codec/msgpack.ts";
import { Random } from "../random.ts";
import { build, message, plain, seen } from "./support.ts";

const MESSAGE_TIME = { sec: 1_700_000_000, nsec: 123_000_000 };
const NO_METADATA = { metadata: [] };

const records = async (value: Buffer | string, more: object = {}) =>
  (await seen([message(value)], { ...NO_METADATA, ...more })).map(({ sec, nsec, record, metadata }) => ({
    sec,
    nsec,
    record: plain(record),
    error: metadata.kafka_error,
  }));

describe("JSON", () => {
  test.each([
    {
      name: "Fluent Bit, Timestamp_Format double",
      value: '{"@timestamp":1700000000.123457, "log":"hello"}',
      time: { sec: 1_700_000_000, nsec: 123_457_000 },
      record: { log: "hello" },
    },
    {
      name: "Fluent Bit, Timestamp_Format iso8601_ns",
      value: '{"@timestamp":"2023-11-14T22:13:20.123456789Z","log":"hello"}',
      time: { sec: 1_700_000_000, nsec: 123_456_789 },
      record: { log: "hello" },
    },
    {
      name: "Fluent Bit, gelf, with its key",
      value: '{"version":"1.1","host":"a","short_message":"hello","timestamp":1700000000.5}',
      more: { time_keys: ["timestamp"] },
      time: { sec: 1_700_000_000, nsec: 500_000_000 },
      record: { version: "1.1", host: "a", short_message: "hello" },
    },
    {
      name: "Filebeat",
      value:
        '{"@timestamp":"2023-11-14T22:13:20.123Z","@metadata":{"beat":"filebeat","type":"_doc"},"message":"hello","log":{"offset":0}}',
      time: { sec: 1_700_000_000, nsec: 123_000_000 },
      record: { "@metadata": { beat: "filebeat", type: "_doc" }, message: "hello", log: { offset: 0 } },
    },
    {
      name: "Logstash",
      value: '{"@version":"1","message":"hello","@timestamp":"2023-11-14T22:13:20.123456Z"}',
      time: { sec: 1_700_000_000, nsec: 123_456_000 },
      record: { "@version": "1", message: "hello" },
    },
    {
      name: "Vector",
      value: '{"message":"hello","timestamp":"2023-11-14T22:13:20.123456789Z"}',
      more: { time_keys: ["timestamp"] },
      time: { sec: 1_700_000_000, nsec: 123_456_789 },
      record: { message: "hello" },
    },
    {
      name: "nanoseconds as a number keep their digits",
      value: '{"t":1700000000123456789,"a":1}',
      more: { time_keys: ["t"] },
      time: { sec: 1_700_000_000, nsec: 123_456_789 },
      record: { a: 1 },
    },
    {
      name: "the key stays where that is wanted",
      value: '{"@timestamp":1700000000,"a":1}',
      more: { time_key_keep: true },
      time: { sec: 1_700_000_000, nsec: 0 },
      record: { "@timestamp": 1_700_000_000, a: 1 },
    },
    {
      name: "a time that is none stays, and the message's own counts",
      value: '{"@timestamp":"yesterday","a":1}',
      time: MESSAGE_TIME,
      record: { "@timestamp": "yesterday", a: 1 },
    },
    {
      name: "a time beyond what an entry can say stays",
      value: '{"@timestamp":"2200-01-01T00:00:00Z","a":1}',
      time: MESSAGE_TIME,
      record: { "@timestamp": "2200-01-01T00:00:00Z", a: 1 },
    },
    {
      name: "the first key of the list that can be read counts",
      value: '{"b":1700000002,"a":"no","c":1700000003}',
      more: { time_keys: ["a", "c", "b"] },
      time: { sec: 1_700_000_003, nsec: 0 },
      record: { b: 1_700_000_002, a: "no" },
    },
    {
      name: "a key that stands twice: the last counts, and both go",
      value: '{"@timestamp":1700000001,"@timestamp":1700000002,"a":1}',
      time: { sec: 1_700_000_002, nsec: 0 },
      record: { a: 1 },
    },
    { name: "an empty object", value: "{}", time: MESSAGE_TIME, record: {} },
    {
      name: "large integers, escapes and odd names",
      value: '{ "id" : 12345678901234567890 , "a\\"b" : "\\u00e9\\ud83d\\ude00" , "__proto__" : {"x":[1,[2,{}]]} }',
      time: MESSAGE_TIME,
      record: JSON.parse('{"a\\"b":"é😀","__proto__":{"x":[1,[2,{}]]}}') as object,
      id: 12345678901234567890n,
    },
  ])("$name", async ({ value, more, time, record, id }) => {
    const [one, ...rest] = await records(value, more);
    expect(rest).toEqual([]);
    const { id: gotId, ...got } = one.record as Record<string, unknown>;
    expect({ ...one, record: got }).toEqual({ ...time, record, error: undefined });
    expect(gotId).toBe(id);
  });

  test.each([
    {
      name: "a list",
      value: '[{"a":"[,]"},{"a":"\\"}"} , {"a":[1,2]}]',
      want: [{ a: "[,]" }, { a: '"}' }, { a: [1, 2] }],
    },
    { name: "an empty list", value: "[ ]", want: [] },
    { name: "lines", value: '{"a":1}\n\n{"a":2}\r\n', want: [{ a: 1 }, { a: 2 }] },
  ])("$name gives a record each", async ({ value, want }) => {
    expect((await records(value)).map(({ record }) => record)).toEqual(want);
  });

  test.each([
    ["not json", /^not JSON: /],
    ['"text"', /got a string/],
    ["null", /got null/],
    ["[1]", /got a number/],
    ['[{"a":1},2]', /got a number/],
    ['{"a":1}\nno', /^not JSON/],
    ['{"a":1', /^not JSON/],
    [`{"a":${"[".repeat(64)}${"]".repeat(64)}}`, /nested deeper than 64/],
    [`${"[".repeat(100_000)}`, /^not JSON/],
    [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /no UTF-8/],
  ])("keeps what is none as text, with the reason: %j", async (value, reason) => {
    const got = await seen([message(value)]);
    expect(got).toHaveLength(1);
    expect(got[0].metadata.kafka_error).toMatch(reason);
    expect(got[0].metadata.kafka_topic).toBe("logs");
    const { parts, results } = await build([message(value)]);
    expect(parts[0].payload.includes(value)).toBe(true);
    expect(results).toEqual({ stored: 0, unreadable: 1, too_large: 0, empty: 0 });
  });

  test("nests as deep as a pipeline goes", async () => {
    const value = `{"a":${"[".repeat(63)}${"]".repeat(63)}}`;
    expect((await records(value))[0].error).toBeUndefined();
  });
});

describe("MessagePack", () => {
  const eventTime = { ext: 0, data: Buffer.from([0x65, 0x53, 0xf1, 0, 0x07, 0x5b, 0xcd, 0x15]) };
  test.each([
    { name: "Fluent Bit, double", time: 1_700_000_000.125, want: { sec: 1_700_000_000, nsec: 125_000_000 } },
    { name: "Fluent Bit, iso8601", time: "2023-11-14T22:13:20.5Z", want: { sec: 1_700_000_000, nsec: 500_000_000 } },
    { name: "an EventTime", time: eventTime, want: { sec: 1_700_000_000, nsec: 123_456_789 } },
    { name: "seconds", time: 1_700_000_000, want: { sec: 1_700_000_000, nsec: 0 } },
    { name: "nanoseconds", time: 1_700_000_000_123_456_789n, want: { sec: 1_700_000_000, nsec: 123_456_789 } },
  ])("$name", async ({ time, want }) => {
    const value = encode({ log: "hello", "@timestamp": time as Encodable, n: 5 });
    expect(await records(value, { format: "msgpack" })).toEqual([
      { ...want, record: { log: "hello", n: 5 }, error: undefined },
    ]);
    const kept = await records(value, { format: "msgpack", time_key_keep: true });
    expect(kept[0]).toMatchObject(want);
    expect(Object.keys(kept[0].record as object)).toEqual(["log", "@timestamp", "n"]);
  });

  test("maps one after the other, whatever their keys", async () => {
    const value = Buffer.concat([encode({ a: 1 }), encode({}), encode(new Map<Encodable, Encodable>([[5, "x"]]))]);
    expect((await records(value, { format: "msgpack" })).map(({ record }) => record)).toEqual([
      { a: 1 },
      {},
      { "5": "x" },
    ]);
  });

  test.each([
    { name: "a map that is cut", value: encode({ a: "hello" }).subarray(0, 6), reason: /is cut/ },
    { name: "a list", value: encode([1]), reason: /got array at byte 0/ },
    { name: "no MessagePack", value: Buffer.from([0xc1]), reason: /0xc1|begins no value/ },
    {
      name: "a good map and a bad end",
      value: Buffer.concat([encode({ a: 1 }), Buffer.from([1])]),
      reason: /got uint at byte 4/,
    },
    { name: "0xc1 in a map", value: Buffer.from([0x81, 0xa1, 0x61, 0xc1]), reason: /0xc1|begins no value/ },
  ])("keeps $name as text", async ({ value, reason }) => {
    const got = await seen([message(value)], { format: "msgpack" });
    expect(got).toHaveLength(1);
    expect(got[0].metadata.kafka_error).toMatch(reason);
  });

  test("survives every cut and random bytes", async () => {
    const random = new Random();
    const value = encode({
      log: "hello",
      "@timestamp": 1_700_000_000.5,
      kubernetes: { labels: { a: "b" }, list: [1, 2n ** 60n] },
    });
    for (let cut = 1; cut < value.length; cut++) {
      const got = await seen([message(value.subarray(0, cut))], { format: "msgpack" });
      expect(got.map(({ metadata }) => metadata.kafka_error !== undefined)).toEqual([true]);
    }
    for (let i = 0; i < 3000; i++) {
      const changed = Buffer.from(value);
      for (let n = random.below(4); n >= 0; n--) changed[random.below(changed.length)] = random.below(256);
      const { parts, results } = await build([message(changed)], { format: "msgpack" });
      expect(results.stored + results.unreadable, `seed ${random.seed}`).toBe(1);
      expect(parts).toHaveLength(1);
    }
  });
});

describe("text", () => {
  test.each([
    ["plain", Buffer.from("hello")],
    ["any bytes", Buffer.from([0xff, 0, 0x0a, 0x80])],
    ["nothing", Buffer.alloc(0)],
  ])("%s is the line, byte for byte", async (_, value) => {
    const { parts, results } = await build([message(value)], { format: "line" });
    expect(results.stored).toBe(1);
    expect(parts[0].payload.includes(value)).toBe(true);
    const [one] = await seen([message(value)], { format: "line", line_key: "text", metadata: [] });
    expect(one).toMatchObject(MESSAGE_TIME);
    expect(Object.keys(plain(one.record) as object)).toEqual(["text"]);
  });
});

describe("OTLP", () => {
  const request = (
    records: readonly { time?: bigint; body: string }[],
    attributes: Readonly<Record<string, string>> = { "service.name": "shop", zone: "b" },
  ) => ({
    resourceLogs: [
      {
        resource: {
          attributes: Object.entries(attributes).map(([key, stringValue]) => ({ key, value: { stringValue } })),
        },
        scopeLogs: [
          {
            scope: { name: "lib" },
            logRecords: records.map(({ time = 0n, body }) => ({
              timeUnixNano: String(time),
              severityText: "WARN",
              body: { stringValue: body },
            })),
          },
        ],
      },
    ],
  });
  type Request = ReturnType<typeof request>;

  /** As much of the schema as is wanted here. */
  function proto({ resourceLogs }: Request): Buffer {
    const out = new PbfWriter();
    const text = (value: { stringValue: string }, w: PbfWriter) => w.writeStringField(1, value.stringValue);
    for (const { resource, scopeLogs } of resourceLogs) {
      out.writeMessage(
        1,
        (_, logs) => {
          logs.writeMessage(
            1,
            (__, w) => {
              for (const { key, value } of resource.attributes) {
                w.writeMessage(
                  1,
                  (___, pair) => {
                    pair.writeStringField(1, key);
                    pair.writeMessage(2, text, value);
                  },
                  null,
                );
              }
            },
            null,
          );
          for (const { scope, logRecords } of scopeLogs) {
            logs.writeMessage(
              2,
              (__, w) => {
                w.writeMessage(1, (___, s) => s.writeStringField(1, scope.name), null);
                for (const record of logRecords) {
                  w.writeMessage(
                    2,
                    (___, r) => {
                      const ns = BigInt(record.timeUnixNano);
                      r.writeTag(1, 1);
                      r.realloc(8);
                      const bytes = Buffer.alloc(8);
                      bytes.writeBigUInt64LE(ns);
                      for (const byte of bytes) r.buf[r.pos++] = byte;
                      r.writeStringField(3, record.severityText);
                      r.writeMessage(5, text, record.body);
                    },
                    null,
                  );
                }
              },
              null,
            );
          }
        },
        null,
      );
    }
    return Buffer.from(out.finish());
  }

  const forms = [
    { format: "otlp_json", encoded: (of: Request) => Buffer.from(JSON.stringify(of)) },
    { format: "otlp_proto", encoded: proto },
  ];

  test.each(forms)("$format: lines with labels, metadata and the message's facts", async ({ format, encoded }) => {
    const value = encoded(request([{ time: 1_700_000_000_000_000_001n, body: "a" }, { body: "b" }]));
    const got = await seen([message(value, { key: Buffer.from("k") })], { format });
    const metadata = {
      kafka_topic: "logs",
      kafka_partition: "3",
      kafka_key: "k",
      scope_name: "lib",
      severity_text: "WARN",
      zone: "b",
    };
    expect(got).toEqual([
      { sec: 1_700_000_000, nsec: 1, labels: { service_name: "shop" }, line: "a", metadata },
      { ...MESSAGE_TIME, labels: { service_name: "shop" }, line: "b", metadata },
    ]);
  });

  test.each(forms)(
    "$format: good messages and bad ones, and a time beyond all calendars",
    async ({ format, encoded }) => {
      const good = encoded(request([{ time: 2n ** 64n - 1n, body: "far" }]));
      const { parts, results } = await build(
        [message(good), message("{no"), message(good.subarray(0, good.length - 3))],
        { format },
      );
      expect(results).toEqual({ stored: 1, unreadable: 2, too_large: 0, empty: 0 });
      expect(parts.map(({ name }) => name)).toEqual(["records", "lines"]);
      const got = await seen([message(good), message("{no")], { format });
      expect(got.map(({ line, metadata }) => line ?? metadata.kafka_error)).toEqual([
        expect.stringMatching(/^not OTLP: /),
        "far",
      ]);
      expect(got[1]).toMatchObject(MESSAGE_TIME);
    },
  );

  test.each(forms)("$format: labels that no stream may have become metadata", async ({ format, encoded }) => {
    const value = encoded(request([{ body: "a" }], { "service.name": "x".repeat(5000) }));
    const [one] = await seen([message(value)], { format });
    expect(one.labels).toEqual({ service_name: "unknown_service" });
    expect(one.metadata.service_name).toBe("x".repeat(5000));
  });

  test.each(forms)("$format: a few bytes that mean very many are kept as they are", async ({ format, encoded }) => {
    const attributes = Object.fromEntries(Array.from({ length: 2500 }, (_, i) => [`a${i}`, "b"]));
    const value = encoded(
      request(
        Array.from({ length: 2000 }, () => ({ body: "x" })),
        attributes,
      ),
    );
    const got = await seen([message(value)], { format });
    expect(got.map(({ metadata }) => metadata.kafka_error)).toEqual([
      expect.stringMatching(/share more than 4000000 attributes/),
    ]);
  });

  test.each(forms)("$format: survives every cut and random bytes", async ({ format, encoded }) => {
    const random = new Random();
    const value = encoded(request([{ time: 1_700_000_000_000_000_001n, body: "hello" }, { body: "b" }]));
    const check = async (bytes: Buffer) => {
      const { results } = await build([message(bytes)], { format });
      expect(results.stored + results.unreadable + results.empty, `seed ${random.seed}`).toBe(1);
    };
    for (let cut = 0; cut < value.length; cut++) await check(value.subarray(0, cut));
    for (let i = 0; i < 1000; i++) {
      const changed = Buffer.from(value);
      for (let n = random.below(4); n >= 0; n--) changed[random.below(changed.length)] = random.below(256);
      await check(changed);
    }
  });
});

describe("a batch", () => {
  test("says what of a message is known, in the way that is asked for", async () => {
    const one = message('{"a":1}', {
      key: Buffer.from([0xff]),
      headers: { "trace-id": Buffer.from("abc"), bin: Buffer.from([0xfe, 1]) },
    });
    const all = ["topic", "partition", "offset", "key", "headers", "timestamp"];
    expect((await seen([one], { metadata: all }))[0].metadata).toEqual({
      kafka_topic: "logs",
      kafka_partition: "3",
      kafka_offset: "7",
      kafka_key: "/w==",
      "kafka_header_trace-id": "abc",
      kafka_header_bin: "/gE=",
      kafka_timestamp: "1700000000123",
    });
    expect((await seen([one], { metadata: [] }))[0].metadata).toEqual({});
  });

  test("counts tombstones, empty and too large messages, and keeps the others in their order", async () => {
    const { results, bytes, taken } = await build(
      [message(null), message(""), message(`{"a":"${"x".repeat(2000)}"}`), message('{"a":2}'), message("no")],
      { message_bytes_max: 1024 },
    );
    expect({ results, bytes, taken }).toEqual({
      results: { stored: 1, unreadable: 1, too_large: 1, empty: 2 },
      bytes: 9,
      taken: 5,
    });
  });

  test("gives the same bytes for the same messages", async () => {
    const messages = [message('{"a":1}'), message("no"), message('{"@timestamp":1700000000.5}')];
    expect(await build(messages)).toEqual(await build(messages));
  });

  test.each([-1, 2 ** 60, Number.NaN])("takes the present for a message without a time: %d", async (timestampMs) => {
    const [one] = await seen([message('{"a":1}', { timestampMs })]);
    expect(one.sec).toBe(1_800_000_000);
  });
});
