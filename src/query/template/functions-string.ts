import { compileRegex, type Regex } from "../../codec/re2.ts";
import { messageOf } from "../../core/errors.ts";
import { expandTemplate } from "./regex-replace.ts";
import { CallFailure, type Run } from "./run.ts";
import { countArg, type Kind, ofTexts, type TemplateFunction, textArg } from "./signature.ts";
import { byteLength, byteSlice, isAscii, isTrue } from "./values.ts";

/** Functions over texts. Argument orders are Loki's: new names take the text last, so that it can be piped in. */
export const strings: Readonly<Record<string, TemplateFunction>> = {
  lower: ofTexts(1, (s) => lower(s)),
  upper: ofTexts(1, (s) => upper(s)),
  ToLower: ofTexts(1, (s) => lower(s)),
  ToUpper: ofTexts(1, (s) => upper(s)),
  title: ofTexts(1, title),
  trim: ofTexts(1, trimSpace),
  TrimSpace: ofTexts(1, trimSpace),
  trimAll: ofTexts(2, (cutset, s) => trimRight(trimLeft(s, cutset), cutset)),
  Trim: ofTexts(2, (s, cutset) => trimRight(trimLeft(s, cutset), cutset)),
  TrimLeft: ofTexts(2, trimLeft),
  TrimRight: ofTexts(2, trimRight),
  trimPrefix: ofTexts(2, (prefix, s) => (s.startsWith(prefix) ? s.slice(prefix.length) : s)),
  TrimPrefix: ofTexts(2, (s, prefix) => (s.startsWith(prefix) ? s.slice(prefix.length) : s)),
  trimSuffix: ofTexts(2, (suffix, s) => trimSuffix(s, suffix)),
  TrimSuffix: ofTexts(2, trimSuffix),
  contains: ofTexts(2, (part, s) => s.includes(part)),
  hasPrefix: ofTexts(2, (prefix, s) => s.startsWith(prefix)),
  hasSuffix: ofTexts(2, (suffix, s) => s.endsWith(suffix)),
  replace: fn(["string", "string", "string"], ([from, to, s], run) =>
    replace(textArg(s), textArg(from), textArg(to), -1, run),
  ),
  Replace: fn(["string", "string", "string", "int"], ([s, from, to, n], run) =>
    replace(textArg(s), textArg(from), textArg(to), countArg(n), run),
  ),
  trunc: fn(["int", "string"], ([n, s]) => trunc(countArg(n), textArg(s))),
  substr: fn(["int", "int", "string"], ([from, to, s]) => substr(countArg(from), countArg(to), textArg(s))),
  repeat: fn(["int", "string"], ([n, s], run) => repeat(countArg(n), textArg(s), run)),
  indent: fn(["int", "string"], ([n, s], run) => indent(countArg(n), textArg(s), run)),
  nindent: fn(["int", "string"], ([n, s], run) => `\n${indent(countArg(n), textArg(s), run)}`),
  alignLeft: fn(["int", "string"], ([n, s], run) => align(countArg(n), textArg(s), false, run)),
  alignRight: fn(["int", "string"], ([n, s], run) => align(countArg(n), textArg(s), true, run)),
  default: { params: ["any"], rest: "any", call: ([fallback, given]) => (isTrue(given) ? given : fallback) },
  count: fn(["string", "string"], ([regex, s], run) => BigInt(matchesOf(textArg(regex), textArg(s), run).length)),
  regexReplaceAll: fn(["string", "string", "string"], ([regex, s, to], run) => {
    const template = textArg(to);
    return replaceMatches(textArg(regex), textArg(s), run, (r, groups) => expandTemplate(template, r, groups));
  }),
  regexReplaceAllLiteral: fn(["string", "string", "string"], ([regex, s, to], run) => {
    const text = textArg(to);
    return replaceMatches(textArg(regex), textArg(s), run, () => text);
  }),
};

function fn(params: readonly Kind[], call: TemplateFunction["call"]): TemplateFunction {
  return { params, rest: null, call };
}

/** Go maps each character to one other, so `ß` stays and `İ` becomes a plain `i`. */
function upper(text: string): string {
  return mapCase(text, (c) => c.toUpperCase());
}

function lower(text: string): string {
  return mapCase(text, (c) => (c === "\u0130" ? "i" : c.toLowerCase()));
}

function mapCase(text: string, change: (char: string) => string): string {
  if (isAscii(text)) return change(text);
  let out = "";
  for (const char of text) {
    const changed = change(char);
    out += [...changed].length === 1 ? changed : char;
  }
  return out;
}

/**
 * Go's strings.Title: a letter at the start, behind a space, or behind a character of ASCII that is no letter, digit or underscore
 * becomes a title-case one.
 */
function title(text: string): string {
  return text.replace(
    /(?<=^|[\0-/:-@[-^`{-\x7f]|[\x85\xa0\p{Z}])\p{L}/gu,
    (letter) => TITLES.get(letter) ?? upper(letter),
  );
}

/** The letters whose title case is not their upper case: pairs such as \u01c6 and \u01c5. */
const TITLES: ReadonlyMap<string, string> = new Map(
  [
    ["\u01c4\u01c6\u01c5", "\u01c5"],
    ["\u01c7\u01c9\u01c8", "\u01c8"],
    ["\u01ca\u01cc\u01cb", "\u01cb"],
    ["\u01f1\u01f3\u01f2", "\u01f2"],
  ].flatMap(([letters, title]) => [...letters].map((letter): [string, string] => [letter, title])),
);

const SPACE_START = /^[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

function trimSpace(text: string): string {
  const start = text.replace(SPACE_START, "");
  let end = start.length;
  while (end > 0 && SPACE_START.test(start[end - 1])) end--;
  return start.slice(0, end);
}

function trimLeft(text: string, cutset: string): string {
  const cut = new Set(cutset);
  let at = 0;
  for (const char of text) {
    if (!cut.has(char)) break;
    at += char.length;
  }
  return text.slice(at);
}

function trimRight(text: string, cutset: string): string {
  const cut = new Set(cutset);
  let end = text.length;
  while (end > 0) {
    const low = text.charCodeAt(end - 1);
    const size = low >= 0xdc00 && low < 0xe000 && end > 1 ? 2 : 1;
    if (!cut.has(text.slice(end - size, end))) break;
    end -= size;
  }
  return text.slice(0, end);
}

function trimSuffix(text: string, suffix: string): string {
  return text.endsWith(suffix) ? text.slice(0, text.length - suffix.length) : text;
}

/** Go's strings.Replace: the first `n`, or all where `n` is negative. An empty `from` stands before each character and at the end. */
function replace(text: string, from: string, to: string, n: number, run: Run): string {
  if (from === to || n === 0) return text;
  const pieces = from === "" ? [...text] : text.split(from);
  const most = from === "" ? pieces.length + 1 : pieces.length - 1;
  const count = n < 0 ? most : Math.min(n, most);
  run.spend(text.length + count * to.length);
  if (from === "") {
    return pieces.map((char, i) => (i < count ? to + char : char)).join("") + (count > pieces.length ? to : "");
  }
  return count === most ? pieces.join(to) : [...pieces.slice(0, count), pieces.slice(count).join(from)].join(to);
}

function trunc(n: number, text: string): string {
  const length = byteLength(text);
  if (n < 0 && length + n > 0) return byteSlice(text, length + n, length);
  return n >= 0 && length > n ? byteSlice(text, 0, n) : text;
}

function substr(from: number, to: number, text: string): string {
  const length = byteLength(text);
  if (from < 0) return bounded(text, 0, to, length);
  return bounded(text, from, to < 0 || to > length ? length : to, length);
}

/** A slice as Go takes it: what lies outside is an error. */
function bounded(text: string, from: number, to: number, length: number): string {
  if (to < 0 || to > length) {
    throw new CallFailure(`runtime error: slice bounds out of range [:${to}]${to < 0 ? "" : ` with length ${length}`}`);
  }
  if (from > to) throw new CallFailure(`runtime error: slice bounds out of range [${from}:${to}]`);
  return byteSlice(text, from, to);
}

function repeat(n: number, text: string, run: Run): string {
  if (n < 0) throw new CallFailure("strings: negative Repeat count");
  run.spend(n * text.length);
  return text.repeat(text === "" ? 0 : n);
}

function indent(n: number, text: string, run: Run): string {
  if (n < 0) throw new CallFailure("strings: negative Repeat count");
  const lines = text.split("\n");
  run.spend(lines.length * n + text.length);
  const pad = " ".repeat(n);
  return pad + lines.join(`\n${pad}`);
}

/** Cuts or pads to `n` characters. A negative `n` leaves the text as it is. */
function align(n: number, text: string, right: boolean, run: Run): string {
  const chars = [...text];
  if (n < 0 || n === chars.length) return text;
  if (n < chars.length) return (right ? chars.slice(chars.length - n) : chars.slice(0, n)).join("");
  run.spend(n);
  const pad = " ".repeat(n - chars.length);
  return right ? pad + text : text + pad;
}

function regexOf(pattern: string): Regex {
  try {
    return compileRegex(pattern);
  } catch (error) {
    throw new CallFailure(messageOf(error));
  }
}

/** What a search costs, a pattern that is new to this line among it, and each character of it: engines are slower than copying. */
const REGEX_COST = 1000;
const SEARCH_COST = 4;

function matchesOf(pattern: string, text: string, run: Run): ReturnType<Regex["matchAll"]> {
  run.spend(REGEX_COST + text.length * SEARCH_COST + pattern.length);
  return regexOf(pattern).matchAll(text);
}

function replaceMatches(
  pattern: string,
  text: string,
  run: Run,
  replacement: (regex: Regex, groups: readonly (string | undefined)[]) => string,
): string {
  const regex = regexOf(pattern);
  let out = "";
  let at = 0;
  for (const { index, end, values } of matchesOf(pattern, text, run)) {
    const made = replacement(regex, values);
    run.spend(made.length);
    out += text.slice(at, index) + made;
    at = end;
  }
  return out + text.slice(at);
}
