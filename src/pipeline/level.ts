import { levelInJson } from "./level-json.ts";
import { levelInLogfmt } from "./level-logfmt.ts";
import { knownLevel, LEVEL_UNKNOWN, type Level } from "./level-names.ts";
import { type LineScan, scanLine } from "./line-scan.ts";

const own: LineScan = { word: "", hasPair: false, datadog: -1 };

/**
 * The level of the line at bytes[start, end), by the line alone: a level field of a JSON line, else a logfmt pair, else the
 * earliest level word, else `unknown` (specs: "detected_level", rules 4 to 7). `scan` is what scanLine said of it, or null.
 *
 * One difference from Loki, which takes text only: a JSON line whose `level` is one of pino's and bunyan's numbers (10 trace,
 * 20 debug, … 60 fatal) has that level, where Loki goes by words in the message.
 */
export function levelOfLine(bytes: Buffer, start: number, end: number, scan: LineScan | null = null): Level {
  let first = start;
  let last = end - 1;
  while (first < end && isSpace(bytes[first])) first++;
  while (last > first && isSpace(bytes[last])) last--;
  const isJson = first < last && bytes[first] === 0x7b && bytes[last] === 0x7d;
  if (isJson) {
    const level = levelInJson(bytes, first, last + 1);
    if (level !== "") return level;
  }
  if (scan === null) scanLine(bytes, start, end, own, null);
  const { word, hasPair } = scan ?? own;
  const pair = hasPair && !isJson ? knownLevel(levelInLogfmt(bytes, start, end)) : "";
  return pair || word || LEVEL_UNKNOWN;
}

function isSpace(c: number): boolean {
  return c === 0x20 || (c >= 0x09 && c <= 0x0d);
}
