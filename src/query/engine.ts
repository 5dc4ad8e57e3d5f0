import type { Labels } from "../core/labels.ts";
import type { QueryPlan } from "./explain.ts";
import type { MergedEntries } from "./merge.ts";
import type { MetricSeries } from "./metric/evaluate.ts";
import type { EvalTimes } from "./metric/windows.ts";
import type { QueryLimits, QueryOptions } from "./options.ts";
import type { PeerScans } from "./peers/peer-scans.ts";
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
  /** At a limit of time or bytes: give what there is and a warning, rather than fail. */
  readonly partial?: boolean;
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

/** A metric query at `startNs`, `startNs + stepNs`, … up to `endNs`; an instant query has one point, and INSTANT_STEP_NS. */
export interface MetricRequest extends EvalTimes {
  readonly tenant?: string;
  /** LogQL. */
  readonly query: string;
  /** With more series than are allowed: give so many and a warning, rather than fail. */
  readonly cutSeries?: boolean;
  /** As in LogRequest. */
  readonly partial?: boolean;
  readonly signal?: AbortSignal;
}

export interface MetricResult {
  /** The query is a number by itself, which is no series. */
  readonly isScalar: boolean;
  /** Sorted by labels; by value where an instant query asks for it. */
  readonly series: readonly MetricSeries[];
  readonly stats: QueryStats;
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

/** What a block's header says of its lines. */
export interface BlockSum {
  readonly labels: Labels;
  readonly canonical: string;
  /** Of a block that is hidden in part, what may be seen of it, about. */
  readonly rows: number;
  readonly textBytes: number;
  /** Of names and values; 0 where it is not known. */
  readonly metadataBytes: number;
  /** Nanoseconds since 1970, both inclusive. */
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
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

/** What a query asks for: lines, or numbers. */
export interface QueryKind {
  readonly kind: "log" | "metric";
}

/**
 * Answers queries. Errors: QueryError (the query's own fault, with Loki's text), and WeirErrors `query_timeout`,
 * `query_cancelled`, `query_limit` (more asked for than is allowed), `query_bytes_limit`, `query_result_size`,
 * `query_partial_size`, `query_vector_matching`, `query_busy` (too many at once, retriable), `query_worker_failed` (retriable), `bad_trace_id`.
 */
export interface Engine {
  readonly options: QueryOptions;
  /** Scans parts of other queriers' queries, with the same threads. */
  readonly forPeers: PeerScans;
  /** A tenant's own limits, or those of all. */
  limitsOf(tenant: string): QueryLimits;
  /** Throws QueryError when the query can't be understood. */
  kindOf(query: string): QueryKind;
  /** What will be done for a query. Throws QueryError. */
  describe(query: string): QueryPlan;
  queryRange(request: LogRequest): Promise<LogResult>;
  metric(request: MetricRequest): Promise<MetricResult>;
  labels(request: StreamsRequest): Promise<string[]>;
  labelValues(name: string, request: StreamsRequest): Promise<string[]>;
  series(request: StreamsRequest): Promise<Labels[]>;
  /**
   * Goes through the blocks with lines of these streams in the time range, by headers alone: for statistics. What has expired or was
   * deleted is left out, as far as times tell. `begin` gives what is
   * called with each, and is called again when all has to be begun anew, because the store has changed.
   */
  eachBlock(request: StreamsRequest, begin: () => (block: BlockSum) => void): Promise<void>;
  trace(request: TraceRequest): Promise<TraceResult>;
  /** Resolves when the tail has ended: by its signal, or by `tail_max_duration`. */
  tail(request: TailRequest): Promise<void>;
  close(): Promise<void>;
}
