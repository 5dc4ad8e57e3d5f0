import { describe, expect, test } from "vitest";
import { DetectedFields, typeOf } from "../../src/api/detect.ts";

/*
 * Fields of single lines. What clients ask is in endpoints.test.ts.
 */

const LONG = 250_000;
const fieldsOf = (line: string, stream: Record<string, string> = {}): Record<string, string> => {
  const found = new DetectedFields({ parsers: [], limit: 1000, only: null });
  found.add({ stream, structuredMetadata: {}, parsed: {}, line });
  return Object.fromEntries(found.list().map(({ label }) => [label, found.valuesOf(label, 1000)[0]]));
};

describe("of fields without end", () => {
  const line = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => `k${from + i}=${from + i}`).join(" ");
  const entry = { stream: {}, structuredMetadata: {}, parsed: {} };

  test("the first are told, as many as are asked for", () => {
    const found = new DetectedFields({ parsers: [], limit: 3, only: null });
    found.add({ ...entry, line: line(0, 100) });
    found.add({ ...entry, line: "k1=x new=1" });
    expect(found.list().map(({ label, cardinality }) => [label, cardinality])).toEqual([
      ["k0", 1],
      ["k1", 2],
      ["k2", 1],
    ]);
  });

  test("no more than ten thousand are told apart, whatever is asked for", () => {
    const found = new DetectedFields({ parsers: [], limit: 1_000_000_000, only: null });
    for (let from = 0; from < 12_000; from += 1000) found.add({ ...entry, line: line(from, 1000) });
    expect(found.list()).toHaveLength(10_000);
  });

  test("one that is asked for is found behind all others", () => {
    const found = new DetectedFields({ parsers: [], limit: 2, only: "k999" });
    found.add({ ...entry, line: line(0, 1000) });
    expect(found.valuesOf("k999", 2)).toEqual(["999"]);
    expect(found.list()).toHaveLength(1);
  });

  test("half a million of values are kept, and types go on", () => {
    const found = new DetectedFields({ parsers: [], limit: 10, only: null });
    for (let from = 0; from < 600_000; from += 20_000) {
      found.add({ ...entry, line: Array.from({ length: 20_000 }, (_, i) => `k=${from + i}`).join(" ") });
    }
    found.add({ ...entry, line: "k=word" });
    expect(found.list()).toEqual([{ label: "k", type: "string", cardinality: 500_000, parsers: ["logfmt"] }]);
  });
});

describe("pairs of a line", () => {
  test.each([
    { line: 'a=1 b="x y" c="q\\"q" d= e', gives: { a: "1", b: "x y", c: 'q"q' } },
    { line: "a=b=c", gives: { a: "b" } },
    { line: 'a="x"b=y', gives: { a: "x", b: "y" } },
    { line: 'say "k=v" z=1', gives: { k: "v", z: "1" } },
    { line: 'open="to the end', gives: {} },
    { line: "=x ==", gives: {} },
  ])("$line", ({ line, gives }) => {
    expect(fieldsOf(line)).toEqual(gives);
  });

  // Each of these took minutes when every place of a word was tried as the beginning of a key.
  test.each([
    { name: "one word", line: "a".repeat(LONG), gives: {} },
    { name: "one word and a pair", line: `${"a".repeat(LONG)} k=v`, gives: { k: "v" } },
    { name: "an open quote", line: `k="${"a".repeat(LONG)}`, gives: {} },
    { name: "escapes", line: `k="${"\\".repeat(LONG)}`, gives: {} },
    { name: "signs", line: "=".repeat(LONG), gives: {} },
  ])("of $name as long as a line may be", ({ line, gives }) => {
    expect(fieldsOf(line)).toEqual(gives);
  });
});

test.each([`${"1".repeat(LONG)}x`, `${"1".repeat(LONG)}_x`, `1.${"1".repeat(LONG)}x`, `.${"1".repeat(LONG)}e`])(
  "a long text that begins as a number is none, and that is soon known",
  (text) => {
    expect(typeOf(text)).toBe("string");
  },
);
