import { GO_ESCAPES } from "../../core/go-escapes.ts";

/*
 * Go's string literals. A `\xNN` escape may make bytes that are not UTF-8; such a byte is kept in the JavaScript string as
 * the lone surrogate U+DC00 + byte, which no decoded text holds, so that `utf8Bytes` gives exactly the bytes that were meant.
 */
const RAW_BYTE = /(?<![\ud800-\udbff])[\udc80-\udcff]/;

/** The text of a quoted literal (quotes included), or null when an escape in it can't stand. */
export function unquote(literal: string): string | null {
  const body = literal.slice(1, -1);
  if (literal[0] === "`" || !body.includes("\\")) return body;
  const bytes: number[] = [];
  let out = "";
  const flush = () => {
    if (bytes.length > 0) out += fromBytes(bytes.splice(0));
  };
  for (let i = 0; i < body.length; ) {
    if (body[i] !== "\\") {
      flush();
      const next = body.indexOf("\\", i);
      const end = next === -1 ? body.length : next;
      out += body.slice(i, end);
      i = end;
      continue;
    }
    ESCAPE.lastIndex = i;
    const m = ESCAPE.exec(body);
    if (m === null) return null;
    i += m[0].length;
    const [, simple, octal, hex, unicode] = m;
    if (octal !== undefined || hex !== undefined) {
      const byte = octal !== undefined ? Number.parseInt(octal, 8) : Number.parseInt(hex!, 16);
      if (byte > 255) return null;
      bytes.push(byte);
      continue;
    }
    flush();
    if (simple !== undefined) out += GO_ESCAPES[simple]!;
    else {
      const code = Number.parseInt(unicode!.slice(1), 16);
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return null;
      out += String.fromCodePoint(code);
    }
  }
  flush();
  return out;
}

const ESCAPE = /\\(?:([abfnrtv\\"])|([0-7]{3})|x([0-9a-fA-F]{2})|(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))/y;
/** Decodes UTF-8 strictly; bytes that don't fit become lone surrogates. */
function fromBytes(bytes: readonly number[]): string {
  const all = Buffer.from(bytes);
  const whole = all.toString("utf8");
  if (!whole.includes("\ufffd")) return whole;
  let out = "";
  for (let i = 0; i < all.length; ) {
    const size = all[i]! < 0x80 ? 1 : all[i]! < 0xe0 ? 2 : all[i]! < 0xf0 ? 3 : 4;
    const part = all.subarray(i, i + size);
    const text = part.toString("utf8");
    if (!text.includes("\ufffd") || part.equals(Buffer.from("\ufffd"))) {
      out += text;
      i += size;
    } else {
      out += String.fromCharCode(0xdc00 + all[i]!);
      i++;
    }
  }
  return out;
}

/** The bytes of a text that `unquote` gave. */
export function utf8Bytes(text: string): Buffer {
  if (!RAW_BYTE.test(text)) return Buffer.from(text, "utf8");
  const parts: Buffer[] = [];
  for (const char of text) {
    parts.push(RAW_BYTE.test(char) ? Buffer.from([char.charCodeAt(0) - 0xdc00]) : Buffer.from(char, "utf8"));
  }
  return Buffer.concat(parts);
}

/** Whether the text has bytes that are not UTF-8. */
export function hasRawBytes(text: string): boolean {
  return RAW_BYTE.test(text);
}

/** Printable ASCII that needs no escape: nearly every text. */
const PLAIN = /^[ !#-[\]-~]*$/;

/** A double-quoted literal, as Go's strconv.Quote writes it. */
export function quote(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`;
  let out = '"';
  for (const char of text) out += quoteChar(char);
  return `${out}"`;
}

const SHORT: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
  '"': '\\"',
};

function quoteChar(char: string): string {
  const short = SHORT[char];
  if (short !== undefined) return short;
  const code = char.codePointAt(0)!;
  if (char === " " || !/[\p{C}\p{Z}]/u.test(char)) return char;
  if (RAW_BYTE.test(char)) return `\\x${hex(code - 0xdc00, 2)}`;
  if (code < 0x80) return `\\x${hex(code, 2)}`;
  return code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
