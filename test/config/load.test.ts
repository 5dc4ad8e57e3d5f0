// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to the environment look like that.
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { type LoadOptions, loadConfig } from "../../src/config/load.ts";
import { ConfigErrors } from "../../src/config/problem.ts";
import { registries } from "./registries.ts";

const RECEIVERS = "receivers: { f: { type: forward } }\n";
const PIPELINES = "pipelines: { a: {} }\n";
/** A document that is right; what a test adds begins in line 3. */
const BASE = RECEIVERS + PIPELINES;

function load(text: string, options: LoadOptions = {}) {
  return loadConfig(text, "p/x.yaml", registries, options);
}

/** The lines of the message, or [] when the document is right. */
function complaints(text: string, options: LoadOptions = {}): string[] {
  try {
    load(text, options);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigErrors)) throw error;
    expect(error.code).toBe("config_invalid");
    expect(error.message.split("\n")).toHaveLength(error.problems.length);
    return error.message.split("\n");
  }
}

/** A text with `»` at the place of its fault: the text without it, and the place as messages begin. */
function marked(text: string): { text: string; at: string } {
  const before = text.slice(0, text.indexOf("»")).split("\n");
  expect(text.split("»")).toHaveLength(2);
  return { text: text.replace("»", ""), at: `p/x.yaml:${before.length}:${before.at(-1)!.length + 1}  ` };
}

/** Expects one complaint, at the mark and with these words. */
function expectFault(markedText: string, says: string | RegExp, options: LoadOptions = {}): void {
  const { text, at } = marked(markedText);
  const [first = "", ...others] = complaints(text, options);
  expect(others).toEqual([]);
  if (typeof says === "string") expect(first).toBe(at + says);
  else {
    expect(first.slice(0, at.length)).toBe(at);
    expect(first.slice(at.length)).toMatch(says);
  }
}

describe("a document", () => {
  test("with little in it has defaults for the rest", () => {
    expect(load(BASE)).toEqual({
      fileName: "p/x.yaml",
      receivers: [
        { name: "f", type: "forward", options: { listen: ["tcp://127.0.0.1:24224"], connections_max: 1000 } },
      ],
      pipelines: [
        {
          name: "a",
          from: ["f"],
          match: ["**"],
          line: ["log", "message", "msg", "MESSAGE"],
          steps: [],
          to: ["store"],
        },
      ],
      sinks: [{ name: "store", type: "store", options: {} }],
      sections: {
        store: { block_bytes: 262_144 },
        intake: {},
        query: { threads: "auto" },
        http: { listen: "127.0.0.1:3100", port: 3100, ratio: 0.5, cors: false },
      },
      defaults: expect.any(Object) as object,
      log_level: "info",
      warnings: [],
    });
  });

  test("keeps the order of the file, and the places of steps", () => {
    const { pipelines } = load(`${RECEIVERS}pipelines:
  z: { match: z }
  a:
    match: [a.*, b]
    line: text
    steps:
      - parse: { with: [json, { regex: { pattern: "(?P<a>b)" } }, { cri: }] }
      - level
      - labels:
          app: [x, y]
      - level:
    to: store
`);
    expect(pipelines.map(({ name }) => name)).toEqual(["z", "a"]);
    expect(pipelines[1]).toEqual({
      name: "a",
      from: ["f"],
      match: ["a.*", "b"],
      line: ["text"],
      to: ["store"],
      steps: [
        {
          name: "parse",
          options: {
            with: [
              { name: "json", options: {} },
              { name: "regex", options: { pattern: "(?P<a>b)" } },
              { name: "cri", options: {} },
            ],
            keep: true,
          },
          at: { line: 8, column: 9 },
        },
        { name: "level", options: {}, at: { line: 9, column: 9 } },
        { name: "labels", options: { app: ["x", "y"] }, at: { line: 10, column: 9 } },
        { name: "level", options: {}, at: { line: 12, column: 9 } },
      ],
    });
  });

  test("sections keep their types", () => {
    const port: number = load(`${BASE}http: { port: 7 }`).sections.http.port;
    expect(port).toBe(7);
  });
});

describe("a fault is told at its place", () => {
  test.each([
    { name: "an unknown key at the top", text: "»htp: {}", says: 'unknown key "htp", did you mean "http"?' },
    {
      name: "an unknown key that is like no other",
      text: "store: { »zzzz: 1 }",
      says: 'store: unknown key "zzzz", want block_bytes',
    },
    {
      name: "a misspelt option",
      text: "http:\n  »lisen: x",
      says: 'http: unknown key "lisen", did you mean "listen"?',
    },
    { name: "the wrong type", text: "http: { port: »many }", says: 'http.port: found "many", want a number' },
    { name: "a fraction", text: "http: { port: »1.5 }", says: "http.port: found 1.5, want a whole number" },
    { name: "too large", text: "http: { port: »99999 }", says: "http.port: found 99999, want at most 65535" },
    {
      name: "too small",
      text: "store: { block_bytes: »0 }",
      says: "store.block_bytes: found 0, want more than 0",
    },
    { name: "nothing", text: "http: { »port: }", says: "http.port: found nothing, want a number" },
    { name: "YAML 1.1's yes", text: "http: { cors: »yes }", says: 'http.cors: found "yes", want true or false' },
    {
      name: "empty text",
      text: 'http: { listen: »"" }',
      says: 'http.listen: found "", want at least 1 character',
    },
    {
      name: "a number where text is wanted, as written",
      text: "http: { listen: »1.50 }",
      says: "http.listen: found 1.50, want text (put it in quotes)",
    },
    { name: "a list for a map", text: "store: »[1]", says: "store: found a list, want a map of options: block_bytes" },
    { name: "text for a map", text: "store: »big", says: 'store: found "big", want a map of options: block_bytes' },
    {
      name: "none of a union",
      text: "query: { threads: »two }",
      says: 'query.threads: found "two", want auto or a number',
    },
    {
      name: "none of an enum",
      text: "log_level: »wran",
      says: 'log_level: found "wran", want one of trace, debug, info, warn, error, fatal, silent, did you mean "warn"?',
    },
    {
      name: "a name",
      text: "sinks: { »-a: { type: store }, store: { type: store } }",
      says: /^sinks\["-a"\]: found the name "-a", want 1 to 64 letters/,
    },
  ])("$name", ({ text, says }) => {
    expectFault(BASE + text, says);
  });

  test.each([
    { name: "no type", text: "{ »f: {} }", says: "receivers.f.type: missing, want one of forward" },
    {
      name: "an unknown type",
      text: "{ f: { type: »forwrd } }",
      says: 'receivers.f.type: unknown type "forwrd", did you mean "forward"?',
    },
    {
      name: "a type from the prototype",
      text: "{ f: { type: »constructor } }",
      says: 'receivers.f.type: unknown type "constructor", want forward',
    },
    { name: "nothing behind a name", text: "{ »f: }", says: "receivers.f: found nothing, want a map" },
    { name: "no receiver", text: "»{}", says: "receivers: missing, want at least one receiver" },
    {
      name: "a missing option, at the map that lacks it",
      text: "{ f: { type: forward, »tls: { cert: a } } }",
      says: "receivers.f.tls.key: missing, want text",
    },
    {
      name: "an item of a list",
      text: '{ f: { type: forward, listen: ["tcp:1", »"udp:1"] } }',
      says: 'receivers.f.listen[1]: found "udp:1", want text that fits /^tcp:/',
    },
    {
      name: "an empty list",
      text: "{ f: { type: forward, listen: »[] } }",
      says: "receivers.f.listen: found an empty list, want at least 1 item",
    },
    {
      name: "a secret is not repeated",
      text: "{ f: { type: forward, shared_key: »[] } }",
      says: "receivers.f.shared_key: found an empty list, want text",
    },
    {
      name: "nor is a secret number",
      text: "{ f: { type: forward, shared_key: »1234 } }",
      says: "receivers.f.shared_key: found a number, want text (put it in quotes)",
    },
  ])("receivers: $name", ({ text, says }) => {
    expectFault(`receivers: ${text}\n${PIPELINES}`, says);
  });

  test.each([
    { name: "no pipeline", text: "»{}", says: "pipelines: missing, want at least one pipeline" },
    {
      name: "an unknown receiver",
      text: "{ a: { from: »ff } }",
      says: 'pipelines.a.from: unknown receiver "ff", want f',
    },
    {
      name: "an unknown sink",
      text: "{ a: { to: [store, »stor] } }",
      says: 'pipelines.a.to[1]: unknown sink "stor", did you mean "store"?',
    },
    {
      name: "a bad tag pattern",
      text: '{ a: { match: [x, »"{a"] } }',
      says: 'pipelines.a.match[1]: tag pattern: got "{" without "}" at character 1 of "{a"',
    },
    {
      name: "an empty list of fields",
      text: "{ a: { line: »[] } }",
      says: "pipelines.a.line: found an empty list, want at least 1 item",
    },
    {
      name: "an unknown step",
      text: "{ a: { steps: [»levl] } }",
      says: 'pipelines.a.steps[0]: unknown step "levl", did you mean "level"?',
    },
    {
      name: "a step from the prototype",
      text: "{ a: { steps: [»toString] } }",
      says: 'pipelines.a.steps[0]: unknown step "toString", want one of parse, level, labels, drop',
    },
    {
      name: "two steps in one map",
      text: "{ a: { steps: [»{ level: {}, drop: {} }] } }",
      says: "pipelines.a.steps[0]: found a map, want a step's name, or a map with one key: the name, and behind it the options",
    },
    {
      name: "a map of steps",
      text: "{ a: { steps: »{ level: } } }",
      says: 'pipelines.a.steps: found a map, want a list of steps, each behind a "- "',
    },
    {
      name: "an option of a step",
      text: "{ a: { steps: [{ drop: { »wen: debug, when: debug } }] } }",
      says: 'pipelines.a.steps[0].drop: unknown key "wen", did you mean "when"?',
    },
    {
      name: "a value in a list of a step",
      text: "{ a: { steps: [{ labels: { a: [x, »4] } }] } }",
      says: "pipelines.a.steps[0].labels.a[1]: found 4, want text (put it in quotes)",
    },
    {
      name: "neither text nor list",
      text: "{ a: { steps: [{ labels: { a: »{ b: c } } }] } }",
      says: "pipelines.a.steps[0].labels.a: found a map, want text or a list",
    },
    {
      name: "an unknown parser",
      text: "{ a: { steps: [parse: { with: »jsn }] } }",
      says: 'pipelines.a.steps[0].parse.with: unknown parser "jsn", did you mean "json"?',
    },
    {
      name: "an unknown parser in a list",
      text: "{ a: { steps: [parse: { with: [json, »jsn] }] } }",
      says: 'pipelines.a.steps[0].parse.with[1]: unknown parser "jsn", did you mean "json"?',
    },
    {
      name: "an option of a parser",
      text: "{ a: { steps: [parse: { with: [json: { depth_max: »0 }] }] } }",
      says: "pipelines.a.steps[0].parse.with[0].json.depth_max: found 0, want at least 1",
    },
    {
      name: "a regular expression",
      text: '{ a: { steps: [parse: { with: { regex: { pattern: »"(a" } } }] } }',
      says: 'pipelines.a.steps[0].parse.with.regex.pattern: found "(a", want a regular expression in RE2 syntax: error parsing regexp: missing closing ): `(a`',
    },
    {
      name: "a regular expression that needs backtracking",
      text: '{ a: { steps: [parse: { with: { regex: { pattern: »"(?P<x>a)(?=b)" } } }] } }',
      says: /pattern: found "\(\?P<x>a\)\(\?=b\)", want a regular expression in RE2 syntax: .*invalid/,
    },
    {
      name: "a regular expression without names",
      text: '{ a: { steps: [parse: { with: { regex: { pattern: »"(a)" } } }] } }',
      says: /want at least one named group/,
    },
  ])("pipelines: $name", ({ text, says }) => {
    expectFault(`${RECEIVERS}pipelines: ${text}\n`, says);
  });

  test("pipelines without `to` need a sink named store", () => {
    expect(complaints(`${BASE}sinks: { mine: { type: store } }`)[0]).toMatch(
      /^p\/x\.yaml:2:14 {2}pipelines\.a\.to: missing, want/,
    );
    expect(complaints(`${RECEIVERS}pipelines: { a: { to: mine } }\nsinks: { mine: { type: store } }`)).toEqual([]);
  });

  test("the store is there beside sinks that are written down, where a pipeline goes to it", () => {
    const other = { name: "other", summary: "Another.", options: z.strictObject({}) };
    const two = { ...registries, sinks: { ...registries.sinks, other } };
    const named = (pipelines: string) =>
      loadConfig(`${RECEIVERS}pipelines: ${pipelines}\nsinks: { b: { type: other } }`, "p/x.yaml", two).sinks.map(
        ({ name, type }) => `${name}: ${type}`,
      );
    expect(named("{ a: { to: [store, b] } }")).toEqual(["b: other", "store: store"]);
    expect(named("{ a: {}, c: { to: b } }")).toEqual(["b: other", "store: store"]);
    expect(named("{ a: { to: b } }")).toEqual(["b: other"]);
  });

  test("all faults are told at once, in the order of the file", () => {
    const found = complaints(`recievers: {}
receivers:
  f: { type: forward, conections_max: 1 }
pipelines:
  a:
    from: g
    steps: [{ parse: { with: jsn, kep: 1 } }]
    line: []
http: { port: x }
`);
    expect(found.map((line) => line.split("  ")[0])).toEqual([
      "p/x.yaml:1:1",
      "p/x.yaml:3:23",
      "p/x.yaml:6:11",
      "p/x.yaml:7:30",
      "p/x.yaml:7:35",
      "p/x.yaml:8:11",
      "p/x.yaml:9:15",
    ]);
  });

  test.each(["", "# nothing\n", "null", "---\n"])("an empty document %j lacks receivers and pipelines", (text) => {
    expect(complaints(text).map((line) => line.split("  ")[1])).toEqual([
      "receivers: missing, want at least one receiver",
      "pipelines: missing, want at least one pipeline",
    ]);
  });

  test.each([
    { text: "[1]", says: "p/x.yaml:1:1  found a list, want a map" },
    { text: "hello", says: "p/x.yaml:1:1  found a single value, want a map" },
  ])("$text is no document", ({ text, says }) => {
    expect(complaints(text)).toEqual([says]);
  });
});

describe("warnings", () => {
  test.each([
    {
      name: "a pipeline behind one that takes all",
      text: "a: {}\n  b: { match: x }",
      warns: ["4:3  pipelines.b: gets no record: the pipeline a before it takes all that would fit"],
    },
    {
      name: "a pipeline behind one with its pattern",
      text: "a: { match: [x.*, y] }\n  b: { match: [y, x.z] }",
      warns: ["4:3  pipelines.b: gets no record: the pipeline a before it takes all that would fit"],
    },
    { name: "a pipeline with one more pattern", text: "a: { match: [x.*, y] }\n  b: { match: [y, x.z.z] }", warns: [] },
    { name: "a pipeline with one more receiver", text: "a: { from: f }\n  b: { from: [f, g] }", warns: [] },
    {
      name: "a receiver that nobody reads",
      text: "a: { from: f }",
      warns: ["1:35  receivers.g: its records are dropped: no pipeline has it in `from`"],
    },
  ])("$name", ({ text, warns }) => {
    const { warnings } = load(`receivers: { f: { type: forward}, g: { type: forward } }\npipelines:\n  ${text}\n`);
    expect(warnings).toEqual(warns.map((line) => `p/x.yaml:${line}`));
  });

  test("a sink that gets nothing", () => {
    expect(load(`${BASE}sinks: { store: { type: store }, b: { type: store } }`).warnings).toEqual([
      "p/x.yaml:3:34  sinks.b: gets nothing: no pipeline has it in `to`",
    ]);
  });
});

describe("the environment", () => {
  const env = { PORT: "8080", EMPTY: "", KEY: "0123", YES: "true", TEXT: "a: [b] # c", DASH: "x" };

  test.each([
    { name: "a number", text: "http:\n  port: ${env:PORT}", at: "port", gives: 8080 },
    { name: "true", text: "http:\n  cors: ${env:YES}", at: "cors", gives: true },
    { name: "a default", text: "http:\n  port: ${env:NONE:-77}", at: "port", gives: 77 },
    { name: "a default for an empty one", text: "http:\n  port: ${env:EMPTY:-77}", at: "port", gives: 77 },
    { name: "digits where text is wanted", text: "http:\n  listen: ${env:KEY}", at: "listen", gives: "0123" },
    { name: "text that looks like YAML", text: "http:\n  listen: ${env:TEXT}", at: "listen", gives: "a: [b] # c" },
    { name: "inside a text", text: 'http: { listen: "[${env:DASH}]:${env:PORT}" }', at: "listen", gives: "[x]:8080" },
    { name: "an escape", text: 'http: { listen: "$${env:DASH}" }', at: "listen", gives: "${env:DASH}" },
    { name: "a dollar sign", text: 'http: { listen: "$5 $x" }', at: "listen", gives: "$5 $x" },
    { name: "a default with a space", text: "http:\n  listen: ${env:NONE:-a b}", at: "listen", gives: "a b" },
  ])("$name", ({ text, at, gives }) => {
    expect(load(BASE + text, { env }).sections.http).toMatchObject({ [at]: gives });
  });

  test("an empty default is text", () => {
    expect(complaints(`${BASE}http:\n  listen: \${env:NONE:-}`, { env })).toEqual([
      'p/x.yaml:4:11  http.listen: found "" from ${env:NONE}, want at least 1 character',
    ]);
  });

  test.each([
    {
      name: "not set",
      text: "http:\n  port: »${env:NONE}",
      says: "http.port: the environment variable NONE is not set: set it, or write ${env:NONE:-default}",
    },
    {
      name: "the wrong type",
      text: "http:\n  port: »${env:DASH}",
      says: 'http.port: found "x" from ${env:DASH}, want a number',
    },
    {
      name: "another source",
      text: "http:\n  listen: »${DASH}",
      says: 'http.listen: found "${DASH}", want ${env:NAME} or ${env:NAME:-default}, or $${ for a plain ${',
    },
    {
      name: "unclosed",
      text: 'http: { listen: »"${env:DASH" }',
      says: 'http.listen: found "${env:DASH", want ${env:NAME} or ${env:NAME:-default}, or $${ for a plain ${',
    },
    {
      name: "a bad name",
      text: "http:\n  listen: »${env:9}",
      says: 'http.listen: found "${env:9}", want ${env:NAME} or ${env:NAME:-default}, or $${ for a plain ${',
    },
    {
      name: "quotes make it text",
      text: 'http: { port: »"${env:PORT}" }',
      says: 'http.port: found "8080" from ${env:PORT}, want a number',
    },
    {
      name: "a secret's value is not told",
      text: "http:\n  port: »${env:MY_SECRET}",
      says: "http.port: found a text from ${env:MY_SECRET}, want a number",
    },
  ])("$name", ({ text, says }) => {
    expectFault(BASE + text, says, { env: { ...env, MY_SECRET: "hunter2" } });
  });

  test("variables of the prototype are not set", () => {
    expect(complaints(`${BASE}http:\n  listen: \${env:constructor}`, { env })).toHaveLength(1);
  });
});

describe("overrides", () => {
  const source = "--flag";
  const http = (value: string, path = "http.port") => [{ path, value, source }];

  test.each([
    { name: "set what the file leaves out", text: "", value: "7", gives: 7 },
    { name: "go before the file", text: "http: { port: 5 }", value: "7", gives: 7 },
    { name: "mend what the file has wrong", text: "http: { port: x }", value: "7", gives: 7 },
    { name: "fill an empty block", text: "http:", value: "7", gives: 7 },
  ])("$name", ({ text, value, gives }) => {
    expect(load(BASE + text, { overrides: http(value) }).sections.http.port).toBe(gives);
  });

  test("the last one counts", () => {
    expect(load(BASE, { overrides: [...http("7"), ...http("8")] }).sections.http.port).toBe(8);
  });

  test("digits stay text where text is wanted", () => {
    expect(load(BASE, { overrides: http("0123", "http.listen") }).sections.http.listen).toBe("0123");
  });

  test.each([
    { name: "a wrong value", text: "", value: "x", says: '--flag  http.port: found "x", want a number' },
    {
      name: "a place that can't be",
      text: "http: [1]",
      value: "7",
      says: "--flag  http.port: can't be set: something on the way to it is no map in the file",
    },
  ])("$name names the flag", ({ text, value, says }) => {
    expect(complaints(BASE + text, { overrides: http(value) })[0]).toBe(says);
  });

  const listen = [{ path: "receivers.@forward.listen", value: ["tcp:9"], source }];
  test("reach the first receiver of a type, whatever its name", () => {
    const { receivers } = load(
      `receivers: { a: { type: forward, connections_max: 5 }, b: { type: forward } }\n${PIPELINES}`,
      { overrides: listen },
    );
    expect(receivers).toMatchObject([
      { name: "a", options: { listen: ["tcp:9"], connections_max: 5 } },
      { name: "b", options: { listen: ["tcp://127.0.0.1:24224"] } },
    ]);
  });

  test.each(["", "receivers: {}\n", "receivers:\n"])("make the receiver where there is none: %j", (receivers) => {
    expect(load(receivers + PIPELINES, { overrides: listen }).receivers).toEqual([
      { name: "forward", type: "forward", options: { listen: ["tcp:9"], connections_max: 1000 } },
    ]);
  });

  test("change nothing elsewhere that an alias shares", () => {
    const { receivers } = load(`receivers: { a: &r { type: forward }, b: *r }\n${PIPELINES}`, { overrides: listen });
    expect(receivers.map(({ options }) => options)).toMatchObject([
      { listen: ["tcp:9"] },
      { listen: ["tcp://127.0.0.1:24224"] },
    ]);
  });
});
