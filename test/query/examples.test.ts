import { describe, expect, test } from "vitest";
import type { Labels } from "../../src/core/labels.ts";
import { keeps, labelsOf, runQuery } from "./stages/run-query.ts";

// The example rows of the LogQL description about formats and errors, and their edges; those about filters and parsers are in
// stages/examples.test.ts, those about metrics in metric/examples.test.ts.

const JOB = { job: "w" };
const run = (pipeline: string, line: string | Buffer, stream: Labels = JOB) =>
  runQuery(`{job="w"} ${pipeline}`, [line], { stream })[0];

describe("line_format", () => {
  test.each([
    {
      line: "q=sel n=12 d=1500ms",
      query:
        '| logfmt | line_format "{{.q | upper | printf \\"%-5s|\\"}} {{ mul (int .n) 2 }} {{ duration .d }} {{ .nope }}"',
      out: "SEL  | 24 1.5 ",
    },
    { line: "a=1", query: "| logfmt | line_format `{{.a}}{{.a}}` |= `11`", out: "11" },
    { line: "x", query: '| line_format "{{__line__}}/{{.job}}"', out: "x/w" },
    { line: "x", query: '| line_format ""', out: "" },
    { line: "a=1 b=2", query: '| logfmt | line_format "{{.b}}" | line_format "{{__line__}}{{.a}}"', out: "21" },
    {
      line: "x",
      query: '| line_format `{{__timestamp__ | date "2006-01-02T15:04:05Z07:00"}}`',
      out: "2023-11-14T22:13:20Z",
    },
    { line: "x", query: "| line_format `{{range $k, $v := .}}{{$k}}={{$v}}{{end}}`", out: "job=w" },
    {
      line: "a=1 b=2",
      query: '| logfmt | line_format `{{index . "a"}}{{index . "no"}}{{len .}}{{with $}}{{.b}}{{end}}`',
      out: "132",
    },
    { line: "nope", query: '| json | line_format `{{index . "__error__"}}`', out: "JSONParserErr" },
    { line: "{}x", query: "| json | line_format `{{.__error__}}`", out: "" },
    { line: "nope", query: "| json | line_format `{{.__error__}}`", out: "JSONParserErr" },
    { line: '{"a":"1"}', query: "| json | line_format `{{.a}} b=2` | logfmt | line_format `{{.b}}{{.a}}`", out: "21" },
    { line: "a=1", query: '| logfmt | line_format "{{.a}} é" |~ "^1 é$"', out: "1 é" },
    { line: "a=1 b=x", query: '| logfmt | line_format `{"v":{{.a}}}` | json | line_format "{{.v}}{{.b}}"', out: "1x" },
  ])("$line $query", ({ line, query, out }) => {
    expect(run(query, line).line).toBe(out);
  });

  test("labels stay", () => {
    expect(labelsOf('| logfmt | line_format "{{.a}}"', ["a=1"])).toEqual([{ a: "1" }]);
  });

  test("a template that fails leaves the line and says why", () => {
    expect(run("| logfmt | line_format `{{ div 1 (int .a) }}`", "a=0")).toMatchObject({
      line: "a=0",
      labels: {
        a: "0",
        __error__: "TemplateFormatErr",
        __error_details__:
          'template: line:1:3: executing "line" at <div 1 (int .a)>: error calling div: runtime error: integer divide by zero',
      },
    });
  });

  test("filters behind it see the new line and the error", () => {
    expect(keeps('| line_format "new" |= "old"', ["old"])).toEqual([]);
    expect(keeps('| line_format "new" != "old"', ["old"])).toEqual(["new"]);
    expect(keeps('|= "old" | line_format "new"', ["old", "x"])).toEqual(["new"]);
    expect(keeps('| logfmt | line_format `{{div 1 .a}}` | __error__=""', ["a=0", "a=2"])).toEqual(["0"]);
  });
});

describe("label_format", () => {
  test.each<{ line: string; query: string; labels: Labels }>([
    { line: "a=1 b=2", query: '| logfmt | label_format c=a, b="{{.b}}{{.c}}", z=zz', labels: { c: "1", b: "21" } },
    { line: "a=1 b=2", query: "| logfmt | label_format b=a, c=b", labels: { c: "1" } },
    { line: "a=1", query: "| logfmt | label_format a=a", labels: {} },
    { line: "a=1", query: '| logfmt | label_format a=""', labels: { a: "" } },
    { line: "a=1", query: "| logfmt | label_format b=nope", labels: { a: "1" } },
    { line: "a=1", query: '| label_format a="x" | logfmt', labels: { a: "x" } },
    { line: "a=1", query: '| logfmt | label_format a="{{.a}}{{.a}}" | a="11"', labels: { a: "11" } },
    {
      line: "nope",
      query: "| json | label_format e=__error__ | drop __error_details__",
      labels: { e: "JSONParserErr" },
    },
    { line: "a=5m", query: "| logfmt | label_format s=`{{duration .a}}` | s >= 300", labels: { a: "5m", s: "300" } },
  ])("$line $query", ({ line, query, labels }) => {
    expect(labelsOf(query, [line])).toEqual([labels]);
  });

  test("it takes the place of stream labels and metadata, and what comes out counts as parsed", () => {
    const [found] = runQuery('{job="w"} | label_format job="{{.job}}2", m="x", k=pod', ["l"], {
      stream: { job: "w", pod: "p" },
      metadata: [["m", "M"]],
    });
    expect(found.classes).toEqual({ stream: {}, structuredMetadata: {}, parsed: { job: "w2", m: "x", k: "p" } });
  });

  test("the stream's labels are back for the next line", () => {
    const found = runQuery('{job="w"} | logfmt | label_format job=a', ["a=1", "b=2"]);
    expect(found.map(({ labels }) => labels)).toEqual([{ job: "1" }, { b: "2", job: "w" }]);
  });

  test("a parser behind it still finds a stream label's name taken", () => {
    expect(run('| label_format job="x" | logfmt', "job=P").labels).toEqual({ job: "x", job_extracted: "P" });
  });

  test("an item that fails does not keep the others from being set", () => {
    const [labels] = labelsOf("| logfmt | label_format x=`{{div 1 0}}`, y=`{{.a}}`", ["a=1"]);
    expect(labels).toMatchObject({ a: "1", y: "1", __error__: "TemplateFormatErr" });
    expect(labels).not.toHaveProperty("x");
    expect(labels.__error_details__).toMatch(
      /^template: label:1:\d+: executing "label" at <div 1 0>: error calling div/,
    );
  });
});

describe("decolorize", () => {
  test.each([
    ["\x1b[31mred\x1b[0m", "red"],
    ["\x1b[1;38;5;196mbold\x1b[m", "bold"],
    ["\x1b]8;;http\x07x", "x"],
    ["no colours", "no colours"],
    ["\x1b", "\x1b"],
    ["\x1b[", "\x1b["],
    ["\x9b32mC1\x9b0m", "C1"],
    ["a\x1b[2Kb\x1b[1Ac", "abc"],
    ["é\x1b[0mü", "éü"],
    ["\x1b[12345m", "m"],
  ])("%j", (line, out) => {
    expect(run("| decolorize", line).line).toBe(out);
  });

  test("gives what the expression that it stands for gives", () => {
    const pattern =
      /[\u001B\u009B][[\]()#;?]*(?:(?:(?:[a-zA-Z\d]*(?:;[a-zA-Z\d]*)*)?\u0007)|(?:(?:\d{1,4}(?:;\d{0,4})*)?[\dA-PRZcf-ntqry=><~]))/g;
    let seed = 7;
    const below = (n: number) => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return (seed >> 8) % n;
    };
    const pieces = ["\x1b", "\x9b", "[", "]", ";", "1", "12", "12345", "m", "Q", "z", "\x07", "x", "é", "?", "#"];
    for (let i = 0; i < 5000; i++) {
      const line = Array.from({ length: 1 + below(9) }, () => pieces[below(pieces.length)]).join("");
      expect([line, run("| decolorize", line).line]).toEqual([line, line.replace(pattern, "")]);
    }
  });

  test("bytes that are no text stay as they are, and time is linear", () => {
    const line = Buffer.concat([Buffer.from("\x1b[31m"), Buffer.from([0xff, 0xc2]), Buffer.from("\x1b[0m|")]);
    const [found] = runQuery('{job="w"} | decolorize |= "\\xff"', [line]);
    expect(found.line).toBe("\ufffd\ufffd|");
    const begun = process.cpuUsage();
    run("| decolorize", `\x1b${";".repeat(1_000_000)}`);
    run("| decolorize", `\x1b[${"1;".repeat(500_000)}`);
    run("| decolorize", "\x1b[".repeat(500_000));
    const { user, system } = process.cpuUsage(begun);
    expect((user + system) / 1000).toBeLessThan(4000);
  });
});

describe("errors travel", () => {
  test("a later parser that succeeds does not clear them", () => {
    expect(labelsOf("| json | logfmt | drop __error_details__", ["a=1"])).toEqual([
      { a: "1", __error__: "JSONParserErr" },
    ]);
  });
  test.each([
    ['| json | __error__=""', ['{"a":1}']],
    ['| json | __error__!=""', ["oops"]],
    ['| json | __error__="JSONParserErr"', ["oops"]],
    ['| json | __error__=~"JSON.*|x"', ["oops"]],
    ['| json | __error__!="JSONParserErr"', ['{"a":1}']],
    ['| json | drop __error__ | __error__=""', ['{"a":1}', "oops"]],
    ["| json | a > 0", ['{"a":1}']],
  ])("%s", (query, kept) => {
    expect(keeps(query, ['{"a":1}', "oops"])).toEqual(kept);
  });
  test("they are labels of the parsed class", () => {
    const { classes } = run("| json", "oops");
    expect(Object.keys(classes.parsed)).toEqual(["__error__", "__error_details__"]);
  });
  test("details name the cause", () => {
    const details = (query: string, line: string) => run(query, line).labels.__error_details__;
    expect(details("| json", "oops")).toBe("Value looks like object, but can't find closing '}' symbol");
    expect(details("| logfmt --strict", "a=1=2")).toBe("logfmt syntax error at pos 4 : unexpected '='");
    expect(details("| logfmt | a > 1", "a=x")).toBe('strconv.ParseFloat: parsing "x": invalid syntax');
  });
});
