import { expect, test } from "vitest";
import { sortRows } from "../../src/store/sort-rows.ts";
import { Random, SEED } from "../random.ts";

/** Times by kind of disorder: none, within a few lines, a few runs, backwards, anything, all the same. */
function timesOf(random: Random, kind: number, rows: number): number[] {
  const times: number[] = [];
  let runTime = 0;
  for (let row = 0; row < rows; row++) {
    if (row % 37 === 0) runTime = random.below(50);
    times.push([row, row - random.below(5), runTime++, -row, random.below(20), 7][kind]);
  }
  return times;
}

test("rows come in order of time, and rows of one time in the order in which they were", () => {
  const random = new Random(SEED);
  for (let round = 0; round < 3000; round++) {
    const rows = random.below(random.pick([2, 5, 300]));
    const times = timesOf(random, round % 6, rows);
    const sec = Float64Array.from(times, (time) => Math.floor(time / 4));
    const nsec = Uint32Array.from(times, (time) => ((time % 4) + 4) % 4);
    const want = [...times.keys()].sort((a, b) => times[a] - times[b] || a - b);
    expect([...sortRows(sec, nsec, rows)], `seed ${SEED} round ${round}`).toEqual(want);
  }
});
