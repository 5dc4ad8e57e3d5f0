import { LEVEL_WORDS, type Level } from "./level-names.ts";

/*
 * One pass over a line for everything that is looked for in free text: level words, long runs of hex digits (ids), and
 * Datadog's label.
 *
 * Bytes are looked at in threes. Each thing looked for shows, in the first three that lie within it, one of a few triples: the
 * letters of a level word from its first, second or third on, and so on. Each of these is a bit; three tables say which bits a
 * byte allows in its place; what they say is ANDed, and one branch, nearly never taken, decides for three bytes. Three
 * separate passes that skip ahead (Horspool) take longer than this one, because each of their steps waits for the one
 * before, and a walk from word to word mispredicts a branch at every space (Node 20, bench/pipeline.ts).
 */
const LEFT = 1;
const RIGHT = 2;
const EDGE = new Uint8Array(256);
for (const c of " \t\n[({\"'=|") EDGE[c.charCodeAt(0)] = LEFT | RIGHT;
for (const c of "]):},!") EDGE[c.charCodeAt(0)] |= RIGHT;

const WORDS = LEVEL_WORDS.map(([text, level]) => ({ text: Buffer.from(text), level }));
const PLACES = 3;
const DATADOG = Buffer.from("dd.trace_id");
const DATADOG_SHIFT = WORDS.length * PLACES;
const WORD_BITS = (1 << DATADOG_SHIFT) - 1;
const DATADOG_BITS = 0b111 << DATADOG_SHIFT;
const HEX_BIT = 1 << (DATADOG_SHIFT + PLACES);

const FIRST = new Int32Array(256);
const SECOND = new Int32Array(256);
const THIRD = new Int32Array(256);
const TABLES = [FIRST, SECOND, THIRD];
const IS_HEX = new Uint8Array(256);

for (let c = 0; c < 256; c++) {
  IS_HEX[c] = /^[0-9a-f]$/i.test(String.fromCharCode(c)) ? 1 : 0;
  for (const [i, table] of TABLES.entries()) {
    if (IS_HEX[c] === 1) table[c] |= HEX_BIT;
    for (let place = 0; place < PLACES; place++) {
      if (isLetter(c, DATADOG[place + i])) table[c] |= 1 << (DATADOG_SHIFT + place);
      for (const [w, { text }] of WORDS.entries()) {
        const k = place + i;
        // After a short word comes an edge, and then anything.
        const fits = k < text.length ? isLetter(c, text[k]) : k > text.length || (EDGE[c] & RIGHT) !== 0;
        if (fits) table[c] |= 1 << (w * PLACES + place);
      }
    }
  }
}

/** Whether `c` is the lower-case letter, or another character, `wanted`; case does not count. */
function isLetter(c: number, wanted: number): boolean {
  return c === wanted || (wanted >= 0x61 && wanted <= 0x7a && c === wanted - 0x20);
}

/** Runs of hex digits from this length on are reported. */
export const RUN_MIN = 12;

export interface LineScan {
  /** Level of the earliest whole level word (specs: "detected_level", rule 6), or "". */
  word: Level | "";
  /** Offset of the first text like `dd.trace_id`, or -1. */
  datadog: number;
}

/** Scans bytes[start, end) and calls `visitRun(a, b)` for each run of at least RUN_MIN hex digits, in order. */
export function scanLine(
  bytes: Buffer,
  start: number,
  end: number,
  result: LineScan,
  visitRun: (a: number, b: number) => void,
): void {
  result.word = "";
  result.datadog = -1;
  let bits = -1;
  const last = end - 2;
  let p = start;
  while (p < last) {
    const hit = FIRST[bytes[p]] & SECOND[bytes[p + 1]] & THIRD[bytes[p + 2]] & bits;
    if (hit === 0) {
      p += 3;
      continue;
    }
    if ((hit & WORD_BITS) !== 0) {
      result.word = wordAround(bytes, start, end, p);
      if (result.word !== "") bits &= ~WORD_BITS;
    }
    if ((hit & DATADOG_BITS) !== 0) {
      result.datadog = datadogAround(bytes, start, end, p);
      if (result.datadog !== -1) bits &= ~DATADOG_BITS;
    }
    // A run of 12 digits holds three whole threes: the first of them has hex digits as far as 8 further on.
    if ((hit & HEX_BIT) === 0 || p + 8 >= end || IS_HEX[bytes[p + 4]] === 0 || IS_HEX[bytes[p + 8]] === 0) {
      p += 3;
      continue;
    }
    let a = p;
    while (a > start && IS_HEX[bytes[a - 1]] === 1) a--;
    let b = p + 3;
    while (b < end && IS_HEX[bytes[b]] === 1) b++;
    if (b - a >= RUN_MIN) visitRun(a, b);
    // Neither a level word nor the label begins within hex digits, so the next thing begins at their end.
    p = b;
  }
  if (result.word === "") result.word = wordAtEnd(bytes, start, end, p);
}

/** The level of the earliest whole level word in bytes[start, end), or "". */
export function levelByWord(bytes: Buffer, start: number, end: number): Level | "" {
  let p = start;
  for (const last = end - 2; p < last; p += 3) {
    const hit = FIRST[bytes[p]] & SECOND[bytes[p + 1]] & THIRD[bytes[p + 2]] & WORD_BITS;
    if (hit === 0) continue;
    const level = wordAround(bytes, start, end, p);
    if (level !== "") return level;
  }
  return wordAtEnd(bytes, start, end, p);
}

/** A word that begins at p, or one or two bytes before; the earlier one counts. */
function wordAround(bytes: Buffer, start: number, end: number, p: number): Level | "" {
  for (let at = p - 2; at <= p; at++) {
    const level = at < start ? "" : wordAt(bytes, start, end, at);
    if (level !== "") return level;
  }
  return "";
}

/** A word of three letters may end the line, with only its first one or two letters in the last three bytes looked at. */
function wordAtEnd(bytes: Buffer, start: number, end: number, p: number): Level | "" {
  for (let at = Math.max(start, p - 2); at + 3 <= end; at++) {
    const level = wordAt(bytes, start, end, at);
    if (level !== "") return level;
  }
  return "";
}

function wordAt(bytes: Buffer, start: number, end: number, at: number): Level | "" {
  if (at > start && (EDGE[bytes[at - 1]] & LEFT) === 0) return "";
  for (let i = 0; i < WORDS.length; i++) {
    const { text, level } = WORDS[i];
    const stop = at + text.length;
    if (stop > end || (stop < end && (EDGE[bytes[stop]] & RIGHT) === 0)) continue;
    if (isText(bytes, at, text)) return level;
  }
  return "";
}

function datadogAround(bytes: Buffer, start: number, end: number, p: number): number {
  for (let at = Math.max(start, p - 2); at <= p; at++) {
    if (at + DATADOG.length <= end && isText(bytes, at, DATADOG)) return at;
  }
  return -1;
}

/** Whether `text`, in lower case, stands at `at`; case does not count. */
export function isText(bytes: Buffer, at: number, text: Buffer): boolean {
  for (let k = 0; k < text.length; k++) if (!isLetter(bytes[at + k], text[k])) return false;
  return true;
}
