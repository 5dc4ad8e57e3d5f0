import { type FieldValue, NumberText } from "../../src/core/component.ts";

/** Fields as examples have them: numbers as their text. */
export function plain(value: FieldValue | null): unknown {
  if (value instanceof NumberText) return value.text;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}
