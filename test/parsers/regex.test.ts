import { describe, expect, test } from "vitest";
import regex from "../../parsers/regex.ts";

const compile = (pattern: string) => regex.create(regex.options.parse({ pattern }));

describe("regex parser", () => {
  test.each([
    { name: "both ways to name a group", pattern: "(?P<a>x)(?<b>y)", line: "xy", gives: { a: "x", b: "y" } },
    { name: "a match anywhere", pattern: "id=(?P<id>\\d+)", line: "x id=42 id=43", gives: { id: "42" } },
    { name: "an empty group", pattern: "^(?P<a>x*)(?P<b>y)", line: "y", gives: { a: "", b: "y" } },
    { name: "a group that took no part", pattern: "(?P<a>x)|(?P<b>y)", line: "y", gives: { b: "y" } },
    { name: "nameless groups", pattern: "(x)(?P<a>y)(z)", line: "xyz", gives: { a: "y" } },
    { name: "beyond the basic plane", pattern: "^(?P<a>.)(?P<b>.)$", line: "😀é", gives: { a: "😀", b: "é" } },
    { name: "newlines only when asked", pattern: "(?s)^(?P<a>.*)$", line: "x\ny", gives: { a: "x\ny" } },
    { name: "no match", pattern: "^(?P<a>x)$", line: "xy", gives: null },
  ])("$name", ({ pattern, line, gives }) => {
    expect(compile(pattern)(line)).toEqual(gives);
  });

  test("leaves lines alone that are too long", () => {
    const parse = regex.create(regex.options.parse({ pattern: "(?P<a>x)", line_length_max: 3 }));
    expect(parse("..x")).toEqual({ a: "x" });
    expect(parse("x...")).toBeNull();
  });

  test.each([
    { name: "no named group", pattern: "(a)", says: /want at least one named group/ },
    { name: "a named group in a literal", pattern: "\\(?P<a>", says: /want at least one named group/ },
    { name: "an unclosed group", pattern: "(?P<a>x", says: /want a regular expression in RE2 syntax/ },
    { name: "a look-ahead", pattern: "(?P<a>x)(?!y)", says: /want a regular expression in RE2 syntax/ },
    { name: "a back-reference", pattern: "(?P<a>x)\\1", says: /want a regular expression in RE2 syntax/ },
  ])("refuses $name", ({ pattern, says }) => {
    expect(() => compile(pattern)).toThrow(
      expect.objectContaining({
        code: "bad_parser",
        context: { option: "pattern" },
        message: expect.stringMatching(says),
      }),
    );
  });
});
