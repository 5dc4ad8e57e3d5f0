import { randomInt } from "node:crypto";
import path from "node:path";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { type FileOps, readAll, writeAll } from "../core/files.ts";
import type { Logger } from "../core/log.ts";
import { isZero } from "../core/trace-id.ts";
import { EntryCursor } from "./entry-cursor.ts";
import { findMark } from "./find-mark.ts";
import { type LogFile, noteEntry } from "./log-file.ts";
import {
  decodeFileHeader,
  ENTRY_HEADER_BYTES,
  FILE_HEADER_BYTES,
  type FileHeader,
  firstOfName,
  LENGTH_AT,
  MARK_AT,
  MARK_IN_HEADER,
} from "./log-format.ts";
import { isNotedSafe, noteSafe } from "./safe-note.ts";
import { isSpareName } from "./spare-files.ts";

const VERIFY_CHUNK_BYTES = 1 << 20;
// Older files are only walked from header to header; most of a large entry is never read.
const WALK_CHUNK_BYTES = 64 * 1024;

export interface Recovered {
  readonly files: LogFile[];
  /** The offset after the last entry there is. */
  readonly next: number;
  /** Bytes of a write that was cut short, dropped from the end of the last file. */
  readonly tornBytes: number;
}

interface Deps {
  readonly files: FileOps;
  readonly log: Logger;
  /** Called for each entry with a key, oldest first; `lane` is there for one with EntryDraft.hasLane. */
  readonly onKey: (tenant: string, key: string, lane: { readonly receivedMs: number } | null) => void;
  /** Called with the ids of an entry's lines, 16 bytes each, oldest first. A view. */
  readonly onLineIds: (ids: Buffer) => void;
}

/** A number for a new file that nobody outside can know, and that isn't zero, as unwritten bytes are. */
export function drawMark(): number {
  return randomInt(1, 2 ** 32);
}

/**
 * Looks through the files of a partition after a start. A torn end of the last file is cut off; nothing else is changed,
 * and a log that was closed in order isn't written to at all.
 * Throws `intake_unavailable` when the folder or its last file can't be read.
 */
export async function recoverPartition(folder: string, deps: Deps): Promise<Recovered> {
  const names = await namesIn(folder, deps.files);
  for (const name of names.filter(isSpareName)) await removeSpare(path.join(folder, name), deps);
  const firsts = names.map(firstOfName).filter((first) => first !== null);
  firsts.sort((a, b) => a - b);
  const found: LogFile[] = [];
  let next = firsts[firsts.length - 1] ?? 0;
  let tornBytes = 0;
  for (const [i, first] of firsts.entries()) {
    const file = path.join(folder, `${String(first).padStart(20, "0")}.log`);
    if (i < firsts.length - 1) {
      found.push(await walkOld(file, first, firsts[i + 1], deps));
      continue;
    }
    const last = await checkLast(file, first, deps);
    tornBytes = last.tornBytes;
    if (last.file === null) continue;
    found.push(last.file);
    next = Math.max(next, last.file.next);
  }
  return { files: found, next, tornBytes };
}

async function removeSpare(file: string, { files, log }: Deps): Promise<void> {
  await files.unlink(file).catch((error: unknown) => {
    log.warn({ file, error: messageOf(error) }, "intake: can't remove a log file that is done with");
  });
}

async function namesIn(folder: string, files: FileOps): Promise<string[]> {
  try {
    return (await files.readdir(folder)).map(({ name }) => name);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw unreadable(folder, error);
  }
}

/** A file that has a successor: its end was written in peace, so all that is wanted is keys and places. */
async function walkOld(file: string, first: number, below: number, deps: Deps): Promise<LogFile> {
  const { files, log } = deps;
  const result: LogFile = { path: file, first, mark: 0, next: below, end: 0, index: [] };
  try {
    await withFile(files, file, async (fd) => {
      const size = await files.size(fd);
      const mark = await markOf(files, fd, size, first);
      const place = { fd, mark, position: FILE_HEADER_BYTES, limit: size, below, chunkBytes: WALK_CHUNK_BYTES };
      const cursor = new EntryCursor(files, place);
      result.mark = mark;
      result.end = size;
      let next = first;
      while (await cursor.next()) {
        await note(cursor, result, deps);
        next = cursor.head.offset + 1;
      }
      if (cursor.skippedBytes > 0) return; // Entries may be missing there, up to the next file's.
      result.next = next;
      result.end = cursor.position; // Anything behind it is left from a write that failed.
    });
  } catch (error) {
    // The reader will try again, entry by entry; for the start the rest of this file is not needed.
    log.error({ file, error: messageOf(error) }, "intake: a log file can't be read to its end now");
  }
  return result;
}

/** The last file: every entry is checked, and what doesn't hold at its end is cut off. Null when nothing is left of it. */
async function checkLast(
  file: string,
  first: number,
  deps: Deps,
): Promise<{ file: LogFile | null; tornBytes: number }> {
  const { files, log } = deps;
  const result: LogFile = { path: file, first, mark: 0, next: first, end: 0, index: [] };
  let size = 0;
  let reused = false;
  let isDamaged = false;
  try {
    await withFile(files, file, async (fd) => {
      size = await files.size(fd);
      const mark = await markOf(files, fd, size, first);
      const header = await headerOf(files, fd);
      reused = header?.reused ?? false;
      result.mark = mark;
      const place = {
        fd,
        mark,
        position: FILE_HEADER_BYTES,
        limit: size,
        below: Number.POSITIVE_INFINITY,
        chunkBytes: VERIFY_CHUNK_BYTES,
      };
      const cursor = new EntryCursor(files, place);
      while (await cursor.next()) {
        if (!(await cursor.load())) continue;
        await note(cursor, result, deps);
        result.next = cursor.head.offset + 1;
        result.end = cursor.position + cursor.head.length;
      }
      isDamaged = result.end === 0 && header === null && size > FILE_HEADER_BYTES && !(await isBlank(files, fd, size));
    });
  } catch (error) {
    throw unreadable(file, error);
  }
  // In a file that was used before, what stands behind its last entry is mostly older.
  const tornBytes = reused ? 0 : size - result.end;
  if (result.end === 0) {
    // A crash before the first entry was durable, as a rule. The name is needed for the file that comes now.
    if (isDamaged)
      log.error(
        { file, bytes: size },
        "intake: the newest log file is damaged from its beginning on, and holds no whole entry: what was in it is lost",
      );
    await files.unlink(file).catch((error: unknown) => {
      log.warn({ file, error: messageOf(error) }, "intake: can't remove a log file without entries");
    });
    return { file: null, tornBytes };
  }
  if (size > result.end || !(await isNotedSafe(files, log, result))) await settle(result, size, deps);
  return { file: result, tornBytes };
}

async function note(cursor: EntryCursor, file: LogFile, { onKey, onLineIds }: Deps): Promise<void> {
  const { head } = cursor;
  noteEntry(file, head.offset, cursor.position);
  if (!(head.hasKey || head.hasLineIds) || !(await cursor.loadStrings())) return;
  const { bytes, at } = cursor;
  if (head.hasKey) onKey(head.tenant(bytes, at), head.key(bytes, at), head.hasLane ? head : null);
  else onLineIds(head.lineIds(bytes, at));
}

async function headerOf(files: FileOps, fd: number): Promise<FileHeader | null> {
  const bytes = Buffer.alloc(FILE_HEADER_BYTES);
  return decodeFileHeader(bytes.subarray(0, await readAll(files, fd, bytes, 0)));
}

/** Whether the file holds nothing but zeros. */
async function isBlank(files: FileOps, fd: number, size: number): Promise<boolean> {
  const chunk = Buffer.allocUnsafe(Math.min(size, VERIFY_CHUNK_BYTES));
  for (let at = 0; at < size; ) {
    const got = await readAll(files, fd, chunk.subarray(0, size - at), at);
    if (got === 0) break;
    if (!isZero(chunk, 0, got)) return false;
    at += got;
  }
  return true;
}

/** Entries at the start of a file that are asked for the mark when its header went bad. */
const MARK_ENTRIES = 4;

/**
 * The mark from the file's header. Where that went bad: the one that the damaged header shows, or that of one of the first
 * entries, whichever entries are found by; else that of any entry, wherever it is. `first` is the one of the file's name.
 */
export async function markOf(files: FileOps, fd: number, size: number, first: number): Promise<number> {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  const intact = decodeFileHeader(header.subarray(0, await readAll(files, fd, header, 0)));
  if (intact !== null) return intact.mark;
  const shown = header.readUInt32LE(MARK_IN_HEADER);
  const marks = new Set([shown, ...(await marksOfEntries(files, fd, size))]);
  // No file has it, but bytes that were never written do, all of them: each would be looked at as the start of an entry.
  marks.delete(0);
  for (const mark of marks) {
    const cursor = new EntryCursor(files, {
      fd,
      mark,
      position: FILE_HEADER_BYTES,
      limit: size,
      below: Number.POSITIVE_INFINITY,
      chunkBytes: VERIFY_CHUNK_BYTES,
    });
    if (await cursor.next()) return mark;
  }
  return (await findMark(files, fd, size, first)) ?? (shown === 0 ? drawMark() : shown);
}

/** The marks that the first entries show, found by their lengths alone, which may be damaged as well. */
async function marksOfEntries(files: FileOps, fd: number, size: number): Promise<number[]> {
  const marks: number[] = [];
  const head = Buffer.alloc(ENTRY_HEADER_BYTES);
  for (let at = FILE_HEADER_BYTES; marks.length < MARK_ENTRIES && at + ENTRY_HEADER_BYTES <= size; ) {
    if ((await readAll(files, fd, head, at)) < ENTRY_HEADER_BYTES) break;
    marks.push(head.readUInt32LE(MARK_AT));
    at += Math.max(ENTRY_HEADER_BYTES, head.readUInt32LE(LENGTH_AT));
  }
  return marks;
}

/**
 * After a crash: cuts the torn end off and makes the rest durable. What was read just now may only be in memory: a process that
 * was killed before its `fdatasync`, or whose `fdatasync` failed (the kernel then takes the pages for clean and never writes
 * them). Once an entry counts, a repeat of it is acknowledged; so it is written again, with the same bytes in the same place.
 */
async function settle(result: LogFile, size: number, { files, log }: Deps): Promise<void> {
  const { path: file, end } = result;
  try {
    const fd = await files.open(file, "r+");
    try {
      if (size > end) await files.truncate(fd, end);
      const chunk = Buffer.allocUnsafe(Math.min(end, VERIFY_CHUNK_BYTES));
      for (let at = 0; at < end; ) {
        const got = await readAll(files, fd, chunk.subarray(0, end - at), at);
        if (got === 0) break;
        at += await writeAll(files, fd, [chunk.subarray(0, got)], at);
      }
      await files.datasync(fd);
    } finally {
      await files.close(fd);
    }
    await files.syncFolder(path.dirname(file));
  } catch (error) {
    // File systems that never write in place need room for it. A full disk must not keep the process from
    // starting, because only its work makes room.
    if (codeOf(error) !== "ENOSPC" && codeOf(error) !== "EDQUOT") throw unreadable(file, error);
    log.warn({ file, error: messageOf(error) }, "intake: can't make sure that the newest log file is on the disk");
    return;
  }
  await noteSafe(files, log, result);
}

async function withFile(files: FileOps, file: string, use: (fd: number) => Promise<void>): Promise<void> {
  const fd = await files.open(file, "r");
  try {
    await use(fd);
  } finally {
    await files.close(fd);
  }
}

function unreadable(what: string, error: unknown): WeirError {
  return new WeirError("intake_unavailable", `the intake log can't be recovered: ${what}: ${messageOf(error)}`, {
    retriable: true,
    context: { file: what },
    cause: error,
  });
}
