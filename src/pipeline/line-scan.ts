import { LEVEL_NAMES, LEVEL_WORDS, type Level } from "./level-names.ts";

/*
 * One pass over a line for everything that is looked for in free text: level words, level pairs (`level=`), long runs of hex
 * digits (ids), and Datadog's label.
 *
 * Each text looked for is known by five characters in a row, edges of words among them, so any walk in threes meets three of these
 * in a row. Which three is a bit; three tables say which bits a byte allows in its place, and what they say is
 * ANDed. Two threes are taken together, so one branch, nearly never taken, decides for six bytes. Separate passes that skip
 * ahead (Horspool) take longer, because each of their steps waits for the one before, and a walk from word to word
 * mispredicts a branch at every space (1.2 ns a byte here; Node 20, bench/pipeline.ts).
 */
const LEFT = 1;
const RIGHT = 2;
const EDGE = new Uint8Array(256);
for (const c of " \t\n[({\"'=|") EDGE[c.charCodeAt(0)] = LEFT | RIGHT;
for (const c of "]):},!") EDGE[c.charCodeAt(0)] |= RIGHT;

const WORDS = LEVEL_WORDS.map(([text, level]) => ({ text: Buffer.from(text), level }));
/** Of each byte, the words that begin with it, in the order of the list; null for most. */
const WORDS_FROM = Array.from({ length: 256 }, (_, c) => {
  const words = WORDS.filter(({ text }) => isLetter(c, text[0]));
  return words.length === 0 ? null : words;
});
const DATADOG = Buffer.from("dd.trace_id");
/** The names of level fields in any case, and their places in the list (specs: "detected_level", rule 5). */
const NAMES = [...new Set(LEVEL_NAMES.map((name) => name.toLowerCase()))].map((name) => Buffer.from(name));

/** Five characters of each text; `<` and `>` stand for an edge left and right. Those of a group share their bits: few texts look alike to them. */
const GROUPS: readonly (readonly string[])[] = [
  ["<trac", "<crit"],
  ["<debu", "<info"],
  ["<fata", "<warn"],
  ["<erro", "<err>"],
  ["evel=", "text="],
  ["rity=", "<lvl="],
  ["dd.tr"],
];
/** Places at which three of five characters may begin. */
const PLACES = 3;
const WORD_BITS = (1 << (4 * PLACES)) - 1;
const PAIR_BITS = ((1 << (2 * PLACES)) - 1) << (4 * PLACES);
const DATADOG_BITS = ((1 << PLACES) - 1) << (6 * PLACES);
const HEX_BIT = 1 << (7 * PLACES);

const FIRST = new Int32Array(256);
const SECOND = new Int32Array(256);
const THIRD = new Int32Array(256);
const IS_HEX = new Uint8Array(256);

for (let c = 0; c < 256; c++) {
  IS_HEX[c] = /^[0-9a-f]$/i.test(String.fromCharCode(c)) ? 1 : 0;
  for (const [i, table] of [FIRST, SECOND, THIRD].entries()) {
    if (IS_HEX[c] === 1) table[c] |= HEX_BIT;
    for (const [g, texts] of GROUPS.entries()) {
      for (const text of texts) {
        for (let place = 0; place < PLACES; place++) {
          if (allows(text[place + i], c)) table[c] |= 1 << (g * PLACES + place);
        }
      }
    }
  }
}

function allows(wanted: string, c: number): boolean {
  if (wanted === "<") return (EDGE[c] & LEFT) !== 0 || c <= 0x20; // A pair begins after any control character.
  if (wanted === ">") return (EDGE[c] & RIGHT) !== 0;
  return isLetter(c, wanted.charCodeAt(0));
}

/** Whether `c` is the character `wanted`, which is no upper-case letter; case does not count. */
function isLetter(c: number, wanted: number): boolean {
  return c === wanted || (c === wanted - 0x20 && wanted >= 0x61 && wanted <= 0x7a);
}

/** Runs of hex digits from this length on are reported. */
export const RUN_MIN = 12;

export interface LineScan {
  /** Level of the earliest whole level word (specs: "detected_level", rule 6), or "". */
  word: Level | "";
  /** Whether the name of a level field stands before a `=`: only then is a line worth reading pair by pair. */
  hasPair: boolean;
  /** Offset of the first text like `dd.trace_id`, or -1; not looked for without `visitRun`. */
  datadog: number;
}

/**
 * Scans bytes[start, end) into `result`, and calls `visitRun(a, b)` for each run of at least RUN_MIN hex digits, in
 * order; null when nobody wants those.
 */
export function scanLine(
  bytes: Buffer,
  start: number,
  end: number,
  result: LineScan,
  visitRun: ((a: number, b: number) => void) | null,
): void {
  result.word = "";
  result.hasPair = false;
  result.datadog = -1;
  let wanted = visitRun === null ? WORD_BITS | PAIR_BITS : WORD_BITS | PAIR_BITS | DATADOG_BITS | HEX_BIT;
  // Runs before this have been visited.
  let least = start;
  let p = start;
  const last = end - 5;
  for (p = nextHit(bytes, p, last, wanted); p < last; p = nextHit(bytes, p + 6, last, wanted)) {
    const hit = hitAt(bytes, p) & wanted;
    if ((hit & WORD_BITS) !== 0) {
      result.word = firstWord(bytes, start, end, p - 1, p + 5);
      if (result.word !== "") wanted &= ~WORD_BITS;
    }
    if ((hit & PAIR_BITS) !== 0 && hasPair(bytes, start, p + 2, Math.min(end, p + 8))) {
      result.hasPair = true;
      wanted &= ~PAIR_BITS;
    }
    if ((hit & DATADOG_BITS) !== 0) {
      result.datadog = findDatadogLabel(bytes, Math.max(start, p - 2), Math.min(end, p + 4 + DATADOG.length));
      if (result.datadog !== -1) wanted &= ~DATADOG_BITS;
    }
    if ((hit & HEX_BIT) !== 0 && visitRun !== null) {
      let a = p;
      while (a > least && IS_HEX[bytes[a - 1]] === 1) a--;
      let b = p + 6;
      while (b < end && IS_HEX[bytes[b]] === 1) b++;
      if (b - a >= RUN_MIN) visitRun(a, b);
      // Nothing that is looked for begins within hex digits, so go on at their end.
      least = b;
      p = b - 6;
    }
  }
  if (result.word === "") result.word = firstWord(bytes, start, end, p - 1, end - 2);
  if (!result.hasPair) result.hasPair = hasPair(bytes, start, p, end);
}

/**
 * The offset, a multiple of six away from `p`, of the next six bytes that show something wanted; `last` or more when there are
 * none. On its own, so that the loop keeps everything in registers: with the handling of hits in it, it takes twice as long.
 */
function nextHit(bytes: Buffer, p: number, last: number, wanted: number): number {
  for (; p < last; p += 6) {
    const one = FIRST[bytes[p]] & SECOND[bytes[p + 1]] & THIRD[bytes[p + 2]];
    const two = FIRST[bytes[p + 3]] & SECOND[bytes[p + 4]] & THIRD[bytes[p + 5]];
    // A run of 12 digits holds six aligned ones, both threes full of them.
    if ((((one & two & HEX_BIT) | ((one | two) & ~HEX_BIT)) & wanted) !== 0) return p;
  }
  return p;
}

function hitAt(bytes: Buffer, p: number): number {
  const one = FIRST[bytes[p]] & SECOND[bytes[p + 1]] & THIRD[bytes[p + 2]];
  const two = FIRST[bytes[p + 3]] & SECOND[bytes[p + 4]] & THIRD[bytes[p + 5]];
  return (one & two & HEX_BIT) | ((one | two) & ~HEX_BIT);
}

/** The level of the first level word that begins in [from, to), or "". */
function firstWord(bytes: Buffer, start: number, end: number, from: number, to: number): Level | "" {
  for (let at = Math.max(start, from); at < to; at++) {
    const words = WORDS_FROM[bytes[at]];
    if (words === null || (at > start && (EDGE[bytes[at - 1]] & LEFT) === 0)) continue;
    for (let i = 0; i < words.length; i++) {
      const { text, level } = words[i];
      const stop = at + text.length;
      if (stop > end || (stop < end && (EDGE[bytes[stop]] & RIGHT) === 0)) continue;
      if (isText(bytes, at, text)) return level;
    }
  }
  return "";
}

/** Whether one of the `=` in [from, to) has the name of a level field before it, and that a space or the line's start. */
function hasPair(bytes: Buffer, start: number, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    if (bytes[at] !== 0x3d) continue;
    for (const name of NAMES) {
      const first = at - name.length;
      if (first >= start && (first === start || bytes[first - 1] <= 0x20) && isText(bytes, first, name)) return true;
    }
  }
  return false;
}

function findDatadogLabel(bytes: Buffer, from: number, to: number): number {
  for (let at = from; at + DATADOG.length <= to; at++) if (isText(bytes, at, DATADOG)) return at;
  return -1;
}

/** Whether `text`, in lower case, stands at `at`; case does not count. */
export function isText(bytes: Buffer, at: number, text: Buffer): boolean {
  for (let k = 0; k < text.length; k++) if (!isLetter(bytes[at + k], text[k])) return false;
  return true;
}
