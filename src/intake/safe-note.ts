import path from "node:path";
import { crc32 } from "../codec/crc32.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import { type FileOps, readAll, writeAll } from "../core/files.ts";
import type { Logger } from "../core/log.ts";
import type { LogFile } from "./log-file.ts";

/*
 * `<folder>/<partition>/safe`, version 1: says of the partition's newest log file that all of it is on the disk, so that
 * the next start has nothing to do for it. Little-endian, 36 bytes.
 *
 *   offset  size  field
 *        0     8  magic     "WEIRSAFE"
 *        8     2  version   u16, 1
 *       10     2  reserved  zero
 *       12     4  mark      u32, the file's
 *       16     8  first     u64, the file's
 *       24     8  end       u64, bytes of the file
 *       32     4  crc       u32, CRC-32 of bytes 0 to 31
 *
 * What it says stays true: a file gets no more entries after the process that began it, and no other file has its mark.
 * So a note that is old, cut or missing does no harm, and it needs no sync of its own.
 */
const MAGIC = Buffer.from("WEIRSAFE", "latin1");
const VERSION = 1;
const NOTE_BYTES = 36;
const NAME = "safe";

function encodeNote({ first, mark, end }: LogFile): Buffer {
  const out = Buffer.alloc(NOTE_BYTES);
  MAGIC.copy(out);
  out.writeUInt16LE(VERSION, 8);
  out.writeUInt32LE(mark, 12);
  out.writeBigUInt64LE(BigInt(first), 16);
  out.writeBigUInt64LE(BigInt(end), 24);
  out.writeUInt32LE(crc32(out.subarray(0, 32)), 32);
  return out;
}

/** Notes that all of `file`, up to its end, is on the disk. What fails is logged: the next start then has more to do. */
export async function noteSafe(files: FileOps, log: Logger, file: LogFile): Promise<void> {
  try {
    const fd = await files.open(path.join(path.dirname(file.path), NAME), "w");
    try {
      await writeAll(files, fd, [encodeNote(file)], 0);
    } finally {
      await files.close(fd);
    }
  } catch (error) {
    log.warn(
      { file: file.path, error: messageOf(error) },
      "intake: can't note that the newest log file is on the disk",
    );
  }
}

/** Whether the note says so of this very file. A note that can't be read counts as none, and is logged. */
export async function isNotedSafe(files: FileOps, log: Logger, file: LogFile): Promise<boolean> {
  try {
    const fd = await files.open(path.join(path.dirname(file.path), NAME), "r");
    try {
      const bytes = Buffer.alloc(NOTE_BYTES + 1);
      const got = await readAll(files, fd, bytes, 0);
      return bytes.subarray(0, got).equals(encodeNote(file));
    } finally {
      await files.close(fd);
    }
  } catch (error) {
    if (codeOf(error) !== "ENOENT") {
      log.warn({ file: file.path, error: messageOf(error) }, "intake: can't read the note about the newest log file");
    }
    return false;
  }
}
