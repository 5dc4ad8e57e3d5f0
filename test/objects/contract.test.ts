import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { openFolderStore } from "../../src/objects/folder.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { objectStoreContract } from "../contract/objects.ts";

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

objectStoreContract("memory", async () => new MemoryStore());
objectStoreContract("faulty without faults", async () => new FaultyStore(new MemoryStore()));
objectStoreContract("folder", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "weir-objects-"));
  folders.push(folder);
  return openFolderStore(path.join(folder, "store"));
});
