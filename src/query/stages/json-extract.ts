import type { Extraction } from "../syntax/ast.ts";
import { stageError } from "../syntax/errors.ts";
import type { Entry } from "./entry.ts";
import { type PathStep, parseJsonPath } from "./json-path.ts";
import {
  BRACE,
  BRACKET,
  BRACKET_END,
  COLON,
  COMMA,
  kindOf,
  QUOTE,
  skipSpace,
  stringEnd,
  unescapeJson,
  valueEnd,
} from "./json-scan.ts";
import { JSON_ERROR, type LineStage, labelText } from "./stage.ts";

/**
 * `| json a, b="path"`: only those values. Strings come bare, objects and arrays as their JSON text, null and a path that
 * is not there as the empty text. `stage` is the stage's text for errors. Throws QueryError.
 */
export function compileJsonExtract(extractions: readonly Extraction[], entry: Entry, stage: string): LineStage {
  const wanted = extractions.map(({ name, path }) => {
    const steps = parseJsonPath(path);
    if ("error" in steps) throw stageError(stage, `cannot parse expression [${path}]: ${steps.error}`);
    return { id: entry.reserve(name), steps };
  });
  return () => {
    const { text } = entry;
    if (text === "") return true;
    entry.loadLabels();
    if (text[0] !== "{" && text[0] !== "[" && text[0] !== '"') {
      entry.fail(JSON_ERROR, "");
      return true;
    }
    entry.loadCodes();
    for (const { id, steps } of wanted) {
      const value = valueAt(entry, steps);
      if (value === null) entry.setMissing(id);
      else entry.setParsed(id, value);
    }
    return true;
  };
}

/** The text of the value that a path leads to, or null where it leads nowhere or the JSON breaks before it. */
function valueAt(entry: Entry, steps: readonly PathStep[]): string | null {
  const { codes, codesFrom: from, codesTo: to } = entry;
  let at = skipSpace(codes, from, to);
  for (const step of steps) {
    at = typeof step === "number" ? elementAt(entry, at, step) : memberAt(entry, at, step);
    if (at === -1) return null;
  }
  const end = valueEnd(codes, at, to);
  if (end === -1) return null;
  const raw = entry.text.slice(at - from, end - from);
  switch (kindOf(raw)) {
    case "string":
      return labelText(unescapeJson(raw.slice(1, -1)) ?? "");
    case "null":
      return "";
    case null:
      return null;
    default:
      return raw;
  }
}

/** The place of the value of a key in the object at `at`, or -1. The first of equal keys counts. */
function memberAt({ text, codes, codesFrom: from, codesTo: to }: Entry, at: number, wanted: string): number {
  if (at >= to || codes[at] !== BRACE) return -1;
  at = skipSpace(codes, at + 1, to);
  while (at < to && codes[at] === QUOTE) {
    const end = stringEnd(codes, at + 1, to);
    if (end === -1) return -1;
    const isPlain = end - at - 1 === wanted.length && text.startsWith(wanted, at + 1 - from);
    const isWanted = isPlain || isEscaped(text.slice(at + 1 - from, end - from), wanted);
    at = skipSpace(codes, end + 1, to);
    if (at >= to || codes[at] !== COLON) return -1;
    at = skipSpace(codes, at + 1, to);
    if (isWanted) return at;
    at = valueEnd(codes, at, to);
    if (at === -1) return -1;
    at = skipSpace(codes, at, to);
    if (at >= to || codes[at] !== COMMA) return -1;
    at = skipSpace(codes, at + 1, to);
  }
  return -1;
}

/** Whether a key with escapes is the wanted one. */
function isEscaped(content: string, wanted: string): boolean {
  return content.includes("\\") && unescapeJson(content) === wanted;
}

/** The place of an element of the array at `at`, or -1. */
function elementAt({ codes, codesTo: to }: Entry, at: number, index: number): number {
  if (at >= to || codes[at] !== BRACKET) return -1;
  at = skipSpace(codes, at + 1, to);
  for (let i = 0; at < to && codes[at] !== BRACKET_END; i++) {
    if (i === index) return at;
    at = valueEnd(codes, at, to);
    if (at === -1) return -1;
    at = skipSpace(codes, at, to);
    if (at >= to || codes[at] !== COMMA) return -1;
    at = skipSpace(codes, at + 1, to);
  }
  return -1;
}
