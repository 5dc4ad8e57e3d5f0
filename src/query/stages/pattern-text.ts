/*
 * The little language of `pattern "..."`, `|> "..."` and `!> "..."`: literals, `<name>` and `<_>`.
 * A `<` that doesn't begin one of these is a literal.
 */
export type PatternPart = { readonly literal: string } | { readonly capture: string };

const CAPTURE = /<([A-Za-z_][A-Za-z0-9_]*)>/g;

/** Literals and captures in turn; `<_>` has the name "_". */
export function splitPattern(pattern: string): PatternPart[] {
  const parts: PatternPart[] = [];
  let at = 0;
  for (const m of pattern.matchAll(CAPTURE)) {
    if (m.index > at) parts.push({ literal: pattern.slice(at, m.index) });
    parts.push({ capture: m[1]! });
    at = m.index + m[0].length;
  }
  if (at < pattern.length) parts.push({ literal: pattern.slice(at) });
  return parts;
}

/** Why a pattern can't serve the `pattern` parser, in Loki's words, or null. */
export function checkPattern(pattern: string): string | null {
  const parts = splitPattern(pattern);
  const names = parts.flatMap((part) => ("capture" in part && part.capture !== "_" ? [part.capture] : []));
  if (names.length === 0) return "at least one capture is required";
  const neighbours = consecutive(parts);
  if (neighbours !== null) return neighbours;
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  return twice === undefined ? null : `duplicate capture name (${twice}): invalid expression`;
}

/** Why a pattern can't serve a line filter, or null. */
export function checkLinePattern(pattern: string): string | null {
  const parts = splitPattern(pattern);
  const neighbours = consecutive(parts);
  if (neighbours !== null) return neighbours;
  for (const part of parts) {
    if ("capture" in part && part.capture !== "_") return `named captures are not allowed: found '<${part.capture}>'`;
  }
  return null;
}

function consecutive(parts: readonly PatternPart[]): string | null {
  for (let i = 1; i < parts.length; i++) {
    const one = parts[i - 1]!;
    const two = parts[i]!;
    if ("capture" in one && "capture" in two) {
      return `found consecutive capture '<${one.capture}><${two.capture}>': invalid expression`;
    }
  }
  return null;
}
