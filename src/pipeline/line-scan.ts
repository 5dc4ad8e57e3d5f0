import { LEVEL_NAMES, LEVEL_WORDS, type Level } from "./level-names.ts";

/*
 * One pass over a line for everything that is looked for in free text: level words, level pairs (`level=`), long runs of hex
 * digits (ids), and Datadog's label.
 *
 * Each text looked for is known by five characters in a row, edges of words among them, so any walk in pairs meets two of its
 * pairs, one after the other, at one of two places. Which text and place is a bit; a table says of each pair of bytes which bits
 * it allows as the first and as the second of the two, and what it says of neighbours is ANDed. Three pairs are taken together,
 * so one branch, nearly never taken, decides for six bytes. Of the table a few hundred pairs are ever used, which is why it stays in the
 * cache; byte by byte, in threes, the same takes a quarter longer. Separate passes that skip
 * ahead (Horspool) take longer, because each of their steps waits for the one before, and a walk from word to word
 * mispredicts a branch at every space (Node 20, bench/pipeline.ts).
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
/** Places at which two pairs of five characters may begin. */
const PLACES = 2;
const BITS = GROUPS.length * PLACES;
const WORD_BITS = (1 << (4 * PLACES)) - 1;
const PAIR_BITS = ((1 << (2 * PLACES)) - 1) << (4 * PLACES);
const DATADOG_BITS = ((1 << PLACES) - 1) << (6 * PLACES);
const TEXT_BITS = (1 << BITS) - 1;
const HEX_BIT = 1 << (2 * BITS);

/** Of two bytes, read as a little-endian number: BITS bits for the first of two pairs, as many for the second, and HEX_BIT for two hex digits. */
const PAIRS = new Int32Array(0x10000);
const IS_HEX = new Uint8Array(256);

for (let c = 0; c < 256; c++) IS_HEX[c] = /^[0-9a-f]$/i.test(String.fromCharCode(c)) ? 1 : 0;
for (let one = 0; one < 256; one++) {
  for (let two = 0; two < 256; two++) if (IS_HEX[one] === 1 && IS_HEX[two] === 1) PAIRS[one | (two << 8)] = HEX_BIT;
}
for (const [g, texts] of GROUPS.entries()) {
  for (const text of texts) {
    for (let at = 0; at < text.length - 1; at++) {
      // Characters 0 and 1 may be the first pair, 1 and 2 too; 2 and 3 the second after the former, 3 and 4 after the latter.
      const bit = (at >> 1) * BITS + g * PLACES + (at & 1);
      for (const one of bytesOf(text[at])) for (const two of bytesOf(text[at + 1])) PAIRS[one | (two << 8)] |= 1 << bit;
    }
  }
}

function bytesOf(wanted: string): number[] {
  return Array.from({ length: 256 }, (_, c) => c).filter((c) => allows(wanted, c));
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
/** Bytes that are decided together, and those that it takes to know: the last pair's neighbour is one of them. */
const STEP = 6;
const SEEN = 8;

export interface LineScan {
  /** Level of the earliest whole level word (specs: "detected_level", rule 6), or "". */
  word: Level | "";
  /** Whether the name of a level field stands before a `=`: only then is a line worth reading pair by pair. */
  hasPair: boolean;
  /** Offset of the first text like `dd.trace_id`, or -1; not looked for without `visitRun`. */
  datadog: number;
}

/** The buffer that was scanned last: many lines come out of one, one after the other. */
let source: Buffer = Buffer.alloc(0);
let view = new DataView(source.buffer, 0, 0);

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
  if (bytes !== source) {
    source = bytes;
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  result.word = "";
  result.hasPair = false;
  result.datadog = -1;
  let wanted = visitRun === null ? WORD_BITS | PAIR_BITS : WORD_BITS | PAIR_BITS | DATADOG_BITS | HEX_BIT;
  // Runs before this have been visited.
  let least = start;
  const last = end - SEEN + 1;
  let p = start;
  for (p = nextHit(view, p, last, wanted); p < last; p = nextHit(view, p, last, wanted)) {
    const hit = hitAt(view, p) & wanted;
    if ((hit & WORD_BITS) !== 0) {
      result.word = firstWord(bytes, start, end, p, p + STEP);
      if (result.word !== "") wanted &= ~WORD_BITS;
    }
    if ((hit & PAIR_BITS) !== 0 && hasPair(bytes, start, p + 3, Math.min(end, p + 9))) {
      result.hasPair = true;
      wanted &= ~PAIR_BITS;
    }
    if ((hit & DATADOG_BITS) !== 0) {
      result.datadog = findDatadogLabel(bytes, Math.max(start, p - 1), Math.min(end, p + 4 + DATADOG.length));
      if (result.datadog !== -1) wanted &= ~DATADOG_BITS;
    }
    p += STEP;
    if ((hit & HEX_BIT) === 0 || visitRun === null) continue;
    least = endRun(bytes, p - STEP, least, end, visitRun);
    // Of what is looked for, only two characters may be hex digits before one that is none.
    p = least - 2;
  }
  // Six digits at the end of the line, of which the loop above has not seen what comes after them.
  if (visitRun !== null && p >= least && p + STEP <= end && isHex(bytes, p, p + STEP)) {
    endRun(bytes, p, least, end, visitRun);
  }
  if (result.word === "") result.word = firstWord(bytes, start, end, p, end - 2);
  if (!result.hasPair) result.hasPair = hasPair(bytes, start, p + 3, end);
}

/** Visits the run that holds bytes[p, p + STEP), if it is long enough; the offset after it. No run begins before `least`. */
function endRun(
  bytes: Buffer,
  p: number,
  least: number,
  end: number,
  visitRun: (a: number, b: number) => void,
): number {
  let a = p;
  while (a > least && IS_HEX[bytes[a - 1]] === 1) a--;
  let b = p + STEP;
  while (b < end && IS_HEX[bytes[b]] === 1) b++;
  if (b - a >= RUN_MIN) visitRun(a, b);
  return b;
}

function isHex(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (IS_HEX[bytes[at]] === 0) return false;
  return true;
}

/**
 * The offset, a multiple of six away from `p`, of the next six bytes that show something wanted; `last` or more when there are
 * none. On its own, so that the loop keeps everything in registers: with the handling of hits in it, it takes twice as long.
 */
function nextHit(bytes: DataView, p: number, last: number, wanted: number): number {
  if (p >= last) return p;
  const texts = wanted & TEXT_BITS;
  const hex = wanted & HEX_BIT;
  let one = PAIRS[bytes.getUint16(p, true)];
  for (; p < last; p += STEP) {
    const two = PAIRS[bytes.getUint16(p + 2, true)];
    const three = PAIRS[bytes.getUint16(p + 4, true)];
    const next = PAIRS[bytes.getUint16(p + 6, true)];
    const found = (one & (two >> BITS)) | (two & (three >> BITS)) | (three & (next >> BITS));
    // A run of 12 digits holds six aligned ones, three pairs full of them.
    if (((found & texts) | (one & two & three & hex)) !== 0) return p;
    one = next;
  }
  return p;
}

function hitAt(bytes: DataView, p: number): number {
  const one = PAIRS[bytes.getUint16(p, true)];
  const two = PAIRS[bytes.getUint16(p + 2, true)];
  const three = PAIRS[bytes.getUint16(p + 4, true)];
  const next = PAIRS[bytes.getUint16(p + 6, true)];
  const found = (one & (two >> BITS)) | (two & (three >> BITS)) | (three & (next >> BITS));
  return (found & TEXT_BITS) | (one & two & three & HEX_BIT);
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
