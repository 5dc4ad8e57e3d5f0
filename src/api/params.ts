import { NS_PER_SECOND, parseDurationMs, parseRfc3339 } from "../core/time.ts";
import { BadRequest } from "./errors.ts";
import { goDuration, NumberError, parseGoFloat, parseInt64 } from "./go.ts";

/*
 * Loki's parameters: forms of time, step and limit, their defaults, and the texts of its refusals.
 * Source: "Loki's HTTP contract", sections 2.2 and 2.3.
 */

const NS_PER_MS = 1_000_000n;
const DEFAULT_SINCE_NS = 3600n * NS_PER_SECOND;
const DEFAULT_LIMIT = 100;
const STEPS_MAX = 11_000n;
const INT64_MAX_NS = 9_223_372_036_854_775_807n;

/** Nanoseconds since 1970, `startNs` inclusive, `endNs` exclusive. */
export interface TimeRange {
  readonly startNs: bigint;
  readonly endNs: bigint;
}

export interface RangeParams extends TimeRange {
  readonly query: string;
  readonly limit: number;
  readonly backward: boolean;
  readonly stepNs: bigint;
  readonly intervalNs: bigint;
}

/**
 * A point in time: decimal seconds (kept to milliseconds), seconds of at most ten characters, longer integers as
 * nanoseconds, or RFC 3339. Throws NumberError for anything else.
 */
export function parseTime(text: string): bigint {
  if (text.includes(".")) {
    const seconds = parseGoFloat(text);
    if (seconds !== null) {
      if (!(Math.abs(seconds) < Number(INT64_MAX_NS / NS_PER_SECOND))) {
        throw new NumberError("ParseInt", text, "value out of range");
      }
      return BigInt(Math.round(seconds * 1000)) * NS_PER_MS;
    }
  }
  if (!/^[+-]?[0-9]+$/.test(text)) {
    const ns = parseRfc3339(text);
    if (ns !== null) return ns;
  }
  const value = parseInt64(text);
  return text.length <= 10 ? value * NS_PER_SECOND : value;
}

function timeParam(name: string, text: string | null, fallback: bigint): bigint {
  if (text === null || text === "") return fallback;
  try {
    return parseTime(text);
  } catch (error) {
    throw prefixed(`could not parse '${name}' parameter: `, error);
  }
}

function prefixed(prefix: string, error: unknown): unknown {
  return error instanceof NumberError ? new BadRequest(prefix + error.message) : error;
}

/** A Prometheus duration (`0` too) in nanoseconds, or null. */
function durationNs(text: string): bigint | null {
  if (text === "0") return 0n;
  try {
    const ms = parseDurationMs(text);
    return ms * 1e6 <= Number(INT64_MAX_NS) ? BigInt(ms) * NS_PER_MS : null;
  } catch {
    return null; // The caller says which parameter it was.
  }
}

/** `start`, `end`, `since`. Says nothing about their order. */
export function timeRange(params: URLSearchParams, nowNs: bigint): TimeRange {
  const sinceText = params.get("since");
  let sinceNs = DEFAULT_SINCE_NS;
  if (sinceText !== null && sinceText !== "") {
    const given = durationNs(sinceText);
    if (given === null) {
      throw new BadRequest(
        `could not parse 'since' parameter: not a valid duration string: ${JSON.stringify(sinceText)}`,
      );
    }
    sinceNs = given;
  }
  const endNs = timeParam("end", params.get("end"), nowNs);
  const startNs = timeParam("start", params.get("start"), (endNs > nowNs ? nowNs : endNs) - sinceNs);
  return { startNs, endNs };
}

/** The same, in order. */
export function orderedRange(params: URLSearchParams, nowNs: bigint): TimeRange {
  const range = timeRange(params, nowNs);
  if (range.endNs < range.startNs) throw new BadRequest("end timestamp must not be before or equal to start time");
  return range;
}

/** `time` of an instant query. */
export function instantTime(params: URLSearchParams, nowNs: bigint): bigint {
  const text = params.get("time");
  if (text === null || text === "") return nowNs;
  try {
    return parseTime(text);
  } catch (error) {
    throw prefixed("", error);
  }
}

export function limitParam(params: URLSearchParams, fallback: number = DEFAULT_LIMIT): number {
  const text = params.get("limit");
  if (text === null || text === "") return fallback;
  let value: bigint;
  try {
    value = parseInt64(text, "Atoi");
  } catch (error) {
    throw prefixed("", error);
  }
  if (value <= 0n) throw new BadRequest("limit must be a positive value");
  return Number(value);
}

export function backwardParam(params: URLSearchParams): boolean {
  const text = params.get("direction") ?? "";
  const direction = text === "" ? "backward" : text.toLowerCase();
  if (direction !== "backward" && direction !== "forward") throw new BadRequest(`invalid direction '${text}'`);
  return direction === "backward";
}

/** Seconds as a float, or a Prometheus duration. */
function secondsOrDuration(text: string): bigint {
  const seconds = parseGoFloat(text);
  if (seconds !== null) {
    if (Math.abs(seconds) * 1e9 > Number(INT64_MAX_NS)) {
      throw new BadRequest(`cannot parse ${JSON.stringify(text)} to a valid duration. It overflows int64`);
    }
    return BigInt(Math.trunc(seconds * 1e9));
  }
  const ns = durationNs(text);
  if (ns === null) throw new BadRequest(`cannot parse ${JSON.stringify(text)} to a valid duration`);
  return ns;
}

function stepParam(params: URLSearchParams, range: TimeRange): bigint {
  const text = params.get("step") ?? "";
  if (text !== "") return secondsOrDuration(text);
  const seconds = (range.endNs - range.startNs) / NS_PER_SECOND / 250n;
  return (seconds < 1n ? 1n : seconds) * NS_PER_SECOND;
}

/** `step`, or its default, checked against the range. */
export function stepOf(params: URLSearchParams, range: TimeRange): bigint {
  const stepNs = stepParam(params, range);
  if (stepNs <= 0n) {
    throw new BadRequest("zero or negative query resolution step widths are not accepted. Try a positive integer");
  }
  if ((range.endNs - range.startNs) / stepNs > STEPS_MAX) {
    throw new BadRequest(
      "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
    );
  }
  return stepNs;
}

/** The first of `names` that is given: a number that counts something; 0 is the default, too. */
export function countParam(params: URLSearchParams, names: readonly string[], fallback: number): number {
  const text = names.map((name) => params.get(name) ?? "").find((value) => value !== "") ?? "";
  return text === "" || text === "0" ? fallback : limitParam(new URLSearchParams({ limit: text }));
}

/** All of `query_range`'s parameters, checked in Loki's order. */
export function rangeParams(params: URLSearchParams, nowNs: bigint): RangeParams {
  const range = orderedRange(params, nowNs);
  const limit = limitParam(params);
  const backward = backwardParam(params);
  const stepNs = stepOf(params, range);
  const intervalText = params.get("interval") ?? "";
  const intervalNs = intervalText === "" ? 0n : secondsOrDuration(intervalText);
  if (intervalNs < 0n) throw new BadRequest("interval must be >= 0");
  return { ...range, query: params.get("query") ?? "", limit, backward, stepNs, intervalNs };
}

/** Refuses a range longer than `max_query_length`, which `limitText` is as configured; "0s" is no limit. */
export function checkLength({ startNs, endNs }: TimeRange, limitText: string): void {
  const limitNs = BigInt(parseDurationMs(limitText)) * NS_PER_MS;
  const lengthNs = endNs - startNs;
  if (limitNs > 0n && lengthNs > limitNs) {
    throw new BadRequest(
      `the query time range exceeds the limit (query length: ${goDuration(lengthNs)}, limit: ${limitText})`,
    );
  }
}

/** Refuses more entries than `max_entries_limit_per_query`. Only for what gives entries: metric queries ignore `limit`. */
export function checkLimit(limit: number, most: number): void {
  if (limit <= most) return;
  throw new BadRequest(
    `max entries limit per query exceeded, limit > max_entries_limit_per_query (${limit} > ${most})`,
  );
}

/** Range of `labels` and its kin, which word the wrong order differently. */
export function labelsRange(params: URLSearchParams, nowNs: bigint): TimeRange {
  const range = timeRange(params, nowNs);
  if (range.endNs < range.startNs) {
    throw new BadRequest("this data is no longer available, it is past now - max_query_lookback (0s)");
  }
  return range;
}
