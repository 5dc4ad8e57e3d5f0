import { describe, expect, test } from "vitest";
import type { Logger } from "../../src/core/log.ts";
import { LogBudget } from "../../src/core/log-budget.ts";

describe("LogBudget", () => {
  function budget() {
    const said: object[] = [];
    const clock = { ms: 1000 };
    const log = { warn: (fields: object, message: string) => said.push({ ...fields, message }) } as unknown as Logger;
    return { said, clock, budget: new LogBudget(log, () => clock.ms) };
  }

  test("writes twenty at once, then one in ten seconds, which says how many were left out", () => {
    const { said, clock, budget: lines } = budget();
    for (let i = 0; i < 1000; i++) lines.warn("a", { i }, "no");
    expect(said).toEqual(Array.from({ length: 20 }, (_, i) => ({ i, message: "no" })));
    clock.ms += 9_999;
    lines.warn("a", { i: 1000 }, "no");
    expect(said).toHaveLength(20);
    clock.ms += 1;
    lines.warn("a", { i: 1001 }, "no");
    lines.warn("a", { i: 1002 }, "no");
    expect(said.slice(20)).toEqual([{ i: 1001, left_out: 981, message: "no" }]);
  });

  test("writes all that come seldom, and twenty at once again after a while", () => {
    const { said, clock, budget: lines } = budget();
    for (let i = 0; i < 100; i++) {
      clock.ms += 10_000;
      lines.warn("a", { i }, "no");
    }
    expect(said).toHaveLength(100);
    for (let i = 0; i < 30; i++) lines.warn("a", {}, "no");
    clock.ms += 1_000_000;
    said.length = 0;
    for (let i = 0; i < 30; i++) lines.warn("a", {}, "no");
    expect(said).toHaveLength(20);
    expect(said[0]).toMatchObject({ left_out: expect.any(Number) });
    expect(said[1]).not.toHaveProperty("left_out");
  });

  test("keeps kinds apart", () => {
    const { said, budget: lines } = budget();
    for (let i = 0; i < 30; i++) lines.warn("a", {}, "a");
    lines.warn("b", {}, "b");
    expect(said.at(-1)).toEqual({ message: "b" });
  });
});
