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
  type OtlpScopeFacts,
  ResourcePieces,
  VALUE_DEPTH_MAX,
  validId,
} from "./otlp.ts";
import { ProtoReader, type Span } from "./proto-reader.ts";
import { type Pieces, Turns } from "./stream.ts";

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

/** Decodes a body: resources with some of their scopes and records each. Throws PushError 400. */
export function* readOtlpProto(body: Buffer, items: ItemBudget): Pieces<OtlpResource> {
  const reader = new ProtoReader(body, items);
  const turns = new Turns();
  for (const logs of messages(reader, { start: 0, end: body.length }, 1)) {
    const pieces = new ResourcePieces(items);
    items.begin();
    if (reader.isDue()) yield;
    for (const [field, part] of parts(reader, logs)) {
      if (field === 1) pieces.attributes = [...messages(reader, part, 1)].map((pair) => readPair(reader, pair, 0));
      else if (field === 2) yield* readScopeLogs(reader, part, turns, pieces);
    }
    yield pieces.rest();
  }
}

function* readScopeLogs(reader: ProtoReader, span: Span, turns: Turns, pieces: ResourcePieces): Pieces<OtlpResource> {
  pieces.beginScope();
  reader.items?.begin();
  if (reader.isDue()) yield;
  for (const [field, message] of parts(reader, span)) {
    if (field === 1) pieces.scope = readScope(reader, message);
    else if (field === 2) {
      pieces.records.push(readRecord(reader, message));
      if (reader.isDue() || turns.isDue(message.end)) yield pieces.next();
    }
  }
  pieces.endScope();
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

function readScope(reader: ProtoReader, span: Span): OtlpScopeFacts {
  reader.items?.begin();
  const scope = { name: "", version: "", attributes: [] as Attribute[], droppedAttributes: 0 };
  reader.enter(span);
  const { end } = span;
  for (let field = reader.next(end); field !== 0; field = reader.next(end)) {
    if (field === 1) scope.name = reader.text(end);
    else if (field === 2) scope.version = reader.text(end);
    else if (field === 3) scope.attributes.push(readInner(reader, end, (pair) => readPair(reader, pair, 0)));
    else if (field === 4) scope.droppedAttributes = reader.integer(end);
  }
  return scope;
}

function readRecord(reader: ProtoReader, span: Span): OtlpRecord {
  reader.items?.begin();
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
      record.body = readInner(reader, end, (value) => readValue(reader, value, 0, true));
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

/** `asBytes`: a text as its bytes. */
function readValue(reader: ProtoReader, span: Span, depth: number, asBytes = false): AnyValue {
  if (depth > VALUE_DEPTH_MAX) throw reader.bad(`a value is nested deeper than ${VALUE_DEPTH_MAX}`);
  const { end } = span;
  let value: AnyValue = null;
  reader.enter(span);
  for (let field = reader.next(end); field !== 0; field = reader.next(end)) {
    if (field === 1) value = asBytes ? reader.view(end) : reader.text(end);
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
