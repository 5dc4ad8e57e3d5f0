import { HEX_VALUE, NO_HEX, readHex, skyWalkingBytes, skyWalkingSpanBytes } from "../../core/trace-id.ts";
import { type LineScan, scanLine } from "../line-scan.ts";
import {
  type Candidates,
  FROM_TEXT_LABEL,
  FROM_TEXT_SLEUTH,
  FROM_TEXT_SPRING,
  FROM_TEXT_SW_CTX,
  FROM_TEXT_TID,
  FROM_TEXT_TRACEPARENT,
  NO_UUID,
  RANK_TEXT,
  readUuid,
  UPPER_UUID,
} from "./candidates.ts";
import { findDatadog } from "./text-datadog.ts";
import { isSpace, isWord, LABEL_REQUEST, LABEL_SPAN, LABEL_TRACE, labelBefore } from "./text-label.ts";

/*
 * Ids in free text: only next to a label or in a known bracket form (specs: "Field names in logs", free text).
 *
 * Each form but Datadog's decimals holds a run of at least 12 hex digits: the tail of a UUID (12), a 64-bit id (16), the end of
 * an X-Ray id (24), a 128-bit id (32). So the line is scanned for such runs, and what stands in front of one is then
 * compared backwards. Each byte is visited a bounded number of times, whatever the line.
 */
const DASH = 0x2d;
const COMMA = 0x2c;
const QUOTE = 0x22;
const COLON = 0x3a;
const OPEN = 0x5b;
const CLOSE = 0x5d;
/** The longest value that is taken apart (specs: "Validity"). */
const VALUE_MAX = 2048;
const NONE = -1;

const id16 = new Uint8Array(16);
const id8 = new Uint8Array(8);

/** What one pass over a line keeps; module state, since passes never overlap. */
const NO_BYTES = Buffer.alloc(0);
const scan: LineScan = { word: "", hasPair: false, datadog: NONE };
let bytes: Buffer = NO_BYTES;
let start = 0;
let end = 0;
let found: Candidates;
/** Candidate of the first labelled trace id, which takes the span that is written next to it. */
let labelled = NONE;
let labelledClosed = false;
/** Offset of the last labelled span before any labelled trace id. */
let spanBefore = NONE;
let wantsRequest = false;

/**
 * Adds the ids of the line at line[from, to) to `out`, ranked by where they stand, and its request id where `request` is
 * set and none is known. Ids that the line holds in their canonical text get their offset from `from`.
 * Returns what the scan found besides, for the level; it is valid until the next call.
 */
export function findInText(line: Buffer, from: number, to: number, out: Candidates, request: boolean): LineScan {
  bytes = line;
  start = from;
  end = to;
  found = out;
  labelled = NONE;
  labelledClosed = false;
  spanBefore = NONE;
  wantsRequest = request;
  scanLine(line, from, to, scan, classify);
  if (labelled !== NONE && found.hasSpan[labelled] === 0 && spanBefore !== NONE) takeSpan(labelled, spanBefore);
  if (scan.datadog !== NONE) findDatadog(line, from, to, scan.datadog, out);
  bytes = NO_BYTES;
  return scan;
}

function byteAt(at: number): number {
  return at >= start && at < end ? bytes[at] : NONE;
}

/** Looks at the run of hex digits [a, b): its length and neighbours decide which forms are tried. */
function classify(a: number, b: number): void {
  const before = byteAt(a - 1);
  const after = byteAt(b);
  const length = b - a;
  if (length === 32 || length === 16) {
    if (before === COMMA) {
      if (after === COMMA) trySleuth(a, b);
    } else if (before === OPEN) {
      if (length === 32 && after === DASH) trySpring(a, b);
    } else if (before === DASH) {
      if (length === 32 && after === DASH) tryTraceparent(a, b);
    } else if (!isAlnum(after)) {
      tryLabel(a, b);
    }
  }
  if (before === DASH) {
    if (length === 24) tryXray(a, b);
    else tryUuid(a, b);
  } else if (length >= 32) {
    if (before === COMMA) trySwContext(a, b);
    else tryTid(a);
  }
}

/** Adds a trace id that stands at `at`; `canonical` where those are its 32 lower-case digits. Gives the candidate's place. */
function add(source: number, at: number, id: Uint8Array, rawEnd: number, canonical: boolean): number {
  const i = found.at(RANK_TEXT + (at - start), source);
  if (i === NONE) return NONE;
  found.setTrace(i, id, canonical ? "" : bytes.toString("latin1", at, rawEnd));
  if (canonical) found.traceAt[i] = at - start;
  return i;
}

/** Adds the run of 16 or 32 digits. */
function addRun(source: number, a: number, b: number): number {
  const i = found.at(RANK_TEXT + (a - start), source);
  if (i === NONE) return NONE;
  if (found.readTrace(i, bytes, a, b - a)) found.traceAt[i] = a - start;
  else if (found.hasTrace[i] !== 0) found.raw[i] = bytes.toString("latin1", a, b);
  return i;
}

function takeSpan(i: number, at: number): void {
  if (i !== NONE && found.readSpan(i, bytes, at)) found.spanAt[i] = at - start;
}

/** `trace_id=…`, `"traceId":"…"`, and `span_id` and `request_id` in the same way. */
function tryLabel(a: number, b: number): void {
  const label = labelBefore(bytes, start, a);
  if (label === LABEL_TRACE) addLabelled(a, b);
  else if (label === LABEL_SPAN && b - a === 16) labelledSpan(a);
  else if (label === LABEL_REQUEST && b - a === 32) requestText(a, b);
}

function addLabelled(a: number, b: number): void {
  // A dotted SkyWalking id must not be cut at its dot: the digits before it name a process, not a trace.
  const dottedEnd = b - a === 32 && byteAt(b) === 0x2e ? dotted(b) : b;
  const i = dottedEnd > b ? addSkyWalking(FROM_TEXT_LABEL, a, dottedEnd) : addRun(FROM_TEXT_LABEL, a, b);
  if (labelled !== NONE) labelledClosed = true;
  else if (i !== NONE && found.hasTrace[i] !== 0) labelled = i;
}

/**
 * A span belongs to the first trace id: the first one after it and before the next trace id, else the last one before.
 */
function labelledSpan(a: number): void {
  if (labelled === NONE) spanBefore = a;
  else if (!labelledClosed && found.hasSpan[labelled] === 0) takeSpan(labelled, a);
}

/** `trace_id=1-5759e988-bd862e3fe1be46a994272793`: the run is the last part. */
function tryXray(a: number, b: number): void {
  const at = a - 11;
  if (byteAt(at) !== 0x31 || bytes[at + 1] !== DASH || isAlnum(byteAt(b))) return;
  if (!isHex(at + 2, at + 10) || labelBefore(bytes, start, at) !== LABEL_TRACE) return;
  readHex(bytes, at + 2, 8, id16, 0);
  readHex(bytes, a, 24, id16, 4);
  const i = add(FROM_TEXT_LABEL, at, id16, b, false);
  if (labelled !== NONE) labelledClosed = true;
  else if (i !== NONE && found.hasTrace[i] !== 0) labelled = i;
}

/** Sleuth: `[bar,6bfd228dc00d216b,6bfd228dc00d216b,false]`, the last part optional. */
function trySleuth(a: number, b: number): void {
  const spanEnd = b + 17;
  if (spanEnd >= end || !isLower(a, b) || !isHex(b + 1, spanEnd) || !isLower(b + 1, spanEnd)) return;
  const close = byteAt(spanEnd) === COMMA ? afterWord(spanEnd + 1) : spanEnd;
  if (byteAt(close) !== CLOSE || !opensBefore(a - 2)) return;
  takeSpan(addRun(FROM_TEXT_SLEUTH, a, b), b + 1);
}

/** The offset after `true` or `false` at `at`, or -1. */
function afterWord(at: number): number {
  for (const word of ["true", "false"]) {
    if (at + word.length <= end && bytes.toString("latin1", at, at + word.length) === word) return at + word.length;
  }
  return NONE;
}

/** Whether a `[` stands before `at` with neither a comma nor a `]` after it. */
function opensBefore(at: number): boolean {
  for (; at >= start; at--) {
    const c = bytes[at];
    if (c === OPEN) return true;
    if (c === COMMA || c === CLOSE) return false;
  }
  return false;
}

/** Spring Boot 3: `[803b448a0489f84084905d3093480352-3425f23bb2432450]`. */
function trySpring(a: number, b: number): void {
  const spanEnd = b + 17;
  if (byteAt(spanEnd) !== CLOSE || !isHex(b + 1, spanEnd)) return;
  takeSpan(addRun(FROM_TEXT_SPRING, a, b), b + 1);
}

/** A whole `traceparent`: `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`, lower case only. */
function tryTraceparent(a: number, b: number): void {
  const flags = b + 18;
  const after = flags + 2;
  if (a - 3 < start || after > end || isWord(byteAt(a - 4)) || isWord(byteAt(after))) return;
  if (!isHex(a - 3, a - 1) || !isLower(a - 3, flags + 2) || !isHex(b + 1, b + 17)) return;
  if (bytes[b + 17] !== DASH || !isHex(flags, after)) return;
  const version = HEX_VALUE[bytes[a - 3]] * 16 + HEX_VALUE[bytes[a - 2]];
  // Version 00 has nothing after its flags: a tail means that this is something else.
  if (version === 0xff || (version === 0 && byteAt(after) === DASH && hasTail(after + 1))) return;
  readHex(bytes, b + 1, 16, id8, 0);
  if (id8.every((byte) => byte === 0)) return;
  const i = addRun(FROM_TEXT_TRACEPARENT, a, b);
  if (i !== NONE) found.setParent(i, id8);
}

/** Whether a word follows on the same line. */
function hasTail(at: number): boolean {
  for (; at < end && bytes[at] !== 0x0a && bytes[at] !== 0x0d; at++) if (isWord(bytes[at])) return true;
  return false;
}

/** A run that is the tail of a UUID: a SkyWalking id after its labels, or a request id. */
function tryUuid(a: number, b: number): void {
  const at = a - 24;
  if (at < start || bytes[at + 8] !== DASH || bytes[at + 13] !== DASH) return;
  const kind = readUuid(bytes, at, id16);
  if (kind === NO_UUID) return;
  const before = byteAt(at - 1);
  if (before === COMMA) {
    if (b - a === 12) trySwContext(at, b);
    return;
  }
  if (before === COLON || isSpace(before)) tryTid(at);
  if (!wantsRequest || found.hasRequest || b - a !== 12 || !isRequest(at, b)) return;
  found.hasRequest = true;
  if (kind === UPPER_UUID) {
    found.requestText = bytes.toString("latin1", at, b);
    return;
  }
  for (let k = 0; k < 16; k++) found.request[k] = id16[k];
  found.requestAt = at - start;
}

function isRequest(at: number, after: number): boolean {
  const next = byteAt(after);
  if (isWord(next) || next === DASH) return false;
  return labelBefore(bytes, start, at) === LABEL_REQUEST || isMeshRequest(at, after);
}

/**
 * The request id of Envoy's and Istio's text formats: in a line that begins with `[2…`, the quoted UUID that has
 * exactly two quoted values (authority, upstream host) after it.
 */
function isMeshRequest(at: number, after: number): boolean {
  if (bytes[start] !== OPEN || byteAt(start + 1) !== 0x32 || byteAt(at - 1) !== QUOTE || byteAt(after) !== QUOTE)
    return false;
  let quote = after;
  for (let i = 0; i < 2; i++) {
    if (byteAt(quote + 1) !== 0x20 || byteAt(quote + 2) !== QUOTE) return false;
    quote = quoteAfter(quote + 3);
    if (quote === NONE) return false;
  }
  return byteAt(quote + 2) !== QUOTE;
}

/** Hosts and addresses are no longer than this. */
const QUOTED_MAX = 512;

function quoteAfter(at: number): number {
  const stop = Math.min(end, at + QUOTED_MAX);
  for (let i = at; i < stop; i++) if (bytes[i] === QUOTE) return i;
  return NONE;
}

/** nginx's `$request_id` next to its label: 32 digits, kept as text because it is no UUID. */
function requestText(a: number, b: number): void {
  if (!wantsRequest || found.hasRequest) return;
  found.hasRequest = true;
  found.requestText = bytes.toString("latin1", a, b);
}

/** `TID: <SkyWalking id>`, lower case only. */
function tryTid(at: number): void {
  let i = at - 1;
  while (i >= start && isSpace(bytes[i])) i--;
  if (i < start + 3 || bytes[i] !== 0x3a || bytes[i - 1] !== 0x44 || bytes[i - 2] !== 0x49 || bytes[i - 3] !== 0x54)
    return;
  if (isWord(byteAt(i - 4))) return;
  let stop = at;
  while (stop < end && stop < at + 36 && (isLowerHex(bytes[stop]) || bytes[stop] === DASH)) stop++;
  const dottedEnd = isLowerRun(at, 32) && byteAt(at + 32) === 0x2e ? dotted(at + 32) : NONE;
  addSkyWalking(FROM_TEXT_TID, at, dottedEnd > at + 32 ? dottedEnd : stop);
}

/** The offset after `.<digits>.<digits>` at `at`, or `at` itself when something else stands there. */
function dotted(at: number): number {
  let i = at;
  for (let part = 0; part < 2; part++) {
    if (byteAt(i) !== 0x2e || !isDigit(byteAt(i + 1))) return at;
    i += 2;
    while (isDigit(byteAt(i)) && i < at + VALUE_MAX) i++;
  }
  return i;
}

/** `SW_CTX: [service,instance,traceId,segmentId,spanId]`, the trace id beginning at `at`. */
function trySwContext(at: number, runEnd: number): void {
  const idEnd = byteAt(runEnd) === 0x2e ? dotted(runEnd) : runEnd;
  if (byteAt(idEnd) !== COMMA || !opensContext(at - 1)) return;
  let segmentEnd = idEnd + 1;
  while (segmentEnd < end && bytes[segmentEnd] !== COMMA && bytes[segmentEnd] !== CLOSE) segmentEnd++;
  if (byteAt(segmentEnd) !== COMMA) return;
  let close = segmentEnd + 1;
  if (byteAt(close) === DASH) close++;
  const digits = close;
  while (isDigit(byteAt(close))) close++;
  if (close === digits || byteAt(close) !== CLOSE) return;
  const i = addSkyWalking(FROM_TEXT_SW_CTX, at, idEnd);
  if (i === NONE || segmentEnd - idEnd > VALUE_MAX || close - segmentEnd > 11) return;
  const number = Number(bytes.toString("latin1", segmentEnd + 1, close));
  const span = number < 0 ? null : skyWalkingSpanBytes(bytes.toString("latin1", idEnd + 1, segmentEnd), number);
  if (span !== null) found.setSpan(i, span);
}

/** Whether `SW_CTX: [service,instance` stands before the comma at `comma`. */
function opensContext(comma: number): boolean {
  let i = comma - 1;
  while (i >= start && bytes[i] !== COMMA && bytes[i] !== CLOSE) i--;
  if (byteAt(i) !== COMMA) return false;
  for (i--; i >= start && bytes[i] !== COMMA && bytes[i] !== CLOSE; i--) {
    if (bytes[i] === OPEN && isContextLabel(i - 1)) return true;
  }
  return false;
}

const CONTEXT_LABEL = Buffer.from("SW_CTX:");

function isContextLabel(at: number): boolean {
  while (at >= start && isSpace(bytes[at])) at--;
  const from = at - CONTEXT_LABEL.length + 1;
  if (from < start || isWord(byteAt(from - 1))) return false;
  for (let i = 0; i < CONTEXT_LABEL.length; i++) if (bytes[from + i] !== CONTEXT_LABEL[i]) return false;
  return true;
}

function addSkyWalking(source: number, at: number, stop: number): number {
  if (stop - at > VALUE_MAX) return NONE;
  const text = bytes.toString("latin1", at, stop);
  const id = skyWalkingBytes(text);
  if (id === null) return NONE;
  return add(source, at, id, stop, stop - at === 32 && isLower(at, stop));
}

function isHex(a: number, b: number): boolean {
  if (a < start || b > end) return false;
  for (let i = a; i < b; i++) if (HEX_VALUE[bytes[i]] === NO_HEX) return false;
  return true;
}

/** Whether [a, b), known to be hex digits and dashes, has no upper-case ones. */
function isLower(a: number, b: number): boolean {
  for (let i = a; i < b; i++) if (bytes[i] >= 0x41 && bytes[i] <= 0x46) return false;
  return true;
}

function isLowerRun(at: number, length: number): boolean {
  return isHex(at, at + length) && isLower(at, at + length);
}

function isLowerHex(c: number): boolean {
  return HEX_VALUE[c] !== NO_HEX && (c < 0x41 || c > 0x46);
}

function isDigit(c: number): boolean {
  return c >= 0x30 && c <= 0x39;
}

function isAlnum(c: number): boolean {
  return isDigit(c) || (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a);
}
