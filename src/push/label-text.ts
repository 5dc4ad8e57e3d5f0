import { GO_ESCAPES } from "../core/go-escapes.ts";
import type { Labels } from "../core/labels.ts";
import { PushError } from "./stream.ts";

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const SPACE = /[ \t\n\r]*/y;
const NAME_ONLY = /^[A-Za-z_][A-Za-z0-9_]*$/;
const SIMPLE: Readonly<Record<string, string>> = { ...GO_ESCAPES, "'": "'" };

/** Longest text of a stream's labels, in bytes: of 15 of them, as long as may be, it is 46 KB. They are read, sorted and shown at once. */
const LABELS_BYTES_MAX = 256 << 10;

/** Throws PushError 400 for labels that are too long in all, before anything is done with them. */
export function checkLabelsBytes(bytes: number): void {
  if (bytes <= LABELS_BYTES_MAX) return;
  throw new PushError(
    400,
    `couldn't parse labels: got ${bytes} bytes of labels for one stream, limit ${LABELS_BYTES_MAX}`,
  );
}

export function isLabelName(name: string): boolean {
  return NAME_ONLY.test(name);
}

/**
 * Reads `{app="web", env='prod'}`, labels as promtail and its kin write them: Prometheus' text form without a metric's name. A
 * label with an empty value is as good as none. Throws PushError 400 with Prometheus' text and position.
 */
export function parseLabels(text: string): Labels {
  checkLabelsBytes(text.length);
  const labels: Record<string, string> = {};
  let at = 0;
  const bad = (what: string, place = at) => {
    // Positions count bytes, from 1.
    const column = Buffer.byteLength(text.slice(0, place)) + 1;
    return new PushError(400, `couldn't parse labels: 1:${column}: parse error: ${what}`);
  };
  const space = () => {
    SPACE.lastIndex = at;
    SPACE.exec(text);
    at = SPACE.lastIndex;
  };
  space();
  if (text[at] !== "{")
    throw bad(at === text.length ? "unexpected end of input" : `unexpected character: ${show(text, at)}`);
  at++;
  for (let isFirst = true; ; isFirst = false) {
    space();
    if (text[at] === "}") break;
    if (!isFirst) {
      if (text[at] !== ",") {
        throw bad(at === text.length ? "unexpected end of input inside braces" : unexpected(text, at));
      }
      at++;
      space();
      if (text[at] === "}") break; // Prometheus takes a comma before the end.
    }
    NAME.lastIndex = at;
    const name = NAME.exec(text)?.[0];
    if (name === undefined) {
      throw bad(at === text.length ? "unexpected end of input inside braces" : unexpected(text, at));
    }
    at += name.length;
    space();
    if (text[at] !== "=") {
      throw bad(at === text.length ? "unexpected end of input inside braces" : unexpected(text, at));
    }
    at++;
    space();
    const [value, next] = readString(text, at, bad);
    at = next;
    if (Object.hasOwn(labels, name)) {
      throw new PushError(400, `stream '${text}' has duplicate label name: '${name}'`);
    }
    // `__proto__` is a name like any other.
    Object.defineProperty(labels, name, { value, enumerable: true, configurable: true, writable: true });
  }
  at++;
  space();
  if (at < text.length) throw bad(`unexpected character: ${show(text, at)}`);
  for (const name of Object.keys(labels)) if (labels[name] === "") delete labels[name];
  return labels;
}

function unexpected(text: string, at: number): string {
  return `unexpected character inside braces: ${show(text, at)}`;
}

function show(text: string, at: number): string {
  return `'${String.fromCodePoint(text.codePointAt(at) ?? 0xfffd)}'`;
}

/** A string with Go's escapes, in double or single quotes, or a raw one in backticks. Gives it with the place after it. */
function readString(text: string, start: number, bad: (what: string, place?: number) => PushError): [string, number] {
  const quote = text[start];
  if (quote !== '"' && quote !== "'" && quote !== "`") {
    throw bad(start === text.length ? "unexpected end of input inside braces" : unexpected(text, start));
  }
  if (quote === "`") {
    const end = text.indexOf("`", start + 1);
    if (end === -1) throw bad("unterminated raw string", start);
    return [text.slice(start + 1, end), end + 1];
  }
  let out = "";
  let from = start + 1;
  for (let at = from; at < text.length; at++) {
    const c = text[at];
    if (c === "\n") break;
    if (c === quote) return [out + text.slice(from, at), at + 1];
    if (c !== "\\") continue;
    out += text.slice(from, at);
    const [value, next] = readEscape(text, at, bad);
    out += value;
    from = next;
    at = next - 1;
  }
  throw bad("unterminated quoted string", start);
}

function readEscape(text: string, at: number, bad: (what: string, place?: number) => PushError): [string, number] {
  const c = text[at + 1] ?? "";
  if (Object.hasOwn(SIMPLE, c)) return [SIMPLE[c], at + 2];
  const hex = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))/.exec(text.slice(at + 1, at + 10));
  if (hex === null) throw bad(`unknown escape sequence ${show(text, at + 1)}`, at);
  const code =
    hex[4] === undefined ? Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? "", 16) : Number.parseInt(hex[4], 8);
  if (code > 0x10ffff) throw bad("escape sequence is an invalid Unicode code point", at);
  // \x80 and up are bytes of UTF-8 in Go, which nobody writes by hand; several in a row make one character.
  if ((hex[1] !== undefined || hex[4] !== undefined) && code >= 0x80) return readByteEscapes(text, at);
  return [String.fromCodePoint(code), at + 1 + hex[0].length];
}

function readByteEscapes(text: string, start: number): [string, number] {
  const run = /^(?:\\x[89a-fA-F][0-9a-fA-F]|\\[23][0-7]{2})+/.exec(text.slice(start, start + 4096))?.[0] ?? "";
  const bytes = [...run.matchAll(/\\(?:x(..)|(...))/g)].map(([, hex, octal]) =>
    hex === undefined ? Number.parseInt(octal, 8) : Number.parseInt(hex, 16),
  );
  return [Buffer.from(bytes).toString("utf8"), start + Math.max(run.length, 4)];
}
