import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { CompiledDeletes } from "../query/deletes.ts";
import type { RemovalPass, RemovalSource, RemovedBy, RowFilter, Verdict } from "../store/compact/removals.ts";
import type { DeleteRequests } from "../store/deletes.ts";
import { type DeleteRequest, NOTHING_REMOVED, type RemovedLines, sumRemoved } from "../store/deletes-object.ts";
import { mayHoldLabels } from "../store/label-filter.ts";
import type { Retention } from "../store/retention.ts";
import type { SegmentInfo } from "../store/view.ts";
import { idOf, RETENTION, rowFilter } from "./row-filter.ts";

/** Names of written segments that a request's state keeps. Without its name a segment is only looked at once more. */
const CLEAN_KEPT = 2000;

export interface RemovalsDeps {
  readonly retention: Retention;
  readonly deletes: DeleteRequests;
  /** The catalog, as it is when a pass begins. */
  readonly catalog: { refresh(): Promise<void>; chainEnd(partition: number): number };
  /** How long requests only hide, and how long they stay in the list when they are done. */
  readonly deleteWaitMs: number;
  readonly deleteHistoryMs: number;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** What a pass has done for one request. */
interface Progress {
  readonly request: DeleteRequest;
  /** All lines that were there when the request was made are in segments that the pass can see. */
  readonly reached: boolean;
  /** Segments that were seen to hold none of its lines, and those of them that compaction has written. */
  readonly clean: Set<string>;
  readonly written: Set<string>;
  /** Segments that may hold some, and those of them that are done with. */
  readonly judged: Set<string>;
  readonly done: Set<string>;
}

/**
 * What compaction removes: lines past their retention, and lines of deletion requests. Each pass of compaction takes one
 * `begin` before it looks at the catalog.
 */
export class StoreRemovals implements RemovalSource {
  private readonly deps: RemovalsDeps;
  /** Segments that were looked at for expired streams, and how many periods had passed for them then. */
  private looked = new Map<string, number>();
  /** By request, the segments that hold none of its lines. */
  private readonly clean = new Map<string, Set<string>>();
  /** By request, what was removed and could not be noted yet. */
  private readonly unnoted = new Map<string, RemovedLines>();
  /** Requests of which a state can't be read. */
  private readonly damaged = new Set<string>();
  private readonly linesRemoved;

  constructor(deps: RemovalsDeps) {
    this.deps = deps;
    this.linesRemoved = deps.metrics.counter(
      "weir_store_removed_lines_total",
      "Lines that compaction has removed, by why: they were past their retention, or deleted by request.",
      ["why"],
    );
  }

  /** What the pass that begins now removes. From here on, none of its requests can be cancelled without force. */
  async begin(): Promise<StoreRemovalPass> {
    const { deletes, catalog, deleteWaitMs, deleteHistoryMs, now } = this.deps;
    await deletes.refresh();
    await catalog.refresh();
    const nowMs = now();
    await deletes.forget(nowMs - deleteHistoryMs);
    const progress: Progress[] = [];
    for (const request of deletes.activeTenants().flatMap((tenant) => deletes.active(tenant))) {
      if (nowMs - request.createdMs < deleteWaitMs || !(await this.hasBegun(request))) continue;
      const reached = Object.entries(request.upto).every(([part, next]) => catalog.chainEnd(Number(part)) >= next);
      const written = new Set(deletes.state(request)?.clean);
      const clean = this.clean.get(idOf(request)) ?? new Set(written);
      progress.push({ request, reached, clean, written, judged: new Set(), done: new Set() });
    }
    this.clean.clear();
    for (const { request, clean } of progress) this.clean.set(idOf(request), clean);
    return new StoreRemovalPass(
      this.deps,
      { progress, nowMs, looked: this.looked, unnoted: this.unnoted },
      (looked) => {
        this.looked = looked;
      },
    );
  }

  /** A new request is taken on by the next pass; what it has to wait for can wait. */
  isDue(): boolean {
    const { deletes, deleteWaitMs, now } = this.deps;
    const ripe = now() - deleteWaitMs;
    const isDue = (one: DeleteRequest) =>
      one.createdMs <= ripe && deletes.state(one) === null && !this.damaged.has(idOf(one));
    return deletes.activeTenants().some((tenant) => deletes.active(tenant).some(isDue));
  }

  /** Whether the request is to be worked on. One of which a state can't be read goes on hiding its lines, and holds up nothing else. */
  private async hasBegun(request: DeleteRequest): Promise<boolean> {
    const id = idOf(request);
    try {
      const hasBegun = await this.deps.deletes.begin(request);
      this.damaged.delete(id);
      return hasBegun;
    } catch (error) {
      if (codeOf(error) !== "delete_corrupt") throw error;
      this.damaged.add(id);
      this.deps.log.error({ id }, `delete: ${messageOf(error)}; until then its lines are hidden, and not removed`);
      return false;
    }
  }

  /** Counts what a pass has removed. */
  count(removed: RemovedBy): void {
    for (const [id, { lines }] of removed)
      this.linesRemoved.inc({ why: id === RETENTION ? "retention" : "delete" }, lines);
  }
}

/** One pass of compaction over the store: what it is to remove, and what became of it. */
export class StoreRemovalPass implements RemovalPass {
  private readonly deps: RemovalsDeps;
  private readonly progress: readonly Progress[];
  private readonly nowMs: number;
  private readonly looked: ReadonlyMap<string, number>;
  private readonly lookedNow = new Map<string, number>();
  private readonly unnoted: Map<string, RemovedLines>;
  private readonly keepLooked: (looked: Map<string, number>) => void;
  private readonly compiled = new CompiledDeletes();

  constructor(
    deps: RemovalsDeps,
    of: {
      readonly progress: readonly Progress[];
      readonly nowMs: number;
      readonly looked: ReadonlyMap<string, number>;
      readonly unnoted: Map<string, RemovedLines>;
    },
    keepLooked: (looked: Map<string, number>) => void,
  ) {
    this.deps = deps;
    this.progress = of.progress;
    this.nowMs = of.nowMs;
    this.looked = of.looked;
    this.unnoted = of.unnoted;
    this.keepLooked = keepLooked;
  }

  judge(segment: SegmentInfo): Verdict {
    const { retention } = this.deps;
    const expiry = retention.expiry(segment, this.nowMs);
    if (expiry === "all") return { all: RETENTION };
    let verdict: Verdict = "keep";
    if (expiry === "some") {
      const periods = this.periodsPast(segment);
      if (this.looked.get(segment.key) === periods) this.lookedNow.set(segment.key, periods);
      else verdict = "check";
    }
    for (const one of this.progress) {
      if (!this.mayTouch(one.request, segment)) continue;
      // A page of the catalog may be judged as if it were a segment; it has no bytes of its own.
      if (segment.bytes > 0) one.judged.add(segment.key);
      if (one.clean.has(segment.key)) one.done.add(segment.key);
      else verdict = "check";
    }
    return verdict;
  }

  get filter(): RowFilter {
    const { deps, progress, compiled, nowMs } = this;
    const requestsOf = (tenant: string) =>
      progress.map(({ request }) => request).filter((one) => one.tenant === tenant && this.isWanted(one));
    return rowFilter(deps.retention, requestsOf, compiled, nowMs);
  }

  /** A segment that was to be checked holds nothing that goes; it stays as it is. */
  kept(segment: SegmentInfo): void {
    this.lookedNow.set(segment.key, this.periodsPast(segment));
    this.touched(segment, (one) => one.clean.add(segment.key));
  }

  /** The catalog has `outputs` in place of `inputs`, without what was removed. */
  async replaced(
    inputs: readonly SegmentInfo[],
    outputs: readonly SegmentInfo[],
    removed: RemovedBy,
    segments = inputs.length,
  ): Promise<void> {
    for (const output of outputs) {
      this.lookedNow.set(output.key, this.periodsPast(output));
      for (const { request, clean, written } of this.progress) {
        if (!this.mayTouch(request, output)) continue;
        clean.add(output.key);
        written.add(output.key);
      }
    }
    for (const input of inputs)
      this.touched(input, ({ clean, written }) => {
        clean.delete(input.key);
        written.delete(input.key);
      });
    for (const one of this.progress) {
      const took = removed.get(idOf(one.request));
      if (took !== undefined) await this.note(one, { ...took, segments });
    }
  }

  /**
   * The pass is over. `complete`: every segment of the catalog that it had to look at was kept or replaced. Requests
   * that waited for nothing else are done then.
   */
  async end(complete: boolean): Promise<void> {
    if (!complete) return;
    this.keepLooked(this.lookedNow);
    for (const { request, reached } of this.progress) {
      if (!reached || !this.isWanted(request)) continue;
      await this.deps.deletes.finish(request, this.unnoted.get(idOf(request)) ?? NOTHING_REMOVED);
      this.unnoted.delete(idOf(request));
    }
  }

  private periodsPast({ tenant, timeMaxNs }: SegmentInfo): number {
    return this.deps.retention.periodsPast(tenant, timeMaxNs, this.nowMs);
  }

  /** False once somebody has cancelled it, by force. */
  private isWanted(request: DeleteRequest): boolean {
    return this.deps.deletes.state(request)?.status === "processing";
  }

  private mayTouch({ tenant, query, startNs, endNs }: DeleteRequest, segment: SegmentInfo): boolean {
    if (segment.tenant !== tenant || segment.timeMaxNs < startNs || segment.timeMinNs > endNs) return false;
    return mayHoldLabels(segment.labelFilter, this.compiled.query(query).labels);
  }

  private touched(segment: SegmentInfo, act: (one: Progress) => void): void {
    for (const one of this.progress) {
      if (!this.mayTouch(one.request, segment)) continue;
      act(one);
      one.done.add(segment.key);
    }
  }

  /** Notes what was removed in the request's state. What can't be noted now is noted with the next. */
  private async note(one: Progress, more: RemovedLines): Promise<void> {
    const id = idOf(one.request);
    const removed = sumRemoved(this.unnoted.get(id) ?? NOTHING_REMOVED, more);
    this.unnoted.set(id, removed);
    // A segment may be looked at that was not there at the beginning, and 100 is for the end.
    const percent = Math.min(99, Math.floor((100 * one.done.size) / Math.max(1, one.judged.size)));
    const clean = [...one.written].slice(-CLEAN_KEPT);
    try {
      await this.deps.deletes.note(one.request, { removed, percent, clean });
      this.unnoted.delete(id);
    } catch (error) {
      if (!(error instanceof WeirError)) throw error;
      this.deps.log.warn(
        { id, code: error.code },
        `delete: can't note what was removed: ${error.message}; it is noted later`,
      );
    }
  }
}
