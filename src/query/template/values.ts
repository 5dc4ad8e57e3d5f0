import { GoTime } from "./time.ts";

/*
 * Go's values as templates meet them:
 *   string, bool     the same
 *   bigint           any integer
 *   number           float64
 *   undefined        no value: nil, a missing key of a map of anything
 *   LabelMap         the labels of the entry (map[string]string), which is the dot of a template
 *   Map, array       what fromJson gives (map[string]interface {}, []interface {})
 *   GoTime           time.Time
 *   Named            a number with a name of its own: time.Month, time.Weekday
 */
export type Value = undefined | string | boolean | bigint | number | LabelMap | GoMap | GoList | GoTime | Named;
export type GoMap = ReadonlyMap<string, Value>;
export type GoList = readonly Value[];

/** The labels of the entry. */
export class LabelMap {
  private readonly read: (name: string) => string;
  private readonly list: () => readonly (readonly [string, string])[];

  constructor(read: (name: string) => string, list: () => readonly (readonly [string, string])[]) {
    this.read = read;
    this.list = list;
  }

  /** "" for a label that is absent. */
  get(name: string): string {
    return this.read(name);
  }

  /** Sorted by name. */
  entries(): readonly (readonly [string, string])[] {
    return this.list();
  }
}

export class Named {
  readonly kind: string;
  readonly text: string;
  readonly value: bigint;

  constructor(kind: string, text: string, value: bigint) {
    this.kind = kind;
    this.text = text;
    this.value = value;
  }
}

/** The name of the value's type in Go. */
export function typeName(value: Value): string {
  switch (typeof value) {
    case "undefined":
      return "<nil>";
    case "string":
      return "string";
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return "float64";
  }
  if (value instanceof LabelMap) return "map[string]string";
  if (value instanceof Map) return "map[string]interface {}";
  if (value instanceof GoTime) return "time.Time";
  if (value instanceof Named) return value.kind;
  return "[]interface {}";
}

/** Whether `if`, `with`, `and` and their like take the value for true. */
export function isTrue(value: Value): boolean {
  switch (typeof value) {
    case "undefined":
      return false;
    case "string":
      return value !== "";
    case "boolean":
      return value;
    case "bigint":
      return value !== 0n;
    case "number":
      return value !== 0;
  }
  if (value instanceof LabelMap) return value.entries().length > 0;
  if (value instanceof Map) return value.size > 0;
  if (Array.isArray(value)) return value.length > 0;
  return !(value instanceof Named) || value.value !== 0n;
}

/** The pairs of a map in the order in which Go prints and ranges over it: by the bytes of the keys. */
export function sortedPairs(map: LabelMap | GoMap): readonly (readonly [string, Value])[] {
  if (map instanceof LabelMap) return map.entries();
  return [...map].sort(([a], [b]) => compareText(a, b));
}

/** Compares as Go does, by bytes of UTF-8, which differs from JavaScript beyond U+FFFF. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  if (isAscii(a) && isAscii(b)) return a < b ? -1 : 1;
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

export function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

/** Bytes of a text in UTF-8, which is what Go's `len` counts. */
export function byteLength(text: string): number {
  return Buffer.byteLength(text);
}

/** A text's bytes [from, to). A character that is cut comes out as U+FFFD. */
export function byteSlice(text: string, from: number, to: number): string {
  return isAscii(text) ? text.slice(from, to) : Buffer.from(text).subarray(from, to).toString();
}
