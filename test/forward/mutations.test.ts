import { isUtf8 } from "node:buffer";
import { gunzipSync } from "node:zlib";
import { decode, decodeMulti, ExtData, ExtensionCodec } from "@msgpack/msgpack";
import { expect, test } from "vitest";
import { inflateBoundedSync } from "../../src/codec/bounded-inflate.ts";
import { EventCursor, type ForwardMessage, readForwardMessage } from "../../src/codec/forward-message.ts";
import { itemCount, itemHead, kindAt, readFloat, readInteger, skip, textHead } from "../../src/codec/msgpack.ts";
import { WeirError } from "../../src/core/errors.ts";
import { nsText } from "../../src/core/time.ts";
import { MessageCheck } from "../../src/forward/check.ts";
import { Framer } from "../../src/forward/framing.ts";
import { forwardOptions } from "../../src/forward/options.ts";
import { Random } from "../random.ts";
import { CASES } from "./cases.ts";

const MUTATIONS = 200_000;
const LIMITS = forwardOptions.parse({
  limits: { message_bytes_max: 64 * 1024, inflated_bytes_max: 256 * 1024, nesting_max: 16, entries_max: 500 },
}).limits;

/** Messages short enough to change 200,000 times, of every kind. */
const ORIGINALS = CASES.flatMap(({ files }) =>
  files.flatMap(({ bytes, frames }) =>
    frames
      .filter(({ length, mode }) => length < 1200 && mode !== "PING")
      .map(({ offset, length }) => bytes.subarray(offset, offset + length)),
  ),
);

/** Bytes that mean much: heads of every format, and lengths around their borders. */
const TELLING = Buffer.from("00017f80818f90919fa0a1bfc0c1c4c6c7cacbcccfd0d3d4d7d8d9dbdcdddedfe0fffe", "hex");

function mutate(random: Random): Buffer {
  let bytes = Buffer.from(random.pick(ORIGINALS));
  for (let n = 1 + random.below(4); n > 0; n--) {
    const at = random.below(bytes.length + 1);
    const length = 1 + random.below(random.pick([1, 4, 40]));
    const before = bytes.subarray(0, at);
    switch (random.below(7)) {
      case 0:
        if (at < bytes.length) bytes[at] = random.below(256);
        break;
      case 1:
        if (at < bytes.length) bytes[at] ^= 1 << random.below(8);
        break;
      case 2:
        if (at < bytes.length) bytes[at] = random.pick([...TELLING]);
        break;
      case 3:
        bytes = Buffer.concat([before, bytes.subarray(at + length)]);
        break;
      case 4:
        bytes = Buffer.concat([
          before,
          Buffer.from(Array.from({ length }, () => random.below(256))),
          bytes.subarray(at),
        ]);
        break;
      case 5:
        bytes = Buffer.concat([before, bytes.subarray(at, at + length), bytes.subarray(at)]);
        break;
      default: {
        const other = random.pick(ORIGINALS);
        bytes = Buffer.concat([before, other.subarray(random.below(other.length))]);
      }
    }
    if (bytes.length === 0) bytes = Buffer.of(random.below(256));
  }
  return bytes;
}

/** What the receiver makes of the bytes: the messages that it would store. */
function accepted(bytes: Buffer, random: Random): { payload: Buffer; message: ForwardMessage; inflated?: Buffer }[] {
  const framer = new Framer(LIMITS.message_bytes_max);
  const check = new MessageCheck(LIMITS);
  const found = [];
  try {
    for (const piece of random.below(2) === 0 ? [bytes] : random.split(bytes)) {
      framer.push(piece);
      for (let payload = framer.next(); payload !== null; payload = framer.next()) {
        const message = readForwardMessage(payload, framer.thirdAt < payload.length ? framer.thirdAt : -1);
        if (message.signal !== "logs") continue;
        const packed = payload.subarray(message.entriesStart, message.entriesEnd);
        const inflated =
          message.compression === "none"
            ? undefined
            : inflateBoundedSync(packed, message.compression, LIMITS.inflated_bytes_max);
        check.open(payload, message, inflated);
        while (!check.step());
        found.push({ payload, message, ...(inflated === undefined ? {} : { inflated }) });
      }
    }
  } catch (error) {
    if (!(error instanceof WeirError) || error.code !== "bad_message") throw error;
    if (typeof error.context.reason !== "string" || typeof error.context.at !== "number") throw error;
  }
  return found;
}

/** A value as text, from the cursor's side. A key that is not UTF-8 makes it incomparable. */
function textOf(bytes: Buffer, at: number): string {
  const kind = kindAt(bytes, at);
  const next = skip(bytes, at, bytes.length);
  switch (kind) {
    case "nil":
      return "nil";
    case "bool":
      return String(bytes[at] === 0xc3);
    case "uint":
    case "int":
      return String(readInteger(bytes, at));
    case "float":
      return String(readFloat(bytes, at));
    case "str":
    case "bin":
      return `<${bytes.toString("hex", at + textHead(bytes[at]), next)}>`;
    case "ext":
      return "ext"; // Content is compared by the walk: both sides must agree where it ends.
    default: {
      const count = itemCount(bytes, at) * (kind === "map" ? 2 : 1);
      const items: string[] = [];
      at += itemHead(bytes[at]);
      for (let i = 0; i < count; i++) {
        if (kind === "map" && i % 2 === 0) {
          const keyKind = kindAt(bytes, at);
          const end = skip(bytes, at, bytes.length);
          const isText = keyKind === "str" && isUtf8(bytes.subarray(at + textHead(bytes[at]), end));
          if (!isText && keyKind !== "uint" && keyKind !== "int") throw new Incomparable();
          const text = isText ? bytes.toString("utf8", at + textHead(bytes[at]), end) : String(readInteger(bytes, at));
          if (text === "__proto__") throw new Incomparable(); // The other library refuses it.
          items.push(text);
        } else {
          items.push(textOf(bytes, at));
        }
        at = skip(bytes, at, bytes.length);
      }
      return kind === "map" ? mapText(items) : `[${items.join()}]`;
    }
  }
}

class Incomparable extends Error {}

function mapText(items: readonly string[]): string {
  const map = new Map<string, string>();
  for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  return `{${[...map].map(([key, value]) => `${JSON.stringify(key)}:${value}`).sort()}}`;
}

/** The same from the other library's side. */
function textOfOther(value: unknown): string {
  if (value === null) return "nil";
  if (value instanceof Uint8Array) return `<${Buffer.from(value).toString("hex")}>`;
  if (value instanceof ExtData) return "ext";
  if (Array.isArray(value)) return `[${value.map(textOfOther)}]`;
  if (typeof value !== "object") return String(value);
  return mapText(Object.entries(value).flatMap(([key, item]) => [key, textOfOther(item)]));
}

const extensionCodec = new ExtensionCodec();
extensionCodec.register({ type: -1, encode: () => null, decode: (data) => new ExtData(-1, data) });
const OPTIONS = {
  extensionCodec,
  rawStrings: true,
  useBigInt64: true,
  // A key that is a list of one text is not that text, which it is to String.
  mapKeyConverter: (key: unknown) => (typeof key === "object" ? `\0${String(key)}` : String(key)),
  // Its own reading of short keys does not check UTF-8: from `metadat`, 0xc1 and the byte behind them it makes `metadata`.
  keyDecoder: {
    canBeCached: () => true,
    decode: (bytes: Uint8Array, at: number, length: number) =>
      Buffer.from(bytes.subarray(at, at + length)).toString("utf8"),
  },
};

/** Reads the events of a message with another library and none of the code under test. */
function eventsElsewhere(payload: Buffer): string[] {
  const [, second, third, fourth] = decode(payload, OPTIONS) as unknown[];
  const isMessageMode = !Array.isArray(second) && !(second instanceof Uint8Array);
  const options = (isMessageMode ? fourth : third) as Record<string, unknown> | null | undefined;
  if (isMessageMode) return [eventElsewhere([second, options?.metadata], third)];
  let entries: unknown = second;
  if (second instanceof Uint8Array) {
    const how = options?.compressed instanceof Uint8Array ? Buffer.from(options.compressed).toString() : "";
    const bytes = how === "gzip" ? gunzipSync(second) : second;
    entries = [...decodeMulti(bytes, OPTIONS)];
  }
  return (entries as unknown[][]).flatMap(([time, record]) => {
    const [inner, metadata] = Array.isArray(time) ? time : [time, undefined];
    if (Array.isArray(time) && inner instanceof ExtData) {
      const data = Buffer.from(inner.data as Uint8Array);
      if (data.readUInt32BE(4) === 0 && data.readUInt32BE(0) >= 0xfffffffe) return [];
    }
    return [eventElsewhere([inner, metadata], record)];
  });
}

function eventElsewhere([time, metadata]: unknown[], record: unknown): string {
  const meta = metadata === undefined || metadata === null ? "none" : textOfOther(metadata);
  let text: string;
  if (time instanceof ExtData) {
    const data = Buffer.from(time.data as Uint8Array);
    if (time.type !== 0 || data.length !== 8) throw new Error(`time: ext ${time.type} of ${data.length} bytes`);
    text = nsText(data.readUInt32BE(0), data.readUInt32BE(4));
  } else {
    const seconds = Number(time);
    text = nsText(Math.floor(seconds), Math.min(Math.round((seconds % 1) * 1e9), 999_999_999));
  }
  return `${text} ${meta} ${textOfOther(record)}`;
}

test(`${MUTATIONS} changed messages: each is refused, or means what another library reads in it`, {
  timeout: 900_000,
}, () => {
  const random = new Random();
  const cursor = new EventCursor();
  const counts = { refused: 0, accepted: 0, events: 0, incomparable: 0 };
  let slowestMs = 0;
  for (let i = 0; i < MUTATIONS; i++) {
    const bytes = mutate(random);
    const start = performance.now();
    const found = accepted(bytes, random);
    slowestMs = Math.max(slowestMs, performance.now() - start);
    if (found.length === 0) counts.refused++;
    for (const { payload, message, inflated } of found) {
      counts.accepted++;
      const events: string[] = [];
      try {
        cursor.open(payload, message, inflated);
        while (cursor.next()) {
          const meta = cursor.metadataStart === -1 ? "none" : textOf(cursor.bytes, cursor.metadataStart);
          events.push(`${nsText(cursor.sec, cursor.nsec)} ${meta} ${textOf(cursor.bytes, cursor.recordStart)}`);
        }
        counts.events += events.length;
        const wanted = eventsElsewhere(payload);
        if (events.join("\n") !== wanted.join("\n")) {
          throw new Error(`number ${i} of seed ${random.seed}: ${payload.toString("hex")}\n${events}\n${wanted}`);
        }
      } catch (error) {
        // Where the other library gives up (a key that is no text), the two can't be compared.
        const isTheirs = error instanceof Incomparable || (error instanceof Error && error.name === "DecodeError");
        if (!isTheirs) throw error;
        counts.incomparable++;
      }
    }
  }
  console.log(`mutations: ${JSON.stringify(counts)}, slowest ${slowestMs.toFixed(1)} ms`);
  // Otherwise the test would not test much.
  expect(counts.accepted).toBeGreaterThan(MUTATIONS / 20);
  expect(counts.refused).toBeGreaterThan(MUTATIONS / 10);
  expect(counts.incomparable).toBeLessThan(counts.accepted / 3);
});
