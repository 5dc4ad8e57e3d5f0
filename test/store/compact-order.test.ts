import { expect, test } from "vitest";
import { MemoryStore } from "../../src/objects/memory.ts";
import { type PlanOptions, planJobs } from "../../src/store/compact/plan.ts";
import type { SegmentInfo } from "../../src/store/view.ts";
import { Random, SEED } from "../random.ts";
import { mergeIn, putFlush, rowsIn } from "./compact-support.ts";
import { inOrder, type TestLine, testLine } from "./support.ts";

const OPTIONS: PlanOptions = {
  fanIn: 3,
  fanInAbove: 2,
  jobBytes: 20_000,
  segmentBytes: 4096,
  blockBytes: 4096,
  indexMemoryBytes: 1 << 20,
};
const MIDNIGHT_SEC = 1_700_006_400;
/** Where each line's number among those of its partition stands. */
const NUMBER = /^(\d+)\/(\d+) /;

/** Lines of a flush: few different seconds, so that many are equal, some of another day, some long ago. */
function linesOf(random: Random, partition: number, numbers: number[], flush: number): TestLine[] {
  return Array.from({ length: 1 + random.below(30) }, () => {
    const late = random.chance(0.05) ? 86_400 * random.below(20) : 0;
    const sec = MIDNIGHT_SEC - 20 + flush * 2 + random.below(4) - late;
    const text = `${partition}/${numbers[partition]++} ${"x".repeat(random.below(60))}`;
    return testLine(text, { sec, labels: { app: `app-${random.below(3)}` } });
  });
}

/** A line that comes after a later one of its partition, stream and time; null when all is in order. */
async function disorder(objects: MemoryStore, segments: readonly SegmentInfo[], count: number): Promise<string | null> {
  const last = new Map<string, number>();
  const rows = inOrder(await rowsIn(objects, segments));
  if (rows.length !== count) return `${rows.length} lines of ${count}`;
  for (const { stream, time, line } of rows) {
    const [, partition, number] = NUMBER.exec(line) ?? [];
    const key = `${stream} ${time} ${partition}`;
    if ((last.get(key) ?? -1) >= Number(number)) return `${line.slice(0, 12)} after ${last.get(key)} in ${key}`;
    last.set(key, Number(number));
  }
  return null;
}

test("lines of one partition, stream and time stay in order of arrival, whatever is merged when", async () => {
  let merges = 0;
  let together = 0;
  for (let round = 0; round < 12; round++) {
    const random = new Random(SEED + round);
    const objects = new MemoryStore();
    const partitions = 1 + random.below(3);
    const numbers = [0, 0, 0];
    const offsets = [0, 0, 0];
    let segments: SegmentInfo[] = [];
    let count = 0;
    for (let flush = 0; flush < 24; flush++) {
      const partition = random.below(partitions);
      const lines = linesOf(random, partition, numbers, flush);
      count += lines.length;
      offsets[partition] += 10;
      segments.push(await putFlush(objects, lines, partition, offsets[partition], 512));
      if (random.chance(0.5)) continue;
      const settled = random.chance(0.3);
      const broken = random.chance(0.2) ? random.pick(segments).key : "";
      for (let steps = 0; steps < 20; steps++) {
        const jobs = planJobs(
          segments,
          OPTIONS,
          () => settled,
          ({ key }) => key === broken,
        );
        if (jobs.length === 0) break;
        // Some of them at a time, in any order, as several compactors do.
        const some = jobs.filter((_, i) => i === 0 || random.chance(0.6)).toSorted(() => (random.chance(0.5) ? 1 : -1));
        const planned = some.flatMap((job) => job.segments.map(({ key }) => key));
        expect(new Set(planned).size).toBe(planned.length);
        for (const job of some) {
          const { inputs, outputs } = await mergeIn(objects, job.segments, { segmentBytes: OPTIONS.segmentBytes });
          const gone = new Set(inputs.map(({ key }) => key));
          segments = [...segments.filter(({ key }) => !gone.has(key)), ...outputs];
          merges++;
          if (some.length > 1) together++;
        }
        const found = await disorder(objects, segments, count);
        expect(found, `round ${round}, flush ${flush}`).toBeNull();
      }
    }
  }
  expect(merges).toBeGreaterThan(50);
  expect(together).toBeGreaterThan(10);
});
