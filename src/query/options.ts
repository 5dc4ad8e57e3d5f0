import { z } from "zod";
import { parseDurationMs } from "../core/time.ts";

/** A duration in Prometheus form (`1m`, `30d1h`), kept as text because Loki's clients are shown it as written. */
const durationText = z.string().refine(isDuration, "not a duration such as 1m, 24h or 30d1h");

function isDuration(text: string): boolean {
  try {
    parseDurationMs(text);
    return true;
  } catch {
    return false;
  }
}

/** Limits and sizes of queries. Names and defaults are Loki's where Loki has them. */
export const queryOptions = z.strictObject({
  threads: z
    .union([z.literal("auto"), z.int().min(0).max(256)])
    .default("auto")
    .describe(
      "Worker threads that scan blocks. `auto` is one for each core, because inflating is what a scan waits for; 0 scans in the main thread, which then can't receive meanwhile.",
    ),
  max_entries_limit_per_query: z
    .int()
    .positive()
    .default(5000)
    .describe("Largest `limit` of a log query. 5000 is Loki's, and Grafana asks for at most that."),
  max_query_length: durationText
    .default("30d1h")
    .describe("Longest time range of a query, 0s for none. Loki's: 30 days and an hour, so that a month always fits."),
  query_timeout: durationText
    .default("1m")
    .describe(
      "How long a query may run, 0s for no limit. A minute, as in Loki: longer than anybody watches a spinner.",
    ),
  max_query_bytes_read: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "Most bytes of lines that one query may read, 0 for no limit. No limit, because the time limit bounds the work already.",
    ),
  max_result_bytes: z
    .int()
    .positive()
    .default(67_108_864)
    .describe(
      "Most bytes of lines in one answer. 64 MiB: 5000 lines of 13 KB, and little enough that several answers fit in memory.",
    ),
  max_concurrent_queries: z
    .int()
    .positive()
    .default(8)
    .describe(
      "Queries that scan at one time; further ones wait. More would only share the same cores and hold more results in memory.",
    ),
  max_waiting_queries: z
    .int()
    .min(0)
    .default(256)
    .describe("Queries that may wait for their turn before others are refused. A dashboard opens some dozens at once."),
  max_concurrent_tail_requests: z
    .int()
    .min(0)
    .default(10)
    .describe("Live tails at one time, as in Loki: each one costs the receiver a look at every new line."),
  tail_max_duration: durationText.default("1h").describe("When a live tail is ended, as in Loki; clients reconnect."),
  tail_queue_bytes: z
    .int()
    .positive()
    .default(4_194_304)
    .describe(
      "Bytes of new lines that wait for a slow tail before further ones are dropped and reported. 4 MiB is some seconds of a busy stream.",
    ),
});

export type QueryOptions = z.output<typeof queryOptions>;
