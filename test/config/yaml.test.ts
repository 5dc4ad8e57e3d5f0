// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to the environment look like that.
import { describe, expect, test } from "vitest";
import { formatProblem } from "../../src/config/problem.ts";
import { toValue } from "../../src/config/tree.ts";
import { YamlReader } from "../../src/config/yaml.ts";

function read(text: string) {
  const reader = new YamlReader("x.yaml", {});
  const tree = reader.read(text);
  return {
    value: tree === undefined ? undefined : toValue(tree),
    problems: reader.problems.map(formatProblem),
  };
}

describe("values", () => {
  test.each([
    {
      name: "the core schema",
      text: "[1, 0x10, 0o10, 1.5, true, null, ~, yes, 2024-05-01, '1']",
      gives: [1, 16, 8, 1.5, true, null, null, "yes", "2024-05-01", "1"],
    },
    { name: "keys that are no text", text: "{1: a, true: b, ~: c}", gives: { 1: "a", true: "b", "~": "c" } },
    { name: "an anchor", text: "a: &x { b: [1] }\nc: *x", gives: { a: { b: [1] }, c: { b: [1] } } },
    { name: "an anchor that is set again", text: "a: &x 1\nb: *x\nc: &x 2\nd: *x", gives: { a: 1, b: 1, c: 2, d: 2 } },
    {
      name: "a merge",
      text: "a: &x { b: 1, c: 2 }\nd: { <<: *x, c: 3 }",
      gives: { a: { b: 1, c: 2 }, d: { c: 3, b: 1 } },
    },
    {
      name: "a merge of several",
      text: "a: &x { b: 1 }\ny: &y { b: 2, c: 3 }\nd: { <<: [*x, *y] }",
      gives: { a: { b: 1 }, y: { b: 2, c: 3 }, d: { b: 1, c: 3 } },
    },
    { name: "a quoted merge key is a key", text: '{ "<<": 1 }', gives: { "<<": 1 } },
    { name: "block texts", text: "a: |\n  x\n  y\nb: >-\n  x\n  y", gives: { a: "x\ny\n", b: "x y" } },
    { name: "a byte order mark", text: "\ufeffa: 1", gives: { a: 1 } },
    { name: "CRLF", text: "a: 1\r\nb: [2,\r\n 3]\r\n", gives: { a: 1, b: [2, 3] } },
  ])("$name", ({ text, gives }) => {
    expect(read(text)).toEqual({ value: gives, problems: [] });
  });

  test("__proto__ is a key like any other", () => {
    const { value } = read("__proto__: { polluted: 1 }");
    expect(Object.keys(value as object)).toEqual(["__proto__"]);
    expect((value as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe("faults", () => {
  test.each([
    {
      name: "a duplicate key",
      text: "a: 1\nb: 2\na: 3",
      says: ["x.yaml:3:1  a: found this key a second time (the first is in line 1)"],
    },
    {
      name: "a duplicate key further down",
      text: "a:\n  b: 1\n  b: 2",
      says: ["x.yaml:3:3  a.b: found this key a second time (the first is in line 2)"],
    },
    {
      name: "an unknown alias",
      text: "a: *b",
      says: ["x.yaml:1:4  a: found *b, an alias without an anchor before it"],
    },
    {
      name: "an alias in itself",
      text: "a: &b [*b]",
      says: ["x.yaml:1:8  a[0]: found *b, an alias inside its own anchor"],
    },
    { name: "a list as a key", text: "? [a]\n: 1", says: ["x.yaml:1:3  found a list as a key, want text"] },
    {
      name: "a second document",
      text: "a: 1\n---\nb: 2",
      says: ["x.yaml:2:1  found a second document, want one document in a file"],
    },
    { name: "a tab", text: "a:\n\tb: 1", says: ["x.yaml:2:1  not valid YAML: Tabs are not allowed as indentation"] },
    { name: "a quote", text: 'a: "b', says: ['x.yaml:1:6  not valid YAML: Missing closing "quote'] },
    { name: "a tag", text: "a: !php/object x", says: ["x.yaml:1:4  not valid YAML: Unresolved tag: !php/object"] },
    {
      name: "a reference in a list",
      text: "a: [${env:X}]",
      says: [
        'x.yaml:1:6  not valid YAML: Missing , or : between flow sequence items; inside [ ] and { } put "${env:…}" in quotes',
      ],
    },
    {
      name: "a merge of no map",
      text: "a: { <<: 1 }",
      says: ['x.yaml:1:4  a["<<"]: found something that is no map, want maps to merge'],
    },
  ])("$name", ({ text, says }) => {
    expect(read(text).problems).toEqual(says);
  });
});

describe("what would take all the memory or time is refused", () => {
  const laughs = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"];
  for (let i = 1; i < 10; i++)
    laughs.push(
      `a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(",")}]`,
    );
  const chain = ["a0: &a0 [x]"];
  for (let i = 1; i < 200; i++) chain.push(`a${i}: &a${i} [*a${i - 1}]`);
  const repeated = (text: string, length = 256 * 1024) => text.repeat(Math.floor(length / text.length));

  test.each([
    { name: "a billion laughs", text: laughs.join("\n"), says: /more than 50000 values with the aliases written out/ },
    { name: "laughs by merges", text: laughs.join("\n").replaceAll("[", "{ <<: [").replaceAll("]", "]}"), says: /./ },
    {
      name: "many merges of one large map",
      text: `a: &a\n${Array.from({ length: 4500 }, (_, i) => `  k${i}: 1\n`).join("")}b:\n${"- <<: *a\n".repeat(4500)}`,
      says: /more than 50000 values with the aliases written out/,
    },
    { name: "nesting by aliases", text: chain.join("\n"), says: /more than 50 levels of nesting/ },
    { name: "10 MB", text: repeated("a: 1\n", 10_000_000), says: /found 10000000 characters, want at most 262144/ },
    { name: "deep lists", text: repeated("["), says: /more than 50 levels/ },
    { name: "deep maps", text: repeated("{a: "), says: /more than 50 levels/ },
    { name: "deep dashes", text: repeated("- "), says: /more than 50 levels/ },
    { name: "deep keys", text: repeated("? "), says: /more than 50 levels/ },
    {
      name: "deep indents",
      text: Array.from({ length: 600 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"),
      says: /more than 50 levels/,
    },
    { name: "many closed lists", text: repeated("[]"), says: /more than 100000 pieces/ },
    { name: "many quotes", text: repeated('"'), says: /more than 100000 pieces/ },
    { name: "many documents", text: repeated("---\n"), says: /pieces|second document/ },
    { name: "many anchors", text: repeated("&a ", 90_000), says: /not valid YAML/ },
    { name: "many equal keys", text: repeated("a:\n", 60_000), says: /a second time/ },
  ])("$name", ({ text, says }) => {
    const start = performance.now();
    const { problems } = read(text);
    expect(problems[0]).toMatch(says);
    // Ten times what the slowest takes alone.
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});
