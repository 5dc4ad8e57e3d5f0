import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline, type Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { messageOf, WeirError } from "../core/errors.ts";

/** A chunk is closed at this size: large enough that its acknowledgement costs little, small enough to send again. */
const CHUNK_BYTES = 512 * 1024;
/** A line that never ends would fill the memory. Far above what the pipeline keeps of a line. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;
/** Map of one pair, key `log`: the field that Fluent Bit's own tail fills. */
const RECORD_HEAD = Buffer.from([0x81, 0xa3, 0x6c, 0x6f, 0x67]);
/** Array of two, EventTime as fixext 8 of type 0, then the record's head and the longest head of a str. */
const ENTRY_HEAD_BYTES = 1 + 10 + RECORD_HEAD.length + 5;

/** A file, or stdin. */
export interface LineSource {
  readonly name: string;
  readonly stream: Readable;
  /** Bytes of the file as it lies on disk, and how many of them have been read; null for stdin. */
  readonly progress: (() => number) | null;
  /** Whether whoever fills it may pause: what has come is sent without waiting for a full chunk. */
  readonly live: boolean;
}

/** Some lines as the entries of a forward message in PackedForward mode. */
export interface LineChunk {
  /** Entries, one after the other: `[EventTime, {"log": <line>}]` each. */
  readonly entries: Buffer;
  readonly lines: number;
  /** Bytes of the lines, without their newlines. */
  readonly bytes: number;
  /** Unique to this chunk of this run, and the same however often it is sent. */
  readonly id: string;
}

/** Opens a file, inflating it when its name ends in `.gz`. A file that can't be read rejects while it is read. */
export function openSource(path: string): LineSource {
  const file = createReadStream(path, { highWaterMark: 256 * 1024 });
  const progress = (): number => file.bytesRead;
  if (!path.endsWith(".gz")) return { name: path, stream: file, progress, live: false };
  const gunzip = createGunzip({ chunkSize: 256 * 1024 });
  // The error reaches the reader of `gunzip`, which is destroyed with it.
  pipeline(file, gunzip, () => undefined);
  return { name: path, stream: gunzip, progress, live: false };
}

/**
 * Cuts sources into lines, and lines into chunks. Lines are bytes: whatever stands before a LF, a CR included, is the
 * line, and what stands after the last LF of a source is one as well.
 */
export class LineChunker {
  private readonly run = randomBytes(12).toString("base64url");
  private readonly nowMs: () => number;
  private readonly linesMax: number;
  private chunks = 0;
  private sec = 0;
  private nsec = 0;
  private out = Buffer.allocUnsafe(CHUNK_BYTES + ENTRY_HEAD_BYTES);
  private used = 0;
  private lines = 0;
  private bytes = 0;

  /**
   * `nowMs` gives the time that lines get: each one at least a nanosecond after the one before. A chunk has `linesMax`
   * lines at most.
   */
  constructor(nowMs: () => number, linesMax: number = Number.POSITIVE_INFINITY) {
    this.nowMs = nowMs;
    this.linesMax = linesMax;
  }

  /** Errors: `file_unreadable`, `line_too_long`. */
  async *chunksOf(source: LineSource): AsyncGenerator<LineChunk> {
    let number = 0;
    const rest: Buffer[] = [];
    let restBytes = 0;
    for await (const piece of piecesOf(source)) {
      let start = 0;
      for (let end = piece.indexOf(LF); end !== -1; end = piece.indexOf(LF, start)) {
        let line = piece.subarray(start, end);
        start = end + 1;
        number++;
        if (restBytes > 0) {
          line = Buffer.concat([...rest, line]);
          rest.length = 0;
          restBytes = 0;
        }
        if (this.used > 0 && this.used + ENTRY_HEAD_BYTES + line.length > CHUNK_BYTES) yield this.close();
        this.add(line);
        if (this.lines >= this.linesMax) yield this.close();
      }
      if (start < piece.length) {
        // A copy, because the stream may use the piece's memory again.
        rest.push(Buffer.from(piece.subarray(start)));
        restBytes += piece.length - start;
        if (restBytes > LINE_BYTES_MAX) throw tooLong(source.name, number + 1);
      }
      if (source.live && this.lines > 0) yield this.close();
    }
    if (restBytes > 0) this.add(Buffer.concat(rest));
    if (this.lines > 0) yield this.close();
  }

  private add(line: Buffer): void {
    const need = this.used + ENTRY_HEAD_BYTES + line.length;
    if (need > this.out.length) {
      const larger = Buffer.allocUnsafe(need);
      this.out.copy(larger, 0, 0, this.used);
      this.out = larger;
    }
    const { out } = this;
    this.tick();
    let at = this.used;
    out[at++] = 0x92;
    out[at++] = 0xd7;
    out[at++] = 0x00;
    at = out.writeUInt32BE(this.sec, at);
    at = out.writeUInt32BE(this.nsec, at);
    at += RECORD_HEAD.copy(out, at);
    at = writeStrHead(out, at, line.length);
    at += line.copy(out, at);
    this.used = at;
    this.lines++;
    this.bytes += line.length;
  }

  /** Moves to the next line's time. Distinct times keep the order for every reader, and let a query page through. */
  private tick(): void {
    const ms = Math.floor(this.nowMs());
    const sec = Math.floor(ms / 1000);
    const nsec = (ms % 1000) * 1_000_000;
    if (sec > this.sec || (sec === this.sec && nsec > this.nsec)) {
      this.sec = sec;
      this.nsec = nsec;
    } else if (++this.nsec === NS_PER_SECOND) {
      this.sec++;
      this.nsec = 0;
    }
  }

  private close(): LineChunk {
    const chunk = {
      entries: Buffer.from(this.out.subarray(0, this.used)),
      lines: this.lines,
      bytes: this.bytes,
      id: `weir-send-${this.run}-${this.chunks++}`,
    };
    this.used = 0;
    this.lines = 0;
    this.bytes = 0;
    return chunk;
  }
}

const LF = 0x0a;
const NS_PER_SECOND = 1_000_000_000;

/** The head of a MessagePack str, whose content may be any bytes. */
function writeStrHead(out: Buffer, at: number, length: number): number {
  if (length < 32) return out.writeUInt8(0xa0 | length, at);
  if (length < 0x100) return out.writeUInt16BE(0xd900 | length, at);
  if (length < 0x10000) return out.writeUInt16BE(length, out.writeUInt8(0xda, at));
  return out.writeUInt32BE(length, out.writeUInt8(0xdb, at));
}

async function* piecesOf({ name, stream }: LineSource): AsyncGenerator<Buffer> {
  try {
    for await (const piece of stream) yield piece as Buffer;
  } catch (error) {
    throw new WeirError("file_unreadable", `cannot read ${name}: ${messageOf(error)}`, { cause: error });
  }
}

function tooLong(name: string, line: number): WeirError {
  return new WeirError(
    "line_too_long",
    `${name}:${line}: no newline within ${LINE_BYTES_MAX} bytes; is this a file of lines?`,
  );
}
