/*
 * Slow readers of JSON and logfmt lines, one character at a time, for comparison with the fast ones.
 */

/** Pairs in their order; `broken`: reading ended before the end of the object. Null for a line that is no object. */
export interface JsonPairs {
  readonly pairs: readonly (readonly [path: readonly string[], value: string])[];
  readonly broken: boolean;
}

class Broken extends Error {}

export function readJson(line: string): JsonPairs | null {
  let at = 0;
  let limit = line.length;
  const here = () => (at < limit ? line[at] : "");
  const pairs: [string[], string][] = [];
  const skip = () => {
    while (at < limit && " \t\n\r".includes(line[at])) at++;
  };
  /** A string's text between its quotes; `at` is the opening one. */
  const rawString = (): string => {
    const from = ++at;
    for (; at < limit; at++) {
      if (line[at] === "\\") at++;
      else if (line[at] === '"') return line.slice(from, at++);
    }
    throw new Broken();
  };
  /** Where the bracket at `from` is closed, brackets of the other kind not counted. */
  const closing = (from: number): number => {
    let level = 0;
    let inString = false;
    for (let i = from; i < limit; i++) {
      if (inString) {
        if (line[i] === "\\") i++;
        else if (line[i] === '"') inString = false;
      } else if (line[i] === '"') inString = true;
      else if (line[i] === line[from]) level++;
      else if (line[i] === (line[from] === "{" ? "}" : "]") && --level === 0) return i + 1;
    }
    throw new Broken();
  };
  const object = (path: readonly string[]): void => {
    at++;
    for (;;) {
      skip();
      if (here() === "}") return;
      if (here() !== '"') throw new Broken();
      const key = unescapeString(rawString());
      if (key === null) throw new Broken();
      skip();
      if (here() !== ":") throw new Broken();
      at++;
      skip();
      value([...path, key]);
      skip();
      if (here() === "}") return;
      if (here() !== ",") throw new Broken();
      at++;
    }
  };
  const value = (path: readonly string[]): void => {
    if (here() === '"') {
      pairs.push([[...path], unescapeString(rawString()) ?? ""]);
    } else if (here() === "{") {
      // An object without an end gives nothing, and none looks beyond its own.
      const outer = limit;
      limit = closing(at);
      object(path);
      at = limit;
      limit = outer;
    } else if (here() === "[") at = closing(at);
    else {
      const from = at;
      while (at < limit && !" \t\n\r,]}".includes(line[at])) at++;
      const word = line.slice(from, at);
      if (/^[-0-9]/.test(word) || word === "true" || word === "false") pairs.push([[...path], word]);
      else if (word !== "null") throw new Broken();
    }
  };
  skip();
  if (line[at] !== "{") return null;
  try {
    object([]);
    return { pairs, broken: false };
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    return { pairs, broken: true };
  }
}

function unescapeString(content: string): string | null {
  try {
    const text: unknown = JSON.parse(
      `"${content.replace(/\\.|[\x00-\x1f]/gs, (c) => (c.length > 1 ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`))}"`,
    );
    // A lone half of a surrogate pair is an invalid escape.
    return typeof text === "string" && Buffer.from(text).toString() === text ? text : null;
  } catch {
    return null;
  }
}

/** Pairs up to the first malformed one and, unless `strict`, those behind it. */
export function readLogfmt(line: string, strict: boolean): { pairs: [string, string][]; broken: boolean } {
  const pairs: [string, string][] = [];
  let broken = false;
  let at = 0;
  const isSpace = (i: number) => line.charCodeAt(i) <= 0x20;
  const bad = () => {
    while (at < line.length && !isSpace(at)) at++;
    broken = true;
  };
  while (at < line.length && !(broken && strict)) {
    if (isSpace(at)) {
      at++;
      continue;
    }
    const from = at;
    while (at < line.length && !isSpace(at) && line[at] !== "=" && line[at] !== '"') at++;
    const key = line.slice(from, at);
    if (line[at] === '"' || (line[at] === "=" && key === "")) {
      bad();
      continue;
    }
    if (key.includes("\ufffd")) {
      bad(); // A key that is not UTF-8.
      continue;
    }
    if (line[at] !== "=") {
      pairs.push([key, ""]);
      continue;
    }
    at++;
    if (line[at] === '"') {
      const quoted = /^"((?:[^"\\]|\\.)*)"/s.exec(line.slice(at));
      if (quoted === null) {
        bad();
        continue;
      }
      at += quoted[0].length;
      // Beside an escape no control character may stand as it is.
      const isOdd = quoted[1].includes("\\") && /[\x00-\x1f]/.test(quoted[1]);
      const text = isOdd
        ? null
        : quoted[1].includes("\\")
          ? unescapeString(quoted[1].replaceAll("\\'", "'"))
          : quoted[1];
      if (text === null) broken = true;
      else pairs.push([key, text]);
      continue;
    }
    const start = at;
    while (at < line.length && !isSpace(at) && line[at] !== "=" && line[at] !== '"') at++;
    if (line[at] === "=" || line[at] === '"') bad();
    else pairs.push([key, line.slice(start, at)]);
  }
  return { pairs, broken };
}
