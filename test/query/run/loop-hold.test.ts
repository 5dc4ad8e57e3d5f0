import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { LoopHold } from "./loop-hold.ts";

function work(ms: number): void {
  // By the process' own CPU time, so that it is that much work however busy the machine is.
  const before = process.cpuUsage();
  for (let used = 0; used < ms * 1000; ) {
    const { user, system } = process.cpuUsage(before);
    used = user + system;
  }
}

test("work without a turn for others is seen", async () => {
  const hold = new LoopHold();
  await sleep(5);
  work(60);
  await sleep(5);
  // Other threads of the process may have had a part of the work's time.
  expect(hold.stop()).toBeGreaterThan(20);
});

test("waiting is no work", async () => {
  const holds: number[] = [];
  // Once in a while the collector has work just then.
  for (let round = 0; round < 10 && !(Math.min(...holds) < 60); round++) {
    const hold = new LoopHold();
    await sleep(100);
    holds.push(hold.stop());
  }
  expect(Math.min(...holds)).toBeLessThan(60);
});
