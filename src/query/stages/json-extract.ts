import type { Extraction } from "../syntax/ast.ts";
import { stageError } from "../syntax/errors.ts";
import type { Entry } from "./entry.ts";
import { type PathStep, parseJsonPath } from "./json-path.ts";
import { arrayEnd, kindOf, objectEnd, skipSpace, stringEnd, tokenEnd, unescapeJson } from "./json-scan.ts";
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
    if (!'{["'.includes(text[0])) {
      entry.fail(JSON_ERROR, "");
      return true;
    }
    for (const { id, steps } of wanted) {
      const value = valueAt(text, steps);
      if (value === null) entry.setMissing(id);
      else entry.setParsed(id, value);
    }
    return true;
  };
}

/** The text of the value that a path leads to, or null where it leads nowhere or the JSON breaks before it. */
export function valueAt(text: string, steps: readonly PathStep[]): string | null {
  let at = skipSpace(text, 0);
  for (const step of steps) {
    at = typeof step === "number" ? elementAt(text, at, step) : memberAt(text, at, step);
    if (at === -1) return null;
  }
  const end = valueEnd(text, at);
  if (end === -1) return null;
  const raw = text.slice(at, end);
  switch (kindOf(text.charCodeAt(at), raw)) {
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

/** Where the value at `at` ends, or -1 when it doesn't. */
function valueEnd(text: string, at: number): number {
  switch (text.charCodeAt(at)) {
    case 0x22: {
      const end = stringEnd(text, at + 1);
      return end === -1 ? -1 : end + 1;
    }
    case 0x7b:
      return objectEnd(text, at);
    case 0x5b:
      return arrayEnd(text, at);
    default: {
      const end = tokenEnd(text, at);
      return end === at ? -1 : end;
    }
  }
}

/** The place of the value of a key in the object at `at`, or -1. The first of equal keys counts. */
function memberAt(text: string, at: number, wanted: string): number {
  if (text[at] !== "{") return -1;
  at = skipSpace(text, at + 1);
  while (text[at] === '"') {
    const end = stringEnd(text, at + 1);
    if (end === -1) return -1;
    const content = text.slice(at + 1, end);
    const key = content.includes("\\") ? unescapeJson(content) : content;
    at = skipSpace(text, end + 1);
    if (text[at] !== ":") return -1;
    at = skipSpace(text, at + 1);
    if (key === wanted) return at;
    at = valueEnd(text, at);
    if (at === -1) return -1;
    at = skipSpace(text, at);
    if (text[at] !== ",") return -1;
    at = skipSpace(text, at + 1);
  }
  return -1;
}

/** The place of an element of the array at `at`, or -1. */
function elementAt(text: string, at: number, index: number): number {
  if (text[at] !== "[") return -1;
  at = skipSpace(text, at + 1);
  for (let i = 0; at < text.length && text[at] !== "]"; i++) {
    if (i === index) return at;
    at = valueEnd(text, at);
    if (at === -1) return -1;
    at = skipSpace(text, at);
    if (text[at] !== ",") return -1;
    at = skipSpace(text, at + 1);
  }
  return -1;
}
