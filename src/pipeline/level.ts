import { levelInJson } from "./level-json.ts";
import { hasLogfmtName, levelInLogfmt } from "./level-logfmt.ts";
import { knownLevel, LEVEL_UNKNOWN, type Level } from "./level-names.ts";
import { levelByWord } from "./level-words.ts";

/**
 * The level of the line at bytes[start, end), by the line alone: a level field of a JSON line, else a logfmt pair, else the
 * earliest level word, else `unknown` (specs: "detected_level", rules 4 to 7).
 *
 * One difference from Loki, which takes text only: a JSON line whose `level` is one of pino's and bunyan's numbers (10 trace,
 * 20 debug, … 60 fatal) has that level, where Loki goes by words in the message.
 */
export function levelOfLine(bytes: Buffer, start: number, end: number): Level {
  let first = start;
  let last = end - 1;
  while (first < end && isSpace(bytes[first])) first++;
  while (last > first && isSpace(bytes[last])) last--;
  let known: Level | "" = "";
  if (first < last && bytes[first] === 0x7b && bytes[last] === 0x7d) {
    known = levelInJson(bytes, first, last + 1);
  } else if (hasLogfmtName(bytes, start, end)) {
    known = knownLevel(levelInLogfmt(bytes, start, end));
  }
  if (known !== "") return known;
  return levelByWord(bytes, start, end) || LEVEL_UNKNOWN;
}

function isSpace(c: number): boolean {
  return c === 0x20 || (c >= 0x09 && c <= 0x0d);
}
