import { describe, expect, test } from "vitest";
import type { Labels } from "../../../src/core/labels.ts";
import { keeps, labelsOf, runQuery } from "./run-query.ts";

// The example rows of the LogQL description: lines, query, what comes out.

describe("line filters", () => {
  const users = ["user bob logged in", "user bob logged out", "the user al logged in", "user  logged in"];
  const animals = ["cat", "dog", "cow"];
  test.each([
    { query: '|= "cat" or "cow"', lines: animals, kept: ["cat", "cow"] },
    { query: '!~ "c.t" or "^d"', lines: animals, kept: ["cow"] },
    { query: '!= "cat" or "cow"', lines: animals, kept: ["dog"] },
    { query: '|= "c" != "w"', lines: animals, kept: ["cat"] },
    { query: '|= ""', lines: animals, kept: animals },
    { query: '!= ""', lines: animals, kept: [] },
    { query: '|~ ".*"', lines: animals, kept: animals },
    { query: '|~ "(?i)CA"', lines: animals, kept: ["cat"] },
    { query: '|~ "a.b"', lines: ["a\nb", "axb"], kept: ["axb"] },
    { query: '|~ "(?s)a.b"', lines: ["a\nb", "axb"], kept: ["a\nb", "axb"] },
    { query: '|> "user <_> logged in"', lines: users, kept: [users[0], users[2]] },
    { query: '!> "user <_> logged in"', lines: users, kept: [users[1], users[3]] },
    { query: '|> "took <_>"', lines: ["took 5ms", "took 5ms total", "took "], kept: ["took 5ms", "took 5ms total"] },
    { query: '|> "<_>a b"', lines: ["a b", "x a b"], kept: ["x a b"] },
    { query: '|> ""', lines: ["", "x"], kept: [""] },
    { query: '!> ""', lines: ["", "x"], kept: ["x"] },
    { query: '|> "a<_>" or "b<_>"', lines: ["ax", "bx", "cx"], kept: ["ax", "bx"] },
    {
      query: '|= ip("172.16.0.0/12")',
      lines: ["peer=[fe80::1] ok", "peer=172.16.9.9:443"],
      kept: ["peer=172.16.9.9:443"],
    },
    { query: '!= ip("172.16.0.0/12")', lines: ["none", "a 172.31.0.1 b", "172.32.0.1"], kept: ["none", "172.32.0.1"] },
    { query: '|= ip("10.0.0.5-10.0.0.9")', lines: ["10.0.0.4", "x10.0.0.5", "10.0.0.10"], kept: ["x10.0.0.5"] },
    { query: '|= ip("fe80::/10")', lines: ["peer=[fe80::1] ok", "peer=[ff80::1] ok"], kept: ["peer=[fe80::1] ok"] },
    {
      query: '|= ip("2001:db8::1")',
      lines: ["a 2001:0db8:0:0:0:0:0:1 b", "2001:db8::2"],
      kept: ["a 2001:0db8:0:0:0:0:0:1 b"],
    },
    {
      query: '|= ip("::1")',
      lines: ["peer=::1", "::1", "[::1]:80", "::2", "a::1", "::"],
      kept: ["peer=::1", "::1", "[::1]:80"],
    },
    { query: '|= ip("::/0")', lines: ["at fe::", "1::2", "12:30", "12:3", "::", "x"], kept: ["at fe::", "1::2"] },
    { query: '|= ip("1.2.3.4") or "lost"', lines: ["at 1.2.3.4", "lost", "at 1.2.3.5"], kept: ["at 1.2.3.4", "lost"] },
  ])("$query keeps $kept", ({ query, lines, kept }) => {
    expect(keeps(query, lines)).toEqual(kept);
  });

  test("works on bytes, not characters", () => {
    const e1 = Buffer.from([0x61, 0xc3, 0xa9]);
    const bad = Buffer.from([0x61, 0xe9]);
    expect(runQuery('{job="w"} |= "\\xe9"', [e1, bad]).length).toBe(1);
    expect(runQuery('{job="w"} |= "é"', [e1, bad]).map((r) => r.line)).toEqual(["aé"]);
    expect(runQuery('{job="w"} |= "\\xa9"', [e1, bad]).map((r) => r.line)).toEqual(["aé"]);
    expect(runQuery('{job="w"} |~ "a.$"', [e1, bad]).length).toBe(2);
  });
});

describe("names and clashes", () => {
  const options = {
    stream: { job: "w", rg: "S" },
    metadata: [
      ["tid", "M"],
      ["rg", "M2"],
    ],
  } as const;
  test("parsed against stream and metadata", () => {
    expect(runQuery('{job="w"} | logfmt', ["tid=P rg=P2"], options)[0]).toMatchObject({
      labels: { job: "w", rg: "S", rg_extracted: "P2", tid: "M", tid_extracted: "P" },
      classes: {
        stream: { job: "w", rg: "S" },
        structuredMetadata: { tid: "M" },
        parsed: { rg_extracted: "P2", tid_extracted: "P" },
      },
    });
  });
  test("metadata against stream, no parser", () => {
    expect(runQuery('{job="w"}', ["tid=P rg=P2"], options)[0].labels).toEqual({
      job: "w",
      rg: "S",
      rg_extracted: "M2",
      tid: "M",
    });
  });
  test("an earlier parser's label stays", () => {
    expect(labelsOf('| logfmt | regexp "a=(?P<a>.)(?P<b>.)"', ["a=12 c=3"])).toEqual([{ a: "12", b: "2", c: "3" }]);
  });
  test("the first of equal keys wins, with an explicit logfmt the last", () => {
    expect(labelsOf("| logfmt", ["a=1 a=2"])).toEqual([{ a: "1" }]);
    expect(labelsOf('| logfmt x="a"', ["a=1 a=2"])).toEqual([{ x: "2" }]);
    expect(labelsOf("| json", ['{"a":1,"a":2}'])).toEqual([{ a: "1" }]);
  });
});

interface ParserCase {
  query: string;
  line: string;
  stream?: Labels;
  labels: Labels;
  out?: string;
}

describe("parsers", () => {
  test.each<ParserCase>([
    {
      query: "| json",
      line: '{"k":"P","n":{"x y":1.0,"list":[1]},"t":true,"z":null,"2a":"q"}',
      stream: { job: "w", k: "S" },
      labels: { k: "S", k_extracted: "P", n_x_y: "1.0", t: "true", _2a: "q" },
    },
    {
      query: '| json first="srv.ips[0]", all="srv.ips", up="srv.up", o, gone="x.y"',
      line: '{"srv":{"ips":["1.1.1.1","2.2.2.2"],"up":true},"o":{"p":1}}',
      labels: { first: "1.1.1.1", all: '["1.1.1.1","2.2.2.2"]', up: "true", o: '{"p":1}', gone: "" },
    },
    { query: "| json", line: '{"p":1} trailing', labels: { p: "1" } },
    {
      query: "| json | drop __error_details__",
      line: "plain",
      labels: { __error__: "JSONParserErr" },
    },
    {
      query: "| logfmt",
      line: 'lvl=P user.id=7 quoted="x \\"y\\" z" bare e="" =bad u=1=2 last=ok',
      stream: { job: "w", lvl: "S" },
      labels: { lvl: "S", lvl_extracted: "P", user_id: "7", quoted: 'x "y" z', last: "ok" },
    },
    // A quote in what is taken for a number, a brace in a list: the object around it ends elsewhere, or nowhere.
    {
      query: "| json | drop __error_details__",
      line: '{"s":1,"h":{"t":2"},"d":"x"}',
      labels: { s: "1", __error__: "JSONParserErr" },
    },
    { query: "| json", line: '{"h":{"t":2{},"d":"x"},"e":1}', labels: { h_t: "2{", e: "1" } },
    {
      query: "| json | drop __error_details__",
      line: '{"s":1,"h":{"t":2,"l":[}]},"d":"x"}',
      labels: { s: "1", h_t: "2", __error__: "JSONParserErr" },
    },
    { query: "| json", line: '{"h":{"l":[{"x":"}"},{}],"t":3,"n":{"l":[[]]}},"d":"x"}', labels: { h_t: "3", d: "x" } },
    { query: "| logfmt --keep-empty", line: 'a= b c="" d=1', labels: { a: "", b: "", c: "", d: "1" } },
    {
      query: "| logfmt --strict | drop __error_details__",
      line: "ok=1 x=1=2 y=3",
      labels: { ok: "1", __error__: "LogfmtParserErr" },
    },
    {
      query: '| pattern "[<_>] <verb> <url> -> <code> (<took>)"',
      line: "[ts] GET /p?q=1 -> 200 (12ms)",
      labels: { verb: "GET", url: "/p?q=1", code: "200", took: "12ms" },
    },
    { query: '| pattern "GET <u>"', line: "pre GET", labels: {} },
    { query: '| pattern "GET <u>"', line: "GET x", labels: { u: "x" } },
    { query: '| regexp "id=(?P<id>\\\\d+)"', line: "id=42 id=43", labels: { id: "42" } },
    {
      query: "| unpack",
      line: '{"pod":"P","n":1,"ns":"x","_entry":"inner line"}',
      stream: { job: "w", pod: "S" },
      labels: { pod: "S", ns: "x", pod_extracted: "P" },
      out: "inner line",
    },
    { query: "| unpack", line: '{"pod":"P","ns":"x"}', labels: {} },
    { query: "| unpack | drop __error_details__", line: "no", labels: { __error__: "JSONParserErr" } },
    { query: '| json x="nope"', line: "{}", labels: { x: "" } },
    { query: '| json job="a"', line: '{"a":"1"}', labels: { job_extracted: "1" } },
    { query: '| json x="[1]"', line: '["a","b\\u0041"]', labels: { x: "bA" } },
    { query: '| json x="a[\\"b c\\"].d[1]"', line: '{"a":{"b c":{"d":[1,null]}}}', labels: { x: "" } },
    { query: '| json x="a" | drop __error_details__', line: "plain", labels: { __error__: "JSONParserErr" } },
    { query: '| logfmt a, b="user.id", c', line: 'user.id="7 8" a=', labels: { a: "", b: "7 8", c: "" } },
    { query: '| regexp "(?P<a>x)?(?P<b>y)"', line: "y", labels: { a: "", b: "y" } },
    { query: '| regexp "(?<a>z)"', line: "y", labels: {} },
    { query: '| pattern "<a> - <_> <b>"', line: "1 - 2", labels: { a: "1" } },
    { query: '| unpack |= "inner" | logfmt', line: '{"_entry":"inner a=1"}', labels: { a: "1" }, out: "inner a=1" },
  ])("$query on $line", ({ query, line, stream = { job: "w" }, labels, out = line }) => {
    const [result, ...more] = runQuery(`{job="w"} ${query}`, [line], { stream });
    expect(more).toEqual([]);
    const expected = "job" in labels ? labels : { job: "w", ...labels };
    expect(result).toMatchObject({ labels: expected, line: out });
    expect(Object.keys(result.labels).sort()).toEqual(Object.keys(expected).sort());
  });

  test.each<{ name: string; line: string; labels: Labels }>([
    { name: "labels before the break stay", line: '{"a":1,"b":x}', labels: { a: "1" } },
    { name: "an object without an end gives nothing", line: '{"a":1,"b":{"c":2', labels: { a: "1" } },
    {
      name: "a broken object with an end keeps what it had",
      line: '{"a":1,"b":{"c":2,"d"}}',
      labels: { a: "1", b_c: "2" },
    },
    { name: "a cut string", line: '{"a":1,"b":"xy', labels: { a: "1" } },
    { name: "an empty line", line: "", labels: {} },
    { name: "an array", line: "[1]", labels: {} },
  ])("json: $name", ({ line, labels }) => {
    expect(labelsOf("| json | drop __error_details__", [line])).toEqual([{ ...labels, __error__: "JSONParserErr" }]);
  });

  test.each<{ line: string; labels: Labels }>([
    { line: '{"a":"\\u00e9\\n\\"\\\\\\/","b":"\\ud83d\\ude00"}', labels: { a: 'é\n"\\/', b: "😀" } },
    { line: ' { "a" : 1 , "b" : [ {"x":"]"} ] , "c" : "d" , } ', labels: { a: "1", c: "d" } },
    { line: '{"é":"x","":"y"," z ":"1"}', labels: { _: "x", z: "1" } },
    { line: '{"a":{"b":{"2c":1},"e":{}},"f":-1e5}', labels: { a_b_2c: "1", f: "-1e5" } },
    {
      line: '{"a\\"b":1,"__proto__":"p","constructor":"c"}',
      labels: { a_b: "1", ["__proto__"]: "p", constructor: "c" },
    },
    { line: "{}", labels: {} },
  ])("json reads $line", ({ line, labels }) => {
    const [found] = labelsOf("| json", [line]);
    expect(Object.entries(found).sort()).toEqual(Object.entries(labels).sort());
  });

  test("invalid UTF-8 in a parsed value becomes a space", () => {
    const line = Buffer.concat([Buffer.from('{"a":"x'), Buffer.from([0xff]), Buffer.from('y"}')]);
    expect(runQuery('{job="w"} | json', [line])[0].labels).toEqual({ job: "w", a: "x y" });
  });
});

describe("label filters", () => {
  const err = (labels: object) => ({ ...labels, __error__: "LabelFilterErr" });
  test.each([
    { query: "| c = 10", lines: ["c=9", "c=10.0", "c=ten", "d=1"], labels: [{ c: "10.0" }, err({ c: "ten" })] },
    { query: '| c != "10"', lines: ["c=10", "c=10.0", "d=1"], labels: [{ c: "10.0" }, { d: "1" }] },
    { query: "| d >= 1m30s", lines: ["d=90s", "d=1m29s", "d=2h45m"], labels: [{ d: "90s" }, { d: "2h45m" }] },
    { query: "| s > 1MB", lines: ["s=1MB", "s=1MiB", "s=1,100,000"], labels: [{ s: "1MiB" }, { s: "1,100,000" }] },
    {
      query: "| a=1 or b=1 and c=1",
      lines: ["a=0 b=1 c=0", "a=1 b=0 c=0", "a=0 b=1 c=1"],
      labels: [
        { a: "1", b: "0", c: "0" },
        { a: "0", b: "1", c: "1" },
      ],
    },
    {
      query: "| a=1, b=2 or c=3",
      lines: ["a=1 b=2 c=0", "a=1 b=0 c=3", "a=0 b=0 c=3"],
      labels: [
        { a: "1", b: "2", c: "0" },
        { a: "1", b: "0", c: "3" },
      ],
    },
    {
      query: "| a=1 or b=2, c=3",
      lines: ["a=1 b=0 c=0", "a=0 b=2 c=3", "a=0 b=2 c=0"],
      labels: [
        { a: "1", b: "0", c: "0" },
        { a: "0", b: "2", c: "3" },
      ],
    },
    { query: '| a=""', lines: ["a=1", "b=2"], labels: [{ b: "2" }] },
    { query: '| a=~"x|y."', lines: ["a=x", "a=yz", "a=xx", "b=1"], labels: [{ a: "x" }, { a: "yz" }] },
    { query: '| a!~"x.*"', lines: ["a=xx", "a=yx", "b=1"], labels: [{ a: "yx" }, { b: "1" }] },
    { query: "| c != 10", lines: ["c=9", "d=1"], labels: [{ c: "9" }] },
    { query: "| d > 1s", lines: ["d=1d", "d=2s"], labels: [err({ d: "1d" }), { d: "2s" }] },
    { query: "| s = 2KB", lines: ["s=2kb", "s=2000", "s=2 zz"], labels: [{ s: "2kb" }, { s: "2000" }] },
    { query: "| c = 200", lines: ["c=200", "c=200.0", "c=2e2"], labels: [{ c: "200" }, { c: "200.0" }, { c: "2e2" }] },
    {
      query: '| a=ip("10.0.0.0/8")',
      lines: ["a=10.0.0.1:80", "a=11.0.0.1", "a=x", "b=1"],
      labels: [{ a: "10.0.0.1:80" }],
    },
    {
      query: '| a!=ip("10.0.0.0/8")',
      lines: ["a=10.0.0.1:80", "a=11.0.0.1", "a=x", "b=1"],
      labels: [{ a: "11.0.0.1" }, { a: "x" }],
    },
    { query: '| a > 1 | __error__=""', lines: ["a=2", "a=x"], labels: [{ a: "2" }] },
    { query: '| a > 1 | __error__!=""', lines: ["a=2", "a=x"], labels: [err({ a: "x" })] },
  ])("$query", ({ query, lines, labels }) => {
    expect(labelsOf(`| logfmt ${query} | drop __error_details__`, lines)).toEqual(labels);
  });

  test("an object without an end takes nothing from metadata either", () => {
    const options = { stream: { job: "w", n_x: "S" }, metadata: [["n_x", "M"]] } as const;
    const extracted = (line: string) => labelsOf("| json", [line], options)[0].n_x_extracted;
    expect(extracted('{"n":{"x":1}}')).toBe("1");
    expect(extracted('{"n":{"x":1')).toBe("M");
    expect(extracted('{"n":{"x":1,"y":2"},"d":"x"}')).toBe("M");
  });

  test("an existing error is not overwritten by a conversion", () => {
    const [found] = labelsOf("| json | n > 1", ['{"n":"x", broken']);
    expect(found.__error__).toBe("JSONParserErr");
  });
  test("details say why", () => {
    const details = (query: string, line: string) => labelsOf(`| logfmt ${query}`, [line])[0].__error_details__;
    // Positions count bytes.
    expect(details("--strict", "é=1 b=1=2")).toBe("logfmt syntax error at pos 9 : unexpected '='");
    expect(details("--strict", "a\ufffd=1 b=2")).toBe("logfmt syntax error at pos 5 : invalid key");
    expect(details("--strict", "a\ufffd b=2")).toBe("logfmt syntax error at pos 5 : invalid key");
    expect(labelsOf("| logfmt", ['a\ufffd="x c=1" b=2'])).toEqual([{ b: "2" }]);
    expect(details("| a > 1", "a=x")).toBe('strconv.ParseFloat: parsing "x": invalid syntax');
    expect(details("| a > 1s", "a=5")).toBe('time: missing unit in duration "5"');
    expect(details("| a > 1s", "a=1d")).toBe('time: unknown unit "d" in duration "1d"');
    expect(details("| a > 1KB", "a=5zz")).toBe("unhandled size name: zz");
    expect(labelsOf("| json", ["x"])[0].__error_details__).toBe(
      "Value looks like object, but can't find closing '}' symbol",
    );
    // The end of an object is looked for before what is in it.
    expect(labelsOf("| json", ['{"a":{"b":1'])[0].__error_details__).toBe(
      "Value looks like object, but can't find closing '}' symbol",
    );
    expect(labelsOf("| logfmt --strict", ["a=1=2"])[0].__error_details__).toBe(
      "logfmt syntax error at pos 4 : unexpected '='",
    );
  });
  test("structured metadata and stream labels are there without a parser", () => {
    const options = { metadata: [["trace_id", "abc"]] } as const;
    expect(runQuery('{job="w"} | trace_id="abc"', ["x"], options)).toHaveLength(1);
    expect(runQuery('{job="w"} | trace_id!="abc"', ["x"], options)).toHaveLength(0);
    expect(runQuery('{job="w"} | job="w" | detected_level=""', ["x"], options)).toHaveLength(1);
  });
});

describe("drop and keep", () => {
  const lines = ["a=1 b=2", "a=3 b=2"];
  test.each([
    { query: '| drop b, a=~"1|2"', labels: [{ job: "w" }, { job: "w", a: "3" }] },
    { query: '| keep a="1", b', labels: [{ a: "1", b: "2" }, { b: "2" }] },
    {
      query: "| drop job",
      labels: [
        { a: "1", b: "2" },
        { a: "3", b: "2" },
      ],
    },
    { query: "| keep job", labels: [{ job: "w" }, { job: "w" }] },
    { query: "| keep nothing", labels: [{}, {}] },
    { query: "| a = 1 | keep b", labels: [{ b: "2" }] },
    { query: "| keep a, b | b = 2 | keep a", labels: [{ a: "1" }, { a: "3" }] },
  ])("$query", ({ query, labels }) => {
    expect(runQuery(`{job="w"} | logfmt ${query}`, lines).map((result) => result.labels)).toEqual(labels);
  });

  test("keep leaves errors, drop __error__ clears the error and not its details", () => {
    const [kept] = runQuery('{job="w"} | json | keep job', ["x"]);
    expect(Object.keys(kept.labels)).toEqual(["__error__", "__error_details__", "job"]);
    const [dropped] = runQuery('{job="w"} | json | drop __error__', ['{"a":1,"b":x']);
    expect(Object.keys(dropped.labels)).toEqual(["__error_details__", "a", "job"]);
    const [bare] = runQuery('{job="w"} | json | drop __error__', ["x"]);
    expect(Object.keys(bare.labels)).toEqual(["job"]);
    expect(bare.classes.parsed).toEqual({});
  });
  test("a dropped stream label leaves the stream class, and comes back for the next line", () => {
    const results = runQuery('{job="w"} | logfmt | drop job=~"w|x" , a="1"', ["a=1", "a=2"], {
      stream: { job: "w", app: "z" },
    });
    expect(results.map(({ classes }) => classes)).toEqual([
      { stream: { app: "z" }, structuredMetadata: {}, parsed: {} },
      { stream: { app: "z" }, structuredMetadata: {}, parsed: { a: "2" } },
    ]);
  });
  test("a parser after the drop of a stream label still gives _extracted", () => {
    expect(runQuery('{job="w"} | drop job | logfmt', ["job=P"])[0].labels).toEqual({ job_extracted: "P" });
  });
  test("untouched stream labels come out as the very object that went in", () => {
    const stream = { job: "w" };
    expect(runQuery('{job="w"} | logfmt', ["a=1"], { stream })[0].classes.stream).toBe(stream);
  });
});
