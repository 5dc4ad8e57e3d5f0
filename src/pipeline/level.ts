import type { ByteFinder } from "./byte-finder.ts";
import { levelInJson } from "./level-json.ts";
import { hasLogfmtName, levelInLogfmt } from "./level-logfmt.ts";
import { knownLevel, LEVEL_UNKNOWN, type Level } from "./level-names.ts";
import { levelByWord } from "./line-scan.ts";

export const EQUALS = 0x3d;

/** What somebody found out about a line before its level was asked for. */
export interface LineHints {
  /** Finds `=` and remembers where, for lines in one buffer. */
  readonly equals: ByteFinder;
  /** What `levelByWord` gives for the line; null while nobody has looked. */
  word: Level | "" | null;
}

/**
 * The level of the line at bytes[start, end), by the line alone: a level field of a JSON line, else a logfmt pair, else the
 * earliest level word, else `unknown` (specs: "detected_level", rules 4 to 7).
 *
 * One difference from Loki, which takes text only: a JSON line whose `level` is one of pino's and bunyan's numbers (10 trace,
 * 20 debug, … 60 fatal) has that level, where Loki goes by words in the message.
 */
export function levelOfLine(bytes: Buffer, start: number, end: number, hints: LineHints): Level {
  let first = start;
  let last = end - 1;
  while (first < end && isSpace(bytes[first])) first++;
  while (last > first && isSpace(bytes[last])) last--;
  let known: Level | "" = "";
  if (first < last && bytes[first] === 0x7b && bytes[last] === 0x7d) {
    known = levelInJson(bytes, first, last + 1);
  } else {
    const at = hints.equals.find(bytes, start, end);
    if (at !== -1 && hasLogfmtName(bytes, start, at, end)) known = knownLevel(levelInLogfmt(bytes, start, end));
  }
  if (known !== "") return known;
  return (hints.word ?? levelByWord(bytes, start, end)) || LEVEL_UNKNOWN;
}

function isSpace(c: number): boolean {
  return c === 0x20 || (c >= 0x09 && c <= 0x0d);
}
