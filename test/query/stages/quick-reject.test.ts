import { describe, expect, test } from "vitest";
import type { Labels } from "../../../src/core/labels.ts";
import { compileLogText } from "../../../src/query/compile.ts";
import { Entry } from "../../../src/query/stages/entry.ts";
import { liveAfter, NEEDS_ALL, type Needs } from "../../../src/query/stages/needs.ts";
import { compileQuickTest } from "../../../src/query/stages/quick-reject.ts";
import { parseLogQuery } from "../../../src/query/syntax/parse.ts";
import { templateNames } from "../../../src/query/template/template.ts";
import { labelsOf, runQuery } from "./run-query.ts";

interface Options {
  stream?: Labels;
  metadata?: readonly (readonly [string, string])[] | null;
}

/** What the quick test says of a line; null when the filter has none. */
function verdict(
  parser: "json" | "logfmt",
  filter: string,
  line: string,
  { stream = {}, metadata = [] }: Options = {},
) {
  const [stage] = parseLogQuery(`{a="b"} | ${filter}`).stages;
  if (stage.type !== "label_filter") throw new Error(`${filter} is no label filter`);
  const entry = new Entry();
  const quick = compileQuickTest(stage.filter, parser, entry);
  if (quick === null) return null;
  const bytes = Buffer.from(line);
  entry.openBlock(bytes, stream, {
    metadata: () => metadata ?? [],
    ...(metadata === null
      ? {}
      : { metadataCodes: (names) => ({ count: 1, pairs: () => metadata.filter(([name]) => names.has(name)) }) }),
  });
  entry.openLine(0, bytes.length);
  return quick(entry);
}

describe("what a line's bytes say of a filter behind json", () => {
  test.each<[filter: string, line: string, verdict: string | null]>([
    ["status >= 500", '{"status":200}', "drop"],
    ["status >= 500", '{"status":500}', "keep"],
    ["status >= 500", '{"status": 2e2}', "drop"],
    ["status >= 500", '{"status" : "200" , "x":1}', "drop"],
    ["status >= 500", '{"status":"ten"}', "keep"],
    ["status >= 500", '{"status":-500.5}', "drop"],
    ["status >= 500", '{"other":1}', "drop"],
    ["status >= 500", '{"status":200,"msg":"status"}', "unknown"],
    ["status >= 500", '{"http_status":200}', "unknown"],
    ["status >= 500", '{" status ":200}', "unknown"],
    ["status >= 500", '{"st\\u0061tus":200}', "unknown"],
    ["status >= 500", '{"status":{"x":1}}', "unknown"],
    ["status >= 500", '{"status":"2\\u00300"}', "unknown"],
    ["status >= 500", '{"x":["status",200]}', "unknown"],
    ["status >= 500", '{"status":1234567890123456789}', "keep"],
    ["status >= 500", '{"status":200', "drop"],
    ["status >= 500", '{"status":', "unknown"],
    ["status >= 500", '"status"', "unknown"],
    ["duration_ms > 10", '{"duration_ms":9.5}', "drop"],
    ["duration_ms > 10", '{"duration":{"ms":20}}', "unknown"],
    ["duration_ms > 10", '{"ms":20}', "drop"],
    ["took > 1s", '{"took":"900ms"}', "drop"],
    ["took > 1s", '{"took":"1m"}', "keep"],
    ["size > 1KB", '{"size":"900"}', "drop"],
    ['level="error"', '{"level":"info"}', "drop"],
    ['level="error"', '{"level":"error"}', "keep"],
    ['level="error"', '{"level":null}', "drop"],
    ['level="é"', '{"level":"é"}', "unknown"],
    ['level=~"err.*"', '{"level":"info"}', "drop"],
    ['level=~"err.*|"', '{"level":"info"}', null],
    ['level!="error"', '{"level":"error"}', null],
    ['level=""', '{"level":"error"}', null],
    ['level_extracted="x"', '{"level":"x"}', null],
    ["x > 1", '{"x":0}', null],
    ['status >= 500 and level="error"', '{"status":200,"level":"error"}', "drop"],
    ['status >= 500 and level!="x"', '{"status":200,"level":"error"}', "drop"],
    ['status >= 500 and level="error"', '{"status":500,"level":"error"}', "keep"],
    ['status >= 500 or level="error"', '{"status":200,"level":"error"}', "keep"],
    ['status >= 500 or level="error"', '{"status":200,"level":"info"}', "drop"],
    ['status >= 500 or level!="x"', '{"status":200,"level":"info"}', null],
  ])("%s of %s: %s", (filter, line, want) => {
    expect(verdict("json", filter, line)).toBe(want);
  });

  test("nothing, where the stream or metadata may have the label", () => {
    const line = '{"status":200}';
    expect(verdict("json", "status >= 500", line, { stream: { status: "500" } })).toBe("unknown");
    expect(verdict("json", "status >= 500", line, { metadata: [["status", "500"]] })).toBe("unknown");
    expect(verdict("json", "status >= 500", line, { metadata: null })).toBe("unknown");
  });
});

test.each<[filter: string, line: string, verdict: string]>([
  ["status >= 500", "a=1 status=200 b=2", "drop"],
  ["status >= 500", "status=500", "keep"],
  ["status >= 500", 'status="200"', "drop"],
  ["status >= 500", "a=1", "drop"],
  ["status >= 500", "http_status=200", "unknown"],
  ["status >= 500", "status=200 x=status", "unknown"],
  ["status >= 500", "status=2=0", "unknown"],
  ["status >= 500", "status=", "unknown"],
  ["took > 1s", "took=900ms", "drop"],
  ['level="error"', "level=info", "drop"],
])("behind logfmt: %s of %s: %s", (filter, line, want) => {
  expect(verdict("logfmt", filter, line)).toBe(want);
});

describe("what is needed behind each stage", () => {
  test.each<[pipeline: string, labels: string[] | null, behind: (string[] | null)[]]>([
    ["| json | a > 1", null, [null, null]],
    ["| json | a > 1", ["x"], [["a", "x"], ["x"]]],
    ["| json | keep a, b | c=``", null, [["a", "b"], null, null]],
    ["| json | a=`1` | keep x", null, [["a", "x"], ["x"], null]],
    ["| json | line_format `{{.m}}{{.n}}` |= `x`", [], [["m", "n"], [], []]],
    ["| json | label_format a=b, c=`{{.d}}`", ["c"], [["b", "c", "d"], ["c"]]],
    ["| json | line_format `{{.}}`", [], [null, []]],
    ["| json | drop a, b=`x`", ["c"], [["b", "c"], ["c"]]],
    [
      "| json | keep a",
      ["__error__", "a", "b"],
      [
        ["__error__", "a"],
        ["__error__", "a", "b"],
      ],
    ],
  ])("%s when %j is", (pipeline, labels, behind) => {
    const needs: Needs = labels === null ? NEEDS_ALL : { labels: new Set(labels), line: false };
    const live = liveAfter(parseLogQuery(`{a="b"} ${pipeline}`).stages, needs, templateNames);
    expect(live.map(({ names }) => (names === null ? null : [...names].sort()))).toEqual(behind);
  });
});

describe("a metric query's parser", () => {
  const run = (pipeline: string, lines: string[], labels: string[], line = false) =>
    runQuery(compileLogText(`{job="w"} ${pipeline}`, { labels: new Set(labels), line }), lines);

  test("does not run when nobody needs its labels", () => {
    const found = run("| json", ["oops", '{"v":"1"}'], []);
    expect(found.map(({ labels }) => labels)).toEqual([{ job: "w" }, { job: "w" }]);
  });
  test("runs when the error is asked for", () => {
    expect(run("| json", ["oops"], ["__error__"])[0].labels.__error__).toBe("JSONParserErr");
    expect(run('| json | __error__=""', ["oops", "{}"], []).map(({ row }) => row)).toEqual([1]);
  });
  test("reads no further than to the last label that is needed", () => {
    expect(run("| json", ['{"v":"1", broken'], ["v"])[0].labels).toEqual({ job: "w", v: "1" });
    expect(run("| json", ['{"v":"1", broken'], ["v", "w"])[0].labels).toMatchObject({ __error__: "JSONParserErr" });
    expect(run("| logfmt --strict", ["v=1 x=1=2"], ["v"])[0].labels).toEqual({ job: "w", v: "1" });
  });
  test("does not take what stands in an object without an end", () => {
    expect(run("| json", ['{"a":{"v":"1"'], ["a_v"])[0].labels).toMatchObject({ __error__: "JSONParserErr" });
    expect(run("| json", ['{"a":{"v":"1"'], ["a_v"])[0].labels).not.toHaveProperty("a_v");
  });
  test("unpacks when the line is looked at, if only for its length", () => {
    const packed = '{"_entry":"inner","n":"x"}';
    expect(run("| unpack", [packed], [], true)[0].line).toBe("inner");
    expect(run("| unpack", [packed], [], false)[0].line).toBe(packed);
    expect(run("| unpack |= `inner`", [packed, '{"_entry":"other"}'], []).map(({ row }) => row)).toEqual([0]);
  });
});

test("a line that only looks like a hit is parsed", () => {
  const lines = [
    '{"a":"status","b":{"status":200},"status":500}',
    '{"x":{"status":500}}',
    '{"status":"500","status":1}',
  ];
  expect(labelsOf("| json | status >= 500", lines)).toEqual([
    { a: "status", b_status: "200", status: "500" },
    { status: "500" },
  ]);
});
