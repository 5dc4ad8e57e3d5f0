import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { codeOf } from "../core/errors.ts";

const TEMPORARY = ".tmp";

/**
 * Files in a folder that may be lost or damaged at any time: copies of objects that are far away. Bounded: the least
 * recently used go first. What is in a file is for the reader to check. One process uses a folder.
 */
export class DiskCache {
  private readonly folder: string;
  private readonly maxBytes: number;
  private readonly onError: (error: unknown) => void;
  /** Bytes by name, least recently used first. */
  private readonly sizes = new Map<string, number>();
  private total = 0;

  private constructor(folder: string, maxBytes: number, onError: (error: unknown) => void) {
    this.folder = folder;
    this.maxBytes = maxBytes;
    this.onError = onError;
  }

  /** Takes over what a run before has left. An unusable folder is told to `onError`, and nothing is cached. */
  static async open(folder: string, maxBytes: number, onError: (error: unknown) => void): Promise<DiskCache> {
    const cache = new DiskCache(folder, maxBytes, onError);
    try {
      await cache.load();
    } catch (error) {
      onError(error);
    }
    return cache;
  }

  get bytes(): number {
    return this.total;
  }

  async get(name: string): Promise<Buffer | null> {
    const size = this.sizes.get(name);
    if (size === undefined) return null;
    try {
      const bytes = await readFile(path.join(this.folder, name));
      // Somebody may have put or removed it meanwhile.
      if (this.sizes.delete(name)) this.sizes.set(name, size);
      return bytes;
    } catch (error) {
      this.forget(name);
      if (codeOf(error) !== "ENOENT") this.onError(error);
      return null;
    }
  }

  /** Resolves when it is there, or was not to be. Not synced: a file that a crash has torn is found out by its reader. */
  async put(name: string, bytes: Uint8Array): Promise<void> {
    if (bytes.length > this.maxBytes) return;
    const file = path.join(this.folder, name);
    const temporary = `${file}.${randomBytes(4).toString("hex")}${TEMPORARY}`;
    try {
      await writeFile(temporary, bytes);
      await rename(temporary, file);
      this.forget(name);
      this.sizes.set(name, bytes.length);
      this.total += bytes.length;
      for (const old of [...this.sizes.keys()]) {
        if (this.total <= this.maxBytes) break;
        await this.remove(old);
      }
    } catch (error) {
      this.onError(error);
      await rm(temporary, { force: true }).catch(this.onError);
    }
  }

  async remove(name: string): Promise<void> {
    this.forget(name);
    await rm(path.join(this.folder, name), { force: true }).catch(this.onError);
  }

  private forget(name: string): void {
    this.total -= this.sizes.get(name) ?? 0;
    this.sizes.delete(name);
  }

  private async load(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    const found: { name: string; size: number; mtimeMs: number }[] = [];
    for (const name of await readdir(this.folder)) {
      const file = path.join(this.folder, name);
      const { size, mtimeMs } = await stat(file);
      if (name.endsWith(TEMPORARY)) await rm(file, { force: true });
      else found.push({ name, size, mtimeMs });
    }
    for (const { name, size } of found.sort((a, b) => a.mtimeMs - b.mtimeMs)) {
      this.sizes.set(name, size);
      this.total += size;
    }
    for (const name of [...this.sizes.keys()]) {
      if (this.total <= this.maxBytes) break;
      await this.remove(name);
    }
  }
}
