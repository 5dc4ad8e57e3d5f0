import { z } from "zod";
import { tenantName } from "../core/tenant.ts";
import { isDuration } from "../core/time.ts";
import { blockedQuery } from "./blocked.ts";
import { QUERIER_ADDRESS } from "./peers/address.ts";

/** A duration in Prometheus form (`1m`, `30d1h`), kept as text because Loki's clients are shown it as written. */
const durationText = z.string().refine(isDuration, "not a duration such as 1m, 24h or 30d1h");

/** Limits and sizes of queries. Names and defaults are Loki's where Loki has them. */
const general = z.strictObject({
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
  max_query_series: z
    .int()
    .positive()
    .default(500)
    .describe("Most series in the answer of a metric query, as in Loki: more are no graph that anybody can read."),
  max_query_range: durationText
    .default("0s")
    .describe("Longest range in brackets of a metric query (`[1h]`), 0s for no limit, as in Loki."),
  max_streams_matchers_per_query: z
    .int()
    .min(0)
    .default(1000)
    .describe('Most matchers in one stream selector (`{a="b", …}`), 0 for no limit. Loki\'s.'),
  blocked_queries: z
    .array(blockedQuery)
    .max(1000)
    .default([])
    .describe(
      "Queries for lines or numbers, live tails too, that are answered with 400 `query blocked by policy`. Loki's.",
    ),
  max_query_partial_bytes: z
    .int()
    .positive()
    .default(268_435_456)
    .describe(
      "Most memory that one metric query may take for the series and samples that it aggregates, or a volume for its sums. 256 MiB hold some 20 million values of a quantile, or half a million series.",
    ),
  max_result_bytes: z
    .int()
    .positive()
    .default(67_108_864)
    .describe(
      "Most bytes of lines and their labels in one answer. 64 MiB: 5000 lines of 13 KB, and little enough that several answers fit in memory.",
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
    .describe(
      "Queries of a tenant that may wait for their turn before others are refused with 429. A dashboard opens some dozens at once; turns go round over the tenants.",
    ),
  max_concurrent_tail_requests: z
    .int()
    .min(0)
    .default(10)
    .describe(
      "Live tails of a tenant at one time, 0 for no limit. Loki's 10: each one costs the receiver a look at every new line.",
    ),
  tail_max_duration: durationText.default("1h").describe("When a live tail is ended, as in Loki; clients reconnect."),
  tail_queue_bytes: z
    .int()
    .positive()
    .default(4_194_304)
    .describe(
      "Bytes of new lines that wait for a slow tail before further ones are dropped and reported. 4 MiB is some seconds of a busy stream.",
    ),
  queriers: z
    .array(z.string().regex(QUERIER_ADDRESS, "want HOST:PORT, such as querier-1:3101, or http://HOST:PORT"))
    .max(64)
    .default([])
    .describe(
      "Other queriers that queries are spread over, by their `querier_listen`. Each address of a name is one, looked up anew every 10 s, so one name may stand for all of them, this process included. All must have the same version of Weir and read the same store. None by default: a query is answered by this process alone.",
    ),
  querier_listen: z
    .string()
    .regex(/^(?:|(?:\[[0-9A-Fa-f:.]+\]|[^:\s]*):[0-9]{1,5})$/, "want HOST:PORT, such as 0.0.0.0:3101")
    .default("")
    .describe(
      "Address and port where other queriers may ask for parts of their queries. Whoever reaches it, and knows the key, can read the lines of every tenant, so it is no port for users; off by default. Other than on this machine's loopback it needs `querier_key`.",
    ),
  querier_key: z
    .string()
    .max(1000)
    .regex(/^[\x21-\x7e]*$/, "want printable ASCII without spaces")
    .default("")
    .describe("Key that queriers show each other, the same for all. It is sent as it is: not over networks of others."),
  querier_timeout_ms: z
    .int()
    .positive()
    .max(3_600_000)
    .default(10_000)
    .describe(
      "Longest wait for another querier's part, before it is done elsewhere. A part is some 10 to 100 ms of work, so 10 s are many queries' worth of waiting.",
    ),
});

const { shape } = general;

/** The limits that a tenant may have of its own, without defaults, so that what an override leaves out is not set by it. */
const ownLimits = z.strictObject({
  max_entries_limit_per_query: shape.max_entries_limit_per_query.unwrap().optional(),
  max_query_length: shape.max_query_length.unwrap().optional(),
  query_timeout: shape.query_timeout.unwrap().optional(),
  max_query_bytes_read: shape.max_query_bytes_read.unwrap().optional(),
  max_query_series: shape.max_query_series.unwrap().optional(),
  max_query_range: shape.max_query_range.unwrap().optional(),
  max_streams_matchers_per_query: shape.max_streams_matchers_per_query.unwrap().optional(),
  max_concurrent_tail_requests: shape.max_concurrent_tail_requests.unwrap().optional(),
  blocked_queries: shape.blocked_queries.unwrap().optional(),
});

export type QueryLimits = Readonly<Pick<z.output<typeof general>, keyof z.output<typeof ownLimits>>>;

export const queryOptions = general
  .extend({
    overrides: z
      .record(tenantName, ownLimits)
      .default({})
      .describe(
        "Other limits for single tenants: a tenant's name, and behind it the limits that differ. None by default.",
      ),
  })
  .check(({ value: { querier_listen: listen, querier_key: key }, issues }) => {
    if (listen === "" || key !== "" || /^(?:127\.\d+\.\d+\.\d+|\[::1\]|localhost):/.test(listen)) return;
    issues.push({
      code: "custom",
      path: ["querier_listen"],
      input: listen,
      message: `others than this machine can reach ${listen}: set querier_key as well, or they could read every tenant's lines`,
    });
  });

export type QueryOptions = z.output<typeof queryOptions>;

/** The limits of a tenant: its own where they are set, else those of all. */
export function queryLimits(options: QueryOptions, tenant: string): QueryLimits {
  const own = Object.hasOwn(options.overrides, tenant) ? options.overrides[tenant] : undefined;
  if (own === undefined) return options;
  // The schema gave each value the type of the limit it stands for, or left it out.
  return { ...options, ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined)) };
}

/** The limits of a tenant alone, by their names: without what is set for all together. */
export function ownQueryLimits(limits: QueryLimits): Record<string, unknown> {
  return Object.fromEntries(Object.entries(limits).filter(([name]) => name in ownLimits.shape));
}
