import { describe, expect, test } from "vitest";
import { templateNames } from "../../../src/query/template/template.ts";
import { SEED } from "../../random.ts";
import { makeRandomQuery } from "../syntax/random-query.ts";
import { runTemplate } from "./run-template.ts";

const TIME = 1_700_000_000_123_456_789n;

/** Processor time of this process in milliseconds: the machine may be busy with other things. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

describe("functions that Go and sprig don't have, or not so", () => {
  const labels = { name: "héllo wörld", n: "5" };
  test.each([
    ['{{alignLeft 5 "abc"}}|', "abc  |"],
    ['{{alignRight 5 "abc"}}|', "  abc|"],
    ['{{alignLeft 2 "abc"}}|', "ab|"],
    ['{{alignRight 2 "abc"}}|', "bc|"],
    ["{{alignLeft 5 .name}}|", "héllo|"],
    ['{{alignRight 3 "日本語文字"}}|', "語文字|"],
    ['{{b64dec "aGk"}}', "hi"],
    ['{{b64dec "aGk="}}', "hi"],
    ['{{b64dec "***"}}', "illegal base64 data at input byte 0"],
    ['{{unixToTime "19700" | date "2006-01-02"}}', "2023-12-09"],
    ['{{unixToTime "1700000000" | unixEpoch}}', "1700000000"],
    ['{{unixToTime "1700000000123" | unixEpochMillis}}', "1700000000123"],
    ['{{unixToTime "1700000000123456" | unixEpochNanos}}', "1700000000123456000"],
    ['{{unixToTime "1700000000123456789" | unixEpochNanos}}', "1700000000123456789"],
    ["{{ __timestamp__ | unixEpochNanos }}", "1700000000123456789"],
    ["{{ __line__ | upper }}", "THE LINE"],
    ['{{ __timestamp__ | date "2006-01-02T15:04:05.000Z07:00" }}', "2023-11-14T22:13:20.123Z"],
    [
      '{{ __timestamp__.Format "15:04" }} {{ __timestamp__.Month }} {{ __timestamp__.Weekday }}',
      "22:13 November Tuesday",
    ],
    ['{{ trunc (add 1 2) "abcdef" }}', "abc"],
    ['{{toDateInZone "2006-01-02 15:04" "Europe/Berlin" "2024-07-01 12:00"}}', "2024-07-01 12:00:00 +0200 CEST"],
    ['{{toDateInZone "2006-01-02 15:04" "Europe/London" "2024-07-01 12:00"}}', "2024-07-01 12:00:00 +0100 BST"],
    ['{{toDateInZone "2006-01-02 15:04" "America/New_York" "2024-01-01 12:00"}}', "2024-01-01 12:00:00 -0500 EST"],
    ['{{toDateInZone "2006-01-02 15:04 MST" "America/New_York" "2024-01-01 12:00 EST" | unixEpoch}}', "1704128400"],
    ['{{toDate "Jan _2 15:04:05 2006" "Feb  3 04:05:06 2024" | unixEpoch}}', "1706933106"],
    ['{{toDate "2006-002" "2024-060" | date "01-02"}}', "02-29"],
    ['{{toDate "2006-01-02T15:04:05Z07:00" "2024-02-30T00:00:00Z" | date "2006"}}', "0001"],
    ['{{toDate "3:04PM" "12:30AM" | date "15:04"}}', "00:30"],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how Go names a group.
    ['{{regexReplaceAll "(?P<first>\\\\w)(\\\\w)" "abcd" "${2}${first}"}}', "badc"],
    ['{{regexReplaceAll "(b)" "abc" "<$1$01$none$1é>"}}', "a<b>c"],
    ['{{count "l" .name}}', "3"],
    ["{{.n | int | mul 2 | add 1}}", "11"],
    ["{{$.n}}{{with .name}}{{$.n}}{{end}}", "55"],
  ])("%s", (template, out) => {
    expect(runTemplate(template, labels, { line: "the line", timeNs: TIME })).toEqual({ out, error: "" });
  });

  test("text with a raw byte of the line", () => {
    expect(runTemplate("{{ now | unixEpoch }}").out).toMatch(/^\d{10}$/);
    expect(runTemplate('{{ unixToTime "12" }}').error).toContain("unable to parse time '12'");
    expect(runTemplate('{{ unixToTime "x" }}').error).toContain(
      "unable to parse time 'x': strconv.ParseInt: parsing \"x\"",
    );
  });
});

test.each<[template: string, names: string[] | null, line: boolean]>([
  ["text", [], false],
  ["{{.a}}{{ .b | upper }}", ["a", "b"], false],
  ["{{if eq .a $.b}}{{__line__}}{{end}}", ["a", "b"], true],
  ["{{.}}", null, false],
  ["{{range $k, $v := .}}{{end}}", null, false],
  ['{{define "x"}}{{.c}}{{end}}{{template "x" $}}', null, false],
  ["{{(index . .a)}}", null, false],
  ["{{broken", null, true],
])("%s looks at %j", (template, names, line) => {
  const found = templateNames(template);
  expect({ names: found.names === null ? null : [...found.names], line: found.line }).toEqual({ names, line });
});

describe("templates that try to take the machine down", () => {
  const long = { x: "x".repeat(100_000), list: JSON.stringify(Array.from({ length: 2000 }, (_, i) => i)) };
  const doubling = `{{$a := "xxxxxxxx"}}${"{{$a = print $a $a}}".repeat(60)}{{$a}}`;
  test.each([
    ["repeat", '{{repeat 100000000 "x"}}'],
    ["repeat of repeat", '{{repeat 1000 (repeat 1000 (repeat 1000 "x"))}}'],
    ["indent", '{{indent 1000000000 "x"}}'],
    ["nindent of lines", '{{nindent 1000000 (repeat 1000 "\\n")}}'],
    ["alignRight", '{{alignRight 1000000000 "x"}}'],
    ["a wide printf", '{{printf "%999999d%999999d%999999d" 1 2 3}}'],
    ["a wide printf by star", '{{printf "%*d" 1000000 1}}{{printf "%*d" 1000000 1}}'],
    ["doubling a variable", doubling],
    ["range over a huge number", "{{range 1000000000000}}x{{end}}"],
    ["nested ranges", "{{range 100000}}{{range 100000}}{{range 100000}}{{end}}{{end}}{{end}}"],
    [
      "range over a list in a list",
      "{{range fromJson .list}}{{range fromJson $.list}}{{range fromJson $.list}}{{.}}{{end}}{{end}}{{end}}",
    ],
    ["a template that calls itself", '{{define "r"}}{{template "r" .}}{{end}}{{template "r" .}}'],
    [
      "templates that call each other twice",
      '{{define "a"}}{{template "b"}}{{template "b"}}{{end}}{{define "b"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}',
    ],
    [
      "blocks in templates that call themselves",
      `{{define "r"}}${"{{if true}}".repeat(150)}{{template "r"}}${"{{end}}".repeat(150)}{{end}}{{template "r"}}`,
    ],
    ["replacing nothing", '{{replace "" (repeat 1000 "y") .x}}'],
    ["a regex that replaces much", '{{regexReplaceAll "x" .x "yyyyyyyyyyyyyyyyyyyyyyyy"}}'],
    ["regexes in a loop", '{{range 100000}}{{regexReplaceAll "(x+x+)+y" $.x ""}}{{end}}'],
    ["html in a loop", "{{range 100000}}{{html $.x | len}}{{end}}"],
    ["products of decimals", `{{mulf ${"1.2345678901234567e10 ".repeat(1000)}}}`],
  ])("%s", (_, template) => {
    const begun = cpuMs();
    const { out, error } = runTemplate(template, long);
    // Half a millisecond on an idle machine; the first call compiles as well.
    expect(cpuMs() - begun).toBeLessThan(150);
    expect(out).toBe("");
    expect(error).not.toBe("");
  });

  test.each([
    ["deep parentheses", `{{${"(".repeat(20_000)}.a${")".repeat(20_000)}}}`],
    ["deep ifs", "{{if .a}}".repeat(20_000)],
    ["a long else-if chain", `{{if .a}}${"{{else if .b}}x".repeat(5000)}{{end}}`],
    ["deep fields", `{{${".a".repeat(50_000)}}}`],
    ["many arguments", `{{print ${"1 ".repeat(50_000)}}}`],
    ["open actions", "{{".repeat(60_000)],
    ["a long pipeline", `{{.a ${"| len ".repeat(20_000)}}}`],
    ["many actions", "{{.a}}".repeat(20_000)],
    ["trim markers", "{{- .a -}} ".repeat(10_000)],
    ["fields of a map of maps", `{{(fromJson .j)${".a".repeat(10_000)}}}`],
    ["deep JSON", "{{fromJson .deep}}"],
  ])("%s", (_, template) => {
    const begun = cpuMs();
    runTemplate(template, { a: "1", j: '{"a":{}}', deep: "[".repeat(100_000) });
    expect(cpuMs() - begun).toBeLessThan(1000);
  });
});

test("a long line may take more", () => {
  const line = "x".repeat(200_000);
  const repeated = "{{__line__ | upper | lower | upper | lower | trunc 10}}";
  expect(runTemplate(repeated, {}, { line })).toEqual({ out: "xxxxxxxxxx", error: "" });
  expect(runTemplate(repeated.replace("__line__", ".x"), { x: line }, { line: "x" }).error).toContain("too much");
});

test("20,000 random templates end in a text or an error", () => {
  const random = makeRandomQuery(SEED);
  const pieces =
    '{{ }} {{- -}} ( ) | . .a .b $ $x := = , if else end range with define template block break continue nil true and or not eq print printf "%d" "%[3]*.[2]*v" index slice len repeat 3 -1 1.5 \'a\' "s" `r` __line__ __timestamp__ fromJson date "2006" toDate regexReplaceAll "(a" int add div 0 /* */ \n é'.split(
      " ",
    );
  let texts = 0;
  const slow: string[] = [];
  for (let i = 0; i < 20_000; i++) {
    let template = "";
    if (random.chance(0.5)) {
      for (let n = 1 + random.below(12); n > 0; n--)
        template += `${random.pick(pieces)}${random.chance(0.6) ? " " : ""}`;
    } else {
      const inner = Array.from({ length: 1 + random.below(6) }, () => random.pick(pieces.slice(5))).join(" ");
      template = `{{${inner}}}${random.chance(0.3) ? `{{${random.pick(pieces.slice(7))}}}x{{end}}` : ""}`;
    }
    const begun = cpuMs();
    const { error } = runTemplate(template, { a: "1", b: "x" }, { line: "l", timeNs: TIME });
    if (cpuMs() - begun > 100) slow.push(template);
    if (error === "") texts++;
  }
  expect(texts).toBeGreaterThan(500);
  expect(slow.length).toBeLessThan(3);
});
