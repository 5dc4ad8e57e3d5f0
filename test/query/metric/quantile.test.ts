import { describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { quantile } from "../../../src/query/metric/quantile.ts";
import { selectRank } from "../../../src/query/metric/select.ts";
import { SEED } from "../../random.ts";

/** Values in orders that selections by parts find easy and hard. */
function shapes(random: Random, size: number): [name: string, values: number[]][] {
  const ascending = Array.from({ length: size }, (_, i) => i);
  return [
    ["random", ascending.map(() => random.below(1e9) / 7)],
    ["few different", ascending.map(() => random.below(3))],
    ["ascending", ascending],
    ["descending", [...ascending].reverse()],
    ["all equal", ascending.map(() => 5)],
    ["a pipe organ", ascending.map((i) => Math.min(i, size - i))],
    ["infinities", ascending.map((i) => [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, i][random.below(3)])],
  ];
}

describe("a rank", () => {
  const random = new Random(SEED);
  test.each([1, 2, 3, 10, 1000, 5000])("of %i values is where sorting has it", (size) => {
    for (const [name, values] of shapes(random, size)) {
      const sorted = Float64Array.from(values).sort();
      for (const rank of [0, size - 1, size >> 1, random.below(size), random.below(size)]) {
        const moved = Float64Array.from(values);
        selectRank(moved, rank);
        expect([name, rank, moved[rank]]).toEqual([name, rank, sorted[rank]]);
        expect(moved.subarray(0, rank).every((value) => value <= moved[rank])).toBe(true);
        expect(moved.subarray(rank).every((value) => value >= moved[rank])).toBe(true);
        expect(moved.sort()).toEqual(sorted);
      }
    }
  });

  test("of values that are made against the choice of the middle takes no more than a sort", () => {
    // Musser's permutation: the median of three is the second lowest, again and again.
    const size = 200_000;
    const half = size / 2;
    const values = Float64Array.from({ length: size }, (_, i) => {
      const place = i + 1;
      if (place > half) return (place - half) * 2;
      return place % 2 === 1 ? place : half + place - 1;
    });
    const sorted = values.slice().sort();
    selectRank(values, half);
    expect(values[half]).toBe(sorted[half]);
  });
});

describe("a quantile", () => {
  test.each<[q: number, values: number[], want: number]>([
    [0.5, [3, 1, 2], 2],
    [0.5, [4, 1, 2, 3], 2.5],
    [0, [3, 1, 2], 1],
    [1, [3, 1, 2], 3],
    [0.25, [1], 1],
    [-1, [1], Number.NEGATIVE_INFINITY],
    [2, [1], Number.POSITIVE_INFINITY],
    [Number.NaN, [1], Number.NaN],
    // NaN is below everything else.
    [1, [Number.NaN, 1], 1],
    [0, [1, Number.NaN], Number.NaN],
    [0.75, [5, Number.NaN, 1, Number.NaN, 3], 3],
    [0.5, [Number.NaN, Number.NaN], Number.NaN],
  ])("%d of %j is %d", (q, values, want) => {
    expect(quantile(q, Float64Array.from(values))).toBe(want);
  });
});
