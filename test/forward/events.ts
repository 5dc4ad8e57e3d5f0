import { isUtf8 } from "node:buffer";
import { inflateBoundedSync } from "../../src/codec/bounded-inflate.ts";
import { EventCursor, type ForwardMessage, readForwardMessage } from "../../src/codec/forward-message.ts";
import { itemCount, itemHead, kindAt, readFloat, readInteger, skip, textHead } from "../../src/codec/msgpack.ts";
import { nsText } from "../../src/core/time.ts";

/** A value as the expected files write it down: plain JSON, and objects with a `$` key for what JSON can't hold. */
export function toJson(bytes: Buffer, at: number): unknown {
  const kind = kindAt(bytes, at);
  const c = bytes[at];
  const next = skip(bytes, at, bytes.length);
  switch (kind) {
    case "nil":
      return null;
    case "bool":
      return c === 0xc3;
    case "uint":
    case "int": {
      const value = readInteger(bytes, at);
      return typeof value === "bigint" ? { $int: String(value) } : value;
    }
    case "float": {
      const value = readFloat(bytes, at);
      return Number.isFinite(value) ? value : { $float: String(value) };
    }
    case "str": {
      const content = bytes.subarray(at + textHead(c), next);
      if (isUtf8(content)) return content.toString("utf8");
      return { $invalid_utf8_b64: content.toString("base64"), lossy: new TextDecoder().decode(content) };
    }
    case "bin":
      return { $bin: bytes.toString("base64", at + textHead(c), next) };
    case "ext": {
      const head = c >= 0xd4 && c <= 0xd8 ? 2 : c === 0xc7 ? 3 : c === 0xc8 ? 4 : 6;
      return { $ext: [(bytes[at + head - 1] << 24) >> 24, bytes.toString("base64", at + head, next)] };
    }
    default:
      return containerToJson(bytes, at, kind === "map");
  }
}

function containerToJson(bytes: Buffer, at: number, isMap: boolean): unknown {
  const count = itemCount(bytes, at);
  at += itemHead(bytes[at]);
  const items: unknown[] = [];
  for (let i = 0; i < (isMap ? count * 2 : count); i++) {
    items.push(toJson(bytes, at));
    at = skip(bytes, at, bytes.length);
  }
  if (!isMap) return items;
  const pairs: [string, unknown][] = [];
  for (let i = 0; i < items.length; i += 2) {
    pairs.push([typeof items[i] === "string" ? String(items[i]) : JSON.stringify(items[i]), items[i + 1]]);
  }
  return Object.fromEntries(pairs);
}

/** The events of a message as the expected files have them. */
export function eventsOf(payload: Buffer, message: ForwardMessage = readForwardMessage(payload)): unknown[] {
  const cursor = new EventCursor();
  const packed = payload.subarray(message.entriesStart, message.entriesEnd);
  const inflated =
    message.compression === "none" ? undefined : inflateBoundedSync(packed, message.compression, 64 << 20);
  cursor.open(payload, message, inflated);
  const events: unknown[] = [];
  while (cursor.next()) {
    const { bytes, group } = cursor;
    events.push({
      tag: message.tag,
      time_ns: nsText(cursor.sec, cursor.nsec).replace(/^0+(?=\d)/, ""),
      metadata: cursor.metadataStart === -1 ? {} : toJson(bytes, cursor.metadataStart),
      record: toJson(bytes, cursor.recordStart),
      ...(group === null
        ? {}
        : {
            group: { metadata: toJson(bytes, group.metadataStart), attributes: toJson(bytes, group.attributesStart) },
          }),
    });
  }
  return events;
}
