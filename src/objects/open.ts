import path from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf, WeirError } from "../core/errors.ts";
import { openFolderStore } from "./folder.ts";
import { MemoryStore } from "./memory.ts";
import type { ObjectStore } from "./store.ts";

/**
 * The store that `url` names: `file:///absolute/path` or a plain path is a folder, `memory:` lasts as long as the process.
 * Throws `bad_store_url` for anything else, `store_unavailable` for a folder that can't be made or written.
 */
export async function openObjectStore(url: string): Promise<ObjectStore> {
  if (url === "memory:") return new MemoryStore();
  // One letter before the colon is a drive, not a scheme.
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1].toLowerCase();
  if (scheme === undefined && url !== "") return openFolderStore(path.resolve(url));
  if (scheme === "file") return openFolderStore(folderOf(url));
  const why = scheme === "s3" ? "S3 is not supported yet" : "this is not a store that is known";
  throw badUrl(url, why);
}

function folderOf(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw badUrl(url, messageOf(error));
  }
}

function badUrl(url: string, why: string): WeirError {
  return new WeirError(
    "bad_store_url",
    `object store ${JSON.stringify(url)}: ${why}; want a folder's path, file:///absolute/path, or memory:`,
    { context: { url } },
  );
}
