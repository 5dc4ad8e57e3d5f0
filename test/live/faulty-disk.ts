import type { Random } from "../../bench/lines.ts";
import { type FileOps, nodeFiles } from "../../src/core/files.ts";

function systemError(code: string, call: string): Error {
  return Object.assign(new Error(`${code}: injected, ${call}`), { code, syscall: call });
}

/** A disk that works, that fails at random (full, broken, short writes), or that is gone as after a power cut. */
export class FaultyDisk implements FileOps {
  mode: "well" | "failing" | "gone" = "well";
  faults = 0;
  private readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  readonly open: FileOps["open"] = (path, flags) => {
    if (flags !== "r") this.check("open");
    return nodeFiles.open(path, flags);
  };
  readonly close = nodeFiles.close;
  readonly read = nodeFiles.read;
  readonly stat = nodeFiles.stat;
  readonly size = nodeFiles.size;
  readonly space = nodeFiles.space;
  readonly readdir = nodeFiles.readdir;
  readonly mkdir = nodeFiles.mkdir;
  // Names can always be removed: a lock file of a "crashed" instance would otherwise stay with this process's own id.
  readonly unlink = nodeFiles.unlink;

  readonly writev: FileOps["writev"] = async (fd, buffers, position) => {
    this.check("writev");
    if (this.mode === "failing" && this.random.below(4) === 0) return this.shortWrite(fd, buffers, position);
    return nodeFiles.writev(fd, buffers, position);
  };
  readonly datasync: FileOps["datasync"] = async (fd) => {
    this.check("fdatasync");
    await nodeFiles.datasync(fd);
    this.check("fdatasync");
  };
  readonly truncate: FileOps["truncate"] = async (fd, length) => {
    this.check("ftruncate");
    await nodeFiles.truncate(fd, length);
  };
  readonly rename: FileOps["rename"] = async (from, to) => {
    this.check("rename");
    await nodeFiles.rename(from, to);
  };
  readonly link: FileOps["link"] = async (from, to) => {
    this.check("link");
    await nodeFiles.link(from, to);
  };
  readonly syncFolder: FileOps["syncFolder"] = async (path) => {
    this.check("fsync");
    await nodeFiles.syncFolder(path);
  };
  readonly touch: FileOps["touch"] = async (path) => {
    this.check("utimes");
    await nodeFiles.touch(path);
  };

  private check(call: string): void {
    if (this.mode === "well") return;
    if (this.mode === "gone") throw systemError("EIO", call);
    const dice = this.random.below(20);
    if (dice > 2) return;
    this.faults++;
    throw systemError((["ENOSPC", "EIO", "EROFS"] as const)[dice], call);
  }

  /** Writes a part, and says so, as the system may at any time. */
  private async shortWrite(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number> {
    const all = Buffer.concat(buffers);
    this.faults++;
    return nodeFiles.writev(fd, [all.subarray(0, 1 + this.random.below(all.length))], position);
  }
}
