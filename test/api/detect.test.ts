import { describe, expect, test, vi } from "vitest";
import { DetectedFields, detectLabels, typeOf } from "../../src/api/detect.ts";
import { Slices } from "../../src/core/slices.ts";

/*
 * Fields of single lines. What clients ask is in endpoints.test.ts.
 */

const LONG = 250_000;
const slices = new Slices();
const fieldsOf = async (line: string, stream: Record<string, string> = {}): Promise<Record<string, string>> => {
  const found = new DetectedFields({ parsers: [], limit: 1000, only: null });
  await found.add({ stream, structuredMetadata: {}, parsed: {}, line }, slices);
  return Object.fromEntries(found.list().map(({ label }) => [label, found.valuesOf(label, 1000)[0]]));
};

describe("of fields without end", () => {
  const line = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => `k${from + i}=${from + i}`).join(" ");
  const entry = { stream: {}, structuredMetadata: {}, parsed: {} };

  test("the first are told, as many as are asked for", async () => {
    const found = new DetectedFields({ parsers: [], limit: 3, only: null });
    await found.add({ ...entry, line: line(0, 100) }, slices);
    await found.add({ ...entry, line: "k1=x new=1" }, slices);
    expect(found.list().map(({ label, cardinality }) => [label, cardinality])).toEqual([
      ["k0", 1],
      ["k1", 2],
      ["k2", 1],
    ]);
  });

  test("no more than ten thousand are told apart, whatever is asked for", async () => {
    const found = new DetectedFields({ parsers: [], limit: 1_000_000_000, only: null });
    for (let from = 0; from < 12_000; from += 1000) await found.add({ ...entry, line: line(from, 1000) }, slices);
    expect(found.list()).toHaveLength(10_000);
  });

  test("one that is asked for is found behind all others", async () => {
    const found = new DetectedFields({ parsers: [], limit: 2, only: "k999" });
    await found.add({ ...entry, line: line(0, 1000) }, slices);
    expect(found.valuesOf("k999", 2)).toEqual(["999"]);
    expect(found.list()).toHaveLength(1);
  });

  test.each([
    { name: "logfmt", text: Array.from({ length: 5120 }, (_, i) => `k${i}=1`).join(" ") },
    { name: "JSON", text: JSON.stringify(Object.fromEntries(Array.from({ length: 5120 }, (_, i) => [`k${i}`, 1]))) },
  ])("others have turns within a line of $name, and within a list of streams", async ({ text }) => {
    // Each look at the clock finds a slice over.
    let ms = 0;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => (ms += 10));
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    try {
      const found = new DetectedFields({ parsers: [], limit: 10, only: null });
      await found.add({ ...entry, line: text }, new Slices());
      expect(turns).toBeGreaterThanOrEqual(19);
      turns = 0;
      await detectLabels(Array.from({ length: 5120 }, (_, i) => ({ pod: `${i}` })));
      expect(turns).toBeGreaterThanOrEqual(19);
    } finally {
      isOver = true;
      clock.mockRestore();
    }
  });

  test("half a million of values are kept, and types go on", async () => {
    const found = new DetectedFields({ parsers: [], limit: 10, only: null });
    for (let from = 0; from < 600_000; from += 20_000) {
      await found.add({ ...entry, line: Array.from({ length: 20_000 }, (_, i) => `k=${from + i}`).join(" ") }, slices);
    }
    await found.add({ ...entry, line: "k=word" }, slices);
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
  ])("$line", async ({ line, gives }) => {
    expect(await fieldsOf(line)).toEqual(gives);
  });

  // Each of these took minutes when every place of a word was tried as the beginning of a key.
  test.each([
    { name: "one word", line: "a".repeat(LONG), gives: {} },
    { name: "one word and a pair", line: `${"a".repeat(LONG)} k=v`, gives: { k: "v" } },
    { name: "an open quote", line: `k="${"a".repeat(LONG)}`, gives: {} },
    { name: "escapes", line: `k="${"\\".repeat(LONG)}`, gives: {} },
    { name: "signs", line: "=".repeat(LONG), gives: {} },
  ])("of $name as long as a line may be", async ({ line, gives }) => {
    expect(await fieldsOf(line)).toEqual(gives);
  });
});

test.each([`${"1".repeat(LONG)}x`, `${"1".repeat(LONG)}_x`, `1.${"1".repeat(LONG)}x`, `.${"1".repeat(LONG)}e`])(
  "a long text that begins as a number is none, and that is soon known",
  (text) => {
    expect(typeOf(text)).toBe("string");
  },
);
