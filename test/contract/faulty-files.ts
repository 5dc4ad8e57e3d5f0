import type { Dirent } from "node:fs";
import { type FileOps, type FileStat, nodeFiles } from "../../src/core/files.ts";

export type FileCall = keyof FileOps;

/** `code` fails the call with that system error; `short` lets a write or a read stop after so many bytes. */
export type FileFault = { readonly code: string } | { readonly short: number };

/** Decides about a call: `n` counts the calls of all kinds, `path` is the file's, also where the call has a descriptor. */
export type FilePlan = (call: { op: FileCall; n: number; path: string }) => FileFault | undefined;

export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: told to fail`), { code });
}

/** File operations that fail as they are told to. */
export class FaultyFiles implements FileOps {
  plan: FilePlan;
  calls = 0;
  /** Names of the calls so far, for tests that look at what is done. */
  readonly done: FileCall[] = [];
  private readonly inner: FileOps;
  private readonly paths = new Map<number, string>();

  constructor(inner: FileOps = nodeFiles, plan: FilePlan = () => undefined) {
    this.inner = inner;
    this.plan = plan;
  }

  async open(path: string, flags: string): Promise<number> {
    this.check("open", path);
    const fd = await this.inner.open(path, flags);
    this.paths.set(fd, path);
    return fd;
  }

  async close(fd: number): Promise<void> {
    // A close that reports an error has closed the descriptor all the same.
    let failure: unknown;
    try {
      this.check("close", this.paths.get(fd));
    } catch (error) {
      failure = error;
    }
    await this.inner.close(fd);
    if (failure !== undefined) throw failure;
  }

  async writev(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number> {
    const short = this.check("writev", this.paths.get(fd));
    if (short === undefined) return this.inner.writev(fd, buffers, position);
    const bytes = Buffer.concat(buffers);
    return this.inner.writev(fd, [bytes.subarray(0, Math.min(bytes.length, Math.max(1, short)))], position);
  }

  async read(fd: number, into: Uint8Array, position: number): Promise<number> {
    const short = this.check("read", this.paths.get(fd));
    return this.inner.read(fd, short === undefined ? into : into.subarray(0, Math.max(1, short)), position);
  }

  async truncate(fd: number, length: number): Promise<void> {
    this.check("truncate", this.paths.get(fd));
    return this.inner.truncate(fd, length);
  }

  async datasync(fd: number): Promise<void> {
    this.check("datasync", this.paths.get(fd));
    return this.inner.datasync(fd);
  }

  async size(fd: number): Promise<number> {
    this.check("size", this.paths.get(fd));
    return this.inner.size(fd);
  }

  async stat(path: string): Promise<FileStat> {
    this.check("stat", path);
    return this.inner.stat(path);
  }

  async readdir(path: string): Promise<Dirent[]> {
    this.check("readdir", path);
    return this.inner.readdir(path);
  }

  async mkdir(path: string): Promise<void> {
    this.check("mkdir", path);
    return this.inner.mkdir(path);
  }

  async rename(from: string, to: string): Promise<void> {
    this.check("rename", from);
    return this.inner.rename(from, to);
  }

  async link(from: string, to: string): Promise<void> {
    this.check("link", from);
    return this.inner.link(from, to);
  }

  async unlink(path: string): Promise<void> {
    this.check("unlink", path);
    return this.inner.unlink(path);
  }

  async syncFolder(path: string): Promise<void> {
    this.check("syncFolder", path);
    return this.inner.syncFolder(path);
  }

  /** Free bytes of the disk, of a gigabyte in all; null for the real ones. */
  free: number | null = null;

  /** Is no call that a plan counts: when it comes depends on bytes and timers. */
  async space(path: string): Promise<{ free: number; total: number }> {
    return this.free === null ? this.inner.space(path) : { free: this.free, total: 1 << 30 };
  }

  async touch(path: string): Promise<void> {
    this.check("touch", path);
    return this.inner.touch(path);
  }

  /** Throws what the plan wants, or gives the bytes after which the call stops short. */
  private check(op: FileCall, path = ""): number | undefined {
    this.done.push(op);
    const fault = this.plan({ op, n: this.calls++, path });
    if (fault === undefined) return undefined;
    if ("code" in fault) throw systemError(fault.code);
    return fault.short;
  }
}
