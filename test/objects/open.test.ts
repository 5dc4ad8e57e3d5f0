import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, expect, test } from "vitest";
import { FolderStore } from "../../src/objects/folder.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { openObjectStore } from "../../src/objects/open.ts";

const folder = await mkdtemp(path.join(tmpdir(), "weir-open-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each([
  { name: "a path", url: path.join(folder, "a b") },
  { name: "a relative path", url: path.relative(process.cwd(), path.join(folder, "a b")) },
  { name: "a file URL", url: pathToFileURL(path.join(folder, "a b")).href },
])("$name is a folder", async ({ url }) => {
  const store = await openObjectStore(url);
  expect(store).toBeInstanceOf(FolderStore);
  expect((store as FolderStore).root).toBe(path.join(folder, "a b"));
});

test("memory: is memory", async () => {
  expect(await openObjectStore("memory:")).toBeInstanceOf(MemoryStore);
});

test.each([
  { url: "s3://", says: "bucket" },
  { url: "http://host/x", says: "not a store that is known" },
  { url: "file://otherhost/x", says: "host" },
  { url: "", says: "a folder's path, file:///absolute/path, or memory:" },
])("refuses '$url'", async ({ url, says }) => {
  await expect(openObjectStore(url)).rejects.toMatchObject({
    code: "bad_store_url",
    retriable: false,
    message: expect.stringContaining(says),
  });
});
