import type { Codes } from "./entry.ts";

/*
 * Steps over JSON in an array of character codes that ends at `to`, as lenient and as strict as the reader that Loki uses
 * (github.com/buger/jsonparser), whose error texts these are: what is not asked for is stepped over unread.
 */
export const MALFORMED_OBJECT = "Value looks like object, but can't find closing '}' symbol";
export const MALFORMED_ARRAY = "Value is array, but can't find closing ']' symbol";
export const MALFORMED_STRING = "Value is string, but can't find closing '\"' symbol";
export const MALFORMED_ESCAPE = "Encountered an invalid escape sequence in a string";
export const UNKNOWN_VALUE = "Unknown value type";

export const QUOTE = 0x22;
export const COMMA = 0x2c;
export const COLON = 0x3a;
export const BRACKET = 0x5b;
export const BRACKET_END = 0x5d;
export const BRACE = 0x7b;
export const BRACE_END = 0x7d;
export const BACKSLASH = 0x5c;

function isSpace(c: number): boolean {
  return c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09;
}

/** The first place from `at` on that is not white space; `to` when there is none. */
export function skipSpace(codes: Codes, at: number, to: number): number {
  while (at < to && isSpace(codes[at])) at++;
  return at;
}

/** The place of the quote that ends a string whose content begins at `at`, or -1. */
export function stringEnd(codes: Codes, at: number, to: number): number {
  for (; at < to; at++) {
    const c = codes[at];
    if (c === QUOTE) return at;
    if (c === BACKSLASH) at++;
  }
  return -1;
}

/** Where the object or array at `at` ends, or -1. Only its own kind of bracket counts, and none inside strings. */
export function blockEnd(codes: Codes, at: number, to: number): number {
  const open = codes[at];
  const close = open + 2;
  let level = 0;
  for (; at < to; at++) {
    const c = codes[at];
    if (c === QUOTE) {
      at = stringEnd(codes, at + 1, to);
      if (at === -1) return -1;
    } else if (c === open) level++;
    else if (c === close && --level === 0) return at + 1;
  }
  return -1;
}

export function hasQuoteOrBrace(codes: Codes, at: number, end: number): boolean {
  for (; at < end; at++) if (codes[at] === QUOTE || codes[at] === BRACE) return true;
  return false;
}

/** Where a number or a word ends: at space, comma, closing bracket, or `to`. */
export function tokenEnd(codes: Codes, at: number, to: number): number {
  for (; at < to; at++) {
    const c = codes[at];
    if (c === COMMA || c === BRACE_END || c === BRACKET_END || isSpace(c)) return at;
  }
  return at;
}

/** Where the value at `at` ends, or -1 when it doesn't. */
export function valueEnd(codes: Codes, at: number, to: number): number {
  const c = at < to ? codes[at] : -1;
  if (c === BRACE || c === BRACKET) return blockEnd(codes, at, to);
  if (c !== QUOTE) {
    const end = tokenEnd(codes, at, to);
    return end === at ? -1 : end;
  }
  const end = stringEnd(codes, at + 1, to);
  return end === -1 ? -1 : end + 1;
}

export type JsonKind = "string" | "object" | "array" | "number" | "boolean" | "null";

/** What kind of value `raw` is, by its first character and, for words, by the word; null for what can't be a value. */
export function kindOf(raw: string): JsonKind | null {
  const c = raw.charCodeAt(0);
  if (c === QUOTE) return "string";
  if (c === BRACE) return "object";
  if (c === BRACKET) return "array";
  if (c === 0x2d || (c >= 0x30 && c <= 0x39)) return "number";
  if (raw === "true" || raw === "false") return "boolean";
  return raw === "null" ? "null" : null;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** The text of a string's content, or null when an escape in it is invalid, a lone surrogate included. */
export function unescapeJson(content: string): string | null {
  let out = "";
  let at = 0;
  for (let slash = content.indexOf("\\"); slash !== -1; slash = content.indexOf("\\", at)) {
    out += content.slice(at, slash);
    const simple = ESCAPES[content[slash + 1]];
    if (simple !== undefined) {
      out += simple;
      at = slash + 2;
      continue;
    }
    const first = content[slash + 1] === "u" ? hex4(content, slash + 2) : -1;
    if (first === -1 || (first >= 0xdc00 && first < 0xe000)) return null;
    at = slash + 6;
    if (first < 0xd800 || first >= 0xe000) {
      out += String.fromCharCode(first);
      continue;
    }
    const second = content.startsWith("\\u", at) ? hex4(content, at + 2) : -1;
    if (second < 0xdc00 || second >= 0xe000) return null;
    out += String.fromCharCode(first, second);
    at += 6;
  }
  return out + content.slice(at);
}

function hex4(text: string, at: number): number {
  const digits = text.slice(at, at + 4);
  return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
}
