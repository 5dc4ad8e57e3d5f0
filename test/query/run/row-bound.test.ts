import fc from "fast-check";
import { expect, test } from "vitest";
import { RowBound } from "../../../src/query/row-bound.ts";

test("never gives up a block that holds one of the best lines, and stops where it can", () => {
  const block = fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 6 });
  let given = 0;
  let looked = 0;
  fc.assert(
    fc.property(
      fc.array(block, { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 20 }),
      fc.boolean(),
      fc.integer({ min: 0, max: 30 }),
      fc.integer({ min: 1, max: 60 }),
      (blocks, limit, backward, start, length) => {
        const startNs = BigInt(start);
        const endNs = BigInt(start + length);
        const spans = blocks.map((times) => ({
          times,
          timeMinNs: BigInt(Math.min(...times)),
          timeMaxNs: BigInt(Math.max(...times)),
          rows: times.length,
        }));
        spans.sort((a, b) => Number(backward ? b.timeMaxNs - a.timeMaxNs : a.timeMinNs - b.timeMinNs));
        const bound = new RowBound({ limit, backward, startNs, endNs });
        const seen: number[] = [];
        for (const span of spans) {
          looked++;
          if (!bound.canHelp(span)) break;
          bound.add(span);
          given++;
          seen.push(...span.times);
        }
        const best = (times: number[]) =>
          times
            .filter((time) => time >= start && time < start + length)
            .sort((a, b) => (backward ? b - a : a - b))
            .slice(0, limit);
        expect(best(seen)).toEqual(best(blocks.flat()));
      },
    ),
    { numRuns: 2000 },
  );
  expect(given).toBeLessThan(looked);
});
