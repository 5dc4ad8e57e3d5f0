import { isZero } from "../../core/trace-id.ts";

/** Where ids came from: the values of metadata `trace_source`. Small numbers, so that shared metadata can be kept by it. */
export const SOURCES = [
  "otlp",
  "field:custom",
  "field:trace_id",
  "field:x-b3-traceid",
  "field:otel_trace_id",
  "field:dd.trace_id",
  "field:logging.googleapis.com/trace",
  "field:tid",
  "field:sw_ctx",
  "field:xray_trace_id",
  "header:traceparent",
  "header:b3",
  "header:x-b3-traceid",
  "header:uber-trace-id",
  "text:trace_id",
  "text:dd.trace_id",
  "text:tid",
  "text:sw_ctx",
  "text:sleuth",
  "text:spring",
  "text:traceparent",
  "request_id",
] as const;
export const FROM_OTLP = 0;
export const FROM_CUSTOM = 1;
export const FROM_TRACE_ID = 2;
export const FROM_B3_FIELD = 3;
export const FROM_OTEL_FIELD = 4;
export const FROM_DD_FIELD = 5;
export const FROM_GOOGLE = 6;
export const FROM_TID_FIELD = 7;
export const FROM_SW_CTX_FIELD = 8;
export const FROM_XRAY = 9;
export const FROM_TRACEPARENT = 10;
export const FROM_B3_HEADER = 11;
export const FROM_B3_MULTI = 12;
export const FROM_UBER = 13;
export const FROM_TEXT_LABEL = 14;
export const FROM_TEXT_DD = 15;
export const FROM_TEXT_TID = 16;
export const FROM_TEXT_SW_CTX = 17;
export const FROM_TEXT_SLEUTH = 18;
export const FROM_TEXT_SPRING = 19;
export const FROM_TEXT_TRACEPARENT = 20;
export const FROM_REQUEST_ID = 21;

/** Precedence: the least rank wins. Fields add their row and place, text its offset. */
export const RANK_FIELD = 1000;
export const RANK_HEADER = 10_000;
export const RANK_TEXT = 100_000;
export const RANK_REQUEST = 0x7fff_ffff;

/** Why a value is no id. Placeholders (`-`, `N/A`, zeros, …) are not among them: they say that there is none. */
export const REJECT_REASONS = ["form", "range", "long"] as const;
export const REJECT_FORM = 0;
export const REJECT_RANGE = 1;
export const REJECT_LONG = 2;

/** What a byte is worth as a hex digit, with a bit more for upper case; NO_DIGIT for other bytes. */
const UPPER = 0x10;
const NO_DIGIT = 0x80;
const DIGIT = new Uint8Array(256).fill(NO_DIGIT);
for (let i = 0; i < 16; i++) {
  DIGIT[i.toString(16).charCodeAt(0)] = i;
  if (i > 9) DIGIT[i.toString(16).toUpperCase().charCodeAt(0)] = i | UPPER;
}

/** Writes hex digits as bytes, and gives all their values ORed: 0 for nothing but zeros. */
function readDigits(bytes: Uint8Array, at: number, digits: number, out: Uint8Array, outAt: number): number {
  let seen = 0;
  for (let i = 0; i < digits; i += 2) {
    const high = DIGIT[bytes[at + i]];
    const low = DIGIT[bytes[at + i + 1]];
    seen |= high | low;
    out[outAt++] = (high << 4) | (low & 0x0f);
  }
  return seen;
}

/** Offsets of the 16 pairs of digits, and of the dashes, in a UUID's text. */
const UUID_PAIRS = Uint8Array.of(0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34);
const DASH = 0x2d;

/** No UUID; one with an upper-case digit; one without. */
export const NO_UUID = 0;
export const UPPER_UUID = 1;
export const LOWER_UUID = 2;

/** Reads the UUID of 36 characters at `at` into 16 bytes. The caller knows that there are as many bytes. */
export function readUuid(bytes: Uint8Array, at: number, out: Uint8Array): number {
  if (bytes[at + 8] !== DASH || bytes[at + 13] !== DASH || bytes[at + 18] !== DASH || bytes[at + 23] !== DASH)
    return NO_UUID;
  let seen = 0;
  for (let i = 0; i < 16; i++) {
    const pair = at + UUID_PAIRS[i];
    const high = DIGIT[bytes[pair]];
    const low = DIGIT[bytes[pair + 1]];
    seen |= high | low;
    out[i] = (high << 4) | (low & 0x0f);
  }
  if (seen >= NO_DIGIT) return NO_UUID;
  return (seen & UPPER) === 0 ? LOWER_UUID : UPPER_UUID;
}

/** More sources in one record than anybody has; the others are ignored. */
const MAX = 16;

/**
 * The ids found for one record, source by source, in flat arrays that are used again for every record. A candidate
 * has a trace id of 16 bytes, and may have a span and a parent span of 8.
 */
export class Candidates {
  count = 0;
  readonly rank = new Float64Array(MAX);
  readonly source = new Uint8Array(MAX);
  readonly hasTrace = new Uint8Array(MAX);
  readonly hasSpan = new Uint8Array(MAX);
  readonly hasParent = new Uint8Array(MAX);
  readonly trace = new Uint8Array(MAX * 16);
  readonly span = new Uint8Array(MAX * 8);
  readonly parent = new Uint8Array(MAX * 8);
  /** Offset from the line's start at which the line has the canonical text of the id; -1 without. */
  readonly traceAt = new Int32Array(MAX);
  readonly spanAt = new Int32Array(MAX);
  /** The id as it was written, where that is not its canonical text; else "". */
  readonly raw: string[] = new Array<string>(MAX).fill("");

  /** Whether there is a request id: in `request` when it is a UUID, else as text. */
  hasRequest = false;
  readonly request = new Uint8Array(16);
  requestAt = -1;
  requestText = "";
  /** Values that looked like ids and were none, by reason; counted up, and read by whoever keeps the metrics. */
  readonly rejected = new Float64Array(REJECT_REASONS.length);

  clear(): void {
    this.count = 0;
    this.hasRequest = false;
    this.requestAt = -1;
    this.requestText = "";
  }

  /**
   * The place of the candidate with this rank, made when it is new; -1 when there is no room. One that came to no trace id
   * (all zeros) makes room, the last of them first: a lone span counts only when there is no trace id, and then the first one.
   */
  at(rank: number, source: number): number {
    for (let i = 0; i < this.count; i++) if (this.rank[i] === rank) return i;
    const i = this.count < MAX ? this.count++ : this.hasTrace.lastIndexOf(0);
    if (i === -1) return -1;
    this.rank[i] = rank;
    this.source[i] = source;
    this.hasTrace[i] = 0;
    this.hasSpan[i] = 0;
    this.hasParent[i] = 0;
    this.traceAt[i] = -1;
    this.spanAt[i] = -1;
    this.raw[i] = "";
    return i;
  }

  /** Takes `id` (16 bytes) as the trace id of candidate `i`. Zeros say that there is no id. The first value of a source wins. */
  setTrace(i: number, id: Uint8Array, raw: string): void {
    if (i < 0 || this.hasTrace[i] !== 0 || isZero(id, 0, 16)) return;
    // Plain loops: TypedArray.set costs 40 ns for so few bytes.
    for (let k = 0; k < 16; k++) this.trace[i * 16 + k] = id[k];
    this.hasTrace[i] = 1;
    this.raw[i] = raw;
  }

  /**
   * Takes the 32 or 16 hex digits at `at` as the trace id of candidate `i`, which has none. Whether they are canonical: 32, none
   * of them upper case. One pass, since nearly every traced line comes through here.
   */
  readTrace(i: number, bytes: Uint8Array, at: number, digits: number): boolean {
    const { trace } = this;
    let out = i * 16;
    if (digits === 16) for (const half = out + 8; out < half; out++) trace[out] = 0;
    const seen = readDigits(bytes, at, digits, trace, out);
    if ((seen & 0x0f) !== 0) this.hasTrace[i] = 1;
    return digits === 32 && (seen & UPPER) === 0;
  }

  /** Takes the 16 hex digits at `at` as the span of candidate `i`, if it has none. Whether none of them is upper case. */
  readSpan(i: number, bytes: Uint8Array, at: number): boolean {
    if (this.hasSpan[i] !== 0) return false;
    const seen = readDigits(bytes, at, 16, this.span, i * 8);
    if ((seen & 0x0f) === 0) return false;
    this.hasSpan[i] = 1;
    return (seen & UPPER) === 0;
  }

  setSpan(i: number, id: Uint8Array): void {
    if (i < 0 || this.hasSpan[i] !== 0 || isZero(id, 0, 8)) return;
    for (let k = 0; k < 8; k++) this.span[i * 8 + k] = id[k];
    this.hasSpan[i] = 1;
  }

  setParent(i: number, id: Uint8Array): void {
    if (i < 0 || this.hasParent[i] !== 0 || isZero(id, 0, 8)) return;
    for (let k = 0; k < 8; k++) this.parent[i * 8 + k] = id[k];
    this.hasParent[i] = 1;
  }
}
