import { EventCursor, readForwardMessage } from "../codec/forward-message.ts";
import { itemHead, textHead, textLength } from "../codec/msgpack.ts";
import { WeirError } from "../core/errors.ts";

/** An entry's times, a group marker: [[EventTime 0xffffffff, metadata], attributes]. */
const GROUP_START = Buffer.from([0x92, 0x92, 0xd7, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
/** Array of two, and the head of a bin. */
const HEAD_BYTES = 6;

/**
 * A message of the forward protocol that is too large for one record, as several: packed messages with the same tag and, one
 * after the other, the same events, each of at most `bytesMax`. Options are left out: they say nothing about events, but for
 * the metadata of a single one, which can't be split. A group's start is repeated where a part begins within the group.
 * `inflated`: the entries of a compressed message, where somebody has them. The message was checked by the receiver.
 * Throws `intake_entry_too_large` when a single event is.
 */
export function splitForward(payload: Buffer, bytesMax: number, inflated?: Buffer): Buffer[] {
  const message = readForwardMessage(payload);
  const tagStart = itemHead(payload[0]);
  const tag = payload.subarray(tagStart, tagStart + textHead(payload[tagStart]) + textLength(payload, tagStart));
  const room = bytesMax - HEAD_BYTES - tag.length;
  if (message.mode === "message") throw tooLarge(payload.length, bytesMax);
  const cursor = new EventCursor();
  cursor.open(payload, message, inflated);
  const parts: Buffer[] = [];
  let pieces: Buffer[] = [];
  let size = 0;
  const close = () => {
    if (pieces.length > 0) parts.push(pack(tag, pieces, size));
    pieces = [];
    size = 0;
  };
  for (;;) {
    const start = cursor.at;
    const { group } = cursor;
    if (!cursor.next()) break;
    const event = cursor.bytes.subarray(start, cursor.at);
    if (size > 0 && size + event.length > room) close();
    // Only where the event has no marker of its own before it.
    if (size === 0 && group !== null && cursor.group === group) {
      const { metadataStart, metadataEnd, attributesStart, attributesEnd } = group;
      const metadata = cursor.bytes.subarray(metadataStart, metadataEnd);
      const marker = [GROUP_START, metadata, cursor.bytes.subarray(attributesStart, attributesEnd)];
      pieces.push(...marker);
      size = marker.reduce((sum, { length }) => sum + length, 0);
    }
    if (size + event.length > room) throw tooLarge(event.length, bytesMax);
    pieces.push(event);
    size += event.length;
  }
  close();
  return parts;
}

function pack(tag: Buffer, pieces: readonly Buffer[], size: number): Buffer {
  const head = Buffer.alloc(1, 0x92);
  const bin = Buffer.allocUnsafe(5);
  bin[0] = 0xc6;
  bin.writeUInt32BE(size, 1);
  return Buffer.concat([head, tag, bin, ...pieces]);
}

function tooLarge(length: number, bytesMax: number): WeirError {
  return new WeirError(
    "intake_entry_too_large",
    `an event of ${length} bytes can't be kept: the intake topic takes ${bytesMax} with all that belongs to it; raise its max.message.bytes`,
    { context: { length, most: bytesMax } },
  );
}
