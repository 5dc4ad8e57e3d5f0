import { describe, expect, test } from "vitest";
import { DetectedFields, typeOf } from "../../src/api/detect.ts";

/*
 * Fields of single lines. What clients ask is in endpoints.test.ts.
 */

const LONG = 250_000;
const fieldsOf = (line: string, stream: Record<string, string> = {}): Record<string, string> => {
  const found = new DetectedFields([]);
  found.add({ stream, structuredMetadata: {}, parsed: {}, line });
  return Object.fromEntries(found.list(1000).map(({ label }) => [label, found.valuesOf(label, 1000)[0]]));
};

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
