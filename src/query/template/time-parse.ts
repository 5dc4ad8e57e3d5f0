import { DAYS, layoutParts, MONTHS } from "./layout.ts";
import { dayNumber, daysIn, GoTime } from "./time.ts";
import { fixedZone, UTC, type Zone, zoneAt } from "./zones.ts";

interface Fields {
  year: number;
  month: number;
  day: number;
  yearDay: number;
  hour: number;
  minute: number;
  second: number;
  nsec: number;
  afternoon: boolean | null;
  /** "Z" or "UTC" stood there. */
  utc: boolean;
  offset: number | null;
  zoneName: string;
}

/**
 * Reads a time that is written as `layout` says; what it does not name is that of 1 January of the year 0, and a time
 * without a zone is in `zone`. Null for a text that does not fit. Source: Go's time.ParseInLocation.
 */
export function parseTime(layout: string, text: string, zone: Zone): GoTime | null {
  const fields: Fields = {
    year: 0,
    month: -1,
    day: -1,
    yearDay: -1,
    hour: 0,
    minute: 0,
    second: 0,
    nsec: 0,
    afternoon: null,
    utc: false,
    offset: null,
    zoneName: "",
  };
  const parts = layoutParts(layout);
  let rest: string | null = text;
  for (let i = 0; i < parts.length && rest !== null; i++) {
    const { part, text: literal } = parts[i];
    const next = parts[i + 1]?.part ?? "";
    rest = part === "" ? skipText(rest, literal) : readPart(fields, part, rest, /^[.,]/.test(next));
  }
  if (rest !== "") return null;
  return assemble(fields, zone);
}

/** Steps over a text of the layout; its spaces match any number of spaces. */
function skipText(value: string, text: string): string | null {
  let at = 0;
  for (let i = 0; i < text.length; ) {
    if (text[i] === " ") {
      if (at < value.length && value[at] !== " ") return null;
      while (text[i] === " ") i++;
      while (value[at] === " ") at++;
    } else if (value[at++] !== text[i++]) return null;
  }
  return value.slice(at);
}

/** Reads one part into `fields`. Gives what follows it, or null. */
function readPart(fields: Fields, part: string, value: string, fractionFollows: boolean): string | null {
  const number = (pattern: RegExp, least: number, most: number, set: (n: number) => void): string | null => {
    const m = pattern.exec(value);
    if (m === null) return null;
    const n = Number(m[1]);
    if (n < least || n > most) return null;
    set(n);
    return value.slice(m[0].length);
  };
  switch (part) {
    case "January":
    case "Jan":
      return name(value, part === "Jan" ? MONTHS.map((month) => month.slice(0, 3)) : MONTHS, (i) => {
        fields.month = i + 1;
      });
    case "Monday":
    case "Mon":
      return name(value, part === "Mon" ? DAYS.map((day) => day.slice(0, 3)) : DAYS, () => {});
    case "2006":
      return number(/^(\d{4})/, 0, 9999, (n) => {
        fields.year = n;
      });
    case "06":
      return number(/^(\d{2})/, 0, 99, (n) => {
        fields.year = n + (n >= 69 ? 1900 : 2000);
      });
    case "1":
    case "01":
      return number(part === "01" ? TWO : ONE_OR_TWO, 1, 12, (n) => {
        fields.month = n;
      });
    case "2":
    case "_2":
    case "02":
      return number(part === "02" ? TWO : part === "2" ? ONE_OR_TWO : /^ ?(\d{1,2})/, 0, 99, (n) => {
        fields.day = n;
      });
    case "__2":
    case "002":
      return number(part === "002" ? /^(\d{3})/ : /^ {0,2}(\d{1,3})/, 0, 999, (n) => {
        fields.yearDay = n;
      });
    case "15":
      return number(ONE_OR_TWO, 0, 23, (n) => {
        fields.hour = n;
      });
    case "3":
    case "03":
      return number(part === "03" ? TWO : ONE_OR_TWO, 0, 12, (n) => {
        fields.hour = n;
      });
    case "4":
    case "04":
      return number(part === "04" ? TWO : ONE_OR_TWO, 0, 59, (n) => {
        fields.minute = n;
      });
    case "5":
    case "05": {
      const rest = number(part === "05" ? TWO : ONE_OR_TWO, 0, 59, (n) => {
        fields.second = n;
      });
      // A fraction is taken even where the layout has none.
      return rest === null || fractionFollows ? rest : (readFraction(fields, rest, /^[.,](\d+)/) ?? rest);
    }
    case "PM":
    case "pm": {
      const half = value.slice(0, 2);
      if (half !== part && half !== (part === "PM" ? "AM" : "am")) return null;
      fields.afternoon = half === part;
      return value.slice(2);
    }
    case "MST":
      return readZoneName(fields, value);
  }
  if (part[0] === "." || part[0] === ",") {
    if (part[1] === "9") return readFraction(fields, value, /^[.,](\d+)/) ?? value;
    return readFraction(fields, value, new RegExp(`^[.,](\\d{${part.length - 1}})`));
  }
  return readOffset(fields, part, value);
}

const TWO = /^(\d{2})/;
const ONE_OR_TWO = /^(\d{1,2})/;

function name(value: string, names: readonly string[], set: (index: number) => void): string | null {
  const lower = value.toLowerCase();
  const index = names.findIndex((one) => lower.startsWith(one.toLowerCase()));
  if (index === -1) return null;
  set(index);
  return value.slice(names[index].length);
}

function readFraction(fields: Fields, value: string, pattern: RegExp): string | null {
  const m = pattern.exec(value);
  if (m === null) return null;
  fields.nsec = Number(m[1].slice(0, 9).padEnd(9, "0"));
  return value.slice(m[0].length);
}

function readOffset(fields: Fields, part: string, value: string): string | null {
  if (part[0] === "Z" && value[0] === "Z") {
    fields.utc = true;
    return value.slice(1);
  }
  const digits = part.replace(/[^0-9]/g, "").length / 2;
  const pattern = new RegExp(
    `^([+-])${Array(digits)
      .fill("(\\d{2})")
      .join(part.includes(":") ? ":" : "")}`,
  );
  const m = pattern.exec(value);
  if (m === null) return null;
  const [hours, minutes, seconds] = [m[2], m[3] ?? "0", m[4] ?? "0"].map(Number);
  if (hours > 24 || minutes > 60 || seconds > 60) return null;
  fields.offset = ((hours * 60 + minutes) * 60 + seconds) * (m[1] === "-" ? -1 : 1);
  return value.slice(m[0].length);
}

function readZoneName(fields: Fields, value: string): string | null {
  if (value.startsWith("UTC")) {
    fields.utc = true;
    return value.slice(3);
  }
  const m =
    /^(?:ChST|MeST|GMT(?:[+-](?:1\d|2[0-3]|0?\d)(?!\d))?|[+-](?:1\d|2[0-3]|0?\d)(?!\d)|(?:[A-Z]{4}T|[A-Z]{3}T|WITA|[A-Z]{3})(?![A-Z]))/.exec(
      value,
    );
  if (m === null) return null;
  fields.zoneName = m[0];
  return value.slice(m[0].length);
}

function assemble(fields: Fields, zone: Zone): GoTime | null {
  let { hour, month, day } = fields;
  const { year, yearDay } = fields;
  if (fields.afternoon === true && hour < 12) hour += 12;
  else if (fields.afternoon === false && hour === 12) hour = 0;
  if (yearDay >= 0) {
    const first = dayNumber(year, 1, 1);
    if (yearDay < 1 || yearDay > dayNumber(year + 1, 1, 1) - first) return null;
    let m = 1;
    while (m < 12 && dayNumber(year, m + 1, 1) - first < yearDay) m++;
    const d = yearDay - (dayNumber(year, m, 1) - first);
    if ((month >= 0 && month !== m) || (day >= 0 && day !== d)) return null;
    month = m;
    day = d;
  }
  if (month < 0) month = 1;
  if (day < 0) day = 1;
  if (day < 1 || day > daysIn(year, month)) return null;
  const local = dayNumber(year, month, day) * 86_400 + hour * 3600 + fields.minute * 60 + fields.second;
  const { nsec, offset, zoneName } = fields;
  if (fields.utc) return new GoTime(local, nsec, UTC);
  if (offset !== null) {
    const sec = local - offset;
    const there = zoneAt(zone, sec);
    const fits = there.offset === offset && (zoneName === "" || there.name === zoneName);
    return new GoTime(sec, nsec, fits ? zone : fixedZone(zoneName, offset));
  }
  if (zoneName !== "") {
    const known = offsetOfName(zone, zoneName, local);
    if (known !== null) return new GoTime(local - known, nsec, zone);
    const made = zoneName.startsWith("GMT") ? Number(zoneName.slice(3) || "0") * 3600 : 0;
    // As in Go, which takes no hours off for a name that it makes an offset of.
    return new GoTime(local, nsec, fixedZone(zoneName, made));
  }
  return new GoTime(local - offsetOfLocal(zone, local), nsec, zone);
}

/** The offset that the zone has under that name: the one in effect then, or one of any other season or age. Null without one. */
function offsetOfName(zone: Zone, name: string, local: number): number | null {
  // Where the name says which of two offsets is meant, the local time is right in exactly that one.
  const there = [local, local - 15_552_000, local + 15_552_000].map((sec) => zoneAt(zone, sec));
  const named = there.filter((one) => one.name === name);
  const inEffect = named.find(({ offset }) => zoneAt(zone, local - offset).name === name);
  if (inEffect !== undefined) return inEffect.offset;
  if (named.length > 0) return named[0].offset;
  // A year that had no such name yet, as the year 0 of a time without a date.
  if (zone.formatter === null) return null;
  return (
    [1_704_067_200, 1_719_792_000].map((sec) => zoneAt(zone, sec)).find((one) => one.name === name)?.offset ?? null
  );
}

/** The zone's offset for a local time. In the hour that a clock change skips or repeats one of the two, as in Go. */
function offsetOfLocal(zone: Zone, local: number): number {
  const { offset } = zoneAt(zone, local);
  if (offset === 0) return 0;
  return zoneAt(zone, local - offset).offset;
}
