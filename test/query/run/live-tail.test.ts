import { expect, test } from "vitest";
import { DEFAULT_TENANT } from "../../../src/core/labels.ts";
import { Line } from "../../../src/core/line.ts";
import { LiveTail } from "../../../src/query/live-tail.ts";

test("a tail's queue is bounded by what lines take in memory, though they be empty", () => {
  const queueBytes = 100_000;
  const live = new LiveTail({ tenant: DEFAULT_TENANT, query: '{app="a"}', categorize: false, queueBytes });
  const stream = { tenant: DEFAULT_TENANT, labels: { app: "a" }, canonical: '{"app":"a"}' };
  const line = new Line();
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 10_000; i++) {
      line.clear();
      line.sec = i;
      live.tap(stream, line);
    }
    const { entries, dropped } = live.take(0);
    expect(entries.length).toBeGreaterThan(0);
    expect(entries.length).toBeLessThan(queueBytes / 200);
    expect(dropped.length).toBe(100);
  }
});
