import type { GoTime } from "./time.ts";

/*
 * Go's time layouts: the reference time, Mon Jan 2 15:04:05 MST 2006, written as the wanted time should look.
 * Source: Go's package time, "Layout".
 */

/** A piece of a layout: a text that stands as it is, or a part of the time, named as the layout writes it. */
export interface LayoutPart {
  /** "" for a text. */
  readonly part: string;
  readonly text: string;
}

// The longest first; "Jan" and "Mon" not within a longer word; a fraction only when no other digit follows.
const PART =
  /January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|0[1-6]|002|15|1|2006|_2(?!006)|__2|2|3|4|5|PM|pm|-070000|-07:00:00|-0700|-07:00|-07|Z070000|Z07:00:00|Z0700|Z07:00|Z07|[.,](?:0+|9+)(?![0-9])/g;

const LAYOUTS_MAX = 256;
const layouts = new Map<string, readonly LayoutPart[]>();

/** The pieces of a layout, remembered from call to call. */
export function layoutParts(layout: string): readonly LayoutPart[] {
  const known = layouts.get(layout);
  if (known !== undefined) return known;
  const parts: LayoutPart[] = [];
  let at = 0;
  for (const m of layout.matchAll(PART)) {
    if (m.index > at) parts.push({ part: "", text: layout.slice(at, m.index) });
    parts.push({ part: m[0], text: m[0] });
    at = m.index + m[0].length;
  }
  if (at < layout.length) parts.push({ part: "", text: layout.slice(at) });
  if (layouts.size >= LAYOUTS_MAX) layouts.clear();
  layouts.set(layout, parts);
  return parts;
}

export const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
export const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** The time as the layout has it. */
export function formatTime(time: GoTime, layout: string): string {
  let out = "";
  for (const { part, text } of layoutParts(layout)) out += part === "" ? text : formatPart(time, part);
  return out;
}

function formatPart(time: GoTime, part: string): string {
  const { civil } = time;
  switch (part) {
    case "January":
      return MONTHS[civil.month - 1];
    case "Jan":
      return MONTHS[civil.month - 1].slice(0, 3);
    case "Monday":
      return DAYS[civil.weekday];
    case "Mon":
      return DAYS[civil.weekday].slice(0, 3);
    case "1":
      return String(civil.month);
    case "01":
      return padded(civil.month, 2);
    case "2":
      return String(civil.day);
    case "_2":
      return String(civil.day).padStart(2);
    case "02":
      return padded(civil.day, 2);
    case "__2":
      return String(civil.yearDay).padStart(3);
    case "002":
      return padded(civil.yearDay, 3);
    case "15":
      return padded(civil.hour, 2);
    case "3":
      return String(civil.hour % 12 || 12);
    case "03":
      return padded(civil.hour % 12 || 12, 2);
    case "4":
      return String(civil.minute);
    case "04":
      return padded(civil.minute, 2);
    case "5":
      return String(civil.second);
    case "05":
      return padded(civil.second, 2);
    case "2006":
      return padded(civil.year, 4);
    case "06":
      return padded(Math.abs(civil.year) % 100, 2);
    case "PM":
      return civil.hour >= 12 ? "PM" : "AM";
    case "pm":
      return civil.hour >= 12 ? "pm" : "am";
    case "MST":
      return time.abbreviation === "" ? offsetText(time.offset, "-0700") : time.abbreviation;
  }
  if (part[0] === "." || part[0] === ",") return fraction(time.nsec, part);
  return offsetText(time.offset, part);
}

function fraction(nsec: number, part: string): string {
  const digits = padded(nsec, 9)
    .slice(0, part.length - 1)
    .padEnd(part.length - 1, "0");
  if (part[1] === "0") return part[0] + digits;
  const short = digits.replace(/0+$/, "");
  return short === "" ? "" : part[0] + short;
}

function offsetText(offset: number, part: string): string {
  if (offset === 0 && part[0] === "Z") return "Z";
  // Go divides before it looks at the sign, so seconds are cut towards zero.
  const minutes = Math.abs(Math.trunc(offset / 60));
  const colon = part.includes(":") ? ":" : "";
  let out = Math.trunc(offset / 60) < 0 ? "-" : "+";
  out += padded(Math.floor(minutes / 60), 2);
  const digits = part.replace(/[^0-9]/g, "").length;
  if (digits >= 4) out += colon + padded(minutes % 60, 2);
  if (digits >= 6) out += colon + padded(Math.abs(offset) % 60, 2);
  return out;
}

function padded(value: number, width: number): string {
  return value < 0 ? `-${String(-value).padStart(width, "0")}` : String(value).padStart(width, "0");
}
