import { formatRfc3339, parseDurationMs, parseRfc3339 } from "../core/time.ts";
import { usageError } from "./io.ts";

const NS_PER_MS = 1_000_000n;

/** Nanoseconds since 1970 UTC, `from` inclusive, `to` exclusive. */
export interface TimeRange {
  readonly fromNs: bigint;
  readonly toNs: bigint;
}

export interface TimeOptions {
  readonly since?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

/** How far back a query looks when nothing is said; Loki's own default. */
export const DEFAULT_SINCE = "1h";

/**
 * The range of `--since`, `--from`, `--to`. `to` defaults to now, `from` to `since` before `to`.
 * Throws `bad_usage` for what is no time, for `--since` beside `--from`, and for an empty range.
 */
export function timeRange(options: TimeOptions, nowNs: bigint): TimeRange {
  if (options.since !== undefined && options.from !== undefined) {
    throw usageError("--since and --from both say where to begin: give one of them");
  }
  // One nanosecond on, so that a line stamped with this very moment is in.
  const toNs = options.to === undefined ? nowNs + 1n : parseTime("--to", options.to, nowNs);
  const fromNs =
    options.from === undefined
      ? toNs - durationNs("--since", options.since ?? DEFAULT_SINCE)
      : parseTime("--from", options.from, nowNs);
  if (fromNs >= toNs) {
    throw usageError(`the range is empty: it begins at ${formatRfc3339(fromNs)} and ends at ${formatRfc3339(toNs)}`);
  }
  return { fromNs, toNs };
}

/**
 * A point in time: RFC 3339; a number since 1970, whose length tells its unit (up to 11 digits seconds, up to 14
 * milliseconds, up to 17 microseconds, longer nanoseconds; with a fraction always seconds); `now`; or a duration with
 * a sign, from now (`-30m`, `+5s`). Throws `bad_usage` with the option's name for anything else.
 */
export function parseTime(option: string, text: string, nowNs: bigint): bigint {
  const trimmed = text.trim();
  if (trimmed === "now") return nowNs;
  const relative = /^([+-])(\S*[a-z])$/.exec(trimmed);
  if (relative !== null) {
    const ns = durationNs(option, relative[2] ?? "");
    return relative[1] === "-" ? nowNs - ns : nowNs + ns;
  }
  const number = /^(\d{1,19})(?:\.(\d{1,9}))?$/.exec(trimmed);
  if (number !== null) {
    const [, whole = "", fraction] = number;
    if (fraction !== undefined) return BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, "0"));
    return BigInt(whole) * unitNs(whole.length);
  }
  const ns = parseRfc3339(trimmed);
  if (ns !== null) return ns;
  throw usageError(
    `${option}: got ${JSON.stringify(text)}, want a time such as 2024-05-01T09:00:00Z, 1714554000 or -30m`,
  );
}

function unitNs(digits: number): bigint {
  if (digits <= 11) return 1_000_000_000n;
  if (digits <= 14) return NS_PER_MS;
  return digits <= 17 ? 1000n : 1n;
}

function durationNs(option: string, text: string): bigint {
  return BigInt(durationMs(option, text)) * NS_PER_MS;
}

/** A duration in milliseconds. Throws `bad_usage` with the option's name. */
export function durationMs(option: string, text: string): number {
  try {
    return parseDurationMs(text);
  } catch {
    throw usageError(`${option}: got ${JSON.stringify(text)}, want a duration such as 30m, 1h30m or 7d`);
  }
}
