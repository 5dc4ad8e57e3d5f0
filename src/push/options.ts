import { z } from "zod";
import { tenantName } from "../core/tenant.ts";
import { parseDurationMs, parseRfc3339 } from "../core/time.ts";
import { type OtlpConfig, otlpConfig, otlpConfigShape } from "./otlp-options.ts";

const MIB = 1 << 20;

/** A duration in Prometheus form, kept as text as Loki's configuration has it. */
const durationText = z.string().refine((text) => {
  try {
    parseDurationMs(text);
    return true;
  } catch {
    return false;
  }
}, "not a duration such as 10m, 24h or 7d");

/** What a tenant may push. Names and defaults are Loki's; 0 is no limit unless said otherwise. */
const limits = {
  max_line_size: z.int().min(0).default(262_144).describe("Longest line in bytes; a longer one is refused. Loki's."),
  max_line_size_truncate: z
    .boolean()
    .default(false)
    .describe("Whether lines that are too long are cut instead. Off as in Loki, so that nobody loses text unseen."),
  max_label_names_per_series: z
    .int()
    .positive()
    .default(15)
    .describe("Labels of a stream, `service_name` not counted. Loki's."),
  max_label_name_length: z.int().positive().default(1024).describe("Longest label name in bytes. Loki's."),
  max_label_value_length: z.int().positive().default(2048).describe("Longest label value in bytes. Loki's."),
  reject_old_samples: z
    .boolean()
    .default(true)
    .describe("Whether lines older than `reject_old_samples_max_age` are refused. On, as in Loki."),
  reject_old_samples_max_age: durationText
    .default("7d")
    .describe("How old a line may be. A week as in Loki; within it Weir takes lines in any order."),
  creation_grace_period: durationText
    .default("10m")
    .describe("How far in the future a line's time may be, for clocks that are ahead. Loki's."),
  increment_duplicate_timestamp: z
    .boolean()
    .default(false)
    .describe(
      "Whether a line with the time of the one before it in its stream and push, but another text, gets the next nanosecond, so that tools which sort by time keep the order. Off, as in Loki: Weir keeps it anyway.",
    ),
  allow_structured_metadata: z
    .boolean()
    .default(true)
    .describe("Whether lines with structured metadata are taken. On, as in Loki."),
  max_structured_metadata_size: z
    .int()
    .min(0)
    .default(65_536)
    .describe("Bytes of names and values in a line's structured metadata. Loki's."),
  max_structured_metadata_entries_count: z
    .int()
    .min(0)
    .default(128)
    .describe("Entries in a line's structured metadata. Loki's."),
  ingestion_rate_mb: z
    .number()
    .min(0)
    .default(4)
    .describe("Megabytes (2^20 bytes) of lines and metadata a second; above it a push is answered with 429. Loki's."),
  ingestion_burst_size_mb: z
    .number()
    .min(0)
    .default(6)
    .describe("Megabytes that may come at once, and so the largest push. Loki's."),
  per_stream_rate_limit_mb: z.number().min(0).default(3).describe("Megabytes a second of one stream. Loki's."),
  per_stream_rate_limit_burst_mb: z
    .number()
    .min(0)
    .default(15)
    .describe("Megabytes of one stream that may come at once. Loki's."),
  max_global_streams_per_user: z
    .int()
    .min(0)
    .default(5000)
    .describe("Streams that got a line within the last half hour; a new one beyond it is refused with 429. Loki's."),
  block_ingestion_until: z
    .string()
    .refine((text) => text === "" || parseRfc3339(text) !== null, "not a time such as 2026-12-31T00:00:00Z")
    .default("")
    .describe("Until when pushes are refused: a time in RFC 3339. None by default. Loki's."),
  block_ingestion_status_code: z
    .int()
    .min(200)
    .max(599)
    .default(260)
    .describe(
      "Code of the answer to refused pushes. Loki's 260 is taken for success by most clients, so they don't repeat what is not wanted; 200 says nothing of it at all.",
    ),
  discover_service_name: z
    .array(z.string().min(1))
    .default([
      "service",
      "app",
      "application",
      "app_name",
      "name",
      "app_kubernetes_io_name",
      "container",
      "container_name",
      "k8s_container_name",
      "component",
      "workload",
      "job",
      "k8s_job_name",
    ])
    .describe(
      "A stream without the label `service_name` gets it from the first of these labels that it has, or `unknown_service`. Loki's list, which Grafana's Logs Drilldown relies on; `[]` adds no label.",
    ),
  otlp_config: otlpConfig
    .default(otlpConfig.parse({}))
    .describe(
      "Which attributes of OpenTelemetry's resources, scopes and records become labels, and which are not kept. Loki's, by which resources have their list of labels and all else is metadata. For OTLP over HTTP and in topics of Kafka.",
    ),
};

/** A tenant's own part of it; what it leaves out is as for all. */
const ownOtlpConfig = z.strictObject(optional(otlpConfigShape));

const tenantLimits = z.strictObject(limits);
export type TenantLimits = z.output<typeof tenantLimits>;

/** The section `ingest`: what pushes may cost, in all and for each tenant. */
export const ingestOptions = z.strictObject({
  body_bytes_max: z
    .int()
    .min(1024)
    .default(32 * MIB)
    .describe(
      "Largest pushed body as it comes. Loki takes 100 MiB; clients send 1 to 4 MiB, and a body is held in memory while it is worked on.",
    ),
  inflated_bytes_max: z
    .int()
    .min(1024)
    .default(64 * MIB)
    .describe("Largest pushed body once inflated. What says that it is more, or turns out to be, is refused with 413."),
  memory_bytes_max: z
    .int()
    .min(1024)
    .default(256 * MIB)
    .describe(
      "Most memory for bodies that are being received or are not durable yet. Beyond it further ones are answered with 503, which clients repeat.",
    ),
  ...limits,
  overrides: z
    .record(tenantName, z.strictObject({ ...optional(limits), otlp_config: ownOtlpConfig.optional() }))
    .default({})
    .describe(
      "Other limits for single tenants: a tenant's name, and behind it the limits that differ. None by default.",
    ),
});

export type IngestOptions = z.output<typeof ingestOptions>;

/** Each schema without its default, so that what an override leaves out is not set by it. */
function optional<S extends Record<string, z.ZodDefault>>(shape: S): { [K in keyof S]: z.ZodOptional<z.ZodType> } {
  const out: Record<string, z.ZodOptional<z.ZodType>> = {};
  for (const [name, schema] of Object.entries(shape)) {
    // What a default wraps is a schema; the class only doesn't say so.
    out[name] = (schema.unwrap() as z.ZodType).optional();
  }
  return out as { [K in keyof S]: z.ZodOptional<z.ZodType> };
}

/** What is asked for with each push is made once. At most one for each override. */
const ownLimits = new WeakMap<IngestOptions, Map<string, TenantLimits>>();

/** The limits of a tenant: its own where they are set, else those of all. The same object each time. */
export function limitsOf(options: IngestOptions, tenant: string): TenantLimits {
  const own = Object.hasOwn(options.overrides, tenant) ? options.overrides[tenant] : undefined;
  if (own === undefined) return options;
  const made = ownLimits.get(options) ?? new Map<string, TenantLimits>();
  ownLimits.set(options, made);
  let found = made.get(tenant);
  if (found === undefined) {
    // The schema gave each value the type of the limit it stands for, or left it out.
    const otlp = { ...options.otlp_config, ...definedOnly(own.otlp_config ?? {}) } as OtlpConfig;
    found = { ...options, ...definedOnly(own), otlp_config: otlp } as TenantLimits;
    made.set(tenant, found);
  }
  return found;
}

/** The limits of a tenant alone, by their names: without what is set for all together. */
export function tenantIngestLimits(options: IngestOptions, tenant: string): Record<string, unknown> {
  const all = limitsOf(options, tenant);
  return Object.fromEntries(Object.entries(all).filter(([name]) => name in limits));
}

function definedOnly(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

const tenant = tenantName
  .optional()
  .describe(
    "Tenant that everything coming here belongs to. Absent: the one in the request's X-Scope-OrgID where `http.auth_enabled` is on, else `fake`, which is Loki's name for the only one.",
  );

const enabled = z
  .boolean()
  .default(true)
  .describe(
    "Whether the path is there at all. On without being written: a process takes pushes unless told otherwise.",
  );

const path = (standard: string) =>
  z
    .string()
    .regex(/^\/[A-Za-z0-9_./-]*$/, 'want a path such as "/loki/api/v1/push"')
    .default(standard)
    .describe("Path on the HTTP server (`http.listen`). The default is the one that clients use.");

/** A receiver of type `push`: Loki's push. */
export const pushOptions = z.strictObject({ enabled, path: path("/loki/api/v1/push"), tenant });
export type PushOptions = z.output<typeof pushOptions>;

/** A receiver of type `otlp`: OpenTelemetry's logs over HTTP. */
export const otlpOptions = z.strictObject({ enabled, path: path("/otlp/v1/logs"), tenant });
export type OtlpOptions = z.output<typeof otlpOptions>;
