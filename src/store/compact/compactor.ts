import { codeOf, messageOf, WeirError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { ObjectStore } from "../../objects/store.ts";
import type { Catalog } from "../catalog.ts";
import { isPageLost } from "../errors.ts";
import type { SegmentInfo } from "../view.ts";
import { holdsRemovable } from "./check.ts";
import { MergeClaims } from "./claims.ts";
import { type MergeResult, mergeSegments } from "./merge.ts";
import { type CompactMetrics, compactMetrics } from "./metrics.ts";
import type { CompactorOptions } from "./options.ts";
import { Pace } from "./pace.ts";
import { type Job, planJobs } from "./plan.ts";
import { findRemovals } from "./removal-work.ts";
import { NO_REMOVALS, type RemovalPass, type RemovalSource, type Removed } from "./removals.ts";
import { TenantPages } from "./tenant-pages.ts";

const DAY_MS = 86_400_000;
const LOST = "another compactor was quicker";
/**
 * Segments' worth of bytes that one merge takes in at most. Its outputs are numbered with four digits in their names, and come in
 * that order: compressed less, or cut by days, they may be more than that.
 */
const JOB_SEGMENTS_MAX = 4096;
/** How long a pass begins new merges: replaced segments are to be deleted in time, and removals looked for. */
const PASS_MS = 600_000;
/** Merges of one tenant that others were quicker with, one after the other, before the next tenant has its turn. */
const LOST_MAX = 8;
/**
 * A leftover is as old as this at least, whatever the grace time: a segment that was just flushed has no name until its entry is
 * there, which takes the writer far less (UNNAMED_MS), and nobody can tell it from a leftover.
 */
const LEFTOVER_MS = 3_600_000;
/** Far less than any sensible grace time, in which what was replaced is still known. */
const UNSURE_MS = 60_000;
/** Damage that trying again cannot mend: the segment is left alone until the process starts anew. */
const DAMAGE: readonly string[] = ["block_corrupt", "segment_corrupt"];

export interface CompactorDeps {
  readonly objects: ObjectStore;
  readonly catalog: Catalog;
  /** Text of a block at most: `store.block_bytes`. */
  readonly blockBytes: number;
  /** What is to be left out; null for nothing. */
  readonly removals: RemovalSource | null;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Ends what is under way, which is then as if it had never begun. */
  readonly signal: AbortSignal;
  /** For measurements of everything but the merging itself. */
  readonly merge?: typeof mergeSegments;
  /** Milliseconds that only go forward; performance.now unless a test hands in others. */
  readonly ticks?: () => number;
}

/** What a pass did. */
export interface PassReport {
  merges: number;
  segmentsIn: number;
  segmentsOut: number;
  bytesIn: number;
  bytesOut: number;
  removedLines: number;
  deleted: number;
  /** Whether there is more to do at once. */
  more: boolean;
}

/** What became of a merge: `lost` when another compactor was quicker, `late` when it took too long to be safe. */
type Outcome = "done" | "lost" | "late";

/**
 * Keeps a store in shape: takes new entries into the manifest, merges segments, leaves out what is to be removed, deletes what was
 * replaced. Needs no lock: what it makes becomes visible by one change of the catalog, which fails when somebody else was
 * quicker, and what it leaves behind when it is killed is nobody's and swept one day.
 *
 * Several compactors share the work by notes in the store (claims.ts). Should two merge the same segments all the same, the slower
 * one notices within seconds that they are gone, and goes on with others.
 */
export class Compactor {
  private readonly options: CompactorOptions;
  private readonly deps: CompactorDeps;
  private readonly pace: Pace;
  private readonly metrics: CompactMetrics;
  private readonly pages: TenantPages;
  private readonly claims: MergeClaims;
  private readonly ticks: () => number;
  /** Keys of segments that can't be read. */
  private readonly damaged = new Set<string>();
  private report: PassReport = emptyReport();

  constructor(options: CompactorOptions, deps: CompactorDeps) {
    this.options = options;
    this.deps = deps;
    const { sleep, signal } = deps;
    this.ticks = deps.ticks ?? (() => performance.now());
    this.pace = new Pace(options.cpu_share, { sleep, signal, now: this.ticks });
    this.pages = new TenantPages(deps.catalog);
    this.metrics = compactMetrics(deps.metrics, () => this.pages.lostPages());
    this.claims = new MergeClaims({ ...deps, ticks: this.ticks });
  }

  /**
   * One look at the whole catalog, and all merges that are due. Rejects with the store's errors when the catalog can't be
   * read or changed, and with `aborted`; a merge that fails is logged and left for the next pass.
   */
  async pass({ removals }: { readonly removals: boolean }): Promise<PassReport> {
    const { catalog, signal } = this.deps;
    const began = this.ticks();
    this.report = emptyReport();
    const source = removals ? this.deps.removals : null;
    const pass = source === null ? NO_REMOVALS : await source.begin();
    await catalog.refresh();
    if (catalog.foldIsDue()) await catalog.fold(signal);
    if (source !== null) await pass.end(await this.remove(pass, source));
    await this.merge(pass, source, began + PASS_MS);
    this.metrics.passed((this.ticks() - began) / 1000);
    return this.report;
  }

  /** Deletes what was replaced longer ago than the grace time. */
  async collect(): Promise<number> {
    const deleted = await this.deps.catalog.collect(this.options.grace_ms, this.deps.signal);
    this.metrics.deleted(deleted);
    return deleted;
  }

  /** Deletes what nobody names. */
  async sweep(): Promise<number> {
    const { deleted, bytes } = await this.deps.catalog.sweep(Math.max(this.options.grace_ms, LEFTOVER_MS));
    this.metrics.deleted(deleted);
    if (deleted > 0) this.deps.log.info({ deleted, bytes }, "compaction: deleted leftovers that nothing names");
    return deleted;
  }

  /** Handles every segment that may have lines to be removed. Whether it could handle them all. */
  private async remove(pass: RemovalPass, source: RemovalSource): Promise<boolean> {
    const { catalog, signal, log } = this.deps;
    let work = await findRemovals(catalog.view(), pass, this.pace.turn);
    if (work.inTail) {
      // Only what is in the manifest can be replaced.
      await catalog.fold(signal);
      work = await findRemovals(catalog.view(), pass, this.pace.turn);
    }
    for (const { key, error } of work.lost) {
      log.error({ key, code: codeOf(error) }, `compaction: nothing is removed from it: ${messageOf(error)}`);
    }
    let complete = !work.inTail && work.lost.length === 0;
    for (const [tenant, gone] of work.whole) {
      const counts = new Map<string, Removed>();
      for (const { info, id } of gone) {
        const sum = counts.get(id) ?? { lines: 0, bytes: 0 };
        counts.set(id, { lines: sum.lines + info.lines, bytes: sum.bytes + info.textBytes });
      }
      const infos = gone.map(({ info }) => info);
      const done = await catalog.replace({ tenant, remove: infos.map(({ key }) => key), add: [] }, signal);
      complete &&= done;
      if (!done) continue;
      source.count(counts);
      await pass.replaced(infos, [], counts);
      for (const { lines } of counts.values()) this.report.removedLines += lines;
      this.report.segmentsIn += infos.length;
    }
    for (const info of work.parts) {
      const outcome = await this.attempt([info], async () => {
        if (await holdsRemovable(info, { ...this.deps, pace: this.pace, filter: pass.filter })) {
          return this.run({ tenant: info.tenant, segments: [info] }, pass, source);
        }
        pass.kept(info);
        return "done";
      });
      complete &&= outcome === "done";
    }
    return complete;
  }

  /** Merges until nothing is due, or `until`. */
  private async merge(pass: RemovalPass, source: RemovalSource | null, until: number): Promise<void> {
    const { now, log } = this.deps;
    const { settle_ms } = this.options;
    const settled = (day: number) => (day + 1) * DAY_MS + settle_ms <= now();
    this.pages.beginPass();
    for (const tenant of shuffled(this.pages.tenants(settled))) {
      for (let lost = 0; lost < LOST_MAX; ) {
        await this.pace.turn();
        let jobs: Job[];
        try {
          const { segments, newlyLost, mayOverlapLost, markDone } = await this.pages.load(tenant, settled);
          for (const { page, error } of newlyLost) {
            log.error(
              { tenant, key: page.key, code: codeOf(error) },
              `compaction: a page of the catalog can't be read: ${messageOf(error)}; its segments, and those that overlap them in time, are left as they are`,
            );
          }
          const isOut = (info: SegmentInfo) => this.damaged.has(info.key) || mayOverlapLost(info);
          jobs = planJobs(segments, this.planOptions, settled, isOut);
          if (jobs.length === 0) markDone();
        } catch (error) {
          if (codeOf(error) === "aborted") throw error;
          log.error({ tenant, code: codeOf(error) }, `compaction: can't plan: ${messageOf(error)}`);
          break;
        }
        if (jobs.length === 0) {
          if (this.pages.tenants(settled).includes(tenant)) continue;
          break;
        }
        const isOthers = await this.claims.others();
        const job = jobs.find(({ segments }) => !isOthers(segments));
        // What others are at is looked at again at the next pass.
        if (job === undefined) break;
        const outcome = await this.attempt(job.segments, () => this.run(job, pass, source));
        // A damaged segment is left out of the next plan, and one that another compactor has taken is not there any more.
        if (outcome === "failed" || outcome === "late") break;
        lost = outcome === "lost" ? lost + 1 : 0;
        if (this.ticks() >= until) {
          this.report.more = true;
          return;
        }
      }
    }
  }

  private get planOptions() {
    const { fan_in, fan_in_above, job_bytes, segment_bytes, index_memory_bytes } = this.options;
    return {
      fanIn: fan_in,
      fanInAbove: fan_in_above,
      jobBytes: Math.min(job_bytes, JOB_SEGMENTS_MAX * segment_bytes),
      segmentBytes: segment_bytes,
      blockBytes: this.deps.blockBytes,
      indexMemoryBytes: index_memory_bytes,
    };
  }

  /** Runs work on segments, unless another compactor has begun with them; says what became of it. An error that concerns them alone is logged. */
  private async attempt(
    segments: readonly SegmentInfo[],
    work: () => Promise<Outcome>,
  ): Promise<Outcome | "damaged" | "failed"> {
    if (!(await this.claims.take(segments))) return "lost";
    try {
      // Whoever had noted them may have been through just now.
      return (await this.areNamed(segments)) ? await work() : "lost";
    } catch (error) {
      if (!(error instanceof WeirError) || error.code === "aborted") throw error;
      const { code, message, context } = error;
      this.metrics.ended("failed");
      const key = String(context.key ?? "");
      const damaged = DAMAGE.includes(code) || (code === "object_missing" && (await this.isNamed(segments, key)));
      if (damaged && segments.some((info) => info.key === key)) {
        this.damaged.add(key);
        this.deps.log.error({ key, code }, `compaction: ${message}; the segment is left as it is`);
        return "damaged";
      }
      this.deps.log.warn({ code, segments: segments.length }, `compaction: ${message}; it is tried again later`);
      return "failed";
    } finally {
      await this.claims.release(segments);
    }
  }

  /** Whether the catalog still names a segment that is not there; another compactor may have replaced it. */
  private async isNamed(segments: readonly SegmentInfo[], key: string): Promise<boolean> {
    const info = segments.find((segment) => segment.key === key);
    return info !== undefined && this.areNamed([info]);
  }

  /** Whether the catalog names all of some segments of one tenant, as it is now. */
  private async areNamed(segments: readonly SegmentInfo[]): Promise<boolean> {
    await this.deps.catalog.refresh();
    const [{ tenant }] = segments;
    let { timeMinNs, timeMaxNs } = segments[0];
    for (const info of segments) {
      if (info.timeMinNs < timeMinNs) timeMinNs = info.timeMinNs;
      if (info.timeMaxNs > timeMaxNs) timeMaxNs = info.timeMaxNs;
    }
    const query = { tenant, startNs: timeMinNs, endNs: timeMaxNs + 1n };
    const named = await this.deps.catalog.view().segments(query, (_part, error) => {
      // A page that is damaged costs its own segments only.
      if (!isPageLost(error)) throw error;
    });
    const keys = new Set(named.map(({ key }) => key));
    return segments.every(({ key }) => keys.has(key));
  }

  /** Merges segments and puts the result in their place. */
  private async run({ tenant, segments }: Job, pass: RemovalPass, source: RemovalSource | null): Promise<Outcome> {
    const { objects, catalog, signal, blockBytes, merge = mergeSegments } = this.deps;
    const { options, pace } = this;
    const began = this.ticks();
    let firstOutput: number | null = null;
    const written: string[] = [];
    const merging = () =>
      merge(
        segments,
        {
          level: options.level,
          blockBytes,
          segmentBytes: options.segment_bytes,
          fullPart: options.full_part,
          indexMemoryBytes: options.index_memory_bytes,
          readMemoryBytes: options.read_memory_bytes,
        },
        {
          objects,
          pace,
          filter: pass.filter,
          onOutput: (key) => {
            firstOutput ??= this.ticks();
            written.push(key);
          },
        },
      );
    const result = await this.cleanly(written, () => this.untilLost(segments, merging));
    if (result === null) return this.drop(written, "lost", 0);
    const { inputs, outputs, removed } = result;
    // Outputs that nobody names yet are taken for leftovers at the grace time, also by others, whose clocks may differ.
    const age = firstOutput === null ? 0 : this.ticks() - firstOutput;
    const keys = outputs.map(({ key }) => key);
    if (options.grace_ms > 0 && age > options.grace_ms / 2) return this.drop(keys, "late", age);
    const remove = inputs.map(({ key }) => key);
    const asked = this.ticks();
    if (!(await catalog.replace({ tenant, remove, add: outputs }, signal))) {
      // After a long fight with the store it can't be told any more whether they were named for a while: what is left is swept.
      return this.drop(this.ticks() - asked < UNSURE_MS ? keys : [], "lost", age);
    }
    const seconds = (this.ticks() - began) / 1000;
    this.metrics.merged(result, seconds);
    source?.count(removed);
    await pass.replaced(inputs, outputs, removed);
    this.note(tenant, result, seconds);
    return "done";
  }

  /** Merges, or gives null as soon as another compactor has taken one of the segments: the rest would be for nothing. */
  private async untilLost(
    segments: readonly SegmentInfo[],
    merging: () => Promise<MergeResult>,
  ): Promise<MergeResult | null> {
    const look = async () => {
      let areNamed = true;
      await this.claims.renew(segments);
      try {
        areNamed = await this.areNamed(segments);
      } catch (error) {
        // The merge itself says what is wrong with the store, if it lasts.
        this.deps.log.debug({ code: codeOf(error) }, `compaction: can't look whether it is alone: ${messageOf(error)}`);
      }
      if (!areNamed) throw new WeirError("compact_lost", LOST);
    };
    try {
      return await this.pace.whileWanted(look, merging);
    } catch (error) {
      if (codeOf(error) === "compact_lost") return null;
      throw error;
    }
  }

  /** Runs a merge; what it has written is removed when it fails, or a full disk would get fuller with each try. */
  private async cleanly<T>(written: readonly string[], merging: () => Promise<T>): Promise<T> {
    try {
      return await merging();
    } catch (error) {
      if (codeOf(error) !== "aborted") await this.discard(written);
      throw error;
    }
  }

  /** Deletes segments that nobody names. */
  private async discard(outputs: readonly string[]): Promise<void> {
    if (outputs.length === 0) return;
    const { objects, log } = this.deps;
    try {
      await objects.deleteMany(outputs);
    } catch (error) {
      log.warn({ code: codeOf(error) }, `compaction: the dropped merge stays for the sweep: ${messageOf(error)}`);
    }
  }

  private note(tenant: string, { inputs, outputs, removed, stats }: MergeResult, seconds: number): void {
    const { report } = this;
    report.merges++;
    report.segmentsIn += inputs.length;
    report.segmentsOut += outputs.length;
    report.bytesIn += stats.bytesRead;
    report.bytesOut += stats.bytesWritten;
    for (const { lines } of removed.values()) report.removedLines += lines;
    const { bytesRead, bytesWritten, bytesCopied, textBytesRewritten } = stats;
    this.deps.log.info(
      { tenant, bytesRead, bytesWritten, bytesCopied, textBytesRewritten, seconds: Math.round(seconds * 1000) / 1000 },
      `compaction: ${inputs.length} segments are ${outputs.length} now`,
    );
  }

  /** Gives up what was merged. */
  private async drop(outputs: readonly string[], outcome: "late" | "lost", ageMs: number): Promise<Outcome> {
    const { log } = this.deps;
    this.metrics.ended(outcome);
    const why =
      outcome === "lost"
        ? LOST
        : `it took ${Math.round(ageMs / 1000)} s, more than half of compactor.grace_ms: raise that or cpu_share, or lower job_bytes`;
    log.warn({ segments: outputs.length }, `compaction: a merge is dropped: ${why}`);
    await this.discard(outputs);
    return outcome;
  }
}

export function emptyReport(): PassReport {
  return {
    merges: 0,
    segmentsIn: 0,
    segmentsOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    removedLines: 0,
    deleted: 0,
    more: false,
  };
}

/** Tenants in a random order, so that two compactors rarely work on the same one. */
function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item);
}
