import { crc32 } from "../codec/crc32.ts";
import { type FileOps, readAll } from "../core/files.ts";
import { EntryCursor } from "./entry-cursor.ts";
import {
  ENTRY_BYTES_MAX,
  ENTRY_HEADER_BYTES,
  isEntryKind,
  KIND_AT,
  LENGTH_AT,
  MARK_AT,
  RESERVED_AT,
} from "./log-format.ts";

const CHUNK_BYTES = 1 << 20;
/** Bytes that are read for entries which then aren't whole, for each byte of the file. */
const VAIN_BYTES_A_BYTE = 4;

/**
 * The mark of a log file whose beginning is lost (a page of zeros after a crash of the machine): every place is looked at for an
 * entry whose checksums are right. Null when there is none.
 *
 * What somebody sent may look like an entry too, and lie in a payload whose own header is lost. It ends before the entry that
 * came next does, so the entry that ends last tells the mark. Entries before `first` are left from an earlier use of the file.
 */
export async function findMark(files: FileOps, fd: number, size: number, first: number): Promise<number | null> {
  const chunk = Buffer.allocUnsafe(Math.min(size, CHUNK_BYTES));
  let mark: number | null = null;
  let vainBytes = 0;
  for (let from = 0; from + ENTRY_HEADER_BYTES <= size && vainBytes <= size * VAIN_BYTES_A_BYTE; ) {
    const got = await readAll(files, fd, chunk.subarray(0, size - from), from);
    if (got < ENTRY_HEADER_BYTES) break;
    const at = headIn(chunk.subarray(0, got), size - from);
    if (at === -1) {
      from += got - ENTRY_HEADER_BYTES + 1;
      continue;
    }
    from += at;
    const shown = chunk.readUInt32LE(at + MARK_AT);
    const place = { fd, mark: shown, position: from, limit: size, below: Number.POSITIVE_INFINITY };
    const cursor = new EntryCursor(files, { ...place, chunkBytes: CHUNK_BYTES });
    if ((await cursor.next()) && cursor.position === from && (await cursor.load())) {
      if (cursor.head.offset >= first) mark = shown;
      from += cursor.head.length;
    } else {
      vainBytes += cursor.head.length;
      from++;
    }
  }
  return mark;
}

/** The first place at which the header of an entry stands that is at most `room` bytes from there on, or -1. */
function headIn(bytes: Buffer, room: number): number {
  for (let at = 0; at + ENTRY_HEADER_BYTES <= bytes.length; at++) {
    // Cheap looks first: nearly no byte of a payload gets past them.
    if (bytes[at + RESERVED_AT] !== 0 || bytes[at + RESERVED_AT + 1] !== 0 || !isEntryKind(bytes[at + KIND_AT]))
      continue;
    const length = bytes.readUInt32LE(at + LENGTH_AT);
    if (length < ENTRY_HEADER_BYTES || length > Math.min(room - at, ENTRY_BYTES_MAX)) continue;
    if (bytes.readUInt32LE(at) === crc32(bytes.subarray(at + 4, at + ENTRY_HEADER_BYTES))) return at;
  }
  return -1;
}
