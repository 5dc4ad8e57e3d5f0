/*
 * Steps over JSON text, as lenient and as strict as the reader that Loki uses (github.com/buger/jsonparser), whose error
 * texts these are: what is not asked for is stepped over unread.
 */
export const MALFORMED_OBJECT = "Value looks like object, but can't find closing '}' symbol";
export const MALFORMED_ARRAY = "Value is array, but can't find closing ']' symbol";
export const MALFORMED_STRING = "Value is string, but can't find closing '\"' symbol";
export const MALFORMED_VALUE = "Value looks like Number/Boolean/None, but can't find its end: ',' or '}' symbol";
export const MALFORMED_ESCAPE = "Encountered an invalid escape sequence in a string";
export const UNKNOWN_VALUE = "Unknown value type";
export const MALFORMED_JSON = "Malformed JSON error";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The first place from `at` on that is not white space; the text's length when there is none. */
export function skipSpace(text: string, at: number): number {
  for (; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return at;
  }
  return at;
}

/** The place of the quote that ends a string whose content begins at `at`, or -1. */
export function stringEnd(text: string, at: number): number {
  for (let end = text.indexOf('"', at); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (before >= at && text.charCodeAt(before) === BACKSLASH) before--;
    if ((end - before) % 2 === 1) return end;
  }
  return -1;
}

/**
 * The place after the bracket that closes the one at `at`, or -1. Only this kind of bracket counts, and none inside strings.
 */
export function blockEnd(text: string, at: number, open: number, close: number): number {
  let level = 0;
  for (let i = at; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      i = stringEnd(text, i + 1);
      if (i === -1) return -1;
    } else if (c === open) level++;
    else if (c === close && --level === 0) return i + 1;
  }
  return -1;
}

export const objectEnd = (text: string, at: number): number => blockEnd(text, at, 0x7b, 0x7d);
export const arrayEnd = (text: string, at: number): number => blockEnd(text, at, 0x5b, 0x5d);

/** Where a number or a word ends: at space, comma, closing bracket, or the end of the text. */
export function tokenEnd(text: string, at: number): number {
  for (; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c === 0x2c || c === 0x7d || c === 0x5d || c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09) return at;
  }
  return at;
}

export type JsonKind = "string" | "object" | "array" | "number" | "boolean" | "null";

/** A value's kind by its first character; `word` is a number's or word's text. Null for what can't be a value. */
export function kindOf(first: number, word: string): JsonKind | null {
  if (first === QUOTE) return "string";
  if (first === 0x7b) return "object";
  if (first === 0x5b) return "array";
  if (first === 0x2d || (first >= 0x30 && first <= 0x39)) return "number";
  if (word === "true" || word === "false") return "boolean";
  return word === "null" ? "null" : null;
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
    const c = content[slash + 1];
    const simple = ESCAPES[c];
    if (simple !== undefined) {
      out += simple;
      at = slash + 2;
      continue;
    }
    const first = c === "u" ? hex4(content, slash + 2) : -1;
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
