import { describe, expect, test } from "vitest";
import { parseTime, timeRange } from "../../src/cli/times.ts";

const NOW = 1_714_554_000_000_000_000n; // 2024-05-01T09:00:00Z
const HOUR = 3_600_000_000_000n;

describe("parseTime", () => {
  test.each([
    { text: "now", ns: NOW },
    { text: "-30m", ns: NOW - HOUR / 2n },
    { text: "-1h30m", ns: NOW - (HOUR * 3n) / 2n },
    { text: "+5s", ns: NOW + 5_000_000_000n },
    { text: "2024-05-01T09:00:00Z", ns: NOW },
    { text: "2024-05-01T11:00:00.000000001+02:00", ns: NOW + 1n },
    { text: "1714554000", ns: NOW },
    { text: "1714554000.000000001", ns: NOW + 1n },
    { text: "1714554000000", ns: NOW },
    { text: "1714554000000000", ns: NOW },
    { text: "1714554000000000001", ns: NOW + 1n },
    { text: "0", ns: 0n },
  ])("$text", ({ text, ns }) => {
    expect(parseTime("--from", text, NOW)).toBe(ns);
  });

  test.each(["", "yesterday", "-", "-30", "30m", "2024-05-01", "2024-13-01T00:00:00Z", "1e9", "--30m"])(
    "refuses %j and names the option",
    (text) => {
      expect(() => parseTime("--from", text, NOW)).toThrow(/^--from: got /);
    },
  );
});

describe("timeRange", () => {
  test("without anything: the last hour, with this very moment in it", () => {
    expect(timeRange({}, NOW)).toEqual({ fromNs: NOW + 1n - HOUR, toNs: NOW + 1n });
  });

  test("since counts from --to", () => {
    expect(timeRange({ since: "30m", to: "-1h" }, NOW)).toEqual({ fromNs: NOW - (HOUR * 3n) / 2n, toNs: NOW - HOUR });
  });

  test("from and to are taken as they are", () => {
    expect(timeRange({ from: "-2h", to: "-1h" }, NOW)).toEqual({ fromNs: NOW - 2n * HOUR, toNs: NOW - HOUR });
  });

  test.each([
    { name: "since beside from", options: { since: "1h", from: "-1h" }, says: /--since and --from/ },
    { name: "a range that ends before it begins", options: { from: "now", to: "-1h" }, says: /the range is empty/ },
    { name: "since of nothing", options: { since: "0s" }, says: /the range is empty/ },
    { name: "a bad duration", options: { since: "soon" }, says: /--since: got "soon", want a duration/ },
  ])("refuses $name", ({ options, says }) => {
    expect(() => timeRange(options, NOW)).toThrow(says);
  });
});
