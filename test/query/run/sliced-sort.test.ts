import { expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { Slices } from "../../../src/core/slices.ts";
import { sortedInSlices } from "../../../src/query/sliced-sort.ts";
import { SEED } from "../../random.ts";

/** Counts how often others could have had a turn. */
class CountedTurns extends Slices {
  turns = 0;

  override turn(): Promise<void> {
    this.turns++;
    return super.turn();
  }
}

test.each([0, 1, 2, 511, 512, 513, 1024, 1025, 1536, 5000])(
  "%i items are in the order of a stable sort, and others have their turns meanwhile",
  async (count) => {
    const random = new Random(SEED + count);
    for (const most of [1, 10, 1_000_000]) {
      const items = Array.from({ length: count }, (_, place) => ({ key: random.below(most), place }));
      const given = [...items];
      const slices = new CountedTurns();
      const sorted = await sortedInSlices(items, (a, b) => a.key - b.key, slices);
      const wanted = [...given].sort((a, b) => a.key - b.key || a.place - b.place);
      expect(sorted, `WEIR_TEST_SEED=${SEED}`).toEqual(wanted);
      expect(items).toEqual(given);
      expect(slices.turns).toBeGreaterThanOrEqual(Math.floor(count / 512));
    }
  },
);
