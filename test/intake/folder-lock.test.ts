import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdir, rename, utimes, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { type FileOps, nodeFiles } from "../../src/core/files.ts";
import { lockFolder } from "../../src/intake/folder-lock.ts";
import { FaultyFiles } from "../contract/faulty-files.ts";
import { built, isBuilt, newFolder } from "./support.ts";

const locked = { code: "folder_locked", retriable: false };

describe("folder lock", () => {
  test("holds until it is released", async () => {
    const folder = await newFolder();
    const lock = await lockFolder(nodeFiles, folder);
    await expect(lockFolder(nodeFiles, folder)).rejects.toMatchObject({
      ...locked,
      message: expect.stringContaining(`in use by process ${process.pid}`),
    });
    await lock.release();
    expect(await readdir(folder)).toEqual([]);
    await (await lockFolder(nodeFiles, folder)).release();
  });

  test("of several that come at once at most one gets it", async () => {
    const folder = await newFolder();
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => lockFolder(nodeFiles, folder)));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  /** The name that this process's lock has, and its parts with some replaced; an attempt's own part isn't among those. */
  async function nameOf(change: Partial<Record<"pid" | "start" | "place" | "pids" | "host", string>> = {}) {
    const folder = await newFolder();
    const lock = await lockFolder(nodeFiles, folder);
    const [name] = await readdir(folder);
    await lock.release();
    const parts = /^lock\.(?<pid>\d+)-(?<start>\d+)-(?<place>\w+)-(?<pids>\w+)-\w+-(?<host>.*)$/.exec(name)?.groups;
    const { pid, start, place, pids, host } = { ...parts, ...change };
    return `lock.${pid}-${start}-${place}-${pids}-00aa-${host}`;
  }

  /** A lock without a socket, as on a file system that has none. */
  async function leaveFile(folder: string, name: string, ageMs = 0): Promise<void> {
    await writeFile(path.join(folder, name), "");
    const then = new Date(Date.now() - ageMs);
    await utimes(path.join(folder, name), then, then);
  }

  /** A socket that nobody listens at any more. */
  async function leaveSocket(folder: string, name: string): Promise<void> {
    const server = net.createServer();
    const short = path.join(folder, "s");
    await new Promise<void>((resolve) => server.listen(short, resolve));
    await rename(short, path.join(folder, name));
    await new Promise((resolve) => server.close(resolve));
  }

  const isFree = async (folder: string) => {
    const lock = await lockFolder(nodeFiles, folder);
    expect(await readdir(folder)).toHaveLength(1);
    await lock.release();
    expect(await readdir(folder)).toEqual([]);
  };

  test("a process number that another process has by now is no owner", async () => {
    const folder = await newFolder();
    await leaveFile(folder, await nameOf({ start: "1" }));
    await isFree(folder);
  });

  test.each([
    { name: "a process that is gone", change: { pid: "4194999" }, ageMs: 0 },
    { name: "a boot before this one", change: { place: "0a".repeat(5), pids: "0b".repeat(5) }, ageMs: 1e12 },
    { name: "another machine that stopped touching it", change: { pids: "0b".repeat(5), host: "b" }, ageMs: 60_000 },
    { name: "another container that stopped touching it", change: { pids: "0b".repeat(5) }, ageMs: 60_000 },
  ])("a lock of $name is stale", async ({ change, ageMs }) => {
    const folder = await newFolder();
    await leaveFile(folder, await nameOf(change), ageMs);
    await isFree(folder);
  });

  test.each([
    { name: "another machine", change: { place: "0a".repeat(5), pids: "0b".repeat(5), host: "another_host" } },
    { name: "another machine of the same name", change: { place: "0a".repeat(5), pids: "0b".repeat(5) } },
    { name: "another container of the same name", change: { pid: "4194999", pids: "0b".repeat(5) } },
  ])("a lock of $name counts while it is touched, whatever processes there are here", async ({ change }) => {
    const folder = await newFolder();
    const other = await nameOf(change);
    await leaveFile(folder, other);
    await expect(lockFolder(nodeFiles, folder)).rejects.toMatchObject({
      ...locked,
      message: expect.stringMatching(
        /in use by process \d+ (on another_host|of another container) \(it can't be asked from here; .* 20 s/,
      ),
    });
    expect(await readdir(folder)).toEqual([other]);
  });

  test.skipIf(process.platform !== "linux")(
    "a socket that nobody listens at is stale at once, of whatever container and however fresh",
    async () => {
      const folder = await newFolder();
      await leaveSocket(folder, await nameOf({ pid: "1", pids: "0b".repeat(5) }));
      await isFree(folder);
    },
  );

  test("a folder whose path is longer than a socket's may be", async () => {
    const folder = path.join(await newFolder(), "a".repeat(120));
    await nodeFiles.mkdir(folder);
    const lock = await lockFolder(nodeFiles, folder);
    await expect(lockFolder(nodeFiles, folder)).rejects.toMatchObject(locked);
    await lock.release();
    await isFree(folder);
  });

  test("two folders of one process don't take each other's name away", async () => {
    const [a, b] = [await newFolder(), await newFolder()];
    const first = await lockFolder(nodeFiles, a);
    const second = await lockFolder(nodeFiles, b);
    await first.release();
    expect(await readdir(b)).toHaveLength(1);
    await expect(lockFolder(nodeFiles, b)).rejects.toMatchObject(locked);
    await second.release();
  });

  test("an own name that somebody took for stale is put up again", async () => {
    const folder = await newFolder();
    const names: string[] = [];
    const files: FileOps = {
      ...nodeFiles,
      async readdir(where) {
        const [mine] = await nodeFiles.readdir(where);
        names.push(mine.name);
        if (names.length === 1) await nodeFiles.unlink(path.join(where, mine.name));
        return nodeFiles.readdir(where);
      },
    };
    const lock = await lockFolder(files, folder);
    expect(names).toHaveLength(2);
    expect(await readdir(folder)).toEqual([names[1]]);
    await lock.release();
  });

  test("a folder that can't be written is told in one sentence", async () => {
    const folder = await newFolder();
    const files = new FaultyFiles(nodeFiles, ({ op }) => (op === "open" ? { code: "EROFS" } : undefined));
    await expect(lockFolder(files, folder)).rejects.toMatchObject({
      code: "folder_unusable",
      message: expect.stringContaining(folder),
    });
  });

  /** Runs a process that takes the folder and stays; `run` are the words in front of Node's own. */
  async function holder(folder: string, ...run: string[]) {
    const script = `
      const { lockFolder } = await import(process.argv[1]);
      const { nodeFiles } = await import(process.argv[2]);
      await lockFolder(nodeFiles, process.argv[3]).catch((error) => { console.log(error.code); process.exit(0); });
      console.log("held by", process.pid);
      setInterval(() => undefined, 1000);`;
    const dist = path.dirname(built);
    const modules = [path.join(dist, "folder-lock.js"), path.join(dist, "../core/files.js")];
    const words = [...run, process.execPath, "--input-type=module", "-e", script, ...modules, folder];
    const child = spawn(words[0], words.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "close");
    const [said] = await once(child.stdout, "data");
    return { child, ended, said: String(said).trim() };
  }

  test.skipIf(!isBuilt)(
    "another process holds it, and its lock is stale after kill -9 (needs npm run build)",
    async () => {
      const folder = await newFolder();
      const { child, ended } = await holder(folder);
      await expect(lockFolder(nodeFiles, folder)).rejects.toMatchObject({
        ...locked,
        message: expect.stringContaining(`process ${child.pid}`),
      });
      child.kill("SIGKILL");
      await ended;
      await (await lockFolder(nodeFiles, folder)).release();
    },
  );

  // As in a container: numbers of processes of its own, beginning at 1, and here the same host name.
  const inContainer = ["unshare", "--user", "--map-root-user", "--fork", "--pid", "--mount-proc", "--kill-child"];
  const canUnshare = spawnSync(inContainer[0], [...inContainer.slice(1), "true"]).status === 0;

  test.skipIf(!isBuilt || !canUnshare)(
    "a process in another container with the same host name holds it until kill -9, not longer (needs npm run build, unshare)",
    async () => {
      const folder = await newFolder();
      const { child, ended, said } = await holder(folder, ...inContainer);
      expect(said).toBe("held by 1");
      await expect(lockFolder(nodeFiles, folder)).rejects.toMatchObject({
        ...locked,
        message: expect.stringContaining("in use by process 1 of another container: stop it first"),
      });
      // Nor does one that is process 1 itself take that for its own.
      const second = await holder(folder, ...inContainer);
      expect(second.said).toBe("folder_locked");
      await second.ended;
      child.kill("SIGKILL");
      await ended;
      const third = await holder(folder, ...inContainer);
      expect(third.said).toBe("held by 1");
      third.child.kill("SIGKILL");
      await third.ended;
      await isFree(folder);
    },
  );
});
