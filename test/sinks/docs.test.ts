import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { recordSinks } from "../../sinks/index.ts";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";

const page = readFileSync(new URL("../../docs/sinks.md", import.meta.url), "utf8");

test("the example of docs/sinks.md is a pipeline file without faults", () => {
  const yaml = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? "";
  const config = loadConfig(yaml, "docs/sinks.md", registries);
  expect(config.warnings).toEqual([]);
  expect(config.sinks.map(({ type }) => type)).toEqual(["store", "loki", "elasticsearch", "http", "file"]);
});

test.each(Object.keys(recordSinks))("docs/sinks.md says what %s promises", (name) => {
  expect(page).toContain(`\n| \`${name}\` |`);
});
