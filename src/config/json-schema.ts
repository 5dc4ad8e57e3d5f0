import { z } from "zod";

export type JsonSchema = z.core.JSONSchema.BaseSchema;

const converted = new WeakMap<z.ZodType, JsonSchema>();

/** What may be written for `schema`, as JSON Schema: an option with a default may be left out. */
export function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  let json = converted.get(schema);
  if (json === undefined) {
    json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
    converted.set(schema, json);
  }
  return json;
}

/** The schemas that a value may be checked with: the choices of a union in place of the union. */
export function choicesOf(schema: JsonSchema | boolean | undefined, root: JsonSchema): JsonSchema[] {
  if (schema === undefined || typeof schema === "boolean") return [];
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split("/").at(-1) ?? "";
    const target = schema.$ref === "#" ? root : root.$defs?.[name];
    return target === undefined || target === schema ? [] : choicesOf(target, root);
  }
  const choices = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  return choices === undefined ? [schema] : choices.flatMap((choice) => choicesOf(choice, root));
}

/** The keys that a map at `path` may have, as far as the schema lists them. */
export function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  const root = jsonSchemaOf(schema);
  let here = choicesOf(root, root);
  for (const key of path) {
    here = here.flatMap((json) => {
      if (typeof key === "number") return Array.isArray(json.items) ? [] : choicesOf(json.items, root);
      return choicesOf(json.properties?.[String(key)] ?? json.additionalProperties, root);
    });
  }
  return [...new Set(here.flatMap((json) => Object.keys(json.properties ?? {})))];
}
