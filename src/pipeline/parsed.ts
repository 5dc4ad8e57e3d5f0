import { type Fields, type FieldValue, NumberText } from "../core/component.ts";

/*
 * What parsers found, as text. The same rules as for the record's own values (json.ts).
 */

export function isFields(value: FieldValue | undefined): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof NumberText);
}

/** The value at a path as text; "" where there is none. */
export function parsedText(fields: Fields, segments: readonly string[]): string {
  let value: FieldValue | undefined = fields;
  for (const segment of segments) {
    if (!isFields(value) || !Object.hasOwn(value, segment)) return "";
    value = value[segment];
  }
  return value === undefined ? "" : fieldText(value);
}

/** A parsed value as a label sees it: text as it is, numbers as they were written, maps and lists as JSON, null as "". */
export function fieldText(value: FieldValue): string {
  if (typeof value === "string") return value;
  return value === null ? "" : fieldJson(value);
}

/** A parsed value as JSON text. Parsers bound the nesting of what they give. */
export function fieldJson(value: FieldValue): string {
  if (value instanceof NumberText) return value.text;
  if (Array.isArray(value)) return `[${value.map(fieldJson).join(",")}]`;
  if (!isFields(value)) return JSON.stringify(value);
  const parts = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${fieldJson(value[name])}`);
  return `{${parts.join(",")}}`;
}
