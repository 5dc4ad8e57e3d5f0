import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { goDuration } from "../../src/api/go.ts";
import { splitListen } from "../../src/api/options.ts";
import { parseTime, rangeParams, timeRange } from "../../src/api/params.ts";
import { sampleText, seconds } from "../../src/api/samples.ts";

const NOW = 1_700_000_000_000_000_000n;

describe("parseTime", () => {
  test.each([
    { text: "1700000000", ns: 1_700_000_000_000_000_000n },
    { text: "0", ns: 0n },
    { text: "-1", ns: -1_000_000_000n },
    { text: "4000000000", ns: 4_000_000_000_000_000_000n },
    { text: "1700000000000", ns: 1_700_000_000_000n }, // Milliseconds are read as nanoseconds, as Loki does.
    { text: "1700000000000000001", ns: 1_700_000_000_000_000_001n },
    { text: "1700000000.5", ns: 1_700_000_000_500_000_000n },
    { text: "1700000000.1234567", ns: 1_700_000_000_123_000_000n },
    { text: "1.7e9.", ns: null },
    { text: "1.7e9", ns: 1_700_000_000_000_000_000n },
    { text: ".5", ns: 500_000_000n },
    { text: "2023-11-14T22:13:20Z", ns: 1_700_000_000_000_000_000n },
    { text: "2023-11-14T22:13:20.000000001Z", ns: 1_700_000_000_000_000_001n },
    { text: "2023-11-15T00:13:20+02:00", ns: 1_700_000_000_000_000_000n },
    { text: "0x10", ns: null },
    { text: "1_000", ns: null },
    { text: " 1", ns: null },
    { text: "9223372036854775808", ns: null },
    { text: "1e300.5", ns: null },
    { text: "99999999999999999999.5", ns: null },
  ])("reads $text", ({ text, ns }) => {
    if (ns === null) expect(() => parseTime(text)).toThrow(/^strconv\.ParseInt: parsing /);
    else expect(parseTime(text)).toBe(ns);
  });

  test("never gives a time beyond 64 bits", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.double().map(String), fc.bigInt().map(String)), (text) => {
        try {
          const ns = parseTime(text);
          expect(BigInt.asIntN(64, ns)).toBe(ns);
        } catch (error) {
          expect((error as Error).message).toMatch(/^strconv\.ParseInt: parsing /);
        }
      }),
    );
  });
});

test.each(["start", "step", "interval", "limit", "since"])("a megabyte of digits as %s is refused at once", (name) => {
  const params = new URLSearchParams({ query: "{}", [name]: `${"1".repeat(1_000_000)}x.` });
  expect(() => rangeParams(params, NOW)).toThrow(/^(?:could not|cannot) parse |^strconv\.Atoi: parsing /);
});

describe("timeRange", () => {
  const range = (params: Record<string, string>) => timeRange(new URLSearchParams(params), NOW);
  const hour = 3_600_000_000_000n;

  test.each([
    { name: "an hour up to now by default", params: {}, startNs: NOW - hour, endNs: NOW },
    { name: "empty texts as absent", params: { start: "", end: "", since: "" }, startNs: NOW - hour, endNs: NOW },
    { name: "since before now", params: { since: "15m" }, startNs: NOW - hour / 4n, endNs: NOW },
    { name: "since 0", params: { since: "0" }, startNs: NOW, endNs: NOW },
    { name: "an hour before an end in the past", params: { end: "3600" }, startNs: 0n, endNs: hour },
    {
      name: "an hour before now for an end in the future",
      params: { end: "4000000000" },
      startNs: NOW - hour,
      endNs: 4_000_000_000_000_000_000n,
    },
    { name: "start over since", params: { start: "1", since: "5m" }, startNs: 1_000_000_000n, endNs: NOW },
  ])("is $name", ({ params, startNs, endNs }) => {
    expect(range(params as Record<string, string>)).toEqual({ startNs, endNs });
  });
});

describe("rangeParams", () => {
  const params = (more: Record<string, string>) =>
    rangeParams(new URLSearchParams({ start: "1000", end: "2000", query: "q", ...more }), NOW);

  test.each([
    { name: "a default step of a 250th", more: {}, gives: { stepNs: 4_000_000_000n } },
    { name: "a default step of a second at least", more: { end: "1001" }, gives: { stepNs: 1_000_000_000n } },
    { name: "a step in seconds", more: { step: "14.000000" }, gives: { stepNs: 14_000_000_000n } },
    { name: "a step as a duration", more: { step: "1500ms" }, gives: { stepNs: 1_500_000_000n } },
    { name: "a step of days", more: { step: "1d2h" }, gives: { stepNs: 93_600_000_000_000n } },
    { name: "an interval", more: { interval: "0.5" }, gives: { intervalNs: 500_000_000n } },
    { name: "no interval", more: {}, gives: { intervalNs: 0n } },
    { name: "any case of direction", more: { direction: "Forward" }, gives: { backward: false } },
    { name: "a limit of 100", more: {}, gives: { limit: 100 } },
    { name: "a limit with a sign", more: { limit: "+7" }, gives: { limit: 7 } },
  ])("reads $name", ({ more, gives }) => {
    expect(params(more as Record<string, string>)).toMatchObject(gives);
  });

  test.each<{ more: Record<string, string>; says: string }>([
    { more: { step: "1e300" }, says: 'cannot parse "1e300" to a valid duration. It overflows int64' },
    { more: { step: "NaN" }, says: 'cannot parse "NaN" to a valid duration' },
    { more: { step: "99999999999999w" }, says: 'cannot parse "99999999999999w" to a valid duration' },
    { more: { limit: "1e3" }, says: 'strconv.Atoi: parsing "1e3": invalid syntax' },
    { more: { limit: "9223372036854775808" }, says: 'strconv.Atoi: parsing "9223372036854775808": value out of range' },
  ])("refuses $more", ({ more, says }) => {
    expect(() => params(more)).toThrow(says);
  });
});

test.each([
  { ns: 0n, text: "0s" },
  { ns: 1n, text: "1ns" },
  { ns: 1500n, text: "1.5µs" },
  { ns: 250_000_000n, text: "250ms" },
  { ns: 90_500_000_000n, text: "1m30.5s" },
  { ns: 2_880_000_000_000_000n, text: "800h0m0s" },
  { ns: -60_000_000_000n, text: "-1m0s" },
])("goDuration prints $ns ns as $text", ({ ns, text }) => expect(goDuration(ns)).toBe(text));

describe("samples", () => {
  test("print numbers without an exponent, so that they read back", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const text = sampleText(value);
        expect(text).toMatch(/^-?[0-9]+(\.[0-9]+)?$/);
        expect(Object.is(Number(text), value)).toBe(true);
      }),
    );
  });

  test.each([
    { value: Number.NaN, text: "NaN" },
    { value: Number.POSITIVE_INFINITY, text: "+Inf" },
    { value: Number.NEGATIVE_INFINITY, text: "-Inf" },
    { value: 0.05, text: "0.05" },
    { value: 1.5e-9, text: "0.0000000015" },
    { value: 1.25e22, text: "12500000000000000000000" },
  ])("print $value as $text", ({ value, text }) => expect(sampleText(value)).toBe(text));

  test.each([
    { ns: 1_700_000_060_500_000_000n, s: 1_700_000_060.5 },
    { ns: 1_700_000_060_000_999_999n, s: 1_700_000_060 },
  ])("have seconds with three decimals at most: $s", ({ ns, s }) => expect(seconds(ns)).toBe(s));
});

test.each([
  { listen: "127.0.0.1:3100", host: "127.0.0.1", port: 3100 },
  { listen: "[::1]:80", host: "::1", port: 80 },
  { listen: ":8080", host: "::", port: 8080 },
  { listen: "localhost:0", host: "localhost", port: 0 },
])("splitListen takes $listen apart", ({ listen, host, port }) => expect(splitListen(listen)).toEqual({ host, port }));
