import { NumberText } from "../core/component.ts";
import { splitNs } from "../core/time.ts";
import { metadataName } from "./metadata.ts";
import type { OtlpOptions } from "./options.ts";
import { LINES_A_SLICE, type PushedLine, type PushedStream, type Sliced } from "./stream.ts";

/*
 * OpenTelemetry's logs, decoded, and what becomes of them. Source: "Loki's HTTP contract", 4, and OTLP's logs.proto.
 */

/** Text is its UTF-8 bytes, so that a body needs no detour over a string. */
export type AnyValue = null | boolean | Buffer | NumberText | Blob | AnyValue[] | AnyMap;

/** Bytes that are no text. */
export class Blob {
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

export type Attribute = readonly [key: string, value: AnyValue];

export class AnyMap {
  readonly pairs: readonly Attribute[];
  constructor(pairs: readonly Attribute[]) {
    this.pairs = pairs;
  }
}

/** Deepest nesting of values. Far more than logs have, and the stack has an end. */
export const VALUE_DEPTH_MAX = 64;

export interface OtlpRecord {
  /** Nanoseconds since 1970; 0 where there is none. */
  timeNs: bigint;
  observedNs: bigint;
  severityNumber: number;
  severityText: string;
  body: AnyValue;
  attributes: Attribute[];
  droppedAttributes: number;
  flags: number;
  /** Lower-case hex of 16 and 8 bytes; "" where there is none. */
  traceId: string;
  spanId: string;
  eventName: string;
}

export const newRecord = (): OtlpRecord => ({
  timeNs: 0n,
  observedNs: 0n,
  severityNumber: 0,
  severityText: "",
  body: null,
  attributes: [],
  droppedAttributes: 0,
  flags: 0,
  traceId: "",
  spanId: "",
  eventName: "",
});

export interface OtlpScope {
  name: string;
  version: string;
  attributes: Attribute[];
  droppedAttributes: number;
  records: OtlpRecord[];
}

export interface OtlpResource {
  attributes: Attribute[];
  scopes: OtlpScope[];
}

const ZEROS = /^0*$/;

/** The id, if it is one: lower-case hex of `bytes` bytes, not all zeros. An id that is none never costs the record. */
export function validId(hex: string, bytes: number): string {
  return hex.length === bytes * 2 && /^[0-9a-f]+$/.test(hex) && !ZEROS.test(hex) ? hex : "";
}

/** The streams that the records of `resources` belong to. `nowNs` is the time of records that have none. */
export function* otlpStreams(
  resources: readonly OtlpResource[],
  options: Pick<OtlpOptions, "resource_labels" | "drop_attributes">,
  nowNs: bigint,
): Sliced<PushedStream[]> {
  const isLabel = new Set(options.resource_labels);
  const isDropped = new Set(options.drop_attributes);
  const streams: PushedStream[] = [];
  let count = 0;
  for (const resource of resources) {
    const labels: Record<string, string> = {};
    const shared: [string, string][] = [];
    for (const attribute of resource.attributes) {
      if (isDropped.has(attribute[0])) continue;
      if (!isLabel.has(attribute[0])) addAttribute(shared, attribute);
      else {
        const found: [string, string][] = [];
        addAttribute(found, attribute);
        for (const [name, value] of found) labels[name] = value;
      }
    }
    const lines: PushedLine[] = [];
    for (const scope of resource.scopes) {
      const ofScope = [...shared, ...scopeMetadata(scope, isDropped)];
      for (const record of scope.records) {
        lines.push(lineOf(record, ofScope, isDropped, nowNs));
        if (++count % LINES_A_SLICE === 0) yield;
      }
    }
    if (lines.length > 0) streams.push({ labels, lines });
  }
  return streams;
}

function scopeMetadata(scope: OtlpScope, isDropped: ReadonlySet<string>): [string, string][] {
  const pairs: [string, string][] = [];
  for (const attribute of scope.attributes) if (!isDropped.has(attribute[0])) addAttribute(pairs, attribute);
  pairs.push(["scope_name", scope.name], ["scope_version", scope.version]);
  if (scope.droppedAttributes > 0) pairs.push(["scope_dropped_attributes_count", String(scope.droppedAttributes)]);
  return pairs;
}

function lineOf(
  record: OtlpRecord,
  shared: readonly [string, string][],
  isDropped: ReadonlySet<string>,
  nowNs: bigint,
): PushedLine {
  const metadata = [...shared];
  for (const attribute of record.attributes) if (!isDropped.has(attribute[0])) addAttribute(metadata, attribute);
  const add = (name: string, value: string | number) => {
    if (value !== "" && value !== 0) metadata.push([name, String(value)]);
  };
  add("severity_number", record.severityNumber);
  add("severity_text", record.severityText);
  add("dropped_attributes_count", record.droppedAttributes);
  add("flags", record.flags);
  add("event_name", record.eventName);
  if (record.timeNs !== 0n && record.observedNs !== 0n) add("observed_timestamp", String(record.observedNs));
  add("trace_id", record.traceId);
  add("span_id", record.spanId);
  const ns = record.timeNs !== 0n ? record.timeNs : record.observedNs !== 0n ? record.observedNs : nowNs;
  return { ...splitNs(ns), line: bodyBytes(record.body), metadata };
}

/** Adds an attribute under its valid name; a map's members each under the names on the way to them. */
function addAttribute(pairs: [string, string][], [key, value]: Attribute, prefix = ""): void {
  const name = prefix === "" ? key : `${prefix}_${key}`;
  if (value instanceof AnyMap) {
    for (const pair of value.pairs) addAttribute(pairs, pair, name);
    return;
  }
  pairs.push([metadataName(name), textOf(value)]);
}

function textOf(value: AnyValue): string {
  if (value === null) return "";
  if (Buffer.isBuffer(value)) return value.toString("utf8");
  if (value instanceof Blob) return value.bytes.toString("base64");
  if (value instanceof NumberText || typeof value === "boolean") return String(value);
  return jsonOf(value);
}

function bodyBytes(body: AnyValue): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.from(textOf(body));
}

/** Compact JSON with sorted keys. Of a key that stands twice the last one counts. */
function jsonOf(value: AnyValue): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (value instanceof NumberText) return /[A-Za-z]{2}/.test(value.text) ? JSON.stringify(value.text) : value.text;
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(",")}]`;
  if (!(value instanceof AnyMap)) return JSON.stringify(textOf(value));
  const members = new Map(value.pairs);
  const parts = [...members.keys()].sort().map((key) => `${JSON.stringify(key)}:${jsonOf(members.get(key) ?? null)}`);
  return `{${parts.join(",")}}`;
}

/** A number as its text; what JSON has no number for as Go prints it. */
export function numberText(value: number | bigint): NumberText {
  if (typeof value === "number" && !Number.isFinite(value)) {
    return new NumberText(Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
  }
  return new NumberText(String(value));
}
