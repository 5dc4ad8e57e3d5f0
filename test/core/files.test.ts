import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeFiles } from "../../src/core/files.ts";

describe("making folders", () => {
  let root = "";
  beforeAll(() => {
    root = mkdtempSync(path.join(tmpdir(), "weir-files-"));
    writeFileSync(path.join(root, "file"), "");
    symlinkSync(path.join(root, "nowhere"), path.join(root, "dangling"));
    symlinkSync(root, path.join(root, "link"));
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  test.each([
    { name: "one", folder: "one" },
    { name: "several below each other", folder: "a/b/c/d" },
    { name: "the last of several", folder: "a/b/other" },
    { name: "with a slash at the end", folder: "slash/" },
    { name: "with dots in its name", folder: "dots/../x/./y" },
    { name: "through a link", folder: "link/through" },
    { name: "one that is there", folder: "." },
    { name: "a link to one", folder: "link" },
  ])("makes $name, and again", async ({ folder }) => {
    const name = `${root}/${folder}`;
    for (let i = 0; i < 2; i++) await nodeFiles.mkdir(name);
    expect(statSync(name).isDirectory()).toBe(true);
  });

  test("makes one that others make at the same time", async () => {
    const name = path.join(root, "many/at/once");
    await Promise.all(Array.from({ length: 20 }, () => nodeFiles.mkdir(name)));
    expect(statSync(name).isDirectory()).toBe(true);
  });

  test("leaves the root as it is", async () => {
    await nodeFiles.mkdir("/");
  });

  const inside = (name: string) => path.join(root, name);
  const refused = [
    { name: "a file", folder: () => inside("file"), code: "EEXIST" },
    { name: "below a file", folder: () => inside("file/a/b"), code: "ENOTDIR" },
    { name: "a link to nothing", folder: () => inside("dangling"), code: "EEXIST" },
    { name: "no name at all", folder: () => "", code: "ENOENT" },
    // Where the kernel has no folders to give; it says so with the error for a missing parent.
    ...["/proc/weir", "/proc/weir/a/b", "/proc/self/weir/a"].map((folder) => ({
      name: folder,
      folder: () => folder,
      code: "ENOENT",
    })),
  ].filter(({ name }) => !name.startsWith("/proc") || existsSync("/proc/self"));
  test.each(refused)("fails at once for $name", async ({ folder, code }) => {
    await expect(nodeFiles.mkdir(folder())).rejects.toMatchObject({ code });
  });
});
