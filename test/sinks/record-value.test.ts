import { describe, expect, test } from "vitest";
import { compileValue, fieldOf, RecordValues, readNumber, valueName } from "../../sinks/shared/record-value.ts";
import { record } from "../contract/sinks.ts";

describe("a value of a record", () => {
  const values = () =>
    new RecordValues({
      ...record(0, "hällo", { app: "web", constructor: "label" }),
      tenant: "t",
      metadata: [
        ["detected_level", "error"],
        ["pod", "p"],
        ["http_status", "of metadata"],
      ],
      json: JSON.stringify({
        n: 7,
        yes: false,
        none: null,
        http: { status: 200, "a.b": [1, "x"] },
        pod: "of the record",
      }),
    });

  test.each([
    ["$tenant", "t"],
    ["$level", "error"],
    ["$line", "hällo"],
    ["$line_bytes", "6"],
    ["$labels.app", "web"],
    ["$labels.nothing", undefined],
    ["$labels.toString", undefined],
    ["$labels.constructor", "label"],
    ["$metadata.pod", "p"],
    ["$metadata.nothing", undefined],
    ["n", "7"],
    ["yes", "false"],
    ["none", undefined],
    ["http.status", "200"],
    ['http["a.b"]', '[1,"x"]'],
    ["http.nothing", undefined],
    ["n.nothing", undefined],
    ["constructor.name", undefined],
    ["pod", "of the record"],
  ])("%s is %s", (name, want) => {
    expect(compileValue(name)(values())).toBe(want);
  });

  test("that the record does not have may be in its metadata", () => {
    const pushed = new RecordValues({ ...record(0, "x"), json: "{}", metadata: [["http_status", "404"]] });
    expect(compileValue("http.status")(pushed)).toBe("404");
    expect(compileValue("http.status")(new RecordValues({ ...record(0, "x"), json: "" }))).toBeUndefined();
  });

  test.each(["", "a..b", "$nothing", "$tag", "$labels", "$labels.a.b", "$level.x", "$resource.x", 'a["'])(
    "is not named by %j",
    (name) => {
      expect(valueName.safeParse(name).success).toBe(false);
    },
  );

  test("needs the field that it begins with", () => {
    expect(["a.b", '["x.y"].z', "$labels.a", "$line_bytes", "$tenant"].map(fieldOf)).toEqual([
      "a",
      "x.y",
      null,
      null,
      null,
    ]);
  });
});

describe("a number in a text", () => {
  test.each([
    ["12", "number", 12],
    [" -1.5e3 ", "number", -1500],
    [".5", "number", 0.5],
    ["1e400", "number", null],
    ["0x10", "number", null],
    ["Infinity", "number", null],
    ["NaN", "number", null],
    ["12ms", "number", null],
    ["", "number", null],
    ["true", "number", null],
    ["250ms", "duration", 0.25],
    ["1h2m3.5s", "duration", 3723.5],
    ["1d", "duration", 86_400],
    ["-2s", "duration", -2],
    ["15µs", "duration", 15e-6],
    ["15μs", "duration", 15e-6],
    ["7ns", "duration", 7e-9],
    ["7", "duration", null],
    ["7 s", "duration", null],
    ["s", "duration", null],
    ["10kB", "bytes", 10_000],
    ["1.5 MiB", "bytes", 1.5 * 1024 * 1024],
    ["200 B", "bytes", 200],
    ["200", "bytes", 200],
    ["2G", "bytes", 2e9],
    ["2iB", "bytes", null],
    ["-2kB", "bytes", null],
    ["9".repeat(65), "number", null],
  ] as const)("%j, read as %s, is %s", (text, as, want) => {
    const value = readNumber(text, as);
    if (want === null) expect(value).toBeNull();
    else expect(value).toBeCloseTo(want, 12);
  });
});
