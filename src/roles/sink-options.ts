import { z } from "zod";
import { pathText } from "../core/path.ts";
import { TIMER_MS_MAX } from "../core/wait.ts";
import { conditions } from "../pipeline/steps/drop.ts";
import rename from "../pipeline/steps/rename.ts";
import { digestOptions } from "./digest-options.ts";

const MIB = 1 << 20;

/** What a user may set about any sink that sends records on, beside the sink's own options. */
export const deliveryOptions = z.strictObject({
  when: conditions
    .default({})
    .describe(
      "Only records for which all of these hold: path (a field, `$labels.app`, `$level`, `$tag`, `$line`, …), and the value, a list of values, or `{regex: pattern}`. All records by default.",
    ),
  fields: z
    .strictObject({
      keep: z.array(z.string().min(1)).optional().describe("Top-level fields that go out; absent: all."),
      drop: z.array(pathText).default([]).describe("Paths of fields that do not go out."),
      rename: rename.options.default({}).describe("Other names, `old path: new path`."),
    })
    .prefault({})
    .describe("Changes to the record's fields, for sinks that send the whole record."),
  sample: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe("Part of the records that goes out. Of a trace all lines go out, or none."),
  digest: digestOptions
    .optional()
    .describe(
      "Sends digests in place of records: of each group and interval one record with count, bytes, first and last time, levels, shape and an example. `{}` for the defaults. See docs/sinks.md.",
    ),
  batch_records_max: z
    .int()
    .min(1)
    .max(100_000)
    .default(2000)
    .describe("Records of one request at most. More makes fewer requests and a larger loss of time when one fails."),
  batch_bytes_max: z
    .int()
    .min(1024)
    .default(4 * MIB)
    .describe("Bytes of one request's records at most, before compression; one larger record goes alone."),
  batch_age_ms: z
    .int()
    .min(0)
    .default(1000)
    .describe("How long the first record of a request waits for others while the sink has caught up."),
  retry_min_ms: z
    .int()
    .min(1)
    .max(TIMER_MS_MAX)
    .default(250)
    .describe("Pause before the second try; doubled for each further one."),
  retry_max_ms: z
    .int()
    .min(1)
    .max(TIMER_MS_MAX)
    .default(30_000)
    .describe("Longest pause between two tries. There is no last try: what a sink may take later is never given up."),
  lag_bytes_max: z
    .int()
    .min(MIB)
    .optional()
    .describe(
      "How far the sink may fall behind in each partition, in bytes of the intake log. Absent: of a log on disk 1 GiB, a quarter of that log's default size, so that one sink that is away does not fill it; of a log in Kafka, where it holds up nobody, no bound but the age. There the bytes are reckoned: offsets that wait, times the mean length of the records read last.",
    ),
  lag_age_max_ms: z
    .int()
    .min(1000)
    .default(86_400_000)
    .describe("How far the sink may fall behind, by the age of what it sends next. A day outlasts most repairs."),
  on_lag: z
    .enum(["block", "drop_oldest"])
    .default("drop_oldest")
    .describe(
      "What happens beyond these bounds. `drop_oldest` leaves out the oldest records, which is logged and counted; the store has them. `block` keeps everything: then the intake log fills up and agents have to wait; in Kafka the topic's retention is the bound.",
    ),
});

export type DeliveryOptions = z.output<typeof deliveryOptions>;
