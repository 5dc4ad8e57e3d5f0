import { describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { splitNs } from "../../../src/core/time.ts";
import { type EvalTimes, pointCount, Windows } from "../../../src/query/metric/windows.ts";
import { SEED } from "../../random.ts";

/** The intervals of window `point`. */
function inWindow(windows: Windows, point: number): Set<number> {
  const from = windows.from(point);
  return new Set(Array.from({ length: windows.length }, (_, i) => from + i));
}

describe("windows", () => {
  test.each<{ name: string; step: bigint; points: number; range: number; intervals: number; length: number }>([
    { name: "a range of one step", step: 4n, points: 5, range: 4, intervals: 5, length: 1 },
    { name: "a range of several steps", step: 4n, points: 5, range: 8, intervals: 6, length: 2 },
    { name: "a range of a step and a half", step: 4n, points: 5, range: 6, intervals: 11, length: 3 },
    { name: "gaps between windows", step: 4n, points: 5, range: 3, intervals: 9, length: 1 },
    { name: "one point", step: 1n, points: 1, range: 1000, intervals: 1, length: 1 },
    { name: "windows that all share a part", step: 2n, points: 3, range: 9, intervals: 5, length: 3 },
    { name: "an empty range", step: 4n, points: 5, range: 0, intervals: 0, length: 0 },
  ])("with $name", ({ step, points, range, intervals, length }) => {
    const windows = new Windows({ startNs: 100n, endNs: 100n + step * BigInt(points - 1), stepNs: step }, range, 0);
    expect(windows.intervals).toBe(intervals);
    if (intervals > 0) expect(windows.length).toBe(length);
  });

  test("hold a time in just those windows that the definition says", () => {
    const random = new Random(SEED);
    for (let round = 0; round < 300; round++) {
      const base = random.below(2) === 0 ? 0n : 1_700_000_000_999_999_990n;
      const stepNs = BigInt(1 + random.below(12));
      const startNs = base + BigInt(random.below(40));
      const times: EvalTimes = { startNs, endNs: startNs + BigInt(random.below(60)), stepNs };
      const range = random.below(40);
      const offset = random.below(20) - 10;
      const windows = new Windows(times, range, offset);
      const points = pointCount(times);
      for (let k = 0; k < 60; k++) {
        // Not in order, as in an open block.
        const ns = base + BigInt(random.below(140) - 20);
        const { sec, nsec } = splitNs(ns);
        const about = `seed ${SEED}, round ${round}: ${ns} of ${startNs}..${times.endNs} by ${stepNs}, [${range}] offset ${offset}`;
        const interval = windows.find(sec, nsec);
        const isIn = Array.from({ length: points }, (_, point) => {
          const t = startNs + BigInt(point) * stepNs - BigInt(offset);
          return ns > t - BigInt(range) && ns <= t;
        });
        const found = isIn.map((_, point) => interval !== -1 && inWindow(windows, point).has(interval));
        expect(found, about).toEqual(isIn);
        if (interval === -1) continue;
        expect(windows.firstNs <= ns && ns <= windows.lastNs, about).toBe(true);
        // All up to there lie in the same interval, and the next one does not.
        const ahead = BigInt(windows.ahead(sec, nsec));
        expect(windows.single(ns, ns + ahead), about).toBe(interval);
        expect(windows.single(ns, ns + ahead + 1n), about).toBe(-1);
      }
    }
  });

  test("longer than a double counts nanoseconds end at the very nanosecond", () => {
    const day = 86_400_000_000_000n;
    const startNs = 1_700_000_000n * 1_000_000_000n;
    for (const days of [104n, 105n, 365n, 3650n]) {
      for (const times of [
        { startNs, endNs: startNs, stepNs: 1n },
        { startNs, endNs: startNs + 2n * days * day, stepNs: days * day },
        { startNs, endNs: startNs + 3n * day, stepNs: day },
        { startNs, endNs: startNs + 2n * (days + 7n) * day, stepNs: (days + 7n) * day },
      ]) {
        const range = days * day;
        const windows = new Windows(times, Number(range), 0);
        const edges = Array.from({ length: pointCount(times) }, (_, point) => windows.bounds(point)).flatMap(
          ({ beginNs, endNs }) => [beginNs, endNs],
        );
        // From the middle of a window to its edges, so that what is remembered of the middle is put to the test.
        for (const edge of edges) {
          for (const before of [edge - range / 2n, edge + range / 2n, edge - 1n, edge + 1n]) {
            for (const ns of [edge - 1n, edge, edge + 1n, edge + 2n]) {
              const asked = splitNs(before);
              windows.find(asked.sec, asked.nsec);
              const { sec, nsec } = splitNs(ns);
              const interval = windows.find(sec, nsec);
              for (let point = 0; point < pointCount(times); point++) {
                const { beginNs, endNs } = windows.bounds(point);
                expect(
                  interval !== -1 && inWindow(windows, point).has(interval),
                  `${days} days, ${before}, ${ns}`,
                ).toBe(ns > beginNs && ns <= endNs);
              }
              if (interval !== -1) expect(windows.single(ns, ns + BigInt(windows.ahead(sec, nsec)))).toBe(interval);
            }
          }
        }
      }
    }
  });

  test("overlap a span when one of its times is in a window", () => {
    const random = new Random(SEED + 1);
    for (let round = 0; round < 500; round++) {
      const stepNs = BigInt(1 + random.below(10));
      const startNs = BigInt(random.below(30));
      const windows = new Windows({ startNs, endNs: startNs + BigInt(random.below(40)), stepNs }, random.below(12), 0);
      const min = BigInt(random.below(90) - 20);
      const max = min + BigInt(random.below(8));
      let any = false;
      for (let ns = min; ns <= max; ns++) {
        const { sec, nsec } = splitNs(ns);
        any ||= windows.find(sec, nsec) !== -1;
      }
      expect(windows.overlaps(min, max), `seed ${SEED}, round ${round}`).toBe(any);
    }
  });
});
