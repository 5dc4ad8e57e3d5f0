import { decimalBytes, skyWalkingBytes, skyWalkingSpanBytes } from "../../core/trace-id.ts";
import {
  type Candidates,
  FROM_B3_FIELD,
  FROM_B3_HEADER,
  FROM_B3_MULTI,
  FROM_CUSTOM,
  FROM_DD_FIELD,
  FROM_GOOGLE,
  FROM_OTEL_FIELD,
  FROM_SW_CTX_FIELD,
  FROM_TID_FIELD,
  FROM_TRACE_ID,
  FROM_TRACEPARENT,
  FROM_UBER,
  FROM_XRAY,
  LOWER_UUID,
  RANK_FIELD,
  RANK_HEADER,
  REJECT_FORM,
  REJECT_LONG,
  REJECT_RANGE,
  readUuid,
} from "./candidates.ts";
import * as name from "./names.ts";

/** The longest value that is taken apart (specs: "Validity"). */
export const VALUE_MAX = 2048;
/** Places a value can stand in: the top level (0), the containers, and the same again for parsed fields. */
export const PLACES = 32;

/** Elastic's transactions in one record: one, but for keys that stand there again. */
const TRANSACTIONS_MAX = 16;

const HEX16 = /^[0-9a-f]{16}$/;
const HEX32 = /^[0-9a-f]{32}$/;
const XRAY = /^(?:root=)?1-([0-9a-f]{8})-([0-9a-f]{24})(?:@([0-9a-f]{16}))?$/;
const GOOGLE = /^projects\/[^/]{1,256}\/traces\/([0-9a-f]{32})$/;
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;
const B3 = /^([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d])(?:-([0-9a-f]{16}))?)?$/;
const UBER = /^([0-9a-f]{1,32}):([0-9a-f]{1,16}):([0-9a-f]{1,16}):([0-9a-f]{1,2})$/;
const SW_CTX = /^(?:SW_CTX:\s*)?\[([^\],]*),([^\],]*),([^\],]*),([^\],]*),(-?\d{1,10})\]$/;
/** Said instead of an id; all zeros say it too. */
const PLACEHOLDERS = new Set(["", "-", "n/a", "null", "none", "undefined", "unknown"]);
const ZEROS = /^[0-]*$/;

/** Table rows of "Field names in logs": the lower row wins. */
const ROW_CUSTOM = 0;
const ROW_TRACE = 1;
const ROW_B3 = 3;
const ROW_OTEL = 4;
const ROW_DD = 6;
const ROW_GOOGLE = 7;
const ROW_TID = 8;
const ROW_SW_CTX = 9;
const ROW_XRAY = 10;
const HEADER_TRACEPARENT = 0;
const HEADER_B3 = 1;
const HEADER_B3_MULTI = 2;
const HEADER_UBER = 3;

/** Whether the text says that there is no id. */
export function isPlaceholder(text: string): boolean {
  return ZEROS.test(text) || PLACEHOLDERS.has(text.toLowerCase());
}

/** Takes the values of fields that may hold ids, one after the other, and adds what they give to `found`. */
export class FieldIds {
  private readonly found: Candidates;
  private readonly transactions: { rank: number; span: Buffer }[] = [];

  constructor(found: Candidates) {
    this.found = found;
  }

  /**
   * One value. `code` is the name's (names.ts), `place` 0 for the top level or the container's code from 1 on, plus 16 for
   * parsed fields; a field of a `headers` container is a header, whose text may not be upper case.
   */
  take(code: number, place: number, value: string): void {
    if (value.length > VALUE_MAX) {
      this.found.rejected[REJECT_LONG]++;
      return;
    }
    const text = value.trim();
    if (isPlaceholder(text)) return;
    const container = (place & 15) - 1 + name.CONTAINER;
    const isHeader = container === name.IN_HEADERS || container === name.IN_REQUEST_HEADERS;
    if (!this.takeKnown(code, place, isHeader, text)) this.found.rejected[REJECT_FORM]++;
  }

  /** Once all fields are through: an Elastic transaction is the span where there is no other. */
  finish(): void {
    if (this.transactions.length === 0) return;
    for (const { rank, span } of this.transactions) this.found.setSpan(this.found.at(rank, FROM_TRACE_ID), span);
    this.transactions.length = 0;
  }

  /** False when the value has no form that the name allows. */
  private takeKnown(code: number, place: number, isHeader: boolean, text: string): boolean {
    const field = (row: number) => RANK_FIELD + row * PLACES + place;
    const header = (row: number) => RANK_HEADER + row * PLACES + place;
    const b3 = isHeader ? header(HEADER_B3_MULTI) : field(ROW_B3);
    const b3Source = isHeader ? FROM_B3_MULTI : FROM_B3_FIELD;
    switch (code) {
      case name.TRACE:
        return this.trace(field(ROW_TRACE), FROM_TRACE_ID, text);
      case name.SPAN:
        return this.span(field(ROW_TRACE), FROM_TRACE_ID, text);
      case name.PARENT:
        return this.parent(field(ROW_TRACE), FROM_TRACE_ID, text);
      case name.TRANSACTION:
        return this.transaction(field(ROW_TRACE), text);
      case name.B3_TRACE:
        return this.trace(b3, b3Source, text);
      case name.B3_SPAN:
        return this.span(b3, b3Source, text);
      case name.B3_PARENT:
        return this.parent(b3, b3Source, text);
      case name.OTEL_TRACE:
        return this.trace(field(ROW_OTEL), FROM_OTEL_FIELD, text);
      case name.OTEL_SPAN:
        return this.span(field(ROW_OTEL), FROM_OTEL_FIELD, text);
      case name.DD_TRACE:
        return this.datadogTrace(field(ROW_DD), text);
      case name.DD_SPAN:
        return this.datadogSpan(field(ROW_DD), text);
      case name.GOOGLE_TRACE:
      case name.IN_TRACE: // Google's LogEntry has its trace path in a field called `trace`.
        return this.google(field(ROW_GOOGLE), text) || code === name.IN_TRACE;
      case name.GOOGLE_SPAN:
        return this.span(field(ROW_GOOGLE), FROM_GOOGLE, text);
      case name.TID:
        return this.tid(field(ROW_TID), text);
      case name.SW_CTX:
        return this.skyWalkingContext(field(ROW_SW_CTX), text);
      case name.XRAY:
        return this.xray(field(ROW_XRAY), FROM_XRAY, text);
      case name.TRACEPARENT:
        return this.traceparent(header(HEADER_TRACEPARENT), text, isHeader);
      case name.B3_SINGLE:
        return this.b3(header(HEADER_B3), text);
      case name.UBER:
        return this.uber(header(HEADER_UBER), text);
      case name.REQUEST:
        return this.request(text);
      case name.CUSTOM:
        return this.trace(field(ROW_CUSTOM), FROM_CUSTOM, text) || this.decimal(field(ROW_CUSTOM), FROM_CUSTOM, text);
      default:
        return true;
    }
  }

  private setTrace(rank: number, source: number, id: Buffer, text: string): number {
    const i = this.found.at(rank, source);
    this.found.setTrace(i, id, HEX32.test(text) ? "" : text);
    return i;
  }

  /** 32 or 16 hex digits, `1-8-24`, a UUID or a SkyWalking id. */
  private trace(rank: number, source: number, text: string): boolean {
    const lower = text.toLowerCase();
    if (HEX32.test(lower)) this.setTrace(rank, source, Buffer.from(lower, "hex"), text);
    else if (HEX16.test(lower)) this.setTrace(rank, source, Buffer.from(lower.padStart(32, "0"), "hex"), text);
    else if (!this.xray(rank, source, text)) {
      const id = skyWalkingBytes(text);
      if (id === null) return false;
      this.setTrace(rank, source, id, text);
    }
    return true;
  }

  private span(rank: number, source: number, text: string): boolean {
    if (!HEX16.test(text.toLowerCase())) return false;
    this.found.setSpan(this.found.at(rank, source), Buffer.from(text, "hex"));
    return true;
  }

  private parent(rank: number, source: number, text: string): boolean {
    if (!HEX16.test(text.toLowerCase())) return false;
    this.found.setParent(this.found.at(rank, source), Buffer.from(text, "hex"));
    return true;
  }

  private transaction(rank: number, text: string): boolean {
    if (!HEX16.test(text.toLowerCase())) return false;
    if (this.transactions.length < TRANSACTIONS_MAX) this.transactions.push({ rank, span: Buffer.from(text, "hex") });
    return true;
  }

  private decimal(rank: number, source: number, text: string): boolean {
    const low = decimalBytes(text);
    if (low === null) return this.outOfRange(text);
    this.setTrace(rank, source, Buffer.concat([Buffer.alloc(8), low]), text);
    return true;
  }

  /** Digits above 2^64-1 have a reason of their own. */
  private outOfRange(text: string): boolean {
    if (!/^-?\d+$/.test(text)) return false;
    this.found.rejected[REJECT_RANGE]++;
    return true;
  }

  private datadogTrace(rank: number, text: string): boolean {
    const lower = text.toLowerCase();
    if (!HEX32.test(lower)) return this.decimal(rank, FROM_DD_FIELD, text);
    this.setTrace(rank, FROM_DD_FIELD, Buffer.from(lower, "hex"), text);
    return true;
  }

  private datadogSpan(rank: number, text: string): boolean {
    const span = decimalBytes(text);
    if (span === null) return this.outOfRange(text);
    this.found.setSpan(this.found.at(rank, FROM_DD_FIELD), span);
    return true;
  }

  private google(rank: number, text: string): boolean {
    const lower = text.toLowerCase();
    const id = GOOGLE.exec(lower)?.[1] ?? lower;
    if (!HEX32.test(id)) return false;
    this.setTrace(rank, FROM_GOOGLE, Buffer.from(id, "hex"), text);
    return true;
  }

  /** `tid` is often a thread's id, so only a SkyWalking shape counts, and nothing else is worth a complaint. */
  private tid(rank: number, text: string): boolean {
    const id = text.replace(/^TID:\s*/, "");
    const bytes = skyWalkingBytes(id);
    if (bytes !== null) this.setTrace(rank, FROM_TID_FIELD, bytes, id);
    return true;
  }

  private skyWalkingContext(rank: number, text: string): boolean {
    const match = SW_CTX.exec(text);
    if (match === null) return false;
    const [, , , trace, segment, number] = match;
    const id = skyWalkingBytes(trace);
    if (id === null) return isPlaceholder(trace);
    const i = this.setTrace(rank, FROM_SW_CTX_FIELD, id, trace);
    const span = Number(number) < 0 ? null : skyWalkingSpanBytes(segment, Number(number));
    if (span !== null) this.found.setSpan(i, span);
    return true;
  }

  private xray(rank: number, source: number, text: string): boolean {
    const match = XRAY.exec(text.toLowerCase());
    if (match === null) return false;
    const i = this.setTrace(rank, source, Buffer.from(match[1] + match[2], "hex"), text.split("@")[0]);
    if (match[3] !== undefined) this.found.setSpan(i, Buffer.from(match[3], "hex"));
    return true;
  }

  private traceparent(rank: number, text: string, isHeader: boolean): boolean {
    const match = TRACEPARENT.exec(isHeader ? text : text.toLowerCase());
    if (match === null || match[1] === "ff" || (match[1] === "00" && text.length !== 55)) return false;
    // A zero parent makes the whole value bad; a zero trace says that there is none.
    if (isPlaceholder(match[3])) return false;
    const i = this.setTrace(rank, FROM_TRACEPARENT, Buffer.from(match[2], "hex"), text.slice(3, 35));
    if (this.found.hasTrace[i] !== 0) this.found.setParent(i, Buffer.from(match[3], "hex"));
    return true;
  }

  private b3(rank: number, text: string): boolean {
    const match = B3.exec(text.toLowerCase());
    if (match === null) return /^[01d]$/i.test(text);
    const written = text.slice(0, match[1].length);
    const i = this.setTrace(rank, FROM_B3_HEADER, Buffer.from(match[1].padStart(32, "0"), "hex"), written);
    this.found.setSpan(i, Buffer.from(match[2], "hex"));
    if (match[4] !== undefined) this.found.setParent(i, Buffer.from(match[4], "hex"));
    return true;
  }

  /** Jaeger writes no leading zeros. The header's span is the caller's; its own parent field is the caller's parent. */
  private uber(rank: number, text: string): boolean {
    const match = UBER.exec(text.toLowerCase().replaceAll("%3a", ":"));
    if (match === null) return false;
    const written = text.slice(0, match[1].length);
    const i = this.setTrace(rank, FROM_UBER, Buffer.from(match[1].padStart(32, "0"), "hex"), written);
    this.found.setParent(i, Buffer.from(match[2].padStart(16, "0"), "hex"));
    return true;
  }

  private request(text: string): boolean {
    const { found } = this;
    if (found.hasRequest) return true;
    found.hasRequest = true;
    const isUuid = text.length === 36 && readUuid(Buffer.from(text, "latin1"), 0, found.request) === LOWER_UUID;
    if (!isUuid) found.requestText = text;
    return true;
  }
}
