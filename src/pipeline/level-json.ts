import { knownLevelAt, LEVEL_NAMES, type Level, pinoLevel } from "./level-names.ts";

/*
 * A level in a JSON line (specs: "detected_level", rule 4): the first text field with one of the names, in the order of the line,
 * within the top two levels of nesting. The line is read byte by byte up to that field, or up to the first thing that is no JSON.
 */
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_MAP = 0x7b;
const CLOSE_MAP = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;

/** Names by their length, so that most keys are done after one look. */
const BY_LENGTH: Buffer[][] = [];
for (const name of LEVEL_NAMES) {
  BY_LENGTH[name.length] ??= [];
  BY_LENGTH[name.length].push(Buffer.from(name));
}

/** Structural errors; all the scanner says is that it went no further. */
const BROKEN = -1;

/** What the scan found: module state, since scans never overlap. */
let textLevel: Level | "" = "";
let numberLevel: Level | "" = "";
let isFound = false;
let sawEscape = false;

/** The known level of the JSON object at bytes[start, end), or "". */
export function levelInJson(bytes: Buffer, start: number, end: number): Level | "" {
  isFound = false;
  textLevel = "";
  numberLevel = "";
  scanMap(bytes, start, end, 1);
  return isFound ? textLevel : numberLevel;
}

/** Reads the map at `at`, whose nesting is `depth`; the offset after it, or BROKEN at its end or when the level is found. */
function scanMap(bytes: Buffer, at: number, end: number, depth: number): number {
  let i = afterSpace(bytes, at + 1, end);
  if (i < end && bytes[i] === CLOSE_MAP) return i + 1;
  while (i < end && bytes[i] === QUOTE) {
    const key = i + 1;
    const keyEnd = stringEnd(bytes, key, end);
    if (keyEnd === BROKEN) return BROKEN;
    const keyEscaped = sawEscape;
    i = afterSpace(bytes, keyEnd + 1, end);
    if (i >= end || bytes[i] !== COLON) return BROKEN;
    i = afterSpace(bytes, i + 1, end);
    if (i >= end) return BROKEN;
    const c = bytes[i];
    if (c === QUOTE) {
      const value = i + 1;
      const valueEnd = stringEnd(bytes, value, end);
      if (valueEnd === BROKEN) return BROKEN;
      if (isLevelName(bytes, key, keyEnd, keyEscaped)) {
        isFound = true;
        textLevel = knownLevelAt(bytes, value, valueEnd);
        return BROKEN;
      }
      i = valueEnd + 1;
    } else if (c === OPEN_MAP) {
      i = depth < 2 ? scanMap(bytes, i, end, depth + 1) : skipNested(bytes, i, end);
    } else if (c === OPEN_LIST) {
      i = skipNested(bytes, i, end);
    } else {
      const value = i;
      i = plainEnd(bytes, i, end);
      if (i === value) return BROKEN;
      if (depth === 1 && numberLevel === "" && i - value === 2 && isLevel(bytes, key, keyEnd)) {
        numberLevel = pinoLevel((bytes[value] - 0x30) * 10 + bytes[value + 1] - 0x30);
      }
    }
    if (i === BROKEN) return BROKEN;
    i = afterSpace(bytes, i, end);
    if (i >= end) return BROKEN;
    if (bytes[i] === CLOSE_MAP) return i + 1;
    if (bytes[i] !== COMMA) return BROKEN;
    i = afterSpace(bytes, i + 1, end);
  }
  return BROKEN;
}

/** The key `level`, which is what pino and bunyan write. */
function isLevel(bytes: Buffer, at: number, stop: number): boolean {
  return stop - at === 5 && bytes[at] === 0x6c && bytes.toString("latin1", at, stop) === "level";
}

/** Whether the key bytes[at, stop) is one of the names; `escaped` says that it holds a backslash. */
function isLevelName(bytes: Buffer, at: number, stop: number, escaped: boolean): boolean {
  if (escaped) return LEVEL_NAMES.includes(unescaped(bytes.toString("latin1", at, stop)));
  const names = BY_LENGTH[stop - at];
  if (names === undefined) return false;
  for (const name of names) {
    let k = 0;
    while (k < name.length && bytes[at + k] === name[k]) k++;
    if (k === name.length) return true;
  }
  return false;
}

function unescaped(text: string): string {
  if (text.length > 128) return "";
  try {
    return String(JSON.parse(`"${text}"`));
  } catch {
    return ""; // Not JSON, so not one of the names.
  }
}

/** The offset of the quote that ends the string whose text begins at `i`, or BROKEN. Sets `sawEscape`. */
function stringEnd(bytes: Buffer, i: number, end: number): number {
  sawEscape = false;
  for (; i < end; i++) {
    const c = bytes[i];
    if (c === QUOTE) return i;
    if (c === BACKSLASH) {
      sawEscape = true;
      i++;
    }
  }
  return BROKEN;
}

/** The offset after the map or list at `i`, whatever is in it, or BROKEN. */
function skipNested(bytes: Buffer, i: number, end: number): number {
  let depth = 0;
  for (; i < end; i++) {
    const c = bytes[i];
    if (c === QUOTE) {
      i = stringEnd(bytes, i + 1, end);
      if (i === BROKEN) return BROKEN;
    } else if (c === OPEN_MAP || c === OPEN_LIST) depth++;
    else if ((c === CLOSE_MAP || c === CLOSE_LIST) && --depth === 0) return i + 1;
  }
  return BROKEN;
}

/** The end of a number, `true`, `false` or `null`: letters, digits, `+`, `-`, `.`. */
function plainEnd(bytes: Buffer, i: number, end: number): number {
  while (i < end && PLAIN[bytes[i]] !== 0) i++;
  return i;
}

const PLAIN = new Uint8Array(256);
for (const c of "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.") PLAIN[c.charCodeAt(0)] = 1;

function afterSpace(bytes: Buffer, i: number, end: number): number {
  while (i < end && (bytes[i] === 0x20 || (bytes[i] >= 0x09 && bytes[i] <= 0x0d))) i++;
  return i;
}
