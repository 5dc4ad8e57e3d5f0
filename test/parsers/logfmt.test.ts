import fc from "fast-check";
import { describe, expect, test } from "vitest";
import logfmt from "../../parsers/logfmt.ts";

const parse = logfmt.create(logfmt.options.parse({}));
const keepEmpty = logfmt.create(logfmt.options.parse({ keep_empty: true }));

describe("logfmt parser", () => {
  test.each([
    {
      name: "Loki's example",
      line: 'lvl=P user.id=7 quoted="x \\"y\\" z" bare e="" =bad u=1=2 last=ok',
      gives: { lvl: "P", "user.id": "7", quoted: 'x "y" z', last: "ok" },
    },
    { name: "Loki's example of strictness", line: "ok=1 x=1=2 y=3", gives: { ok: "1", y: "3" } },
    { name: "one pair", line: "a=b", gives: { a: "b" } },
    { name: "much space", line: "  a=b \t c=d  ", gives: { a: "b", c: "d" } },
    { name: "a pair right behind a quote", line: 'a="b"c=d', gives: { a: "b", c: "d" } },
    { name: "escapes", line: 'a="\\n\\t\\u00e9\\\\" b=2', gives: { a: "\n\té\\", b: "2" } },
    { name: "a tab in quotes", line: 'a="x\ty \\n" b=2', gives: { a: "x\ty \n", b: "2" } },
    { name: "a bad escape", line: 'a="\\x" b=2', gives: { b: "2" } },
    { name: "a quote inside a bare value", line: 'a=b"c d=1', gives: { d: "1" } },
    { name: "a quote inside a key", line: 'a"b=c d=1', gives: { d: "1" } },
    { name: "an unclosed quote", line: 'a="b c=d e', gives: { c: "d" } },
    { name: "a bare backslash", line: "path=C:\\x y=1", gives: { path: "C:\\x", y: "1" } },
    { name: "the last of two equal keys", line: "a=1 a=2", gives: { a: "2" } },
    { name: "a stray pair in prose", line: "GET /x?a=1 done", gives: { "/x?a": "1" } },
    { name: "newlines between pairs", line: "a=1\nb=2", gives: { a: "1", b: "2" } },
  ])("reads $name", ({ line, gives }) => {
    expect(parse(line)).toEqual(gives);
  });

  test.each(["", " ", "hello", "hello world", "=x", "a=", "a= b", '"a"', 'a="', "=", "==", 'a="b'])(
    "refuses %j",
    (line) => {
      expect(parse(line)).toBeNull();
    },
  );

  test("keeps empty values when told to", () => {
    expect(keepEmpty('a= b c="" d=1')).toEqual({ a: "", b: "", c: "", d: "1" });
    // Bare words alone are prose.
    expect(keepEmpty("hello world")).toBeNull();
  });

  test("pairs_min asks for more", () => {
    const two = logfmt.create(logfmt.options.parse({ pairs_min: 2 }));
    expect(two("a=1 b")).toBeNull();
    expect(two("a=1 b=2")).toEqual({ a: "1", b: "2" });
  });

  test("fields_max bounds a line", () => {
    const two = logfmt.create(logfmt.options.parse({ fields_max: 2 }));
    expect(two("a=1 b=2")).toEqual({ a: "1", b: "2" });
    expect(two("a=1 b=2 c=3")).toBeNull();
    expect(two("a=1 b=2 c")).toEqual({ a: "1", b: "2" });
    const empty = logfmt.create(logfmt.options.parse({ fields_max: 2, keep_empty: true }));
    expect(empty("a=1 b c")).toBeNull();
  });

  test("__proto__ is a field like any other", () => {
    const fields = parse("__proto__=x a=1");
    expect(Object.keys(fields ?? {})).toEqual(["__proto__", "a"]);
  });

  test("reads what was written", () => {
    const key = fc.stringMatching(/^[^\0- "=\u007f]+$/);
    const bare = fc.stringMatching(/^[^\0- "=\u007f]+$/);
    const quoted = fc.string({ minLength: 1, unit: "binary" });
    const pairs = fc.uniqueArray(fc.tuple(key, fc.oneof(bare, quoted), fc.boolean()), {
      minLength: 1,
      maxLength: 6,
      selector: ([name]) => name,
    });
    fc.assert(
      fc.property(pairs, (written) => {
        const line = written.map(
          ([name, value, quote]) => `${name}=${quote || !/^[^\0- "=]+$/.test(value) ? JSON.stringify(value) : value}`,
        );
        expect({ ...parse(line.join(" ")) }).toEqual(Object.fromEntries(written.map(([name, value]) => [name, value])));
      }),
      { numRuns: 2000 },
    );
  });
});
