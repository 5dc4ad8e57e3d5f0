import { describe, expect, test } from "vitest";
import { quote, unquote, utf8Bytes } from "../../../src/query/syntax/strings.ts";
import {
  formatGoDuration,
  formatPromDuration,
  goDurationError,
  goFloatError,
  goSeconds,
  parseByteSize,
  parseGoDuration,
  parseGoFloat,
  parsePromDuration,
} from "../../../src/query/syntax/units.ts";

// Values as Go's strconv and time, and the Prometheus and humanize packages, give them.

test.each([
  ["1_000", 1000],
  ["+5", 5],
  [".5", 0.5],
  ["5.", 5],
  ["0x1p4", 16],
  ["0x1P-2", 0.25],
  ["-0x.8p1", -1],
  ["0x_1p0", 1],
  ["1_0.0", 10],
  ["Inf", Number.POSITIVE_INFINITY],
  ["-infinity", Number.NEGATIVE_INFINITY],
  ["nan", Number.NaN],
  ["007", 7],
  ["", null],
  [" 1", null],
  ["1e", null],
  ["1__0", null],
  ["_1", null],
  ["0x10", null],
  ["0b1", null],
  ["1e400", null],
  ["١", null],
])("float %j", (text, value) => {
  expect(parseGoFloat(text)).toBe(value);
});

test.each([
  ["1.5h", 5400e9],
  ["1h30m", 5400e9],
  ["-1h", -3600e9],
  ["+3s", 3e9],
  ["1us", 1000],
  ["1µs", 1000],
  ["1μs", 1000],
  ["1.s", 1e9],
  [".5s", 5e8],
  ["1h1h", 7200e9],
  ["0.000065s", 65_000],
  ["1.071m", 64_260e6],
  [".29s", 29e7],
  ["0.0000000011h", 3960],
  ["1.99999999999999999999999999s", 2e9],
  ["0", 0],
  ["-0", 0],
  ["1d", null],
  ["5", null],
  ["h", null],
  ["", null],
  ["1e3s", null],
  ["9999999h", null],
])("Go duration %j", (text, ns) => {
  expect(parseGoDuration(text)).toEqual(ns === 0 ? expect.closeTo(0) : ns);
});

test.each([
  ["5m", { ns: 300e9 }],
  ["1h30m", { ns: 5400e9 }],
  ["1y2w3d4h5m6s7ms", { ns: 33_019_506_007e6 }],
  ["0", { ns: 0 }],
  ["0s", { ns: 0 }],
  ["5", { error: 'not a valid duration string: "5"' }],
  ["", { error: "empty duration string" }],
  ["1m1h", { error: 'not a valid duration string: "1m1h"' }],
  ["1s1s", { error: 'not a valid duration string: "1s1s"' }],
  ["5minutes", { error: 'unknown unit "minutes" in duration "5minutes"' }],
  ["-5m", { error: 'not a valid duration string: "-5m"' }],
  ["300y", { error: "duration out of range" }],
])("Prometheus duration %j", (text, want) => {
  expect(parsePromDuration(text)).toEqual(want);
});

test.each([
  ["10", { bytes: 10 }],
  ["1,024", { bytes: 1024 }],
  ["2kb", { bytes: 2000 }],
  ["2 KiB", { bytes: 2048 }],
  ["1.5GB", { bytes: 1.5e9 }],
  ["3Ki", { bytes: 3072 }],
  ["0.9", { bytes: 0 }],
  ["1EB", { bytes: 1e18 }],
  ["5zz", { error: "unhandled size name: zz" }],
  ["20EB", { error: "too large: 20EB" }],
  ["x", { error: 'strconv.ParseFloat: parsing "": invalid syntax' }],
])("size %j", (text, want) => {
  expect(parseByteSize(text)).toEqual(want);
});

describe("printing", () => {
  test.each([
    [0, "0s"],
    [1, "1ns"],
    [1500, "1.5µs"],
    [2_000_000, "2ms"],
    [1.5e9, "1.5s"],
    [90e9, "1m30s"],
    [3600e9, "1h0m0s"],
    [-3661.5e9, "-1h1m1.5s"],
  ])("Go duration of %d ns", (ns, text) => {
    expect(formatGoDuration(ns)).toBe(text);
    expect(parseGoDuration(text)).toBe(ns);
  });
  test.each([
    [0, "0s"],
    [300e9, "5m"],
    [5400e9, "1h30m"],
    [86_400e9, "1d"],
    [90_000e9, "1d1h"],
    [2_595_600e9, "30d1h"],
    [777_600e9, "9d"],
    [31_622_400e9, "366d"],
    [31_536_000e9, "1y"],
    [604_800e9, "1w"],
    [1500e6, "1s500ms"],
  ])("Prometheus duration of %d ns", (ns, text) => {
    expect(formatPromDuration(ns)).toBe(text);
    expect(parsePromDuration(text)).toEqual({ ns });
  });
  test("a Prometheus duration below zero", () => {
    expect(formatPromDuration(-90_000e9)).toBe("-1d1h");
    expect(formatPromDuration(-300e9)).toBe("-5m");
  });
  test("errors in Go's words", () => {
    expect(goFloatError("1e400")).toBe('strconv.ParseFloat: parsing "1e400": value out of range');
    expect(goFloatError("x")).toBe('strconv.ParseFloat: parsing "x": invalid syntax');
    expect(goDurationError("99999999999999999999")).toBe('time: invalid duration "99999999999999999999"');
    expect(goDurationError("1h99999999999999999999x")).toBe('time: invalid duration "1h99999999999999999999x"');
    expect(goDurationError("9223372036854775807µs5.x")).toBe(
      'time: invalid duration "9223372036854775807\\xc2\\xb5s5.x"',
    );
    expect(goDurationError("5")).toBe('time: missing unit in duration "5"');
    expect(goDurationError("1h2d")).toBe('time: unknown unit "d" in duration "1h2d"');
    expect(goDurationError("µ")).toBe('time: invalid duration "\\xc2\\xb5"');
  });
});

describe("string literals", () => {
  test.each([
    ['"a\\n\\t\\"\\\\"', 'a\n\t"\\'],
    ["`a\\n`", "a\\n"],
    ['"\\x41\\101\\u00e9\\U0001F600"', "AAé😀"],
    ['"\\xc3\\xa9"', "é"],
    ['"\\ud800"', null],
    ['"\\U00110000"', null],
    ['"\\777"', null],
    ['"\\q"', null],
  ])("%s", (literal, text) => {
    expect(unquote(literal)).toBe(text);
  });
  test("bytes that are no UTF-8 survive reading, writing and comparing", () => {
    const text = unquote('"a\\xff\\xc3\\xa9\\xc3\\x28\\xf0\\x9f\\x98\\x80"') ?? "";
    expect(utf8Bytes(text)).toEqual(Buffer.from([0x61, 0xff, 0xc3, 0xa9, 0xc3, 0x28, 0xf0, 0x9f, 0x98, 0x80]));
    expect(quote(text)).toBe('"a\\xffé\\xc3(😀"');
    expect(unquote(quote(text))).toBe(text);
  });
  test("what can't be seen is escaped", () => {
    expect(quote('\x00\x07\u00a0\u200b\u{e0001}é"')).toBe('"\\x00\\a\\u00a0\\u200b\\U000e0001é\\""');
  });
});

test.each([
  [57_141_592_653, 57.141592653000004],
  [-1_500_000_000, -1.5],
  [65_000, 0.000065],
  [0, 0],
])("%d ns in seconds", (ns, seconds) => {
  expect(goSeconds(ns)).toBe(seconds);
});
