import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LiteralSearch } from "../../../src/query/hits.ts";

/** Lines as a block has them: text with an LF after each, and where each begins. */
function blockOf(lines: readonly string[]): { text: Buffer; starts: Uint32Array } {
  const starts = new Uint32Array(lines.length + 1);
  const parts = lines.map((line, i) => {
    const bytes = Buffer.from(`${line}\n`);
    starts[i + 1] = starts[i] + bytes.length;
    return bytes;
  });
  return { text: Buffer.concat(parts), starts };
}

function rowsOf(lines: readonly string[], groups: readonly string[][], from = 0, to = lines.length): number[] {
  const { text, starts } = blockOf(lines);
  const rows: number[] = [];
  const search = new LiteralSearch(groups.map((group) => group.map((literal) => Buffer.from(literal))));
  expect(search.isUseful).toBe(true);
  search.eachRow(
    text.subarray(0, starts[to]),
    () => starts,
    from,
    to,
    (row) => rows.push(row) > 0,
  );
  return rows;
}

describe("LiteralSearch", () => {
  const LINES = ["get cart", "put cart ok", "", "panic: x", "get panic", "get cart cart"];
  test.each([
    { name: "one literal", groups: [["cart"]], rows: [0, 1, 5] },
    { name: "one that is nowhere", groups: [["zz"]], rows: [] },
    { name: "alternatives", groups: [["ok", "panic"]], rows: [1, 3, 4] },
    { name: "several groups", groups: [["get"], ["panic", "cart"]], rows: [0, 4, 5] },
    { name: "one alternative inside another", groups: [["panic: x", "panic"]], rows: [3, 4] },
    { name: "a literal that ends with the line", groups: [["ok"]], rows: [1] },
    { name: "no hit over a line's end", groups: [["ok\npanic"]], rows: [] },
    {
      name: "an alternative that runs over the line's end beside one that does not",
      groups: [["x\nget", "x"]],
      rows: [3],
    },
    { name: "part of the rows", groups: [["cart"]], from: 1, to: 5, rows: [1] },
  ])("finds $name", ({ groups, rows, from, to }) => {
    expect(rowsOf(LINES, groups, from, to)).toEqual(rows);
  });

  test("finds literals in lines that hold newlines", () => {
    expect(rowsOf(["a\nb c", "b\nc", "b"], [["a\nb", "b\nc"]])).toEqual([0, 1]);
    expect(rowsOf(["a\n", "\na", "b"], [["\n"]])).toEqual([0, 1]);
  });

  test("ends when the visitor has enough", () => {
    const { text, starts } = blockOf(LINES);
    const rows: number[] = [];
    new LiteralSearch([[Buffer.from("cart")]]).eachRow(
      text,
      () => starts,
      0,
      LINES.length,
      (row) => rows.push(row) < 2,
    );
    expect(rows).toEqual([0, 1]);
  });

  test("says nothing with an empty literal alone", () => {
    expect(new LiteralSearch([[Buffer.from("a"), Buffer.from("")]]).isUseful).toBe(false);
  });

  test("gives what looking at each line gives", () => {
    const word = fc.string({ unit: fc.constantFrom("a", "b", "c", "\n"), minLength: 1, maxLength: 4 });
    const line = fc.string({ unit: fc.constantFrom("a", "b", "c", "\n", "ü"), maxLength: 12 });
    fc.assert(
      fc.property(
        fc.array(line, { minLength: 1, maxLength: 20 }),
        fc.array(fc.array(word, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 }),
        fc.nat(),
        fc.nat(),
        (lines, groups, a, b) => {
          const from = a % lines.length;
          const to = from + 1 + (b % (lines.length - from));
          const wanted = lines
            .map((_, row) => row)
            .filter((row) => row >= from && row < to)
            .filter((row) => groups.every((group) => group.some((literal) => lines[row].includes(literal))));
          expect(rowsOf(lines, groups, from, to)).toEqual(wanted);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
