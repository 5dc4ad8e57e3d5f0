import { WeirError } from "./errors.ts";

export const NS_PER_SECOND = 1_000_000_000n;

/** Whole seconds (floor) and the nanoseconds after them, 0 to 999,999,999. */
export function splitNs(ns: bigint): { sec: number; nsec: number } {
  let sec = ns / NS_PER_SECOND;
  let rest = ns % NS_PER_SECOND;
  if (rest < 0n) {
    sec -= 1n;
    rest += NS_PER_SECOND;
  }
  return { sec: Number(sec), nsec: Number(rest) };
}

export function joinNs(sec: number, nsec: number): bigint {
  return BigInt(sec) * NS_PER_SECOND + BigInt(nsec);
}

/** Nanoseconds since 1970 as decimal text, without a detour over bigint where the numbers allow it. */
export function nsText(sec: number, nsec: number): string {
  if (sec > 0) return `${sec}${String(nsec).padStart(9, "0")}`;
  return joinNs(sec, nsec).toString();
}

const RFC3339 =
  /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d))$/;

/** Nanoseconds since 1970 of an RFC 3339 time (`T` or a space, fraction by `.` or `,`), or null for anything else. */
export function parseRfc3339(text: string): bigint | null {
  const m = RFC3339.exec(text);
  if (m === null) return null;
  const [, year, month, day, hour, minute, second, fraction = "", , sign, zoneHour, zoneMinute] = m;
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > 31) return null;
  if (Number(hour) > 24 || Number(minute) > 59 || Number(second) > 60) return null;
  const ms = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
  if (new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() !== Number(day)) return null;
  const zoneMs =
    sign === undefined ? 0 : (Number(zoneHour) * 60 + Number(zoneMinute)) * 60_000 * (sign === "-" ? -1 : 1);
  return BigInt(ms - zoneMs) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}

/** RFC 3339 in UTC with as many fraction digits as needed (none, or up to nine). */
export function formatRfc3339(ns: bigint): string {
  const { sec, nsec } = splitNs(ns);
  const base = new Date(sec * 1000).toISOString().slice(0, 19);
  if (nsec === 0) return `${base}Z`;
  return `${base}.${String(nsec).padStart(9, "0").replace(/0+$/, "")}Z`;
}

const UNIT_MS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};

/** Whether `parseDurationMs` takes the text. */
export function isDuration(text: string): boolean {
  try {
    parseDurationMs(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Milliseconds of a duration in Prometheus form: `1h30m`, `5m`, `500ms`, `7d`; units y w d h m s ms in that order.
 * Throws `bad_duration` for anything else.
 */
export function parseDurationMs(text: string): number {
  const m = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/.exec(text);
  if (m === null || text === "") {
    throw new WeirError("bad_duration", `not a valid duration string: ${JSON.stringify(text)}`);
  }
  return ["y", "w", "d", "h", "m", "s", "ms"].reduce(
    (sum, unit, i) => sum + Number(m[i + 1] ?? 0) * (UNIT_MS[unit] ?? 0),
    0,
  );
}
