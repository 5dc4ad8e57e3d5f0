import {
  CUT,
  itemCount,
  itemHead,
  kindAt,
  readFloat,
  readInteger,
  skip,
  textHead,
  textLength,
  u32,
} from "../codec/msgpack.ts";
import { NESTING_LIMIT, skipNested, TOO_DEEP } from "../codec/nesting.ts";
import { messageOf } from "../core/errors.ts";
import { readTime } from "../core/read-time.ts";
import { splitNs } from "../core/time.ts";
import { type EventTime, type EventWriter, isEventTime } from "./event-writer.ts";
import type { Pair } from "./facts.ts";
import type { RecordOptions } from "./json-records.ts";
import { unreadable } from "./unreadable.ts";

/** Adds the records of a message in MessagePack: maps, one after the other. As addJsonRecords. */
export function addMsgpackRecords(
  value: Buffer,
  time: EventTime,
  metadata: readonly Pair[],
  options: RecordOptions,
  out: EventWriter,
): void {
  for (let at = 0; at < value.length; ) {
    const end = mapEnd(value, at);
    const found = timeMember(value, at, end, options);
    const start = at;
    out.add(found?.time ?? time, metadata, (packer) => {
      if (found === null || options.time_key_keep) {
        packer.raw(value.subarray(start, end));
        return null;
      }
      const map = packer.begin("map");
      packer.raw(value.subarray(start + itemHead(value[start]), found.start));
      packer.raw(value.subarray(found.end, end));
      packer.end(map, itemCount(value, start) - 1);
      return null;
    });
    at = end;
  }
}

/** The end of the map at `at`, all of which is well-formed. */
function mapEnd(bytes: Buffer, at: number): number {
  let end: number;
  try {
    const kind = kindAt(bytes, at);
    if (kind !== "map") throw unreadable(`got ${kind} at byte ${at}, want a MessagePack map`);
    end = skipNested(bytes, at, bytes.length, NESTING_LIMIT);
  } catch (error) {
    throw unreadable(messageOf(error), error);
  }
  if (end === CUT) throw unreadable(`not MessagePack: the map at byte ${at} is cut`);
  if (end === TOO_DEEP) throw unreadable(`a record is nested deeper than ${NESTING_LIMIT}`);
  return end;
}

interface Member {
  readonly start: number;
  readonly end: number;
  readonly time: EventTime;
}

/** The member that the record's time is taken from: of several with one name the last, as everywhere. */
function timeMember(bytes: Buffer, at: number, end: number, options: RecordOptions): Member | null {
  const { time_keys } = options;
  let best: Member | null = null;
  let bestRank = time_keys.length;
  let next = at + itemHead(bytes[at]);
  for (let left = itemCount(bytes, at); left > 0; left--) {
    const start = next;
    const valueAt = skip(bytes, start, end);
    next = skip(bytes, valueAt, end);
    const head = textHead(bytes[start]);
    if (head === 0) continue;
    const name = bytes.toString("utf8", start + head, start + head + textLength(bytes, start));
    const rank = time_keys.indexOf(name);
    if (rank === -1 || rank > bestRank) continue;
    const time = readValue(bytes, valueAt, next, options);
    if (time === null) continue;
    best = { start, end: next, time };
    bestRank = rank;
  }
  return best;
}

function readValue(bytes: Buffer, at: number, end: number, { time_format }: RecordOptions): EventTime | null {
  const c = bytes[at];
  // EventTime: extension type 0 with 8 bytes.
  const eventAt =
    c === 0xd7 && bytes[at + 1] === 0 ? at + 2 : c === 0xc7 && end - at === 11 && bytes[at + 2] === 0 ? at + 3 : -1;
  if (eventAt !== -1) {
    const time = { sec: u32(bytes, eventAt), nsec: u32(bytes, eventAt + 4) };
    return time.nsec < 1e9 && isEventTime(time) ? time : null;
  }
  const number = readInteger(bytes, at) ?? readFloat(bytes, at);
  const head = textHead(c);
  const isText = number === null && head > 0 && kindAt(bytes, at) === "str";
  if (number === null && !isText) return null;
  const ns = readTime(isText ? bytes.toString("utf8", at + head, end) : String(number), time_format);
  if (ns === null) return null;
  const time = splitNs(ns);
  return isEventTime(time) ? time : null;
}
