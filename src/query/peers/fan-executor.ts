import { WeirError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import {
  type BatchBlock,
  type BatchResult,
  emptyResult,
  ScanControl,
  type ScanExecutor,
  type ScanJob,
} from "../scan-job.ts";
import { type Lookup, systemLookup } from "./address.ts";
import { AnswerRoom } from "./ask.ts";
import { ResultFits } from "./fits.ts";
import type { PeerMetrics } from "./metrics.ts";
import type { Peer } from "./peer.ts";
import { PeerList } from "./peer-list.ts";
import { decodeResult } from "./result-frame.ts";
import { encodeScanRequest } from "./scan-request.ts";

/** Tries of a batch at other queriers; after that it is scanned here, so that a batch that breaks scanners breaks few. */
const PEER_TRIES_MAX = 2;
/** Most bytes of one answer: a batch has some 8 MiB of lines. What gives more is scanned here. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024;
const ANSWERS_BYTES_MAX = 256 * 1024 * 1024;
/** How long the last batches of a query may be away while there is nothing left to do here, before they are done here as well. */
const OVERDUE_MS = 1000;
/** Timers of one time may come so much apart. */
const DEADLINE_SLACK_MS = 50;

export interface FanOptions {
  readonly addresses: readonly string[];
  readonly key: string;
  /** Longest wait for a batch from another querier. */
  readonly timeoutMs: number;
}

export interface FanDeps {
  /** This process, and its version of Weir. */
  readonly id: string;
  readonly version: string;
  /** The own threads. */
  readonly local: ScanExecutor;
  readonly metrics: PeerMetrics;
  readonly log: Logger;
  readonly lookup?: Lookup;
}

/** One batch on its way. */
interface Task {
  readonly job: ScanJob;
  readonly blocks: readonly BatchBlock[];
  readonly resolve: (result: BatchResult) => void;
  readonly reject: (error: unknown) => void;
  /** Times that it was given to another querier. */
  tries: number;
  /** Who could not read so many of its blocks. */
  lost: { readonly peer: Peer; readonly blocks: number } | null;
  /** Where it is now: at most at one other querier, and here. */
  peer: Peer | null;
  leave: AbortController | null;
  isHere: boolean;
  sentAtMs: number;
  isSettled: boolean;
}

interface Query {
  readonly tasks: Set<Task>;
  /** Those that are nowhere. */
  readonly waiting: Task[];
  fits: ResultFits | null;
}

/**
 * Spreads batches over the own threads and other queriers: each gets the next one when it is done with another, so a slow one
 * gets less. A batch that another querier does not answer as it should is given to one more, and then scanned here; so is one of which it
 * could not read all. Batches with blocks that are in memory only are always scanned here.
 */
export class FanExecutor implements ScanExecutor {
  private readonly options: FanOptions;
  private readonly deps: FanDeps;
  private readonly peers: PeerList;
  private readonly room = new AnswerRoom(ANSWERS_BYTES_MAX);
  /** Queries with batches under way; those that have some waiting take turns in the order of the map. */
  private readonly queries = new Map<number, Query>();
  private localInFlight = 0;
  private isClosed = false;
  private overdueTimer: NodeJS.Timeout | undefined;

  constructor(options: FanOptions, deps: FanDeps) {
    this.options = options;
    this.deps = deps;
    const { id, version, metrics, log, lookup = systemLookup } = deps;
    this.peers = new PeerList(options.addresses, {
      id,
      version,
      key: options.key,
      room: this.room,
      now: () => performance.now(),
      lookup,
      log,
      onReady: () => this.fill(),
      onChange: ({ name }, trouble) => this.tell(name, trouble),
      onGone: (peer) => this.onGone(peer),
    });
    metrics.peers = () => this.peers.all;
  }

  get parallel(): number {
    return this.deps.local.parallel + this.readyPeers().reduce((sum, { parallel }) => sum + parallel, 0);
  }

  get ahead(): number {
    return this.deps.local.ahead + this.readyPeers().reduce((sum, { window }) => sum + window, 0);
  }

  run(job: ScanJob, blocks: readonly BatchBlock[]): Promise<BatchResult> {
    if (this.isClosed) return Promise.reject(new WeirError("query_closed", "queries: the process is stopping"));
    if (new ScanControl(job.control, job.backward).stopped) return Promise.resolve(emptyResult());
    return new Promise((resolve, reject) => {
      const task: Task = {
        ...{ job, blocks, resolve, reject },
        ...{ tries: 0, lost: null, peer: null, leave: null, isHere: false, sentAtMs: 0, isSettled: false },
      };
      const query = this.queryOf(job);
      query.tasks.add(task);
      if (blocks.some(({ bytes }) => bytes !== null)) this.scanHere(task);
      else query.waiting.push(task);
      this.fill();
    });
  }

  /** Batches that are elsewhere are given up at once, and their connections with them: that is how the other end hears of it. */
  stop(job: ScanJob): void {
    this.deps.local.stop(job);
    for (const task of this.queries.get(job.id)?.tasks ?? []) {
      if (!task.isHere) this.settle(task, () => task.resolve(emptyResult()));
    }
  }

  /** Others know the bound of the time when they were asked. A batch of which nothing is wanted any more is given up, wherever it is. */
  bounded(job: ScanJob): void {
    const control = new ScanControl(job.control, job.backward);
    for (const task of this.queries.get(job.id)?.tasks ?? []) {
      const isWanted = task.blocks.some(({ timeMinNs, timeMaxNs }) => control.wantsBlock(timeMinNs, timeMaxNs));
      if (!task.isHere && !isWanted) this.settle(task, () => task.resolve(emptyResult()));
    }
  }

  end(job: ScanJob): void {
    for (const task of this.queries.get(job.id)?.tasks ?? []) this.settle(task, () => task.reject(cancelled()));
    this.queries.delete(job.id);
    this.deps.local.end(job);
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.overdueTimer);
    for (const { tasks } of this.queries.values()) {
      for (const task of tasks) if (!task.isHere) this.settle(task, () => task.reject(cancelled()));
    }
    this.peers.close();
    await this.deps.local.close();
  }

  private queryOf({ id }: ScanJob): Query {
    const known = this.queries.get(id);
    if (known !== undefined) return known;
    const query: Query = { tasks: new Set(), waiting: [], fits: null };
    this.queries.set(id, query);
    return query;
  }

  private readyPeers(): Peer[] {
    return [...this.peers.all].filter((peer) => peer.isReady);
  }

  /** Hands out what waits, each time to whoever has the least to do for what it can do at one time. */
  private fill(): void {
    if (this.isClosed) return;
    for (const peer of this.peers.all) peer.greet();
    for (;;) {
      const places = this.places();
      const isGiven = places.some(({ peer }) => {
        const task = this.next(peer);
        if (task === null) return false;
        if (peer === null) this.scanHere(task);
        else this.send(task, peer);
        return true;
      });
      if (!isGiven) break;
    }
    this.watchOverdue();
  }

  /** Where there is room, the least busy first; equally busy, this process. Null stands for it. */
  private places(): { peer: Peer | null; load: number }[] {
    const { local } = this.deps;
    const here = this.localInFlight < local.ahead ? [{ peer: null, load: this.localInFlight / local.parallel }] : [];
    const there = [...this.peers.all].flatMap((peer) =>
      peer.hasRoom ? [{ peer, load: peer.inFlight / peer.parallel }] : [],
    );
    return [...here, ...there].sort((a, b) => a.load - b.load);
  }

  /** Takes the next batch that the place may have, of the query whose turn it is. */
  private next(peer: Peer | null): Task | null {
    for (const [id, query] of this.queries) {
      const at = query.waiting.findIndex(
        ({ tries, lost }) => peer === null || (tries < PEER_TRIES_MAX && lost === null),
      );
      if (at === -1) continue;
      const [task] = query.waiting.splice(at, 1);
      // To the end of the line.
      this.queries.delete(id);
      this.queries.set(id, query);
      return task;
    }
    return null;
  }

  private scanHere(task: Task): void {
    const { local } = this.deps;
    this.localInFlight++;
    task.isHere = true;
    // What comes next is handed out before the answer is looked at: that is what keeps the threads busy.
    const done = (answer: () => void) => {
      this.localInFlight--;
      this.fill();
      this.settle(task, answer);
    };
    local.run(task.job, task.blocks).then(
      (result) => {
        this.compare(task, result);
        done(() => task.resolve(result));
      },
      (error: unknown) => done(() => task.reject(error)),
    );
  }

  private send(task: Task, peer: Peer): void {
    const { job, blocks } = task;
    const { metrics } = this.deps;
    task.tries++;
    const timeoutMs = Math.min(this.options.timeoutMs, job.endsAtMs - performance.now());
    const body = timeoutMs <= 0 ? null : this.encode(task, timeoutMs);
    if (body === null) {
      this.scanHere(task);
      return;
    }
    const leave = new AbortController();
    Object.assign(task, { peer, leave, sentAtMs: performance.now() });
    peer
      .scan(body, timeoutMs, ANSWER_BYTES_MAX, leave.signal)
      .then((frame) => {
        metrics.receivedBytes.inc({ peer: peer.name }, frame.length);
        if (task.isSettled) return;
        const result = decodeResult(frame);
        const query = this.queryOf(job);
        query.fits ??= new ResultFits(job);
        query.fits.check(result, blocks);
        if (result.lost.length > 0) {
          // It may be the only one that can't read them: nothing is said to be missing before it was looked for here.
          task.lost = { peer, blocks: result.lost.length };
          metrics.requests.inc({ peer: peer.name, outcome: "lost" });
          this.giveBack(task);
          return;
        }
        peer.succeeded();
        metrics.requests.inc({ peer: peer.name, outcome: "done" });
        new ScanControl(job.control, job.backward).addText(result.stats.textBytes);
        this.settle(task, () => task.resolve({ ...result, peer: peer.name }));
      })
      .catch((error: unknown) => this.onFailed(task, peer, leave, error))
      .finally(() => this.fill());
  }

  /** One who can't read what can be read here is of no use now. */
  private compare({ job, blocks, lost }: Task, result: BatchResult): void {
    if (lost === null || result.lost.length >= lost.blocks) return;
    const control = new ScanControl(job.control, job.backward);
    // What is no longer wanted was not read here.
    if (control.stopped || blocks.some(({ timeMinNs, timeMaxNs }) => !control.wantsBlock(timeMinNs, timeMaxNs))) return;
    const text = `querier ${lost.peer.name}: can't read blocks that can be read here: see that it has the same store, and can read it`;
    lost.peer.fail(new WeirError("querier_unavailable", text, { retriable: true }));
  }

  private encode({ job, blocks }: Task, timeoutMs: number): Buffer | null {
    const control = new ScanControl(job.control, job.backward);
    // What is better than the best so far is all that is still wanted: as far as it is known now.
    const { boundNs, textBytes } = control;
    // A batch elsewhere may read what the query has left to read; 0 would be no limit.
    const textBytesMax = job.textBytesMax === 0 ? 0 : Math.max(1, job.textBytesMax - textBytes);
    return encodeScanRequest(this.deps.version, { job: { ...job, textBytesMax }, boundNs, timeoutMs, blocks });
  }

  private onFailed(task: Task, peer: Peer, leave: AbortController, error: unknown): void {
    const { metrics } = this.deps;
    if (leave.signal.aborted) {
      metrics.requests.inc({ peer: peer.name, outcome: "left" });
      return;
    }
    const isBusy = error instanceof WeirError && error.code === "querier_busy";
    metrics.requests.inc({ peer: peer.name, outcome: isBusy ? "busy" : "failed" });
    // A query whose time is up says nothing about who had its last batches.
    if (!isBusy && performance.now() < task.job.endsAtMs - DEADLINE_SLACK_MS) peer.fail(error);
    this.giveBack(task);
  }

  /** The batch is no longer where it was. */
  private giveBack(task: Task): void {
    task.peer = null;
    task.leave = null;
    if (!task.isSettled && !task.isHere) this.queryOf(task.job).waiting.unshift(task);
  }

  /** Answers a batch, once; whoever else has it is told that it is no longer wanted. */
  private settle(task: Task, answer: () => void): void {
    if (task.isSettled) return;
    task.isSettled = true;
    const query = this.queries.get(task.job.id);
    query?.tasks.delete(task);
    const at = query?.waiting.indexOf(task) ?? -1;
    if (at !== -1) query?.waiting.splice(at, 1);
    const { leave } = task;
    task.leave = null;
    leave?.abort();
    answer();
  }

  private tell(querier: string, trouble: string | null): void {
    const { log } = this.deps;
    if (trouble === null) log.info({ querier }, "query: another querier takes part");
    else log.warn({ querier, reason: trouble }, "query: another querier can't be used; its part is done elsewhere");
  }

  private onGone(peer: Peer): void {
    for (const { tasks } of this.queries.values()) {
      for (const task of tasks) {
        if (task.peer !== peer) continue;
        task.leave?.abort();
        this.giveBack(task);
      }
    }
    this.deps.metrics.forget(peer);
    this.fill();
  }

  /**
   * When there is nothing left to hand out, and threads here have nothing to do, the batch that is away the longest is scanned here as
   * well, once it is overdue: one querier that hangs must not hold up all for its whole timeout.
   */
  private watchOverdue(): void {
    clearTimeout(this.overdueTimer);
    const { local } = this.deps;
    if (this.localInFlight >= local.parallel) return;
    const away = [...this.queries.values()].flatMap(({ tasks }) =>
      [...tasks].filter(({ peer, isHere }) => peer !== null && !isHere),
    );
    const [oldest] = away.sort((a, b) => a.sentAtMs - b.sentAtMs);
    if (oldest === undefined) return;
    const waitMs = oldest.sentAtMs + OVERDUE_MS - performance.now();
    const scan = () => {
      if (!oldest.isSettled && oldest.peer !== null && !oldest.isHere) this.scanHere(oldest);
      this.fill();
    };
    this.overdueTimer = setTimeout(scan, Math.max(0, waitMs)).unref();
  }
}

function cancelled(): WeirError {
  return new WeirError("query_cancelled", "the request was cancelled by the client");
}
