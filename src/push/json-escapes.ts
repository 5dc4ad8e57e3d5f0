const BACKSLASH = 0x5c;
const LETTER_U = 0x75;
const SIMPLE = new Map([...'"\\\\/'].map((sign) => [sign.charCodeAt(0), sign.charCodeAt(0)]));
for (const [letter, code] of Object.entries({ b: 8, f: 12, n: 10, r: 13, t: 9 }))
  SIMPLE.set(letter.charCodeAt(0), code);
/** What Node writes for half a pair: U+FFFD. */
const REPLACEMENT = 0xfffd;

/** Where the work is: bytes read up to `at`, `length` bytes of `out` made. */
export interface Unescaped {
  readonly out: Buffer;
  length: number;
  at: number;
}

/**
 * Takes the escapes out of the inside of a JSON string, from `made.at` to `stop` or a few bytes more; the string ends at `end`. All
 * other bytes stay as they are. False for an escape that JSON has not. `made.out` has room for as many bytes as there are.
 * Source: RFC 8259, "Strings". Unlike JSON.parse it can stop in the middle, and leaves bytes alone that are no UTF-8.
 */
export function unescapeJson(bytes: Buffer, stop: number, end: number, made: Unescaped): boolean {
  const { out } = made;
  let { at, length } = made;
  while (at < stop) {
    const c = bytes[at];
    if (c !== BACKSLASH) {
      out[length++] = c;
      at++;
      continue;
    }
    const letter = bytes[at + 1];
    const simple = SIMPLE.get(letter);
    if (simple !== undefined) {
      out[length++] = simple;
      at += 2;
      continue;
    }
    let code = letter === LETTER_U ? hexAt(bytes, at + 2, end) : -1;
    if (code === -1) return false;
    at += 6;
    if (code >= 0xd800 && code < 0xdc00 && bytes[at] === BACKSLASH && bytes[at + 1] === LETTER_U) {
      const low = hexAt(bytes, at + 2, end);
      if (low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
      }
    }
    length = writeCode(out, length, code >= 0xd800 && code < 0xe000 ? REPLACEMENT : code);
  }
  made.at = at;
  made.length = length;
  return true;
}

/** Four hexadecimal digits, or -1. */
function hexAt(bytes: Buffer, at: number, end: number): number {
  if (at + 4 > end) return -1;
  let value = 0;
  for (let i = at; i < at + 4; i++) {
    const c = bytes[i];
    const lower = c | 0x20;
    if (c >= 0x30 && c <= 0x39) value = value * 16 + c - 0x30;
    else if (lower >= 0x61 && lower <= 0x66) value = value * 16 + lower - 0x57;
    else return -1;
  }
  return value;
}

/** A code point as UTF-8; gives the place behind it. */
function writeCode(out: Buffer, at: number, code: number): number {
  if (code < 0x80) out[at++] = code;
  else if (code < 0x800) {
    out[at++] = 0xc0 | (code >> 6);
    out[at++] = 0x80 | (code & 63);
  } else {
    if (code < 0x10000) out[at++] = 0xe0 | (code >> 12);
    else {
      out[at++] = 0xf0 | (code >> 18);
      out[at++] = 0x80 | ((code >> 12) & 63);
    }
    out[at++] = 0x80 | ((code >> 6) & 63);
    out[at++] = 0x80 | (code & 63);
  }
  return at;
}
