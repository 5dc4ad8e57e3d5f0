import { describe, expect, test } from "vitest";
import { parsers } from "../../parsers/index.ts";
import type { ParserSpec } from "../../src/core/component.ts";
import { plain } from "./plain.ts";

const specs: [string, ParserSpec][] = Object.entries(parsers);

describe.each(specs)("parser %s", (name, spec) => {
  test("is registered under its own name", () => {
    expect(spec.name).toBe(name);
  });

  test("shows what it takes and what it refuses", () => {
    expect(spec.examples.some(({ gives }) => gives !== null)).toBe(true);
    expect(spec.examples.some(({ gives }) => gives === null)).toBe(true);
  });

  test.each(spec.examples.map((example) => ({ ...example })))("example: $title", ({ line, options, gives }) => {
    const parse = spec.create(spec.options.parse(options ?? {}));
    expect(plain(parse(line))).toEqual(gives);
    // A parser keeps nothing from one line to the next.
    expect(plain(parse(line))).toEqual(gives);
  });

  test("the fields for the inner line and the time are there", () => {
    for (const { line, options, gives } of spec.examples) {
      if (gives === null) continue;
      const chosen = spec.options.parse(options ?? {});
      const fields = spec.create(chosen)(line) ?? {};
      if (spec.innerLine !== undefined) expect(fields[spec.innerLine(chosen)]).toBeTypeOf("string");
      if (spec.timeField !== undefined) expect(fields[spec.timeField]).toBeTypeOf("string");
    }
  });
});
