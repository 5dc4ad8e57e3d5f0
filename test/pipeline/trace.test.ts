import { describe, expect, test } from "vitest";
import cri from "../../parsers/cri.ts";
import json from "../../parsers/json.ts";
import type { Encodable } from "../../src/codec/msgpack.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { type Got, passOne } from "./harness.ts";

const T = "0af7651916cd43dd8448eb211c80319c";
const T2 = "4bf92f3577b34da6a3ce929d0e0e4736";
const S = "b7ad6b7169203331";
const S2 = "00f067aa0ba902b7";
const LOW = "8448eb211c80319c";
const R = "84961386-6d84-929d-98bd-c5aee93b5c88";

interface Wanted {
  readonly trace?: string;
  readonly span?: string;
  readonly parent?: string;
  readonly source?: string;
  readonly raw?: string;
  readonly alt?: string;
  readonly request?: string;
}

function idsOf({ metadata: m }: Got): Wanted {
  const all = {
    trace: m.trace_id,
    span: m.span_id,
    parent: m.parent_span_id,
    source: m.trace_source,
    raw: m.trace_id_raw,
    alt: m.trace_id_alt,
    request: m.request_id,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

interface Case {
  readonly name: string;
  readonly record: Encodable;
  readonly metadata?: Encodable;
  readonly options?: object;
  readonly want: Wanted;
}

function check({ record, metadata, options = {}, want }: Case): void {
  const got = passOne({ steps: [{ trace: options }] }, record, metadata);
  expect(idsOf(got)).toEqual(want);
}

describe("log fields", () => {
  const cases: Case[] = [
    {
      name: "OTel",
      record: { log: "x", trace_id: T, span_id: S, trace_flags: "01" },
      want: { trace: T, span: S, source: "field:trace_id" },
    },
    {
      name: "Micrometer",
      record: { log: "x", traceId: T, spanId: S, parentId: S2 },
      want: { trace: T, span: S, parent: S2, source: "field:trace_id" },
    },
    {
      name: "upper case",
      record: { log: "x", traceID: T.toUpperCase() },
      want: { trace: T, source: "field:trace_id", raw: T.toUpperCase() },
    },
    {
      name: "64 bits",
      record: { log: "x", traceId: LOW },
      want: { trace: `0000000000000000${LOW}`, source: "field:trace_id", raw: LOW },
    },
    {
      name: "Sleuth's MDC",
      record: { log: "x", "X-B3-TraceId": T, "X-B3-SpanId": S },
      want: { trace: T, span: S, source: "field:x-b3-traceid" },
    },
    {
      name: "OTel Python",
      record: { log: "x", otelTraceID: T, otelSpanID: S, otelTraceSampled: true },
      want: { trace: T, span: S, source: "field:otel_trace_id" },
    },
    { name: "OTel Python without a span", record: { log: "x", otelTraceID: "0", otelSpanID: "0" }, want: {} },
    {
      name: "ECS, dotted",
      record: { log: "x", "trace.id": T, "span.id": S },
      want: { trace: T, span: S, source: "field:trace_id" },
    },
    {
      name: "ECS, nested",
      record: { log: "x", trace: { id: T }, transaction: { id: S2 }, span: { id: S } },
      want: { trace: T, span: S, source: "field:trace_id" },
    },
    {
      name: "ECS, nested, a transaction for the span",
      record: { log: "x", transaction: { id: S }, trace: { id: T } },
      want: { trace: T, span: S, source: "field:trace_id" },
    },
    {
      name: "a span of another trace in a container of its own",
      record: { log: "x", trace: { id: T }, span: { trace_id: T2, span_id: S } },
      want: { trace: T, alt: T2, source: "field:trace_id" },
    },
    {
      name: "ECS, a transaction for the span",
      record: { log: "x", "transaction.id": S2, "trace.id": T },
      want: { trace: T, span: S2, source: "field:trace_id" },
    },
    {
      name: "ECS, a span before its transaction",
      record: { log: "x", "transaction.id": S2, "trace.id": T, "span.id": S },
      want: { trace: T, span: S, source: "field:trace_id" },
    },
    {
      name: "Datadog, text",
      record: { log: "x", "dd.trace_id": "1234567890123456789", "dd.span_id": "987654321" },
      want: {
        trace: "0000000000000000112210f47de98115",
        span: "000000003ade68b1",
        source: "field:dd.trace_id",
        raw: "1234567890123456789",
      },
    },
    {
      name: "Datadog, nested, numbers beyond 2^53",
      record: { log: "x", dd: { trace_id: 1234567890123456789n, span_id: 987654321 } },
      want: {
        trace: "0000000000000000112210f47de98115",
        span: "000000003ade68b1",
        source: "field:dd.trace_id",
        raw: "1234567890123456789",
      },
    },
    {
      name: "Datadog, 32 hex digits",
      record: { log: "x", dd: { trace_id: "640cfd8d00000000112210f47de98115" } },
      want: { trace: "640cfd8d00000000112210f47de98115", source: "field:dd.trace_id" },
    },
    {
      name: "Datadog, 32 digits are hex",
      record: { log: "x", dd: { trace_id: "12345678901234567890123456789012" } },
      want: { trace: "12345678901234567890123456789012", source: "field:dd.trace_id" },
    },
    {
      name: "Google",
      record: {
        log: "x",
        "logging.googleapis.com/trace": `projects/my-project/traces/${T}`,
        "logging.googleapis.com/spanId": S,
      },
      want: { trace: T, span: S, source: "field:logging.googleapis.com/trace", raw: `projects/my-project/traces/${T}` },
    },
    {
      name: "Google, upper case",
      record: { log: "x", "logging.googleapis.com/trace": `projects/P/traces/${T.toUpperCase()}` },
      want: {
        trace: T,
        source: "field:logging.googleapis.com/trace",
        raw: `projects/P/traces/${T.toUpperCase()}`,
      },
    },
    {
      name: "Google's LogEntry",
      record: { log: "x", trace: `projects/p/traces/${T}` },
      want: { trace: T, source: "field:logging.googleapis.com/trace", raw: `projects/p/traces/${T}` },
    },
    {
      name: "SkyWalking's tid",
      record: { log: "x", tid: "TID: a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550009" },
      want: {
        trace: "a4ec6fc886ab4bb4cf12975a1052aee6",
        source: "field:tid",
        raw: "a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550009",
      },
    },
    { name: "a thread's tid", record: { log: "x", tid: 4711 }, want: {} },
    {
      name: "SW_CTX",
      record: {
        log: "x",
        SW_CTX:
          "[shop,pod,56a5e1c519ae4c76a2b8b11d92cead7f.12.16563474296430001,a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550008,2]",
      },
      want: {
        trace: "56a5e1c515ae4c7613e51e7cf616977f",
        span: "68fef89296f9e552",
        source: "field:sw_ctx",
        raw: "56a5e1c519ae4c76a2b8b11d92cead7f.12.16563474296430001",
      },
    },
    { name: "SW_CTX without a trace", record: { log: "x", skyWalkingContext: "[shop,pod,N/A,N/A,-1]" }, want: {} },
    {
      name: "X-Ray",
      record: { log: "x", xray_trace_id: "1-5759e988-bd862e3fe1be46a994272793" },
      want: {
        trace: "5759e988bd862e3fe1be46a994272793",
        source: "field:xray_trace_id",
        raw: "1-5759e988-bd862e3fe1be46a994272793",
      },
    },
    {
      name: "X-Ray with its segment",
      record: { log: "x", "AWS-XRAY-TRACE-ID": "1-5759e988-bd862e3fe1be46a994272793@53995c3f42cd8ad8" },
      want: {
        trace: "5759e988bd862e3fe1be46a994272793",
        span: "53995c3f42cd8ad8",
        source: "field:xray_trace_id",
        raw: "1-5759e988-bd862e3fe1be46a994272793",
      },
    },
    {
      name: "X-Ray in traceId",
      record: { log: "x", traceId: "1-5759e988-bd862e3fe1be46a994272793" },
      want: {
        trace: "5759e988bd862e3fe1be46a994272793",
        source: "field:trace_id",
        raw: "1-5759e988-bd862e3fe1be46a994272793",
      },
    },
    {
      name: ".NET",
      record: { log: "x", TraceId: T, SpanId: S, ParentId: "0000000000000000" },
      want: { trace: T, span: S, source: "field:trace_id" },
    },
    { name: "bin", record: { log: "x", trace_id: Buffer.from(T) }, want: { trace: T, source: "field:trace_id" } },
    ...["fields", "attributes", "context", "mdc", "contextMap", "labels", "extra", "trace", "span", "headers"].map(
      (container) => ({
        name: `one level down in ${container}`,
        record: { log: "x", [container]: { traceId: T, spanId: S } },
        want: { trace: T, span: S, source: "field:trace_id" },
      }),
    ),
    {
      name: "in request.headers",
      record: { log: "x", request: { headers: { trace_id: T } } },
      want: { trace: T, source: "field:trace_id" },
    },
    { name: "not two levels down", record: { log: "x", mdc: { fields: { trace_id: T } } }, want: {} },
    { name: "not in other maps", record: { log: "x", other: { trace_id: T } }, want: {} },
    {
      name: "a bad span drops only the span",
      record: { log: "x", trace_id: T, span_id: "xyz" },
      want: { trace: T, source: "field:trace_id" },
    },
    ...["", "-", "N/A", "null", "none", "undefined", "0", "unknown", "0".repeat(32)].map((text) => ({
      name: `placeholder ${JSON.stringify(text)}`,
      record: { log: "x", trace_id: text },
      want: {},
    })),
    { name: "nil", record: { log: "x", trace_id: null }, want: {} },
    { name: "a map", record: { log: "x", trace_id: { a: 1 } }, want: {} },
    {
      name: "configured names",
      record: { log: "x", correlation: T, trace_id: T2 },
      options: { fields: ["Correlation"] },
      want: { trace: T, source: "field:custom", alt: T2 },
    },
    {
      name: "a configured name with a decimal",
      record: { log: "x", cid: "1234567890123456789" },
      options: { fields: ["cid"] },
      want: { trace: "0000000000000000112210f47de98115", source: "field:custom", raw: "1234567890123456789" },
    },
  ];
  test.each(cases)("$name", check);
});

describe("headers", () => {
  const cases: Case[] = [
    {
      name: "traceparent names the caller's span",
      record: { log: "x", headers: { traceparent: `00-${T}-${S}-01` } },
      want: { trace: T, parent: S, source: "header:traceparent" },
    },
    {
      name: "traceparent, upper case in a header",
      record: { log: "x", headers: { traceparent: `00-${T.toUpperCase()}-${S}-01` } },
      want: {},
    },
    {
      name: "traceparent, upper case in a log field",
      record: { log: "x", traceparent: `00-${T.toUpperCase()}-${S}-01` },
      want: { trace: T, parent: S, source: "header:traceparent", raw: T.toUpperCase() },
    },
    { name: "traceparent, version ff", record: { log: "x", headers: { traceparent: `ff-${T}-${S}-01` } }, want: {} },
    {
      name: "traceparent 00 with a tail",
      record: { log: "x", headers: { traceparent: `00-${T}-${S}-01-x` } },
      want: {},
    },
    {
      name: "traceparent of a later version with a tail",
      record: { log: "x", headers: { traceparent: `cc-${T}-${S}-01-x` } },
      want: { trace: T, parent: S, source: "header:traceparent" },
    },
    {
      name: "traceparent with zeros (vector)",
      record: { log: "x", headers: { traceparent: `00-${"0".repeat(32)}-${S}-01` } },
      want: {},
    },
    {
      name: "traceparent with a zero span",
      record: { log: "x", headers: { traceparent: `00-${T}-${"0".repeat(16)}-01` } },
      want: {},
    },
    {
      name: "b3",
      record: { log: "x", headers: { b3: "80f198ee56343ba864fe8b2a57d3eff7-05e3ac9a4f6e3b90-1-e457b5a2e4d86bd1" } },
      want: {
        trace: "80f198ee56343ba864fe8b2a57d3eff7",
        span: "05e3ac9a4f6e3b90",
        parent: "e457b5a2e4d86bd1",
        source: "header:b3",
      },
    },
    {
      name: "b3, 64 bits, debug",
      record: { log: "x", headers: { B3: `${LOW}-${S}-d` } },
      want: { trace: `0000000000000000${LOW}`, span: S, source: "header:b3", raw: LOW },
    },
    {
      name: "b3, upper case",
      record: { log: "x", headers: { b3: `${T.toUpperCase()}-${S.toUpperCase()}-D` } },
      want: { trace: T, span: S, source: "header:b3", raw: T.toUpperCase() },
    },
    { name: "b3: 0 (vector)", record: { log: "x", headers: { b3: "0" } }, want: {} },
    {
      name: "b3 multi",
      record: { log: "x", headers: { "X-B3-TraceId": T, "x-b3-spanid": S, "x-b3-parentspanid": S2 } },
      want: { trace: T, span: S, parent: S2, source: "header:x-b3-traceid" },
    },
    {
      name: "b3 single before multi",
      record: { log: "x", headers: { "x-b3-traceid": T2, "x-b3-spanid": S2, b3: `${T}-${S}` } },
      want: { trace: T, span: S, source: "header:b3", alt: T2 },
    },
    {
      name: "Jaeger (vector)",
      record: { log: "x", headers: { "uber-trace-id": "51729f13a64c2ef3:258169797d519815:0:1" } },
      want: {
        trace: "000000000000000051729f13a64c2ef3",
        parent: "258169797d519815",
        source: "header:uber-trace-id",
        raw: "51729f13a64c2ef3",
      },
    },
    {
      name: "Jaeger, percent-encoded, leading zeros missing",
      record: { log: "x", headers: { "Uber-Trace-Id": "1729f13a64c2ef3%3A58169797d519815%3A0%3A1" } },
      want: {
        trace: "000000000000000001729f13a64c2ef3",
        parent: "058169797d519815",
        source: "header:uber-trace-id",
        raw: "1729f13a64c2ef3",
      },
    },
    {
      name: "Jaeger, upper case",
      record: { log: "x", headers: { "uber-trace-id": `${T.toUpperCase()}:${S}:0:1` } },
      want: { trace: T, parent: S, source: "header:uber-trace-id", raw: T.toUpperCase() },
    },
    {
      name: "a repeated header",
      record: { log: "x", headers: { traceparent: [`00-${T}-${S}-01`, `00-${T2}-${S2}-01`] } },
      want: { trace: T, parent: S, source: "header:traceparent" },
    },
    {
      name: "spaces around",
      record: { log: "x", headers: { traceparent: ` 00-${T}-${S}-01 ` } },
      want: { trace: T, parent: S, source: "header:traceparent" },
    },
  ];
  test.each(cases)("$name", check);
});

describe("precedence", () => {
  const cases: Case[] = [
    {
      name: "typed fields before log fields",
      record: { log: "x", trace_id: T2, span_id: S2 },
      metadata: { otlp: { trace_id: Buffer.from(T, "hex"), span_id: Buffer.from(S, "hex") } },
      want: { trace: T, span: S, source: "otlp", alt: T2 },
    },
    {
      name: "typed fields as hex text",
      record: { log: "x" },
      metadata: { otlp: { trace_id: T.toUpperCase(), span_id: S } },
      want: { trace: T, span: S, source: "otlp" },
    },
    {
      name: "typed fields of another length are absent",
      record: { log: "x" },
      metadata: { otlp: { trace_id: Buffer.from(T, "hex").subarray(1) } },
      want: {},
    },
    {
      name: "typed fields as text of as many characters as an id has bytes",
      record: { log: "x" },
      metadata: { otlp: { trace_id: LOW, span_id: "12345678" } },
      want: {},
    },
    {
      name: "typed zeros are absent",
      record: { log: "x" },
      metadata: { otlp: { trace_id: Buffer.alloc(16) } },
      want: {},
    },
    {
      name: "fields before headers before text",
      record: { log: `trace_id=${"1".repeat(32)}`, headers: { traceparent: `00-${T2}-${S2}-01` }, trace_id: T },
      want: { trace: T, source: "field:trace_id", alt: `${T2},${"1".repeat(32)}` },
    },
    {
      name: "fields in the order of the table",
      record: { log: "x", "dd.trace_id": "5", otelTraceID: T2, traceId: T },
      want: { trace: T, source: "field:trace_id", alt: `${T2},00000000000000000000000000000005` },
    },
    {
      name: "the top level before containers",
      record: { log: "x", mdc: { trace_id: T2, span_id: S2 }, trace_id: T },
      want: { trace: T, source: "field:trace_id", alt: T2 },
    },
    {
      name: "headers in their order",
      record: { log: "x", headers: { "uber-trace-id": `${T2}:${S2}:0:1`, traceparent: `00-${T}-${S}-01` } },
      want: { trace: T, parent: S, source: "header:traceparent", alt: T2 },
    },
    {
      name: "a span never joins a trace of another source",
      record: { log: `trace_id=${T}`, mdc: { span_id: S } },
      want: { trace: T, source: "text:trace_id" },
    },
    {
      name: "the same low half is the same id, and 128 bits win",
      record: { log: "x", trace_id: LOW, span_id: S, headers: { traceparent: `00-${T}-${S2}-01` } },
      want: { trace: T, span: S, source: "field:trace_id", raw: LOW },
    },
    {
      name: "at most four others",
      record: { log: [1, 2, 3, 4, 5, 6].map((n) => `trace_id=${String(n).repeat(32)}`).join(" "), trace_id: T },
      want: { trace: T, source: "field:trace_id", alt: [1, 2, 3, 4].map((n) => String(n).repeat(32)).join(",") },
    },
    {
      name: "a field's id that stands in the line",
      record: { log: `a trace_id=${T}`, trace_id: T },
      want: { trace: T, source: "field:trace_id" },
    },
    { name: "a span alone", record: { log: "x", span_id: S }, want: { span: S } },
    { name: "no source wanted", record: { log: "x", trace_id: T }, options: { source: false }, want: { trace: T } },
    { name: "no text wanted", record: { log: `trace_id=${T}` }, options: { text: false }, want: {} },
    { name: "a request id is no trace", record: { log: "x", request_id: R }, want: { request: R } },
    {
      name: "a request id as trace, asked for",
      record: { log: "x", "x-request-id": R },
      options: { request_id_as_trace: true },
      want: { request: R, trace: R.replaceAll("-", ""), source: "request_id" },
    },
    {
      name: "a request id as trace comes last",
      record: { log: `trace_id=${T}`, request_id: R },
      options: { request_id_as_trace: true },
      want: { request: R, trace: T, source: "text:trace_id", alt: R.replaceAll("-", "") },
    },
    {
      name: "a request id that is no UUID",
      record: { log: "x", headers: { "X-Request-Id": "abc-1" } },
      want: { request: "abc-1" },
    },
    {
      name: "a request id in upper case keeps its form",
      record: { log: "x", requestId: R.toUpperCase() },
      want: { request: R.toUpperCase() },
    },
    {
      name: "no request ids wanted",
      record: { log: `request_id=${R}`, request_id: R },
      options: { request_id: false },
      want: {},
    },
  ];
  test.each(cases)("$name", check);

  test("an id in the line is pointed to, not repeated", () => {
    const log = `{"trace_id":"${T}","span_id":"${S}","request_id":"${R}"}`;
    const got = passOne({ steps: [{ trace: {} }] }, { log });
    expect(got.idAt).toEqual([log.indexOf(T), log.indexOf(S), -2, log.indexOf(R)]);
    const field = passOne({ steps: [{ trace: {} }] }, { log: `x ${log}`, trace_id: T });
    expect(field.idAt[0]).toBe(log.indexOf(T) + 2);
    const padded = passOne({ steps: [{ trace: {} }] }, { log: `trace_id=${LOW}` });
    expect(padded.idAt[0]).toBe(-1);
  });

  test("an id beyond the cut of a line is not pointed to", () => {
    const log = `${"x".repeat(1015)} trace_id=${T}`;
    const got = passOne({ steps: [{ trace: {} }], limits: { line_bytes_max: 1024 } }, { log });
    expect(got.metadata).toMatchObject({ trace_id: T, truncated: String(log.length) });
    expect(got.idAt[0]).toBe(-1);
  });

  test("ids of parsed lines", () => {
    const parsers = { json, cri };
    const inner = `{"dd":{"trace_id":"1234567890123456789","span_id":"5"}}`;
    const got = passOne({ parsers, steps: [{ parse: { with: "json" } }, { trace: {} }] }, { log: inner });
    expect(idsOf(got)).toEqual({
      trace: "0000000000000000112210f47de98115",
      span: "0000000000000005",
      source: "field:dd.trace_id",
      raw: "1234567890123456789",
    });
    const unwrapped = passOne(
      { parsers, steps: [{ trace: {} }, { parse: { with: "cri" } }] },
      { log: `2024-05-01T09:00:00.5Z stdout F a trace_id=${T}` },
    );
    expect(idsOf(unwrapped)).toEqual({ trace: T, source: "text:trace_id" });
    expect(unwrapped.idAt[0]).toBe(11);
  });

  test("dropped and renamed fields", () => {
    expect(
      idsOf(passOne({ steps: [{ drop: { fields: ["trace_id"] } }, { trace: {} }] }, { log: "x", trace_id: T })),
    ).toEqual({});
    expect(idsOf(passOne({ steps: [{ rename: { foo: "trace_id" } }, { trace: {} }] }, { log: "x", foo: T }))).toEqual({
      trace: T,
      source: "field:trace_id",
    });
    expect(
      idsOf(passOne({ steps: [{ trace: {} }, { drop: { fields: ["trace_id"] } }] }, { log: "x", trace_id: T })),
    ).toEqual({ trace: T, source: "field:trace_id" });
  });

  test("typed ids of OTLP are kept without the step", () => {
    expect(idsOf(passOne({}, { log: `trace_id=${T2}` }, { otlp: { trace_id: Buffer.from(T, "hex") } }))).toEqual({
      trace: T,
      source: "otlp",
    });
  });
});

test("values that are no ids are counted by reason, placeholders are not", async () => {
  const metrics = new Metrics();
  const setup = { metrics, steps: [{ trace: {} }] };
  passOne(setup, { log: "x", trace_id: "nonsense", span_id: "-" });
  passOne(setup, { log: "x", dd: { trace_id: "18446744073709551616" } });
  passOne(setup, { log: "x", traceId: "x".repeat(5000) });
  const text = await metrics.render();
  for (const reason of ["form", "range", "long"])
    expect(text).toContain(`weir_pipeline_rejected_ids_total{reason="${reason}"} 1\n`);
});
