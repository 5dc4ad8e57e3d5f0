import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";
import { message, runConfig, type Stored } from "./harness.ts";

/** A recipe of the page: a pipeline, and records with what is said to become of them. */
interface Recipe {
  readonly title: string;
  readonly yaml: string;
  readonly records: readonly { readonly record: Record<string, unknown>; readonly becomes: string }[];
}

function recipesOf(page: string): Recipe[] {
  return page.split(/^## /m).flatMap((section) => {
    const [title = ""] = section.split("\n");
    const found = /```yaml\n([\s\S]*?)```\s+```(text|json)\n([\s\S]*?)```/.exec(section);
    if (found === null) return [];
    const [, yaml = "", kind, samples = ""] = found;
    const records = samples.split(/^(?!→| {2})/m).flatMap((sample) => {
      const [record = "", ...becomes] = sample.trimEnd().split("\n");
      return [{ record: kind === "json" ? JSON.parse(record) : { log: record }, becomes: becomes.join("\n") }];
    });
    return [{ title, yaml, records }];
  });
}

function text(stored: Stored | undefined): string {
  if (stored === undefined) return "→ dropped";
  const metadata = Object.entries(stored.metadata).map(([name, value]) => `${name}=${value}`);
  const lines = [`→ ${stored.labels}`, `  ${stored.line}`];
  return [...lines, ...(metadata.length === 0 ? [] : [`  ${metadata.sort().join(" ")}`])].join("\n");
}

describe("the recipes of docs/pipelines.md do what they say", () => {
  const recipes = recipesOf(readFileSync(new URL("../../docs/pipelines.md", import.meta.url), "utf8"));

  test("all of them are found", () => {
    expect(recipes.map(({ records }) => records.length)).toEqual([2, 4, 2, 2, 2, 1]);
  });

  test.each(recipes)("$title", ({ yaml, records }) => {
    const config = loadConfig(`receivers: { in: { type: forward } }\n${yaml}`, "recipe.yaml", registries);
    expect(config.warnings).toEqual([]);
    for (const { record, becomes } of records) {
      const stored = runConfig(config, [message("test", record)]);
      expect(stored.length).toBeLessThanOrEqual(1);
      expect(text(stored[0])).toBe(becomes);
    }
  });
});
