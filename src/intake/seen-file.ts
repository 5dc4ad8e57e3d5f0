import path from "node:path";
import { crc32 } from "../codec/crc32.ts";
import { codeOf } from "../core/errors.ts";
import { type FileOps, readAll, writeAll } from "../core/files.ts";
import { DIGEST_BYTES } from "./seen-keys.ts";

/*
 * `<folder>/seen`, `<folder>/seen-lines` and `<folder>/seen-lanes`, version 1: the ids of received chunks, those of pushed lines, and
 * the last key of each lane, written before log files are removed, so that what is sent again is recognised although its entry is
 * gone. Replaced as a whole (a new file, fsync, rename). Little-endian.
 *
 *   offset  size  field
 *        0     8  magic       "WEIRSEEN"
 *        8     2  version     u16, 1
 *       10     2  reserved    zero
 *       12     4  partitions  u32, p
 *       16     4  digests     u32, n
 *       20     4  crc         u32, CRC-32 of bytes 0 to 19 and of all from 24 on
 *       24   8*p  next        u64 each: no entry below this offset will ever be written again to partition 0, 1, …
 *  24+8*p  16*n  digests     the first 16 bytes of SHA-1 of tenant, a zero byte, key; ids of lines as they came; oldest first.
 *                            In seen-lanes by turns the digest of a lane's tenant and name, and that of its last key
 *
 * One partition at offset 7 and no digest:
 *   574549525345454e 0100 0000 01000000 00000000 a6f7eaa2 0700000000000000
 */
const MAGIC = Buffer.from("WEIRSEEN", "latin1");
const VERSION = 1;
const HEADER_BYTES = 24;

export const SEEN_CHUNKS = "seen";
export const SEEN_LINES = "seen-lines";
export const SEEN_LANES = "seen-lanes";
export type SeenName = typeof SEEN_CHUNKS | typeof SEEN_LINES | typeof SEEN_LANES;

export interface SeenFile {
  readonly next: readonly number[];
  /** 16 bytes each. */
  readonly digests: readonly Buffer[];
}

export function encodeSeen(next: readonly number[], digests: Buffer): Buffer {
  const places = Buffer.alloc(next.length * 8);
  next.forEach((offset, i) => {
    places.writeBigUInt64LE(BigInt(offset), i * 8);
  });
  const head = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(head);
  head.writeUInt16LE(VERSION, 8);
  head.writeUInt32LE(next.length, 12);
  head.writeUInt32LE(digests.length / DIGEST_BYTES, 16);
  head.writeUInt32LE(crc32(digests, crc32(places, crc32(head.subarray(0, 20)))), 20);
  return Buffer.concat([head, places, digests]);
}

/** What a seen file holds, or null when the bytes aren't one, whole and unchanged. */
export function decodeSeen(bytes: Buffer): SeenFile | null {
  if (bytes.length < HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC) || bytes.readUInt16LE(8) !== VERSION)
    return null;
  const partitions = bytes.readUInt32LE(12);
  const count = bytes.readUInt32LE(16);
  const start = HEADER_BYTES + partitions * 8;
  if (bytes.length !== start + count * DIGEST_BYTES) return null;
  if (bytes.readUInt32LE(20) !== crc32(bytes.subarray(HEADER_BYTES), crc32(bytes.subarray(0, 20)))) return null;
  return {
    next: Array.from({ length: partitions }, (_, i) => Number(bytes.readBigUInt64LE(HEADER_BYTES + i * 8))),
    digests: Array.from({ length: count }, (_, i) =>
      bytes.subarray(start + i * DIGEST_BYTES, start + (i + 1) * DIGEST_BYTES),
    ),
  };
}

/** Writes the file anew. When this rejects, the one before is still there. */
export async function writeSeen(
  files: FileOps,
  folder: string,
  next: readonly number[],
  seen: { dump(): Buffer },
  name: SeenName = SEEN_CHUNKS,
): Promise<void> {
  const temporary = path.join(folder, `${name}.tmp`);
  const fd = await files.open(temporary, "w");
  try {
    await writeAll(files, fd, [encodeSeen(next, seen.dump())], 0);
    await files.datasync(fd);
  } finally {
    await files.close(fd);
  }
  await files.rename(temporary, path.join(folder, name));
  await files.syncFolder(folder);
}

/** The file's contents, null when they are damaged, and nothing seen when there is no file yet. */
export async function readSeen(files: FileOps, folder: string, name: SeenName = SEEN_CHUNKS): Promise<SeenFile | null> {
  let fd: number;
  try {
    fd = await files.open(path.join(folder, name), "r");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return { next: [], digests: [] };
    throw error;
  }
  try {
    const bytes = Buffer.allocUnsafe(await files.size(fd));
    return decodeSeen(bytes.subarray(0, await readAll(files, fd, bytes, 0)));
  } finally {
    await files.close(fd);
  }
}
