import { z } from "zod";
import { messageOf, WeirError } from "../core/errors.ts";
import type { Entry } from "./entry-output.ts";
import { type CliIo, usageError } from "./io.ts";

/*
 * Loki's HTTP API from the client's side. Source: Grafana Loki, "HTTP API", query_range and categorised labels.
 */

export const DEFAULT_URL = "http://127.0.0.1:3100";

/** `direction` of a query: which end of the range comes first. */
export const DIRECTIONS = ["backward", "forward"] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** Asks for stream labels, structured metadata and parsed labels apart instead of in one set. */
export const CATEGORIZE = { "X-Loki-Response-Encoding-Flags": "categorize-labels" } as const;

const labelSet = z.record(z.string(), z.string());

/** `[time in ns, line, what is not a stream label]`; the third only where the server knows the flag. */
export const streamValues = z.array(
  z.union([
    z.tuple([z.string(), z.string()]),
    z.tuple([
      z.string(),
      z.string(),
      z.object({ structuredMetadata: labelSet.optional(), parsed: labelSet.optional() }),
    ]),
  ]),
);
export const streamsResult = z.array(z.object({ stream: labelSet, values: streamValues }));

/** One series of numbers: `[seconds since 1970, value]`. */
const samples = z.object({ metric: labelSet, values: z.array(z.tuple([z.number(), z.string()])) });
export type Samples = readonly z.output<typeof samples>[];

const answer = z.object({
  warnings: z.array(z.string()).optional(),
  data: z.discriminatedUnion("resultType", [
    z.object({ resultType: z.literal("streams"), result: streamsResult }),
    z.object({ resultType: z.literal("matrix"), result: z.array(samples) }),
    z.object({ resultType: z.literal("vector") }),
    z.object({ resultType: z.literal("scalar") }),
  ]),
});

const step = z.object({
  expression: z.string(),
  selector: z.string(),
  reads: z.enum(["headers", "lines"]),
  filters_metadata: z.boolean(),
  literals: z.array(z.array(z.string())),
  labels: z.array(z.string()).nullable(),
});

const counts = <N extends string>(...names: readonly N[]) =>
  z.object(Object.fromEntries(names.map((name) => [name, z.number()])) as Record<N, z.ZodNumber>);

const explained = z.object({
  data: z.object({
    type: z.enum(["log", "metric"]),
    query: z.string(),
    reads: z.array(step),
    catalog: counts("parts_read", "segments_opened"),
    blocks: counts(
      "seen",
      "pruned_by_labels",
      "pruned_by_time",
      "pruned_by_ids",
      "hidden",
      "planned",
      "counted_from_index",
      "read",
      "pruned_by_metadata",
      "headers_only",
      "inflated",
      "pruned_by_literal",
      "open",
    ),
    bytes: counts("read", "inflated"),
    lines: counts("looked_at", "passed"),
    // A server before there were any says nothing of them.
    peers: counts("queriers", "batches", "blocks_read", "bytes_inflated").optional(),
    time_ms: counts("waited", "ran"),
    results: z.number(),
    warnings: z.array(z.string()),
  }),
});
export type Explained = z.output<typeof explained>["data"];

/** The entries of a `streams` result, group after group. */
export function entriesOf(streams: z.output<typeof streamsResult>): Entry[] {
  return streams.flatMap(({ stream, values }) =>
    values.map(([time, line, more]) => ({
      ns: BigInt(time),
      labels: stream,
      metadata: more?.structuredMetadata ?? {},
      parsed: more?.parsed ?? {},
      line,
    })),
  );
}

/**
 * The server's base address from `--url` or WEIR_URL, without a slash at the end. A tenant, from `--tenant` or WEIR_TENANT, stands in
 * it as the user's name: `addressed` makes a header of that.
 */
export function serverUrl(option: string | undefined, env: CliIo["env"], tenantOption?: string): string {
  const text = option ?? (env.WEIR_URL || DEFAULT_URL);
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw usageError(`--url: got ${JSON.stringify(text)}, want an address such as ${DEFAULT_URL}`);
  }
  const base = text.replace(/\/+$/, "");
  const tenant = tenantOption ?? env.WEIR_TENANT ?? "";
  return tenant === "" ? base : base.replace(/^(https?:\/\/)(?:[^/@]*@)?/, `$1${encodeURIComponent(tenant)}@`);
}

/** Where a request goes, and the headers that it needs. */
export function addressed(address: string): { url: string; headers: Record<string, string> } {
  const { username } = new URL(address);
  if (username === "") return { url: address, headers: { ...CATEGORIZE } };
  const url = address.replace(/^([a-z]+:\/\/)[^/@]*@/, "$1");
  return { url, headers: { ...CATEGORIZE, "X-Scope-OrgID": decodeURIComponent(username) } };
}

export interface RangeRequest {
  readonly query: string;
  readonly fromNs: bigint;
  readonly toNs: bigint;
  readonly limit: number;
  readonly direction: Direction;
}

export interface RangeAnswer {
  /** In the request's direction, over all streams. */
  readonly entries: Entry[];
  /** What the server says about lines that are missing. */
  readonly warnings: readonly string[];
}

/** One `query_range`. Errors: `server_unreachable`, `server_refused` (the server's own words), `server_reply`. */
export async function queryRange(base: string, request: RangeRequest, signal: AbortSignal): Promise<RangeAnswer> {
  const params = new URLSearchParams({
    query: request.query,
    start: request.fromNs.toString(),
    end: request.toNs.toString(),
    limit: String(request.limit),
    direction: request.direction,
  });
  // POST, so that a long query does not meet a limit on the length of addresses.
  const text = await post(`${base}/loki/api/v1/query_range`, params, signal);
  const { data, warnings = [] } = readJson(answer, text, base);
  if (data.resultType !== "streams") {
    throw new WeirError("server_reply", `the query gives a ${data.resultType}, and lines were expected`);
  }
  const entries = entriesOf(data.result);
  const sign = request.direction === "forward" ? 1 : -1;
  // The sort is stable, and a group's own entries are in order already: equal times stay as the server had them.
  entries.sort((a, b) => (a.ns === b.ns ? 0 : a.ns < b.ns ? -sign : sign));
  return { entries, warnings };
}

export interface SamplesRequest {
  readonly query: string;
  readonly fromNs: bigint;
  readonly toNs: bigint;
  /** A duration, or seconds; absent: as the server has it. */
  readonly step?: string | undefined;
}

/** One `query_range` of a metric query. Errors as `queryRange`. */
export async function querySamples(
  base: string,
  { query, fromNs, toNs, step }: SamplesRequest,
  signal: AbortSignal,
): Promise<{ readonly series: Samples; readonly warnings: readonly string[] }> {
  const params = new URLSearchParams({ query, start: fromNs.toString(), end: toNs.toString() });
  if (step !== undefined) params.set("step", step);
  const text = await post(`${base}/loki/api/v1/query_range`, params, signal);
  const { data, warnings = [] } = readJson(answer, text, base);
  if (data.resultType !== "matrix") {
    throw new WeirError("server_reply", `the query gives a ${data.resultType}, and numbers were expected`);
  }
  return { series: data.result, warnings };
}

/** What Weir does for a query; no other server knows that path. Errors as `queryRange`. */
export async function explainQuery(
  base: string,
  { query, fromNs, toNs, step, limit, direction }: SamplesRequest & Omit<RangeRequest, "query">,
  signal: AbortSignal,
): Promise<Explained> {
  const params = new URLSearchParams({ query, start: fromNs.toString(), end: toNs.toString(), direction });
  if (Number.isFinite(limit)) params.set("limit", String(limit));
  if (step !== undefined) params.set("step", step);
  return readJson(explained, await post(`${base}/api/v1/explain`, params, signal), base).data;
}

async function post(address: string, params: URLSearchParams, signal: AbortSignal): Promise<string> {
  const { url, headers } = addressed(address);
  try {
    const response = await fetch(url, { method: "POST", body: params, headers, signal });
    const text = await response.text();
    if (!response.ok) {
      throw new WeirError("server_refused", text.trim() || `${url} answered ${response.status} with no text`, {
        context: { status: response.status },
      });
    }
    return text;
  } catch (error) {
    throw error instanceof WeirError ? error : unreachable(url, error);
  }
}

/** `fetch failed` says nothing; its cause does. */
export function unreachable(url: string, error: unknown): WeirError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return new WeirError(
    "server_unreachable",
    `cannot reach ${new URL(url).origin}: ${messageOf(cause)}; is weir running there? (--url or WEIR_URL say where)`,
    { retriable: true, cause: error },
  );
}

/** Parses and checks an answer. Throws `server_reply` when what answers is not Loki's API. */
export function readJson<S extends z.ZodType>(schema: S, text: string, from: string): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new WeirError("server_reply", `the answer of ${from} is not JSON: ${messageOf(error)}`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new WeirError(
      "server_reply",
      `the answer of ${from} is not what Loki's API gives: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
    );
  }
  return parsed.data;
}
