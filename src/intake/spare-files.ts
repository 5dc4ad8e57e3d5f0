import path from "node:path";
import { codeOf, messageOf } from "../core/errors.ts";
import { type FileOps, writeAll } from "../core/files.ts";
import type { Logger } from "../core/log.ts";
import { ENTRY_HEADER_BYTES } from "./log-format.ts";

const SPARE_NAME = /^spare\.\d+$/;

export interface SpareFilesDeps {
  readonly files: FileOps;
  readonly log: Logger;
}

/** Whether a file of a partition's folder is one that is kept to be written again; after a start nobody wants it. */
export function isSpareName(name: string): boolean {
  return SPARE_NAME.test(name);
}

/**
 * Log files that are done with, kept to be written over: their blocks are allocated and their pages mostly still in
 * memory, so a write costs the kernel half or less of what it does in a new file, and `fdatasync` has no metadata to
 * write. What they held is told from new entries by the mark, which is drawn anew for each use.
 */
export class SpareFiles {
  private readonly folder: string;
  private readonly bytesMax: number;
  private readonly deps: SpareFilesDeps;
  private spares: { readonly path: string; readonly bytes: number }[] = [];
  private bytes = 0;
  private names = 0;

  constructor(folder: string, bytesMax: number, deps: SpareFilesDeps) {
    this.folder = folder;
    this.bytesMax = bytesMax;
    this.deps = deps;
  }

  /** Takes over the file `from`; false when there is no room for it, or it can't be renamed. */
  async keep(from: string, bytes: number): Promise<boolean> {
    if (this.bytes + bytes > this.bytesMax) return false;
    const spare = path.join(this.folder, `spare.${this.names++}`);
    try {
      await this.deps.files.rename(from, spare);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") this.warn("keep", from, error);
      return false;
    }
    this.spares.push({ path: spare, bytes });
    this.bytes += bytes;
    return true;
  }

  /**
   * Turns a spare into the file `to` that begins with `header` and has no entry yet, durably: it has its new header
   * before it has its new name, so that a crash between the two leaves only a spare. Null when there is none, or none works.
   */
  async take(to: string, header: Buffer): Promise<{ fd: number; bytes: number } | null> {
    const { files } = this.deps;
    const spare = this.spares.shift();
    if (spare === undefined) return null;
    this.bytes -= spare.bytes;
    let fd: number | null = null;
    try {
      fd = await files.open(spare.path, "r+");
      await writeAll(files, fd, [header, Buffer.alloc(ENTRY_HEADER_BYTES)], 0);
      await files.datasync(fd);
      await files.rename(spare.path, to);
      await files.syncFolder(this.folder);
      return { fd, bytes: spare.bytes };
    } catch (error) {
      this.warn("reuse", spare.path, error);
      if (fd !== null) await files.close(fd).catch((failure: unknown) => this.warn("close", spare.path, failure));
      for (const name of [spare.path, to]) await this.unlink(name);
      return null;
    }
  }

  /** Removes all. */
  async clear(): Promise<void> {
    const { spares } = this;
    this.spares = [];
    this.bytes = 0;
    for (const spare of spares) await this.unlink(spare.path);
  }

  private async unlink(name: string): Promise<void> {
    await this.deps.files.unlink(name).catch((error: unknown) => {
      if (codeOf(error) !== "ENOENT") this.warn("remove", name, error);
    });
  }

  private warn(what: string, file: string, error: unknown): void {
    this.deps.log.warn({ file, error: messageOf(error) }, `intake: can't ${what} a log file that is done with`);
  }
}
