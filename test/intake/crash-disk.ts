import type { Dirent } from "node:fs";
import path from "node:path";
import type { FileOps, FileStat } from "../../src/core/files.ts";
import { systemError } from "../contract/faulty-files.ts";

const SECTOR = 512;

type Change = { readonly at: number; readonly bytes: Buffer } | { readonly length: number };

/** A file: what programs see, what the disk surely has, and what lies between. */
interface Inode {
  seen: Buffer;
  safe: Buffer;
  pending: Change[];
}

type NameChange = { readonly folder: string; readonly apply: (names: Map<string, Inode>) => void };

/**
 * A disk in memory that forgets like a real one: after `crash`, what was synced is there, and of everything else an
 * arbitrary part (single sectors of writes, lengths without contents; names in the order in which they were changed).
 * After a failed sync the pages count as clean: programs still see them, but no later sync brings them to the disk.
 */
export class CrashDisk implements FileOps {
  private readonly below: (limit: number) => number;
  private readonly names = new Map<string, Inode>();
  private readonly safeNames = new Map<string, Inode>();
  private namePending: NameChange[] = [];
  private readonly folders = new Set<string>(["/"]);
  private readonly open_ = new Map<number, Inode>();
  private nextFd = 3;

  constructor(below: (limit: number) => number) {
    this.below = below;
  }

  /** The disk as another boot finds it. This one can still be used, but nobody will see it. */
  crash(): CrashDisk {
    const after = new CrashDisk(this.below);
    const names = new Map(this.safeNames);
    const kept = this.below(this.namePending.length + 1);
    for (const { apply } of this.namePending.slice(0, kept)) apply(names);
    const copies = new Map<Inode, Inode>();
    for (const [name, inode] of names) {
      let copy = copies.get(inode);
      if (copy === undefined) {
        const bytes = this.remains(inode);
        copy = { seen: bytes, safe: Buffer.from(bytes), pending: [] };
        copies.set(inode, copy);
      }
      // The process is gone, and with it its lock.
      if (path.basename(name).startsWith("lock.")) continue;
      after.names.set(name, copy);
      after.safeNames.set(name, copy);
    }
    for (const folder of this.folders) after.folders.add(folder);
    return after;
  }

  private remains(inode: Inode): Buffer {
    let bytes: Buffer = Buffer.from(inode.safe);
    for (const change of inode.pending) {
      if (this.below(3) === 0) continue;
      if ("length" in change) bytes = resize(bytes, change.length);
      else bytes = this.partly(bytes, change.at, change.bytes);
    }
    return bytes;
  }

  private partly(bytes: Buffer, at: number, written: Buffer): Buffer {
    const whole = this.below(2) === 0;
    const result = resize(
      bytes,
      Math.max(bytes.length, at + (whole ? written.length : this.below(written.length + 1))),
    );
    for (let i = 0; i < written.length; ) {
      const step = Math.min(written.length - i, SECTOR - ((at + i) % SECTOR));
      if (whole || this.below(4) > 0)
        written.copy(result, at + i, i, Math.min(i + step, Math.max(i, result.length - at)));
      i += step;
    }
    return result;
  }

  async open(name: string, flags: string): Promise<number> {
    let inode = this.names.get(name);
    if (flags === "wx" && inode !== undefined) throw systemError("EEXIST");
    if (flags.startsWith("r") && inode === undefined) throw systemError("ENOENT");
    if (inode === undefined) {
      if (!this.folders.has(path.dirname(name))) throw systemError("ENOENT");
      inode = { seen: Buffer.alloc(0), safe: Buffer.alloc(0), pending: [] };
      const fresh = inode;
      this.rename_(name, (names) => names.set(name, fresh));
    } else if (flags === "w") this.change(inode, { length: 0 });
    this.open_.set(this.nextFd, inode);
    return this.nextFd++;
  }

  async close(fd: number): Promise<void> {
    if (!this.open_.delete(fd)) throw systemError("EBADF");
  }

  async writev(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number> {
    const bytes = Buffer.concat(buffers);
    this.change(this.inode(fd), { at: position, bytes });
    return bytes.length;
  }

  async read(fd: number, into: Uint8Array, position: number): Promise<number> {
    return this.inode(fd).seen.copy(into, 0, Math.min(position, this.inode(fd).seen.length));
  }

  async truncate(fd: number, length: number): Promise<void> {
    this.change(this.inode(fd), { length });
  }

  async datasync(fd: number): Promise<void> {
    const inode = this.inode(fd);
    for (const change of inode.pending) inode.safe = applied(inode.safe, change);
    inode.pending = [];
  }

  /** What a sync that reports an error does: an arbitrary part is on the disk, the rest never will be. */
  async failSync(fd: number): Promise<void> {
    const inode = this.inode(fd);
    inode.safe = this.remains(inode);
    inode.pending = [];
  }

  async size(fd: number): Promise<number> {
    return this.inode(fd).seen.length;
  }

  async stat(name: string): Promise<FileStat> {
    const inode = this.names.get(name);
    if (inode === undefined) throw systemError("ENOENT");
    return { size: inode.seen.length, mtimeMs: Date.now(), isFile: true };
  }

  async readdir(folder: string): Promise<Dirent[]> {
    if (!this.folders.has(folder)) throw systemError("ENOENT");
    const entry = (name: string, isFolder: boolean) =>
      ({ name: path.basename(name), isDirectory: () => isFolder, isFile: () => !isFolder }) as Dirent;
    return [
      ...[...this.names.keys()].filter((name) => path.dirname(name) === folder).map((name) => entry(name, false)),
      ...[...this.folders]
        .filter((name) => name !== "/" && path.dirname(name) === folder)
        .map((name) => entry(name, true)),
    ];
  }

  /** Folders are on the disk at once: what a log does about its files is what matters here. */
  async mkdir(folder: string): Promise<void> {
    for (let at = folder; at !== "/"; at = path.dirname(at)) this.folders.add(at);
  }

  async rename(from: string, to: string): Promise<void> {
    const inode = this.names.get(from);
    if (inode === undefined) throw systemError("ENOENT");
    this.rename_(to, (names) => {
      names.delete(from);
      names.set(to, inode);
    });
  }

  async link(from: string, to: string): Promise<void> {
    const inode = this.names.get(from);
    if (inode === undefined) throw systemError("ENOENT");
    if (this.names.has(to)) throw systemError("EEXIST");
    this.rename_(to, (names) => names.set(to, inode));
  }

  async unlink(name: string): Promise<void> {
    if (!this.names.has(name)) throw systemError("ENOENT");
    this.rename_(name, (names) => names.delete(name));
  }

  async syncFolder(folder: string): Promise<void> {
    for (const { apply } of this.namePending.filter((change) => change.folder === folder)) apply(this.safeNames);
    this.namePending = this.namePending.filter((change) => change.folder !== folder);
  }

  async touch(): Promise<void> {}

  async space(): Promise<{ free: number; total: number }> {
    return { free: 1 << 30, total: 1 << 30 };
  }

  private rename_(name: string, apply: (names: Map<string, Inode>) => void): void {
    apply(this.names);
    this.namePending.push({ folder: path.dirname(name), apply });
  }

  private inode(fd: number): Inode {
    const inode = this.open_.get(fd);
    if (inode === undefined) throw systemError("EBADF");
    return inode;
  }

  private change(inode: Inode, change: Change): void {
    inode.seen = applied(inode.seen, change);
    inode.pending.push(change);
  }
}

function applied(bytes: Buffer, change: Change): Buffer {
  if ("length" in change) return resize(bytes, change.length);
  const result = resize(bytes, Math.max(bytes.length, change.at + change.bytes.length));
  change.bytes.copy(result, change.at);
  return result;
}

function resize(bytes: Buffer, length: number): Buffer {
  const result = Buffer.alloc(length);
  bytes.copy(result);
  return result;
}
