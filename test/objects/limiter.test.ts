import { expect, test } from "vitest";
import { Limiter } from "../../src/objects/limiter.ts";

test("no more than so many run at one time, in order, whatever becomes of them", async () => {
  const limiter = new Limiter(2);
  const started: number[] = [];
  const ends: (() => void)[] = [];
  const work = (i: number) =>
    limiter.run(async () => {
      started.push(i);
      await new Promise<void>((resolve) => ends.push(resolve));
      if (i % 2 === 0) throw new Error(`${i} fails`);
    });
  const all = Promise.allSettled([0, 1, 2, 3, 4].map(work));
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  await turn();
  expect(started).toEqual([0, 1]);
  for (let ended = 0; ended < 5; ended++) {
    ends[ended]();
    await turn();
    expect(started).toEqual([0, 1, 2, 3, 4].slice(0, Math.min(5, ended + 3)));
  }
  expect((await all).map(({ status }) => status)).toEqual([
    "rejected",
    "fulfilled",
    "rejected",
    "fulfilled",
    "rejected",
  ]);
});
