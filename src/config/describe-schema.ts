import type { z } from "zod";
import { type JsonSchema, jsonSchemaOf } from "./json-schema.ts";
import { readPlain } from "./scalar.ts";

/** One option of a component, as the reference page lists it. */
export interface OptionRow {
  /** Dotted from the component down: `limits.memory_bytes_max`, `users[].name`. */
  readonly name: string;
  readonly type: string;
  /** As it would be written, `required`, or "" where leaving it out has a meaning of its own. */
  readonly standard: string;
  readonly description: string;
}

/** The options of a schema; none when it takes no map or leaves the names to the user. */
export function optionRows(schema: z.ZodType): OptionRow[] {
  return rowsOf(jsonSchemaOf(schema), "");
}

/** Of a schema that is one of several maps, told apart by `type`: the name of each, and its options without the type. */
export function choiceRows(schema: z.ZodType): { readonly type: string; readonly rows: OptionRow[] }[] {
  const json = jsonSchemaOf(schema);
  return (json.oneOf ?? []).flatMap((choice) => {
    const type = typeof choice === "boolean" ? undefined : choice.properties?.type;
    if (typeof choice === "boolean" || typeof type !== "object" || typeof type.const !== "string") return [];
    return [{ type: type.const, rows: rowsOf(choice, "") }];
  });
}

/** What the values of a map with free names are, or undefined when the names are the schema's. */
export function freeValues(schema: z.ZodType): string | undefined {
  const { additionalProperties, properties } = jsonSchemaOf(schema);
  if (properties !== undefined || typeof additionalProperties !== "object") return undefined;
  return typeOf(additionalProperties, "");
}

/** The description of the schema itself, or "". */
export function descriptionOf(schema: z.ZodType): string {
  return jsonSchemaOf(schema).description ?? "";
}

export function defaultOf(schema: z.ZodType): string {
  return standardOf(jsonSchemaOf(schema), "", false);
}

export function typeOfSchema(schema: z.ZodType): string {
  return typeOf(jsonSchemaOf(schema), "");
}

function rowsOf(json: JsonSchema, prefix: string): OptionRow[] {
  const required = new Set(json.required);
  return Object.entries(json.properties ?? {}).flatMap(([name, option]) => {
    if (typeof option === "boolean") return [];
    const full = `${prefix}${name}`;
    const inner = rowsOf(option, `${full}.`);
    const row = {
      name: full,
      type: typeOf(option, name),
      standard: inner.length > 0 && !required.has(name) ? "" : standardOf(option, name, required.has(name)),
      description: option.description ?? "",
    };
    const items =
      typeof option.items === "object" && !Array.isArray(option.items) ? rowsOf(option.items, `${full}[].`) : [];
    return [row, ...inner, ...items];
  });
}

function standardOf(json: JsonSchema, name: string, required: boolean): string {
  if (json.default === undefined) return required ? "required" : "";
  const text = inlineYaml(json.default);
  const words = typeof json.default === "number" ? inWords(json.default, name) : "";
  return words === "" ? `\`${text}\`` : `\`${text}\` (${words})`;
}

/** A value as it would be written in one line of YAML. */
export function inlineYaml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inlineYaml).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(([name, inner]) => `${inlineYaml(name)}: ${inlineYaml(inner)}`);
    return entries.length === 0 ? "{}" : `{ ${entries.join(", ")} }`;
  }
  // A text that YAML would not take for anything else needs no quotes.
  if (typeof value === "string" && /^[A-Za-z0-9_/][\w./:@-]*(?<!:)$/.test(value) && readPlain(value) === value)
    return value;
  return JSON.stringify(value) ?? "";
}

const MIB = 1024 * 1024;

/** `33554432` bytes as `32 MiB`, `60000` ms as `1 min`; "" where that says no more. */
function inWords(value: number, name: string): string {
  if (unitOf(name) === " of bytes") {
    if (value >= 1024 * MIB && value % (1024 * MIB) === 0) return `${value / 1024 / MIB} GiB`;
    if (value >= MIB && value % MIB === 0) return `${value / MIB} MiB`;
    return value >= 1024 && value % 1024 === 0 ? `${value / 1024} KiB` : "";
  }
  if (unitOf(name) !== " of milliseconds") return "";
  if (value >= 3_600_000 && value % 3_600_000 === 0) return `${value / 3_600_000} h`;
  if (value >= 60_000 && value % 60_000 === 0) return `${value / 60_000} min`;
  return value >= 1000 ? `${value / 1000} s` : "";
}

function unitOf(name: string): string {
  const words = name.split("_");
  if (words.includes("bytes")) return " of bytes";
  return words.includes("ms") ? " of milliseconds" : "";
}

const NAMES: Readonly<Record<string, string>> = {
  string: "text",
  boolean: "`true` or `false`",
  null: "nothing",
  object: "map",
};

/** A choice of a union: a map has no rows of its own there, so its options are named here. */
function choiceOf(json: JsonSchema, name: string): string {
  const names = Object.entries(json.properties ?? {});
  if (names.length === 0) return typeOf(json, name);
  const parts = names.map(([key, part]) => `${key}: ${typeof part === "boolean" ? "any value" : typeOf(part, key)}`);
  return `\`{ ${parts.join(", ")} }\``;
}

/** A type in words: `whole number of bytes, at least 1024`. `name` tells the unit. */
function typeOf(json: JsonSchema, name: string): string {
  // A title is the schema's own words for what is too long to spell out.
  if (json.title !== undefined) return json.title;
  const choices = json.anyOf ?? json.oneOf;
  if (choices !== undefined) {
    const words = choices.flatMap((choice) => (typeof choice === "boolean" ? [] : [choiceOf(choice, name)]));
    return [...new Set(words)].join(" or ");
  }
  if (json.const !== undefined) return `\`${JSON.stringify(json.const).replace(/^"|"$/g, "")}\``;
  if (json.enum !== undefined) return `one of ${json.enum.map((value) => `\`${String(value)}\``).join(", ")}`;
  if (json.type === "integer" || json.type === "number") {
    return `${json.type === "integer" ? "whole number" : "number"}${unitOf(name)}${rangeOf(json)}`;
  }
  if (json.type === "array")
    return typeof json.items === "object" && !Array.isArray(json.items)
      ? `list of ${typeOf(json.items, name)}`
      : "list";
  if (json.type === "object" && json.properties === undefined && typeof json.additionalProperties === "object") {
    const values = typeOf(json.additionalProperties, name);
    return `map of names to ${values}`;
  }
  return typeof json.type === "string" ? (NAMES[json.type] ?? json.type) : "any value";
}

function rangeOf(json: JsonSchema): string {
  const { exclusiveMinimum: above } = json;
  const least = json.minimum ?? (typeof above === "number" ? above + 1 : undefined);
  // zod bounds every whole number by what a double holds exactly, which is no limit that anybody meets.
  const isBound = (value: number | undefined): value is number =>
    value !== undefined && Math.abs(value) < Number.MAX_SAFE_INTEGER;
  const low = isBound(least) ? least : undefined;
  const high = isBound(json.maximum) ? json.maximum : undefined;
  if (low !== undefined && high !== undefined) return `, ${low} to ${high}`;
  if (low !== undefined) return `, at least ${low}`;
  return high === undefined ? "" : `, at most ${high}`;
}
