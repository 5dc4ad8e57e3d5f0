import { z } from "zod";
import { compileRegex } from "../codec/re2.ts";
import { messageOf } from "../core/errors.ts";

/*
 * What becomes of OpenTelemetry's attributes. Names, meaning and defaults are those of Loki's `otlp_config`.
 */

/** What can become of an attribute. Loki's names. */
const ACTIONS = ["index_label", "structured_metadata", "drop"] as const;
export type AttributeAction = (typeof ACTIONS)[number];

const attributeRule = z
  .strictObject({
    action: z
      .enum(ACTIONS)
      .default("structured_metadata")
      .describe(
        "`index_label`: a label of the stream, dots as underscores. `structured_metadata`: metadata of the line. `drop`: not kept.",
      ),
    attributes: z.array(z.string().min(1)).default([]).describe("Names of attributes, as they come: `service.name`."),
    regex: z
      .string()
      .superRefine((pattern, context) => {
        try {
          compileAttributeRegex(pattern);
        } catch (error) {
          context.addIssue({ code: "custom", message: messageOf(error) });
        }
      })
      .optional()
      .describe("In place of names: an RE2 pattern that matches all of a name."),
  })
  .refine(({ attributes, regex }) => attributes.length > 0 !== (regex !== undefined), {
    error: "want either attributes or a regex",
  });

/** One list for all: `describe` makes schemas of their own of it. */
const rules = z.array(attributeRule).default([]);

/** The parts of `otlp_config`, each with its default. */
export const otlpConfigShape = {
  resource_attributes: z
    .strictObject({
      ignore_defaults: z
        .boolean()
        .default(false)
        .describe(
          "Whether Loki's list of attributes that become labels is left out (`service.name`, `k8s.pod.name`, …).",
        ),
      attributes_config: rules.describe(
        "What becomes of a resource's attributes, behind that list: the first rule that fits counts, and what none fits is metadata.",
      ),
    })
    .default({ ignore_defaults: false, attributes_config: [] })
    .describe("Attributes of resources."),
  scope_attributes: rules.describe("What becomes of the attributes of scopes. Metadata by default."),
  log_attributes: rules.describe(
    "What becomes of the attributes of records. Metadata by default. A label with many values makes as many streams.",
  ),
  severity_text_as_label: z
    .boolean()
    .default(false)
    .describe("Whether a record's severity text is a label `severity_text` as well. Off, as in Loki."),
};

export const otlpConfig = z.strictObject(otlpConfigShape);
export type OtlpConfig = z.output<typeof otlpConfig>;
export type AttributeRule = OtlpConfig["log_attributes"][number];

/** A pattern for names of attributes. Throws `bad_regex`. */
export function compileAttributeRegex(pattern: string): { test(text: string): boolean } {
  return compileRegex(pattern, { anchored: true, dotAll: true });
}
