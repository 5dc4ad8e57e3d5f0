import { quote } from "./strings.ts";

/*
 * Numbers, durations and sizes as Go reads and writes them. Readers give null (or an error text where Loki shows one)
 * for what doesn't fit. Durations are nanoseconds in a double: exact to 104 days, and beyond that to well below a microsecond.
 */

const NS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3, // U+00B5
  μs: 1e3, // U+03BC
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
  d: 86_400e9,
  w: 604_800e9,
  y: 31_536_000e9,
};
const DURATION_NS_MAX = 2 ** 63;
const PROM_UNITS = ["y", "w", "d", "h", "m", "s", "ms"];

/**
 * A duration in Prometheus form (`1h30m`, `7d`): whole numbers, units from large to small.
 * Source: github.com/prometheus/common/model, ParseDuration; the error texts are its own.
 */
export function parsePromDuration(text: string): { ns: number } | { error: string } {
  if (text === "0") return { ns: 0 };
  if (text === "") return { error: "empty duration string" };
  const invalid = { error: `not a valid duration string: ${quote(text)}` };
  const part = /(\d+)([^\d]+)/y;
  let ns = 0;
  let last = -1;
  while (part.lastIndex < text.length) {
    const m = part.exec(text);
    if (m === null) return invalid;
    const unit = PROM_UNITS.indexOf(m[2]!);
    if (unit === -1) return { error: `unknown unit ${quote(m[2]!)} in duration ${quote(text)}` };
    if (unit <= last) return invalid;
    last = unit;
    ns += Number(m[1]) * NS[m[2]!]!;
    if (ns >= DURATION_NS_MAX) return { error: "duration out of range" };
  }
  return { ns };
}

/** Nanoseconds of a Go duration (`1h30m`, `-1.5s`, `100us`), or null. Source: Go's time.ParseDuration. */
export function parseGoDuration(text: string): number | null {
  const sign = text[0] === "-" ? -1 : 1;
  const body = text[0] === "-" || text[0] === "+" ? text.slice(1) : text;
  if (body === "0") return 0;
  const part = /(?:(\d+)(\.\d*)?|(\.\d+))(ns|us|µs|μs|ms|s|m|h)/y;
  if (body === "") return null;
  let ns = 0;
  while (part.lastIndex < body.length) {
    const m = part.exec(body);
    if (m === null) return null;
    const unit = NS[m[4]!]!;
    const fraction = m[2] ?? m[3] ?? "";
    ns += Number(m[1] ?? 0) * unit + fractionNs(fraction.slice(1), unit);
    if (ns > DURATION_NS_MAX) return null;
  }
  return sign * ns;
}

/**
 * Nanoseconds of the digits behind a point, reckoned step by step as Go does, which cuts what is less than one off: `0.29s` is 290 ms there,
 * where 0.29 times 1e9 falls short. Digits that 64 bits can't hold are left out.
 */
function fractionNs(digits: string, unit: number): number {
  let value = 0;
  let scale = 1;
  for (const digit of digits) {
    const next = value * 10 + Number(digit);
    if (next >= DURATION_NS_MAX) break;
    value = next;
    scale *= 10;
  }
  return Math.trunc(value * (unit / scale));
}

/** Nanoseconds in seconds, as Go's Duration.Seconds reckons: 57.141592653s are 57.141592653000004. */
export function goSeconds(ns: number): number {
  return Math.trunc(ns / 1e9) + (ns % 1e9) / 1e9;
}

/** The words of Go's time.ParseDuration for a text that it refuses. */
export function goDurationError(text: string): string {
  const part = /(?:(\d+)\.?\d*|\.\d+)([^\d.]*)/y;
  part.lastIndex = /^[-+]?/.exec(text)?.[0].length ?? 0;
  let ns = 0;
  while (part.lastIndex < text.length) {
    const m = part.exec(text);
    // What 64 bits can't hold is wrong before the unit is looked at.
    if (m === null || Number(m[1] ?? 0) > DURATION_NS_MAX) break;
    if (m[2] === "") return `time: missing unit in duration ${timeQuote(text)}`;
    if (NS[m[2]] === undefined || /^[dwy]$/.test(m[2])) {
      return `time: unknown unit ${timeQuote(m[2])} in duration ${timeQuote(text)}`;
    }
    ns += Number(m[1] ?? 0) * NS[m[2]];
    if (ns > DURATION_NS_MAX) break;
  }
  return `time: invalid duration ${timeQuote(text)}`;
}

/** Go's time package has quoting of its own: bytes beyond ASCII come as `\\xNN`. */
function timeQuote(text: string): string {
  const bytes = Buffer.from(text, "utf8").toString("latin1");
  const escaped = bytes
    .replace(/["\\]/g, "\\$&")
    .replace(/[^ -~]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return `"${escaped}"`;
}

/** In linear time: values of lines may be long. */
const DECIMAL = /^[+-]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?$/;
const HEX = /^([+-]?)0[xX]_?([0-9a-fA-F][0-9a-fA-F_]*)?(?:\.([0-9a-fA-F][0-9a-fA-F_]*)?)?[pP]([+-]?\d+)$/;
const SPECIAL = /^([+-]?)(inf|infinity)$|^nan$/i;

/** A float in Go's syntax (hex floats, `Inf`, `NaN`, `1_000`), or null; out of range counts as null too. */
export function parseGoFloat(text: string): number | null {
  if (DECIMAL.test(text)) {
    if (text.includes("_") && /__|_$|_[.eE+-]|[.eE+-]_/.test(text)) return null;
    const value = Number(text.includes("_") ? text.replaceAll("_", "") : text);
    return Number.isFinite(value) ? value : null;
  }
  const special = SPECIAL.exec(text);
  if (special !== null) {
    if (special[2] === undefined) return Number.NaN;
    return special[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  const m = HEX.exec(text);
  if (m === null || (m[2] === undefined && m[3] === undefined)) return null;
  const whole = (m[2] ?? "").replaceAll("_", "");
  const fraction = (m[3] ?? "").replaceAll("_", "");
  const mantissa = Number.parseInt(`${whole}${fraction}` || "0", 16);
  const value = mantissa * 2 ** (Number(m[4]) - 4 * fraction.length);
  return Number.isFinite(value) ? (m[1] === "-" ? -value : value) : null;
}

/** The words of Go's strconv.ParseFloat for a text that `parseGoFloat` refused. */
export function goFloatError(text: string): string {
  const what = DECIMAL.test(text) && !text.includes("_") ? "value out of range" : "invalid syntax";
  return `strconv.ParseFloat: parsing ${quote(text)}: ${what}`;
}

const SIZE_FACTOR: ReadonlyMap<string, number> = new Map(
  ["k", "m", "g", "t", "p", "e"].flatMap((letter, i) => {
    const decimal = 1000 ** (i + 1);
    const binary = 1024 ** (i + 1);
    return [
      [letter, decimal],
      [`${letter}b`, decimal],
      [`${letter}i`, binary],
      [`${letter}ib`, binary],
    ] as [string, number][];
  }),
);

/**
 * Bytes of a humanised size: any case of unit, commas allowed, a bare number means bytes.
 * Source: github.com/dustin/go-humanize, ParseBytes; the error texts are its own.
 */
export function parseByteSize(text: string): { bytes: number } | { error: string } {
  const digits = /^[\d.,]*/.exec(text)![0];
  const plain = digits.replaceAll(",", "");
  const value = parseGoFloat(plain);
  if (value === null) return { error: goFloatError(plain) };
  const unit = text.slice(digits.length).trim().toLowerCase();
  const factor = unit === "" || unit === "b" ? 1 : SIZE_FACTOR.get(unit);
  if (factor === undefined) return { error: `unhandled size name: ${unit}` };
  const bytes = value * factor;
  return bytes >= 2 ** 64 ? { error: `too large: ${text}` } : { bytes: Math.trunc(bytes) };
}

/** As Go's time.Duration prints: `1h0m0s`, `1.5s`, `100µs`, `0s`. */
export function formatGoDuration(ns: number): string {
  if (ns === 0) return "0s";
  const sign = ns < 0 ? "-" : "";
  const abs = Math.abs(ns);
  if (abs < 1e3) return `${sign}${abs}ns`;
  if (abs < 1e6) return `${sign}${decimal(abs, 3)}µs`;
  if (abs < 1e9) return `${sign}${decimal(abs, 6)}ms`;
  const minutes = Math.floor(abs / 60e9);
  const seconds = `${decimal(abs - minutes * 60e9, 9)}s`;
  if (minutes === 0) return sign + seconds;
  const hours = Math.floor(minutes / 60);
  return hours === 0 ? `${sign}${minutes}m${seconds}` : `${sign}${hours}h${minutes % 60}m${seconds}`;
}

/** `value` divided by ten to the power `places`, written out without trailing zeros. */
function decimal(value: number, places: number): string {
  const digits = String(value).padStart(places + 1, "0");
  const fraction = digits.slice(-places).replace(/0+$/, "");
  const whole = digits.slice(0, -places);
  return fraction === "" ? whole : `${whole}.${fraction}`;
}

/** As Prometheus prints a duration: `1h30m`, `30d1h`, `1w`, `0s`. Nanoseconds below a millisecond are dropped. */
export function formatPromDuration(ns: number): string {
  let ms = Math.trunc(Math.abs(ns) / 1e6);
  if (ms === 0) return "0s";
  let out = ns < 0 ? "-" : "";
  for (const unit of PROM_UNITS) {
    const size = NS[unit]! / 1e6;
    // Years and weeks only where they come out even, as Prometheus does: 90d is easier to read than 12w6d.
    if ((unit === "y" || unit === "w") && ms % size !== 0) continue;
    const count = Math.floor(ms / size);
    if (count > 0) out += `${count}${unit}`;
    ms -= count * size;
  }
  return out;
}
