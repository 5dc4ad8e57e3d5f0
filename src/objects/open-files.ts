import fs from "node:fs";
import type { FileOps } from "../core/files.ts";

const IDLE_MS = 60_000;

export interface OpenObject {
  readonly fd: number;
  readonly size: number;
}

interface Held extends OpenObject {
  users: number;
  /** No longer in the cache; the last user closes it. */
  isDropped: boolean;
  usedMs: number;
}

/**
 * File descriptors of objects that are read in ranges, the least recently used closed first. One that isn't used for a minute is
 * closed too: a removed object keeps its room on the disk as long as anybody has it open.
 */
export class OpenFiles {
  private readonly files: FileOps;
  private readonly max: number;
  private readonly held = new Map<string, Held>();
  private drops = 0;
  private sweeper: NodeJS.Timeout | null = null;

  constructor(files: FileOps, max: number) {
    this.files = files;
    this.max = max;
  }

  /** Runs `use` with the open file; it stays open at least that long. */
  async with<T>(path: string, use: (file: OpenObject) => Promise<T>): Promise<T> {
    const known = this.touch(path);
    // Counted before anything else can run: a file without users may be closed at any time.
    if (known !== undefined) known.users++;
    const file = known ?? (await this.open(path));
    try {
      return await use(file);
    } finally {
      file.users--;
      if (file.isDropped && file.users === 0) await this.files.close(file.fd);
    }
  }

  /** The same at once, for a thread that may wait. The file is valid until the thread does something else. */
  getSync(path: string): OpenObject {
    const known = this.touch(path);
    if (known !== undefined) return known;
    const fd = fs.openSync(path, "r");
    try {
      return this.keep(path, { fd, size: fs.fstatSync(fd).size });
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** Forgets a file that was replaced or removed. */
  drop(path: string): void {
    this.drops++;
    this.release(path);
  }

  close(): void {
    for (const path of [...this.held.keys()]) this.drop(path);
    this.stopSweeping();
  }

  private touch(path: string): Held | undefined {
    const file = this.held.get(path);
    if (file === undefined) return undefined;
    // To the end, which is the most recently used.
    this.held.delete(path);
    this.held.set(path, file);
    file.usedMs = performance.now();
    return file;
  }

  /** Opens a file for a first user. */
  private async open(path: string): Promise<Held> {
    const before = this.drops;
    const fd = await this.files.open(path, "r");
    let size: number;
    try {
      size = await this.files.size(fd);
    } catch (error) {
      await this.files.close(fd);
      throw error;
    }
    // Was anything replaced meanwhile, this may be the old file: good for this one use, which began before. The same
    // when another call was faster.
    const isForOnce = before !== this.drops || this.held.has(path);
    const file = isForOnce ? { fd, size, users: 0, isDropped: true, usedMs: 0 } : this.keep(path, { fd, size });
    file.users++;
    return file;
  }

  private keep(path: string, { fd, size }: OpenObject): Held {
    const file: Held = { fd, size, users: 0, isDropped: false, usedMs: performance.now() };
    this.held.set(path, file);
    for (const oldest of this.held.keys()) {
      if (this.held.size <= this.max) break;
      this.release(oldest);
    }
    this.sweeper ??= setInterval(() => this.sweepIdle(), IDLE_MS / 2).unref();
    return file;
  }

  private release(path: string): void {
    const file = this.held.get(path);
    if (file === undefined) return;
    this.held.delete(path);
    file.isDropped = true;
    if (file.users === 0) fs.closeSync(file.fd);
  }

  private sweepIdle(): void {
    const before = performance.now() - IDLE_MS;
    for (const [path, file] of this.held) if (file.usedMs < before) this.release(path);
    if (this.held.size === 0) this.stopSweeping();
  }

  private stopSweeping(): void {
    if (this.sweeper !== null) clearInterval(this.sweeper);
    this.sweeper = null;
  }
}
