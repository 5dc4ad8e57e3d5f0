import { describe, expect, test } from "vitest";
import { retentionSection } from "../../src/cli/retention-section.ts";
import { canonicalLabels, type Labels } from "../../src/core/labels.ts";
import { compileStreamSelector } from "../../src/query/deletes.ts";
import { labelFilter } from "../../src/store/label-filter.ts";
import { Retention } from "../../src/store/retention.ts";
import type { SegmentInfo } from "../../src/store/view.ts";

const HOUR_MS = 3_600_000;
const NOW_MS = Date.UTC(2026, 4, 1);

function retention(options: Record<string, unknown>): Retention {
  return new Retention(retentionSection.parse(options), compileStreamSelector);
}

/** The hours for which the stream's lines are kept; null for ever. */
function hoursOf(rules: Retention, labels: Labels, tenant = "fake"): number | null {
  const cutoff = rules.cutoffNs(tenant, canonicalLabels(labels), labels, NOW_MS);
  return cutoff === null ? null : (NOW_MS - Number(cutoff / 1_000_000n)) / HOUR_MS;
}

describe("which rule counts", () => {
  const dev = { selector: '{namespace="dev"}', period: "24h" };
  test.each([
    { name: "no rule keeps for ever", options: {}, want: null },
    { name: "the period alone", options: { period: "30d" }, want: 720 },
    { name: "a selector that fits", options: { period: "30d", streams: [dev] }, want: 24 },
    { name: "a selector beside keeping for ever", options: { streams: [dev] }, want: 24 },
    {
      name: "a selector that does not fit",
      options: { period: "1h", streams: [{ selector: '{namespace="prod"}', period: "2h" }] },
      want: 1,
    },
    {
      name: "the higher priority, though it keeps longer",
      options: { streams: [dev, { selector: '{app=~"w.b"}', period: "48h", priority: 2 }] },
      want: 48,
    },
    {
      name: "the shorter of equal priority, whichever stands first",
      options: { streams: [{ selector: '{app="web"}', period: "48h" }, dev] },
      want: 24,
    },
    {
      name: "for ever is longer than anything of its priority",
      options: { streams: [{ selector: '{app="web"}', period: "0s" }, dev] },
      want: 24,
    },
    {
      name: "for ever by priority, with a period for the rest",
      options: { period: "1h", streams: [dev, { selector: '{app="web"}', period: "0s", priority: 9 }] },
      want: null,
    },
    { name: "a tenant's own period", options: { period: "1h", tenants: { fake: { period: "2h" } } }, want: 2 },
    { name: "another tenant's period", options: { period: "1h", tenants: { other: { period: "2h" } } }, want: 1 },
    {
      name: "a tenant's own list in place of all of the other",
      options: { period: "1h", streams: [dev], tenants: { fake: { streams: [] } } },
      want: 1,
    },
    {
      name: "the common list for a tenant with a period of its own",
      options: { streams: [dev], tenants: { fake: { period: "2h" } } },
      want: 24,
    },
    { name: "units of Prometheus", options: { period: "1w1d" }, want: 192 },
  ])("$name", ({ options, want }) => {
    expect(hoursOf(retention(options), { namespace: "dev", app: "web" })).toBe(want);
  });

  test("the answer for a stream is the same when it is asked again", () => {
    const rules = retention({ period: "1h", streams: [dev] });
    for (let round = 0; round < 2; round++) {
      expect(hoursOf(rules, { namespace: "dev" })).toBe(24);
      expect(hoursOf(rules, { namespace: "prod" })).toBe(1);
    }
  });
});

describe("what the catalog tells of a segment", () => {
  const streams = [{ labels: { namespace: "dev" } }, { labels: { namespace: "prod" } }];
  const segment = (hoursOld: number, known: boolean, tenant = "fake"): SegmentInfo => ({
    key: "segments/x.gz",
    bytes: 1,
    tenant,
    partition: 0,
    firstOffset: 0,
    nextOffset: 1,
    timeMinNs: BigInt(NOW_MS - (hoursOld + 1) * HOUR_MS) * 1_000_000n,
    timeMaxNs: BigInt(NOW_MS - hoursOld * HOUR_MS) * 1_000_000n,
    lines: 1,
    textBytes: 1,
    streams: 2,
    level: 1,
    labelFilter: known ? labelFilter(streams) : null,
  });
  const dev = { selector: '{namespace="dev"}', period: "24h" };
  const other = { selector: '{namespace=~"test|stage"}', period: "24h" };
  test.each([
    { name: "nothing expires where all is kept", options: {}, hours: 1e6, want: "none" },
    { name: "younger than the only period", options: { period: "24h" }, hours: 23, want: "none" },
    { name: "exactly as old as the period", options: { period: "24h" }, hours: 24, want: "none" },
    { name: "older than the only period", options: { period: "24h" }, hours: 25, want: "all" },
    { name: "older than a stream's period", options: { streams: [dev] }, hours: 25, want: "some" },
    { name: "never all, when the rest is kept for ever", options: { streams: [dev] }, hours: 1e5, want: "some" },
    { name: "certainly without streams of the rule", options: { streams: [other] }, hours: 25, want: "none" },
    { name: "without a filter over its labels", options: { streams: [other] }, hours: 25, known: false, want: "some" },
    { name: "older than all periods", options: { period: "48h", streams: [dev] }, hours: 49, want: "all" },
    {
      name: "older than the period, but a rule keeps longer",
      options: { period: "1h", streams: [dev] },
      hours: 2,
      want: "some",
    },
    {
      name: "another tenant's",
      options: { period: "1h", tenants: { fake: { period: "0s" } } },
      hours: 2,
      want: "none",
    },
  ])("$name: $want", ({ options, hours, want, known = true }) => {
    expect(retention(options).expiry(segment(hours, known), NOW_MS)).toBe(want);
  });

  test("periods pass one after the other", () => {
    const rules = retention({ period: "48h", streams: [dev, other] });
    const past = (hours: number) => rules.periodsPast("fake", segment(hours, true).timeMaxNs, NOW_MS);
    expect([1, 24, 25, 48, 49].map(past)).toEqual([0, 0, 1, 1, 2]);
  });

  test("nothing is hidden as a whole while something is kept for ever", () => {
    expect(retention({ streams: [dev] }).floorNs("fake", NOW_MS)).toBeNull();
    expect(retention({ period: "1h", streams: [dev] }).floorNs("fake", NOW_MS)).toBe(
      BigInt(NOW_MS - 24 * HOUR_MS) * 1_000_000n,
    );
  });
});

describe("the section in the file", () => {
  test.each([
    {
      name: "no selector",
      options: { streams: [{ selector: "namespace=dev", period: "1h" }] },
      want: /not a stream selector: parse error/,
    },
    {
      name: "a selector that matches everything",
      options: { streams: [{ selector: '{a=~".*"}', period: "1h" }] },
      want: /at least one/,
    },
    {
      name: "a line filter",
      options: { streams: [{ selector: '{a="b"} |= "x"', period: "1h" }] },
      want: /only label matchers/,
    },
    { name: "no duration", options: { period: "1 month" }, want: /not a duration/ },
    { name: "a misspelt key", options: { periods: "1h" }, want: /periods/ },
  ])("refuses $name", ({ options, want }) => {
    const result = retentionSection.safeParse(options);
    expect(result.success).toBe(false);
    expect(String(result.error?.message)).toMatch(want);
  });
});
