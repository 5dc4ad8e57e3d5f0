import { readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { FileOps } from "../core/files.ts";

/*
 * Node has no flock, so each process that wants a folder puts an empty file `lock.<pid>-<start>-<boot>-<host>` into it and
 * then looks for others: the name alone says who it is (nothing half-written, no bytes needed on a full disk), and
 * a stale file can be removed without ever hitting a fresh one, because no two processes share a name. Of two that
 * come at the same moment each may see the other; both step back, wait a random while and try again.
 *
 * A file from this boot of this host is alive when its process is. One from elsewhere (another container on the same
 * volume) can't be asked, so the holder touches its file, and one that wasn't touched for a while is stale.
 */
const TOUCH_EVERY_MS = 5_000;
const STALE_MS = 20_000;
const ATTEMPTS = 3;

export interface FolderLock {
  release(): Promise<void>;
}

interface Owner {
  readonly pid: number;
  /** Start of the process in clock ticks since boot, "0" where the system doesn't say. */
  readonly start: string;
  readonly boot: string;
  readonly host: string;
}

const NAME = /^lock\.(\d+)-(\d+)-([0-9a-z]+)-([A-Za-z0-9_.]+)$/;

/**
 * Takes the folder for this process until `release` or its end. Throws `folder_locked` when another process (or
 * another part of this one) holds it, `folder_unusable` when no file can be created in it.
 */
export async function lockFolder(files: FileOps, folder: string): Promise<FolderLock> {
  const me: Owner = { pid: process.pid, start: startOf(process.pid), boot: bootId(), host: hostName() };
  const mine = path.join(folder, `lock.${me.pid}-${me.start}-${me.boot}-${me.host}`);
  for (let attempt = 1; ; attempt++) {
    await create(files, mine, folder, me);
    const other = await findOther(files, folder, me);
    if (other === null) return hold(files, mine);
    await files.unlink(mine);
    if (attempt === ATTEMPTS) throw locked(folder, other);
    await sleep(20 + Math.random() * 100);
  }
}

async function create(files: FileOps, mine: string, folder: string, me: Owner): Promise<void> {
  try {
    await files.close(await files.open(mine, "wx"));
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw locked(folder, me);
    throw new WeirError("folder_unusable", `can't write to the folder ${folder}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

async function findOther(files: FileOps, folder: string, me: Owner): Promise<Owner | null> {
  for (const { name } of await files.readdir(folder)) {
    const owner = parse(name);
    if (owner === null || (owner.pid === me.pid && owner.start === me.start && isHere(owner, me))) continue;
    const file = path.join(folder, name);
    if (await isAlive(files, file, owner, me)) return owner;
    await files.unlink(file).catch((error: unknown) => {
      if (codeOf(error) !== "ENOENT") throw error;
    });
  }
  return null;
}

function parse(name: string): Owner | null {
  const match = NAME.exec(name);
  return match === null ? null : { pid: Number(match[1]), start: match[2], boot: match[3], host: match[4] };
}

const isHere = (owner: Owner, me: Owner) => owner.boot === me.boot && owner.host === me.host;

async function isAlive(files: FileOps, file: string, owner: Owner, me: Owner): Promise<boolean> {
  if (isHere(owner, me)) return hasProcess(owner.pid) && (owner.start === "0" || startOf(owner.pid) === owner.start);
  // The same host after it was started again: none of its processes is left.
  if (owner.host === me.host && owner.boot !== "0" && me.boot !== "0") return false;
  const { mtimeMs } = await files.stat(file).catch(() => ({ mtimeMs: 0 })); // Gone meanwhile.
  return Math.abs(Date.now() - mtimeMs) < STALE_MS;
}

function hold(files: FileOps, mine: string): FolderLock {
  const timer = setInterval(() => {
    // On a disk that refuses, this process still counts as the owner for those who can ask the system.
    files.touch(mine).catch(() => undefined);
  }, TOUCH_EVERY_MS);
  timer.unref();
  return {
    async release() {
      clearInterval(timer);
      await files.unlink(mine).catch((error: unknown) => {
        if (codeOf(error) !== "ENOENT") throw error;
      });
    },
  };
}

function locked(folder: string, owner: Owner): WeirError {
  const where = owner.host === hostName() ? `process ${owner.pid}` : `process ${owner.pid} on ${owner.host}`;
  return new WeirError(
    "folder_locked",
    `the folder ${folder} is in use by ${where}: stop it first, or give this one another folder`,
    { context: { folder, pid: owner.pid, host: owner.host } },
  );
}

function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/**
 * Field 22 of /proc/<pid>/stat, "0" where there is no /proc, and "" for a process that has ended but whose parent
 * hasn't asked yet.
 */
function startOf(pid: number): string {
  const stat = readText(`/proc/${pid}/stat`);
  // The fields from the third on; the second is the program's name in brackets and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return "";
  return fields[19] ?? "0";
}

function bootId(): string {
  return readText("/proc/sys/kernel/random/boot_id").replace(/[^0-9a-f]/g, "") || "0";
}

function hostName(): string {
  return (
    os
      .hostname()
      .replace(/[^A-Za-z0-9_.]/g, "_")
      .slice(0, 100) || "_"
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return ""; // Not Linux, or the process is gone.
  }
}
