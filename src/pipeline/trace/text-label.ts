/*
 * The label in front of an id, compared backwards from the id. As a regular expression (ASCII, without case):
 *
 *   (?:^|[\s\[{(,;"'?&])(?:(?:otel)?trace[_.-]?id|x-b3-traceid)["']?\s*[=:]\s*["']?      and the same for span
 *   (?:^|[\s\[{(,;"'?&])(?:x-)?request[_.-]?id["']?\s*[=:]\s*["']?
 */
export const LABEL_NONE = 0;
export const LABEL_TRACE = 1;
export const LABEL_SPAN = 2;
export const LABEL_REQUEST = 3;

const SPACE = 1;
const BOUNDARY = 2;
const WORD = 4;
const CLASS = new Uint8Array(256);
for (const c of "\t\n\v\f\r ") CLASS[c.charCodeAt(0)] = SPACE | BOUNDARY;
for (const c of "[{(,;\"'?&") CLASS[c.charCodeAt(0)] = BOUNDARY;
for (let c = 0; c < 128; c++) if (/\w/.test(String.fromCharCode(c))) CLASS[c] |= WORD;

/** ASCII white space; false for -1. */
export function isSpace(c: number): boolean {
  return c >= 0 && (CLASS[c] & SPACE) !== 0;
}

/** A character of a word as `\w` has it; false for -1, which stands for no character. */
export function isWord(c: number): boolean {
  return c >= 0 && (CLASS[c] & WORD) !== 0;
}

/** Which label stands in front of the id at `id`; nothing before `start` is looked at. */
export function labelBefore(bytes: Buffer, start: number, id: number): number {
  let i = id - 1;
  if (i < start) return LABEL_NONE;
  let c = bytes[i];
  if (c === 0x22 || c === 0x27) i--;
  while (i >= start && (CLASS[bytes[i]] & SPACE) !== 0) i--;
  if (i < start || (bytes[i] !== 0x3a && bytes[i] !== 0x3d)) return LABEL_NONE;
  i--;
  while (i >= start && (CLASS[bytes[i]] & SPACE) !== 0) i--;
  if (i >= start && (bytes[i] === 0x22 || bytes[i] === 0x27)) i--;
  // "id", then at most one of `_`, `.`, `-`.
  if (i < start + 5 || (bytes[i] | 0x20) !== 0x64 || (bytes[i - 1] | 0x20) !== 0x69) return LABEL_NONE;
  i -= 2;
  c = bytes[i];
  const hasSeparator = c === 0x5f || c === 0x2e || c === 0x2d;
  if (hasSeparator) i--;
  switch (bytes[i] | 0x20) {
    case 0x65: // trace
      return isTrace(bytes, start, i, hasSeparator) ? LABEL_TRACE : LABEL_NONE;
    case 0x6e: // span
      return isSpan(bytes, start, i, hasSeparator) ? LABEL_SPAN : LABEL_NONE;
    case 0x74: // request
      return isRequest(bytes, start, i) ? LABEL_REQUEST : LABEL_NONE;
    default:
      return LABEL_NONE;
  }
}

const TRACE = Buffer.from("trace");
const SPAN = Buffer.from("span");
const REQUEST = Buffer.from("request");
const X_B3 = Buffer.from("x-b3-");
const OTEL = Buffer.from("otel");
const X = Buffer.from("x-");

function isTrace(bytes: Buffer, start: number, last: number, hasSeparator: boolean): boolean {
  return endsWith(bytes, start, last, TRACE) && isHead(bytes, start, last - TRACE.length, hasSeparator);
}

function isSpan(bytes: Buffer, start: number, last: number, hasSeparator: boolean): boolean {
  return endsWith(bytes, start, last, SPAN) && isHead(bytes, start, last - SPAN.length, hasSeparator);
}

/** Whether the label begins after `last`, or with `otel`, or with `x-b3-` where `id` follows without a separator. */
function isHead(bytes: Buffer, start: number, last: number, hasSeparator: boolean): boolean {
  if (isBoundary(bytes, start, last)) return true;
  if (endsWith(bytes, start, last, OTEL)) return isBoundary(bytes, start, last - OTEL.length);
  return !hasSeparator && endsWith(bytes, start, last, X_B3) && isBoundary(bytes, start, last - X_B3.length);
}

function isRequest(bytes: Buffer, start: number, last: number): boolean {
  if (!endsWith(bytes, start, last, REQUEST)) return false;
  const before = last - REQUEST.length;
  if (isBoundary(bytes, start, before)) return true;
  return endsWith(bytes, start, before, X) && isBoundary(bytes, start, before - X.length);
}

function isBoundary(bytes: Buffer, start: number, at: number): boolean {
  return at < start || (CLASS[bytes[at]] & BOUNDARY) !== 0;
}

/** Whether the lower-case `word` ends at `last`, letters compared without case. */
function endsWith(bytes: Buffer, start: number, last: number, word: Buffer): boolean {
  let i = last - word.length + 1;
  if (i < start) return false;
  for (let k = 0; k < word.length; k++, i++) {
    const c = bytes[i];
    if (c !== word[k] && !(c >= 0x41 && c <= 0x5a && (c | 0x20) === word[k])) return false;
  }
  return true;
}
