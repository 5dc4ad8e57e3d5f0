import type { Value } from "./values.ts";

/** Deeper values are taken for broken. Go's own bound is 10,000. */
const DEPTH_MAX = 1000;

/** `fromJson`: numbers are float64; a text that is no JSON gives no value. */
export function parseJson(text: string): Value {
  if (nesting(text) > DEPTH_MAX) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  return goValueOf(parsed);
}

function nesting(text: string): number {
  let depth = 0;
  let most = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x5b || c === 0x7b) most = Math.max(most, ++depth);
    else if (c === 0x5d || c === 0x7d) depth--;
  }
  return most;
}

function goValueOf(value: unknown): Value {
  switch (typeof value) {
    case "string":
      // Half of a surrogate pair, written as an escape, is no character.
      return /\p{Cs}/u.test(value) ? Buffer.from(value).toString() : value;
    case "boolean":
      return value;
    case "number":
      // What is beyond a double is no value to Go.
      return Number.isFinite(value) ? value : undefined;
  }
  if (Array.isArray(value)) return value.map(goValueOf);
  if (typeof value !== "object" || value === null) return undefined;
  return new Map(Object.entries(value).map(([key, inner]): [string, Value] => [key, goValueOf(inner)]));
}
