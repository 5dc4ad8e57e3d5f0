import { z } from "zod";
import { messageOf, WeirError } from "../../src/core/errors.ts";
import { parsePath } from "../../src/core/path.ts";
import type { SinkRecord } from "../../src/core/sink.ts";

/*
 * Values of a record by name:
 *   $labels.app   $metadata.pod   $level   $tenant   $line   $line_bytes   and a path into the record's fields: `http.status`,
 *   kubernetes.labels["app.kubernetes.io/name"]. A field that the record does not have is looked for in its metadata.
 */
const OWN = new Set(["$tenant", "$line_bytes"]);
const LEVEL = "detected_level";

/** One record, looked at as often as is wanted and decoded once. */
export class RecordValues {
  readonly record: SinkRecord;
  private fieldsRead: unknown;
  private metadataRead: ReadonlyMap<string, string> | null = null;

  constructor(record: SinkRecord) {
    this.record = record;
  }

  /** The record's fields: an object, or an empty one where it has none. */
  get fields(): unknown {
    // Our own writing; "" where nothing of it is wanted.
    this.fieldsRead ??= this.record.json === "" ? {} : JSON.parse(this.record.json);
    return this.fieldsRead;
  }

  get metadata(): ReadonlyMap<string, string> {
    this.metadataRead ??= new Map(this.record.metadata);
    return this.metadataRead;
  }
}

/** Text for what is there, undefined for nothing. */
export type ReadValue = (values: RecordValues) => string | undefined;

/** The schema of an option that names a value. */
export const valueName = z.string().check((input) => {
  try {
    compileValue(input.value);
  } catch (error) {
    const reason = error instanceof WeirError ? (error.context.reason ?? error.message) : messageOf(error);
    input.issues.push({ code: "custom", input: input.value, message: `want a value's name: ${String(reason)}` });
  }
});

/** Throws WeirError `bad_path`. */
export function compileValue(text: string): ReadValue {
  if (text === "$tenant") return ({ record }) => record.tenant;
  if (text === "$line_bytes") return ({ record }) => String(record.line.length);
  const { root, segments } = parsePath(text);
  switch (root) {
    case "record":
      return fieldValue(segments);
    case "line":
      return ({ record }) => record.line.toString();
    case "level":
      return ({ metadata }) => metadata.get(LEVEL);
    case "labels":
      return labelValue(one(segments, text));
    case "metadata":
      return metadataValue(one(segments, text));
    default:
      throw bad(
        text,
        `a sink's record has no $${root}, only $labels, $metadata, $level, $tenant, $line and $line_bytes`,
      );
  }
}

/** The top-level field that a value needs of the record, or null. */
export function fieldOf(text: string): string | null {
  if (OWN.has(text)) return null;
  const { root, segments } = parsePath(text);
  return root === "record" ? segments[0] : null;
}

function one(segments: readonly string[], text: string): string {
  if (segments.length !== 1) throw bad(text, "want one name behind the first dot");
  return segments[0];
}

function bad(text: string, reason: string): WeirError {
  return new WeirError("bad_path", `${JSON.stringify(text)}: ${reason}`, { context: { path: text, reason } });
}

function labelValue(name: string): ReadValue {
  return ({ record: { labels } }) => (Object.hasOwn(labels, name) ? labels[name] : undefined);
}

function metadataValue(name: string): ReadValue {
  return ({ metadata }) => metadata.get(name);
}

function fieldValue(segments: readonly string[]): ReadValue {
  const asMetadata = segments.join("_");
  return ({ fields, metadata }) => {
    let value: unknown = fields;
    for (const segment of segments) {
      const has = typeof value === "object" && value !== null && Object.hasOwn(value, segment);
      value = has ? (value as Record<string, unknown>)[segment] : undefined;
    }
    return value === undefined || value === null ? metadata.get(asMetadata) : textOf(value);
  };
}

function textOf(value: unknown): string {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export const READINGS = ["number", "duration", "bytes"] as const;
export type Reading = (typeof READINGS)[number];

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,4})?$/i;
const DURATION = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h|d))+$/;
const DURATION_PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)/g;
const SECONDS: Readonly<Record<string, number>> = {
  ns: 1e-9,
  us: 1e-6,
  µs: 1e-6,
  μs: 1e-6,
  ms: 1e-3,
  s: 1,
  m: 60,
  h: 3600,
  d: 86_400,
};
const BYTES = /^(\d+(?:\.\d*)?|\.\d+) ?([kmgtp]?)(i?)b?$/i;
const POWERS = ["", "k", "m", "g", "t", "p"];
/** Longer texts are no number. */
const TEXT_CHARS_MAX = 64;

/** The number that a text says: as it is, as a duration (`1m30s`, `250ms`: seconds), or as bytes (`10kB`, `1.5 MiB`); or null. */
export function readNumber(given: string, as: Reading): number | null {
  const text = given.trim();
  if (text.length > TEXT_CHARS_MAX) return null;
  const value = as === "number" ? plainNumber(text) : as === "duration" ? duration(text) : bytes(text);
  return value !== null && Number.isFinite(value) ? value : null;
}

function plainNumber(text: string): number | null {
  return NUMBER.test(text) ? Number(text) : null;
}

function duration(text: string): number | null {
  const whole = DURATION.exec(text);
  if (whole === null) return null;
  let seconds = 0;
  for (const [, value, unit] of text.matchAll(DURATION_PART)) seconds += Number(value) * SECONDS[unit];
  return whole[1] === "-" ? -seconds : seconds;
}

function bytes(text: string): number | null {
  const match = BYTES.exec(text);
  if (match === null) return null;
  const [, value, prefix, binary] = match;
  if (binary !== "" && prefix === "") return null;
  return Number(value) * (binary === "" ? 1000 : 1024) ** POWERS.indexOf(prefix.toLowerCase());
}
