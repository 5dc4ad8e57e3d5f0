import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ArrivalRanks, RANKS } from "../../../src/query/arrival-ranks.ts";
import { labelValues } from "../../../src/query/label-values.ts";
import { byArrival } from "../../../src/store/segment-order.ts";
import type { SegmentInfo } from "../../../src/store/view.ts";

function segment(partition: number, firstOffset: number, name = ""): SegmentInfo {
  return {
    key: `segments/fake/1970-01-01/${partition}-${firstOffset}${name}.gz`,
    bytes: 1,
    tenant: "fake",
    partition,
    firstOffset,
    nextOffset: firstOffset + 1,
    timeMinNs: 0n,
    timeMaxNs: 0n,
    lines: 1,
    textBytes: 1,
    streams: 1,
    level: 0,
    labelFilter: null,
  };
}

/** Adds pages one after the other, and checks all ranks that were given. */
function check(partitions: readonly number[], pages: readonly (readonly SegmentInfo[])[]): void {
  const ranks = new ArrivalRanks(partitions);
  const given = new Map<SegmentInfo, number>();
  for (const page of pages) {
    const fresh = ranks.add(page);
    page.forEach((info, i) => {
      given.set(info, fresh[i]);
    });
  }
  const order = [...given].sort(([a], [b]) => byArrival(a, b)).map(([, rank]) => rank);
  for (let i = 1; i < order.length; i++) expect(order[i]).toBeGreaterThan(order[i - 1]);
  if (order.length > 0) expect(order[0]).toBeGreaterThanOrEqual(0);
  expect(order.at(-1) ?? 0).toBeLessThan(RANKS);
}

describe("ranks of segments", () => {
  test("are in order of arrival, whatever the order in which pages come to light", () => {
    const place = fc.tuple(fc.nat(2), fc.nat(10_000), fc.constantFrom("", "a", "b"));
    fc.assert(
      fc.property(
        fc.uniqueArray(place, { maxLength: 200, selector: String }),
        fc.integer({ min: 1, max: 9 }),
        (places, size) => {
          const segments = places.map(([partition, first, name]) => segment(partition, first, name));
          const pages: SegmentInfo[][] = [];
          for (let i = 0; i < segments.length; i += size) pages.push(segments.slice(i, i + size));
          check([0, 1, 2], pages);
        },
      ),
    );
  });

  test.each([
    { name: "backward", step: -1 },
    { name: "forward", step: 1 },
  ])("hold out over a year of pages, $name", ({ step }) => {
    const pages = Array.from({ length: 365 }, (_, day) => {
      const from = 1_000_000 + step * day * 100;
      return [0, 1, 2, 3].flatMap((partition) => Array.from({ length: 50 }, (_, i) => segment(partition, from + i)));
    });
    check([0, 1, 2, 3], pages);
  });

  test("stay apart where there is no room left between two", () => {
    const ranks = new ArrivalRanks([0]);
    const seen = new Set<number>();
    // Each halves the gap beside the one before.
    let low = 0;
    let high = 2 ** 52;
    for (let i = 0; i < 200; i++) {
      const offset = low + (high - low) / 2;
      const [rank] = ranks.add([segment(0, offset, `${i}`)]);
      seen.add(rank);
      if (i % 2 === 0) low = offset;
      else high = offset;
    }
    expect(seen.size).toBe(200);
  });
});

describe("values that matchers ask for", () => {
  test.each([
    { matcher: { op: "=", value: "web" }, values: ["web"] },
    { matcher: { op: "=", value: "" }, values: null },
    { matcher: { op: "!=", value: "web" }, values: null },
    { matcher: { op: "=~", value: "web" }, values: ["web"] },
    { matcher: { op: "=~", value: "web|db" }, values: ["web", "db"] },
    { matcher: { op: "=~", value: "a|b|c|d|e|f|g|h|i|j|k" }, values: [..."abcdefghijk"] },
    { matcher: { op: "=~", value: "web|" }, values: null },
    { matcher: { op: "=~", value: "web-1\\.eu|db" }, values: ["web-1.eu", "db"] },
    { matcher: { op: "=~", value: "(web|db)" }, values: ["web", "db"] },
    { matcher: { op: "=~", value: "web-[12]" }, values: ["web-1", "web-2"] },
    { matcher: { op: "=~", value: "web.*" }, values: null },
    { matcher: { op: "=~", value: "(?i)web" }, values: null },
    { matcher: { op: "=~", value: "web\\d|db" }, values: null },
    { matcher: { op: "!~", value: "web|db" }, values: null },
  ] as const)("$matcher.op $matcher.value", ({ matcher, values }) => {
    const got = labelValues([{ name: "app", ...matcher }]);
    expect(got).toEqual(values === null ? [] : [{ name: "app", values }]);
  });
});
