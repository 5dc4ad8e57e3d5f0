import { describe, expect, test } from "vitest";
import json from "../../parsers/json.ts";
import type { Encodable } from "../../src/codec/msgpack.ts";
import { levelOfLine } from "../../src/pipeline/level.ts";
import { fieldLevel, LEVEL_NAMES, normalLevel, severityLevel } from "../../src/pipeline/level-names.ts";
import { Candidates } from "../../src/pipeline/trace/candidates.ts";
import { findInText } from "../../src/pipeline/trace/text.ts";
import { Random } from "../random.ts";
import { type GivenStep, passOne } from "./harness.ts";

/** The level of a line that stands among other bytes, by its own scan and by the one that looks for ids. */
function levelOf(line: string): string {
  const before = Buffer.from("level=debug error ");
  const bytes = Buffer.concat([before, Buffer.from(line), Buffer.from(" fatal=level")]);
  const end = bytes.length - 12;
  const level = levelOfLine(bytes, before.length, end);
  const scan = findInText(bytes, before.length, end, new Candidates(), true);
  expect(levelOfLine(bytes, before.length, end, scan)).toBe(level);
  return level;
}

describe("the level of a line by itself", () => {
  test.each([
    // The table of the specification.
    ["level=WARN x", "warn"],
    ['{"level":"INFO","msg":"error x"}', "info"],
    ["ERROR: boom", "error"],
    ["err=nil ok", "error"],
    ["INFO [x] warning", "info"],
    ["lvl=trc", "trace"],
    ['{"severity":"notice"}', "unknown"],
    ['{"msg":"some ERROR text"}', "error"],
    ["level=notice error", "error"],
    ["misc:error", "unknown"],
    ["errors happened", "unknown"],
    ["Level=crit", "unknown"],
    // Each rule's edges.
    ["", "unknown"],
    [" ", "unknown"],
    ["info", "info"],
    ["err", "error"],
    ["xerr", "unknown"],
    ["a err", "error"],
    ["ab err", "error"],
    ["abc err", "error"],
    ["abcd err", "error"],
    ["abcde err", "error"],
    ["abcdef err", "error"],
    ["(warn)", "warn"],
    ["|critical|", "critical"],
    ["'fatal'", "fatal"],
    ["debug\ninfo", "debug"],
    ["x=trace", "trace"],
    ["[ERR] x", "error"],
    ["warnings", "unknown"],
    ["warning!", "warn"],
    ["info-x", "unknown"],
    [":error", "unknown"],
    ["information", "unknown"],
    [' {"level":"dbg"}\n', "debug"],
    ['{"a":{"level":"warn"}}', "warn"],
    ['{"a":{"b":{"level":"wrn"}},"x":"y"}', "unknown"],
    ['{"a":[{"level":"wrn"}],"x":"y"}', "unknown"],
    ['{"log.level":"error"}', "error"],
    ['{"log":{"level":"error"}}', "error"],
    ['{"LeVel":"error"}', "error"],
    ['{"LeVel":"erro"}', "unknown"],
    ['{"severity":"info","level":"error"}', "info"],
    ['{"level":3,"severity":"warn"}', "warn"],
    ['{"l\\u0065vel":"warn"}', "warn"],
    ['{"msg":"a \\"level\\":\\"x\\"","level":"warn"}', "warn"],
    ['{"level":"warn", broken}', "warn"],
    ['{broken, "level":"warn"}', "warn"],
    ["{not json} error", "error"],
    ['{"level": "DBG"', "unknown"],
    ['{"level":"information"}', "info"],
    ['{"level":""}', "unknown"],
    // pino and bunyan.
    ['{"level":30,"msg":"error in x"}', "info"],
    ['{"level":50,"time":1531171074631,"msg":"x"}', "error"],
    ['{"level":60,"a":1}', "fatal"],
    ['{"level":35,"msg":"x"}', "unknown"],
    ['{"level":35,"msg":"error"}', "error"],
    ['{"a":{"level":30}}', "unknown"],
    ['{"level":30,"severity":"warn"}', "warn"],
    // logfmt.
    ["ts=1 level=info msg=error", "info"],
    ['ts=1 msg="a level=error b" level=warn', "warn"],
    ['msg="level=error b"', "error"],
    ["severity=warn level=info", "info"],
    ["SEVERITY=warn", "warn"],
    ["level level=wrn", "unknown"],
    ["severitytext=warn", "warn"],
    ["log.level=dbg x", "debug"],
    ["xlevel=dbg", "unknown"],
    ["a=b=c level=dbg", "unknown"],
    ['"x" level=dbg', "unknown"],
    ['level="fatal"', "fatal"],
    ['level="fa\\tal" x', "unknown"],
    ["level=", "unknown"],
    ["level= x", "unknown"],
    ["/path?level=dbg", "unknown"],
  ])("%j: %s", (line, want) => expect(levelOf(line)).toBe(want));
});

describe("names of levels", () => {
  test.each([
    ["trace", "trace"],
    ["TRC", "trace"],
    ["Debug", "debug"],
    ["dbg", "debug"],
    ["info", "info"],
    ["INF", "info"],
    ["Information", "info"],
    ["warn", "warn"],
    ["wrn", "warn"],
    ["WARNING", "warn"],
    ["error", "error"],
    ["err", "error"],
    ["critical", "critical"],
    ["FATAL", "fatal"],
    ["custom", "custom"],
    ["", ""],
  ])("normalises %j to %j", (text, want) => expect(normalLevel(text)).toBe(want));

  test.each([
    ["1", "trace"],
    ["4", "trace"],
    ["5", "debug"],
    ["8", "debug"],
    ["9", "info"],
    ["12", "info"],
    ["13", "warn"],
    ["16", "warn"],
    ["17", "error"],
    ["20", "error"],
    ["21", "fatal"],
    ["24", "fatal"],
    ["0", "unknown"],
    ["25", "unknown"],
    ["x", "info"],
  ])("severity_number %s is %s", (text, want) => expect(severityLevel(text)).toBe(want));

  test.each([
    ["10", "trace"],
    ["60", "fatal"],
    ["15", ""],
    ["NOTICE", "info"],
    ["W", "warn"],
    ["emerg", "fatal"],
    ["severe", "error"],
    ["whatever", ""],
  ])("a field's %j is %j", (text, want) => expect(fieldLevel(text)).toBe(want));
});

describe("where a record's level comes from", () => {
  const cases: { name: string; steps?: GivenStep[]; record: Encodable; metadata?: Encodable; want: string }[] = [
    {
      name: "a label",
      steps: [{ level: {} }, { labels: { level: "lv" } }],
      record: { log: "error", lv: "dbg" },
      want: "debug",
    },
    {
      name: "a label that is no level is taken as it is",
      steps: [{ level: {} }, { labels: { severity: "lv" } }],
      record: { log: "error", lv: "odd" },
      want: "odd",
    },
    {
      name: "metadata",
      steps: [{ level: {} }, { metadata: { level: "lv" } }],
      record: { log: "error", lv: "WRN" },
      want: "warn",
    },
    {
      name: "metadata of a lower name loses",
      steps: [{ level: {} }, { metadata: { lvl: "b", level: "a" } }],
      record: { log: "x", a: "info", b: "error" },
      want: "info",
    },
    {
      name: "detected_level among the metadata",
      steps: [{ level: {} }, { metadata: { detected_level: "lv" } }, { labels: { level: "a" } }],
      record: { log: "x", lv: "ERR", a: "info" },
      want: "error",
    },
    {
      name: "shared metadata",
      steps: [{ level: {} }, { metadata: { level: "k.lv" } }],
      record: { log: "error", k: { lv: "WRN" } },
      want: "warn",
    },
    {
      name: "OTLP's severity text",
      record: { log: "error" },
      metadata: { otlp: { severity_text: "Information", severity_number: 17 } },
      want: "info",
    },
    {
      name: "OTLP's severity number",
      record: { log: "info" },
      metadata: { otlp: { severity_number: 17 } },
      want: "error",
    },
    {
      name: "OTLP's severity number 0",
      record: { log: "info" },
      metadata: { otlp: { severity_number: 0 } },
      want: "unknown",
    },
    { name: "a field before the line", record: { log: "error x", level: "info" }, want: "info" },
    { name: "a field that says nothing", record: { log: "error x", level: "whatever" }, want: "error" },
    { name: "pino's number in a field", record: { msg: "hello", level: 30 }, want: "info" },
    { name: "the first of several fields", record: { log: "x", severity: "error", level: "info" }, want: "info" },
    { name: "a dotted field", record: { log: "x", "log.level": "error" }, want: "error" },
    {
      name: "a configured field",
      steps: [{ level: { from: "a.b" } }],
      record: { log: "x", level: "info", a: { b: "E" } },
      want: "error",
    },
    {
      name: "a dropped field",
      steps: [{ drop: { fields: ["level"] } }, { level: {} }],
      record: { log: "x", level: "info" },
      want: "unknown",
    },
    {
      name: "a renamed field",
      steps: [{ rename: { foo: "level" } }, { level: {} }],
      record: { log: "x", foo: "info" },
      want: "info",
    },
    { name: "a map is no level", record: { log: "warn", level: { a: 1 } }, want: "warn" },
  ];
  test.each(cases)("$name", ({ steps = [{ level: {} }], record, metadata = {}, want }) => {
    expect(passOne({ steps }, record, metadata).metadata.detected_level).toBe(want);
  });

  test("without the step there is none", () => {
    expect(passOne({}, { log: "error" }).metadata).toEqual({});
  });
});

/* The rules once more, slowly, with Node's own JSON parser for lines that are JSON. */
const KNOWN: Record<string, string> = {
  trace: "trace",
  trc: "trace",
  debug: "debug",
  dbg: "debug",
  info: "info",
  inf: "info",
  information: "info",
  warn: "warn",
  wrn: "warn",
  warning: "warn",
  error: "error",
  err: "error",
  critical: "critical",
  fatal: "fatal",
};

function slow(line: string): string {
  const trimmed = line.trim();
  let value = "";
  let number = "";
  if (trimmed.length > 1 && trimmed.startsWith("{") && trimmed.endsWith("}")) {
    const fields = topTwoLevels(JSON.parse(trimmed));
    const text = fields.find(([name, field]) => typeof field === "string" && LEVEL_NAMES.includes(name));
    value = typeof text?.[1] === "string" ? text[1] : "";
    const level = JSON.parse(trimmed).level;
    if (text === undefined)
      number = { 10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal" }[String(level)] ?? "";
  } else if (line.includes("=")) {
    let best = LEVEL_NAMES.length;
    for (const [name, text] of logfmtPairs(line)) {
      const place = LEVEL_NAMES.findIndex((one) => one.toLowerCase() === name.toLowerCase());
      if (place === -1 || place >= best) continue;
      best = place;
      value = text;
    }
  }
  const known = KNOWN[value.toLowerCase()] ?? number;
  if (known !== "") return known;
  const word =
    /(?:^|(?<=[ \t\n[({"'=|]))(trace|debug|fatal|critical|error|err|warning|warn|info)(?=$|[ \t\n[({"'=|\]):},!])/.exec(
      line.toLowerCase(),
    );
  return KNOWN[word?.[1] ?? ""] ?? "unknown";
}

function topTwoLevels(value: unknown, depth = 1): [string, unknown][] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([name, field]): [string, unknown][] =>
    typeof field === "object" && field !== null ? (depth < 2 ? topTwoLevels(field, depth + 1) : []) : [[name, field]],
  );
}

/** Pairs up to the first thing that is none. Quoted values with escapes are not made by the test. */
function logfmtPairs(line: string): [string, string][] {
  const pairs: [string, string][] = [];
  const pair = /[\0- ]*(?:([^\0- ="]+)(?:=(?:"([^"]*)"|([^\0- ="]*)(?=[\0- ]|$))|(?=[\0- ]|$)))/y;
  for (let at = 0; at < line.length; at = pair.lastIndex) {
    pair.lastIndex = at;
    const m = pair.exec(line);
    if (m === null || pair.lastIndex === at) break;
    pairs.push([m[1] ?? "", m[2] ?? m[3] ?? ""]);
  }
  return pairs;
}

describe("random lines have the level that the slow reading of the rules gives", () => {
  const VALUES = [
    "info",
    "INFO",
    "error",
    "err",
    "Warn",
    "warning",
    "dbg",
    "notice",
    "x",
    "trace",
    "fatal",
    "critical",
    "crit",
    "debug",
  ];
  const WORDS = [
    ...VALUES,
    "errors",
    "info:",
    "[warn]",
    "(err)",
    "a",
    "bc",
    "def",
    "ghij",
    "klmno",
    "level",
    "level=",
    "=",
    "lvl=err",
    "Level=INFO",
    "severity=fatal",
    '"',
    "\n",
    "\t",
    ":",
    "{",
    "}",
    "|",
    "é",
    "msg=",
  ];

  test.each([1, 2])("text and logfmt (seed %i)", (seed) => {
    const { below, pick } = new Random(seed);
    for (let n = 0; n < 8000; n++) {
      const glue = pick([" ", " ", " ", "", "="]);
      const line = Array.from({ length: 1 + below(7) }, () => pick(WORDS)).join(glue);
      if (/^\s*\{.*\}\s*$/s.test(line)) continue;
      expect({ line, level: levelOf(line) }).toEqual({ line, level: slow(line) });
    }
  });

  test("JSON (seed 3)", () => {
    const { below, pick } = new Random(3);
    const value = (depth: number): unknown => {
      const kind = below(8);
      if (kind < 4) return pick([...VALUES, 'a "quoted" error', "tab\terr"]);
      if (kind === 4) return pick([10, 20, 30, 40, 50, 60, 7, 1.5, -1, 100]);
      if (kind === 5) return pick([true, false, null]);
      if (kind === 6) return Array.from({ length: below(3) }, () => value(depth + 1));
      return depth > 3 ? {} : map(depth + 1);
    };
    const map = (depth: number): object =>
      Object.fromEntries(
        Array.from({ length: below(5) }, () => [pick([...LEVEL_NAMES, "a", "b", "msg", "levels"]), value(depth)]),
      );
    for (let n = 0; n < 10_000; n++) {
      const line = JSON.stringify(map(1), null, pick([0, 0, 1]));
      expect({ line, level: levelOf(line) }).toEqual({ line, level: slow(line) });
    }
  });

  test("mutated JSON ends, whatever it says (seed 4)", () => {
    const { below, pick } = new Random(4);
    const base = '{"a":{"b":[1,{"c":"d"}],"level":"warn"},"x":"y \\"z\\"","level":"error","n":-1.5e3}';
    for (let n = 0; n < 10_000; n++) {
      const at = below(base.length);
      const line = `{${base.slice(1, at)}${pick(["", '"', "\\", "{", "}", "[", "]", ",", ":", "\u0000"])}${base.slice(at + below(3))}}`;
      expect(["warn", "error", "unknown"]).toContain(levelOf(line));
    }
  });
});

describe("a level among what a parser found", () => {
  const setup = { parsers: { json }, steps: [{ parse: { with: ["json"] } }, { level: {} }] };
  test.each([
    ['{"level":"WARN"}', "warn"],
    ['{"level":50}', "error"],
    ['{"level":true}', "unknown"],
    ['{"level":null}', "unknown"],
    // A map or a list is no level, whatever is in it, and must not end the worker.
    ['{"level":{}}', "unknown"],
    ['{"level":{"level":"x"}}', "unknown"],
    ['{"level":{"toString":1,"valueOf":2}}', "unknown"],
    ['{"level":["DBG"]}', "unknown"],
    ['{"level":[]}', "unknown"],
  ])("%s is %s", (line, level) => {
    expect(passOne(setup, { log: line }).metadata.detected_level).toBe(level);
  });
});
