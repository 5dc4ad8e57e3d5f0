import { WeirError } from "../core/errors.ts";
import { VarintReader, writeVarint } from "./varint.ts";

/*
 * Lines of a pushed body (Loki's push, OTLP), version 1: what the intake log keeps of it once it is checked. The body's own
 * form is gone, because some of its lines may have been refused, and what was acknowledged must not be judged anew.
 *
 *   offset  size  field
 *        0     1  version   1
 *        1     …  items, each with its kind in the first byte:
 *
 *   stream, kind 1: the lines that follow are its
 *                   varint n, n bytes   its labels as canonical JSON
 *   tag, kind 3     varint n, n bytes   at the start, if at all: what pipelines are chosen by; "" without it
 *   line, kind 2    varint              seconds since 1970 UTC
 *                   varint              nanoseconds, below 1e9
 *                   varint n, n bytes   structured metadata: a MessagePack map of text to text, sorted by name, no name twice
 *                   varint n, n bytes   the line
 *
 * {"app":"a"}, at 1.000000002 s the line "hi" with {"k":"v"}:
 *   01  01 0b 7b22617070223a2261227d  02 01 02 05 81a16ba176 02 6869
 */
const VERSION = 1;
const STREAM = 1;
const LINE = 2;
const TAG = 3;
/** Kind, and four varints of at most 8 bytes. */
const HEAD_BYTES_MAX = 33;

/** Bytes that `encodeLineItem` writes at most. */
export const lineItemBytesMax = (metadataBytes: number, lineBytes: number): number =>
  metadataBytes + lineBytes + HEAD_BYTES_MAX;

/**
 * Writes what a batch has of a line behind its kind, which is the same for equal lines of a stream, at `at` of `out`, where there must be room
 * for it. Gives its end.
 */
export function encodeLineItem(
  out: Uint8Array,
  start: number,
  sec: number,
  nsec: number,
  metadata: Uint8Array,
  line: Uint8Array,
): number {
  let at = writeVarint(out, start, sec);
  at = writeVarint(out, at, nsec);
  at = writeVarint(out, at, metadata.length);
  out.set(metadata, at);
  at = writeVarint(out, at + metadata.length, line.length);
  out.set(line, at);
  return at + line.length;
}

/** Writes a batch. Streams and lines in the order of the calls. */
export class PushBatchWriter {
  private out: Buffer;
  private at = 1;

  /** `sizeHint`: bytes that will be needed, about. */
  constructor(sizeHint: number) {
    this.out = Buffer.allocUnsafeSlow(Math.max(256, sizeHint));
    this.out[0] = VERSION;
  }

  /** Bytes so far. */
  get length(): number {
    return this.at;
  }

  /** To be called before anything else. */
  tag(tag: string): void {
    this.text(TAG, tag);
  }

  stream(canonical: string): void {
    this.text(STREAM, canonical);
  }

  /** Forgets what was written since `length` was `to`, which has to be followed by a stream. */
  rewind(to: number): void {
    this.at = to;
  }

  private text(kind: number, text: string): void {
    const length = Buffer.byteLength(text);
    this.reserve(length + HEAD_BYTES_MAX);
    this.out[this.at++] = kind;
    this.at = writeVarint(this.out, this.at, length);
    this.at += this.out.write(text, this.at);
  }

  line(sec: number, nsec: number, metadata: Uint8Array, line: Uint8Array): void {
    this.reserve(lineItemBytesMax(metadata.length, line.length));
    this.out[this.at++] = LINE;
    this.at = encodeLineItem(this.out, this.at, sec, nsec, metadata, line);
  }

  /** Adds a line as `encodeLineItem` has written it. */
  item(item: Uint8Array): void {
    this.reserve(item.length + 1);
    this.out[this.at++] = LINE;
    this.out.set(item, this.at);
    this.at += item.length;
  }

  /** The batch, in memory of its own and of about its size. */
  finish(): Buffer {
    const { out, at } = this;
    if (at >= out.length * 0.75) return out.subarray(0, at);
    const whole = Buffer.allocUnsafeSlow(at);
    out.copy(whole, 0, 0, at);
    return whole;
  }

  private reserve(bytes: number): void {
    if (this.at + bytes <= this.out.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.out.length * 2, this.at + bytes));
    this.out.copy(larger, 0, 0, this.at);
    this.out = larger;
  }
}

/** Walks a batch. Everything is an offset into `bytes`. */
export class PushBatchCursor {
  bytes: Buffer;
  /** What the pipelines are chosen by. */
  readonly tag: string;
  /** The present line's stream: where its canonical JSON stands. */
  streamStart = -1;
  streamEnd = -1;
  sec = 0;
  nsec = 0;
  metadataStart = 0;
  metadataEnd = 0;
  lineStart = 0;
  lineEnd = 0;
  private readonly reader: VarintReader;

  /** Throws `bad_push_batch` for another version. */
  constructor(bytes: Buffer) {
    if (bytes[0] !== VERSION) throw bad(`got version ${bytes[0]}, want ${VERSION}`, 0);
    this.bytes = bytes;
    this.reader = new VarintReader(bytes, 1);
    this.tag = bytes[1] === TAG ? this.readTag() : "";
  }

  /** Bytes walked so far. */
  get at(): number {
    return this.reader.at;
  }

  /** Lets go of the bytes. */
  close(): void {
    this.bytes = NO_BYTES;
  }

  /** Goes to the next line; false at the end. Throws `bad_push_batch` or `bad_varint` for bytes that are no batch. */
  next(): boolean {
    const { reader, bytes } = this;
    while (reader.at < bytes.length) {
      const kind = bytes[reader.at++];
      if (kind === STREAM) {
        const end = this.piece();
        this.streamStart = reader.at;
        this.streamEnd = end;
        reader.at = end;
        continue;
      }
      if (kind !== LINE || this.streamEnd === -1) throw bad(`got item kind ${kind}`, reader.at - 1);
      this.sec = reader.next();
      this.nsec = reader.next();
      this.metadataEnd = this.piece();
      this.metadataStart = reader.at;
      reader.at = this.metadataEnd;
      this.lineEnd = this.piece();
      this.lineStart = reader.at;
      reader.at = this.lineEnd;
      return true;
    }
    return false;
  }

  private readTag(): string {
    const { reader, bytes } = this;
    reader.at++;
    const end = this.piece();
    const tag = bytes.toString("utf8", reader.at, end);
    reader.at = end;
    return tag;
  }

  /** Reads a length; gives the end of that many bytes. */
  private piece(): number {
    const length = this.reader.next();
    const end = this.reader.at + length;
    if (end > this.bytes.length) throw bad(`got a length of ${length}`, this.reader.at);
    return end;
  }
}

const NO_BYTES = Buffer.alloc(0);

function bad(what: string, at: number): WeirError {
  return new WeirError("bad_push_batch", `pushed lines: ${what}, at byte ${at}`);
}
