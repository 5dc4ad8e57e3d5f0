import { z } from "zod";

const MIB = 1024 * 1024;

/** The `compactor:` part of the configuration. */
export const compactorOptions = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe(
      "Whether this process merges small segments into large ones, and removes what has expired or was deleted. One process of a store has to, or its catalog grows and grows; several may: they do each other no harm.",
    ),
  interval_ms: z
    .int()
    .min(10)
    .default(60_000)
    .describe(
      "Pause between two looks at the catalog, give or take a fifth. A look costs three small requests when nothing has changed.",
    ),
  grace_ms: z
    .int()
    .min(0)
    .default(3_600_000)
    .describe(
      "Age at which replaced segments are deleted, and leftovers of crashes, but those not before they are an hour old. A query that runs longer has to begin again, and a compaction that runs longer than half of it is given up.",
    ),
  removal_interval_ms: z
    .int()
    .min(10)
    .default(600_000)
    .describe(
      "Pause between two searches for lines that have expired or were deleted. Queries do not see them any more; only their bytes wait.",
    ),
  sweep_interval_ms: z
    .int()
    .min(10)
    .default(21_600_000)
    .describe(
      "Pause between two searches for leftovers. Each lists the whole store: one request for 1,000 objects, of which there are few.",
    ),
  settle_ms: z
    .int()
    .min(0)
    .default(7_200_000)
    .describe(
      "Time after a day's end (UTC) at which what is left of it is merged. Two hours let agents that were cut off deliver first.",
    ),
  level: z
    .int()
    .min(1)
    .max(9)
    .default(7)
    .describe(
      "gzip level of blocks that are merged, 1 to 9. Level 7 stores 2% less than level 6 for 15% more CPU time; level 8 another 1.3% for 50% more.",
    ),
  segment_bytes: z
    .int()
    .min(64 * 1024)
    .max(1024 * MIB)
    .default(64 * MIB)
    .describe(
      "Compressed bytes of a merged segment; one may have half as much again. It is built in memory, so this is also memory that compaction needs.",
    ),
  job_bytes: z
    .int()
    .min(MIB)
    .default(16_384 * MIB)
    .describe(
      "Compressed bytes that one compaction takes in at most, and never more than 4,096 times `segment_bytes`. 16 GiB make the day of a busy tenant few time ranges, so that a query of one stream touches few objects.",
    ),
  fan_in: z
    .int()
    .min(2)
    .max(1000)
    .default(32)
    .describe(
      "Freshly flushed segments that are merged at once. More make fewer rounds of rewriting, and leave more small segments for queries to look at meanwhile.",
    ),
  fan_in_above: z
    .int()
    .min(2)
    .max(1000)
    .default(8)
    .describe("Results of such merges that are merged at once, and so on until job_bytes is reached."),
  full_part: z
    .number()
    .min(0)
    .max(1)
    .default(0.25)
    .describe(
      "Part of store.block_bytes from which on a block is copied as it is. 256 KiB compress 3% better than 64 KiB: rewriting such blocks would cost time for nearly nothing.",
    ),
  index_memory_bytes: z
    .int()
    .min(MIB)
    .default(64 * MIB)
    .describe(
      "Memory for the indexes of segments that are merged at once. At 10,000 streams a fresh segment's takes about 2 MB.",
    ),
  read_memory_bytes: z
    .int()
    .min(MIB)
    .default(32 * MIB)
    .describe("Memory for what is read from those segments. Less means more, smaller requests."),
  cpu_share: z
    .number()
    .min(0.01)
    .max(1)
    .default(0.25)
    .describe(
      "Part of one core that merging may take. It works in slices of a few milliseconds, so that receiving and queries never wait for it. A process that does nothing else can have 1.",
    ),
});

export type CompactorOptions = z.output<typeof compactorOptions>;
export const defaultCompactorOptions: CompactorOptions = compactorOptions.parse({});
