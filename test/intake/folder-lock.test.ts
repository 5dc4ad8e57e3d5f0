import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, rename, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { nodeFiles } from "../../src/core/files.ts";
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

  test("a process number that another process has by now is no owner", async () => {
    const folder = await newFolder();
    await lockFolder(nodeFiles, folder);
    const [mine] = await readdir(folder);
    const [, pid, start, rest] = /^lock\.(\d+)-(\d+)-(.*)$/.exec(mine) as RegExpExecArray;
    await rename(path.join(folder, mine), path.join(folder, `lock.${pid}-${Number(start) + 1}-${rest}`));
    const lock = await lockFolder(nodeFiles, folder);
    expect(await readdir(folder)).toEqual([mine]);
    await lock.release();
  });

  test.each([
    { name: "a process that is gone", change: (text: string) => text.replace(/^lock\.\d+-/, "lock.4194999-") },
    {
      name: "a boot before this one",
      change: (text: string) => text.replace(/-[0-9a-f]{32}-/, `-${"0a".repeat(16)}-`),
    },
  ])("a lock of $name is stale", async ({ change }) => {
    const folder = await newFolder();
    await (await lockFolder(nodeFiles, folder)).release();
    const lock = await lockFolder(nodeFiles, folder);
    const [mine] = await readdir(folder);
    expect(change(mine)).not.toBe(mine);
    await writeFile(path.join(folder, change(mine)), "");
    await lock.release();
    const next = await lockFolder(nodeFiles, folder);
    expect(await readdir(folder)).toEqual([mine]);
    await next.release();
  });

  test("a lock from another host counts while it is touched", async () => {
    const folder = await newFolder();
    const other = path.join(folder, `lock.1-77-${"ab".repeat(16)}-another_host`);
    await writeFile(other, "");
    await expect(lockFolder(nodeFiles, folder)).rejects.toMatchObject({
      ...locked,
      message: expect.stringContaining("on another_host"),
    });
    expect(await readdir(folder)).toEqual([path.basename(other)]);
    const longAgo = new Date(Date.now() - 60_000);
    await utimes(other, longAgo, longAgo);
    await (await lockFolder(nodeFiles, folder)).release();
    expect(await readdir(folder)).toEqual([]);
  });

  test("a folder that can't be written is told in one sentence", async () => {
    const folder = await newFolder();
    const files = new FaultyFiles(nodeFiles, ({ op }) => (op === "open" ? { code: "EROFS" } : undefined));
    await expect(lockFolder(files, folder)).rejects.toMatchObject({
      code: "folder_unusable",
      message: expect.stringContaining(folder),
    });
  });

  test.skipIf(!isBuilt)(
    "another process holds it, and its lock is stale after kill -9 (needs npm run build)",
    async () => {
      const folder = await newFolder();
      const script = `
      const { lockFolder } = await import(process.argv[1]);
      const { nodeFiles } = await import(process.argv[2]);
      await lockFolder(nodeFiles, process.argv[3]);
      console.log("locked");
      setInterval(() => undefined, 1000);`;
      const dist = path.dirname(built);
      const modules = [path.join(dist, "folder-lock.js"), path.join(dist, "../core/files.js")];
      const child = spawn(process.execPath, ["--input-type=module", "-e", script, ...modules, folder]);
      const ended = once(child, "close");
      await once(child.stdout, "data");
      await expect(lockFolder(nodeFiles, folder)).rejects.toMatchObject({
        ...locked,
        message: expect.stringContaining(`process ${child.pid}`),
      });
      child.kill("SIGKILL");
      await ended;
      await (await lockFolder(nodeFiles, folder)).release();
    },
  );
});
