/** A time zone: one offset for good, or a name of the IANA database. Offsets in seconds east of UTC. */
export type Zone =
  | { readonly name: string; readonly offset: number; readonly formatter: null }
  | { readonly name: string; readonly offset: 0; readonly formatter: Intl.DateTimeFormat };

export const UTC: Zone = { name: "UTC", offset: 0, formatter: null };

export function fixedZone(name: string, offset: number): Zone {
  return { name, offset, formatter: null };
}

const ZONES_MAX = 64;
const zones = new Map<string, Zone | null>();

/** The zone of an IANA name ("Europe/Berlin"), "UTC", "" and "Local" being UTC; null for a name that there is not. */
export function loadZone(name: string): Zone | null {
  if (name === "" || name === "UTC" || name === "Local") return UTC;
  const known = zones.get(name);
  if (known !== undefined) return known;
  if (zones.size >= ZONES_MAX) zones.clear();
  const zone = makeZone(name);
  zones.set(name, zone);
  return zone;
}

function makeZone(name: string): Zone | null {
  // Intl would also take offsets such as "+01:00", which the database does not have, and any case.
  if (!/^[A-Z][A-Za-z0-9_+-]*(?:\/[A-Za-z0-9_+-]+)*$/.test(name)) return null;
  try {
    const formatter = new Intl.DateTimeFormat("en-US", {
      timeZone: name,
      // Not "iso8601", which V8 takes for the Julian calendar before 1582. The dates of times without a date are in the year 0.
      calendar: "gregory",
      numberingSystem: "latn",
      hourCycle: "h23",
      era: "short",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
      timeZoneName: "short",
    });
    return { name, offset: 0, formatter };
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** Names that en-US does not know by their letters. European ones by offset: without and with summer time. */
const EUROPE: Readonly<Record<string, readonly [string, string]>> = {
  "GMT+0": ["WET", "WET"],
  "GMT+1": ["CET", "WEST"],
  "GMT+2": ["EET", "CEST"],
  "GMT+3": ["+03", "EEST"],
};
/** Of these the summer's name; the winter's is GMT. */
const GREENWICH: Readonly<Record<string, string>> = {
  "Europe/London": "BST",
  "Europe/Belfast": "BST",
  "Europe/Jersey": "BST",
  "Europe/Guernsey": "BST",
  "Europe/Isle_of_Man": "BST",
  "Europe/Dublin": "IST",
};
const OTHERS: Readonly<Record<string, string>> = {
  "Europe/Moscow": "MSK",
  "Europe/Simferopol": "MSK",
  "Asia/Tokyo": "JST",
  "Asia/Seoul": "KST",
  "Asia/Kolkata": "IST",
  "Asia/Calcutta": "IST",
  "Asia/Shanghai": "CST",
  "Asia/Taipei": "CST",
  "Asia/Hong_Kong": "HKT",
  "Asia/Karachi": "PKT",
  "Asia/Manila": "PST",
  "Asia/Jakarta": "WIB",
  "Africa/Johannesburg": "SAST",
  "Africa/Lagos": "WAT",
  "Africa/Nairobi": "EAT",
};

/** Zones that Intl takes for UTC and that have a name of their own. */
const GREENWICH_TIME = /^(?:Etc\/)?(?:GMT(?:[+-]?0)?|Greenwich)$/;

/** A zone's offset and abbreviation at an instant, `sec` since 1970. */
export function zoneAt(zone: Zone, sec: number): { name: string; offset: number } {
  if (zone.formatter === null) return zone;
  // Beyond what a Date holds the zone's rules say nothing.
  const clamped = Math.max(-8.64e12, Math.min(8.64e12, sec));
  const parts = new Map(zone.formatter.formatToParts(clamped * 1000).map(({ type, value }) => [type, value]));
  const number = (type: Intl.DateTimeFormatPartTypes) => Number(parts.get(type) ?? "0");
  const date = new Date(0);
  const year = number("year");
  date.setUTCFullYear(parts.get("era") === "BC" ? 1 - year : year, number("month") - 1, number("day"));
  date.setUTCHours(number("hour"), number("minute"), number("second"));
  const offset = Math.round(date.getTime() / 1000) - clamped;
  return { name: abbreviation(zone.name, parts.get("timeZoneName") ?? "", offset), offset };
}

function abbreviation(zone: string, short: string, offset: number): string {
  // Only the sun's own time, before there were zones, has seconds.
  if (offset % 60 !== 0) return "LMT";
  if (GREENWICH_TIME.test(zone)) return "GMT";
  if (!short.startsWith("GMT")) return short;
  const other = OTHERS[zone];
  if (other !== undefined) return other;
  const british = GREENWICH[zone];
  if (british !== undefined) return offset === 0 ? "GMT" : british;
  if (/^(?:Europe\/|(?:CET|EET|MET|WET)$)/.test(zone)) {
    const names = EUROPE[short === "GMT" ? "GMT+0" : short];
    if (names !== undefined) return isSummer(zone, offset) ? names[1] : names[0];
  }
  if (short === "GMT") return short;
  const minutes = Math.abs(Math.trunc(offset / 60));
  const hours = String(Math.floor(minutes / 60)).padStart(2, "0");
  return `${offset < 0 ? "-" : "+"}${hours}${minutes % 60 === 0 ? "" : String(minutes % 60).padStart(2, "0")}`;
}

/** Whether a European zone's offset is more than what it has in January. */
function isSummer(zone: string, offset: number): boolean {
  const winter = winters.get(zone);
  if (winter !== undefined) return offset > winter;
  const loaded = loadZone(zone);
  if (loaded === null || loaded.formatter === null) return false;
  winters.set(zone, Number.POSITIVE_INFINITY);
  const found = zoneAt(loaded, 1_767_225_600).offset;
  winters.set(zone, found);
  return offset > found;
}
const winters = new Map<string, number>();
