import path from "node:path";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { DiskCache } from "../store/disk-cache.ts";
import type { StoreOptions } from "../store/options.ts";
import type { PageReaderOptions } from "../store/page-reader.ts";

/** What of the catalog is kept near by: pages in memory, and below the data folder where the store is not on this machine. */
export async function catalogPages(
  options: Pick<StoreOptions, "catalog_memory_bytes" | "catalog_cache_bytes">,
  { dataDir, storeUrl }: { readonly dataDir: string; readonly storeUrl: string },
  log: Logger,
): Promise<PageReaderOptions> {
  const memoryBytes = options.catalog_memory_bytes;
  const isRemote = /^s3:/i.test(storeUrl);
  if (!isRemote || options.catalog_cache_bytes === 0) return { memoryBytes, disk: null };
  const folder = path.join(dataDir, "cache", "catalog");
  const disk = await DiskCache.open(folder, options.catalog_cache_bytes, (error) =>
    log.warn({ folder }, `catalog cache: ${messageOf(error)}; pages are read from the store instead`),
  );
  return { memoryBytes, disk };
}
