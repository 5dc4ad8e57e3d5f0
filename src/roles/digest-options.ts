import { z } from "zod";

/** What a sink gets in place of records. */
export const digestOptions = z.strictObject({
  interval_ms: z
    .int()
    .min(1000)
    .max(3_600_000)
    .default(60_000)
    .describe("How long records are gathered, by the time at which they were received. An interval may end early."),
  by: z
    .array(z.string().min(1))
    .optional()
    .describe("Labels that tell groups apart, and that the digest has; absent: all of the record's."),
  level: z.boolean().default(true).describe("Whether the level tells groups apart."),
  shape: z
    .boolean()
    .default(true)
    .describe(
      "Whether the line's shape tells groups apart: the line with numbers, hexadecimal ids and what stands in quotes folded.",
    ),
  groups_max: z
    .int()
    .min(1)
    .max(100_000)
    .default(1000)
    .describe(
      "Groups of an interval, each some 2 kB of memory. Beyond it shapes are no longer told apart, and once there are twice as many groups, levels neither, and the interval ends.",
    ),
  example_bytes_max: z.int().min(0).max(65_536).default(1024).describe("Bytes of the example line that a digest has."),
});

export type DigestOptions = z.output<typeof digestOptions>;
