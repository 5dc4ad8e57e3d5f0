import type { Labels } from "../core/labels.ts";
import { sanitizeLabelName } from "../core/labels.ts";
import { Slices } from "../core/slices.ts";
import { ERROR_DETAILS_LABEL, ERROR_LABEL, PRESERVE_ERROR_LABEL } from "../query/stages/entry.ts";
import { parseByteSize, parseGoDuration, parseGoFloat } from "../query/syntax/units.ts";
import { DECIMAL } from "./go.ts";

/*
 * Which fields lines have, and of which types. Source: "Loki's HTTP contract", 9.
 */

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Labels that are shown whatever their values are. */
const ALWAYS = new Set(["cluster", "namespace", "instance", "pod"]);
const BOOLEANS = new Set(["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"]);
/** Sizes as people write them: `2KB`, `1.5 MiB`, `10b`. */
const BYTES = /^\d+(?:\.\d+)?\s*(?:[kmgtp]i?b?|b)$/i;
/** A key begins where the run of its characters does: tried at each place of it, a long word would take the square of its length. */
const LOGFMT_PAIR = /(?<![^\s="])([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"=]*))/g;
const ERROR_LABELS = new Set([ERROR_LABEL, ERROR_DETAILS_LABEL, PRESERVE_ERROR_LABEL]);
const JSON_DEPTH_MAX = 32;

export type FieldType = "int" | "float" | "boolean" | "duration" | "bytes" | "string";

/** Streams, or values, between two looks at the clock. */
const ITEMS_A_SLICE = 256;

/** `detected_labels`: names with the number of their values, without those that are only numbers or ids. In slices, as streams may be very many. */
export async function detectLabels(series: readonly Labels[]): Promise<{ label: string; cardinality: number }[]> {
  const slices = new Slices();
  const values = new Map<string, Set<string>>();
  for (let i = 0; i < series.length; i++) {
    for (const [name, value] of Object.entries(series[i])) {
      const known = values.get(name);
      if (known === undefined) values.set(name, new Set([value]));
      else known.add(value);
    }
    if (i % ITEMS_A_SLICE === 0) await slices.turn();
  }
  const found: { label: string; cardinality: number }[] = [];
  for (const [label, set] of values) {
    if (ALWAYS.has(label) || (await isTelling(set, slices))) found.push({ label, cardinality: set.size });
  }
  return found.sort((a, b) => (a.label < b.label ? -1 : 1));
}

async function isTelling(values: ReadonlySet<string>, slices: Slices): Promise<boolean> {
  let areFlags = true;
  let looked = 0;
  for (const value of values) {
    if (!DECIMAL.test(value) && !UUID.test(value)) return true;
    areFlags &&= value === "0" || value === "1";
    if (++looked % ITEMS_A_SLICE === 0) await slices.turn();
  }
  return areFlags;
}

/** The type of a value: the first that fits, in Loki's order. */
export function typeOf(value: string): FieldType {
  if (/^[+-]?\d{1,19}$/.test(value)) return "int";
  if (parseGoFloat(value) !== null || /^[+-]?(?:inf|infinity|nan)$/i.test(value)) return "float";
  if (BOOLEANS.has(value)) return "boolean";
  if (parseGoDuration(value) !== null) return "duration";
  return BYTES.test(value) ? "bytes" : "string";
}

/** A value that is a size in the form that fits a label filter: `2KB`. */
export function shortBytes(value: string): string {
  const size = parseByteSize(value.replace(/\s+/g, ""));
  if (!("bytes" in size)) return value;
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let amount = size.bytes;
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit++;
  }
  return `${amount < 10 ? Number(amount.toFixed(1)) : Math.round(amount)}${units[unit]}`;
}

/** An entry of a categorised answer. */
export interface SampledEntry {
  readonly stream: Labels;
  readonly structuredMetadata: Labels;
  readonly parsed: Labels;
  readonly line: string;
}

interface Field {
  type: FieldType;
  readonly values: Set<string>;
  readonly parsers: Set<string>;
  /** The names on the way to it in JSON; null where it is none. */
  jsonPath: readonly string[] | null;
}

export interface DetectedField {
  readonly label: string;
  readonly type: FieldType;
  readonly cardinality: number;
  readonly parsers: readonly string[] | null;
  readonly jsonPath?: readonly string[];
}

/** Most fields that are told apart, whatever is asked for, and values of all of them: a line of a few bytes for each takes a hundred times as many here. */
const FIELDS_MAX = 10_000;
const VALUES_MAX = 500_000;

export interface FieldsWanted {
  /** Parsers that the query itself has. */
  readonly parsers: readonly string[];
  /** Fields that are wanted at most: the first that are seen. */
  readonly limit: number;
  /** The one field that is wanted; null for all. */
  readonly only: string | null;
}

/** Collects the fields of sampled lines. */
export class DetectedFields {
  private readonly fields = new Map<string, Field>();
  private readonly wanted: FieldsWanted;
  private valueCount = 0;

  constructor(wanted: FieldsWanted) {
    this.wanted = wanted;
  }

  /** In slices: a line of 256 KiB may have 60,000 pairs. */
  async add({ stream, structuredMetadata, parsed, line }: SampledEntry, slices: Slices): Promise<void> {
    for (const [name, value] of Object.entries(structuredMetadata)) this.note(name, value, null, null);
    for (const [name, value] of Object.entries(parsed)) {
      for (const parser of this.wanted.parsers.length === 0 ? [null] : this.wanted.parsers)
        this.note(name, value, parser, null);
    }
    const named = (name: string) => (Object.hasOwn(stream, name) ? `${name}_extracted` : name);
    let looked = 0;
    const root = jsonObject(line);
    if (root !== null) {
      for (const { name, value, path } of jsonFields(root, [])) {
        this.note(named(name), value, "json", path);
        if (++looked % ITEMS_A_SLICE === 0) await slices.turn();
      }
      return;
    }
    for (const [, key, quoted, bare] of line.matchAll(LOGFMT_PAIR)) {
      const value = quoted === undefined ? bare : unquote(quoted);
      if (value !== "") this.note(named(sanitizeLabelName(key)), value, "logfmt", null);
      if (++looked % ITEMS_A_SLICE === 0) await slices.turn();
    }
  }

  /** The fields, by the order in which they were seen. */
  list(): DetectedField[] {
    return [...this.fields].map(([label, { type, values, parsers, jsonPath }]) => ({
      label,
      type,
      cardinality: values.size,
      parsers: parsers.size === 0 ? null : [...parsers].sort(),
      ...(jsonPath === null ? {} : { jsonPath }),
    }));
  }

  /** The values of one field, at most `limit`. */
  valuesOf(name: string, limit: number): string[] {
    const values = [...(this.fields.get(name)?.values ?? [])].map((value) =>
      typeOf(value) === "bytes" ? shortBytes(value) : value,
    );
    return [...new Set(values)].slice(0, limit);
  }

  private note(name: string, value: string, parser: string | null, path: readonly string[] | null): void {
    if (name === "" || ERROR_LABELS.has(name)) return;
    let field = this.fields.get(name);
    if (field === undefined) {
      const { limit, only } = this.wanted;
      if ((only !== null && name !== only) || this.fields.size >= Math.min(limit, FIELDS_MAX)) return;
      field = { type: "string", values: new Set(), parsers: new Set(), jsonPath: null };
      this.fields.set(name, field);
    }
    field.type = typeOf(value);
    if (this.valueCount < VALUES_MAX && !field.values.has(value)) {
      field.values.add(value);
      this.valueCount++;
    }
    if (parser !== null) field.parsers.add(parser);
    field.jsonPath ??= path;
  }
}

/** The JSON object that a line is; null where it is none, and where it only looks so: that is tried as logfmt. */
function jsonObject(line: string): object | null {
  if (!/^\s*\{/.test(line)) return null;
  try {
    return JSON.parse(line) as object; // It begins as an object does.
  } catch {
    return null;
  }
}

interface JsonField {
  readonly name: string;
  readonly value: string;
  readonly path: readonly string[];
}

/** The plain values of an object, under the names that `| json` gives them. */
function* jsonFields(value: unknown, path: readonly string[]): Generator<JsonField> {
  if (path.length > JSON_DEPTH_MAX || Array.isArray(value) || value === null) return;
  if (typeof value === "object") {
    for (const [key, inner] of Object.entries(value)) yield* jsonFields(inner, [...path, key]);
    return;
  }
  const name = path
    .map((part, i) => (i === 0 ? sanitizeLabelName(part) : part.replace(/[^A-Za-z0-9_]/gu, "_")))
    .join("_");
  const text = String(value);
  if (text !== "") yield { name, value: text, path };
}

function unquote(text: string): string {
  if (!text.includes("\\")) return text;
  try {
    return JSON.parse(`"${text}"`) as string; // What stands between quotes is a text.
  } catch {
    return text;
  }
}
