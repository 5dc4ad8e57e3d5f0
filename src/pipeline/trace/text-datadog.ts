import { decimalBytes, HEX_VALUE, NO_HEX, readHex } from "../../core/trace-id.ts";
import { isText } from "../line-scan.ts";
import { type Candidates, FROM_TEXT_DD, RANK_TEXT, REJECT_RANGE } from "./candidates.ts";
import { isSpace } from "./text-label.ts";

/*
 * Datadog's ids in free text, whose decimals may be short: found by their label.
 *
 *   (?:^|[\s\[{(,;"'])dd\.trace_id["']?\s*[=:]\s*["']?([0-9a-f]{32}|\d{1,20})(?![0-9a-z])      without case
 *
 * The label decides that digits are decimal. `dd.span_id`, in the same way, is taken with the first trace id: the
 * first one after it, else the first one of the line.
 */

const TRACE = Buffer.from("dd.trace_id");
const SPAN = Buffer.from("dd.span_id");
const id16 = new Uint8Array(16);

/** Adds the ids of the line bytes[start, end), whose first `dd.trace_id` stands at `first`. */
export function findDatadog(bytes: Buffer, start: number, end: number, first: number, found: Candidates): void {
  let isFirst = true;
  for (let at = first; at !== -1; at = findLabel(TRACE, bytes, at + 1, end)) {
    const value = valueAfter(bytes, start, at, TRACE.length, end);
    if (value === -1) continue;
    const stop = runEnd(bytes, value, end);
    if (!readTrace(bytes, value, stop, found)) continue;
    const i = found.at(RANK_TEXT + (value - start), FROM_TEXT_DD);
    if (i === -1) return;
    const isCanonical =
      stop - value === 32 &&
      bytes.toString("latin1", value, stop) === bytes.toString("latin1", value, stop).toLowerCase();
    found.setTrace(i, id16, isCanonical ? "" : bytes.toString("latin1", value, stop));
    if (isCanonical) found.traceAt[i] = value - start;
    if (!isFirst || found.hasTrace[i] === 0) continue;
    isFirst = false;
    const span = spanIn(bytes, start, stop, end) ?? spanIn(bytes, start, start, end);
    if (span !== null) found.setSpan(i, span);
  }
}

/** The first offset from `from` on at which `label` stands, or -1. */
function findLabel(label: Buffer, bytes: Buffer, from: number, end: number): number {
  for (let at = from; at + label.length <= end; at++) {
    if ((bytes[at] | 0x20) === 0x64 && isText(bytes, at, label)) return at;
  }
  return -1;
}

/** Reads the run of digits into `id16`: 32 hex digits, or a decimal of 64 bits. */
function readTrace(bytes: Buffer, at: number, stop: number, found: Candidates): boolean {
  if (stop - at === 32) return readHex(bytes, at, 32, id16, 0);
  const text = bytes.toString("latin1", at, Math.min(stop, at + 21));
  const low = decimalBytes(text);
  if (low === null) {
    if (/^\d{1,20}$/.test(text)) found.rejected[REJECT_RANGE]++;
    return false;
  }
  id16.fill(0, 0, 8);
  id16.set(low, 8);
  return true;
}

/** The first `dd.span_id` with a fit value from `from` on. */
function spanIn(bytes: Buffer, start: number, from: number, end: number): Buffer | null {
  for (let at = findLabel(SPAN, bytes, from, end); at !== -1; at = findLabel(SPAN, bytes, at + 1, end)) {
    const value = valueAfter(bytes, start, at, SPAN.length, end);
    if (value === -1) continue;
    const stop = runEnd(bytes, value, end);
    const span = stop - value <= 20 ? decimalBytes(bytes.toString("latin1", value, stop)) : null;
    if (span !== null) return span;
  }
  return null;
}

/** Where the value of the label at `at` begins, or -1 when it is no label. */
function valueAfter(bytes: Buffer, start: number, at: number, length: number, end: number): number {
  if (at > start && !isSpace(bytes[at - 1]) && !"[{(,;\"'".includes(String.fromCharCode(bytes[at - 1]))) return -1;
  let i = at + length;
  if (i < end && isQuote(bytes[i])) i++;
  while (i < end && isSpace(bytes[i])) i++;
  if (i >= end || (bytes[i] !== 0x3a && bytes[i] !== 0x3d)) return -1;
  i++;
  while (i < end && isSpace(bytes[i])) i++;
  if (i < end && isQuote(bytes[i])) i++;
  return runEnd(bytes, i, end) > i ? i : -1;
}

function isQuote(c: number): boolean {
  return c === 0x22 || c === 0x27;
}

/** The end of the hex digits at `at`; `at` itself when a letter follows them, which makes the value something else. */
function runEnd(bytes: Buffer, at: number, end: number): number {
  let i = at;
  while (i < end && HEX_VALUE[bytes[i]] !== NO_HEX) i++;
  const c = i < end ? bytes[i] | 0x20 : 0;
  return c >= 0x67 && c <= 0x7a ? at : i;
}
