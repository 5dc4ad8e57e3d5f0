import { type Zone, zoneAt } from "./zones.ts";

const DAY = 86_400;
const NANOS = 1_000_000_000n;

/** A day and time of day on a calendar. */
export interface Civil {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  /** Sunday is 0. */
  readonly weekday: number;
  /** 1 to 366. */
  readonly yearDay: number;
}

/** Go's time.Time: an instant and the zone in which it is shown. */
export class GoTime {
  /** Seconds since 1970 UTC and nanoseconds below 1e9. */
  readonly sec: number;
  readonly nsec: number;
  readonly zone: Zone;
  private civilNow: Civil | null = null;

  constructor(sec: number, nsec: number, zone: Zone) {
    this.sec = sec;
    this.nsec = nsec;
    this.zone = zone;
  }

  static ofNs(ns: bigint, zone: Zone): GoTime {
    const nsec = ((ns % NANOS) + NANOS) % NANOS;
    return new GoTime(Number((ns - nsec) / NANOS), Number(nsec), zone);
  }

  in(zone: Zone): GoTime {
    return new GoTime(this.sec, this.nsec, zone);
  }

  get ns(): bigint {
    return BigInt(this.sec) * NANOS + BigInt(this.nsec);
  }

  /** Seconds east of UTC. */
  get offset(): number {
    return zoneAt(this.zone, this.sec).offset;
  }

  get abbreviation(): string {
    return zoneAt(this.zone, this.sec).name;
  }

  get civil(): Civil {
    this.civilNow ??= civilOf(this.sec + this.offset);
    return this.civilNow;
  }
}

/** Go's zero time, 1 January of the year 1. */
export const ZERO_TIME_SEC = -62_135_596_800;

/** The calendar for seconds since 1970 in local time. Any year, so JavaScript's Date, which ends with 275760, will not do. */
export function civilOf(local: number): Civil {
  const days = Math.floor(local / DAY);
  const rest = local - days * DAY;
  const { year, month, day } = civilDay(days);
  return {
    year,
    month,
    day,
    hour: Math.floor(rest / 3600),
    minute: Math.floor(rest / 60) % 60,
    second: rest % 60,
    weekday: (((days + 4) % 7) + 7) % 7,
    yearDay: days - dayNumber(year, 1, 1) + 1,
  };
}

/** Days since 1970 to the Gregorian calendar. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". */
function civilDay(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1,
  };
}

/** Days from 1970 to a date; a month or a day beyond its range runs over. */
export function dayNumber(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

export function daysIn(year: number, month: number): number {
  return dayNumber(month === 12 ? year + 1 : year, month === 12 ? 1 : month + 1, 1) - dayNumber(year, month, 1);
}
