import type { Entry } from "./entry.ts";
import {
  arrayEnd,
  kindOf,
  MALFORMED_ARRAY,
  MALFORMED_ESCAPE,
  MALFORMED_OBJECT,
  MALFORMED_STRING,
  objectEnd,
  skipSpace,
  stringEnd,
  tokenEnd,
  UNKNOWN_VALUE,
  unescapeJson,
} from "./json-scan.ts";
import { JSON_ERROR, type LineStage, labelText, sanitizePart } from "./stage.ts";

const ENTRY_KEY = "_entry";

/**
 * `| unpack`: an object of texts; the key `_entry` becomes the line, the other texts become labels. Without `_entry` nothing
 * changes.
 */
export function compileUnpack(entry: Entry): LineStage {
  return () => {
    const { text } = entry;
    if (text === "") return true;
    const labels: [string, string][] = [];
    let line: string | null = null;
    const problem = eachText(text, (key, value) => {
      if (key === ENTRY_KEY) line = value;
      else labels.push([key, value]);
    });
    if (problem !== null) {
      entry.fail(JSON_ERROR, problem);
      return true;
    }
    if (line === null) return true;
    entry.loadLabels();
    for (const [key, value] of labels) {
      const part = sanitizePart(key);
      if (part !== "") entry.setParsed(entry.id(/^[0-9]/.test(part) ? `_${part}` : part), value);
    }
    entry.replaceLine(line);
    return true;
  };
}

/** Calls `visit` with each key whose value is a string. Gives what is wrong with the object, or null. */
function eachText(text: string, visit: (key: string, value: string) => void): string | null {
  if (text[0] !== "{") return "expecting json object(6), but it is not";
  let at = skipSpace(text, 1);
  while (text[at] !== "}") {
    if (text[at] !== '"') return MALFORMED_OBJECT;
    const keyEnd = stringEnd(text, at + 1);
    if (keyEnd === -1) return MALFORMED_STRING;
    const key = unescapeJson(text.slice(at + 1, keyEnd));
    if (key === null) return MALFORMED_ESCAPE;
    at = skipSpace(text, keyEnd + 1);
    if (text[at] !== ":") return MALFORMED_OBJECT;
    at = skipSpace(text, at + 1);
    const first = text.charCodeAt(at);
    if (first === 0x22) {
      const end = stringEnd(text, at + 1);
      if (end === -1) return MALFORMED_STRING;
      visit(key, labelText(unescapeJson(text.slice(at + 1, end)) ?? ""));
      at = end + 1;
    } else {
      const end = first === 0x7b ? objectEnd(text, at) : first === 0x5b ? arrayEnd(text, at) : tokenEnd(text, at);
      if (end === -1) return first === 0x7b ? MALFORMED_OBJECT : MALFORMED_ARRAY;
      if (kindOf(first, text.slice(at, end)) === null) return UNKNOWN_VALUE;
      at = end;
    }
    at = skipSpace(text, at);
    if (text[at] === ",") at = skipSpace(text, at + 1);
    else if (text[at] !== "}") return at < text.length ? MALFORMED_OBJECT : MALFORMED_ARRAY;
  }
  return null;
}
