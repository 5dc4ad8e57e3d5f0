import { parseRfc3339 } from "./time.ts";

/**
 * What a time may look like as text. `auto` takes RFC 3339, and numbers by their size: below 1e11 seconds, below 1e14 ms, below
 * 1e17 us, else ns.
 */
export const TIME_FORMATS = ["auto", "rfc3339", "unix", "unix_ms", "unix_us", "unix_ns"] as const;
export type TimeFormat = (typeof TIME_FORMATS)[number];

/** Decimal places of a second in each unit. */
const UNIT_DIGITS = { unix: 0, unix_ms: 3, unix_us: 6, unix_ns: 9 } as const;
/** Digits, with a point and an exponent perhaps: what JSON has, and floats as JavaScript writes them. */
const NUMBER = /^(\d{1,20})(?:\.(\d{1,30}))?(?:[eE]\+?(\d{1,2}))?$/;
/** Times that fit into 63 bits of nanoseconds: until the year 2262. */
const NS_MAX = (1n << 63n) - 1n;

/** Nanoseconds since 1970, or null for text that is no time of this format. Numbers keep all their digits. */
export function readTime(text: string, format: TimeFormat): bigint | null {
  const trimmed = text.trim();
  const number = NUMBER.exec(trimmed);
  if (format === "rfc3339" || (format === "auto" && number === null)) {
    return trimmed.length > 64 ? null : bounded(parseRfc3339(trimmed));
  }
  if (number === null) return null;
  const [, before, after = "", exponent = "0"] = number;
  const shift = Number(exponent);
  const whole = BigInt(before + after.slice(0, shift).padEnd(shift, "0"));
  const fraction = after.slice(shift);
  const scale = 9 - (format === "auto" ? guessDigits(whole) : UNIT_DIGITS[format]);
  return bounded(whole * 10n ** BigInt(scale) + BigInt(fraction.slice(0, scale).padEnd(scale, "0") || "0"));
}

function guessDigits(whole: bigint): number {
  if (whole < 100_000_000_000n) return 0;
  if (whole < 100_000_000_000_000n) return 3;
  return whole < 100_000_000_000_000_000n ? 6 : 9;
}

function bounded(ns: bigint | null): bigint | null {
  return ns === null || ns > NS_MAX || ns < 0n ? null : ns;
}
