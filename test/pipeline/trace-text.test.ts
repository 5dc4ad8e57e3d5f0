import { describe, expect, test } from "vitest";
import { skyWalkingBytes, skyWalkingSpanBytes } from "../../src/core/trace-id.ts";
import { Candidates, SOURCES } from "../../src/pipeline/trace/candidates.ts";
import { findInText } from "../../src/pipeline/trace/text.ts";
import { Random } from "../random.ts";

interface Found {
  readonly source: string;
  readonly at: number;
  readonly trace: string;
  readonly span: string;
  readonly parent: string;
}

function find(line: string, request = true): { ids: Found[]; request: string } {
  // The line stands in the middle of others, whose bytes must not matter.
  const before = "trace_id=";
  const after = "0123456789abcdef";
  const bytes = Buffer.from(before + line + after, "latin1");
  const found = new Candidates();
  findInText(bytes, before.length, before.length + Buffer.from(line, "latin1").length, found, request);
  const hex = (of: Uint8Array, i: number, size: number, has: Uint8Array) =>
    has[i] === 1 ? Buffer.from(of.subarray(i * size, (i + 1) * size)).toString("hex") : "";
  const ids = Array.from({ length: found.count }, (_, i) => ({
    source: SOURCES[found.source[i] ?? 0].replace("text:", ""),
    at: (found.rank[i] ?? 0) - 100_000,
    trace: hex(found.trace, i, 16, found.hasTrace),
    span: hex(found.span, i, 8, found.hasSpan),
    parent: hex(found.parent, i, 8, found.hasParent),
  }))
    .filter(({ trace }) => trace !== "")
    .sort((a, b) => a.at - b.at);
  for (let i = 0; i < found.count; i++) {
    const at = found.traceAt[i] ?? -1;
    if (at >= 0 && found.hasTrace[i] === 1) {
      expect(line.slice(at, at + 32)).toBe(hex(found.trace, i, 16, found.hasTrace));
      expect(found.raw[i]).toBe("");
    }
  }
  const requestHex = Buffer.from(found.request).toString("hex");
  return {
    ids,
    request: !found.hasRequest
      ? ""
      : found.requestText !== ""
        ? found.requestText
        : requestHex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
  };
}

const T = "0af7651916cd43dd8448eb211c80319c";
const T2 = "4bf92f3577b34da6a3ce929d0e0e4736";
const S = "b7ad6b7169203331";
const UUID = "0af76519-16cd-43dd-8448-eb211c80319c";
const PADDED = `0000000000000000${S}`;

describe("ids in free text", () => {
  test.each([
    { name: "label and equals", line: `GET / trace_id=${T} ok`, want: [["trace_id", T, ""]] },
    { name: "at the line's start", line: `traceId: ${T}`, want: [["trace_id", T, ""]] },
    { name: "JSON", line: `{"msg":"x","trace_id":"${T}","span_id":"${S}"}`, want: [["trace_id", T, S]] },
    { name: "JSON, span first", line: `{"span_id":"${S}","trace_id":"${T}"}`, want: [["trace_id", T, S]] },
    { name: "JSON with spaces", line: `{ "traceID" : "${T}" , "spanID" : "${S}" }`, want: [["trace_id", T, S]] },
    { name: "ECS", line: `{"trace.id":"${T}","span.id":"${S}"}`, want: [["trace_id", T, S]] },
    {
      name: "Python's OpenTelemetry logging",
      line: `{"otelTraceID": "${T}", "otelSpanID": "${S}"}`,
      want: [["trace_id", T, S]],
    },
    { name: "upper case", line: `TRACE-ID=${T.toUpperCase()}`, want: [["trace_id", T, ""]] },
    { name: "64 bits", line: `trace_id=${S}`, want: [["trace_id", PADDED, ""]] },
    { name: "B3 labels", line: `X-B3-TraceId: ${T}, X-B3-SpanId: ${S}`, want: [["trace_id", T, S]] },
    { name: "a URL parameter", line: `GET /x?traceid=${T}&a=1`, want: [["trace_id", T, ""]] },
    {
      name: "X-Ray",
      line: "traceId=1-5759e988-bd862e3fe1be46a994272793 x",
      want: [["trace_id", "5759e988bd862e3fe1be46a994272793", ""]],
    },
    {
      name: "SkyWalking's dotted id is not cut at its dot",
      line: "trace_id=a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550009",
      want: [["trace_id", "a4ec6fc886ab4bb4cf12975a1052aee6", ""]],
    },
    {
      name: "two traces, the span of the first after it",
      line: `trace_id=${T} span_id=${S} link trace_id=${T2} span_id=1111111111111111`,
      want: [
        ["trace_id", T, S],
        ["trace_id", T2, ""],
      ],
    },
    {
      name: "a span after the second trace is not the first one's",
      line: `span_id=${S} trace_id=${T} link trace_id=${T2} span_id=1111111111111111`,
      want: [
        ["trace_id", T, S],
        ["trace_id", T2, ""],
      ],
    },
    { name: "a word before the label", line: `mytrace_id=${T}`, want: [] },
    { name: "digits go on", line: `trace_id=${T}a`, want: [] },
    { name: "letters go on", line: `trace_id=${T}z`, want: [] },
    { name: "a checksum", line: "md5=d41d8cd98f00b204e9800998ecf8427e", want: [] },
    { name: "a bare id", line: `${T} ${S}`, want: [] },
    { name: "zeros", line: `trace_id=${"0".repeat(32)}`, want: [] },
    {
      name: "Datadog",
      line: "dd.trace_id=1234567890123456789 dd.span_id=987654321",
      want: [["dd.trace_id", "0000000000000000112210f47de98115", "000000003ade68b1"]],
    },
    {
      name: "Datadog in JSON",
      line: '{"dd.trace_id":"1234567890123456789","dd.span_id":"987654321"}',
      want: [["dd.trace_id", "0000000000000000112210f47de98115", "000000003ade68b1"]],
    },
    {
      name: "Datadog with 128 bits",
      line: `[dd.trace_id=${T} dd.span_id=5]`,
      want: [["dd.trace_id", T, "0000000000000005"]],
    },
    {
      name: "Datadog, few digits, upper case",
      line: "DD.TRACE_ID: 7",
      want: [["dd.trace_id", "00000000000000000000000000000007", ""]],
    },
    { name: "Datadog above 64 bits", line: "dd.trace_id=18446744073709551616", want: [] },
    { name: "Datadog without a trace", line: "dd.trace_id=0 dd.span_id=0", want: [] },
    {
      name: "TID",
      line: "[TID: a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550009] x",
      want: [["tid", "a4ec6fc886ab4bb4cf12975a1052aee6", ""]],
    },
    { name: "TID, UUID", line: `TID:${UUID}`, want: [["tid", T, ""]] },
    { name: "TID, no trace", line: "[TID: N/A] x", want: [] },
    { name: "TID of a load balancer", line: `TID_${T}`, want: [] },
    { name: "a word that ends in TID", line: `XTID: ${T}`, want: [] },
    {
      name: "SW_CTX",
      line: "SW_CTX: [shop,pod-1,a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550009,a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550008,2] x",
      want: [["sw_ctx", "a4ec6fc886ab4bb4cf12975a1052aee6", "68fef89296f9e552"]],
    },
    { name: "SW_CTX without a span", line: `SW_CTX:[shop,pod-1,${UUID},N/A,-1]`, want: [["sw_ctx", T, ""]] },
    { name: "SW_CTX, no trace", line: "SW_CTX: [shop,pod-1,N/A,N/A,-1]", want: [] },
    {
      name: "Sleuth",
      line: "INFO [bar,6bfd228dc00d216b,6bfd228dc00d216b,false] x",
      want: [["sleuth", "00000000000000006bfd228dc00d216b", "6bfd228dc00d216b"]],
    },
    { name: "Sleuth with 128 bits, no export flag", line: `[bar,${T},${S}]`, want: [["sleuth", T, S]] },
    {
      name: "Spring Boot 3",
      line: "[myapp] [803B448A0489F84084905D3093480352-3425F23BB2432450] c.e.X",
      want: [["spring", "803b448a0489f84084905d3093480352", "3425f23bb2432450"]],
    },
    { name: "a traceparent", line: `traceparent: 00-${T}-${S}-01`, want: [["traceparent", T, "", S]] },
    { name: "a traceparent of a later version", line: `x 01-${T}-${S}-00-extra y`, want: [["traceparent", T, "", S]] },
    { name: "a traceparent with something after it", line: `00-${T}-${S}-01-extra`, want: [] },
    { name: "version ff", line: `ff-${T}-${S}-01`, want: [] },
    { name: "a traceparent with zeros", line: `00-${"0".repeat(32)}-${S}-01`, want: [] },
    { name: "a traceparent with a zero span", line: `00-${T}-${"0".repeat(16)}-01`, want: [] },
    {
      name: "leftmost first",
      line: `[a,${T2},${S}] trace_id=${T}`,
      want: [
        ["sleuth", T2, S],
        ["trace_id", T, ""],
      ],
    },
    { name: "bytes that are no text", line: `\xff\xfe trace_id=${T}\xe9`, want: [["trace_id", T, ""]] },
    { name: "nothing", line: "", want: [] },
  ])("$name", ({ line, want }) => {
    expect(
      find(line).ids.map(({ source, trace, span, parent }) =>
        parent === "" ? [source, trace, span] : [source, trace, span, parent],
      ),
    ).toEqual(want);
  });

  test.each([
    { form: "labels", zeros: `trace_id=${"0".repeat(32)} ` },
    { form: "short ids", zeros: `traceId: ${"0".repeat(16)} ` },
    { form: "Datadog's numbers", zeros: "dd.trace_id=0 " },
    { form: "brackets with a span", zeros: `[app,${"0".repeat(32)},${S}] ` },
  ])("zeros, however many ($form), take no later id its place", ({ zeros }) => {
    expect(find(`${zeros.repeat(40)}trace_id=${T} span_id=${S}`).ids).toMatchObject([{ trace: T, span: S }]);
    expect(find(`${zeros.repeat(40)}dd.trace_id=81985529216486895`).ids).toMatchObject([
      { trace: "00000000000000000123456789abcdef" },
    ]);
  });
});

describe("request ids in free text", () => {
  const R = "84961386-6d84-929d-98bd-c5aee93b5c88";
  test.each([
    {
      name: "Istio",
      line: `[2020-11-25T21:26:18.409Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 4 4 "-" "curl/7.73.0-DEV" "${R}" "httpbin:8000" "10.44.1.27:80" outbound|8000||httpbin.foo.svc.cluster.local 10.44.1.23:37652 10.0.45.184:8000 10.44.1.23:46520 - default`,
      want: R,
    },
    {
      name: "Envoy",
      line: `[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "${R}" "locations" "tcp://10.0.2.1:80"`,
      want: R,
    },
    {
      name: "a user agent that is a UUID",
      line: `[2016-04-15T20:17:00.310Z] "GET / HTTP/2" 204 - 154 0 226 100 "-" "11111111-6d84-929d-98bd-c5aee93b5c88" "${R}" "locations" "tcp://10.0.2.1:80"`,
      want: R,
    },
    { name: "JSON", line: `{"request_id":"${R}","a":1}`, want: R },
    { name: "a header", line: `x-request-id: ${R}`, want: R },
    { name: "upper case stays as it was written", line: `requestId=${R.toUpperCase()}`, want: R.toUpperCase() },
    { name: "nginx", line: `request_id=${T} x`, want: T },
    { name: "a UUID without a label", line: `user ${R} logged in`, want: "" },
    { name: "a quoted UUID elsewhere", line: `"${R}" "a" "b"`, want: "" },
    { name: "one that goes on", line: `request_id=${R}0`, want: "" },
  ])("$name", ({ line, want }) => {
    expect(find(line).request).toBe(want);
    expect(find(line, false).request).toBe("");
  });
});

/*
 * The rules of the specification as regular expressions, `\s` being ASCII here, run over the whole line each. With three
 * readings beyond the letter: the `otel` prefix, dotted SkyWalking ids after a trace label, and shapes that section 3 refuses.
 */
const LABEL = String.raw`(?:^|[\t-\r \[{(,;"'?&])`;
const SEP = String.raw`["']?[\t-\r ]*[=:][\t-\r ]*["']?`;
const RULES = {
  label: new RegExp(
    `${LABEL}(?:(?:otel)?trace[_.-]?id|x-b3-traceid)${SEP}([0-9a-f]{32}\\.\\d+\\.\\d+|(?:[0-9a-f]{32}|[0-9a-f]{16}|1-[0-9a-f]{8}-[0-9a-f]{24})(?![0-9a-z]))`,
    "gi",
  ),
  span: new RegExp(`${LABEL}(?:(?:otel)?span[_.-]?id|x-b3-spanid)${SEP}([0-9a-f]{16})(?![0-9a-z])`, "gi"),
  dd: /(?:^|[\t-\r [{(,;"'])dd\.trace_id["']?[\t-\r ]*[=:][\t-\r ]*["']?([0-9a-f]{32}|\d{1,20})(?![0-9a-z])/gi,
  ddSpan: /(?:^|[\t-\r [{(,;"'])dd\.span_id["']?[\t-\r ]*[=:][\t-\r ]*["']?(\d{1,20})(?![0-9a-z])/gi,
  tid: /\bTID:[\t-\r ]*([0-9a-f]{32}\.\d+\.\d+|[0-9a-f-]{32,36})/g,
  swCtx: /\bSW_CTX:[\t-\r ]*\[([^\],]*),([^\],]*),([^\],]*),([^\],]*),(-?\d+)\]/g,
  sleuth: /\[([^,\]]*),([0-9a-f]{32}|[0-9a-f]{16}),([0-9a-f]{16})(?:,(true|false))?\]/g,
  spring: /\[([0-9a-f]{32})-([0-9a-f]{16})\]/gi,
  traceparent: /\b([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?\b/g,
};

/** Matches that begin within other matches count too. */
function matches(rule: RegExp, line: string): RegExpExecArray[] {
  const found: RegExpExecArray[] = [];
  rule.lastIndex = 0;
  for (let m = rule.exec(line); m !== null; m = rule.exec(line)) {
    found.push(m);
    rule.lastIndex = m.index + 1;
  }
  return found;
}

const isZero = (hex: string) => /^0*$/.test(hex);

function slow(line: string): Found[] {
  const ids: Found[] = [];
  const add = (source: string, at: number, trace: string, span = "", parent = "") => {
    if (isZero(trace) || ids.some((id) => id.at === at)) return;
    ids.push({ source, at, trace, span: isZero(span) ? "" : span, parent });
  };
  const group = (m: RegExpExecArray, n: number) => m.index + m[0].indexOf(m[n] ?? "", m[0].lastIndexOf(m[n] ?? ""));
  const labelled: { at: number; trace: string; end: number }[] = [];
  for (const m of matches(RULES.label, line)) {
    const id = (m[1] ?? "").toLowerCase();
    const xray = /^1-(.{8})-(.{24})$/.exec(id);
    const trace =
      xray !== null
        ? `${xray[1]}${xray[2]}`
        : id.includes(".")
          ? (skyWalkingBytes(id)?.toString("hex") ?? "")
          : id.padStart(32, "0");
    labelled.push({ at: m.index + m[0].length - id.length, trace, end: m.index + m[0].length });
  }
  labelled.sort((a, b) => a.at - b.at);
  const spans = matches(RULES.span, line).map((m) => ({
    at: m.index + m[0].length - 16,
    id: (m[1] ?? "").toLowerCase(),
  }));
  const first = labelled.findIndex(({ trace }) => !isZero(trace));
  for (const [i, { at, trace }] of labelled.entries()) {
    if (i !== first) {
      add("trace_id", at, trace);
      continue;
    }
    const next = labelled.at(i + 1)?.at ?? Number.POSITIVE_INFINITY;
    const after = spans.find((span) => span.at > at && span.at < next && !isZero(span.id));
    const before = spans.filter((span) => span.at < at).at(-1);
    add("trace_id", at, trace, after?.id ?? before?.id ?? "");
  }
  let isFirst = true;
  for (const m of matches(RULES.dd, line)) {
    const id = (m[1] ?? "").toLowerCase();
    const at = m.index + m[0].length - id.length;
    if (id.length < 32 && BigInt(id) >= 1n << 64n) continue;
    const trace = id.length === 32 ? id : BigInt(id).toString(16).padStart(32, "0");
    const fit = matches(RULES.ddSpan, line)
      .map((span) => ({ at: span.index, id: span[1] ?? "" }))
      .filter((span) => BigInt(span.id) < 1n << 64n);
    const span = isFirst ? (fit.find((one) => one.at > at) ?? fit[0])?.id : undefined;
    if (!isZero(trace)) isFirst = false;
    add("dd.trace_id", at, trace, span === undefined ? "" : BigInt(span).toString(16).padStart(16, "0"));
  }
  for (const m of matches(RULES.tid, line)) {
    const id = m[1] ?? "";
    add("tid", m.index + m[0].length - id.length, skyWalkingBytes(id)?.toString("hex") ?? "");
  }
  for (const m of matches(RULES.swCtx, line)) {
    const [, service = "", instance = "", id = "", segment = "", number = ""] = m;
    const span = Number(number) < 0 || number.length > 10 ? null : skyWalkingSpanBytes(segment, Number(number));
    const at = m.index + m[0].indexOf("[") + 1 + service.length + 1 + instance.length + 1;
    add("sw_ctx", at, skyWalkingBytes(id)?.toString("hex") ?? "", span?.toString("hex") ?? "");
  }
  for (const m of matches(RULES.sleuth, line)) {
    add("sleuth", m.index + 1 + (m[1] ?? "").length + 1, (m[2] ?? "").padStart(32, "0"), m[3]);
  }
  for (const m of matches(RULES.spring, line))
    add("spring", m.index + 1, (m[1] ?? "").toLowerCase(), (m[2] ?? "").toLowerCase());
  for (const m of matches(RULES.traceparent, line)) {
    const [whole, version = "", trace = "", parent = ""] = m;
    if (version === "ff" || (version === "00" && whole.length !== 55) || isZero(parent)) continue;
    add("traceparent", group(m, 2), trace, "", parent);
  }
  return ids.sort((a, b) => a.at - b.at);
}

describe("the finder and the rules as regular expressions agree", () => {
  const PIECES = [
    T,
    T2,
    S,
    UUID,
    T.toUpperCase(),
    "0".repeat(32),
    "0".repeat(16),
    "1-5759e988-bd862e3fe1be46a994272793",
    "a4ec6fc8ccab4bb4b682064698cc97e6.74.16218381104550009",
    "1234567890123456789",
    "18446744073709551616",
    "7",
    "00",
    "01",
    "ff",
    "f",
    "g",
    "-",
    "--",
    ",",
    "[",
    "]",
    "{",
    '"',
    "'",
    "=",
    ":",
    " ",
    "  ",
    "\t",
    "\n",
    ".",
    "_",
    "trace_id",
    "traceid",
    "TraceId",
    "trace.id",
    "trace-id",
    "x-b3-traceid",
    "X-B3-SpanId",
    "span_id",
    "spanId",
    "otelTraceID",
    "otelSpanID",
    "dd.trace_id",
    "dd.span_id",
    "DD.Trace_ID",
    "TID",
    "TID:",
    "SW_CTX",
    "SW_CTX:",
    "request_id",
    "true",
    "false",
    ",true]",
    "a",
    "N/A",
    "-1",
    "2",
    "\xe9",
    `trace_id=${T}`,
    `"span_id":"${S}"`,
    `00-${T}-${S}-01`,
    `[app,${T},${S}`,
    `[${T}-${S}]`,
    `TID: ${UUID}`,
    "SW_CTX: [a,b,",
    `,${S}]`,
    `${T},`,
  ];

  test.each([1, 2, 3])("on lines made of the rules' own pieces (seed %i)", (seed) => {
    const { below, pick } = new Random(seed);
    let withIds = 0;
    for (let n = 0; n < 8000; n++) {
      const line = Array.from({ length: 1 + below(14) }, () => pick(PIECES)).join("");
      const want = slow(line);
      // More ids than there is room for are cut by design.
      if (want.length > 6) continue;
      if (want.length > 0) withIds++;
      expect({ line, ids: find(line, false).ids }).toEqual({ line, ids: want });
    }
    expect(withIds).toBeGreaterThan(1000);
  });

  test.each([4, 5])("on well-formed ids with one character changed (seed %i)", (seed) => {
    const { below, pick } = new Random(seed);
    const whole = [
      `a trace_id=${T} span_id=${S} b`,
      `{"traceId":"${T}","spanId":"${S}"}`,
      `[TID: ${UUID}] x`,
      `TID:a4ec6fc8ccab4bb4b682064698cc97e6.74.1621838`,
      `[bar,${T},${S},false]`,
      `[${T}-${S}]`,
      `x 00-${T}-${S}-01 y`,
      `SW_CTX: [shop,pod,${UUID},a4ec6fc8ccab4bb4b682064698cc97e6.74.16,2]`,
      "dd.trace_id=1234567890123456789 dd.span_id=98765",
      "traceid: 1-5759e988-bd862e3fe1be46a994272793",
    ];
    const CHARS = [..." \t-_.,:;=[]{}\"'0aAfFgz1\n"];
    for (let n = 0; n < 8000; n++) {
      const text = pick(whole);
      const at = below(text.length + 1);
      const line =
        [
          text.slice(0, at) + text.slice(at + 1),
          text.slice(0, at) + pick(CHARS) + text.slice(at),
          text.slice(0, at) + pick(CHARS) + text.slice(at + 1),
        ][below(3)] ?? "";
      expect({ line, ids: find(line, false).ids }).toEqual({ line, ids: slow(line) });
    }
  });
});

describe("hostile lines take linear time", () => {
  test.each([
    { name: "digits", unit: "0123456789abcdef" },
    { name: "ids after commas", unit: `,${S}` },
    { name: "brackets", unit: "[[[[" },
    { name: "open contexts", unit: `SW_CTX:[a,b,${T},` },
    { name: "labels", unit: `trace_id=${T} ` },
    { name: "spaces before an id", unit: `trace_id=${" ".repeat(500)}` },
    { name: "dashes", unit: "a-" },
    { name: "UUIDs", unit: `${UUID} ` },
    { name: "traceparents", unit: `00-${T}-${S}-01-` },
    { name: "Datadog labels", unit: "dd.trace_id=dd.span_id=" },
    { name: "Datadog ids", unit: "dd.trace_id=5 " },
    { name: "mesh ids without an end", unit: `[2 "${UUID}" "x` },
  ])("$name", ({ unit }) => {
    const line = Buffer.from(unit.repeat(Math.ceil((1 << 20) / unit.length)), "latin1");
    const before = process.cpuUsage();
    findInText(line, 0, line.length, new Candidates(), true);
    const { user, system } = process.cpuUsage(before);
    // Microseconds of processor time: some 10,000 as it is, 20,000,000 and more if ids or labels looked at the whole line.
    expect(user + system).toBeLessThan(3_000_000);
  });
});
