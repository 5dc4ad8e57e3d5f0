import { NumberText } from "../core/component.ts";
import type { ItemBudget } from "./item-budget.ts";
import { ARRAY, JsonCursor, OBJECT, STRING } from "./json-cursor.ts";
import {
  AnyMap,
  type AnyValue,
  type Attribute,
  Blob,
  NO_SCOPE,
  newRecord,
  numberText,
  type OtlpRecord,
  type OtlpResource,
  type OtlpScopeFacts,
  ResourcePieces,
  VALUE_DEPTH_MAX,
  validId,
} from "./otlp.ts";
import { type Pieces, Turns } from "./stream.ts";

/*
 * ExportLogsServiceRequest as JSON: names in camelCase, ids as hex, 64-bit numbers as text or as numbers, bytes as base64.
 * Names with underscores, as the schema has them, are read too. Source: OTLP specification, "JSON Protobuf Encoding".
 */

/** Four numbers each, from 1 on. Source: OTLP, logs.proto, SeverityNumber. */
const SEVERITIES = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/** Decodes a body: resources with some of their scopes and records each. Throws PushError 400. */
export function* readOtlpJson(body: Buffer, items: ItemBudget): Pieces<OtlpResource> {
  const cursor = new JsonCursor(body, items);
  const turns = new Turns();
  items.begin();
  for (const key of members(cursor)) {
    if (key !== "resourceLogs") yield* cursor.skipping();
    else for (const _ of itemsOf(cursor)) yield* readResource(cursor, turns, items);
  }
  cursor.end();
}

/** The names of an object's members; whoever iterates reads each value. Nothing for `null`. */
function* members(cursor: JsonCursor): Generator<string> {
  if (cursor.takeNull()) return;
  cursor.open(OBJECT);
  for (let isFirst = true; cursor.more(OBJECT, isFirst); isFirst = false) yield camelCase(cursor.key());
}

function* itemsOf(cursor: JsonCursor): Generator<number> {
  if (cursor.takeNull()) return;
  cursor.open(ARRAY);
  for (let i = 0; cursor.more(ARRAY, i === 0); i++) {
    cursor.items?.take();
    yield i;
  }
}

function camelCase(name: string): string {
  return name.includes("_") ? name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()) : name;
}

function* readResource(cursor: JsonCursor, turns: Turns, items: ItemBudget): Pieces<OtlpResource> {
  const pieces = new ResourcePieces(items);
  items.begin();
  for (const key of members(cursor)) {
    if (key === "resource") {
      let attributes: Attribute[] = [];
      for (const inner of members(cursor)) {
        if (inner === "attributes") attributes = yield* cursor.whole(readAllAttributes);
        else yield* cursor.skipping();
      }
      pieces.attributes = attributes;
    } else if (key === "scopeLogs") {
      for (const _ of itemsOf(cursor)) yield* readScopeLogs(cursor, turns, pieces);
    } else yield* cursor.skipping();
  }
  yield pieces.rest();
}

function* readScopeLogs(cursor: JsonCursor, turns: Turns, pieces: ResourcePieces): Pieces<OtlpResource> {
  pieces.beginScope();
  cursor.items?.begin();
  for (const key of members(cursor)) {
    if (key === "scope") pieces.scope = { ...NO_SCOPE, ...(yield* cursor.whole(readScope)) };
    else if (key === "logRecords") {
      for (const _ of itemsOf(cursor)) {
        let record = cursor.attempt(readRecord);
        for (; record === null; record = cursor.attempt(readRecord)) yield;
        pieces.records.push(record);
        if (turns.isDue(cursor.at)) yield pieces.next();
      }
    } else yield* cursor.skipping();
  }
  pieces.endScope();
}

function readScope(cursor: JsonCursor): Partial<OtlpScopeFacts> {
  cursor.items?.begin();
  const scope: { -readonly [K in keyof OtlpScopeFacts]?: OtlpScopeFacts[K] } = {};
  for (const key of members(cursor)) {
    if (key === "name") scope.name = textOf(cursor);
    else if (key === "version") scope.version = textOf(cursor);
    else if (key === "attributes") scope.attributes = readAttributes(cursor, 0);
    else if (key === "droppedAttributesCount") scope.droppedAttributes = Number(integerOf(cursor));
    else cursor.skip();
  }
  return scope;
}

function readRecord(cursor: JsonCursor): OtlpRecord {
  cursor.items?.begin();
  const record = newRecord();
  for (const key of members(cursor)) readMember(cursor, key, record);
  return record;
}

function readMember(cursor: JsonCursor, key: string, record: OtlpRecord): void {
  switch (key) {
    case "timeUnixNano":
      record.timeNs = integerOf(cursor);
      break;
    case "observedTimeUnixNano":
      record.observedNs = integerOf(cursor);
      break;
    case "severityNumber":
      record.severityNumber = severityOf(cursor);
      break;
    case "severityText":
      record.severityText = textOf(cursor);
      break;
    case "body":
      record.body = readValue(cursor, 0, true);
      break;
    case "attributes":
      record.attributes = readAttributes(cursor, 0);
      break;
    case "droppedAttributesCount":
      record.droppedAttributes = Number(integerOf(cursor));
      break;
    case "flags":
      record.flags = Number(integerOf(cursor));
      break;
    case "traceId":
      record.traceId = validId(textOf(cursor).toLowerCase(), 16);
      break;
    case "spanId":
      record.spanId = validId(textOf(cursor).toLowerCase(), 8);
      break;
    case "eventName":
      record.eventName = textOf(cursor);
      break;
    default:
      cursor.skip();
  }
}

function textOf(cursor: JsonCursor): string {
  return cursor.takeNull() ? "" : cursor.text();
}

/** A whole number, as text or as a number, with all its digits. */
function integerOf(cursor: JsonCursor): bigint {
  if (cursor.takeNull()) return 0n;
  const text = cursor.peek() === STRING ? cursor.text() : cursor.plain();
  if (/^-?[0-9]{1,20}$/.test(text)) return BigInt(text);
  const value = Number(text);
  if (text === "" || !Number.isInteger(value)) throw cursor.bad("want a whole number before this");
  return BigInt(value);
}

/** The number, or the schema's name for it, which protobuf's JSON has for enums: `SEVERITY_NUMBER_WARN2`. */
function severityOf(cursor: JsonCursor): number {
  if (cursor.peek() !== STRING) return Number(integerOf(cursor));
  const text = cursor.text();
  if (/^-?[0-9]{1,10}$/.test(text)) return Number(text);
  if (text === "SEVERITY_NUMBER_UNSPECIFIED") return 0;
  const [, level = "", step = "1"] = /^SEVERITY_NUMBER_([A-Z]+)([234]?)$/.exec(text) ?? [];
  const place = SEVERITIES.indexOf(level);
  if (place === -1) throw cursor.bad("want a number of a severity, or its name, before this");
  return place * 4 + Number(step === "" ? "1" : step);
}

/** A number's text; `NaN` and the infinities are texts in JSON, and others may be. */
function doubleOf(cursor: JsonCursor): NumberText | null {
  if (cursor.takeNull()) return null;
  if (cursor.peek() !== STRING) {
    const text = cursor.plain();
    if (text === "true" || text === "false") throw cursor.bad("want a number before this");
    return new NumberText(text);
  }
  const text = cursor.text();
  if (text === "NaN" || text === "Infinity" || text === "-Infinity") return numberText(Number(text));
  if (!/^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/.test(text)) throw cursor.bad("want a number before this");
  return new NumberText(text);
}

function readAllAttributes(cursor: JsonCursor): Attribute[] {
  cursor.items?.begin();
  return readAttributes(cursor, 0);
}

function readAttributes(cursor: JsonCursor, depth: number): Attribute[] {
  const attributes: Attribute[] = [];
  for (const _ of itemsOf(cursor)) {
    let name = "";
    let value: AnyValue = null;
    for (const key of members(cursor)) {
      if (key === "key") name = textOf(cursor);
      else if (key === "value") value = readValue(cursor, depth);
      else cursor.skip();
    }
    attributes.push([name, value]);
  }
  return attributes;
}

/** `asBytes`: a text as its bytes. */
function readValue(cursor: JsonCursor, depth: number, asBytes = false): AnyValue {
  if (depth > VALUE_DEPTH_MAX) throw cursor.bad(`want values nested no deeper than ${VALUE_DEPTH_MAX}`);
  let value: AnyValue = null;
  for (const key of members(cursor)) {
    switch (key) {
      case "stringValue":
        value = cursor.takeNull() ? null : asBytes ? cursor.textBytes() : cursor.text();
        break;
      case "boolValue":
        value = cursor.plain() === "true";
        break;
      case "intValue":
        value = new NumberText(String(integerOf(cursor)));
        break;
      case "doubleValue":
        value = doubleOf(cursor);
        break;
      case "bytesValue":
        value = new Blob(Buffer.from(textOf(cursor), "base64"));
        break;
      case "arrayValue":
        value = readList(cursor, depth + 1);
        break;
      case "kvlistValue":
        value = readMap(cursor, depth + 1);
        break;
      default:
        cursor.skip();
    }
  }
  return value;
}

function readList(cursor: JsonCursor, depth: number): AnyValue[] {
  const values: AnyValue[] = [];
  for (const key of members(cursor)) {
    if (key !== "values") cursor.skip();
    else for (const _ of itemsOf(cursor)) values.push(readValue(cursor, depth));
  }
  return values;
}

function readMap(cursor: JsonCursor, depth: number): AnyMap {
  let pairs: Attribute[] = [];
  for (const key of members(cursor)) {
    if (key === "values") pairs = readAttributes(cursor, depth);
    else cursor.skip();
  }
  return new AnyMap(pairs);
}
