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

const answer = z.object({
  warnings: z.array(z.string()).optional(),
  data: z.discriminatedUnion("resultType", [
    z.object({ resultType: z.literal("streams"), result: streamsResult }),
    z.object({ resultType: z.literal("matrix") }),
    z.object({ resultType: z.literal("vector") }),
    z.object({ resultType: z.literal("scalar") }),
  ]),
});

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

/** The server's base address from `--url` or WEIR_URL, without a slash at the end. */
export function serverUrl(option: string | undefined, env: CliIo["env"]): string {
  const text = option ?? (env.WEIR_URL || DEFAULT_URL);
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw usageError(`--url: got ${JSON.stringify(text)}, want an address such as ${DEFAULT_URL}`);
  }
  return text.replace(/\/+$/, "");
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
    throw new WeirError("server_reply", `the query gives a ${data.resultType}; weir query prints lines only`);
  }
  const entries = entriesOf(data.result);
  const sign = request.direction === "forward" ? 1 : -1;
  // The sort is stable, and a group's own entries are in order already: equal times stay as the server had them.
  entries.sort((a, b) => (a.ns === b.ns ? 0 : a.ns < b.ns ? -sign : sign));
  return { entries, warnings };
}

async function post(url: string, params: URLSearchParams, signal: AbortSignal): Promise<string> {
  try {
    const response = await fetch(url, { method: "POST", body: params, headers: CATEGORIZE, signal });
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
