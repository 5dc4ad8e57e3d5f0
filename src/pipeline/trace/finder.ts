import { skip, textHead } from "../../codec/msgpack.ts";
import type { Fields } from "../../core/component.ts";
import { readHex } from "../../core/trace-id.ts";
import type { RecordContext } from "../context.ts";
import { eachPair, findPath, isMap } from "../find.ts";
import { valueText } from "../json.ts";
import { fieldText, isFields } from "../parsed.ts";
import { type Candidates, FROM_OTLP } from "./candidates.ts";
import { FieldIds } from "./fields.ts";
import { CONTAINER, innerCode, innerPlace, NAME_NONE, nameCode } from "./names.ts";
import { findInText } from "./text.ts";

/** Place (FieldIds.take) of parsed fields: after those of the record itself. */
const PARSED = 16;

export interface TraceOptions {
  /** Normal forms of further names. */
  readonly custom: ReadonlySet<string>;
  readonly text: boolean;
  readonly requestIds: boolean;
  readonly requestIdAsTrace: boolean;
  readonly source: boolean;
  /** Parsers that came before. */
  readonly layers: number;
}

/** Collects what may be a record's ids: from its fields, from what parsers found, and from the line. */
export class TraceFinder {
  readonly options: TraceOptions;
  private readonly found: Candidates;
  private readonly fields: FieldIds;

  constructor(options: TraceOptions, found: Candidates) {
    this.options = options;
    this.found = found;
    this.fields = new FieldIds(found);
  }

  collect(record: RecordContext): void {
    const { found, options } = this;
    if (record.idCount > 0) this.recordIds(record);
    for (let i = 0; i < options.layers; i++) {
      const fields = record.parsed[i];
      if (fields !== null && fields !== undefined) this.parsedIds(fields);
    }
    this.fields.finish();
    if (options.text) {
      // The level goes by the same scan.
      record.scan = findInText(record.lineBytes, record.lineStart, record.lineEnd, found, options.requestIds);
    }
    if (!options.requestIds) found.hasRequest = false;
  }

  private recordIds({ bytes, idCount, idCode, idAt, idEnd }: RecordContext): void {
    for (let i = 0; i < idCount; i++) {
      const code = idCode[i];
      const at = idAt[i];
      if (!isMap(bytes[at])) this.fields.take(code, 0, firstText(bytes, at, idEnd[i]));
      else if (code >= CONTAINER) this.containerIds(bytes, at, idEnd[i], code);
    }
  }

  private containerIds(bytes: Buffer, at: number, end: number, container: number): void {
    eachPair(bytes, at, end, (keyStart, keyEnd, start, next) => {
      const name = bytes.toString("utf8", keyStart, keyEnd);
      const code = innerCode(container, name, this.options.custom);
      if (code === NAME_NONE) return;
      if (!isMap(bytes[start])) this.fields.take(code, innerPlace(container, name), firstText(bytes, start, next));
      else if (code >= CONTAINER) this.containerIds(bytes, start, next, code);
    });
  }

  private parsedIds(fields: Fields): void {
    for (const name of Object.keys(fields)) {
      const code = nameCode(name, this.options.custom);
      const value = fields[name];
      if (code === NAME_NONE) continue;
      if (!isFields(value))
        this.fields.take(code, PARSED, fieldText(Array.isArray(value) ? (value[0] ?? null) : value));
      else if (code >= CONTAINER) this.parsedContainer(value, code);
    }
  }

  private parsedContainer(fields: Fields, container: number): void {
    for (const name of Object.keys(fields)) {
      const code = innerCode(container, name, this.options.custom);
      const value = fields[name];
      if (code === NAME_NONE) continue;
      const place = PARSED + innerPlace(container, name);
      if (!isFields(value)) this.fields.take(code, place, fieldText(Array.isArray(value) ? (value[0] ?? null) : value));
      else if (code >= CONTAINER) this.parsedContainer(value, code);
    }
  }
}

/** The value as text; of a list, which is a repeated header, its first. */
function firstText(bytes: Buffer, at: number, end: number): string {
  const c = bytes[at];
  if ((c & 0xf0) === 0x90 && c !== 0x90) return valueText(bytes, at + 1, end);
  if (c === 0xdc && (bytes[at + 1] | bytes[at + 2]) !== 0) return valueText(bytes, at + 3, end);
  return valueText(bytes, at, end);
}

const TRACE_PATH = [Buffer.from("otlp"), Buffer.from("trace_id")];
const SPAN_PATH = [Buffer.from("otlp"), Buffer.from("span_id")];
const id = new Uint8Array(16);

/** Adds the ids of an OTLP record: bin of exactly 16 and 8 bytes, or as many in hex digits; anything else is absent. */
export function addOtlpIds(bytes: Buffer, start: number, end: number, found: Candidates): void {
  const traceAt = findPath(bytes, start, end, TRACE_PATH);
  if (traceAt === -1 || !readId(bytes, traceAt, end, 16)) return;
  const i = found.at(0, FROM_OTLP);
  found.setTrace(i, id, "");
  const spanAt = findPath(bytes, start, end, SPAN_PATH);
  if (spanAt !== -1 && readId(bytes, spanAt, end, 8)) found.setSpan(i, id.subarray(0, 8));
}

function readId(bytes: Buffer, at: number, end: number, length: number): boolean {
  const head = textHead(bytes[at]);
  if (head === 0) return false;
  const size = skip(bytes, at, end) - at - head;
  const isBin = bytes[at] >= 0xc4 && bytes[at] <= 0xc6;
  if (isBin && size === length) {
    id.set(bytes.subarray(at + head, at + head + length));
    return true;
  }
  return size === length * 2 && readHex(bytes, at + head, size, id, 0);
}
