import { describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { Slices } from "../../../src/core/slices.ts";
import { inParts, radixOrder } from "../../../src/query/metric/radix.ts";
import { SEED } from "../../random.ts";

/** Counts how often others could have had a turn. */
class CountedTurns extends Slices {
  turns = 0;

  override turn(): Promise<void> {
    this.turns++;
    return super.turn();
  }
}

describe("an order by keys", () => {
  test.each([
    { name: "nothing", keys: [], count: 0, order: [] },
    { name: "one", keys: [7], count: 1, order: [0] },
    { name: "equal keys as they came", keys: [2, 1, 2, 1], count: 4, order: [1, 3, 0, 2] },
    { name: "keys of more than 16 bits", keys: [65_536, 65_535, 4_294_967_295, 0], count: 4, order: [3, 1, 0, 2] },
    { name: "only the first so many", keys: [3, 2, 1], count: 2, order: [1, 0] },
  ])("$name", async ({ keys, count, order }) => {
    expect([...(await radixOrder(Uint32Array.from(keys), count, new Slices()))]).toEqual(order);
  });

  test("is that of a stable sort, and others have their turns meanwhile", async () => {
    const random = new Random(SEED);
    for (const most of [3, 70_000, 2 ** 32]) {
      const keys = Uint32Array.from({ length: 300_000 }, () => random.below(most));
      const slices = new CountedTurns();
      const got = await radixOrder(keys, keys.length, slices);
      const wanted = Uint32Array.from(keys, (_, i) => i).sort((a, b) => keys[a] - keys[b] || a - b);
      expect(Buffer.from(got.buffer).equals(Buffer.from(wanted.buffer)), `WEIR_TEST_SEED=${SEED}, ${most}`).toBe(true);
      expect(slices.turns).toBeGreaterThan(10);
    }
  });

  test("work in parts meets each item once, in order", async () => {
    for (const count of [0, 1, 65_535, 65_536, 65_537, 200_000]) {
      let next = 0;
      await inParts(count, new Slices(), (from, to) => {
        expect(from).toBe(next);
        expect(to).toBeGreaterThan(from);
        next = to;
      });
      expect(next).toBe(count);
    }
  });
});
