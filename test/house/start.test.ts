import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

test("npm start runs the program with the options of Node that its first line has", () => {
  const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
  const [first] = read("bin/weir.js").split("\n", 1);
  const flags = first.replace("#!/usr/bin/env -S node ", "");
  expect(flags).toMatch(/^--/);
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  expect(scripts.start).toBe(`node ${flags} bin/weir.js run pipelines/quickstart.yaml`);
});
