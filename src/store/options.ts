import { z } from "zod";

const MIB = 1024 * 1024;

/** The `store:` part of the configuration, as far as writing and reading segments goes. */
export const storeOptions = z.strictObject({
  level: z
    .int()
    .min(1)
    .max(9)
    .default(6)
    .describe(
      "gzip level of blocks, 1 to 9. Level 6 stores about 15% less than level 1 for twice its CPU time; above 6 there is next to nothing to gain.",
    ),
  block_bytes: z
    .int()
    .min(4096)
    .max(MIB)
    .default(256 * 1024)
    .describe(
      "Text of a block at most. 256 KiB is where larger blocks no longer compress noticeably better, and a query inflates a whole block for one line.",
    ),
  segment_bytes: z
    .int()
    .min(64 * 1024)
    .max(1024 * MIB)
    .default(16 * MIB)
    .describe(
      "Compressed bytes that make a segment due. 16 MiB keeps the number of objects low while a failed upload costs little to repeat.",
    ),
  flush_age_ms: z
    .int()
    .min(10)
    .optional()
    .describe(
      "Age of the oldest line in memory that makes a segment due. Absent: 300000 (5 min) with the intake log on disk, which bounds what a restart has to read again from it; 5000 (5 s) with the intake log in Kafka, where queries see what is in segments alone.",
    ),
  memory_bytes: z
    .int()
    .min(MIB)
    .default(96 * MIB)
    .describe(
      "Memory for open and pending blocks. A segment is due at 60% of it, and beyond it the intake waits; 96 MiB hold about 300 streams at full block size.",
    ),
  compress_parallel: z
    .int()
    .min(1)
    .max(64)
    .default(2)
    .describe(
      "Blocks that are compressed at once. Two of libuv's four threads, so that the intake log's writes never wait behind compression.",
    ),
  index_cache_bytes: z
    .int()
    .min(0)
    .default(64 * MIB)
    .describe("Memory for segments' indexes. 64 MiB hold the indexes of about 5 GB of stored lines."),
  catalog_memory_bytes: z
    .int()
    .min(0)
    .default(64 * MIB)
    .describe(
      "Memory for pages of the catalog. A segment takes 0.5 to 4.5 KB of it, by its number of label values, so 64 MiB hold 15,000 to 130,000 segments.",
    ),
  catalog_cache_bytes: z
    .int()
    .min(0)
    .default(256 * MIB)
    .describe(
      "Disk for copies of the catalog's pages below the data folder, when the store is remote; 0 for none. 256 MiB hold those of at least 60,000 segments, so that a restart reads few of them again.",
    ),
});

export type StoreOptions = z.output<typeof storeOptions>;
export const defaultStoreOptions: StoreOptions = storeOptions.parse({});

/** `flush_age_ms` where nobody has set it and queries see what is in memory. */
export const FLUSH_AGE_MS = 300_000;
