import { splitNs } from "../../core/time.ts";
import { byArrival } from "../segment-order.ts";
import type { SegmentInfo } from "../view.ts";

/** Rough bytes that an index keeps in memory: for each stream its labels, and for each block its place and times. */
const STREAM_BYTES = 180;
const BLOCK_BYTES = 44;
const DAY_SEC = 86_400;

export interface PlanOptions {
  /** Units of the lowest level that are merged at once, and of any level above. */
  readonly fanIn: number;
  readonly fanInAbove: number;
  /** Bytes that one compaction takes in at most. Units of half as much are done. */
  readonly jobBytes: number;
  /** Compressed bytes of a segment that is large enough. */
  readonly segmentBytes: number;
  readonly blockBytes: number;
  /** Memory for the indexes of the inputs. */
  readonly indexMemoryBytes: number;
}

/** Segments to be merged with each other, in order of arrival. */
export interface Job {
  readonly tenant: string;
  readonly segments: readonly SegmentInfo[];
}

/**
 * Segments that cover the same intake offsets: one that was flushed, or the outputs of one compaction, which hold different
 * streams or times. They are merged together or not at all, so that the order of arrival is kept.
 */
export interface Unit {
  readonly segments: SegmentInfo[];
  readonly partition: number;
  readonly level: number;
  bytes: number;
  /** Memory of the indexes, roughly. */
  indexBytes: number;
  timeMinNs: bigint;
  timeMaxNs: bigint;
}

/** The UTC day (since 1970) that a segment counts to: that of its least time. */
export function dayOfSegment({ timeMinNs }: Pick<SegmentInfo, "timeMinNs">): number {
  return Math.floor(splitNs(timeMinNs).sec / DAY_SEC);
}

/** The units that segments make, in order of arrival. */
export function unitsOf(segments: readonly SegmentInfo[], { blockBytes }: Pick<PlanOptions, "blockBytes">): Unit[] {
  const units: Unit[] = [];
  for (const info of [...segments].sort(byArrival)) {
    const { partition, level, timeMinNs, timeMaxNs } = info;
    const last = units.at(-1);
    const indexBytes = info.streams * (STREAM_BYTES + BLOCK_BYTES) + (info.textBytes / blockBytes) * BLOCK_BYTES;
    if (last !== undefined && last.partition === partition && last.segments[0].firstOffset === info.firstOffset) {
      last.segments.push(info);
      last.bytes += info.bytes;
      last.indexBytes += indexBytes;
      if (timeMinNs < last.timeMinNs) last.timeMinNs = timeMinNs;
      if (timeMaxNs > last.timeMaxNs) last.timeMaxNs = timeMaxNs;
    } else units.push({ segments: [info], partition, level, bytes: info.bytes, indexBytes, timeMinNs, timeMaxNs });
  }
  return units;
}

/**
 * What may be merged now among the segments of one tenant, by what the catalog says of them alone: any of these jobs, or several
 * at a time, since no segment is in two of them. What one compactor does next is the first.
 * `settled` says whether a day (since 1970) is over, so that hardly anything comes any more. Segments that `isOut` names
 * are left where they are, and nothing is merged across them.
 *
 * Fresh segments are merged as soon as there are `fanIn` of them, whatever their days: the result is cut by days. From then on
 * each day goes by itself, and `fanInAbove` units of a level become one of the next, so that a line is rewritten as many times as
 * there are levels. A settled day's rest is merged when that pays. Only units that follow each other in order of arrival,
 * in one partition, are merged, for the order of lines with equal times; a small settled day of several partitions is
 * merged as a whole.
 */
export function planJobs(
  segments: readonly SegmentInfo[],
  options: PlanOptions,
  settled: (day: number) => boolean,
  isOut: (info: SegmentInfo) => boolean = () => false,
): Job[] {
  const usable = segments.filter((info) => !isOut(info));
  const out = segments.filter(isOut);
  const fresh = freshJobs(usable, out, options);
  // A day of which fresh segments are merged first is planned when that is done.
  const busy = new Set(fresh.flatMap((job) => job.segments.map(dayOfSegment)));
  return [...fresh, ...dayJobs(usable, out, options, settled, busy)];
}

function freshJobs(usable: readonly SegmentInfo[], out: readonly SegmentInfo[], options: PlanOptions): Job[] {
  const fresh = unitsOf(
    usable.filter(({ level }) => level === 0),
    options,
  );
  const others = unitsOf([...out, ...usable.filter(({ level }) => level > 0)], options);
  return runsOf(fresh, others, options).flatMap((run) => fullWindows(run, options.fanIn, options).map(jobOf));
}

function dayJobs(
  usable: readonly SegmentInfo[],
  out: readonly SegmentInfo[],
  options: PlanOptions,
  settled: (day: number) => boolean,
  busy: ReadonlySet<number>,
): Job[] {
  const days = new Map<number, SegmentInfo[]>();
  for (const info of usable) {
    const day = dayOfSegment(info);
    const known = days.get(day);
    if (known === undefined) days.set(day, [info]);
    else known.push(info);
  }
  const jobs: Job[] = [];
  for (const [day, own] of [...days].sort(([a], [b]) => a - b)) {
    if (busy.has(day)) continue;
    const others = [...out, ...usable.filter((info) => dayOfSegment(info) !== day)];
    const leveled = levelJobs(own, others, options);
    jobs.push(...(leveled.length > 0 || !settled(day) ? leveled : settledJobs(own, others, options)));
  }
  return jobs;
}

/** As many units of one level as make one of the next. */
function levelJobs(own: readonly SegmentInfo[], others: readonly SegmentInfo[], options: PlanOptions): Job[] {
  const levels = [...new Set(own.map(({ level }) => level))].filter((level) => level > 0).sort((a, b) => a - b);
  return levels.flatMap((level) => {
    const equals = own.filter((info) => info.level === level);
    const rest = [...others, ...own.filter((info) => info.level !== level)];
    const runs = runsOf(unitsOf(equals, options), unitsOf(rest, options), options);
    return runs.flatMap((run) => fullWindows(run, options.fanInAbove, options).map(jobOf));
  });
}

/** What is left of a settled day. */
function settledJobs(own: readonly SegmentInfo[], others: readonly SegmentInfo[], options: PlanOptions): Job[] {
  const units = unitsOf(own, options);
  const rest = unitsOf(others, options);
  const partitions = new Set(units.map(({ partition }) => partition));
  if (partitions.size > 1 && isSmallDay(units, rest, options)) return [jobOf(units)];
  return runsOf(units, rest, options).flatMap((run) => {
    const window = worthwhile(run, options);
    return window === null ? [] : [jobOf(window)];
  });
}

/** Whether a day of several partitions is better off as a few segments. All of it, or the order of arrival would suffer. */
function isSmallDay(units: readonly Unit[], others: readonly Unit[], options: PlanOptions): boolean {
  const { bytes, indexBytes, segments, largest } = totals(units);
  if (bytes > options.jobBytes || indexBytes > options.indexMemoryBytes) return false;
  if (segments <= 2 * Math.ceil(bytes / options.segmentBytes)) return false;
  if (bytes - largest < largest / 2) return false;
  const span = units.reduce<Span>(joined, units[0]);
  return !others.some((other) => overlap(other, span));
}

/**
 * Units that follow each other in one partition, so that merging some in a row changes no order. Units that are done already,
 * and `others`, may stand between two of them only if no times overlap.
 */
function runsOf(units: readonly Unit[], others: readonly Unit[], { jobBytes }: PlanOptions): Unit[][] {
  const eligible = new Set(units.filter(({ bytes }) => bytes < jobBytes / 2));
  // What has the first one's place already comes between it and the others, whatever its name.
  const all = [...units, ...others].sort(
    (a, b) =>
      byPlace(a, b) || Number(eligible.has(b)) - Number(eligible.has(a)) || byArrival(a.segments[0], b.segments[0]),
  );
  const runs: Unit[][] = [];
  let run: Unit[] = [];
  let between: Unit[] = [];
  for (const unit of all) {
    if (!eligible.has(unit)) {
      between.push(unit);
      continue;
    }
    // The result takes the first one's place: a unit that it moves forward must not pass by lines of its own times.
    const follows = run[0]?.partition === unit.partition && !between.some((other) => overlap(other, unit));
    if (follows) run.push(unit);
    else {
      run = [unit];
      runs.push(run);
      between = [];
    }
  }
  return runs.filter(({ length }) => length > 1);
}

const byPlace = (a: Unit, b: Unit) =>
  a.partition - b.partition || a.segments[0].firstOffset - b.segments[0].firstOffset;

/** One after the other, as `fullWindow` gives them. */
function fullWindows(run: readonly Unit[], wanted: number, options: PlanOptions): Unit[][] {
  const windows: Unit[][] = [];
  for (let rest = run; ; ) {
    const window = fullWindow(rest, wanted, options);
    if (window === null) return windows;
    windows.push(window);
    rest = rest.slice(rest.indexOf(window[window.length - 1]) + 1);
  }
}

/** Units in a row, the first that are as many as wanted, or as much as one compaction can take; null when there are not so many. */
function fullWindow(run: readonly Unit[], wanted: number, { jobBytes, indexMemoryBytes }: PlanOptions): Unit[] | null {
  let window: Unit[] = [];
  let bytes = 0;
  let indexBytes = 0;
  for (const unit of run) {
    if (bytes + unit.bytes > jobBytes || indexBytes + unit.indexBytes > indexMemoryBytes) {
      if (window.length > 1) return window;
      window = [];
      bytes = 0;
      indexBytes = 0;
    }
    window.push(unit);
    bytes += unit.bytes;
    indexBytes += unit.indexBytes;
    if (window.length >= wanted) return window;
  }
  return null;
}

/**
 * Units of a settled day that are worth being merged: together they must be half as much again as the largest alone. So what
 * comes late is merged with its like, over and over, and with the bulk of the day only when it is worth it.
 */
function worthwhile(run: readonly Unit[], options: PlanOptions): Unit[] | null {
  if (run.length < 2) return null;
  const { bytes, indexBytes, largest } = totals(run);
  if (bytes > options.jobBytes || indexBytes > options.indexMemoryBytes) {
    const window = fullWindow(run, Number.POSITIVE_INFINITY, options);
    if (window === null) return null;
    return (window.length < run.length ? worthwhile(window, options) : null) ?? worthwhile(run.slice(1), options);
  }
  if (bytes - largest >= largest / 2) return [...run];
  const place = run.findIndex((unit) => unit.bytes === largest);
  return worthwhile(run.slice(0, place), options) ?? worthwhile(run.slice(place + 1), options);
}

interface Span {
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
}

function joined(a: Span, b: Span): Span {
  return {
    timeMinNs: a.timeMinNs < b.timeMinNs ? a.timeMinNs : b.timeMinNs,
    timeMaxNs: a.timeMaxNs > b.timeMaxNs ? a.timeMaxNs : b.timeMaxNs,
  };
}

function overlap(a: Span, b: Span): boolean {
  return a.timeMinNs <= b.timeMaxNs && b.timeMinNs <= a.timeMaxNs;
}

function totals(units: readonly Unit[]): { bytes: number; indexBytes: number; segments: number; largest: number } {
  let bytes = 0;
  let indexBytes = 0;
  let segments = 0;
  let largest = 0;
  for (const unit of units) {
    bytes += unit.bytes;
    indexBytes += unit.indexBytes;
    segments += unit.segments.length;
    largest = Math.max(largest, unit.bytes);
  }
  return { bytes, indexBytes, segments, largest };
}

function jobOf(units: readonly Unit[]): Job {
  const segments = units.flatMap((unit) => unit.segments).sort(byArrival);
  return { tenant: segments[0].tenant, segments };
}
