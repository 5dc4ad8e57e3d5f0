import type { ItemBudget } from "./item-budget.ts";
import {
  AnyMap,
  type AnyValue,
  type Attribute,
  Blob,
  newRecord,
  numberText,
  type OtlpRecord,
  type OtlpResource,
  type OtlpScope,
  VALUE_DEPTH_MAX,
  validId,
} from "./otlp.ts";
import { ProtoReader, type Span } from "./proto-reader.ts";
import { type Sliced, Turns } from "./stream.ts";

/*
 * ExportLogsServiceRequest as protobuf. Fields that are not named here are skipped.
 *   request        1 resource_logs
 *   ResourceLogs   1 resource   2 scope_logs          Resource   1 attributes
 *   ScopeLogs      1 scope   2 log_records            Scope      1 name   2 version   3 attributes   4 dropped
 *   LogRecord      1 time: fixed64   2 severity_number   3 severity_text   5 body   6 attributes   7 dropped
 *                  8 flags: fixed32   9 trace_id   10 span_id   11 observed: fixed64   12 event_name
 *   KeyValue       1 key   2 value
 *   AnyValue       1 string   2 bool   3 int64   4 double   5 array (1 values)   6 map (1 KeyValue)   7 bytes
 * Source: OTLP, opentelemetry/proto/logs/v1/logs.proto and common/v1/common.proto.
 */

/** Decodes a body. Throws PushError 400. */
export function* readOtlpProto(body: Buffer, items: ItemBudget): Sliced<OtlpResource[]> {
  const reader = new ProtoReader(body, items);
  const resources: OtlpResource[] = [];
  const turns = new Turns();
  for (const logs of messages(reader, { start: 0, end: body.length }, 1)) {
    const resource: OtlpResource = { attributes: [], scopes: [] };
    resources.push(resource);
    for (const [field, part] of parts(reader, logs)) {
      if (field === 1) {
        for (const pair of messages(reader, part, 1)) resource.attributes.push(readPair(reader, pair, 0));
      } else if (field === 2) {
        const scope: OtlpScope = { name: "", version: "", attributes: [], droppedAttributes: 0, records: [] };
        resource.scopes.push(scope);
        for (const [inner, message] of parts(reader, part)) {
          if (inner === 1) readScope(reader, message, scope);
          else if (inner === 2) {
            scope.records.push(readRecord(reader, message));
            if (turns.isDue(message.end)) yield;
          }
        }
      }
    }
  }
  return resources;
}

/** The length-delimited fields of a message with their numbers; others are skipped. The reader may be moved in between. */
function* parts(reader: ProtoReader, { start, end }: Span): Generator<readonly [field: number, span: Span]> {
  for (let at = start; ; ) {
    reader.enter({ start: at, end });
    let field = reader.next(end);
    while (field !== 0 && !reader.isBytes) field = reader.next(end);
    if (field === 0) return;
    const span = reader.span(end);
    at = span.end;
    reader.items?.take();
    yield [field, span];
  }
}

function* messages(reader: ProtoReader, span: Span, wanted: number): Generator<Span> {
  for (const [field, part] of parts(reader, span)) if (field === wanted) yield part;
}

function readScope(reader: ProtoReader, span: Span, scope: OtlpScope): void {
  reader.enter(span);
  const { end } = span;
  for (let field = reader.next(end); field !== 0; field = reader.next(end)) {
    if (field === 1) scope.name = reader.text(end);
    else if (field === 2) scope.version = reader.text(end);
    else if (field === 3) scope.attributes.push(readInner(reader, end, (pair) => readPair(reader, pair, 0)));
    else if (field === 4) scope.droppedAttributes = reader.integer(end);
  }
}

function readRecord(reader: ProtoReader, span: Span): OtlpRecord {
  const record = newRecord();
  const { end } = span;
  reader.enter(span);
  for (let field = reader.next(end); field !== 0; field = reader.next(end)) readField(reader, end, field, record);
  return record;
}

function readField(reader: ProtoReader, end: number, field: number, record: OtlpRecord): void {
  switch (field) {
    case 1:
      record.timeNs = reader.fixed64(end);
      break;
    case 2:
      record.severityNumber = reader.integer(end);
      break;
    case 3:
      record.severityText = reader.text(end);
      break;
    case 5:
      record.body = readInner(reader, end, (value) => readValue(reader, value, 0));
      break;
    case 6:
      record.attributes.push(readInner(reader, end, (pair) => readPair(reader, pair, 0)));
      break;
    case 7:
      record.droppedAttributes = reader.integer(end);
      break;
    case 8:
      record.flags = reader.fixed32(end);
      break;
    case 9:
      record.traceId = validId(reader.view(end).toString("hex"), 16);
      break;
    case 10:
      record.spanId = validId(reader.view(end).toString("hex"), 8);
      break;
    case 11:
      record.observedNs = reader.fixed64(end);
      break;
    case 12:
      record.eventName = reader.text(end);
      break;
  }
}

/** Reads a message within the present one, which goes on behind it. */
function readInner<T>(reader: ProtoReader, end: number, read: (span: Span) => T): T {
  const span = reader.span(end);
  reader.items?.take();
  const value = read(span);
  reader.enter({ start: span.end, end });
  return value;
}

function readPair(reader: ProtoReader, span: Span, depth: number): Attribute {
  let key = "";
  let value: AnyValue = null;
  reader.enter(span);
  for (let field = reader.next(span.end); field !== 0; field = reader.next(span.end)) {
    if (field === 1) key = reader.text(span.end);
    else if (field === 2) value = readInner(reader, span.end, (inner) => readValue(reader, inner, depth));
  }
  return [key, value];
}

function readValue(reader: ProtoReader, span: Span, depth: number): AnyValue {
  if (depth > VALUE_DEPTH_MAX) throw reader.bad(`a value is nested deeper than ${VALUE_DEPTH_MAX}`);
  const { end } = span;
  let value: AnyValue = null;
  reader.enter(span);
  for (let field = reader.next(end); field !== 0; field = reader.next(end)) {
    if (field === 1) value = reader.view(end);
    else if (field === 2) value = reader.integer(end) !== 0;
    else if (field === 3) value = numberText(reader.bigInteger(end));
    else if (field === 4) value = numberText(reader.double(end));
    else if (field === 5) value = readInner(reader, end, (list) => readList(reader, list, depth + 1));
    else if (field === 6) value = readInner(reader, end, (map) => readMap(reader, map, depth + 1));
    else if (field === 7) value = new Blob(reader.view(end));
  }
  return value;
}

function readList(reader: ProtoReader, span: Span, depth: number): AnyValue[] {
  return [...messages(reader, span, 1)].map((item) => readValue(reader, item, depth));
}

function readMap(reader: ProtoReader, span: Span, depth: number): AnyMap {
  return new AnyMap([...messages(reader, span, 1)].map((pair) => readPair(reader, pair, depth)));
}
