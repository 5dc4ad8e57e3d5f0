import os from "node:os";
import { messageOf, WeirError } from "../core/errors.ts";
import { DEFAULT_TENANT, type Labels } from "../core/labels.ts";
import type { Line, StreamHandle } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { parseDurationMs } from "../core/time.ts";
import { parseTraceIdQuery } from "../core/trace-id.ts";
import { sleepFor } from "../core/wait.ts";
import type { SegmentReader } from "../store/reader.ts";
import type { SegmentInfo, StoreSnapshot } from "../store/view.ts";
import { Admission } from "./admission.ts";
import { compileLog, compileLogText, compileSelector } from "./compile.ts";
import { Deadline } from "./deadline.ts";
import type {
  Engine,
  LogRequest,
  LogResult,
  QueryKind,
  StreamsRequest,
  TailRequest,
  TraceRequest,
  TraceResult,
} from "./engine.ts";
import { LiveTail } from "./live-tail.ts";
import { LocalExecutor } from "./local-executor.ts";
import { LogPass, type LogRunDeps, lostSegmentWarning, lostWarnings } from "./log-run.ts";
import { MergedEntries } from "./merge.ts";
import type { QueryOptions } from "./options.ts";
import { BlockPlan } from "./plan.ts";
import { ScanPool, workerUrl } from "./pool.ts";
import { fetchRows } from "./row-pass.ts";
import { evaluateScalar } from "./scalar.ts";
import { ScanControl, type ScanExecutor, type ScanJob } from "./scan-job.ts";
import { QueryStats } from "./stats.ts";
import { streamsIn } from "./stream-names.ts";
import { isLog } from "./syntax/ast.ts";
import { parseLogQuery, parseQuery, parseSelector } from "./syntax/parse.ts";
import { validateForApi } from "./syntax/validate.ts";
import { idText, wantedId } from "./trace-ids.ts";

/** All times that a line can have, in nanoseconds. */
const TIME_MIN = -(2n ** 63n);
const TIME_MAX = 2n ** 63n - 1n;
/** How often a live tail gives what has come in. */
const TAIL_MS = 100;
/** Lines of one pass when only some of them are kept (`interval`). */
const INTERVAL_PAGE = 1000;

export type StreamFilter = (labels: Labels, tenant: string, canonical: string) => boolean;

export interface EngineDeps {
  /** Everything that can be read, of streams that the filter takes. Called once a query. */
  readonly snapshot: (accept?: StreamFilter) => StoreSnapshot;
  /** Called with each new line while there is a live tail. */
  readonly taps: Set<(stream: StreamHandle, line: Line) => void>;
  readonly reader: SegmentReader;
  /** Where workers find the objects; a store in memory is scanned in this thread. */
  readonly objectsUrl: string;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** The engine over a store in this process. */
export function createEngine(options: QueryOptions, deps: EngineDeps): Engine {
  return new LocalEngine(options, deps);
}

function createExecutor(options: QueryOptions, { reader, objectsUrl, log }: EngineDeps): ScanExecutor {
  const threads = options.threads === "auto" ? os.availableParallelism() : options.threads;
  const url = workerUrl();
  if (threads === 0 || objectsUrl === "memory:" || url === null) return new LocalExecutor(reader);
  return new ScanPool(threads, url, { objectsUrl }, log);
}

/** What all passes of one query share. */
interface Run {
  readonly snapshot: StoreSnapshot;
  readonly stats: QueryStats;
  readonly warnings: string[];
  readonly signal: AbortSignal;
}

class LocalEngine implements Engine {
  readonly options: QueryOptions;
  private readonly deps: EngineDeps;
  private readonly executor: ScanExecutor;
  private readonly admission: Admission;
  private readonly queries;
  private readonly seconds;
  private nextJob = 0;

  constructor(options: QueryOptions, deps: EngineDeps) {
    this.options = options;
    this.deps = deps;
    this.executor = createExecutor(options, deps);
    this.admission = new Admission(options.max_concurrent_queries, options.max_waiting_queries);
    this.queries = deps.metrics.counter("weir_query_queries_total", "Queries, by how they ended.", ["kind", "outcome"]);
    this.seconds = deps.metrics.histogram(
      "weir_query_seconds",
      "Time of a query, waiting for its turn included.",
      [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      ["kind"],
    );
    deps.metrics.gauge("weir_query_running", "Queries that run now.", [], (gauge) =>
      gauge.set(this.admission.runningCount),
    );
  }

  kindOf(query: string): QueryKind {
    const expr = parseQuery(query);
    if (isLog(expr)) {
      compileLog(expr); // A stage that can't be built is the query's fault as much as one that can't be read.
      return { kind: "log" };
    }
    validateForApi(expr);
    return { kind: "metric", constant: evaluateScalar(expr) };
  }

  queryRange(request: LogRequest): Promise<LogResult> {
    return this.run(
      "log",
      request.signal,
      async (run) => {
        const entries = await this.rangeEntries(request, run);
        run.stats.entries = entries.size;
        return {
          entries,
          categorize: request.categorize === true,
          stats: run.stats,
          warnings: [...new Set(run.warnings)],
        };
      },
      this.acceptOf(request.tenant, [request.query]),
    );
  }

  async labels(request: StreamsRequest): Promise<string[]> {
    const streams = await this.series(request);
    return [...new Set(streams.flatMap((labels) => Object.keys(labels)))].sort();
  }

  async labelValues(name: string, request: StreamsRequest): Promise<string[]> {
    const streams = await this.series(request);
    return [...new Set(streams.flatMap((labels) => (Object.hasOwn(labels, name) ? [labels[name]] : [])))].sort();
  }

  series(request: StreamsRequest): Promise<Labels[]> {
    const tests = request.selectors.map((text) => compileSelector(parseSelector(text)));
    const accepts = (labels: Labels) => tests.length === 0 || tests.some((test) => test(labels));
    const tenant = request.tenant ?? DEFAULT_TENANT;
    const accept: StreamFilter = (labels, owner) => owner === tenant && accepts(labels);
    return this.run(
      "streams",
      request.signal,
      ({ snapshot }) => {
        const { startNs, endNs } = request;
        return streamsIn(
          snapshot,
          { tenant, startNs, endNs, accepts },
          (info) => this.deps.reader.index(info),
          (info, error) => this.deps.log.warn({ key: info.key }, `streams: ${messageOf(error)}`),
        );
      },
      accept,
    );
  }

  trace(request: TraceRequest): Promise<TraceResult> {
    const candidates = parseTraceIdQuery(request.id);
    if (candidates.length === 0) {
      throw new WeirError(
        "bad_trace_id",
        `got ${JSON.stringify(request.id.slice(0, 100))}, want a trace id: 16 or 32 hex digits, a decimal number, 1-8-24 digits, a UUID, or a SkyWalking id`,
      );
    }
    const ids = candidates.map(wantedId);
    const { startNs = TIME_MIN, endNs = TIME_MAX, limit, tenant = DEFAULT_TENANT } = request;
    return this.run(
      "trace",
      request.signal,
      async (run) => {
        const job = this.job({ query: "", ids, startNs, endNs, limit, backward: false, categorize: true });
        const plan = this.plan(
          run,
          tenant,
          job,
          () => true,
          (mayHoldId) => ids.some(({ slot, low8 }) => mayHoldId(slot, low8)),
        );
        const { entries, lost } = await new LogPass(job, this.passDeps(run, plan)).run();
        run.warnings.push(...lostWarnings(lost));
        run.stats.entries = entries.size;
        return {
          entries,
          categorize: true,
          stats: run.stats,
          warnings: [...new Set(run.warnings)],
          traceId: idText(candidates[0]),
        };
      },
      (_labels, owner) => owner === tenant,
    );
  }

  async tail(request: TailRequest): Promise<void> {
    const {
      query,
      startNs,
      limit,
      delayMs = 0,
      categorize = false,
      onEntries,
      signal,
      tenant = DEFAULT_TENANT,
    } = request;
    const live = new LiveTail({ tenant, query, categorize, queueBytes: this.options.tail_queue_bytes });
    const deadline = new Deadline(parseDurationMs(this.options.tail_max_duration), signal);
    const end = deadline.signal;
    // In one tick: what is in the snapshot is history, and all that comes after it goes through the tap.
    const snapshot = this.deps.snapshot(this.acceptOf(tenant, [query]));
    this.deps.taps.add(live.tap);
    try {
      const history: LogRequest = { tenant, query, startNs, endNs: TIME_MAX, limit, backward: true, categorize };
      const run: Run = { snapshot, stats: new QueryStats(), warnings: [], signal: end };
      const entries = await this.admission.run(end, () => this.rangeEntries(history, run));
      const oldest = [...entries].reverse().map(({ sec, nsec, group, detail, line }) => ({
        timeNs: BigInt(sec) * 1_000_000_000n + BigInt(nsec),
        group,
        detail,
        line,
      }));
      if (oldest.length > 0) await onEntries(oldest, []);
      while (!end.aborted) {
        const { entries: fresh, dropped } = live.take(delayMs);
        if (fresh.length > 0 || dropped.length > 0) await onEntries(fresh, dropped);
        await sleepFor(TAIL_MS, end);
      }
    } catch (error) {
      if (!end.aborted) throw error;
    } finally {
      deadline.end();
      this.deps.taps.delete(live.tap);
    }
  }

  async close(): Promise<void> {
    await this.executor.close();
  }

  private acceptOf(tenant: string | undefined, queries: readonly string[]): StreamFilter {
    const tests = queries.map((query) => compileSelector(parseLogQuery(query).matchers));
    const wanted = tenant ?? DEFAULT_TENANT;
    return (labels, owner) => owner === wanted && tests.some((test) => test(labels));
  }

  /** Runs a query within the limits on time and number, and counts how it ended. */
  private async run<T>(
    kind: string,
    signal: AbortSignal | undefined,
    work: (run: Run) => Promise<T>,
    accept: StreamFilter,
  ): Promise<T> {
    const deadline = new Deadline(parseDurationMs(this.options.query_timeout), signal);
    const started = performance.now();
    let outcome = "failed";
    try {
      const running = this.admission.run(deadline.signal, async () => {
        const stats = new QueryStats();
        stats.queueMs = performance.now() - started;
        const snapshot = this.deps.snapshot(accept);
        const answer = await work({ snapshot, stats, warnings: [], signal: deadline.signal });
        stats.execMs = performance.now() - started - stats.queueMs;
        return answer;
      });
      const result = await deadline.race(running);
      outcome = "answered";
      return result;
    } catch (error) {
      if (!deadline.signal.aborted) throw error;
      outcome = deadline.isLate ? "timeout" : "cancelled";
      throw deadline.error(error);
    } finally {
      deadline.end();
      this.queries.inc({ kind, outcome });
      this.seconds.observe({ kind }, (performance.now() - started) / 1000);
    }
  }

  private async rangeEntries(request: LogRequest, run: Run): Promise<MergedEntries> {
    const { intervalNs = 0n } = request;
    return intervalNs > 0n ? this.spacedEntries(request, intervalNs, run) : this.onePass(request, run);
  }

  private async onePass(request: LogRequest, run: Run): Promise<MergedEntries> {
    const { query, startNs, endNs, limit, backward, categorize = false, tenant = DEFAULT_TENANT } = request;
    const compiled = compileLogText(query);
    const matches = (_canonical: string, labels: Labels) => compiled.matchesStream(labels);
    // Nothing but the time decides: find the best times from headers, then inflate only the blocks that hold them.
    const mode = compiled.mayDrop ? "scan" : "times";
    const job = this.job({ query, ids: null, startNs, endNs, limit, backward, categorize, mode });
    const deps = this.passDeps(run, this.plan(run, tenant, job, matches));
    const pass = await new LogPass(job, deps).run();
    if (mode === "scan") {
      run.warnings.push(...lostWarnings(pass.lost));
      return pass.entries;
    }
    const rows = await fetchRows(pass, this.job({ ...job, mode: "rows" }), deps);
    if (rows.lost.length === 0) {
      run.warnings.push(...lostWarnings(pass.lost));
      return rows.entries;
    }
    // A block whose header is whole and whose text is not has taken the place of other blocks' lines.
    const again = this.job({ ...job, mode: "scan" });
    const scan = await new LogPass(again, this.passDeps(run, this.plan(run, tenant, again, matches))).run();
    run.warnings.push(...lostWarnings(scan.lost));
    return scan.entries;
  }

  /** Entries at least `intervalNs` apart, counted from the last one kept. */
  private async spacedEntries(request: LogRequest, intervalNs: bigint, run: Run): Promise<MergedEntries> {
    const { backward, limit } = request;
    const kept = new MergedEntries(limit, backward, this.options.max_result_bytes);
    let { startNs, endNs } = request;
    while (startNs < endNs && kept.size < limit) {
      const page = await this.onePass({ ...request, startNs, endNs, limit: Math.max(INTERVAL_PAGE, limit) }, run);
      const wasFull = page.isFull;
      const last = page.keepSpaced(intervalNs, limit - kept.size);
      kept.append(page);
      if (last === null || !wasFull) break;
      if (backward) endNs = last - intervalNs + 1n;
      else startNs = last + intervalNs;
    }
    return kept;
  }

  private job(wanted: Omit<ScanJob, "id" | "control" | "mode"> & { readonly mode?: ScanJob["mode"] }): ScanJob {
    return { mode: "scan", ...wanted, id: this.nextJob++, control: ScanControl.create(wanted.backward).memory };
  }

  private plan(
    { snapshot, warnings }: Run,
    tenant: string,
    { startNs, endNs, backward }: ScanJob,
    wantsStream: (canonical: string, labels: Labels) => boolean,
    wantsBlock?: (mayHoldId: (slot: number, low8: Uint8Array) => boolean) => boolean,
  ): BlockPlan {
    const request = {
      tenant,
      startNs,
      endNs,
      backward,
      wantsStream,
      ...(wantsBlock === undefined ? {} : { wantsBlock }),
    };
    const index = (info: SegmentInfo) => this.deps.reader.index(info);
    const onLost = (info: SegmentInfo, error: unknown) =>
      warnings.push(lostSegmentWarning(info.key, info.lines, error));
    return new BlockPlan(snapshot, request, { index, onLost });
  }

  private passDeps({ stats, signal }: Run, plan: BlockPlan): LogRunDeps {
    const { max_query_bytes_read: maxBytesRead, max_result_bytes: maxResultBytes } = this.options;
    return { executor: this.executor, plan, stats, maxBytesRead, maxResultBytes, signal };
  }
}
