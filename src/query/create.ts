import { randomUUID } from "node:crypto";
import os from "node:os";
import { WeirError } from "../core/errors.ts";
import { DEFAULT_TENANT, type Labels } from "../core/labels.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { Slices } from "../core/slices.ts";
import { parseDurationMs } from "../core/time.ts";
import { parseTraceIdQuery } from "../core/trace-id.ts";
import { sleepFor } from "../core/wait.ts";
import type { SegmentReader } from "../store/reader.ts";
import type { LabelValues, SegmentInfo, SegmentPart, StoreSnapshot } from "../store/view.ts";
import { Admission } from "./admission.ts";
import { BlockedError, checkBlocked } from "./blocked.ts";
import { compileLog, compileLogText, compileSelector } from "./compile.ts";
import { Cut } from "./cut.ts";
import { Deadline } from "./deadline.ts";
import { HiddenLines, type HiddenScope } from "./deletes-hide.ts";
import type {
  BlockSum,
  Engine,
  LogRequest,
  LogResult,
  MetricRequest,
  MetricResult,
  QueryKind,
  StreamsRequest,
  TailEntry,
  TailRequest,
  TraceRequest,
  TraceResult,
} from "./engine.ts";
import { describeQuery, type QueryPlan } from "./explain.ts";
import { labelValues } from "./label-values.ts";
import { LocalExecutor } from "./local-executor.ts";
import { LogPass, type LogRunDeps, lostPartWarning, lostSegmentWarning, lostWarnings } from "./log-run.ts";
import { MergedEntries } from "./merge.ts";
import { MetricQuery, type PassSetup, type Reach } from "./metric/query.ts";
import { checkMetric } from "./metric/reach.ts";
import { type QueryLimits, type QueryOptions, queryLimits } from "./options.ts";
import { FanExecutor } from "./peers/fan-executor.ts";
import { PeerMetrics } from "./peers/metrics.ts";
import { PeerScans } from "./peers/peer-scans.ts";
import { BlockPlan } from "./plan.ts";
import { ScanPool, workerUrl } from "./pool.ts";
import { fetchRows } from "./row-pass.ts";
import { nextJobId, ScanControl, type ScanExecutor, type ScanJob } from "./scan-job.ts";
import { sortedInSlices } from "./sliced-sort.ts";
import type { Snapshots, TailSource, TailWanted, WantedLines } from "./snapshots.ts";
import { QueryStats } from "./stats.ts";
import { streamsIn } from "./stream-names.ts";
import { isLog } from "./syntax/ast.ts";
import { QueryError } from "./syntax/errors.ts";
import { parseLogQuery, parseQuery, parseSelectors } from "./syntax/parse.ts";
import { validateForApi } from "./syntax/validate.ts";
import { idText, wantedId } from "./trace-ids.ts";

/** All times that a line can have, in nanoseconds. */
const TIME_MIN = -(2n ** 63n);
const TIME_MAX = 2n ** 63n - 1n;
/** How often a live tail gives what has come in. */
const TAIL_MS = 100;
/** How often a query is begun anew when the store has changed under it. */
const TRIES = 3;
const NEVER = new AbortController().signal;
const ALL_LINES: WantedLines = {
  tenant: DEFAULT_TENANT,
  selectors: [],
  startNs: TIME_MIN,
  endNs: TIME_MAX,
  ids: null,
  withText: true,
};
/** Lines of one pass when only some of them are kept (`interval`). */
const INTERVAL_PAGE = 1000;

export interface EngineDeps {
  readonly snapshots: Snapshots;
  /** What the tenant's queries must not see now: expired and deleted lines. Null or absent: nothing. Called before each snapshot. */
  readonly hidden?: (tenant: string) => HiddenScope | null;
  readonly reader: SegmentReader;
  /** Where workers find the objects; a store in memory is scanned in this thread. */
  readonly objectsUrl: string;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Of Weir: other queriers must have the same. */
  readonly version?: string;
}

/** The engine over a store in this process. */
export function createEngine(options: QueryOptions, deps: EngineDeps): Engine {
  return new LocalEngine(options, deps);
}

function createExecutor(options: QueryOptions, { reader, objectsUrl, log }: EngineDeps): ScanExecutor {
  const threads = options.threads === "auto" ? os.availableParallelism() : options.threads;
  const url = workerUrl();
  if (threads === 0 || objectsUrl === "memory:" || url === null) return new LocalExecutor(reader);
  return new ScanPool(threads, url, { objectsUrl, isRemote: /^s3:/i.test(objectsUrl) }, log);
}

/** What all passes of one query share. */
/** Streams whose labels are looked at between two looks at the clock. */
const STREAMS_A_SLICE = 256;

interface Run {
  readonly snapshot: StoreSnapshot;
  /** Not younger than the snapshot: what compaction has removed since is still in the one and hidden by the other. */
  readonly hidden: HiddenLines | null;
  readonly stats: QueryStats;
  readonly warnings: string[];
  readonly signal: AbortSignal;
  readonly tenant: string;
  /** As `ScanJob.endsAtMs`. */
  readonly endsAtMs: number;
  /** Set for a query that gives what it has when it reaches a limit. */
  readonly cut: Cut | null;
}

/** What a pass wants of a job. */
type WantedJob = Omit<ScanJob, "id" | "tenant" | "control" | "mode" | "textBytesMax" | "endsAtMs"> & {
  readonly mode?: ScanJob["mode"];
};

class LocalEngine implements Engine {
  readonly options: QueryOptions;
  private readonly deps: EngineDeps;
  private readonly local: ScanExecutor;
  private readonly executor: ScanExecutor;
  /** This process, among queriers. */
  private readonly id = randomUUID();
  private readonly peerMetrics: PeerMetrics;
  private peerScans: PeerScans | null = null;
  private readonly admission: Admission;
  private readonly queries;
  private readonly seconds;

  constructor(options: QueryOptions, deps: EngineDeps) {
    this.options = options;
    this.deps = deps;
    this.peerMetrics = new PeerMetrics(deps.metrics);
    this.local = createExecutor(options, deps);
    this.executor = this.spread(this.local);
    this.admission = new Admission(options.max_concurrent_queries, options.max_waiting_queries);
    this.queries = deps.metrics.counter("weir_query_queries_total", "Queries, by how they ended.", ["kind", "outcome"]);
    this.seconds = deps.metrics.histogram(
      "weir_query_seconds",
      "Time of a query, waiting for its turn included.",
      [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      ["kind"],
    );
    deps.metrics.gauge("weir_query_waiting", "Queries that wait for their turn.", [], (gauge) =>
      gauge.set(this.admission.waitingCount),
    );
    deps.metrics.gauge("weir_query_running", "Queries that run now.", [], (gauge) =>
      gauge.set(this.admission.runningCount),
    );
  }

  get forPeers(): PeerScans {
    const { version = "" } = this.deps;
    this.peerScans ??= new PeerScans({ id: this.id, version, executor: this.local, metrics: this.peerMetrics });
    return this.peerScans;
  }

  limitsOf(tenant: string): QueryLimits {
    return queryLimits(this.options, tenant);
  }

  kindOf(query: string): QueryKind {
    const expr = parseQuery(query);
    if (isLog(expr)) {
      compileLog(expr); // A stage that can't be built is the query's fault as much as one that can't be read.
      return { kind: "log" };
    }
    validateForApi(expr);
    checkMetric(expr);
    return { kind: "metric" };
  }

  describe(query: string): QueryPlan {
    return describeQuery(query);
  }

  async metric(request: MetricRequest): Promise<MetricResult> {
    const { tenant = DEFAULT_TENANT, cutSeries = false } = request;
    const { max_query_series: maxSeries, max_query_range: maxRange } = this.limitsOf(tenant);
    const { max_query_partial_bytes: maxPartialBytes } = this.options;
    const query = new MetricQuery(request, maxRange, { maxSeries, cutSeries, maxPartialBytes });
    this.checkBlocked("metric", tenant, request.query);
    const { isScalar } = query;
    if (query.isConstant) {
      // No lines, no work: Grafana's health check is answered however busy the store is.
      const { series, warnings } = await query.evaluate([], request.signal ?? NEVER);
      return { isScalar, series, stats: new QueryStats(), warnings };
    }
    return this.run(
      "metric",
      request.signal,
      async (run) => {
        const tables = await query.read(
          (reach) => this.metricSetup(request.query, query, reach, run, tenant),
          run.warnings,
        );
        const { series, warnings } = await query.evaluate(tables, run.signal);
        run.stats.entries = series.length;
        return { isScalar, series, stats: run.stats, warnings: warningsOf(run, warnings) };
      },
      { partial: request.partial, wanted: { ...ALL_LINES, ...query.reach, tenant, selectors: query.selectors } },
    );
  }

  private metricSetup(text: string, query: MetricQuery, reach: Reach, run: Run, tenant: string): PassSetup {
    const wanted = { query: text, ids: null, ...reach, limit: 0, backward: false, categorize: false };
    const job: ScanJob = { ...this.job(run, { ...wanted, mode: "metric" }), evaluate: query.times };
    const matches = (_canonical: string, labels: Labels) => query.wantsStream(labels);
    return { job, deps: this.passDeps(run, this.plan(run, tenant, job, matches, undefined, query.labels)) };
  }

  async queryRange(request: LogRequest): Promise<LogResult> {
    this.checkBlocked("log", request.tenant ?? DEFAULT_TENANT, request.query);
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
          warnings: warningsOf(run),
        };
      },
      { partial: request.partial, wanted: wantedOf(request) },
    );
  }

  async labels(request: StreamsRequest): Promise<string[]> {
    return this.distinct(request, (labels, found) => {
      for (const name of Object.keys(labels)) found.add(name);
    });
  }

  async labelValues(name: string, request: StreamsRequest): Promise<string[]> {
    return this.distinct(request, (labels, found) => {
      if (Object.hasOwn(labels, name)) found.add(labels[name]);
    });
  }

  /** What `note` finds in the labels of the streams, sorted. In slices, because streams may be very many. */
  private async distinct(
    request: StreamsRequest,
    note: (labels: Labels, found: Set<string>) => void,
  ): Promise<string[]> {
    const streams = await this.series(request);
    const slices = new Slices();
    const found = new Set<string>();
    for (let i = 0; i < streams.length; i++) {
      note(streams[i], found);
      if (i % STREAMS_A_SLICE === 0) await slices.turn();
    }
    await slices.turn();
    return [...(await sortedInSlices([...found], (a, b) => (a < b ? -1 : 1), slices))];
  }

  series(request: StreamsRequest): Promise<Labels[]> {
    const selectors = parseSelectors(request.selectors);
    const tests = selectors.map(compileSelector);
    // What several selectors take together is no list of values.
    const labels = selectors.length === 1 ? labelValues(selectors[0]) : [];
    const accepts = (labels: Labels) => tests.length === 0 || tests.some((test) => test(labels));
    const tenant = request.tenant ?? DEFAULT_TENANT;
    const { startNs, endNs } = request;
    return this.run(
      "streams",
      request.signal,
      ({ snapshot, hidden, warnings, signal }) => {
        // The answer has no room for them.
        const lost = ({ key }: { key: string }, warning: string) => {
          warnings.push(warning);
          this.deps.log.warn({ key }, `streams: ${warning}`);
        };
        return streamsIn(
          snapshot,
          { tenant, startNs, endNs, accepts, labels, hidden, signal },
          (info) => this.deps.reader.index(info),
          (info, error) => lost(info, lostSegmentWarning(info.key, info.lines, error)),
          (part, error) => lost(part, lostPartWarning(part.key, part.lines, error)),
        );
      },
      { wanted: { ...ALL_LINES, tenant, selectors, startNs, endNs, withText: false } },
    );
  }

  eachBlock(request: StreamsRequest, begin: () => (block: BlockSum) => void): Promise<void> {
    const selectors = parseSelectors(request.selectors);
    const tests = selectors.map(compileSelector);
    const labels = selectors.length === 1 ? labelValues(selectors[0]) : [];
    const accepts = (of: Labels) => tests.length === 0 || tests.some((test) => test(of));
    const { tenant = DEFAULT_TENANT, startNs, endNs, signal } = request;
    return this.run(
      "stats",
      signal,
      async (run) => {
        const wantsStream = (_canonical: string, of: Labels) => accepts(of);
        const times = { startNs, endNs, backward: false };
        const plan = this.plan(run, tenant, times, wantsStream, undefined, labels);
        const visit = begin();
        const slices = new Slices();
        for (let block = await plan.next(); block !== null && !run.signal.aborted; block = await plan.next()) {
          const { rows, textBytes, timeMinNs, timeMaxNs, stream, hide } = block;
          const metadataBytes = block.open?.metadataBytes ?? block.metadataBytes;
          if (hide === null || run.hidden === null) {
            visit({ ...stream, rows, textBytes, metadataBytes, timeMinNs, timeMaxNs });
          } else {
            const { part, ...times } = run.hidden.visiblePart(hide, timeMinNs, timeMaxNs);
            const sizes = { rows: rows * part, textBytes: textBytes * part, metadataBytes: metadataBytes * part };
            if (part > 0) visit({ ...stream, ...sizes, ...times });
          }
          await slices.turn();
        }
      },
      { wanted: { ...ALL_LINES, tenant, selectors, startNs, endNs, withText: false } },
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
        const job = this.job(run, { query: "", ids, startNs, endNs, limit, backward: false, categorize: true });
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
      { wanted: { ...ALL_LINES, tenant, startNs, endNs, ids } },
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
    this.checkBlocked("tail", tenant, query);
    const queueBytes = this.options.tail_queue_bytes;
    const history: LogRequest = { tenant, query, startNs, endNs: TIME_MAX, limit, backward: true, categorize };
    const deadline = new Deadline(parseDurationMs(this.options.tail_max_duration), signal);
    const end = deadline.signal;
    let live: LiveLines | null = null;
    try {
      const begun = await this.beginTail({ tenant, query, categorize, queueBytes }, history, end);
      live = begun.live;
      if (begun.oldest.length > 0) await onEntries(begun.oldest.splice(0), []);
      while (!end.aborted) {
        const { entries: fresh, dropped } = await live.take(delayMs);
        if (fresh.length > 0 || dropped.length > 0) await onEntries(fresh, dropped);
        await sleepFor(TAIL_MS, end);
      }
    } catch (error) {
      if (!end.aborted) throw error;
    } finally {
      deadline.end();
      live?.close();
    }
  }

  /**
   * Begins a tail, and reads its history, which is a query like others and has a query's time. The snapshot is left behind here: as long
   * as a tail lasts, it would hold all that was in memory when it began.
   */
  private async beginTail(
    wanted: TailWanted,
    history: LogRequest,
    end: AbortSignal,
  ): Promise<{ readonly live: LiveLines; readonly oldest: TailEntry[] }> {
    const { tenant } = wanted;
    const { query_timeout: timeoutText, max_streams_matchers_per_query: mostMatchers } = this.limitsOf(tenant);
    checkMatchers(wantedOf(history), mostMatchers);
    const deadline = new Deadline(parseDurationMs(timeoutText), end);
    try {
      for (let tries = 1; ; tries++) {
        const begun = await this.tryTail(wanted, history, deadline, tries < TRIES);
        if (begun !== null) return begun;
      }
    } catch (error) {
      throw deadline.isLate ? deadline.error(error) : error;
    } finally {
      deadline.end();
    }
  }

  /** The same, once. Null when some of the history could not be read because the store has changed, and it `mayRetry`. */
  private async tryTail(
    wanted: TailWanted,
    history: LogRequest,
    deadline: Deadline,
    mayRetry: boolean,
  ): Promise<{ readonly live: LiveLines; readonly oldest: TailEntry[] } | null> {
    const { tenant } = wanted;
    const { signal, endsAtMs } = deadline;
    const hidden = this.hiddenFrom(tenant);
    const { snapshot, ...live } = await this.deps.snapshots.tail(wanted, wantedOf(history));
    const read = async () => {
      const run: Run = { snapshot, hidden, tenant, stats: new QueryStats(), warnings: [], signal, endsAtMs, cut: null };
      const entries = await this.rangeEntries(history, run);
      // As with other queries. Nothing has been given yet, so the whole tail can begin anew.
      if (run.warnings.length > 0 && mayRetry && (await snapshot.segments.isOutdated())) return null;
      // A tail's messages have no room for them.
      for (const warning of run.warnings) this.deps.log.warn({ query: history.query }, `tail: ${warning}`);
      return oldestFirst(entries);
    };
    try {
      const oldest = await deadline.race(this.admission.run(tenant, signal, read));
      if (oldest !== null) return { live, oldest };
    } catch (error) {
      live.close();
      throw error;
    }
    live.close();
    return null;
  }

  async close(): Promise<void> {
    await this.executor.close();
  }

  /** `local` with the help of other queriers, if there are any. */
  private spread(local: ScanExecutor): ScanExecutor {
    const { queriers, querier_key: key, querier_timeout_ms: timeoutMs } = this.options;
    const { version = "", log } = this.deps;
    const { id, peerMetrics: metrics } = this;
    if (queriers.length === 0) return local;
    return new FanExecutor({ addresses: queriers, key, timeoutMs }, { id, version, local, metrics, log });
  }

  /** Runs a query within the limits on time and number, and counts how it ended. */
  private async run<T>(
    kind: string,
    signal: AbortSignal | undefined,
    work: (run: Run) => Promise<T>,
    { wanted, partial = false }: { readonly wanted: WantedLines; readonly partial?: boolean | undefined },
  ): Promise<T> {
    const { tenant } = wanted;
    const { query_timeout: timeoutText, max_streams_matchers_per_query: mostMatchers } = this.limitsOf(tenant);
    checkMatchers(wanted, mostMatchers);
    const timeoutMs = parseDurationMs(timeoutText);
    const deadline = new Deadline(timeoutMs, signal);
    const cut = partial ? new Cut(timeoutMs, timeoutText) : null;
    const started = performance.now();
    let outcome = "failed";
    try {
      const running = this.admission.run(tenant, deadline.signal, async () => {
        const queueMs = performance.now() - started;
        for (let tries = 1; ; tries++) {
          const stats = new QueryStats();
          stats.queueMs = queueMs;
          const hidden = this.hiddenFrom(tenant);
          const snapshot = await this.deps.snapshots.take(wanted);
          const warnings: string[] = [...(snapshot.missing ?? [])];
          const { signal, endsAtMs } = deadline;
          const answer = await work({ snapshot, hidden, tenant, stats, warnings, signal, endsAtMs, cut });
          // What could not be read may have been replaced and deleted while the query ran.
          if (warnings.length > 0 && tries < TRIES && (await snapshot.segments.isOutdated())) continue;
          stats.execMs = performance.now() - started - stats.queueMs;
          return answer;
        }
      });
      const result = await deadline.race(running);
      outcome = "answered";
      return result;
    } catch (error) {
      if (!deadline.signal.aborted) throw error;
      outcome = deadline.isLate ? "timeout" : "cancelled";
      throw deadline.error(error);
    } finally {
      cut?.end();
      deadline.end();
      this.queries.inc({ kind, outcome });
      this.seconds.observe({ kind }, (performance.now() - started) / 1000);
    }
  }

  private checkBlocked(kind: string, tenant: string, query: string): void {
    try {
      checkBlocked(this.limitsOf(tenant).blocked_queries, query);
    } catch (error) {
      if (error instanceof BlockedError) this.queries.inc({ kind, outcome: "blocked" });
      throw error;
    }
  }

  private hiddenFrom(tenant: string): HiddenLines | null {
    const scope = this.deps.hidden?.(tenant) ?? null;
    return scope === null ? null : new HiddenLines(scope);
  }

  private async rangeEntries(request: LogRequest, run: Run): Promise<MergedEntries> {
    const { intervalNs = 0n } = request;
    return intervalNs > 0n ? this.spacedEntries(request, intervalNs, run) : this.onePass(request, run);
  }

  private async onePass(request: LogRequest, run: Run): Promise<MergedEntries> {
    const { query, startNs, endNs, limit, backward, categorize = false, tenant = DEFAULT_TENANT } = request;
    const compiled = compileLogText(query);
    const matches = (_canonical: string, stream: Labels) => compiled.matchesStream(stream);
    const labels = labelValues(parseLogQuery(query).matchers);
    // Nothing but the time decides: find the best times from headers, then inflate only the blocks that hold them.
    const mode = compiled.mayDrop ? "scan" : "times";
    const job = this.job(run, { query, ids: null, startNs, endNs, limit, backward, categorize, mode });
    const deps = this.passDeps(run, this.plan(run, tenant, job, matches, undefined, labels));
    const pass = await new LogPass(job, deps).run();
    if (mode === "scan") {
      run.warnings.push(...lostWarnings(pass.lost));
      return pass.entries;
    }
    if (pass.lost.length === 0) {
      const rows = await fetchRows(pass, this.job(run, { ...job, mode: "rows" }), deps);
      if (rows.lost.length === 0) return rows.entries;
    }
    // A block that could not be read, or whose header is whole and whose text is not, has taken the place of other blocks' lines.
    const again = this.job(run, { ...job, mode: "scan" });
    const scan = await new LogPass(
      again,
      this.passDeps(run, this.plan(run, tenant, again, matches, undefined, labels)),
    ).run();
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

  private job({ tenant, endsAtMs, stats }: Run, wanted: WantedJob): ScanJob {
    const { max_query_bytes_read: textBytesMax } = this.limitsOf(tenant);
    const control = ScanControl.create(wanted.backward);
    // A query may have several passes, and one limit.
    control.addText(stats.stored.textBytes + stats.open.textBytes);
    return { mode: "scan", ...wanted, tenant, endsAtMs, textBytesMax, id: nextJobId(), control: control.memory };
  }

  private plan(
    { snapshot, hidden, warnings, stats }: Run,
    tenant: string,
    { startNs, endNs, backward }: Pick<ScanJob, "startNs" | "endNs" | "backward">,
    wantsStream: (canonical: string, labels: Labels) => boolean,
    wantsBlock?: (mayHoldId: (slot: number, low8: Uint8Array) => boolean) => boolean,
    labels: readonly LabelValues[] = [],
  ): BlockPlan {
    const request = {
      tenant,
      startNs,
      endNs,
      backward,
      wantsStream,
      labels,
      hidden,
      ...(wantsBlock === undefined ? {} : { wantsBlock }),
    };
    const index = (info: SegmentInfo) => this.deps.reader.index(info);
    const onLost = (info: SegmentInfo, error: unknown) =>
      warnings.push(lostSegmentWarning(info.key, info.lines, error));
    const onLostPart = (part: SegmentPart, error: unknown) =>
      warnings.push(lostPartWarning(part.key, part.lines, error));
    return new BlockPlan(snapshot, request, { index, onLost, onLostPart, counts: stats.plan });
  }

  private passDeps({ stats, signal, cut }: Run, plan: BlockPlan): LogRunDeps {
    const { max_result_bytes: maxResultBytes } = this.options;
    const { max_query_bytes_read: maxBytesRead } = this.limitsOf(plan.tenant);
    return { executor: this.executor, plan, stats, maxBytesRead, maxResultBytes, signal, cut };
  }
}

/** What a log query looks at. Throws QueryError. */
function wantedOf({ tenant = DEFAULT_TENANT, query, startNs, endNs }: LogRequest): WantedLines {
  return { ...ALL_LINES, tenant, selectors: [parseLogQuery(query).matchers], startNs, endNs };
}

/** A tail's lines after its history. */
type LiveLines = Pick<TailSource, "take" | "close">;

function oldestFirst(entries: MergedEntries): TailEntry[] {
  return [...entries].reverse().map(({ sec, nsec, group, detail, line }) => ({
    timeNs: BigInt(sec) * 1_000_000_000n + BigInt(nsec),
    group,
    detail,
    line,
  }));
}

/** What is to be said of an answer, each once. */
function warningsOf({ warnings, cut }: Run, more: readonly string[] = []): string[] {
  const ofCut = cut?.warning ?? null;
  return [...new Set([...warnings, ...more, ...(ofCut === null ? [] : [ofCut])])];
}

/** Throws QueryError for a selector with more matchers than `most`; 0 is no limit. */
function checkMatchers({ selectors }: WantedLines, most: number): void {
  for (const { length } of selectors) {
    if (most === 0 || length <= most) continue;
    throw new QueryError(`max streams matchers per query exceeded, matchers-count > limit (${length} > ${most})`);
  }
}
