import { isUtf8 } from "node:buffer";
import { packJson, type Watched } from "../codec/json-msgpack.ts";
import { messageOf } from "../core/errors.ts";
import { readTime } from "../core/read-time.ts";
import { splitNs } from "../core/time.ts";
import { type EventTime, type EventWriter, isEventTime } from "./event-writer.ts";
import type { Pair } from "./facts.ts";
import type { TopicOptions } from "./options.ts";
import { unreadable } from "./unreadable.ts";

export type RecordOptions = Pick<TopicOptions, "time_keys" | "time_format" | "time_key_keep">;

/**
 * Adds the records of a message in JSON: an object, a list of objects, or one object a line. `time` is that of records that say
 * none. Throws `topic_unreadable`; what was added by then is to be dropped.
 */
export function addJsonRecords(
  value: Buffer,
  time: EventTime,
  metadata: readonly Pair[],
  options: RecordOptions,
  out: EventWriter,
): void {
  if (!isUtf8(value)) throw unreadable("not JSON: it is no UTF-8");
  const text = value.toString();
  for (const [json, record] of objectsOf(text)) {
    const watched = timeMember(record, options);
    out.add(time, metadata, (packer) => {
      try {
        const raw = packJson(json, packer, watched ?? undefined);
        if (raw === null || watched === null) return null;
        const value = record[watched.name];
        // As it was written: a number with nanoseconds has more digits than JavaScript's numbers.
        return readEventTime(typeof value === "number" ? raw : value, options);
      } catch (error) {
        throw unreadable(messageOf(error), error);
      }
    });
  }
}

type Parsed = Readonly<Record<string, unknown>>;

function* objectsOf(text: string): Generator<readonly [json: string, record: Parsed]> {
  const whole = parse(text);
  if (whole.error === null) {
    if (Array.isArray(whole.value)) {
      const items: readonly unknown[] = whole.value;
      const texts = itemTexts(text);
      for (const [i, item] of items.entries()) yield [texts[i], objectOf(item)];
    } else yield [text, objectOf(whole.value)];
    return;
  }
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  if (lines.length < 2) throw whole.error;
  for (const line of lines) {
    const { value, error } = parse(line);
    if (error !== null) throw whole.error;
    yield [line, objectOf(value)];
  }
}

function parse(text: string): { value: unknown; error: Error | null } {
  try {
    return { value: JSON.parse(text), error: null };
  } catch (error) {
    // V8 puts a piece of the text into its message, which stands in the line anyway.
    return { value: null, error: unreadable(`not JSON: ${messageOf(error).slice(0, 100)}`, error) };
  }
}

function objectOf(value: unknown): Parsed {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Parsed;
  const kind = Array.isArray(value) ? "a list" : value === null ? "null" : `a ${typeof value}`;
  throw unreadable(`got ${kind}, want a JSON object`);
}

/** The texts of the items of a list that `JSON.parse` has taken. */
function itemTexts(text: string): string[] {
  const items: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (c === '"') {
      for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
    } else if (c === "[" || c === "{") {
      if (depth++ === 0) start = at + 1;
    } else if (c === "]" || c === "}") {
      if (--depth === 0) items.push(text.slice(start, at));
    } else if (c === "," && depth === 1) {
      items.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return items;
}

/** The member that the record's time is taken from. */
function timeMember(record: Parsed, options: RecordOptions): Watched | null {
  for (const name of options.time_keys) {
    if (!Object.hasOwn(record, name)) continue;
    if (readEventTime(record[name], options) !== null) return { name, isKept: options.time_key_keep };
  }
  return null;
}

function readEventTime(value: unknown, { time_format }: RecordOptions): EventTime | null {
  if (typeof value !== "string" && typeof value !== "number") return null;
  const ns = readTime(String(value), time_format);
  if (ns === null) return null;
  const time = splitNs(ns);
  return isEventTime(time) ? time : null;
}
