import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";

const read = (page: string) => readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8");
const yamlBlocks = (page: string) => [...read(page).matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, yaml]) => yaml);

describe("the examples with Kafka are pipeline files without faults", () => {
  test("docs/ingest.md", () => {
    const yaml = yamlBlocks("ingest.md").find((block) => block.includes("type: kafka\n"));
    const config = loadConfig(yaml ?? "", "docs/ingest.md", registries);
    expect(config.warnings).toEqual([]);
    expect(config.receivers.filter(({ type }) => type === "kafka")).toHaveLength(2);
  });

  test("docs/sinks.md", () => {
    const yaml = yamlBlocks("sinks.md").find((block) => block.includes("type: kafka\n"));
    const rest = "receivers: { in: { type: forward } }\npipelines: { all: { to: [topics] } }\n";
    const config = loadConfig(rest + (yaml ?? ""), "docs/sinks.md", registries);
    expect(config.sinks.map(({ type }) => type)).toEqual(["kafka"]);
  });
});
