import type { OptionsSpec } from "../core/component.ts";
import type { Registries } from "./config.ts";
import { type JsonSchema, jsonSchemaOf } from "./json-schema.ts";
import { logLevel } from "./load.ts";
import { pipelineOptions } from "./pipelines.ts";

/**
 * A JSON Schema (draft 2020-12) of the whole pipeline file, for editors: names, types, descriptions. Looser than
 * `loadConfig`, which also compiles patterns and follows names.
 */
export function documentSchema(registries: Registries): JsonSchema {
  const sections = Object.entries(registries.sections).map(
    ([name, schema]) => [name, embed(jsonSchemaOf(schema))] as const,
  );
  const steps = Object.values(registries.steps);
  const step: JsonSchema = {
    anyOf: [
      { enum: steps.map(({ name }) => name) },
      ...steps.map(({ name, summary, options }) => ({
        ...map({ [name]: { anyOf: [embed(jsonSchemaOf(options)), { type: "null" as const }], description: summary } }),
        required: [name],
      })),
    ],
  };
  const pipeline = embed(jsonSchemaOf(pipelineOptions));
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Weir pipeline file",
    ...map({
      receivers: named(registries.receivers),
      pipelines: {
        type: "object",
        additionalProperties: {
          ...pipeline,
          properties: { ...pipeline.properties, steps: { type: "array", items: step } },
          type: ["object", "null"],
        },
      },
      sinks: named(registries.sinks),
      ...Object.fromEntries(sections),
      log_level: embed(jsonSchemaOf(logLevel)),
    }),
    patternProperties: { "^x-": {} },
    required: ["receivers", "pipelines"],
  };
}

function map(properties: Record<string, JsonSchema>): JsonSchema {
  return { type: "object", properties, additionalProperties: false };
}

/** A block of names, each with a type and the options of that type. */
function named(specs: Readonly<Record<string, OptionsSpec>>): JsonSchema {
  const choices = Object.values(specs).map(({ name, summary, options }) => {
    const json = embed(jsonSchemaOf(options));
    const type = { const: name, description: summary };
    return { ...json, properties: { type, ...json.properties }, required: ["type", ...(json.required ?? [])] };
  });
  return { type: "object", additionalProperties: { anyOf: choices } };
}

const REFERENCE: JsonSchema = { type: "string", pattern: "^\\$\\{env:[^}]*\\}$" };

/** The schema as a part of another one, which takes a reference to the environment for whatever is no text. */
function embed(json: JsonSchema): JsonSchema {
  const { $schema: _, ...rest } = json;
  return withReferences(rest);
}

function withReferences(json: JsonSchema): JsonSchema {
  const inner: JsonSchema = { ...json };
  if (json.properties !== undefined) {
    inner.properties = Object.fromEntries(Object.entries(json.properties).map(([name, part]) => [name, partOf(part)]));
  }
  if (json.items !== undefined && !Array.isArray(json.items)) inner.items = partOf(json.items);
  if (json.additionalProperties !== undefined) inner.additionalProperties = partOf(json.additionalProperties);
  if (json.anyOf !== undefined) inner.anyOf = json.anyOf.map(withReferences);
  if (json.oneOf !== undefined) inner.oneOf = json.oneOf.map(withReferences);
  const isText = json.type === "string" && json.enum === undefined && json.pattern === undefined;
  if (json.type === undefined || json.type === "object" || json.type === "array" || isText) return inner;
  const { description, default: standard, ...bare } = inner;
  return {
    anyOf: [bare, REFERENCE],
    ...(description === undefined ? {} : { description }),
    ...(standard === undefined ? {} : { default: standard }),
  };
}

function partOf(part: JsonSchema | boolean): JsonSchema | boolean {
  return typeof part === "boolean" ? part : withReferences(part);
}
