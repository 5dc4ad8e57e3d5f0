import { expect, test } from "vitest";
import { z } from "zod";
import { defineParser } from "../../src/core/component.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { entryOf, eventBytes, packed, setUp } from "./harness.ts";

/** A parser with a mistake in it. */
const faulty = defineParser({
  name: "faulty",
  summary: "",
  options: z.strictObject({}),
  examples: [],
  create: () => (line) => {
    if (line.includes("boom")) throw new TypeError("a mistake of ours");
    return { word: line };
  },
});

test("a record that a step stumbles over is stored without the steps, and the others as ever", async () => {
  const metrics = new Metrics();
  const steps = [{ parse: { with: "faulty" } }, { labels: { word: "word" } }];
  const { pipelines, sink } = setUp({ metrics, parsers: { faulty }, steps });
  const events = ["one", "boom", "two"].map((log) => eventBytes({ log }));
  const run = pipelines.begin(entryOf(packed(events)));
  while (run.step(2));
  expect(sink.got.map(({ text, labels }) => [text, labels])).toEqual([
    ["one", { word: "one" }],
    ["boom", { tag: "app.web" }],
    ["two", { word: "two" }],
  ]);
  const text = await metrics.render();
  expect(text).toContain('weir_pipeline_failed_records_total{pipeline="test"} 1');
  expect(text).toContain('weir_pipeline_records_total{pipeline="test"} 3');
});
