import { describe, expect, test } from "vitest";
import { type PlanOptions, planJobs } from "../../src/store/compact/plan.ts";
import type { SegmentInfo } from "../../src/store/view.ts";

const MIB = 1024 * 1024;
const DAY_NS = 86_400_000_000_000n;
const OPTIONS: PlanOptions = {
  fanIn: 4,
  fanInAbove: 3,
  jobBytes: 1000 * MIB,
  segmentBytes: 64 * MIB,
  blockBytes: 256 * 1024,
  indexMemoryBytes: 64 * MIB,
};

interface Draft {
  readonly at: number;
  readonly level?: number;
  readonly mib?: number;
  readonly partition?: number;
  /** Days since 1970, or the first and the last. */
  readonly day?: number;
  /** Times within the day; by default each offset has its own. */
  readonly from?: number;
  readonly to?: number;
  readonly output?: number;
  readonly streams?: number;
}

function info({
  at,
  level = 0,
  mib = 10,
  partition = 0,
  day = 0,
  from = at,
  to = from,
  output = 0,
  streams = 10,
}: Draft) {
  const segment: SegmentInfo = {
    key: `segments/t/d/${partition}-${String(at).padStart(4, "0")}-${level}${output}.gz`,
    bytes: mib * MIB,
    tenant: "t",
    partition,
    firstOffset: at,
    nextOffset: at + 1,
    timeMinNs: BigInt(day) * DAY_NS + BigInt(from) * 1_000_000_000n,
    timeMaxNs: BigInt(day) * DAY_NS + BigInt(to) * 1_000_000_000n,
    lines: 1,
    textBytes: mib * 4 * MIB,
    streams,
    level,
    labelFilter: null,
  };
  return segment;
}

const fresh = (from: number, to: number, more: Partial<Draft> = {}) =>
  Array.from({ length: to - from }, (_, i) => info({ at: from + i, ...more }));

const chosen = (
  segments: readonly SegmentInfo[],
  { settled = [], options = {}, out = [] }: { settled?: number[]; options?: Partial<PlanOptions>; out?: number[] } = {},
) =>
  planJobs(
    [...segments].reverse(),
    { ...OPTIONS, ...options },
    (day) => settled.includes(day),
    ({ firstOffset }) => out.includes(firstOffset),
  )[0]?.segments.map(({ partition, firstOffset }) => (partition === 0 ? firstOffset : `${partition}/${firstOffset}`)) ??
  null;

describe("planning", () => {
  test.each([
    { name: "nothing of nothing", segments: [], want: null },
    { name: "waits for as many fresh segments as are merged at once", segments: fresh(0, 3), want: null },
    { name: "takes the oldest first", segments: fresh(0, 9), want: [0, 1, 2, 3] },
    {
      name: "fewer when they are large",
      segments: fresh(0, 3, { mib: 400 }),
      want: [0, 1],
    },
    { name: "fewer when their indexes are large", segments: fresh(0, 3, { streams: 100_000 }), want: [0, 1] },
    { name: "none whose index alone is too large", segments: fresh(0, 9, { streams: 1_000_000 }), want: null },
    {
      name: "fresh segments of several days together",
      segments: [...fresh(0, 2), ...fresh(2, 4, { day: 1 })],
      want: [0, 1, 2, 3],
    },
    {
      name: "no two partitions",
      segments: [...fresh(0, 3), ...fresh(0, 3, { partition: 1 })],
      want: null,
    },
    {
      name: "not across a segment of the same time that is left out",
      segments: fresh(0, 6, { from: 0, to: 100 }),
      out: [3],
      want: null,
    },
    { name: "across one of another time", segments: fresh(0, 6), out: [3], want: [0, 1, 2, 4] },
    {
      name: "a level by itself",
      segments: [...fresh(0, 3, { level: 1 }), ...fresh(3, 6)],
      want: [0, 1, 2],
    },
    {
      name: "a level only day by day",
      segments: [...fresh(0, 2, { level: 1 }), ...fresh(2, 4, { level: 1, day: 1 })],
      want: null,
    },
    {
      name: "all outputs of a compaction together",
      segments: [0, 1, 2].flatMap((at) => [0, 1].map((output) => info({ at, level: 1, output }))),
      want: [0, 0, 1, 1, 2, 2],
    },
    {
      name: "never what is done",
      segments: fresh(0, 9, { level: 2, mib: 600 }),
      settled: [0],
      want: null,
    },
    {
      name: "a settled day's rest, of all levels",
      segments: [...fresh(0, 2, { level: 1 }), ...fresh(2, 4)],
      settled: [0],
      want: [0, 1, 2, 3],
    },
    {
      name: "late lines not with the bulk of the day",
      segments: [info({ at: 0, level: 3, mib: 400 }), info({ at: 1 })],
      settled: [0],
      want: null,
    },
    {
      name: "late lines with each other",
      segments: [info({ at: 0, level: 3, mib: 400 }), info({ at: 1 }), info({ at: 2 })],
      settled: [0],
      want: [1, 2],
    },
    {
      name: "late lines with the bulk when they are many",
      segments: [info({ at: 0, level: 3, mib: 400 }), info({ at: 1, level: 2, mib: 250 })],
      settled: [0],
      want: [0, 1],
    },
    {
      name: "a small settled day of several partitions as a whole",
      segments: [...fresh(0, 2), ...fresh(0, 2, { partition: 1 })],
      settled: [0],
      want: [0, 1, "1/0", "1/1"],
    },
    {
      name: "but not when something of another day reaches into it",
      segments: [
        ...fresh(5, 7),
        ...fresh(0, 1, { partition: 1, from: 5 }),
        info({ at: 0, day: -1, from: 0, to: 86_406 }),
      ],
      settled: [0],
      want: [5, 6],
    },
  ])("$name", ({ segments, want, settled, out }) => {
    expect(chosen(segments, { settled, out })).toEqual(want);
  });
});
