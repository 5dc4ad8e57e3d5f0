/*
 * A few of Go's parsers and printers, because Loki's clients were written against the texts that they give.
 */

const INT64_MAX = 9_223_372_036_854_775_807n;
const INT64_MIN = -9_223_372_036_854_775_808n;

/** A text that Go's strconv refuses. `message` is strconv's, without the name of the function. */
export class NumberError extends Error {
  constructor(func: "ParseInt" | "Atoi", text: string, what: "invalid syntax" | "value out of range") {
    super(`strconv.${func}: parsing ${goQuote(text)}: ${what}`);
  }
}

/** strconv.ParseInt(text, 10, 64). Throws NumberError. */
export function parseInt64(text: string, func: "ParseInt" | "Atoi" = "ParseInt"): bigint {
  if (!/^[+-]?[0-9]+$/.test(text)) throw new NumberError(func, text, "invalid syntax");
  // Longer than any 64-bit number; leading zeros aside, which nobody sends by the thousand.
  if (text.length > 64) throw new NumberError(func, text, "value out of range");
  const value = BigInt(text.startsWith("+") ? text.slice(1) : text);
  if (value > INT64_MAX || value < INT64_MIN) throw new NumberError(func, text, "value out of range");
  return value;
}

/** No two parts of it may begin with the same digits: a text of a megabyte, which a parameter may be, would take hours. */
export const DECIMAL = /^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/;

/** strconv.ParseFloat's decimal forms, or null. Neither hexadecimal floats nor names (`inf`, `nan`). */
export function parseGoFloat(text: string): number | null {
  return DECIMAL.test(text) ? Number(text) : null;
}

/** strconv.Quote, as far as JSON's quoting differs from it only for characters that nobody puts in a parameter. */
export function goQuote(text: string): string {
  return JSON.stringify(text);
}

/** time.Duration.String(): `800h0m0s`, `1m30.5s`, `250ms`, `0s`. */
export function goDuration(ns: bigint): string {
  if (ns === 0n) return "0s";
  if (ns < 0n) return `-${goDuration(-ns)}`;
  if (ns < 1000n) return `${ns}ns`;
  if (ns < 1_000_000n) return `${fraction(ns, 1000n)}µs`;
  if (ns < 1_000_000_000n) return `${fraction(ns, 1_000_000n)}ms`;
  const minutes = ns / 60_000_000_000n;
  const seconds = `${fraction(ns % 60_000_000_000n, 1_000_000_000n)}s`;
  if (minutes === 0n) return seconds;
  return minutes < 60n ? `${minutes}m${seconds}` : `${minutes / 60n}h${minutes % 60n}m${seconds}`;
}

function fraction(value: bigint, unit: bigint): string {
  const rest = value % unit;
  if (rest === 0n) return String(value / unit);
  const digits = String(unit).length - 1;
  return `${value / unit}.${String(rest).padStart(digits, "0").replace(/0+$/, "")}`;
}
