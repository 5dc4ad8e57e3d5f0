import { z } from "zod";

const MIB = 1 << 20;

/** What a user may set about the intake log on disk. Its folder is a matter of deployment and comes from the caller. */
export const diskIntakeOptions = z.strictObject({
  type: z.literal("disk").optional().describe("The intake log is in the data folder, as it is where nothing is said."),
  size_max_bytes: z
    .int()
    .min(MIB)
    .default(4096 * MIB)
    .describe(
      "Most that the log may take on disk. When it is reached, agents get no acknowledgement and `/ready` says so, until the store has caught up. 4 GiB holds about half an hour of a busy machine's logs while the store is away.",
    ),
  disk_free_min_bytes: z
    .int()
    .min(0)
    .default(128 * MIB)
    .describe(
      "Bytes of its disk that the log leaves free, a quarter of a small disk at most; below that agents have to wait. The store is often on the same disk, and needs room to write the segment that lets the log shrink. 0: none.",
    ),
  file_bytes: z
    .int()
    .min(64 * 1024)
    .default(64 * MIB)
    .describe(
      "Size at which a new file is begun. A file is removed when all of it is in the store, so smaller files give room back sooner, and larger ones are created less often. At most a quarter of `size_max_bytes` is used.",
    ),
  group_commit_ms: z
    .int()
    .min(0)
    .max(1000)
    .default(2)
    .describe(
      "How long the first entry of a write waits for others, so that they share one `fdatasync`. 0 writes at once; entries that arrive during a write share the next one in any case.",
    ),
  group_commit_bytes: z
    .int()
    .min(4096)
    .default(8 * MIB)
    .describe("A write begins at once when this much waits, and takes no more than this (one larger entry excepted)."),
  seen_ids_max: z
    .int()
    .min(1)
    .max(1 << 26)
    .default(262_144)
    .describe(
      "How many ids of received chunks are remembered, so that a chunk that an agent sends again is not stored twice. 24 bytes of memory each; the default covers hours at the rates of a busy machine.",
    ),
  seen_lines_max: z
    .int()
    .min(1)
    .max(1 << 26)
    .default(1_048_576)
    .describe(
      "How many of the last pushed lines are remembered, so that a line that a client pushes again (same stream, time, text and metadata) is not stored twice. 24 to 32 bytes of memory each, taken as lines come, and 16 on disk; the default covers a quarter of an hour at 1,000 lines a second.",
    ),
  tail_bytes: z
    .int()
    .min(0)
    .default(32 * MIB)
    .describe(
      "Entries kept in memory until the pipeline takes them, which spares it reading them back from disk. What does not fit is read from disk.",
    ),
});

export type DiskIntakeOptions = z.output<typeof diskIntakeOptions>;
