import { quote } from "../syntax/strings.ts";
import { timeText } from "./format-value.ts";
import { DAYS, formatTime, MONTHS } from "./layout.ts";
import { parseGoInt, wrapInt } from "./numbers.ts";
import { CallFailure } from "./run.ts";
import { type Kind, ofTexts, type TemplateFunction, textArg, timeArg } from "./signature.ts";
import { GoTime, ZERO_TIME_SEC } from "./time.ts";
import { parseTime } from "./time-parse.ts";
import { Named, type Value } from "./values.ts";
import { loadZone, UTC } from "./zones.ts";

const ZERO = new GoTime(ZERO_TIME_SEC, 0, UTC);

/** Functions over times. The local zone is UTC. */
export const times: Readonly<Record<string, TemplateFunction>> = {
  now: { params: [], rest: null, call: now },
  date: {
    params: ["string", "any"],
    rest: null,
    call: ([layout, value]) => formatTime(timeOf(value), textArg(layout)),
  },
  toDate: ofTexts(2, (layout, s) => parseTime(layout, s, UTC) ?? ZERO),
  toDateInZone: ofTexts(3, (layout, zone, s) => parseTime(layout, s, loadZone(zone) ?? UTC) ?? ZERO),
  unixEpoch: ofTime((time) => String(time.sec)),
  unixEpochMillis: ofTime((time) => String(floorDiv(time.ns, 1_000_000n))),
  unixEpochNanos: ofTime((time) => String(nanos(time))),
  unixToTime: ofTexts(1, unixToTime),
};

function ofTime(call: (time: GoTime) => Value): TemplateFunction {
  return { params: ["time"], rest: null, call: ([time]) => call(timeArg(time)) };
}

function now(): GoTime {
  return GoTime.ofNs(BigInt(Date.now()) * 1_000_000n, UTC);
}

/** A time, or seconds since 1970; for anything else Go's function takes the present time. */
function timeOf(value: Value): GoTime {
  if (value instanceof GoTime) return value.in(UTC);
  return typeof value === "bigint" ? GoTime.ofNs(value * 1_000_000_000n, UTC) : now();
}

/** Nanoseconds in one unit, by the number of digits. */
const UNITS: ReadonlyMap<number, bigint> = new Map([
  [5, 86_400_000_000_000n],
  [10, 1_000_000_000n],
  [13, 1_000_000n],
  [16, 1000n],
  [19, 1n],
]);

function unixToTime(text: string): GoTime {
  const int = /^[+-]?\d+$/.test(text) ? parseGoInt(text.replace(/^([+-]?)0+(?=\d)/, "$1")) : null;
  if (int === null) {
    throw new CallFailure(`unable to parse time '${text}': strconv.ParseInt: parsing ${quote(text)}: invalid syntax`);
  }
  const unit = UNITS.get(Buffer.byteLength(text));
  if (unit === undefined) throw new CallFailure(`unable to parse time '${text}': %!w(<nil>)`);
  return GoTime.ofNs(int * unit, UTC);
}

/** Nanoseconds since 1970 in 64 bits, as Go has them: those of a time before 1678 or behind 2262 wrap around. */
function nanos({ ns }: GoTime): bigint {
  return wrapInt(ns);
}

function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b < 0n ? quotient - 1n : quotient;
}

/** Methods that templates can call on a time, as in `now.Unix` or `.Format "2006"`; the time is the first argument. */
export const TIME_METHODS: ReadonlyMap<string, TemplateFunction> = new Map(
  Object.entries({
    Format: method(["string"], (time, [layout]) => formatTime(time, textArg(layout))),
    String: method([], (time) => timeText(time)),
    Unix: method([], (time) => BigInt(time.sec)),
    UnixMilli: method([], (time) => floorDiv(time.ns, 1_000_000n)),
    UnixMicro: method([], (time) => floorDiv(time.ns, 1000n)),
    UnixNano: method([], nanos),
    Nanosecond: method([], (time) => BigInt(time.nsec)),
    Second: method([], ({ civil }) => BigInt(civil.second)),
    Minute: method([], ({ civil }) => BigInt(civil.minute)),
    Hour: method([], ({ civil }) => BigInt(civil.hour)),
    Day: method([], ({ civil }) => BigInt(civil.day)),
    YearDay: method([], ({ civil }) => BigInt(civil.yearDay)),
    Year: method([], ({ civil }) => BigInt(civil.year)),
    Month: method([], ({ civil }) => new Named("time.Month", MONTHS[civil.month - 1], BigInt(civil.month))),
    Weekday: method([], ({ civil }) => new Named("time.Weekday", DAYS[civil.weekday], BigInt(civil.weekday))),
    UTC: method([], (time) => time.in(UTC)),
    Local: method([], (time) => time.in(UTC)),
    IsZero: method([], (time) => time.sec === ZERO_TIME_SEC && time.nsec === 0),
    Before: method(["time"], (time, [other]) => time.ns < timeArg(other).ns),
    After: method(["time"], (time, [other]) => time.ns > timeArg(other).ns),
    Equal: method(["time"], (time, [other]) => time.ns === timeArg(other).ns),
  }),
);

function method(params: readonly Kind[], call: (time: GoTime, args: readonly Value[]) => Value): TemplateFunction {
  return { params, rest: null, call: ([time, ...args]) => call(timeArg(time), args) };
}
