import { isUtf8 } from "node:buffer";
import { PbfWriter } from "../../src/codec/protobuf.ts";
import type { SinkRecord } from "../../src/core/sink.ts";
import { joinNs } from "../../src/core/time.ts";

/*
 * ExportLogsServiceRequest as protobuf.
 *   request        1 resource_logs
 *   ResourceLogs   1 resource   2 scope_logs          Resource   1 attributes
 *   ScopeLogs      1 scope   2 log_records            Scope      1 name   2 version
 *   LogRecord      1 time: fixed64   2 severity_number   3 severity_text   5 body   6 attributes
 *                  8 flags: fixed32   9 trace_id   10 span_id   11 observed: fixed64   12 event_name
 *   KeyValue       1 key   2 value
 *   AnyValue       1 string   2 bool   3 int64   4 double   5 array (1 values)   6 map (1 KeyValue)   7 bytes
 * Source: OTLP, opentelemetry/proto/logs/v1/logs.proto and common/v1/common.proto.
 */
const FIXED64 = 1;
const TIME_NS_MAX = 2n ** 64n - 1n;
const U32 = 0xffff_ffffn;
const DEPTH_MAX = 64;

/** Metadata that has a place of its own in a record or its scope; of the level see `severityOf`. */
const OWN_PLACE: ReadonlySet<string> = new Set([
  "trace_id",
  "span_id",
  "flags",
  "severity_number",
  "severity_text",
  "observed_timestamp",
  "event_name",
  "scope_name",
  "scope_version",
  "detected_level",
]);
/** The least number of each range. Source: OpenTelemetry, "Logs Data Model", SeverityNumber. */
const SEVERITIES: Readonly<Record<string, number>> = {
  trace: 1,
  debug: 5,
  info: 9,
  warn: 13,
  error: 17,
  critical: 21,
  fatal: 21,
};

export interface OtlpForm {
  /** Name of the resource attribute for a label. */
  readonly attributeOf: (label: string) => string;
  /** Whether the record's fields go along as attributes. */
  readonly withFields: boolean;
}

interface Placed {
  readonly record: SinkRecord;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Why OTLP has no way to say the record, or null. */
export function otlpProblem({ sec, nsec }: SinkRecord): string | null {
  const ns = joinNs(sec, nsec);
  if (ns >= 0n && ns <= TIME_NS_MAX) return null;
  return `OTLP has no time for ${sec} s since 1970, want 0 to ${TIME_NS_MAX / 1_000_000_000n}`;
}

/** The body of a request: records by their labels, and within these by their scope. */
export function encodeOtlp(batch: readonly SinkRecord[], form: OtlpForm): Buffer {
  const resources = new Map<string, Map<string, Placed[]>>();
  for (const record of batch) {
    const metadata = new Map(record.metadata);
    const scopes = resources.get(record.canonical) ?? new Map<string, Placed[]>();
    resources.set(record.canonical, scopes);
    const scope = JSON.stringify([metadata.get("scope_name") ?? "", metadata.get("scope_version") ?? ""]);
    const placed = scopes.get(scope);
    if (placed === undefined) scopes.set(scope, [{ record, metadata }]);
    else placed.push({ record, metadata });
  }
  const out = new PbfWriter();
  for (const scopes of resources.values())
    out.writeMessage(1, (all: typeof scopes, pbf) => writeResource(all, form, pbf), scopes);
  return Buffer.from(out.finish());
}

function writeResource(scopes: ReadonlyMap<string, readonly Placed[]>, form: OtlpForm, pbf: PbfWriter): void {
  const [[{ record }]] = [...scopes.values()];
  const attributes = Object.entries(record.labels).map(([label, value]) => [form.attributeOf(label), value] as const);
  pbf.writeMessage(
    1,
    (pairs: typeof attributes, to) => {
      for (const pair of pairs) to.writeMessage(1, writeText, pair);
    },
    attributes,
  );
  for (const placed of scopes.values()) {
    pbf.writeMessage(2, (all: typeof placed, to) => writeScope(all, form, to), placed);
  }
}

function writeScope(placed: readonly Placed[], { withFields }: OtlpForm, pbf: PbfWriter): void {
  const [{ metadata }] = placed;
  const name = metadata.get("scope_name") ?? "";
  const version = metadata.get("scope_version") ?? "";
  if (name !== "" || version !== "") {
    pbf.writeMessage(
      1,
      (scope: readonly string[], to) => {
        if (scope[0] !== "") to.writeStringField(1, scope[0]);
        if (scope[1] !== "") to.writeStringField(2, scope[1]);
      },
      [name, version],
    );
  }
  for (const one of placed) pbf.writeMessage(2, withFields ? writeWithFields : writeRecord, one);
}

function writeRecord({ record, metadata }: Placed, pbf: PbfWriter): void {
  const { sec, nsec, line, receivedMs } = record;
  const time = joinNs(sec, nsec);
  writeFixed64(1, time, pbf);
  const { number, text } = severityOf(metadata);
  if (number !== 0) pbf.writeVarintField(2, number);
  if (text !== "") pbf.writeStringField(3, text);
  pbf.writeMessage(5, writeBody, line);
  for (const pair of record.metadata) if (!OWN_PLACE.has(pair[0])) pbf.writeMessage(6, writeText, pair);
  const flags = Number(metadata.get("flags") ?? 0);
  if (Number.isInteger(flags) && flags > 0 && flags <= 0xffff_ffff) pbf.writeFixed32Field(8, flags);
  writeId(9, metadata.get("trace_id"), 32, pbf);
  writeId(10, metadata.get("span_id"), 16, pbf);
  // The same on every try, so that a repeat can be told: never the present time.
  writeFixed64(11, observedOf(metadata) ?? (receivedMs === undefined ? time : BigInt(receivedMs) * 1_000_000n), pbf);
  const event = metadata.get("event_name") ?? "";
  if (event !== "") pbf.writeStringField(12, event);
}

/** The record's fields go before its metadata: keys are unique, and metadata has what the pipeline made of them. */
function writeWithFields(placed: Placed, pbf: PbfWriter): void {
  const { record, metadata } = placed;
  const line = record.line.toString();
  for (const [name, value] of Object.entries(fieldsOf(record))) {
    // The line is the body already.
    if (value !== line && !metadata.has(name)) pbf.writeMessage(6, writePair, [name, value]);
  }
  writeRecord(placed, pbf);
}

function fieldsOf({ json }: SinkRecord): Record<string, unknown> {
  return json === "" ? {} : (JSON.parse(json) as Record<string, unknown>); // Our own writing.
}

function severityOf(metadata: ReadonlyMap<string, string>): { number: number; text: string } {
  const level = metadata.get("detected_level") ?? "";
  const given = Number(metadata.get("severity_number") ?? Number.NaN);
  const isNumber = Number.isInteger(given) && given > 0 && given <= 24;
  return {
    number: isNumber ? given : Object.hasOwn(SEVERITIES, level) ? SEVERITIES[level] : 0,
    text: metadata.get("severity_text") ?? (isNumber ? "" : level),
  };
}

function observedOf(metadata: ReadonlyMap<string, string>): bigint | null {
  const text = metadata.get("observed_timestamp") ?? "";
  if (!/^\d{1,20}$/.test(text)) return null;
  const ns = BigInt(text);
  return ns <= TIME_NS_MAX ? ns : null;
}

function writeId(field: number, hex: string | undefined, digits: number, pbf: PbfWriter): void {
  if (hex?.length === digits && /^[0-9a-f]+$/.test(hex)) pbf.writeBytesField(field, Buffer.from(hex, "hex"));
}

function writeFixed64(field: number, value: bigint, pbf: PbfWriter): void {
  pbf.writeTag(field, FIXED64);
  pbf.writeFixed32(Number(value & U32));
  pbf.writeFixed32(Number(value >> 32n));
}

function writeBody(line: Buffer, pbf: PbfWriter): void {
  // A string field holds UTF-8; its bytes are written as they are.
  pbf.writeBytesField(isUtf8(line) ? 1 : 7, line);
}

function writeText([name, value]: readonly [string, string], pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  pbf.writeMessage(2, (text: string, to) => to.writeStringField(1, text), value);
}

function writePair([name, value]: readonly [string, unknown], pbf: PbfWriter): void {
  pbf.writeStringField(1, name);
  pbf.writeMessage(2, (inner: unknown, to) => writeValue(inner, to, 0), value);
}

function writeValue(value: unknown, pbf: PbfWriter, depth: number): void {
  if (typeof value === "string") pbf.writeStringField(1, value);
  else if (typeof value === "boolean") pbf.writeBooleanField(2, value);
  else if (typeof value === "number") {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) pbf.writeVarintField(3, value);
    else pbf.writeDoubleField(4, value);
  } else if (typeof value === "object" && value !== null) {
    if (depth >= DEPTH_MAX) pbf.writeStringField(1, JSON.stringify(value));
    else if (Array.isArray(value)) {
      pbf.writeMessage(
        5,
        (items: readonly unknown[], to) => {
          for (const item of items) to.writeMessage(1, (inner: unknown, of) => writeValue(inner, of, depth + 1), item);
        },
        value,
      );
    } else {
      pbf.writeMessage(
        6,
        (members: readonly (readonly [string, unknown])[], to) => {
          for (const [name, item] of members) {
            to.writeMessage(
              1,
              (pair: unknown, of) => {
                of.writeStringField(1, name);
                of.writeMessage(2, (inner: unknown, at) => writeValue(inner, at, depth + 1), pair);
              },
              item,
            );
          }
        },
        Object.entries(value),
      );
    }
  }
}
