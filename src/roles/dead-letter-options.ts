import { z } from "zod";

export const deadLetterOptions = z.strictObject({
  bytes_max: z
    .int()
    .min(1024 * 1024)
    .default(1024 * 1024 * 1024)
    .describe(
      "Most that dead letters may take in the object store. From four fifths on there is an alarm in the log and in the metrics. When it is full, sinks with a new dead letter wait: nothing is discarded. See `weir dead`.",
    ),
});

export type DeadLetterOptions = z.output<typeof deadLetterOptions>;
