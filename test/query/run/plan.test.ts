import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Labels } from "../../../src/core/labels.ts";
import { BlockPlan, noPlanCounts, type PlannedBlock, type PlanRequest } from "../../../src/query/plan.ts";
import { viewOf } from "../../../src/store/catalog-view.ts";
import type { BlockInfo, SegmentIndex, SegmentInfo } from "../../../src/store/view.ts";

interface Made {
  readonly info: SegmentInfo;
  readonly index: SegmentIndex;
}

const LABELS = [{ app: "a" }, { app: "b" }];

/** A segment of blocks at these times (in ns), of stream `times[i].stream`. */
function segment(
  place: { partition: number; firstOffset: number },
  times: readonly { min: number; max: number; stream: number }[],
): Made {
  const blocks: BlockInfo[] = times.map(({ min, max, stream }, i) => ({
    stream,
    offset: i * 100,
    length: 100,
    rows: 10,
    textBytes: 1000,
    metadataBytes: 0,
    timeMinNs: BigInt(min),
    timeMaxNs: BigInt(max),
  }));
  const mins = times.map(({ min }) => min);
  const maxs = times.map(({ max }) => max);
  return {
    info: {
      key: `segments/${place.partition}/${place.firstOffset}.gz`,
      bytes: 1000,
      tenant: "fake",
      ...place,
      nextOffset: place.firstOffset + 1,
      timeMinNs: BigInt(Math.min(...mins)),
      timeMaxNs: BigInt(Math.max(...maxs)),
      lines: 10 * blocks.length,
      textBytes: 1000 * blocks.length,
      streams: 2,
      level: 0,
      labelFilter: null,
    },
    index: {
      streams: LABELS.map((labels) => ({ labels, canonical: JSON.stringify(labels) })),
      blocks,
      mayHoldId: (block) => block % 2 === 0,
    },
  };
}

function planOf(segments: readonly Made[], more: Partial<PlanRequest> = {}) {
  const opened: string[] = [];
  const lost: string[] = [];
  const request: PlanRequest = {
    tenant: "fake",
    startNs: -1_000_000n,
    endNs: 1_000_000n,
    backward: true,
    wantsStream: () => true,
    ...more,
  };
  const plan = new BlockPlan({ segments: viewOf(segments.map(({ info }) => info)), pending: [], open: [] }, request, {
    index: async ({ key }) => {
      opened.push(key);
      const made = segments.find(({ info }) => info.key === key);
      if (made === undefined || key.endsWith("/999.gz")) throw new Error("no index");
      return made.index;
    },
    counts: noPlanCounts(),
    onLost: ({ key }) => lost.push(key),
    onLostPart: ({ key }) => lost.push(key),
  });
  return { plan, opened, lost };
}

async function all(plan: BlockPlan): Promise<PlannedBlock[]> {
  const blocks: PlannedBlock[] = [];
  for (let block = await plan.next(); block !== null; block = await plan.next()) blocks.push(block);
  return blocks;
}

const times = fc
  .record({ min: fc.integer({ min: -50, max: 50 }), length: fc.nat(30), stream: fc.nat(1) })
  .map(({ min, length, stream }) => ({ min, max: min + length, stream }));
const segments = fc
  .array(fc.array(times, { minLength: 1, maxLength: 8 }), { maxLength: 12 })
  .map((lists) => lists.map((list, i) => segment({ partition: i % 2, firstOffset: i }, list)));

describe("a plan", () => {
  test("gives each wanted block once, those that reach furthest in the query's direction first", async () => {
    await fc.assert(
      fc.asyncProperty(
        segments,
        fc.boolean(),
        fc.integer({ min: -60, max: 60 }),
        fc.nat(60),
        async (made, backward, start, length) => {
          const startNs = BigInt(start);
          const endNs = startNs + BigInt(length);
          const wantsStream = (_canonical: string, { app }: Labels) => app === "a";
          const { plan } = planOf(made, { backward, startNs, endNs, wantsStream });
          const blocks = await all(plan);
          const wanted = made.flatMap(({ index }) =>
            index.blocks.filter((b) => b.stream === 0 && b.timeMaxNs >= startNs && b.timeMinNs < endNs),
          );
          expect(blocks.length).toBe(wanted.length);
          expect(new Set(blocks.map(({ order }) => order)).size).toBe(blocks.length);
          for (let i = 1; i < blocks.length; i++) {
            const [before, after] = backward ? [blocks[i], blocks[i - 1]] : [blocks[i - 1], blocks[i]];
            const [x, y] = backward ? [before.timeMaxNs, after.timeMaxNs] : [before.timeMinNs, after.timeMinNs];
            expect(x < y || (x === y && before.order < after.order)).toBe(true);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test("opens no more segments than it has to", async () => {
    const made = Array.from({ length: 100 }, (_, i) =>
      segment({ partition: 0, firstOffset: i }, [{ min: i * 100, max: i * 100 + 99, stream: 0 }]),
    );
    const backward = planOf(made);
    expect((await backward.plan.next())?.timeMaxNs).toBe(9999n);
    expect(backward.opened).toEqual(["segments/0/99.gz"]);
    const forward = planOf(made, { backward: false });
    expect((await forward.plan.next())?.timeMinNs).toBe(0n);
    expect(forward.opened).toEqual(["segments/0/0.gz"]);
  });

  test("orders blocks of equal times by arrival: partition, offset, place", async () => {
    const same = { min: 5, max: 5, stream: 0 };
    const made = [
      segment({ partition: 1, firstOffset: 0 }, [same]),
      segment({ partition: 0, firstOffset: 7 }, [same, same]),
      segment({ partition: 0, firstOffset: 3 }, [same]),
    ];
    const places = (blocks: PlannedBlock[]) =>
      blocks.map(({ segment: info, offset }) => `${info?.partition}/${info?.firstOffset}/${offset}`);
    const forward = ["0/3/0", "0/7/0", "0/7/100", "1/0/0"];
    expect(places(await all(planOf(made, { backward: false }).plan))).toEqual(forward);
    expect(places(await all(planOf(made).plan))).toEqual([...forward].reverse());
  });

  test("leaves out what the filter over ids excludes, other tenants, and segments that can't be opened", async () => {
    const block = { min: 1, max: 2, stream: 0 };
    const made = [
      segment({ partition: 0, firstOffset: 1 }, [block, block, block]),
      segment({ partition: 0, firstOffset: 999 }, [block]),
    ];
    const { plan, lost } = planOf(made, { wantsBlock: (mayHoldId) => mayHoldId(0, new Uint8Array(8)) });
    expect((await all(plan)).map(({ offset }) => offset).sort()).toEqual([0, 200]);
    expect(lost).toEqual(["segments/0/999.gz"]);
    expect(await all(planOf(made, { tenant: "other" }).plan)).toEqual([]);
  });
});
