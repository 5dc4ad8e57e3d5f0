import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync, statSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { FileOps } from "../core/files.ts";
import type { FolderSocket } from "../core/folder-sockets.ts";

/*
 * Node has no flock, so each process that wants a folder puts a Unix socket `lock.<pid>-<start>-<place>-<pids>-<attempt>-<host>`
 * into it, at which it listens, and then looks for others: the name alone says who it is (nothing half-written, no bytes
 * needed on a full disk), and a stale one can be removed without ever hitting a fresh one, because no two attempts share a name. Of
 * two that come at the same moment each may see the other; both step back, wait a random while and try again.
 * A name is there a moment before anybody listens, and may be taken for stale in that moment; so its owner looks for it too.
 *
 * A socket can be asked from anywhere under the same kernel, another container too, where a process number means somebody
 * else: it takes connections as long as its process lives, and not a moment longer. Where there can be no socket (a file system without
 * them, other systems than Linux) an empty file stands for it; its process is asked for by number where numbers mean the same.
 * One that can't be asked at all (another machine on the same volume) is known by its holder's touching it:
 * not touched for a while, it is stale.
 */
const TOUCH_EVERY_MS = 5_000;
const STALE_MS = 20_000;
const ATTEMPTS = 3;
/** Of a longer host name the rest is left out: the path of a socket has 107 bytes at most. */
const HOST_MAX = 28;

export interface FolderLock {
  release(): Promise<void>;
}

interface Owner {
  readonly pid: number;
  /** Start of the process in clock ticks since boot, "0" where the system doesn't say. */
  readonly start: string;
  /** The same for all who see the folder through the same mounted file system of the same boot of a kernel. */
  readonly place: string;
  /** The same for all to whom a process number means the same process. */
  readonly pids: string;
  readonly host: string;
}

const NAME = /^lock\.(\d+)-(\d+)-([0-9a-f]{10})-([0-9a-f]{10})-[0-9a-f]{4}-([A-Za-z0-9_.]+)$/;

/**
 * Takes the folder for this process until `release` or its end. Throws `folder_locked` when another process (or
 * another part of this one) holds it, `folder_unusable` when no file can be created in it.
 */
export async function lockFolder(files: FileOps, folder: string): Promise<FolderLock> {
  const me = self(folder);
  for (let attempt = 1; ; attempt++) {
    const token = randomBytes(2).toString("hex");
    const name = `lock.${me.pid}-${me.start}-${me.place}-${me.pids}-${token}-${me.host}`;
    const mine: Mine = { file: path.join(folder, name), socket: await create(files, folder, name) };
    let other: Found | null;
    try {
      const names = (await files.readdir(folder)).map((entry) => entry.name);
      other = await findOther(files, folder, names, name, me);
      if (other === null && names.includes(name)) return hold(files, mine);
    } catch (error) {
      await remove(files, mine).catch(() => undefined);
      throw error;
    }
    await remove(files, mine);
    if (attempt === ATTEMPTS) throw locked(folder, other ?? { owner: me, asked: true }, me);
    await sleep(20 + Math.random() * 100);
  }
}

interface Mine {
  readonly file: string;
  /** Null when an empty file stands for it. */
  readonly socket: FolderSocket | null;
}

async function create(files: FileOps, folder: string, name: string): Promise<FolderSocket | null> {
  try {
    const socket = (await files.sockets?.listen(folder, name)) ?? null;
    if (socket === null) await files.close(await files.open(path.join(folder, name), "wx"));
    return socket;
  } catch (error) {
    throw new WeirError("folder_unusable", `can't write to the folder ${folder}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

async function remove(files: FileOps, { file, socket }: Mine): Promise<void> {
  // The name goes first: from then on nobody asks.
  try {
    await removeName(files, file);
  } finally {
    await socket?.close();
  }
}

async function removeName(files: FileOps, file: string): Promise<void> {
  await files.unlink(file).catch((error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
  });
}

interface Found {
  readonly owner: Owner;
  /** Whether it answered, or its process was found; else its file was touched not long ago. */
  readonly asked: boolean;
}

async function findOther(
  files: FileOps,
  folder: string,
  names: readonly string[],
  mine: string,
  me: Owner,
): Promise<Found | null> {
  for (const name of names) {
    const owner = name === mine ? null : parse(name);
    if (owner === null) continue;
    const file = path.join(folder, name);
    const answer = await ask(files, folder, name, owner, me);
    if (answer ?? (await isTouched(files, file, owner, me))) return { owner, asked: answer !== null };
    await removeName(files, file);
  }
  return null;
}

function parse(name: string): Owner | null {
  const match = NAME.exec(name);
  return match === null
    ? null
    : { pid: Number(match[1]), start: match[2], place: match[3], pids: match[4], host: match[5] };
}

/** Whether the owner lives; null when it can't be asked from here. */
async function ask(files: FileOps, folder: string, name: string, owner: Owner, me: Owner): Promise<boolean | null> {
  // Another mount of the same volume shows the same name, but no way to the socket.
  const answer = owner.place === me.place ? ((await files.sockets?.isListening(folder, name)) ?? null) : null;
  if (answer !== null) return answer;
  if (owner.pids !== me.pids) return null;
  return hasProcess(owner.pid) && (owner.start === "0" || startOf(owner.pid) === owner.start);
}

async function isTouched(files: FileOps, file: string, owner: Owner, me: Owner): Promise<boolean> {
  const { mtimeMs } = await files.stat(file).catch(() => ({ mtimeMs: 0 })); // Gone meanwhile.
  // The same host after it was started again: none of its processes is left. Another machine of that name goes on touching.
  if (owner.host === me.host && mtimeMs < Date.now() - os.uptime() * 1000) return false;
  return Math.abs(Date.now() - mtimeMs) < STALE_MS;
}

function hold(files: FileOps, mine: Mine): FolderLock {
  const timer = setInterval(() => {
    // On a disk that refuses, this process still counts as the owner for those who can ask.
    files.touch(mine.file).catch(() => undefined);
  }, TOUCH_EVERY_MS);
  timer.unref();
  return {
    async release() {
      clearInterval(timer);
      await remove(files, mine);
    },
  };
}

function locked(folder: string, { owner, asked }: Found, me: Owner): WeirError {
  const place = owner.host !== me.host ? ` on ${owner.host}` : owner.pids !== me.pids ? " of another container" : "";
  const where = `process ${owner.pid}${place}`;
  const how = asked
    ? ""
    : ` (it can't be asked from here; if it is gone already, that shows ${STALE_MS / 1000} s after its end)`;
  return new WeirError(
    "folder_locked",
    `the folder ${folder} is in use by ${where}${how}: stop it first, or give this one another folder`,
    { context: { folder, pid: owner.pid, host: owner.host } },
  );
}

function self(folder: string): Owner {
  const boot = readText("/proc/sys/kernel/random/boot_id").trim();
  return {
    pid: process.pid,
    start: startOf(process.pid),
    place: digest(`${boot} ${device(folder)} ${boot === "" ? os.hostname() : ""}`),
    pids: digest(`${boot} ${pidNamespace()} ${boot === "" ? os.hostname() : ""}`),
    host: hostName(),
  };
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 10);
}

/** Number of the mounted file system that the folder is on; "" for a folder that isn't there. */
function device(folder: string): string {
  return String(statSync(folder, { throwIfNoEntry: false })?.dev ?? "");
}

function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return ""; // Not Linux.
  }
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

function hostName(): string {
  return (
    os
      .hostname()
      .replace(/[^A-Za-z0-9_.]/g, "_")
      .slice(0, HOST_MAX) || "_"
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return ""; // Not Linux, or the process is gone.
  }
}
