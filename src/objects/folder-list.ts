import path from "node:path";
import { codeOf } from "../core/errors.ts";
import type { FileOps } from "../core/files.ts";
import { storeUnavailable } from "./errors.ts";
import type { ObjectInfo } from "./store.ts";

// Sizes are asked for this many files at once.
const STATS_AT_ONCE = 32;
const PART = /^[A-Za-z0-9._=-]+$/;

/**
 * The objects below `root` whose keys begin with `prefix` and come after `after`, in order of their keys. Only folders that can hold
 * such keys are read.
 */
export async function* listFolder(
  files: FileOps,
  root: string,
  prefix: string,
  after: string,
): AsyncGenerator<ObjectInfo> {
  // The folder that the prefix lies in; "" or ending in a slash.
  yield* walk(files, root, prefix.slice(0, prefix.lastIndexOf("/") + 1), prefix, after);
}

async function* walk(
  files: FileOps,
  root: string,
  base: string,
  prefix: string,
  after: string,
): AsyncGenerator<ObjectInfo> {
  let waiting: string[] = [];
  for (const key of await keysIn(files, root, base)) {
    const isFolder = key.endsWith("/");
    if (!(key.startsWith(prefix) || (isFolder && prefix.startsWith(key)))) continue;
    // All keys of a folder come before `after` when its name does, unless `after` lies in it.
    if (key <= after && !(isFolder && after.startsWith(key))) continue;
    if (isFolder || waiting.length >= STATS_AT_ONCE) {
      yield* await sized(files, root, waiting);
      waiting = [];
    }
    if (isFolder) yield* walk(files, root, key, prefix, after);
    else waiting.push(key);
  }
  yield* await sized(files, root, waiting);
}

/** Keys of the objects and, with a slash at the end, of the folders in a folder, in order of the full keys below them. */
async function keysIn(files: FileOps, root: string, base: string): Promise<string[]> {
  try {
    const keys: string[] = [];
    for (const entry of await files.readdir(path.join(root, base))) {
      // Temporary files have names that no key can have.
      if (!PART.test(entry.name)) continue;
      const isFolder =
        entry.isDirectory() ||
        (entry.isSymbolicLink() && (await leadsToFolder(files, path.join(root, base, entry.name))));
      keys.push(isFolder ? `${base}${entry.name}/` : `${base}${entry.name}`);
    }
    // Comparing a folder by its name with the slash gives the order of the keys: "a-b" before "a/b" before "a0".
    return keys.sort();
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return [];
    throw storeUnavailable("list", base, error);
  }
}

/** Whether a symbolic link leads to a folder; one that leads nowhere does not, and costs itself alone. */
async function leadsToFolder(files: FileOps, link: string): Promise<boolean> {
  try {
    return !(await files.stat(link)).isFile;
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return false;
    throw error;
  }
}

async function sized(files: FileOps, root: string, keys: readonly string[]): Promise<ObjectInfo[]> {
  const found = await Promise.all(
    keys.map(async (key) => {
      try {
        const { size, mtimeMs } = await files.stat(path.join(root, key));
        return { key, size, modifiedMs: mtimeMs };
      } catch (error) {
        if (codeOf(error) === "ENOENT") return null; // Deleted since the folder was read.
        throw storeUnavailable("list", key, error);
      }
    }),
  );
  return found.filter((info) => info !== null);
}
