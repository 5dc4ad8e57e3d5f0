import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import snappy from "snappyjs";
import { describe, expect, test } from "vitest";
import { body, NOW_NS, type ProtoEntry, pushProto, Receive, stream } from "./receive.ts";

const ok = { status: 204, text: "" };
const entry = (line: string, plus = 0): unknown => [String(BigInt(NOW_NS) + BigInt(plus)), line];

describe("JSON", () => {
  test("is stored as it came, with service_name", async () => {
    const receive = new Receive();
    const sent = await receive.json(
      body(
        stream(
          { app: "web", env: "prod" },
          [NOW_NS, "a line"],
          ["1700000000000000001", "another", { trace_id: "abc" }],
        ),
      ),
    );
    expect(sent).toMatchObject(ok);
    const labels = { app: "web", env: "prod", service_name: "web" };
    expect(receive.stored()).toEqual([
      { tenant: "fake", labels, ns: NOW_NS, line: "a line", metadata: {} },
      { tenant: "fake", labels, ns: "1700000000000000001", line: "another", metadata: { trace_id: "abc" } },
    ]);
  });

  test.each([
    { name: "an empty line", value: [NOW_NS, ""], line: "" },
    { name: "a lone time", value: [NOW_NS], line: "" },
    { name: "further elements", value: [NOW_NS, "x", {}, 7, [1]], line: "x" },
    { name: "escapes", value: [NOW_NS, 'a"\\\n\té\u{1f600}'], line: 'a"\\\n\té\u{1f600}' },
    { name: "empty metadata", value: [NOW_NS, "x", {}], line: "x" },
    { name: "a time with a sign", value: [`+${NOW_NS}`, "x"], line: "x" },
  ])("takes $name", async ({ value, line }) => {
    const receive = new Receive();
    expect(await receive.json(body(stream({ app: "a" }, value)))).toMatchObject(ok);
    expect(receive.stored().map((row) => row.line)).toEqual([line]);
  });

  test.each([
    {
      name: "no streams",
      value: "{}",
      status: 422,
      text: /^error at least one valid stream is required for ingestion\n$/,
    },
    { name: "an empty list of streams", value: '{"streams":[]}', status: 422, text: /at least one valid stream/ },
    { name: "null", value: "null", status: 422, text: /at least one valid stream/ },
    { name: "streams null", value: '{"streams":null}', status: 422, text: /at least one valid stream/ },
    {
      name: "a number as time",
      value: body(stream({ a: "b" }, [1700000000000000000, "x"])),
      status: 400,
      text: /want a string, got "17/,
    },
    {
      name: "a fraction as time",
      value: body(stream({ a: "b" }, ["1.5", "x"])),
      status: 400,
      text: /parse time "1.5"/,
    },
    { name: "a text as time", value: body(stream({ a: "b" }, ["now", "x"])), status: 400, text: /parse time "now"/ },
    {
      name: "a time beyond 64 bits",
      value: body(stream({ a: "b" }, ["9999999999999999999", "x"])),
      status: 400,
      text: /out of range/,
    },
    { name: "a number as line", value: body(stream({ a: "b" }, [NOW_NS, 5])), status: 400, text: /want a string/ },
    {
      name: "null as metadata",
      value: body(stream({ a: "b" }, [NOW_NS, "x", null])),
      status: 400,
      text: /want an object/,
    },
    {
      name: "a text as metadata",
      value: body(stream({ a: "b" }, [NOW_NS, "x", "y"])),
      status: 400,
      text: /want an object/,
    },
    {
      name: "a number in metadata",
      value: body(stream({ a: "b" }, [NOW_NS, "x", { k: 1 }])),
      status: 400,
      text: /want texts/,
    },
    { name: "an entry without time", value: body(stream({ a: "b" }, [])), status: 400, text: /want a time/ },
    { name: "a list", value: "[]", status: 400, text: /want an object/ },
    {
      name: "a cut body",
      value: '{"streams":[{"stream":{"a":"b"},"values":[["1700',
      status: 400,
      text: /want the string's end/,
    },
    { name: "something behind", value: '{"streams":[]} x', status: 400, text: /want the end/ },
    {
      name: "a control character in text",
      value: '{"streams":[{"stream":{"a":"\u0001"}}]}',
      status: 400,
      text: /control character/,
    },
    { name: "a bad escape", value: '{"streams":[{"stream":{"a":"\\x"}}]}', status: 400, text: /JSON's escapes/ },
    {
      name: "deep nesting",
      value: `{"x":${"[".repeat(1000)}${"]".repeat(1000)}}`,
      status: 400,
      text: /nested too deep/,
    },
    { name: "nothing", value: "", status: 400, text: /want an object, got the end/ },
    {
      name: "a bad label name",
      value: body(stream({ "bad-name": "x" }, entry("x")), stream({ good: "x" }, entry("x"))),
      status: 400,
      text: /^couldn't parse labels: 1:5: parse error: unexpected character inside braces: '-'\n$/,
    },
  ])("refuses $name, and stores nothing", async ({ value, status, text }) => {
    const receive = new Receive();
    const sent = await receive.json(value);
    expect(sent.status).toBe(status);
    expect(sent.text).toMatch(text);
    expect(receive.drafts).toEqual([]);
  });

  test.each([
    {
      name: "values that are no text by their JSON text",
      labels: '{"n":1,"f":1.50,"z":null,"b":true}',
      gives: { n: "1", f: "1.50", z: "null", b: "true" },
    },
    { name: "empty values as absent", labels: '{"a":"b","c":""}', gives: { a: "b" } },
    { name: "a repeated key's last value", labels: '{"a":"1","a":"2"}', gives: { a: "2" } },
    { name: "escapes", labels: '{"a":"\\u00e9\\n"}', gives: { a: "é\n" } },
    {
      name: "__proto__ as a name like any other",
      labels: '{"__proto__":"x"}',
      gives: JSON.parse('{"__proto__":"x"}') as object,
    },
  ])("takes label $name", async ({ labels, gives }) => {
    const receive = new Receive({ discover_service_name: [] });
    expect(await receive.json(`{"streams":[{"stream":${labels},"values":[["${NOW_NS}","x"]]}]}`)).toMatchObject(ok);
    expect(receive.stored()[0]?.labels).toEqual(gives);
  });

  test("takes values before the stream, unknown keys, and no values", async () => {
    const receive = new Receive();
    const text = `{"x":[1,{"y":null}],"streams":[{"values":[["${NOW_NS}","x"]],"z":{},"stream":{"a":"b"}},{"stream":{"c":"d"},"values":null},{"stream":{"e":"f"},"values":[]}]}`;
    expect(await receive.json(text)).toMatchObject(ok);
    expect(receive.stored()).toMatchObject([{ labels: { a: "b" }, line: "x" }]);
  });

  test("makes one stream of objects with equal labels", async () => {
    const receive = new Receive();
    const streams = Array.from({ length: 50 }, (_, i) =>
      stream(i % 2 === 0 ? { a: "1", b: "2" } : { b: "2", a: "1" }, entry(`line ${i}`, i)),
    );
    expect(await receive.json(body(...streams))).toMatchObject(ok);
    const [draft] = receive.drafts;
    expect(draft?.payload.toString("latin1").split('{"a":"1"').length).toBe(2);
    expect(receive.stored()).toHaveLength(50);
  });

  test("keeps bytes that are no UTF-8", async () => {
    const receive = new Receive();
    const text = Buffer.concat([
      Buffer.from(`{"streams":[{"stream":{"a":"b"},"values":[["${NOW_NS}","x`),
      Buffer.of(0xff, 0xfe),
      Buffer.from('"]]}]}'),
    ]);
    expect(await receive.send("loki", { body: text })).toMatchObject(ok);
    expect(receive.drafts[0]?.payload.includes(Buffer.of(0x78, 0xff, 0xfe))).toBe(true);
  });

  test("takes space wherever JSON has it", async () => {
    const receive = new Receive();
    const value = body(stream({ app: "a b" }, [NOW_NS, "one", { k: "v w" }]));
    const text = JSON.stringify(value, null, 3).replaceAll(":", " :\t").replaceAll("\n", "\r\n ");
    expect(await receive.json(text)).toMatchObject(ok);
    expect(receive.stored()).toMatchObject([{ labels: { app: "a b" }, line: "one", metadata: { k: "v w" } }]);
    const old =
      ' { "streams" : [ { "labels" : "{a=\\"b\\"}" , "entries" : [ { "ts" : "2023-11-14T22:13:20Z" , "line" : "old" } ] } ] } ';
    expect(await receive.json(old)).toMatchObject(ok);
    expect(receive.stored().at(-1)).toMatchObject({ labels: { a: "b" }, line: "old" });
  });

  test("takes the older form", async () => {
    const receive = new Receive();
    const text = '{"streams":[{"labels":"{a=\\"b\\"}","entries":[{"ts":"2023-11-14T22:13:20.5Z","line":"old"}]}]}';
    expect(await receive.json(text)).toMatchObject(ok);
    expect(receive.stored()).toMatchObject([{ labels: { a: "b" }, ns: "1700000000500000000", line: "old" }]);
  });
});

describe("metadata", () => {
  test.each([
    { name: "dots", given: { "trace.id": "x" }, gives: { trace_id: "x" } },
    { name: "a leading digit", given: { "9a": "x" }, gives: { key_9a: "x" } },
    { name: "letters beyond ASCII", given: { größe: "x" }, gives: { gr__e: "x" } },
    { name: "no value", given: { a: "", b: "x" }, gives: { b: "x" } },
    { name: "two names that become one", given: { "a.b": "1", a_b: "2" }, gives: { a_b: "2" } },
    {
      name: "many",
      given: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`k${i}`, "v".repeat(i * 20 + 1)])),
    },
  ])("with $name", async ({ given, gives = given }) => {
    const receive = new Receive();
    expect(await receive.json(body(stream({ a: "b" }, [NOW_NS, "x", given])))).toMatchObject(ok);
    expect(receive.stored()[0]?.metadata).toEqual(gives);
  });
});

describe("service_name", () => {
  test.each([
    { labels: {}, gives: "unknown_service" },
    { labels: { foo: "x" }, gives: "unknown_service" },
    { labels: { job: "j", app: "a" }, gives: "a" },
    { labels: { service: "s", app: "a" }, gives: "s" },
    { labels: { k8s_job_name: "k" }, gives: "k" },
    { labels: { service_name: "mine", app: "a" }, gives: "mine" },
  ])("of $labels is $gives", async ({ labels, gives }) => {
    const receive = new Receive();
    expect(await receive.json(body(stream(labels, entry("x"))))).toMatchObject(ok);
    expect(receive.stored()[0]?.labels).toEqual({ ...labels, service_name: gives });
  });

  test("is not added when it is not looked for, and a stream without labels is refused then", async () => {
    const receive = new Receive({ discover_service_name: [] });
    const sent = await receive.json(body(stream({}, entry("x")), stream({ a: "b" }, entry("y"))));
    expect(sent).toMatchObject({ status: 400, text: "error at least one label pair is required per stream\n" });
    expect(receive.stored()).toMatchObject([{ labels: { a: "b" }, line: "y" }]);
  });
});

describe("protobuf", () => {
  const entries: ProtoEntry[] = [
    { sec: 1_700_000_000, nsec: 5, line: "one" },
    { sec: 1_699_999_999, line: "two", metadata: [["trace.id", "x"]] },
    { sec: 1_700_000_000 },
  ];
  const bytes = pushProto([{ labels: '{a="b", c="d\\n"}', entries }]);
  const labels = { a: "b", c: "d\n", service_name: "unknown_service" };
  const stored = [
    { tenant: "fake", labels, ns: "1700000000000000005", line: "one", metadata: {} },
    { tenant: "fake", labels, ns: "1699999999000000000", line: "two", metadata: { trace_id: "x" } },
    { tenant: "fake", labels, ns: NOW_NS, line: "", metadata: {} },
  ];

  test.each([
    { name: "snappy", request: {} },
    { name: "Content-Encoding snappy", request: { contentEncoding: "snappy" } },
    { name: "gzip around snappy", request: { contentEncoding: "gzip", body: gzipSync(snappy.compress(bytes)) } },
    {
      name: "raw deflate around snappy",
      request: { contentEncoding: "deflate", body: deflateRawSync(snappy.compress(bytes)) },
    },
    { name: "another type", request: { contentType: "application/octet-stream; x=y" } },
  ])("as $name", async ({ request }) => {
    const receive = new Receive();
    expect(await receive.proto(bytes, request)).toMatchObject(ok);
    expect(receive.stored()).toEqual(stored);
  });

  test.each([
    { name: "no snappy", request: { body: bytes }, text: /^snappy: corrupt input\n$/ },
    { name: "nothing", request: { body: Buffer.alloc(0) }, text: /^snappy: corrupt input\n$/ },
    {
      name: "an encoding that nobody knows",
      request: { contentEncoding: "br" },
      text: /^Content-Encoding "br" not supported\n$/,
    },
    {
      name: "gzip that is none",
      request: { contentEncoding: "gzip" },
      text: /^couldn't inflate the gzip body: gzip: incorrect header check/,
    },
    { name: "no type", request: { contentType: undefined }, text: /^mime: no media type\n$/ },
    {
      name: "JSON as protobuf",
      request: { body: snappy.compress(Buffer.from('{"streams":[]}')) },
      text: /protobuf body/,
    },
    {
      name: "bad labels",
      request: { body: snappy.compress(pushProto([{ labels: "{a=b}", entries }])) },
      text: /couldn't parse labels: 1:4/,
    },
    {
      name: "a label twice",
      request: { body: snappy.compress(pushProto([{ labels: '{a="b", a="c"}', entries }])) },
      text: /^stream '\{a="b", a="c"\}' has duplicate label name: 'a'\n$/,
    },
    {
      name: "nanoseconds beyond a second",
      request: { body: snappy.compress(pushProto([{ labels: "{}", entries: [{ sec: 1, nsec: 1e9 }] }])) },
      text: /got 1000000000 ns/,
    },
  ])("refuses $name", async ({ request, text }) => {
    const receive = new Receive();
    const sent = await receive.proto(bytes, request);
    expect(sent.status).toBe(400);
    expect(sent.text).toMatch(text);
    expect(receive.drafts).toEqual([]);
  });

  test("says 422 without a stream", async () => {
    expect(await new Receive().proto(Buffer.alloc(0), { body: Buffer.of(0) })).toMatchObject({ status: 422 });
  });

  test("skips fields that it does not know", async () => {
    const receive = new Receive();
    const more = Buffer.concat([
      Buffer.of(0x12, 2, 0x68, 0x69, 0x98, 0x06, 0x01),
      bytes,
      Buffer.of(0x79, 1, 2, 3, 4, 5, 6, 7, 8),
    ]);
    expect(await receive.proto(more)).toMatchObject(ok);
    expect(receive.stored()).toEqual(stored);
  });
});

describe("JSON bodies", () => {
  const text = Buffer.from(JSON.stringify(body(stream({ a: "b" }, entry("x")))));
  test.each([
    { name: "gzip", request: { body: gzipSync(text), contentEncoding: "gzip" } },
    { name: "raw deflate", request: { body: deflateRawSync(text), contentEncoding: "deflate" } },
    { name: "zlib's deflate", request: { body: deflateSync(text), contentEncoding: "deflate" } },
    { name: "a charset", request: { body: text, contentType: "application/json; charset=utf-8" } },
    { name: "another case", request: { body: text, contentType: "Application/JSON" } },
  ])("as $name", async ({ request }) => {
    const receive = new Receive();
    expect(await receive.send("loki", request)).toMatchObject(ok);
    expect(receive.stored()).toMatchObject([{ line: "x" }]);
  });
});
