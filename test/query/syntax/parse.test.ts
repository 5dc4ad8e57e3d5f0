import { describe, expect, test } from "vitest";
import { compileLog, compileLogText } from "../../../src/query/compile.ts";
import type { Expr, LabelFilter, StageOf } from "../../../src/query/syntax/ast.ts";
import { QueryError } from "../../../src/query/syntax/errors.ts";
import { parseAnySelector, parseLogQuery, parseQuery, parseSelector } from "../../../src/query/syntax/parse.ts";
import { formatQuery } from "../../../src/query/syntax/print.ts";
import { validateForApi } from "../../../src/query/syntax/validate.ts";

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(QueryError);
    if (error instanceof QueryError) {
      expect(error).toMatchObject({ code: "bad_query", status: 400, retriable: false });
      return error.message;
    }
  }
  return "(no error)";
}

const EMPTY_COMPATIBLE =
  'parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~".*" does not meet this requirement, but app=~".+" will';

describe("syntax errors", () => {
  test.each([
    ["", "parse error : syntax error: unexpected $end"],
    ["# only a comment", "parse error at line 1, col 17: syntax error: unexpected $end"],
    ["\n", "parse error at line 2, col 1: syntax error: unexpected $end"],
    ['{job="w"}}', "parse error at line 1, col 10: syntax error: unexpected }"],
    ['{job="ww"', "parse error at line 1, col 10: syntax error: unexpected $end, expecting } or ,"],
    ["{", "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"],
    ['{a="b",}', "parse error at line 1, col 8: syntax error: unexpected }, expecting IDENTIFIER"],
    ["{a}", "parse error at line 1, col 3: syntax error: unexpected }, expecting = or =~ or !~ or !="],
    ["{a=b}", "parse error at line 1, col 4: syntax error: unexpected IDENTIFIER, expecting STRING"],
    ["{a='b'}", "parse error at line 1, col 4: syntax error: unexpected IDENTIFIER, expecting STRING"],
    ["{a='bc'}", "parse error at line 1, col 4: invalid char literal"],
    ['{a="b}', "parse error at line 1, col 4: literal not terminated"],
    ['{a="b\n"}', "parse error at line 1, col 4: literal not terminated"],
    ["{a=`b}", "parse error at line 1, col 4: literal not terminated"],
    ['{a="\\d"}', "parse error at line 1, col 4: invalid char escape"],
    ['{a="b"} |', "parse error at line 1, col 10: syntax error: unexpected $end"],
    ['{a="b"} |=', "parse error at line 1, col 11: syntax error: unexpected $end, expecting STRING or ip"],
    ['{a="b"} |= x', "parse error at line 1, col 12: syntax error: unexpected IDENTIFIER, expecting STRING or ip"],
    [
      '{a="b"}\n  |= "x" or 5',
      "parse error at line 2, col 13: syntax error: unexpected NUMBER, expecting STRING or ip",
    ],
    ['{a="b"} |= ip "x"', "parse error at line 1, col 12: syntax error: unexpected IDENTIFIER, expecting STRING or ip"],
    ['{a="b"} |= ip(5)', "parse error at line 1, col 15: syntax error: unexpected NUMBER, expecting STRING"],
    ['{a="b"} | regexp', "parse error at line 1, col 17: syntax error: unexpected $end, expecting STRING"],
    ['{a="b"} | json --strict', "parse error at line 0, col 16: syntax error: unexpected FUNCTION_FLAG"],
    ['{a="b"} | json a,', "parse error at line 1, col 18: syntax error: unexpected $end, expecting IDENTIFIER"],
    ['{a="b"} | label_format a', "parse error at line 1, col 25: syntax error: unexpected $end, expecting ="],
    [
      '{a="b"} | label_format a=5',
      "parse error at line 1, col 26: syntax error: unexpected NUMBER, expecting IDENTIFIER or STRING",
    ],
    ['{a="b"} | drop', "parse error at line 1, col 15: syntax error: unexpected $end, expecting IDENTIFIER"],
    ['{a="b"} | a == "c"', "parse error at line 1, col 16: syntax error: unexpected STRING"],
    ['{a="b"} | a > "1"', "parse error at line 1, col 15: syntax error: unexpected STRING"],
    ['{a="b"} | a > 1kb', "parse error at line 1, col 18: syntax error: unexpected $end"],
    ['{a="b"} | a=1 and', "parse error at line 1, col 18: syntax error: unexpected $end, expecting IDENTIFIER or ("],
    ['{a="b"} | unwrap x', "parse error at line 1, col 11: syntax error: unexpected unwrap"],
    ['{a="b"} | distinct x', "parse error at line 1, col 20: syntax error: unexpected IDENTIFIER"],
    ['({a="b"}) |= "x"', "parse error at line 0, col 11: syntax error: unexpected |="],
    ['{by="x"}', "parse error at line 1, col 2: syntax error: unexpected by, expecting IDENTIFIER or }"],
    ['rate({a="b"})', "parse error at line 1, col 13: syntax error: unexpected )"],
    ['rate({a="b"}[5m]', "parse error at line 1, col 17: syntax error: unexpected $end, expecting )"],
    ['rate({a="b"}[5m)', "parse error at line 0, col 13: missing closing ']' in duration"],
    ['rate({a="b"}[5])', 'parse error at line 0, col 13: not a valid duration string: "5"'],
    ['rate({a="b"}[1.5m])', 'parse error at line 0, col 13: unknown unit "." in duration "1.5m"'],
    ['rate({a="b"}[30s1m])', 'parse error at line 0, col 13: not a valid duration string: "30s1m"'],
    ['rate({a="b"}[1us])', 'parse error at line 0, col 13: unknown unit "us" in duration "1us"'],
    ['rate({a="b"}[ 5m ])', 'parse error at line 0, col 13: not a valid duration string: " 5m "'],
    ['rate({a="b"}[])', "parse error at line 0, col 13: empty duration string"],
    [
      'rate({a="b"}[5m] offset 5)',
      "parse error at line 1, col 25: syntax error: unexpected NUMBER, expecting DURATION",
    ],
    ["rate(x)", "parse error at line 1, col 6: syntax error: unexpected IDENTIFIER, expecting NUMBER or { or ("],
    [
      'rate({a="b"} | unwrap 5 [5m])',
      "parse error at line 1, col 23: syntax error: unexpected NUMBER, expecting IDENTIFIER or BYTES_CONV or DURATION_CONV or DURATION_SECONDS_CONV",
    ],
    ['rate({a="b"} | unwrap x |= "y" [5m])', "parse error at line 0, col 25: syntax error: unexpected |="],
    ['rate({a="b"}[5m]) + ', "parse error at line 1, col 21: syntax error: unexpected $end"],
    [
      'sum by (a, (rate({a="b"}[5m]))',
      "parse error at line 1, col 12: syntax error: unexpected (, expecting IDENTIFIER",
    ],
    ['sum by (a (rate({a="b"}[5m]))', "parse error at line 1, col 11: syntax error: unexpected (, expecting , or )"],
    ['sum({a="b"})', "parse error at line 1, col 12: syntax error: unexpected )"],
    ["vector(x)", "parse error at line 1, col 8: syntax error: unexpected IDENTIFIER, expecting NUMBER"],
    ["vector(-1)", "parse error at line 1, col 8: syntax error: unexpected -, expecting NUMBER"],
    ['label_replace(rate({a="b"}[5m]),"")', "parse error at line 1, col 35: syntax error: unexpected ), expecting ,"],
    ["--1", "parse error at line 1, col 2: syntax error: unexpected -, expecting NUMBER"],
    ["-(1)", "parse error at line 1, col 2: syntax error: unexpected (, expecting NUMBER"],
    ["0x10", 'parse error : unable to parse literal as a float: strconv.ParseFloat: parsing "0x10": invalid syntax'],
    ["0b1", 'parse error : unable to parse literal as a float: strconv.ParseFloat: parsing "0b1": invalid syntax'],
    ["Inf", "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"],
    ['unk({a="b"}[5m])', "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"],
    ['rate({a="b"} @ 5 [5m])', "parse error at line 1, col 14: syntax error: unexpected IDENTIFIER"],
    ['{"a"="b"}', "parse error at line 1, col 2: syntax error: unexpected STRING, expecting IDENTIFIER or }"],
    ['{a.b="c"}', "parse error at line 1, col 3: syntax error: unexpected ., expecting = or =~ or !~ or !="],
    ['{é="c"}', 'parse error at line 1, col 2: invalid label name: "é"'],
  ])("%s", (query, message) => {
    expect(messageOf(() => parseQuery(query))).toBe(message);
  });

  test("the position counts characters, not bytes or UTF-16 units", () => {
    expect(messageOf(() => parseQuery('{a="😀é"} |'))).toBe(
      "parse error at line 1, col 11: syntax error: unexpected $end",
    );
  });
  test("the size limit is in bytes", () => {
    const query = `{a="${"é".repeat(65_540)}"}`;
    expect(messageOf(() => parseQuery(query))).toBe("parse error : input size too long (131086 > 131072)");
  });
});

describe("validation", () => {
  const log = '{a="b"}';
  test.each([
    ...["{}", '{a=""}', '{a=~".*"}', '{a!="x"}', '{a!~".+"}', '{a=~"x*"}', 'rate({a=""}[5m])'].map(
      (q): [string, string] => [q, EMPTY_COMPATIBLE],
    ),
    [`sum_over_time(${log}[5m])`, "parse error : invalid aggregation sum_over_time without unwrap"],
    [`count_over_time(${log} | unwrap x [5m])`, "parse error : invalid aggregation count_over_time with unwrap"],
    [`rate(${log}[5m]) by (a)`, "parse error : grouping not allowed for rate aggregation"],
    [`absent_over_time(${log}[5m]) by (a)`, "parse error : grouping not allowed for absent_over_time aggregation"],
    [`topk(rate(${log}[5m]))`, "parse error : parameter required for operation topk"],
    [`topk(1.5, rate(${log}[5m]))`, "parse error : invalid parameter topk(1.5,"],
    [`topk(9223372036854775808, rate(${log}[5m]))`, "parse error : invalid parameter topk(9223372036854775808,"],
    [`topk(0, rate(${log}[5m]))`, "parse error : invalid parameter (must be greater than 0) topk(0"],
    [
      `sum_over_time(50, ${log} | unwrap x [5m])`,
      "parse error : parameter 50 not supported for operation sum_over_time",
    ],
    [`quantile_over_time(${log} | unwrap x [5m])`, "parse error : parameter required for operation quantile_over_time"],
    [`sum(3, rate(${log}[5m]))`, "parse error : unsupported parameter for operation sum(3,"],
    [`sort by (a) (rate(${log}[5m]))`, "parse error : sort and sort_desc doesn't allow grouping by "],
    [`approx_topk(3, rate(${log}[5m])) by (a)`, "parse error : grouping not allowed for approx_topk aggregation"],
    [
      `1 and rate(${log}[5m])`,
      "parse error : unexpected literal for left leg of logical/set binary operation (and): 1.000000",
    ],
    [
      `rate(${log}[5m]) or 2`,
      "parse error : unexpected literal for right leg of logical/set binary operation (or): 2.000000",
    ],
    [`${log} + 1`, "parse error : unexpected type for left leg of binary operation (+): *syntax.MatchersExpr"],
    [
      `1 + (${log} |= "x")`,
      "parse error : unexpected type for right leg of binary operation (+): *syntax.PipelineExpr",
    ],
    [
      `(${log} + 1) and vector(1)`,
      "parse error : unexpected type for left leg of binary operation (+): *syntax.MatchersExpr",
    ],
    ['{a=~"("}', "parse error : error parsing regexp: missing closing ): `(`"],
    [`${log} | a=~"["`, "parse error : error parsing regexp: missing closing ]: `[`"],
    [`${log} | drop a=~"*"`, "parse error : error parsing regexp: missing argument to repetition operator: `*`"],
    [`${log} | regexp "x"`, "parse error : invalid regexp parser: at least one named capture must be supplied"],
    [`${log} | regexp "(x)"`, "parse error : invalid regexp parser: at least one named capture must be supplied"],
    [`${log} | regexp "(?P<x>a)(?P<x>b)"`, "parse error : invalid regexp parser: duplicate extracted label name 'x'"],
    [`${log} | regexp "("`, "parse error : invalid regexp parser: error parsing regexp: missing closing ): `(`"],
    [`${log} | pattern "x <_>"`, "parse error : invalid pattern parser: at least one capture is required"],
    [
      `${log} | pattern "<a><b>"`,
      "parse error : invalid pattern parser: found consecutive capture '<a><b>': invalid expression",
    ],
    [
      `${log} | pattern "<a> <a>"`,
      "parse error : invalid pattern parser: duplicate capture name (a): invalid expression",
    ],
    [
      `label_replace(rate(${log}[5m]), "a", "$1", "b", "(")`,
      "parse error : invalid regex in label_replace: error parsing regexp: missing closing ): `(`",
    ],
  ])("%s", (query, message) => {
    expect(messageOf(() => parseQuery(query))).toBe(message);
  });

  test.each([
    [`${log} |~ "("`, "parse error : stage '|~ \"(\"' : error parsing regexp: missing closing ): `(`"],
    [`${log} |> "<n> x"`, "parse error : stage '|> \"<n> x\"' : named captures are not allowed: found '<n>'"],
    [`${log} |= ip("bad")`, `parse error : stage '|= ip("bad")' : ip: invalid pattern: "bad"`],
    [`${log} |~ ip("1.1.1.1")`, `parse error : stage '|~ ip("1.1.1.1")' : ip: invalid operation`],
    [`${log} | a=ip("bad")`, `parse error : stage '| a=ip("bad")' : ip: invalid pattern: "bad"`],
    [
      `${log} | json x="x["`,
      `parse error : stage '| json x="x["' : cannot parse expression [x[]: syntax error: unexpected $end, expecting STRING or INDEX`,
    ],
    [`${log} |~ "\\xff"`, "parse error : stage '|~ \"\\xff\"' : error parsing regexp: invalid UTF-8: `\ufffd`"],
    [
      `${log} | line_format "{{.a"`,
      `parse error : stage '| line_format "{{.a"' : invalid line template: template: line:1: unclosed action`,
    ],
    [
      `${log} | line_format "{{nope .a}}"`,
      `parse error : stage '| line_format "{{nope .a}}"' : invalid line template: template: line:1: function "nope" not defined`,
    ],
    [
      `${log} | label_format x="{{end}}"`,
      `parse error : stage '| label_format x="{{end}}"' : invalid template for label 'x': template: label:1: unexpected {{end}}`,
    ],
    [
      `${log} | label_format a=b,a=c`,
      "parse error : stage '| label_format a=b,a=c' : multiple label name 'a' not allowed in a single format operation",
    ],
    [
      `${log} | label_format __error__=b`,
      "parse error : stage '| label_format __error__=b' : __error__ cannot be formatted",
    ],
  ])("when stages are built: %s", (query, message) => {
    const expr = parseLogQuery(query);
    expect(messageOf(() => compileLog(expr))).toBe(message);
  });

  test("aggregations over literals pass the parser and are refused for the API", () => {
    for (const query of ["sum(1)", "sum(vector(1))", "topk(3, vector(1)) + 1"]) {
      const expr = parseQuery(query);
      expect(messageOf(() => validateForApi(expr))).toBe(EMPTY_COMPATIBLE);
    }
    validateForApi(parseQuery("vector(1)+vector(1)"));
    validateForApi(parseQuery('sum(rate({a="b"}[1m])) + 1'));
  });
  test("selectors", () => {
    expect(parseSelector('{a="b", c!~"d"}')).toEqual([
      { name: "a", op: "=", value: "b" },
      { name: "c", op: "!~", value: "d" },
    ]);
    expect(messageOf(() => parseSelector('{a="b"} |= "x"'))).toBe("only label matchers are supported");
    expect(messageOf(() => parseSelector("1"))).toBe("only label matchers are supported");
    expect(messageOf(() => parseSelector("{}"))).toBe(EMPTY_COMPATIBLE);
    expect(parseAnySelector("{}")).toEqual([]);
    expect(messageOf(() => parseLogQuery("1"))).toBe("only log selector is supported");
  });
});

describe("lexical rules", () => {
  test.each([
    ['{a="b"} # comment\n|= "x" # more', '{a="b"} |= "x"'],
    // A byte order mark, as editors leave it.
    ['\ufeff{a="b"} |= "\ufeff"', '{a="b"} |= "\\ufeff"'],
    ['{A="b"} | JSON | Drop x', '{A="b"} | json | drop x'],
    ['{rate="x"} | sum="1" | bytes="2"', '{rate="x"} | sum="1" | bytes="2"'],
    ['SUM BY (a) (RATE({a="b"}[5m]))', 'sum by (a)(rate({a="b"}[5m]))'],
    ['sum(rate({a="b"}[5m])) by (a)', 'sum by (a)(rate({a="b"}[5m]))'],
    ['sum without () (rate({a="b"}[1h30m]))', 'sum without ()(rate({a="b"}[1h30m]))'],
    ["{a=`b\\d`}", '{a="b\\\\d"}'],
    ['{a="\\x41\\u00e9\\t\\101"}', '{a="Aé\\tA"}'],
    ['{a="b"} |= "\\xff\\xc3\\xa9"', '{a="b"} |= "\\xffé"'],
    ['rate({a="b"}[0])', 'rate({a="b"}[0s])'],
    ['rate({a="b"}[5m] offset -1h)', 'rate({a="b"}[5m] offset -1h0m0s)'],
    ['rate({a="b"}[5m] offset -1d)', 'rate({a="b"}[5m] offset -24h0m0s)'],
    ['rate({a="b"}[5m] offset -1w1d2h)', 'rate({a="b"}[5m] offset -194h0m0s)'],
    ['{a="b"} | d > -2d', '{a="b"} | d>-48h0m0s'],
    ['rate({a="b"}[5m] offset 1.5h)', 'rate({a="b"}[5m] offset 1h30m0s)'],
    ['rate({a="b"}[5m] |= "x")', 'rate({a="b"} |= "x"[5m])'],
    ['rate(({a="b"} |= "x")[5m])', 'rate({a="b"} |= "x"[5m])'],
    ['rate((({a="b"} |= "x" [5m])))', 'rate({a="b"} |= "x"[5m])'],
    ['sum_over_time({a="b"}[5m] | unwrap x)', 'sum_over_time({a="b"} | unwrap x[5m])'],
    ['sum_over_time(({a="b"})[5m] | unwrap x)', 'sum_over_time({a="b"} | unwrap x[5m])'],
    [
      'sum_over_time({a="b"} | unwrap duration(x) | y>1, z="" [5m]) ',
      'sum_over_time({a="b"} | unwrap duration(x) | ( y>1 , z="" )[5m])',
    ],
    [
      'quantile_over_time(0.99, {a="b"} | unwrap x [5m]) by (c)',
      'quantile_over_time(0.99,{a="b"} | unwrap x[5m]) by (c)',
    ],
    ['{a="b"} | d > 100us or d <= 1d', '{a="b"} | ( d>100µs or d<=24h0m0s )'],
    ['{a="b"} | s >= 1.5KiB', '{a="b"} | s>=1536B'],
    ['{a="b"} | s = 0B', '{a="b"} | s==0B'],
    ['{a="b"} | n = -1.5e3', '{a="b"} | n==-1500'],
    ['{a="b"} | logfmt --keep-empty --strict a, b="c"', '{a="b"} | logfmt --strict --keep-empty a="a",b="c"'],
    ['{a="b"} | keep a, b=~"c"', '{a="b"} | keep a,b=~"c"'],
    ['{a="b"} !> "x" or "y" !~ `z`', '{a="b"} !> "x" or "y" !~ "z"'],
    ['({a="b"})', '{a="b"}'],
    ["vector(1)+vector(1)", "(vector(1) + vector(1))"],
    ["2 ^ 3 ^ 2 - 4 % 3", "511"],
    ["-2^2", "4"],
    ["1 - -1", "2"],
    ["1 > bool 2", "0"],
    ["1 == 1", "1"],
    ["1e3 + .5 + 5. + 0x1p3", "1013.5"],
    [
      'sum by (h) (rate({a="b"}[1m])) / on () group_left rate({a="c"}[1m])',
      '(sum by (h)(rate({a="b"}[1m])) / on () group_left () rate({a="c"}[1m]))',
    ],
    [
      'rate({a="b"}[1m]) > bool ignoring (x, y) group_right (z) rate({a="c"}[1m])',
      '(rate({a="b"}[1m]) > bool ignoring (x,y) group_right (z) rate({a="c"}[1m]))',
    ],
    [
      "vector(1) or vector(2) and vector(3) unless vector(4)",
      "(vector(1) or ((vector(2) and vector(3)) unless vector(4)))",
    ],
    ["vector(1) - vector(2) - vector(3)", "((vector(1) - vector(2)) - vector(3))"],
    ["vector(2) ^ vector(3) ^ vector(2)", "(vector(2) ^ (vector(3) ^ vector(2)))"],
    ["sum(vector(1) * 2 + 3)", "sum(((vector(1) * 2) + 3))"],
    ["sum(2 * vector(1) + 3)", "sum(((2 * vector(1)) + 3))"],
  ])("%s", (query, printed) => {
    const expr = parseQuery(query);
    expect(formatQuery(expr)).toBe(printed);
    expect(parseQuery(printed)).toEqual(expr);
  });
});

describe("label filters group as the grammar does", () => {
  const shape = (filter: LabelFilter): string =>
    filter.type === "and" || filter.type === "or"
      ? `(${shape(filter.left)} ${filter.type} ${shape(filter.right)})`
      : filter.type === "number"
        ? filter.name
        : "?";
  test.each([
    ["a=1 or b=1 and c=1", "(a or (b and c))"],
    ["a=1 and b=1 or c=1", "((a and b) or c)"],
    ["a=1 or b=1 or c=1", "((a or b) or c)"],
    ["a=1, b=2 or c=3", "(a and (b or c))"],
    ["a=1 or b=2, c=3", "(a or (b and c))"],
    ["a=1 b=2 or c=3", "(a and (b or c))"],
    ["a=1 and b=2, c=3 or d=4", "(a and (b and (c or d)))"],
    ["(a=1 or b=2) and c=3", "((a or b) and c)"],
    ["(a=1 or b=2), c=3", "((a or b) and c)"],
  ])("%s", (text, want) => {
    const [stage] = parseLogQuery(`{a="b"} | ${text}`).stages;
    expect(shape((stage as StageOf<"label_filter">).filter)).toBe(want);
  });
});

describe("what a scan learns beforehand", () => {
  const facts = (pipeline: string) => {
    const { prefilter, needsText, needsLabels, mayDrop } = compileLogText(`{a="b"} ${pipeline}`);
    const literals = prefilter?.requiredLiterals.map((group) => group.map((literal) => literal.toString()));
    return { literals, exact: prefilter?.isExact, covered: prefilter?.isCovered, needsText, needsLabels, mayDrop };
  };
  const rest = { needsText: true, needsLabels: false, mayDrop: true };
  test.each([
    [
      "",
      {
        literals: undefined,
        exact: undefined,
        covered: undefined,
        needsText: false,
        needsLabels: false,
        mayDrop: false,
      },
    ],
    [
      '|= ""',
      {
        literals: undefined,
        exact: undefined,
        covered: undefined,
        needsText: false,
        needsLabels: false,
        mayDrop: false,
      },
    ],
    ['|= "x"', { literals: [["x"]], exact: true, covered: true, ...rest }],
    ['|= "a" or "bc"', { literals: [["a", "bc"]], exact: true, covered: true, ...rest }],
    ['|= "a" |= "bcd" != "e"', { literals: [["bcd"], ["a"]], exact: false, covered: false, ...rest }],
    ['|= "a" |= "bcd"', { literals: [["bcd"], ["a"]], exact: false, covered: true, ...rest }],
    ['|~ "foo.*(bar|bazz)"', { literals: [["foo"], ["bar", "bazz"]], exact: false, covered: false, ...rest }],
    ['|~ "panic|oom"', { literals: [["panic", "oom"]], exact: true, covered: true, ...rest }],
    ['|~ "(?i)panic"', { literals: undefined, exact: undefined, covered: undefined, ...rest }],
    ['|> "took <_> of <_>"', { literals: [["took "], [" of "]], exact: false, covered: false, ...rest }],
    ['!= "x"', { literals: undefined, exact: undefined, covered: undefined, ...rest }],
    [
      '| trace_id="x"',
      { literals: undefined, exact: undefined, covered: undefined, needsText: false, needsLabels: true, mayDrop: true },
    ],
    [
      '| json | x="1" |= "lit"',
      { literals: [["lit"]], exact: true, covered: true, needsText: true, needsLabels: true, mayDrop: true },
    ],
    [
      '| unpack |= "lit"',
      { literals: undefined, exact: undefined, covered: undefined, needsText: true, needsLabels: true, mayDrop: true },
    ],
    [
      "| json",
      { literals: undefined, exact: undefined, covered: undefined, needsText: true, needsLabels: true, mayDrop: false },
    ],
  ])("%s", (pipeline, want) => {
    expect(facts(pipeline)).toEqual(want);
  });

  test("matchers: an absent label counts as empty, regexes match the whole value", () => {
    const selects = (selector: string, labels: Record<string, string>) =>
      compileLogText(selector).matchesStream(labels);
    expect(selects('{a="b", env=""}', { a: "b" })).toBe(true);
    expect(selects('{a="b", env!="x"}', { a: "b" })).toBe(true);
    expect(selects('{a=~"b|c"}', { a: "bc" })).toBe(false);
    expect(selects('{a=~"b.c"}', { a: "b\nc" })).toBe(true);
    expect(selects('{a=~"b.+", a!~".*d"}', { a: "bcd" })).toBe(false);
    expect(selects('{a="b", constructor=""}', { a: "b" })).toBe(true);
  });
});

test("trees are plain data", () => {
  const expr: Expr = parseQuery('sum by (a) (rate({a="b"} | json | x > 5s or y=ip("1.1.1.1") [5m]))');
  expect(structuredClone(expr)).toEqual(expr);
});
