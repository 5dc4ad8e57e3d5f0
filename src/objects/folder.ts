import fs from "node:fs";
import path from "node:path";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { type FileOps, nodeFiles, readAll, writeAll } from "../core/files.ts";
import { objectExists, objectMissing, objectRange, storeUnavailable } from "./errors.ts";
import { listFolder } from "./folder-list.ts";
import { checkKey, checkPrefix, isPart } from "./key.ts";
import { OpenFiles } from "./open-files.ts";
import type { ObjectInfo, ObjectStore } from "./store.ts";

// Kept open for range reads; a query goes back and forth between the segments of its time range.
const OPEN_FILES_MAX = 64;
// Folders that are known to exist and to be durable.
const KNOWN_FOLDERS_MAX = 10_000;
const LEFTOVER_MS = 3_600_000;
const NAME_FREE_OF_KEYS = "~";

let temporaryCount = 0;

/**
 * The object store in a folder: an object is a file, the parts of its key are folders. An object is written to a file whose name
 * can't be a key's (`~…`), synced, and then given its name: by `link`, which fails when there is one, or by `rename`. So it is there whole
 * or not at all, whatever is killed when. A key can't lie below another object's (`a` and `a/b`), unlike in S3.
 * Range reads keep files open, so an object that another process replaces or deletes may be read as it was for a minute.
 *
 * When `putIfAbsent` rejects with `store_unavailable`, the object may be there nevertheless, as with any store:
 * only the sync of the folder may have failed.
 */
export class FolderStore implements ObjectStore {
  readonly root: string;
  private readonly files: FileOps;
  private readonly open: OpenFiles;
  private readonly folders = new Set<string>();

  /** Touches nothing. `openFolderStore` also creates the folder and tidies it up. */
  constructor(root: string, files: FileOps = nodeFiles) {
    this.root = root;
    this.files = files;
    this.open = new OpenFiles(files, OPEN_FILES_MAX);
  }

  async put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    const target = this.pathOf(key);
    await this.create(key, target, parts, async (temporary) => {
      await this.files.rename(temporary, target);
      this.open.drop(target);
    });
  }

  async putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    const target = this.pathOf(key);
    await this.create(key, target, parts, async (temporary) => {
      try {
        await this.files.link(temporary, target);
      } catch (error) {
        if (codeOf(error) !== "EEXIST") throw error;
        if (!(await this.files.stat(target)).isFile) throw liesBelow(key, error);
        // A try before may have given it its name and failed then: whoever takes it for his own has it durable.
        await this.files.syncFolder(path.dirname(target));
        throw objectExists(key);
      } finally {
        // One that stays is removed at some later start.
        await this.files.unlink(temporary).catch(() => undefined);
      }
    });
  }

  async get(key: string): Promise<Buffer> {
    const file = this.pathOf(key);
    return this.reading(key, async () => {
      // Opened anew: small objects that `put` replaces are read whole, and must be read as they are now.
      const fd = await this.files.open(file, "r");
      try {
        return await this.bytesOf(fd, 0, await this.files.size(fd));
      } finally {
        await this.files.close(fd);
      }
    });
  }

  async getRange(key: string, start: number, length: number): Promise<Buffer> {
    const file = this.pathOf(key);
    return this.reading(key, () =>
      this.open.with(file, ({ fd, size }) => {
        if (start < 0 || length < 0 || start + length > size) throw objectRange(key, start, length, size);
        return this.bytesOf(fd, start, length);
      }),
    );
  }

  async getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }> {
    const file = this.pathOf(key);
    return this.reading(key, () =>
      this.open.with(file, async ({ fd, size }) => {
        if (length < 0) throw objectRange(key, size, length, size);
        const start = Math.max(0, size - length);
        return { bytes: await this.bytesOf(fd, start, size - start), size };
      }),
    );
  }

  /**
   * The same as `getRange`, at once, for a thread that has nothing else to do (a scan). Reads into `into` when that is large
   * enough and gives a view of it, so the bytes are only good until the next call.
   */
  readRangeSync(key: string, start: number, length: number, into?: Buffer): Buffer {
    const file = this.pathOf(key);
    try {
      const { fd, size } = this.open.getSync(file);
      if (start < 0 || length < 0 || start + length > size) throw objectRange(key, start, length, size);
      const bytes = into !== undefined && into.length >= length ? into.subarray(0, length) : Buffer.allocUnsafe(length);
      for (let got = 0; got < length; ) {
        const more = fs.readSync(fd, bytes, got, length - got, start + got);
        if (more === 0) throw objectRange(key, start, length, start + got);
        got += more;
      }
      return bytes;
    } catch (error) {
      throw readError(key, error);
    }
  }

  async head(key: string): Promise<ObjectInfo | null> {
    const file = this.pathOf(key);
    try {
      const { size, mtimeMs, isFile } = await this.files.stat(file);
      return isFile ? { key, size, modifiedMs: mtimeMs } : null;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw storeUnavailable("look up", key, error);
    }
  }

  async *list(prefix: string, after = ""): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    yield* listFolder(this.files, this.root, prefix, after);
  }

  async delete(key: string): Promise<void> {
    await this.deleteMany([key]);
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    const folders = new Set<string>();
    for (const key of keys) {
      const file = this.pathOf(key);
      this.open.drop(file);
      try {
        await this.files.unlink(file);
        folders.add(path.dirname(file));
      } catch (error) {
        // EISDIR and EPERM (macOS): other objects lie below the key, but it isn't one itself.
        const isFolder = ["EISDIR", "EPERM"].includes(codeOf(error)) && (await this.head(key)) === null;
        if (!isAbsent(error) && !isFolder) throw storeUnavailable("delete", key, error);
      }
    }
    for (const folder of folders) {
      try {
        await this.files.syncFolder(folder);
      } catch (error) {
        throw storeUnavailable("delete objects in", folder, error);
      }
    }
  }

  async close(): Promise<void> {
    this.open.close();
  }

  /** Writes a temporary file beside `target`, lets `name` give it its name, and makes that durable. */
  private async create(
    key: string,
    target: string,
    parts: readonly Uint8Array[],
    name: (temporary: string) => Promise<void>,
  ): Promise<void> {
    const folder = path.dirname(target);
    const temporary = path.join(folder, `${NAME_FREE_OF_KEYS}${process.pid}-${Date.now()}-${temporaryCount++}`);
    try {
      await this.writeFile(temporary, folder, parts);
      await name(temporary);
      await this.files.syncFolder(folder);
    } catch (error) {
      await this.files.unlink(temporary).catch(() => undefined); // It may not be there at all.
      if (error instanceof WeirError) throw error;
      // EEXIST comes from the creation of a folder where a file is: that of names was dealt with.
      if (["EEXIST", "ENOTDIR", "EISDIR", "ENOTEMPTY"].includes(codeOf(error))) throw liesBelow(key, error);
      throw storeUnavailable("write", key, error);
    }
  }

  private async writeFile(file: string, folder: string, parts: readonly Uint8Array[]): Promise<void> {
    await this.ensureFolder(folder);
    const fd = await this.files.open(file, "wx").catch(async (error: unknown) => {
      if (codeOf(error) !== "ENOENT") throw error;
      // Somebody removed the folder since it was last used.
      this.folders.clear();
      await this.ensureFolder(folder);
      return this.files.open(file, "wx");
    });
    try {
      await writeAll(this.files, fd, parts, 0);
      await this.files.datasync(fd);
    } finally {
      await this.files.close(fd);
    }
  }

  /** Creates the folder and makes its name, and those of the folders above it, durable. */
  private async ensureFolder(folder: string): Promise<void> {
    if (this.folders.has(folder)) return;
    await this.files.mkdir(folder);
    for (let at = folder; at !== this.root && at.length > this.root.length; at = path.dirname(at)) {
      await this.files.syncFolder(path.dirname(at));
    }
    if (this.folders.size >= KNOWN_FOLDERS_MAX) this.folders.clear();
    this.folders.add(folder);
  }

  private async bytesOf(fd: number, start: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    const got = await readAll(this.files, fd, bytes, start);
    if (got < length) throw Object.assign(new Error(`the file ends after ${start + got} bytes`), { code: "ESHORT" });
    return bytes;
  }

  private async reading<T>(key: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      throw readError(key, error);
    }
  }

  private pathOf(key: string): string {
    checkKey(key);
    return path.join(this.root, key);
  }
}

/** Creates the folder and removes what writes that were cut short more than an hour ago have left in it. */
export async function openFolderStore(root: string, files: FileOps = nodeFiles): Promise<FolderStore> {
  try {
    await files.mkdir(root);
    await tidy(files, root);
  } catch (error) {
    throw new WeirError("store_unavailable", `can't use the folder ${root} as object store: ${messageOf(error)}`, {
      context: { root },
      cause: error,
    });
  }
  return new FolderStore(root, files);
}

async function tidy(files: FileOps, folder: string): Promise<void> {
  for (const entry of await files.readdir(folder)) {
    const file = path.join(folder, entry.name);
    // No object lies in a folder with another name, and not each can be read: lost+found, where a disk is mounted.
    if (entry.isDirectory()) {
      if (isPart(entry.name)) await tidy(files, file);
    } else if (entry.name.startsWith(NAME_FREE_OF_KEYS)) await removeOld(files, file);
  }
}

async function removeOld(files: FileOps, file: string): Promise<void> {
  try {
    const { mtimeMs } = await files.stat(file);
    if (Date.now() - mtimeMs > LEFTOVER_MS) await files.unlink(file);
  } catch (error) {
    // Another process finished or removed it, or the folder can only be read, which is enough for reading.
    if (!["ENOENT", "EROFS", "EACCES", "EPERM"].includes(codeOf(error))) throw error;
  }
}

function liesBelow(key: string, cause: unknown): WeirError {
  return new WeirError("bad_key", `object key ${key}: in a folder an object can't lie below another one`, {
    context: { key },
    cause,
  });
}

const isAbsent = (error: unknown) => ["ENOENT", "ENOTDIR"].includes(codeOf(error));

function readError(key: string, error: unknown): unknown {
  if (error instanceof WeirError) return error;
  if (isAbsent(error) || codeOf(error) === "EISDIR") return objectMissing(key);
  return storeUnavailable("read", key, error);
}
