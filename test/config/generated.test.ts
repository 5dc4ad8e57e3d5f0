import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { GENERATED } from "../../src/cli/generated.ts";

test.each(Object.entries(GENERATED))("%s is what the code says; `npm run docs` writes it anew", (path, make) => {
  expect(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")).toBe(make());
});
