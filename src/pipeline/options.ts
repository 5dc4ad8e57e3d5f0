import { z } from "zod";

/** What a record may cost. Everything beyond is cut or left out, marked where a line is concerned, and counted. */
export const limitsOptions = z.strictObject({
  line_bytes_max: z
    .int()
    .min(1024)
    .max(16_777_216)
    .default(2_097_152)
    .describe(
      "Longest line; a longer one is cut at a character and gets metadata `truncated` with its length. The default is what a Fluent Bit chunk holds, so that only joined lines can reach it (Loki refuses lines above 256 KiB).",
    ),
  labels_max: z
    .int()
    .min(1)
    .max(100)
    .default(15)
    .describe("Labels of a stream; the least important ones go first. Loki's default."),
  label_name_bytes_max: z.int().min(1).default(1024).describe("Longest label name. Loki's default."),
  label_value_bytes_max: z
    .int()
    .min(16)
    .default(2048)
    .describe("Longest label value; a longer one is cut at a character. Loki's default."),
  streams_max: z
    .int()
    .min(1)
    .default(5000)
    .describe(
      "Active streams of a tenant. Beyond it a line keeps everything but its least important labels (`drop_order`). Loki's default: each open stream costs memory and makes blocks smaller.",
    ),
  stream_idle_ms: z
    .int()
    .min(1000)
    .default(1_800_000)
    .describe("A stream without a line for this long is not active any more. As Loki's chunk_idle_period."),
  drop_order: z
    .array(z.string().min(1))
    .default(["container", "app"])
    .describe(
      "Labels that are given up first when a limit is reached, least important first; then the others, last configured first.",
    ),
  metadata_entries_max: z
    .int()
    .min(1)
    .default(128)
    .describe("Structured metadata entries of a line, ids and level aside. Loki's default."),
  metadata_bytes_max: z
    .int()
    .min(256)
    .default(65_536)
    .describe("Bytes of names and values in a line's structured metadata, ids and level aside. Loki's default."),
  tags_max: z
    .int()
    .min(16)
    .default(10_000)
    .describe(
      "Tags whose plan is remembered: one per container file, as Fluent Bit makes them. Beyond, plans are made anew.",
    ),
  contexts_max: z
    .int()
    .min(16)
    .default(10_000)
    .describe("Remembered sets of Kubernetes fields and the like that lead to a stream: one per container is usual."),
});

export type Limits = z.output<typeof limitsOptions>;
