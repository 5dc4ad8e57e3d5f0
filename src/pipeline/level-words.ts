import type { Level } from "./level-names.ts";

/*
 * Level words in text, without case (specs: "detected_level", rule 6). Left of a word: the line's start or one of space, tab,
 * newline, `[ ( { " ' = |`. Right of it: the line's end, one of these, or one of `] ) } : , !`.
 */
const LEFT = 1;
const RIGHT = 2;
const EDGE = new Uint8Array(256);
for (const c of " \t\n[({\"'=|") EDGE[c.charCodeAt(0)] = LEFT | RIGHT;
for (const c of "]):},!") EDGE[c.charCodeAt(0)] |= RIGHT;

/** First letters of level words, either case. */
const FIRST = new Uint8Array(256);
for (const c of "tdfcewiTDFCEWI") FIRST[c.charCodeAt(0)] = 1;

/** The level of the earliest whole level word in bytes[start, end), or "". */
export function levelByWord(bytes: Buffer, start: number, end: number): Level | "" {
  let i = start;
  // At the top of the loop, a word may begin at i: the byte before it is an edge or not there.
  while (i + 3 <= end) {
    if (FIRST[bytes[i]] !== 0) {
      const level = wordAt(bytes, i, end);
      if (level !== "") return level;
    }
    while (i < end && (EDGE[bytes[i]] & LEFT) === 0) i++;
    i++;
  }
  return "";
}

function wordAt(bytes: Buffer, at: number, end: number): Level | "" {
  switch (bytes[at] | 0x20) {
    case 0x74:
      return is(bytes, at, end, TRACE) ? "trace" : "";
    case 0x64:
      return is(bytes, at, end, DEBUG) ? "debug" : "";
    case 0x66:
      return is(bytes, at, end, FATAL) ? "fatal" : "";
    case 0x63:
      return is(bytes, at, end, CRITICAL) ? "critical" : "";
    case 0x65:
      return is(bytes, at, end, ERROR) || is(bytes, at, end, ERR) ? "error" : "";
    case 0x77:
      return is(bytes, at, end, WARN) || is(bytes, at, end, WARNING) ? "warn" : "";
    case 0x69:
      return is(bytes, at, end, INFO) ? "info" : "";
    default:
      return "";
  }
}

const TRACE = Buffer.from("trace");
const DEBUG = Buffer.from("debug");
const FATAL = Buffer.from("fatal");
const CRITICAL = Buffer.from("critical");
const ERROR = Buffer.from("error");
const ERR = Buffer.from("err");
const WARN = Buffer.from("warn");
const WARNING = Buffer.from("warning");
const INFO = Buffer.from("info");

/** Whether `word`, whose first letter fits, stands at `at` and ends there. */
function is(bytes: Buffer, at: number, end: number, word: Buffer): boolean {
  const stop = at + word.length;
  if (stop > end || (stop < end && (EDGE[bytes[stop]] & RIGHT) === 0)) return false;
  // All letters of the words are 0x61 to 0x7a, so | 0x20 maps nothing else but the upper case onto them.
  for (let k = 1; k < word.length; k++) if ((bytes[at + k] | 0x20) !== word[k]) return false;
  return true;
}
