import type { Entry } from "./entry.ts";
import type { LineStage } from "./stage.ts";

const ESC = 0x1b;
/** U+009B, the one-character introducer, in UTF-8. */
const CSI_FIRST = 0xc2;
const CSI_SECOND = 0x9b;

/** `| decolorize`: removes ANSI escape sequences from the line, byte for byte. */
export function decolorize(): LineStage {
  return (entry: Entry) => {
    const { line } = entry;
    if (!line.includes(ESC) && line.indexOf(INTRODUCER) === -1) return true;
    const clean = withoutColors(line);
    if (clean.length < line.length) entry.replaceBytes(clean);
    return true;
  };
}

const INTRODUCER = Buffer.from([CSI_FIRST, CSI_SECOND]);

/**
 * The line without what this expression matches, which is the one of github.com/acarl005/stripansi:
 *
 *     [\x1b\x9b][[\]()#;?]* ( [a-zA-Z\d;]* \x07  |  (\d{1,4}(;\d{0,4})*)? [\dA-PRZcf-ntqry=><~] )
 *
 * By hand, since a backtracking engine takes quadratic time over `\x1b;;;;;`.
 */
function withoutColors(line: Buffer): Buffer {
  const out = Buffer.allocUnsafe(line.length);
  let size = 0;
  let at = 0;
  while (at < line.length) {
    const end = line[at] === ESC || line[at] === CSI_FIRST ? sequenceEnd(line, at) : -1;
    if (end === -1) out[size++] = line[at++];
    else at = end;
  }
  return out.subarray(0, size);
}

/** Where the sequence that begins at `at` ends, or -1 when none does. */
function sequenceEnd(line: Buffer, at: number): number {
  if (line[at] === CSI_FIRST && line[++at] !== CSI_SECOND) return -1;
  at++;
  while (at < line.length && isIntroducer(line[at])) at++;
  // A title or a link, ended by a bell. What may come before the bell includes `;`, so it does not matter how many of those
  // the loop above took.
  let bell = at;
  while (bell < line.length && (line[bell] === SEMICOLON || isAlphanumeric(line[bell]))) bell++;
  if (line[bell] === 0x07) return bell + 1;
  // Numbers, at most four digits each, and a final byte, which may be the last digit.
  let end = at;
  let digits = 0;
  while (end < line.length && (isDigit(line[end]) ? digits < 4 : line[end] === SEMICOLON && end > at)) {
    digits = isDigit(line[end]) ? digits + 1 : 0;
    end++;
  }
  for (; end >= at; end--) if (end < line.length && isFinal(line[end])) return end + 1;
  return -1;
}

const SEMICOLON = 0x3b;
const INTRODUCERS = new Set(Buffer.from("[]()#;?"));
const FINALS = new Set(Buffer.from("0123456789ABCDEFGHIJKLMNOPRZcfghijklmnqrty=><~"));

function isIntroducer(c: number): boolean {
  return INTRODUCERS.has(c);
}

function isFinal(c: number): boolean {
  return FINALS.has(c);
}

function isDigit(c: number): boolean {
  return c >= 0x30 && c <= 0x39;
}

function isAlphanumeric(c: number): boolean {
  const lower = c | 0x20;
  return isDigit(c) || (lower >= 0x61 && lower <= 0x7a);
}
