import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { runTemplate } from "./run-template.ts";

/**
 * What Go's own text/template gave for these templates, with the functions that Loki adds: sprig's and those that have an equal in
 * Go's library. [template, output] or [template, null, error]; "parse: " stands before errors of the parser. int64 reads
 * int in the texts, since Weir has one integer type.
 */
interface Golden {
  readonly labels: Record<string, string>;
  readonly line: string;
  readonly ns: string;
  readonly cases: readonly (readonly [template: string, out: string | null, error?: string])[];
}

const golden: Golden = JSON.parse(readFileSync(new URL("./go-cases.json", import.meta.url), "utf8"));

test("there are cases", () => {
  expect(golden.cases.length).toBeGreaterThan(1300);
});

test.each(golden.cases.map(([template, out, error = ""]) => ({ template, out, error })))(
  "$template",
  ({ template, out, error }) => {
    const found = runTemplate(template, golden.labels, { line: golden.line, timeNs: BigInt(golden.ns) });
    expect(found.error.replaceAll("int64", "int")).toBe(error);
    if (out !== null) expect(found.out).toBe(out);
  },
);
