import fs, { type Dirent } from "node:fs";
import path from "node:path";
import { codeOf } from "./errors.ts";
import { type FolderSockets, folderSockets } from "./folder-sockets.ts";

export interface FileStat {
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly mtimeMs: number;
  readonly isFile: boolean;
}

/**
 * The few file operations that the intake log and the folder store are made of. They are handed in, so that a test
 * can fail any one of them (a full disk, an I/O error, a short write) or keep the files in memory.
 * Errors are Node's system errors (`code` ENOSPC, EIO, …).
 */
export interface FileOps {
  /** Flags as `fs.open` has them: `r`, `w`, `wx`, … */
  open(path: string, flags: string): Promise<number>;
  close(fd: number): Promise<void>;
  /** Writes at `position`, and gives how many bytes went out: fewer than were asked for is possible. */
  writev(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number>;
  /** Fills `into` as far as the file reaches from `position` on; gives the bytes read, 0 at its end. */
  read(fd: number, into: Uint8Array, position: number): Promise<number>;
  truncate(fd: number, length: number): Promise<void>;
  /** Resolves when contents and size are on the disk. */
  datasync(fd: number): Promise<void>;
  /** Bytes of an open file. */
  size(fd: number): Promise<number>;
  stat(path: string): Promise<FileStat>;
  readdir(path: string): Promise<Dirent[]>;
  /** Creates the folder and those above it; one that is there is fine. */
  mkdir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A second name for a file; fails with EEXIST when there is one. */
  link(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Resolves when the folder's list of names is on the disk. */
  syncFolder(path: string): Promise<void>;
  /** Sets the time of modification to now. */
  touch(path: string): Promise<void>;
  /** Absent where no names of folders can be sockets. */
  readonly sockets?: FolderSockets;
  /** Bytes of the disk that `path` is on: those that this process may still use, and all. */
  space(path: string): Promise<{ free: number; total: number }>;
}

type Done = (error: NodeJS.ErrnoException | null) => void;

function done(start: (callback: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => start((error) => (error === null ? resolve() : reject(error))));
}

function open(path: string, flags: string): Promise<number> {
  return new Promise((resolve, reject) =>
    fs.open(path, flags, 0o644, (error, fd) => (error === null ? resolve(fd) : reject(error))),
  );
}

async function syncFolder(path: string): Promise<void> {
  // Windows can't open a folder, and writes its names through.
  if (process.platform === "win32") return;
  const fd = await open(path, "r");
  try {
    await done((callback) => fs.fsync(fd, callback));
  } finally {
    await done((callback) => fs.close(fd, callback));
  }
}

/**
 * Like `fs.mkdir` with `recursive`, which never comes back from a place such as /proc: it takes the ENOENT that all names get
 * there for a missing parent, makes that, and tries again, for ever.
 */
async function makeFolders(folder: string): Promise<void> {
  const make = () => done((callback) => fs.mkdir(folder, callback));
  try {
    const parent = path.dirname(folder);
    await make().catch(async (error: unknown) => {
      if (codeOf(error) !== "ENOENT" || parent === folder) throw error;
      await makeFolders(parent);
      await make();
    });
  } catch (error) {
    // Which error a folder that is there gives differs from one file system to the next.
    const isFolder = await new Promise<boolean>((resolve) => {
      fs.stat(folder, (failure, stat) => resolve(failure === null && stat.isDirectory()));
    });
    if (!isFolder) throw error;
  }
}

/** Node's own, with callbacks underneath: less work for each call than `fs.promises`. */
export const nodeFiles: FileOps = {
  open,
  close: (fd) => done((callback) => fs.close(fd, callback)),
  writev: (fd, buffers, position) =>
    new Promise((resolve, reject) =>
      fs.writev(fd, buffers, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error))),
    ),
  read: (fd, into, position) =>
    new Promise((resolve, reject) =>
      fs.read(fd, into, 0, into.length, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error))),
    ),
  truncate: (fd, length) => done((callback) => fs.ftruncate(fd, length, callback)),
  datasync: (fd) => done((callback) => fs.fdatasync(fd, callback)),
  size: (fd) =>
    new Promise((resolve, reject) =>
      fs.fstat(fd, (error, stat) => (error === null ? resolve(stat.size) : reject(error))),
    ),
  stat: (path) =>
    new Promise((resolve, reject) =>
      fs.stat(path, (error, stat) =>
        error === null ? resolve({ size: stat.size, mtimeMs: stat.mtimeMs, isFile: stat.isFile() }) : reject(error),
      ),
    ),
  readdir: (path) =>
    new Promise((resolve, reject) =>
      fs.readdir(path, { withFileTypes: true }, (error, names) => (error === null ? resolve(names) : reject(error))),
    ),
  mkdir: makeFolders,
  rename: (from, to) => done((callback) => fs.rename(from, to, callback)),
  link: (from, to) => done((callback) => fs.link(from, to, callback)),
  unlink: (path) => done((callback) => fs.unlink(path, callback)),
  syncFolder,
  sockets: folderSockets,
  touch: (path) => done((callback) => fs.utimes(path, new Date(), new Date(), callback)),
  space: (path) =>
    new Promise((resolve, reject) =>
      fs.statfs(path, (error, stat) =>
        error === null ? resolve({ free: stat.bavail * stat.bsize, total: stat.blocks * stat.bsize }) : reject(error),
      ),
    ),
};

/** Writes all of `buffers` from `position` on, however many calls that takes. Gives the number of bytes. */
export async function writeAll(
  files: FileOps,
  fd: number,
  buffers: readonly Uint8Array[],
  position: number,
): Promise<number> {
  let total = 0;
  for (const buffer of buffers) total += buffer.length;
  let rest = buffers;
  let written = 0;
  while (written < total) {
    const bytes = await files.writev(fd, rest, position + written);
    // Zero bytes without an error would be an endless loop; the disk takes nothing more.
    if (bytes <= 0) throw Object.assign(new Error("ENOSPC: the write took no bytes"), { code: "ENOSPC" });
    written += bytes;
    if (written < total) rest = after(rest, bytes);
  }
  return total;
}

/** What is left of `buffers` behind their first `bytes`. */
function after(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skip = bytes;
  let i = 0;
  while (i < buffers.length && skip >= buffers[i].length) skip -= buffers[i++].length;
  const rest = buffers.slice(i);
  if (rest.length > 0) rest[0] = rest[0].subarray(skip);
  return rest;
}

/** Fills `into` from `position` on unless the file ends first. Gives the number of bytes. */
export async function readAll(files: FileOps, fd: number, into: Uint8Array, position: number): Promise<number> {
  let got = 0;
  while (got < into.length) {
    const bytes = await files.read(fd, into.subarray(got), position + got);
    if (bytes === 0) break;
    got += bytes;
  }
  return got;
}
