import { describe, expect, test } from "vitest";
import { Pieces } from "../../src/api/json.ts";

function all(texts: Iterable<string>): string[] {
  const pieces = new Pieces(texts);
  const out: string[] = [];
  while (!pieces.isDone) out.push(pieces.next());
  return out;
}

describe("an answer in pieces", () => {
  test.each([0, 1, 15, 16, 17, 1000])("of %i small texts is one", (count) => {
    const texts = Array.from({ length: count }, (_, i) => `${i},`);
    expect(all(texts)).toEqual([texts.join("")]);
  });

  test("of large texts has as many as it needs, and loses nothing", () => {
    const texts = Array.from({ length: 50 }, (_, i) => String(i % 10).repeat(10_000));
    const pieces = all(texts);
    expect(pieces.join("")).toBe(texts.join(""));
    expect(pieces.length).toBe(8); // Seven texts fill one, and the fiftieth is by itself.
    expect(Math.max(...pieces.map(({ length }) => length))).toBe(70_000);
  });

  test("one text may be larger than a piece", () => {
    const texts = ["a", "b".repeat(300_000), "c"];
    expect(all(texts).map(({ length }) => length)).toEqual([300_001, 1]);
  });

  test("that are long in the making are small ones", () => {
    function* slow(): Generator<string> {
      for (let i = 0; i < 64; i++) {
        if (i % 16 === 0) for (const until = performance.now() + 10; performance.now() < until; );
        yield "x";
      }
    }
    const pieces = all(slow());
    expect(pieces.join("")).toBe("x".repeat(64));
    expect(pieces.length).toBeGreaterThanOrEqual(4);
  });
});
