import { describe, expect, test } from "vitest";
import { compileLog } from "../../../src/query/compile.ts";
import { type Expr, isLog } from "../../../src/query/syntax/ast.ts";
import { QueryError } from "../../../src/query/syntax/errors.ts";
import { parseQuery } from "../../../src/query/syntax/parse.ts";
import { prettyQuery } from "../../../src/query/syntax/pretty.ts";
import { formatQuery } from "../../../src/query/syntax/print.ts";
import { SEED } from "../../random.ts";
import { runQuery } from "../stages/run-query.ts";
import { makeRandomQuery } from "./random-query.ts";

/** 100,000 for the whole proof. */
const QUERIES = Number(process.env.WEIR_TEST_QUERIES ?? 50_000);

/** A tree, or null for a query that is refused as it should be. Anything else that is thrown fails the test. */
function parseOrRefuse(query: string): Expr | null {
  try {
    return parseQuery(query);
  } catch (error) {
    if (!(error instanceof QueryError)) throw new Error(`${JSON.stringify(query)} threw`, { cause: error });
    if (error.message === "") throw new Error(`${JSON.stringify(query)}: no message`);
    return null;
  }
}

/** Processor time of this process in milliseconds: the machine may be busy with other things. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const LINES = ['{"a":1,"x":"y","status":500}', "a=1 status=200 d=5s x=10.0.0.1", "plain a - b 1.2.3.4", ""];

function runOrRefuse(expr: Expr, query: string): void {
  if (!isLog(expr)) return;
  try {
    runQuery(compileLog(expr), LINES, { stream: { a: "b" }, metadata: [["trace_id", "x"]] });
  } catch (error) {
    if (!(error instanceof QueryError)) throw new Error(`${JSON.stringify(query)} threw`, { cause: error });
  }
}

describe("random queries", () => {
  test("a printed query parses to an equal tree", () => {
    const random = makeRandomQuery(SEED);
    let logs = 0;
    for (let i = 0; i < 4000; i++) {
      const query = random.query();
      const expr = parseOrRefuse(query);
      if (expr === null) continue;
      if (isLog(expr)) logs++;
      const printed = formatQuery(expr);
      const again = parseOrRefuse(printed);
      expect(again, `${query}\n${printed}`).toEqual(expr);
      expect(formatQuery(again ?? expr)).toBe(printed);
      // So does one that is laid out over lines.
      const pretty = prettyQuery(expr);
      expect(parseOrRefuse(pretty), `${query}\n${pretty}`).toEqual(expr);
    }
    expect(logs).toBeGreaterThan(1000);
  });

  test(`${QUERIES} broken ones end in a result or a QueryError, each within its time`, () => {
    const random = makeRandomQuery(SEED + 1);
    const slow: string[] = [];
    let parsed = 0;
    for (let i = 0; i < QUERIES; i++) {
      const query = random.chance(0.7) ? random.mutated() : random.noise();
      const begun = cpuMs();
      const expr = parseOrRefuse(query);
      if (expr !== null) {
        parsed++;
        runOrRefuse(expr, query);
      }
      if (cpuMs() - begun <= 100) continue;
      // Once more: a garbage collection may have fallen into it.
      const again = cpuMs();
      const second = parseOrRefuse(query);
      if (second !== null) runOrRefuse(second, query);
      if (cpuMs() - again > 100) slow.push(query);
    }
    expect(slow).toEqual([]);
    expect(parsed).toBeGreaterThan(QUERIES / 20);
  }, 600_000);
});

describe("huge queries", () => {
  const numbered = (count: number, part: (i: number) => string) =>
    Array.from({ length: count }, (_, i) => part(i)).join("");
  const many = (text: string, bytes = 130_000) => text.repeat(Math.floor(bytes / text.length));
  test.each([
    ["open parentheses", many("(")],
    ["matched parentheses", `${many("(", 65_000)}vector(1)${many(")", 65_000)}`],
    ["parentheses around a log query", `${many("(", 65_000)}{a="b"}${many(")", 65_000)}`],
    ["parentheses in a label filter", `{a="b"} | ${many("(")}`],
    ["parentheses in a range", `rate(${many("(")}`],
    ["nested aggregations", many("sum(")],
    ["a chain of plus", `vector(1)${many("+vector(1)")}`],
    ["a chain of powers", `vector(1)${many("^vector(1)")}`],
    ["folded literals", `1${many("+1")}`],
    ["a list of filters", `{a="b"} | x=1${many(",x=1")}`],
    ["a chain of or", `{a="b"} | x=1${many(" or x=1")}`],
    ["filters side by side", `{a="b"} |${many(" x=1")}`],
    ["or operands", `{a="b"} |= "x"${many(' or "x"')}`],
    ["line filters", `{a="b"} ${many('|= "x"')}`],
    ["stages", `{a="b"} ${many("| json")}`],
    ["filters behind a parser", `{a="b"} | json ${many("| abc > 1")}`],
    ["parsers and filters in turn", `{a="b"} ${many('| json | abc="x"')}`],
    ["formats", `{a="b"} ${many("| line_format `{{.a}}`")}`],
    ["labels set", `{a="b"} | label_format ${Array.from({ length: 8000 }, (_, i) => `l${i}=\`{{.a}}\``).join(",")}`],
    ["matchers", `{a="b"${many(',a="b"')}}`],
    ["minus signs", many("-")],
    ["digits", many("1")],
    ["spaces", many(" ")],
    ["function names", many("sum ")],
    ["a comment", `#${many("x")}`],
    ["an open string", `"${many("\\\\")}`],
    ["an escaped string", `{a="${many("\\x41")}"}`],
    ["a pattern of parentheses", `{a="b"} | a=~"${many("(")}"`],
    ["a pattern of groups", `{a="b"} | a=~"${many("(a)", 20_000)}"`],
    ["pattern captures", `{a="b"} | pattern "${many("<a> ")}"`],
    ["numbers with a long tail", `{a="b"} | x > 1${many("m")}`],
    ["a JSON path", `{a="b"} | json x="${many("a.")}a"`],
    ["regular expressions", `{a="b"} ${numbered(8000, (i) => `|~ "x.${i}"`)}`],
    ["regular expressions of labels", `{a="b"} | json ${numbered(8000, (i) => `| a=~"x${i}.*"`)}`],
    ["regular expressions of streams", `{a="b"${numbered(8000, (i) => `,a=~"x${i}.*"`)}}`],
    ["a regular expression of stars", `{a="b"} |~ "${many("a*")}"`],
    ["a regular expression of counted characters", `{a="b"} |~ "${many("a{1000}")}"`],
    ["a regular expression of classes", `{a="b"} |~ "${many("\\\\pL")}"`],
    ["a long choice", `{a=~"${numbered(20_000, (i) => `x${i}|`)}"}`],
    ["pattern captures, all different", `{a="b"} | pattern "${numbered(9000, (i) => `<a${i}> `)}"`],
    ["a template", `{a="b"} | line_format \`${many("{{.a}}")}\``],
    ["a template of functions", `{a="b"} | line_format \`{{.a${many("|upper")}}}\``],
    ["a grouping", `sum by (${numbered(20_000, (i) => `a${i},`)}a) (rate({a="b"}[5m]))`],
  ])("%s", (_, query) => {
    const run = () => {
      const begun = cpuMs();
      const expr = parseOrRefuse(query);
      if (expr !== null) {
        formatQuery(expr);
        runOrRefuse(expr, query.slice(0, 100));
      }
      return cpuMs() - begun;
    };
    // The first time code may have to be compiled, and others take their part of the processor's caches.
    expect(Math.min(run(), run())).toBeLessThan(100);
  });

  test.each<[name: string, query: string, error: RegExp]>([
    [
      "parts",
      `{a="b"} ${many("| json")}`,
      /^parse error at line 1, col 11\d{3}: query has too many parts \(more than 4000 words, texts and signs\)$/,
    ],
    [
      "to compile",
      `{a="b"} ${numbered(400, (i) => `|~ "x.${i}"`)}`,
      /^parse error at line 1, col \d+: query has too much to compile \(more than 16384 characters of regular expressions/,
    ],
    [
      "in one regular expression",
      `{a=~"b.${many("c", 9000)}"}`,
      /^parse error : error parsing regexp: expression too large: `b\.c/,
    ],
  ])("too much: %s", (_, query, error) => {
    expect(() => parseQuery(query)).toThrow(error);
  });

  test("what is too much is refused before anything of it is compiled, and all else is faulted in order", () => {
    const bad = '{a="b"} | json | x=~"("';
    expect(() => parseQuery(`${bad} ${numbered(400, (i) => `|~ "x.${i}"`)}`)).toThrow("too much to compile");
    expect(() => parseQuery(`${bad} ${many("| json")}`)).toThrow("too many parts");
    expect(() => parseQuery(`${bad} | | y`)).toThrow("missing closing )");
    expect(() => parseQuery(`${bad} | y=~"[" | json`)).toThrow("missing closing )");
    expect(() => parseQuery(`{a="b"} | | y | x=~"("`)).toThrow("syntax error");
  });

  test("as many regular expressions as a query may have", () => {
    const query = `{a="b"} | json ${numbered(150, (i) => `| a=~"x${i}.*"`)}`;
    const run = () => {
      const begun = cpuMs();
      const expr = parseQuery(query.replaceAll("x1", `y${begun}`)); // Other ones each time: none is remembered.
      if (isLog(expr)) compileLog(expr);
      return cpuMs() - begun;
    };
    expect(Math.min(run(), run(), run())).toBeLessThan(100);
  });

  test("a list of a thousand ids is none", () => {
    expect(parseOrRefuse(`{a="b"} |= "x"${numbered(1000, (i) => ` or "id-${i}"`)}`)).not.toBeNull();
    expect(parseOrRefuse(`{a=~"${numbered(10_000, (i) => `pod-${i}|`)}x"}`)).not.toBeNull();
  });
});

describe("queries of ten megabytes", () => {
  test.each([
    ["a selector", `{a="${"x".repeat(10_000_000)}"}`],
    ["parentheses", "(".repeat(10_000_000)],
    ["stages", `{a="b"} ${"| json ".repeat(1_500_000)}`],
    ["a template", `{a="b"} | line_format "${"{{.a}}".repeat(1_500_000)}"`],
    ["characters of four bytes", `{a="${"😀".repeat(2_500_000)}"}`],
  ])("%s", (_, query) => {
    const begun = cpuMs();
    expect(() => parseQuery(query)).toThrow(/^parse error : input size too long \(\d+ > 131072\)$/);
    expect(cpuMs() - begun).toBeLessThan(500);
  });
});

describe("regular expressions that blow up elsewhere", () => {
  const a = "a".repeat(20_000);
  test.each([
    ["(a+)+$", `${a}!`],
    ["(a|a)*$", `${a}!`],
    ["(a|aa)+$", `${a}!`],
    ["(.*a){12}$", `${a}!`],
    ["^(([a-z])+.)+[A-Z]([a-z])+$", a],
    ["(x+x+)+y", "x".repeat(20_000)],
    ["a*a*a*a*a*a*b", a],
    ["(?:a?){40}a{40}b", a],
    [".*.*.*=.*", a],
    ["\\w+\\s*\\w+\\s*\\w+!", `${"a ".repeat(10_000)}`],
    ["([0-9a-f]{2,}-?)+z", "0123456789abcdef-".repeat(1000)],
    ["(a{1,100}){1,9}b", a],
  ])("%s", (pattern, line) => {
    for (const query of [
      `{a="b"} |~ \`${pattern}\``,
      `{a="b"} !~ \`${pattern}\` | x=~\`${pattern}\``,
      `{a="b"} | regexp \`(?P<found>${pattern})\``,
      `{a="b"} | line_format ${JSON.stringify(`{{regexReplaceAll ${JSON.stringify(pattern)} __line__ "."}}`)}`,
    ]) {
      const begun = cpuMs();
      const expr = parseOrRefuse(query);
      if (expr === null || !isLog(expr)) continue;
      const [first] = runQuery(compileLog(expr), [line, line], { stream: { a: "b", x: line } });
      if (first !== undefined) expect(first.line.length).toBeGreaterThanOrEqual(0);
      // Two lines of 20,000 characters, through an engine that takes time in proportion to text and pattern.
      expect(cpuMs() - begun, query).toBeLessThan(3000);
    }
  });
});
