import { readdirSync } from "node:fs";
import path from "node:path";
import zlib from "node:zlib";
import { defaultStoreOptions } from "../src/store/options.ts";
import { walkSegmentFile } from "../src/store/walk.ts";

/** Room for any block's compressed form, so that one call makes it. */
const CHUNK_BYTES = 512 * 1024;

/**
 * The physical limit: CPU seconds that compressing the very blocks of a store takes by itself, at the level of the
 * default settings.
 */
export async function compressionLimit(
  store: string,
): Promise<{ level: number; textBytes: number; cpuSeconds: number }> {
  const { level } = defaultStoreOptions;
  let textBytes = 0;
  let micros = 0;
  for (const entry of readdirSync(store, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".gz")) continue;
    for await (const part of walkSegmentFile(path.join(entry.parentPath, entry.name))) {
      if (part.kind !== "block") continue;
      const { text } = part.block;
      textBytes += text.length;
      const before = process.cpuUsage();
      zlib.gzipSync(text, { level, chunkSize: CHUNK_BYTES });
      const used = process.cpuUsage(before);
      micros += used.user + used.system;
    }
  }
  return { level, textBytes, cpuSeconds: micros / 1e6 };
}
