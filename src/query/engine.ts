import type { Labels } from "../core/labels.ts";
import type { MergedEntries } from "./merge.ts";
import type { QueryOptions } from "./options.ts";
import type { ScalarResult } from "./scalar.ts";
import type { QueryStats } from "./stats.ts";

/** A log query over a range. */
export interface LogRequest {
  readonly tenant?: string;
  /** LogQL. */
  readonly query: string;
  /** Nanoseconds since 1970: lines at `startNs` up to, not including, `endNs`. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly limit: number;
  readonly backward: boolean;
  /** Above 0: only lines at least that many nanoseconds from the last one given, in the query's direction. */
  readonly intervalNs?: bigint;
  /** Keep stream labels, structured metadata and parsed labels apart. */
  readonly categorize?: boolean;
  /** The client left. */
  readonly signal?: AbortSignal;
}

export interface LogResult {
  /** Best first: the newest backward, the oldest forward. */
  readonly entries: MergedEntries;
  readonly categorize: boolean;
  readonly stats: QueryStats;
  /** Sentences about data that could not be read, and lines that are therefore missing. */
  readonly warnings: readonly string[];
}

export interface TraceRequest {
  readonly tenant?: string;
  /** A trace id in any of its written forms. */
  readonly id: string;
  readonly startNs?: bigint;
  readonly endNs?: bigint;
  readonly limit: number;
  readonly signal?: AbortSignal;
}

/** The lines of a trace, oldest first; always categorised. */
export interface TraceResult extends LogResult {
  /** The id as 32 lower-case hex digits, as far as its form tells it. */
  readonly traceId: string;
}

export interface StreamsRequest {
  readonly tenant?: string;
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** Stream selectors, united; none means all streams. */
  readonly selectors: readonly string[];
  readonly signal?: AbortSignal;
}

export interface TailEntry {
  readonly timeNs: bigint;
  /** JSON as in ResultEntry. */
  readonly group: string;
  readonly detail: string;
  readonly line: Buffer;
}

export interface DroppedEntry {
  readonly timeNs: bigint;
  readonly labels: Labels;
}

export interface TailRequest {
  readonly tenant?: string;
  readonly query: string;
  /** Where the history before the new lines begins, and how many lines it has at most. */
  readonly startNs: bigint;
  readonly limit: number;
  /** New lines are held back that long, so that late ones can take their place. */
  readonly delayMs?: number;
  readonly categorize?: boolean;
  /** Takes what there is, oldest first. The next call waits until its promise resolves. */
  readonly onEntries: (entries: readonly TailEntry[], dropped: readonly DroppedEntry[]) => void | Promise<void>;
  readonly signal: AbortSignal;
}

/** What a query asks for: lines, or numbers; `constant` when the numbers need no lines (`1+1`, `vector(1)`). */
export type QueryKind =
  | { readonly kind: "log" }
  | {
      readonly kind: "metric";
      readonly constant: ScalarResult | null;
    };

/**
 * Answers queries. Errors: QueryError (the query's own fault, with Loki's text), and WeirErrors `query_timeout`,
 * `query_cancelled`, `query_limit` (more asked for than is allowed), `query_bytes_limit`, `query_result_size`,
 * `query_busy` (too many at once, retriable), `query_worker_failed` (retriable), `bad_trace_id`.
 */
export interface Engine {
  readonly options: QueryOptions;
  /** Throws QueryError when the query can't be understood. */
  kindOf(query: string): QueryKind;
  queryRange(request: LogRequest): Promise<LogResult>;
  labels(request: StreamsRequest): Promise<string[]>;
  labelValues(name: string, request: StreamsRequest): Promise<string[]>;
  series(request: StreamsRequest): Promise<Labels[]>;
  trace(request: TraceRequest): Promise<TraceResult>;
  /** Resolves when the tail has ended: by its signal, or by `tail_max_duration`. */
  tail(request: TailRequest): Promise<void>;
  close(): Promise<void>;
}
