import { PushBatchCursor, PushBatchWriter } from "../codec/push-batch.ts";
import { WeirError } from "../core/errors.ts";

const ID_BYTES = 16;
/** What a stream and a line take in a batch beside their bytes, at most. */
const ITEM_BYTES = 48;

/** Some of the lines of a push, in their order. */
export interface PushPart {
  readonly partition: number;
  /** The first stream's labels, as canonical JSON: all of the part's streams belong to the same partition. */
  readonly stream: string;
  readonly payload: Buffer;
  /** 16 bytes for each line. */
  readonly lineIds: Buffer;
}

interface OpenPart {
  readonly stream: string;
  readonly writer: PushBatchWriter;
  readonly ids: Buffer[];
  /** Of `stream`, which is the record's key as well. */
  readonly streamBytes: number;
  /** Where the writer's last stream stands in the push, so that its head is written once. */
  streamAt: number;
}

/**
 * The lines of a push by the partitions of their streams, in parts whose lines and ids take at most `bytesMax`. Throws
 * `intake_entry_too_large` when a single line is more.
 */
export function splitPush(
  payload: Buffer,
  lineIds: Buffer,
  bytesMax: number,
  partitionOf: (stream: string) => number,
): PushPart[] {
  const cursor = new PushBatchCursor(payload);
  const tagBytes = Buffer.byteLength(cursor.tag);
  const parts: PushPart[] = [];
  const open = new Map<number, OpenPart>();
  let streamAt = -1;
  let stream = "";
  let partition = 0;
  const close = (of: number, { stream: first, writer, ids }: OpenPart) => {
    parts.push({ partition: of, stream: first, payload: writer.finish(), lineIds: Buffer.concat(ids) });
    open.delete(of);
  };
  for (let line = 0; cursor.next(); line++) {
    if (cursor.streamStart !== streamAt) {
      streamAt = cursor.streamStart;
      stream = payload.toString("utf8", cursor.streamStart, cursor.streamEnd);
      partition = partitionOf(stream);
    }
    const metadata = payload.subarray(cursor.metadataStart, cursor.metadataEnd);
    const text = payload.subarray(cursor.lineStart, cursor.lineEnd);
    const streamBytes = cursor.streamEnd - cursor.streamStart;
    const size = metadata.length + text.length + streamBytes + ID_BYTES + 2 * ITEM_BYTES;
    const alone = tagBytes + streamBytes + size;
    if (alone > bytesMax) throw tooLarge(alone, bytesMax);
    let part = open.get(partition);
    if (part !== undefined && part.writer.length + part.ids.length * ID_BYTES + part.streamBytes + size > bytesMax) {
      close(partition, part);
      part = undefined;
    }
    if (part === undefined) {
      const writer = writerLike(cursor, Math.min(payload.length, bytesMax));
      part = { stream, streamBytes, writer, ids: [], streamAt: -1 };
      open.set(partition, part);
    }
    if (part.streamAt !== streamAt) {
      part.writer.stream(stream);
      part.streamAt = streamAt;
    }
    part.writer.line(cursor.sec, cursor.nsec, metadata, text);
    part.ids.push(lineIds.subarray(line * ID_BYTES, (line + 1) * ID_BYTES));
  }
  for (const [of, part] of [...open]) close(of, part);
  return parts;
}

/** The lines of a push that `isNew` names with 1, one for each line. */
export function keepLines(payload: Buffer, isNew: Uint8Array): Buffer {
  const cursor = new PushBatchCursor(payload);
  const writer = writerLike(cursor, payload.length);
  let streamAt = -1;
  for (let line = 0; cursor.next(); line++) {
    if (isNew[line] !== 1) continue;
    if (cursor.streamStart !== streamAt) {
      streamAt = cursor.streamStart;
      writer.stream(payload.toString("utf8", cursor.streamStart, cursor.streamEnd));
    }
    const metadata = payload.subarray(cursor.metadataStart, cursor.metadataEnd);
    writer.line(cursor.sec, cursor.nsec, metadata, payload.subarray(cursor.lineStart, cursor.lineEnd));
  }
  return writer.finish();
}

/** A writer for some of the batch's lines, which are chosen by its tag as well. */
function writerLike({ tag }: PushBatchCursor, sizeHint: number): PushBatchWriter {
  const writer = new PushBatchWriter(sizeHint);
  if (tag !== "") writer.tag(tag);
  return writer;
}

function tooLarge(length: number, bytesMax: number): WeirError {
  return new WeirError(
    "intake_entry_too_large",
    `a line of ${length} bytes with its labels can't be kept: the intake topic takes ${bytesMax}; raise its max.message.bytes`,
    { context: { length, most: bytesMax } },
  );
}
