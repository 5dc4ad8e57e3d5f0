import path from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf, WeirError } from "../core/errors.ts";
import type { Metrics } from "../core/metrics.ts";
import { openFolderStore } from "./folder.ts";
import { MemoryStore } from "./memory.ts";
import { requestMetrics } from "./request-metrics.ts";
import type { ObjectStore } from "./store.ts";

export interface OpenDeps {
  /** Gets counts and times of requests over the network. */
  readonly metrics?: Metrics;
  /** Somebody has opened the store before, so that it need not be looked at again: for further threads, and for reading alone. */
  readonly isChecked?: boolean;
}

/**
 * The store that `url` names: `s3://bucket/prefix` is S3 (options as parameters, see s3-url.ts), `file:///absolute/path` or a plain
 * path is a folder, `memory:` lasts as long as the process. Throws `bad_store_url` for anything else, `store_unavailable` for a folder that
 * can't be made or written, and what S3Store and its probe reject with.
 */
export async function openObjectStore(url: string, deps: OpenDeps = {}): Promise<ObjectStore> {
  // Also for stores that make no requests, so that what there is to watch doesn't depend on where the store is.
  if (deps.metrics !== undefined) requestMetrics(deps.metrics);
  if (url === "memory:") return new MemoryStore();
  // One letter before the colon is a drive, not a scheme.
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1].toLowerCase();
  if (scheme === undefined && url !== "") return openFolderStore(path.resolve(url));
  if (scheme === "file") return openFolderStore(folderOf(url));
  if (scheme === "s3") {
    // Loaded where it is needed: the SDK costs 0.3 s and 21 MB, and the check of options 0.1 s in a thread that has no others.
    const [{ parseS3Url }, { openS3Store }] = await Promise.all([import("./s3-url.ts"), import("./s3.ts")]);
    return openS3Store(parseS3Url(url), deps);
  }
  throw badUrl(url, "this is not a store that is known");
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
    `object store ${JSON.stringify(url)}: ${why}; want s3://bucket/prefix, a folder's path, file:///absolute/path, or memory:`,
    { context: { url } },
  );
}
