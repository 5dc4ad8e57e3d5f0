import fc from "fast-check";
import { describe, expect, test } from "vitest";
import json from "../../parsers/json.ts";
import { NumberText } from "../../src/core/component.ts";
import { Random } from "../random.ts";
import { plain } from "./plain.ts";

const parse = json.create(json.options.parse({}));

describe("json parser", () => {
  test.each([
    { name: "an empty object", line: "{}", gives: {} },
    {
      name: "space everywhere",
      line: ' \t{ "a" :\r\n1 , "b" : [ 1 , 2 ] , "c" : { } , "d" : [ ] } ',
      gives: { a: "1", b: ["1", "2"], c: {}, d: [] },
    },
    {
      name: "every kind of number",
      line: '{"a":[0,-0,1.50,-1e5,1E+05,12e-3,123456789012345678901234567890]}',
      gives: { a: ["0", "-0", "1.50", "-1e5", "1E+05", "12e-3", "123456789012345678901234567890"] },
    },
    {
      name: "escapes",
      line: '{"a":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00x"}',
      gives: { a: '"\\/\b\f\n\r\té😀x' },
    },
    { name: "an escape at the end of a string", line: '{"a":"x\\\\","b":"y"}', gives: { a: "x\\", b: "y" } },
    { name: "an escaped name", line: '{"a\\nb":1}', gives: { "a\nb": "1" } },
    { name: "half a surrogate pair", line: '{"a":"\\ud83d"}', gives: { a: "\ud83d" } },
    { name: "a tab in a string", line: '{"a":"b\tc"}', gives: { a: "b\tc" } },
    { name: "an empty name", line: '{"":1}', gives: { "": "1" } },
    { name: "the last of two equal names", line: '{"a":1,"b":2,"a":{"c":3}}', gives: { a: { c: "3" }, b: "2" } },
    { name: "names that look like numbers", line: '{"1":"a","0":"b"}', gives: { 0: "b", 1: "a" } },
  ])("reads $name", ({ line, gives }) => {
    expect(plain(parse(line))).toEqual(gives);
  });

  test("a number is no string", () => {
    expect(parse('{"a":1.50,"b":"1.50"}')).toEqual({ a: new NumberText("1.50"), b: "1.50" });
  });

  test("__proto__ is a field like any other", () => {
    const fields = parse('{"__proto__":{"polluted":1},"constructor":"x"}');
    expect(Object.keys(fields ?? {})).toEqual(["__proto__", "constructor"]);
    expect(Object.getPrototypeOf(fields)).toBe(Object.prototype);
    expect(fields?.polluted).toBeUndefined();
  });

  test.each([
    "",
    " ",
    "{",
    "}",
    "[]",
    '["a"]',
    '"a"',
    "1",
    "null",
    "{a:1}",
    "{'a':1}",
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{,"a":1}',
    '{"a":1 "b":2}',
    '{"a":01}',
    '{"a":+1}',
    '{"a":.5}',
    '{"a":1.}',
    '{"a":1e}',
    '{"a":-}',
    '{"a":NaN}',
    '{"a":tru}',
    '{"a":True}',
    '{"a":"b}',
    '{"a":"\\x"}',
    '{"a":"\\u12g4"}',
    '{"a":"\\u12',
    '{"a":"\\',
    '{"a":[1,]}',
    '{"a":[1}',
    '{"a":{]}',
    '{"a":1}}',
    '{"a":1}{"b":2}',
    '\ufeff{"a":1}',
    "{\u00a0}",
  ])("refuses %j", (line) => {
    expect(parse(line)).toBeNull();
  });

  test("bounds depth and fields", () => {
    const nested = (depth: number) => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;
    const small = json.create(json.options.parse({ depth_max: 3, fields_max: 4 }));
    expect(small(nested(3))).not.toBeNull();
    expect(small(nested(4))).toBeNull();
    expect(small('{"a":{"b":[1,2]}}')).not.toBeNull();
    expect(small('{"a":{"b":[1,2,3]}}')).toBeNull();
    // A refused line leaves nothing behind.
    expect(small('{"a":1,"b":2,"c":3,"d":4}')).not.toBeNull();
  });

  /** What JSON.parse makes of it, or null where it is no object. Doubles are compared as doubles. */
  function expected(line: string): object | null {
    try {
      const value: unknown = JSON.parse(line);
      return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
    } catch {
      return null;
    }
  }

  function asNumbers(value: unknown): unknown {
    if (value instanceof NumberText) return Number(value.text);
    if (Array.isArray(value)) return value.map(asNumbers);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, asNumbers(inner)]));
  }

  const roomy = json.create(json.options.parse({ depth_max: 256, fields_max: 100_000 }));

  test("reads what JSON.stringify writes", () => {
    const indents = fc.constantFrom(undefined, 1, "\t");
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue({ stringUnit: "binary" })),
        indents,
        (value, indent) => {
          const line = JSON.stringify(value, null, indent);
          expect(asNumbers(roomy(line))).toEqual(JSON.parse(line));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("takes and refuses what JSON.parse does", () => {
    const random = new Random();
    const seeds = [
      '{"level":"info","msg":"a \\"b\\" \\u00e9\\n","n":[1,-2.5e10,0.1],"m":{"x":null,"y":true,"z":false}}',
      '{"a":{"b":{"c":[[],{},[{"d":"\\\\"}]]}},"":"","e":"\\ud83d\\ude00"}',
    ];
    const alphabet = [
      '"',
      "\\",
      "{",
      "}",
      "[",
      "]",
      ":",
      ",",
      "0",
      "1",
      "-",
      ".",
      "e",
      "u",
      "t",
      " ",
      "null",
      "true",
      "é",
    ];
    let taken = 0;
    for (let i = 0; i < 100_000; i++) {
      const line = random.mutate(random.pick(seeds), alphabet);
      const want = expected(line);
      const got = roomy(line);
      if (want !== null) taken++;
      if ((want === null) !== (got === null)) expect({ line, got }).toEqual({ line, got: want });
      if (got !== null && i % 10 === 0) expect({ line, got: asNumbers(got) }).toEqual({ line, got: want });
    }
    expect(taken).toBeGreaterThan(1000);
  });
});
