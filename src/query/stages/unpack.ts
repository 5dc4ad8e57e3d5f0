import type { Entry } from "./entry.ts";
import {
  BRACE,
  BRACE_END,
  BRACKET,
  COLON,
  COMMA,
  kindOf,
  MALFORMED_ARRAY,
  MALFORMED_ESCAPE,
  MALFORMED_OBJECT,
  MALFORMED_STRING,
  QUOTE,
  skipSpace,
  stringEnd,
  UNKNOWN_VALUE,
  unescapeJson,
  valueEnd,
} from "./json-scan.ts";
import { JSON_ERROR, type LineStage, labelText, sanitizePart } from "./stage.ts";

const ENTRY_KEY = "_entry";

/**
 * `| unpack`: an object of texts; the key `_entry` becomes the line, the other texts become labels. Without `_entry` nothing
 * changes.
 */
export function compileUnpack(entry: Entry): LineStage {
  return () => {
    if (entry.text === "") return true;
    const labels: [string, string][] = [];
    let line: string | null = null;
    const problem = eachText(entry, (key, value) => {
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
function eachText(entry: Entry, visit: (key: string, value: string) => void): string | null {
  entry.loadCodes();
  const { text, codes, codesFrom: from, codesTo: to } = entry;
  if (codes[from] !== BRACE) return "expecting json object(6), but it is not";
  const isAt = (at: number, code: number) => at < to && codes[at] === code;
  let at = skipSpace(codes, from + 1, to);
  while (!isAt(at, BRACE_END)) {
    if (!isAt(at, QUOTE)) return MALFORMED_OBJECT;
    const keyEnd = stringEnd(codes, at + 1, to);
    if (keyEnd === -1) return MALFORMED_STRING;
    const key = unescapeJson(text.slice(at + 1 - from, keyEnd - from));
    if (key === null) return MALFORMED_ESCAPE;
    at = skipSpace(codes, keyEnd + 1, to);
    if (!isAt(at, COLON)) return MALFORMED_OBJECT;
    at = skipSpace(codes, at + 1, to);
    const end = valueEnd(codes, at, to);
    if (end === -1) return isAt(at, QUOTE) ? MALFORMED_STRING : isAt(at, BRACKET) ? MALFORMED_ARRAY : MALFORMED_OBJECT;
    const raw = text.slice(at - from, end - from);
    const kind = kindOf(raw);
    if (kind === null) return UNKNOWN_VALUE;
    if (kind === "string") visit(key, labelText(unescapeJson(raw.slice(1, -1)) ?? ""));
    at = skipSpace(codes, end, to);
    if (isAt(at, COMMA)) at = skipSpace(codes, at + 1, to);
    else if (!isAt(at, BRACE_END)) return at < to ? MALFORMED_OBJECT : MALFORMED_ARRAY;
  }
  return null;
}
