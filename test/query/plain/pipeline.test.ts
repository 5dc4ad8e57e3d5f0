import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import type { Labels } from "../../../src/core/labels.ts";
import { compileLog } from "../../../src/query/compile.ts";
import { filterNames, type Needs } from "../../../src/query/stages/needs.ts";
import type { LogExpr } from "../../../src/query/syntax/ast.ts";
import { QueryError } from "../../../src/query/syntax/errors.ts";
import { parseLogQuery } from "../../../src/query/syntax/parse.ts";
import { SEED } from "../../random.ts";
import { runQuery } from "../stages/run-query.ts";
import { makeRandomQuery, type RandomQuery } from "../syntax/random-query.ts";
import { NoOpinion, type PlainResult, runPlain } from "./pipeline.ts";

const ROUNDS = Number(process.env.WEIR_TEST_ROUNDS ?? 1000);

const NAMES = [
  "a",
  "b",
  "status",
  "level",
  "dur",
  "http_status",
  "app",
  "x",
  "a_extracted",
  "size",
  "job",
  "trace_id",
  "_2x",
];
const KEYS = ["a", "b", "status", "level", "dur", "http.status", "app", "2x", "x", "_entry", "size", " a ", "é"];
const VALUES = [
  "1",
  "500",
  "200.0",
  "x",
  "error",
  "info",
  "a b",
  "10.0.0.1",
  "5s",
  "90s",
  "1KB",
  "2MB",
  "é",
  "",
  "-3",
  "1e2",
  "ten",
];
const STREAMS: Labels[] = [
  { job: "w" },
  { job: "w", a_b: "S", x: "S" },
  { job: "w", a: "S", level: "info" },
  { job: "w", app: "x", a_extracted: "E" },
];
const METADATA: [string, string][][] = [
  [],
  [["trace_id", "abc"]],
  [
    ["a", "M"],
    ["status", "200"],
  ],
  [["level", "error"]],
  [
    ["a_b", "M"],
    ["x", "M"],
  ],
];

function randomLine(random: RandomQuery): string {
  const { pick, below, chance } = random;
  const json = (depth: number): string => {
    const members = Array.from({ length: below(6) }, () => `${JSON.stringify(key())}:${jsonValue(depth)}`);
    return `{${members.join(pick([",", ", "]))}}`;
  };
  const key = () => pick(KEYS);
  const jsonValue = (depth: number): string => {
    switch (below(8)) {
      case 0:
        return depth > 1 ? "null" : json(depth + 1);
      case 1:
        return pick(["null", "true", "[1,2]", '["a",{"a":"q"}]', "[]"]);
      case 2:
      case 3:
        return pick(["1", "500", "200.0", "-3", "1e2", "0"]);
      case 4:
        return chance(0.5) ? '"\\u0031"' : '"a\\"b\\n"';
      default:
        return JSON.stringify(pick(VALUES));
    }
  };
  const logfmt = () =>
    Array.from({ length: below(6) }, () => {
      const value = pick(VALUES);
      const text = value.includes(" ") || chance(0.2) ? JSON.stringify(value) : value;
      return chance(0.08) ? pick(["=x", "a=1=2", 'b="open', "bare", 'c="\\q"']) : `${key().trim()}=${text}`;
    }).join(" ");
  switch (below(8)) {
    case 0:
    case 1:
    case 2:
      return json(0);
    case 3:
      return json(0).slice(0, below(50));
    case 4:
    case 5:
      return logfmt();
    case 6:
      return chance(0.5) ? `{"st\\u0061tus":${jsonValue(1)},"level":"inf\\u006f"}` : `\x1b[31m${logfmt()}\x1b[0m`;
    default:
      return pick([
        '{"status":500,"msg":"status 200"}',
        '{"x":{"status":"500"},"level":"info"}',
        'status=500 msg="status=1 level=error"',
        '{"status" : 1e3 , "http":{"status":2},"dur":"1m30s"}',
        '{"a":["status",{"level":1}],"status":}',
        "",
        "plain",
        "[1]",
        "GET /a 500 - 12ms",
        "a - b x",
        "peer 10.0.0.7 ok",
      ]);
  }
}

/** Characters that one kind of line or another gives a meaning to, and some that none does. */
const ODD = [
  "\0",
  "\r",
  "\n",
  "\t",
  "\x7f",
  "\u2028",
  "é",
  "\u{1f600}",
  "\\",
  '"',
  "=",
  "{",
  "}",
  "[",
  ",",
  ":",
  " ",
  "\ufffd",
  "k",
  "\u212a",
];

/** The line, or now and then one with something odd in it: a character, a byte that is no UTF-8, more than is read ahead at once. */
function mangled(random: RandomQuery, line: string): Buffer {
  const { pick, below, chance } = random;
  let text = line;
  if (chance(0.15)) {
    const at = below(text.length + 1);
    text = text.slice(0, at) + pick(ODD) + text.slice(at);
  }
  if (chance(0.02)) text = chance(0.5) ? `${text} pad=${"x".repeat(17_000)}` : `${"y".repeat(17_000)} ${text}`;
  const bytes = Buffer.from(text);
  if (!chance(0.1)) return bytes;
  const at = below(bytes.length + 1);
  const broken = Buffer.from(pick(["\xff", "\xc3", "\xe2\x82", "\xf0\x9f", "\xed\xa0\x80", "\x80"]), "latin1");
  return Buffer.concat([bytes.subarray(0, at), broken, bytes.subarray(at)]);
}

/** Commas and spaces have no precedence of their own. */
const JOINTS = [" and ", " or ", ", ", " "];

function randomPipeline(random: RandomQuery): string {
  const { pick, below, chance } = random;
  const name = () => pick(NAMES);
  const matcher = () =>
    chance(0.7)
      ? `${name()}${pick(["=", "!="])}${JSON.stringify(pick(VALUES))}`
      : `${name()}${pick(["=~", "!~"])}${pick(['"5.."', '"1|x"', '".*"', '".+"', '"err.*|info"', '""'])}`;
  const filterOne = (depth: number): string => {
    switch (below(7)) {
      case 0:
      case 1:
        return matcher();
      case 2:
      case 3:
        return `${name()} ${pick([">", ">=", "<", "<=", "==", "!="])} ${pick(["1", "200", "499.5", "0", "-1"])}`;
      case 4:
        return `${name()} ${pick([">", "<=", "="])} ${pick(["10s", "1m", "1ms", "1KB", "1MB"])}`;
      case 5:
        return chance(0.4)
          ? `${name()}${pick(["=", "!="])}ip("${pick(["10.0.0.0/24", "10.0.0.1", "0.0.0.0/0"])}")`
          : pick([
              '__error__=""',
              '__error__!=""',
              '__error__=~"JSON.*|Label.*"',
              '__error__!="LogfmtParserErr"',
              matcher(),
            ]);
      default:
        return depth > 1 ? matcher() : `(${filter(depth + 1)})`;
    }
  };
  const filter = (depth = 0): string =>
    Array.from({ length: 1 + below(4) }, (_, i) => (i === 0 ? "" : pick(JOINTS)) + filterOne(depth)).join("");
  const list = (make: () => string) => Array.from({ length: 1 + below(3) }, make).join(",");
  const stage = (): string => {
    switch (below(18)) {
      case 0:
      case 1:
      case 2:
        return "| json";
      case 3:
      case 4:
        return pick(["| logfmt", "| logfmt --strict", "| logfmt --keep-empty", "| logfmt --strict --keep-empty"]);
      case 5:
        return `| json ${pick(['a, q="status"', 'q="a.b"', 'status, z="x[0]"', 'level="level"', 'q="x.status", a="x"', 'b="a[0]", job="app"', 'q="[0]", trace_id="level"'])}`;
      case 6:
        return `| logfmt ${pick(['a, q="status"', "status", 'level="dur"', '--strict a, x="level"', '--keep-empty a, q="b"', 'job="app", q="http.status"', 'q="http_status", q2="2x"'])}`;
      case 7:
        return pick([
          '| regexp "(?P<status>\\\\d+)"',
          '| pattern "<a> <_> <b>"',
          '| pattern "GET <x> <status>"',
          '| pattern "<_>=<a> <_>=<status> <x>"',
          '| pattern "<job>{<b>}"',
          '| regexp "(?P<a>[a-z]+)=(?P<level>[^ ]+)( |$)(?P<b>\\\\w+)?"',
          '| regexp "(?i)(?P<job>ERR[a-z]*)|(?P<trace_id>^.)"',
          "| unpack",
        ]);
      case 8:
        return `${pick(["|=", "!="])} ${JSON.stringify(pick(["a", "500", "error", "{", '"']))}${chance(0.3) ? ' or "x"' : ""}`;
      case 9:
        return pick([
          '|~ "5.0"',
          '!~ "(?i)ERR"',
          '|> "<_> - <_>"',
          '!> "a <_>"',
          '|> "<_>=<_>"',
          '|= ip("10.0.0.0/24")',
          '!= ip("10.0.0.7")',
          '!~ "^$"',
        ]);
      case 10:
        if (chance(0.2))
          return `| drop ${pick(["__error__", '__error__="JSONParserErr"', '__error__!=""', "job, __error__"])}`;
        return `| ${pick(["drop", "keep"])} ${list(() => (chance(0.6) ? name() : matcher()))}`;
      case 11:
        return pick(["| decolorize", '| line_format "{{.a}} x={{.status}}"', '| line_format "{{ .level }}"']);
      case 12:
        return `| label_format ${pick(["a=b", "q=status", 'a="{{.b}}-{{.level}}"', "level=a,b=level", 'status="500"', "x=x", "a_extracted=a", 'job="{{.app}}", app=job', 'trace_id="{{.trace_id}}{{.nope}}"', "level=trace_id,trace_id=level", 'a=""'])}`;
      default:
        return `| ${filter()}`;
    }
  };
  return Array.from({ length: 1 + below(5) }, stage).join(" ");
}

interface Given {
  readonly query: string;
  readonly expr: LogExpr;
  readonly lines: readonly Buffer[];
  readonly stream: Labels;
  readonly metadata: readonly (readonly [string, string])[];
  readonly plain: readonly (PlainResult | null | "no opinion")[];
}

function eachCase(random: RandomQuery, visit: (given: Given) => void): void {
  for (let done = 0; done < ROUNDS; ) {
    const query = `{job="w"} ${randomPipeline(random)}`;
    let expr: LogExpr;
    try {
      expr = parseLogQuery(query);
      compileLog(expr);
    } catch (error) {
      if (error instanceof QueryError) continue;
      throw error;
    }
    done++;
    const lines = Array.from({ length: 6 }, () => mangled(random, randomLine(random)));
    const stream = random.pick(STREAMS);
    const metadata = random.pick(METADATA);
    const plain = lines.map((line) => {
      try {
        return runPlain(expr, line.toString(), stream, metadata);
      } catch (error) {
        if (error instanceof NoOpinion) return "no opinion";
        throw error;
      }
    });
    visit({ query, expr, lines, stream, metadata, plain });
  }
}

/** Line by line what the fast pipeline gives; null for a dropped line. */
function runFast({ expr, lines, stream, metadata }: Given, needs?: Needs): (PlainResult | null)[] {
  const compiled = compileLog(expr, needs);
  const run = (backward: boolean) => {
    const out: (PlainResult | null)[] = lines.map(() => null);
    for (const { line, labels: all, row } of runQuery(compiled, lines, { stream, metadata, backward })) {
      const { __error_details__: _, ...labels } = all;
      out[row] = { line, labels };
    }
    return out;
  };
  const forward = run(false);
  // Once more from the end, so that what a stage has learnt by then is put to the test too.
  const backward = run(true);
  if (!isDeepStrictEqual(backward, forward)) expect(backward).toEqual(forward);
  return forward;
}

describe("against the plain evaluator", () => {
  test("lines and labels of log queries", () => {
    let kept = 0;
    let dropped = 0;
    eachCase(makeRandomQuery(SEED), (given) => {
      const fast = runFast(given);
      given.plain.forEach((want, i) => {
        if (want === "no opinion") return;
        if (want === null) dropped++;
        else kept++;
        // `expect` is slow, so it is asked only where it will complain.
        if (isDeepStrictEqual(fast[i], want)) return;
        const context = [
          given.query,
          JSON.stringify(given.lines[i].toString()),
          JSON.stringify([given.stream, given.metadata]),
        ].join("\n");
        expect(fast[i], context).toEqual(want);
      });
    });
    expect(kept).toBeGreaterThan(ROUNDS / 2);
    expect(dropped).toBeGreaterThan(ROUNDS / 2);
  });

  test("of a metric query's pipeline, the labels and lines that are needed", () => {
    let compared = 0;
    eachCase(makeRandomQuery(SEED + 1), (given) => {
      const random = makeRandomQuery(SEED + compared);
      const names = new Set(
        Array.from({ length: random.below(4) }, () => random.pick([...NAMES, "q", "job", "trace_id"])),
      );
      if (random.chance(0.2)) names.add("__error__");
      const needs: Needs = { labels: names, line: random.chance(0.5) };
      const looksAtErrors =
        names.has("__error__") ||
        given.expr.stages.some(
          (stage) => stage.type === "label_filter" && filterNames(stage.filter).includes("__error__"),
        );
      const fast = runFast(given, needs);
      given.plain.forEach((want, i) => {
        if (want === "no opinion") return;
        const got = fast[i];
        // A parser that nobody needs, or that has found enough, sees no error; what follows then goes as if there were none.
        const isBlind = !looksAtErrors && hasParserError(given, i);
        if (isBlind) return;
        compared++;
        const seen = (result: PlainResult | null) =>
          result && [[...names].map((name) => result.labels[name]), needs.line ? result.line : ""];
        if (isDeepStrictEqual(seen(got), seen(want))) return;
        expect(
          seen(got),
          [given.query, JSON.stringify(given.lines[i].toString()), [...names].join()].join("\n"),
        ).toEqual(seen(want));
      });
    });
    expect(compared).toBeGreaterThan(ROUNDS);
  });
});

/** Whether some parser of the pipeline fails on the line. */
function hasParserError({ expr, lines, stream, metadata }: Given, i: number): boolean {
  for (let n = 1; n <= expr.stages.length; n++) {
    const stages = expr.stages
      .slice(0, n)
      .filter(({ type }) => type !== "label_filter" && type !== "drop" && type !== "line_filter");
    try {
      const error = runPlain({ ...expr, stages }, lines[i].toString(), stream, metadata)?.labels.__error__ ?? "";
      if (error.endsWith("ParserErr")) return true;
    } catch (error) {
      if (!(error instanceof NoOpinion)) throw error;
      return true;
    }
  }
  return false;
}
