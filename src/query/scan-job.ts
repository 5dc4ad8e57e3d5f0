import type { BlockHide } from "./deletes-hide.ts";
import type { PackedEntries } from "./entries.ts";
import type { MetricPartial } from "./metric/scanner.ts";
import type { EvalTimes } from "./metric/windows.ts";

/**
 * What to do with each block:
 * - `scan`: run the query over its lines.
 * - `times`: take every row for its time alone, without inflating; entries come back without line and labels.
 * - `rows`: make entries of the rows that a batch names.
 * - `metric`: reduce the samples of a metric query to partial results.
 */
export type ScanMode = "scan" | "times" | "rows" | "metric";

/** An id that wanted rows have. */
export interface WantedId {
  /** Of core/line.ts. */
  readonly slot: number;
  /** The id's last 8 bytes. */
  readonly low8: Uint8Array;
  /** The whole ids, as metadata has them, that are meant; null: any with these last bytes. */
  readonly texts: readonly string[] | null;
}

/** A query as a scanner needs it. Plain data, so that it can be posted to a thread. */
export interface ScanJob {
  /** Unique in the process: `nextJobId`. */
  readonly id: number;
  /** Whose lines are read. */
  readonly tenant: string;
  readonly mode: ScanMode;
  /** A log query in LogQL; for `metric` a metric query. */
  readonly query: string;
  /** For `metric`: where the query is evaluated. */
  readonly evaluate?: EvalTimes;
  /** When set, only rows with one of these ids are looked at. */
  readonly ids: readonly WantedId[] | null;
  /** Lines at `startNs` up to, not including, `endNs`. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly limit: number;
  readonly backward: boolean;
  /** Group by stream labels alone and give metadata and parsed labels as detail. */
  readonly categorize: boolean;
  /** Most bytes of text that the query may read, 0 for no limit: batches end where the control has counted more. */
  readonly textBytesMax: number;
  /** When the query's time is up, as `performance.now()` of this thread counts; Infinity for never. */
  readonly endsAtMs: number;
  readonly control: SharedArrayBuffer;
}

let jobs = 0;

/** A number for a job. Jobs of this process and those that come from other queriers share its executors. */
export function nextJobId(): number {
  return jobs++;
}

/** One block of a batch: a place in an object, or the bytes of a member that is not in the store yet. */
export interface BatchBlock {
  readonly key: string;
  readonly offset: number;
  readonly length: number;
  /** PlannedBlock.order. */
  readonly order: number;
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
  readonly bytes: Uint8Array | null;
  /** For mode `rows`. */
  readonly rows: Uint32Array | null;
  /** What of it must not be seen; null for nothing. */
  readonly hide: BlockHide | null;
}

export interface ScanStats {
  blocks: number;
  /** Rows of the blocks looked at. */
  lines: number;
  /** Bytes of text inflated or searched. */
  textBytes: number;
  /** Bytes of gzip members read. */
  readBytes: number;
  /** Lines that passed every filter and lie in the time range. */
  matched: number;
  /** Blocks that were read and not inflated: because their metadata ruled them out, or because their header said all. */
  prunedByMetadata: number;
  headersOnly: number;
  /** Blocks that were inflated and hold none of the literals that a line must have. */
  prunedByLiteral: number;
}

export const emptyStats = (): ScanStats => ({
  blocks: 0,
  lines: 0,
  textBytes: 0,
  readBytes: 0,
  matched: 0,
  prunedByMetadata: 0,
  headersOnly: 0,
  prunedByLiteral: 0,
});

export function addStats(sum: ScanStats, more: ScanStats): void {
  sum.blocks += more.blocks;
  sum.lines += more.lines;
  sum.textBytes += more.textBytes;
  sum.readBytes += more.readBytes;
  sum.matched += more.matched;
  sum.prunedByMetadata += more.prunedByMetadata;
  sum.headersOnly += more.headersOnly;
  sum.prunedByLiteral += more.prunedByLiteral;
}

export interface BatchResult {
  /** At most `limit` entries, best first; null for none. */
  readonly entries: PackedEntries | null;
  /** For mode `metric`. */
  readonly partial: MetricPartial | null;
  readonly stats: ScanStats;
  /** Blocks that could not be read, and why. Their lines are missing from the entries. */
  readonly lost: readonly { readonly order: number; readonly reason: string }[];
  /** The querier that scanned it; absent: this one. */
  readonly peer?: string;
}

/** What a batch gives that was stopped before it began. */
export const emptyResult = (): BatchResult => ({ entries: null, partial: null, stats: emptyStats(), lost: [] });

/** Runs batches somewhere: in worker threads, in this one, or at other queriers. */
export interface ScanExecutor {
  /** How many batches can make progress at one time. */
  readonly parallel: number;
  /** How many batches of one query it wants at one time, so that none of what it has waits for the next. */
  readonly ahead: number;
  run(job: ScanJob, blocks: readonly BatchBlock[]): Promise<BatchResult>;
  /** The job's control says stop: batches under way end soon, each with what it has found or with nothing. */
  stop(job: ScanJob): void;
  /** The job's control has another bound. Absent: whoever scans sees that by itself. */
  bounded?(job: ScanJob): void;
  /** The job gets no further batches. */
  end(job: ScanJob): void;
  close(): Promise<void>;
}

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/**
 * What the main thread says to the scanners of a query while they run: stop, and from which time on nothing better
 * can be found; and what they have read together, so that all of them end at the query's limit. Three signed 64-bit integers in shared
 * memory: [0] the time bound in nanoseconds, [1] 1 for stop, [2] bytes of text.
 */
export class ScanControl {
  readonly memory: SharedArrayBuffer;
  private readonly words: BigInt64Array;
  private readonly backward: boolean;

  constructor(memory: SharedArrayBuffer, backward: boolean) {
    this.memory = memory;
    this.words = new BigInt64Array(memory);
    this.backward = backward;
  }

  static create(backward: boolean): ScanControl {
    const control = new ScanControl(new SharedArrayBuffer(24), backward);
    Atomics.store(control.words, 0, backward ? INT64_MIN : INT64_MAX);
    return control;
  }

  stop(): void {
    Atomics.store(this.words, 1, 1n);
  }

  get stopped(): boolean {
    return Atomics.load(this.words, 1) !== 0n;
  }

  /** Counts text that was read. */
  addText(bytes: number): void {
    Atomics.add(this.words, 2, BigInt(bytes));
  }

  get textBytes(): number {
    return Number(Atomics.load(this.words, 2));
  }

  /** Lines before (backward) or after (forward) `ns` are no longer wanted. */
  bound(ns: bigint): void {
    Atomics.store(this.words, 0, ns);
  }

  /** The last `bound`; the least (backward) or greatest time there is before the first. */
  get boundNs(): bigint {
    return Atomics.load(this.words, 0);
  }

  wantsBlock(timeMinNs: bigint, timeMaxNs: bigint): boolean {
    const ns = Atomics.load(this.words, 0);
    return this.backward ? timeMaxNs >= ns : timeMinNs <= ns;
  }
}
