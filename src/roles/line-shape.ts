/*
 * The shape of a line: what is left of it when the parts that differ from one occurrence to the next are folded.
 *
 *   "…" or '…'                 "<*>"; but a name with a colon behind it, as JSON has them, stays but for its digits
 *   a UUID, 8 hex digits and more with a decimal one among them, 0x…, a word with digits in several places    <id>
 *   digits                      <n>, also within a word: `web12` becomes `web<n>`
 *
 * Everything else stays, so that a shape can be read. One pass, no pattern that could go back.
 */
const CHARS_MAX = 1024;
const SHAPE_CHARS_MAX = 256;
const ID = "<id>";
const NUMBER = "<n>";
const QUOTED = "<*>";
const HEX_ID_CHARS = 8;

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9A-Za-z])/iy;
const WORD = /[0-9A-Za-z]+/y;
const HEX = /^[0-9a-f]+$/i;
const DIGITS = /\d+/g;

/** The shape of a line. Of a long one only the beginning counts. */
export function lineShape(line: string): string {
  const text = line.length > CHARS_MAX ? line.slice(0, CHARS_MAX) : line;
  let shape = "";
  // A quote that nothing closes is looked for once.
  const open = new Set<number>();
  for (let at = 0; at < text.length && shape.length < SHAPE_CHARS_MAX; ) {
    const code = text.charCodeAt(at);
    if (isWordCode(code)) {
      const end = wordEnd(text, at);
      shape += end.folded ?? foldWord(text.slice(at, end.at));
      at = end.at;
    } else if (code === 0x22 || (code === 0x27 && !isWordCode(text.charCodeAt(at - 1)))) {
      const end = open.has(code) ? -1 : quoteEnd(text, at, code);
      if (end === -1) {
        open.add(code);
        shape += text[at++];
      } else {
        const quote = text[at];
        shape +=
          text.charCodeAt(end) === 0x3a ? text.slice(at, end).replace(DIGITS, NUMBER) : `${quote}${QUOTED}${quote}`;
        at = end;
      }
    } else shape += text[at++];
  }
  return shape.length > SHAPE_CHARS_MAX ? shape.slice(0, SHAPE_CHARS_MAX) : shape;
}

function isWordCode(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

function wordEnd(text: string, at: number): { at: number; folded: string | null } {
  UUID.lastIndex = at;
  if (UUID.test(text)) return { at: UUID.lastIndex, folded: ID };
  WORD.lastIndex = at;
  WORD.test(text);
  return { at: WORD.lastIndex, folded: null };
}

function foldWord(word: string): string {
  const digits = word.match(DIGITS);
  if (digits === null) return word;
  if (digits[0] === word) return NUMBER;
  if (digits.length > 1 || /^0x/i.test(word) || (word.length >= HEX_ID_CHARS && HEX.test(word))) return ID;
  return word.replace(DIGITS, NUMBER);
}

/** Behind the quote that closes the one at `at`, or -1. */
function quoteEnd(text: string, at: number, quote: number): number {
  for (let i = at + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) i++;
    else if (code === quote) return i + 1;
  }
  return -1;
}
