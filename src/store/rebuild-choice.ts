import type { IntakeRange } from "./footer.ts";
import { joinRanges, partName, rangeName, type SegmentSources } from "./sources.ts";
import type { SegmentInfo } from "./view.ts";

/** A segment as it was found in a store. */
export interface FoundSegment {
  readonly info: SegmentInfo;
  readonly sources: SegmentSources | null;
  readonly modifiedMs: number;
}

/** Compactions that read the same inputs, of which all choices are tried. */
const CHOICES_MAX = 14;

/** All segments of one compaction that are there. */
interface Merge {
  readonly name: string;
  readonly segments: readonly FoundSegment[];
  /** Keys of the segments that it read itself. */
  readonly inputs: readonly string[];
  readonly inputSet: ReadonlySet<string>;
  /** Those of them that are parts of other compactions. */
  readonly directParts: ReadonlySet<string>;
  readonly covers: readonly IntakeRange[];
  /** Parts of other compactions in it, whether it read them itself or not. */
  readonly absorbed: ReadonlySet<string>;
  /** Whether another compaction read a part of it. Then it was committed, for compactions read nothing else. */
  readonly wasRead: boolean;
  /** Whether all segments are there. Where that was read, those that are not were read as well. */
  readonly isWhole: boolean;
  readonly modifiedMs: number;
}

/**
 * The segments that hold each line of a store once, by what they say of themselves. Left out are: inputs of a compaction that is
 * whole, outputs of one that is not, segments that were written but never committed (another one covers their offsets, or their
 * commit is the last of its partition and incomplete).
 *
 * What can be relied on: a committed segment is read by one committed compaction at most, and is deleted only after that. The
 * result of a compaction names all that came into it, directly or not. A compaction that was never committed is read by none.
 */
export function chooseSegments(found: readonly FoundSegment[]): SegmentInfo[] {
  const whole = withoutTornCommits(found);
  const flushed = new Set(withoutRivals(whole));
  const tenants = new Set(whole.map(({ info }) => info.tenant));
  return [...tenants].flatMap((tenant) =>
    chooseOf(
      whole.filter(({ info }) => info.tenant === tenant),
      flushed,
    ),
  );
}

/** A worker that died between two segments of a commit has committed none of them; it shows only at a partition's end. */
function withoutTornCommits(found: readonly FoundSegment[]): FoundSegment[] {
  let rest = [...found];
  for (;;) {
    const torn = tornCommits(rest);
    if (torn.size === 0) return rest;
    // Another try at the same offsets may have ended before it, and torn as well.
    rest = rest.filter((segment) => !torn.has(segment));
  }
}

function tornCommits(found: readonly FoundSegment[]): Set<FoundSegment> {
  const ends = new Map<number, number>();
  for (const { partition, nextOffset } of oneOfEach(found).flatMap(coversOf)) {
    ends.set(partition, Math.max(nextOffset, ends.get(partition) ?? 0));
  }
  const committed = committedRanges(found);
  const torn = new Set<FoundSegment>();
  const commits = commitsOf(found, ({ partition, firstOffset, nextOffset }) => [partition, firstOffset, nextOffset]);
  for (const segments of commits) {
    const [first] = segments;
    const isLast = ends.get(first.info.partition) === first.info.nextOffset;
    if (isLast && !hasAllOutputs(segments) && !committed.has(rangeName(first.info))) {
      for (const segment of segments) torn.add(segment);
    }
  }
  return torn;
}

/**
 * Of what writers wrote each offset once. A writer begins where the chain of entries ends at that time, so nothing that was
 * committed has such a place in its midst. Of several that begin alike the longest, where it is whole.
 */
function withoutRivals(found: readonly FoundSegment[]): FoundSegment[] {
  const committed = committedRanges(found);
  const covers = oneOfEach(found).flatMap(({ sources }) =>
    sources === null || sources.level === 0 ? [] : sources.covers,
  );
  const places = new Map<number, number[]>();
  const flushed = found.filter(({ info }) => info.level === 0);
  for (const { partition, firstOffset } of [...flushed.map(({ info }) => info), ...covers]) {
    append(places, partition, firstOffset);
  }
  for (const { partition, nextOffset } of covers) append(places, partition, nextOffset);
  for (const list of places.values()) list.sort((a, b) => a - b);
  const sound = flushed.filter(({ info }) => {
    const list = places.get(info.partition) ?? [];
    const after = list[firstAbove(list, info.firstOffset)];
    return after === undefined || after >= info.nextOffset;
  });
  return commitsOf(sound, ({ partition, firstOffset }) => [partition, firstOffset]).flatMap((rivals) => {
    const commits = commitsOf(rivals, ({ nextOffset }) => [nextOffset]);
    commits.sort(([a], [b]) => b.info.nextOffset - a.info.nextOffset);
    const best =
      commits.find(([{ info }]) => committed.has(rangeName(info))) ?? commits.find(hasAllOutputs) ?? commits[0];
    // A writer that died and came back may have written the very same again.
    return [...new Map(best.map((segment) => [segment.info.tenant, segment])).values()];
  });
}

function append(lists: Map<number, number[]>, at: number, value: number): void {
  const list = lists.get(at);
  if (list === undefined) lists.set(at, [value]);
  else list.push(value);
}

/** The place of the first value above `limit` in an ascending list. */
function firstAbove(list: readonly number[], limit: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What was flushed, in groups with equal `keyOf`. */
function commitsOf(
  found: readonly FoundSegment[],
  keyOf: (info: SegmentInfo) => readonly number[],
): (readonly FoundSegment[])[] {
  const groups = new Map<string, FoundSegment[]>();
  for (const segment of found) {
    if (segment.info.level > 0) continue;
    const key = keyOf(segment.info).join(" ");
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [segment]);
    else group.push(segment);
  }
  return [...groups.values()];
}

/** What compactions were made of: that proves that it was committed, and what overlaps it otherwise was not. */
const committedRanges = (found: readonly FoundSegment[]): Set<string> =>
  new Set(oneOfEach(found.filter(({ info }) => info.level > 0)).flatMap((segment) => coversOf(segment).map(rangeName)));

/** Of the segments of one compaction, which all say the same of what came into it, the first; and all others. */
function oneOfEach(found: readonly FoundSegment[]): FoundSegment[] {
  const seen = new Set<string>();
  return found.filter(({ sources }) => {
    if (sources === null || sources.level === 0) return true;
    const isNew = !seen.has(sources.merge);
    seen.add(sources.merge);
    return isNew;
  });
}

function hasAllOutputs(segments: readonly FoundSegment[]): boolean {
  const outputs = new Map(segments.map(({ sources }) => [sources?.output ?? 0, sources?.last ?? true]));
  const last = [...outputs].find(([, isLast]) => isLast)?.[0];
  return last !== undefined && outputs.size > last;
}

/** Of one tenant's segments; `flushed` are those of level 0 that may be chosen. */
function chooseOf(found: readonly FoundSegment[], flushed: ReadonlySet<FoundSegment>): SegmentInfo[] {
  const there = new Map(found.map((segment) => [segment.info.key, segment]));
  const merges = mergesOf(found, there);
  const read = merges.filter(({ wasRead }) => wasRead);
  const unread = merges.filter((merge) => !merge.wasRead && !wasOvertaken(merge, merges, there));
  const taken = [...read, ...candidates(unread, (key) => there.has(key))];
  const absorbed = new Set(taken.flatMap((merge) => [...merge.absorbed]));
  const kept = taken.flatMap(({ segments }) =>
    segments.filter(({ sources }) => sources !== null && !absorbed.has(partName(sources))),
  );
  const merged = joinRanges(taken.flatMap(({ covers }) => covers));
  const rest = found.filter((segment) => flushed.has(segment) && !overlapsAny(merged, coversOf(segment)));
  return [...kept, ...rest].map(({ info }) => info);
}

/** Whether another compaction, which was committed, read what this one did: then this one was not. */
function wasOvertaken(merge: Merge, merges: readonly Merge[], there: ReadonlyMap<string, FoundSegment>): boolean {
  const leaves = merge.inputs.flatMap((key) => leafOfKey(key, there) ?? []);
  return merges.some((other) => {
    if (other === merge) return false;
    if (other.wasRead && share(other, merge)) return true;
    // What came into the other by way of a third was read by that third, which was committed.
    for (const part of merge.directParts) if (other.absorbed.has(part) && !other.directParts.has(part)) return true;
    return leaves.some(({ key, range }) => !other.inputSet.has(key) && overlapsAny(other.covers, [range]));
  });
}

/** Of compactions that nobody read those that are to be taken for committed: no two with an input in common. */
function candidates(unread: readonly Merge[], isThere: (key: string) => boolean): Merge[] {
  const missing = ({ inputs }: Merge) => inputs.filter((key) => !isThere(key)).length;
  const claims = new Map<string, number>();
  for (const { inputs, isWhole } of unread)
    if (isWhole) for (const key of inputs) claims.set(key, (claims.get(key) ?? 0) + 1);
  // What is gone was read by one that was committed: by the only one that says so.
  const isSure = ({ inputs }: Merge) => inputs.some((key) => !isThere(key) && claims.get(key) === 1);
  const order = unread
    // One that is not whole is of use only when nothing is left of what it was made of.
    .filter((merge) => merge.isWhole || missing(merge) === merge.inputs.length)
    .sort(
      (a, b) =>
        Number(b.isWhole) - Number(a.isWhole) ||
        Number(isSure(b)) - Number(isSure(a)) ||
        missing(b) - missing(a) ||
        a.inputs.length - b.inputs.length ||
        a.modifiedMs - b.modifiedMs,
    );
  const missingKeys = (merge: Merge) => (merge.isWhole ? missing(merge) : 0);
  return mostOf(order, missingKeys);
}

/**
 * Of merges those that together stand for the most inputs that are gone, no two with an input in common; where several choices
 * do, the first ones. All are tried as far as they are few, and beyond that each is taken that goes with those before.
 */
function mostOf(order: readonly Merge[], worth: (merge: Merge) => number): Merge[] {
  const claims = new Map<string, number>();
  for (const { inputs } of order) for (const key of inputs) claims.set(key, (claims.get(key) ?? 0) + 1);
  const isContested = ({ inputs }: Merge) => inputs.some((key) => (claims.get(key) ?? 0) > 1);
  const free = order.filter((merge) => !isContested(merge));
  const contested = order.filter(isContested);
  const tried = contested.slice(0, CHOICES_MAX);
  let best: { readonly taken: readonly Merge[]; readonly worth: number } = { taken: [], worth: -1 };
  const search = (at: number, taken: readonly Merge[], sum: number): void => {
    if (at === tried.length) {
      if (sum > best.worth) best = { taken, worth: sum };
      return;
    }
    const merge = tried[at];
    if (!taken.some((other) => share(merge, other))) search(at + 1, [...taken, merge], sum + worth(merge));
    search(at + 1, taken, sum);
  };
  search(0, [], 0);
  const taken = [...free, ...best.taken];
  for (const merge of contested.slice(CHOICES_MAX)) if (!taken.some((other) => share(merge, other))) taken.push(merge);
  return taken;
}

const share = (a: Merge, b: Merge): boolean => a.inputs.some((key) => b.inputSet.has(key));

const COMPACTED_NAME = /-([0-9a-f]{12})(\d{4,})\.gz$/;
const FLUSHED_NAME = /\/(\d+)-(\d{20})-[0-9a-f]{12}\.gz$/;

/** The part of a compaction that an input was: by the segment, or by its name (keys.ts) when it is gone. */
function partOfKey(key: string, there: ReadonlyMap<string, FoundSegment>): string | null {
  const sources = there.get(key)?.sources;
  if (sources !== undefined) return sources === null || sources.level === 0 ? null : partName(sources);
  const match = COMPACTED_NAME.exec(key);
  return match === null ? null : partName({ merge: match[1], output: Number(match[2]) });
}

/** The first intake offset of an input of level 0, in the same way. */
function leafOfKey(
  key: string,
  there: ReadonlyMap<string, FoundSegment>,
): { readonly key: string; readonly range: IntakeRange } | null {
  const segment = there.get(key);
  if (segment !== undefined) return segment.info.level > 0 ? null : { key, range: coversOf(segment)[0] };
  const match = FLUSHED_NAME.exec(key);
  if (match === null) return null;
  const firstOffset = Number(match[2]);
  return { key, range: { partition: Number(match[1]), firstOffset, nextOffset: firstOffset + 1 } };
}

function mergesOf(found: readonly FoundSegment[], there: ReadonlyMap<string, FoundSegment>): Merge[] {
  const byName = new Map<string, FoundSegment[]>();
  const read = new Set<string>();
  for (const segment of found) {
    const { sources } = segment;
    if (sources === null || sources.level === 0) continue;
    byName.set(sources.merge, [...(byName.get(sources.merge) ?? []), segment]);
    for (const part of sources.absorbed) read.add(part.slice(0, part.lastIndexOf(".")));
  }
  return [...byName].map(([name, segments]) => ({
    name,
    segments,
    inputs: segments[0].sources?.inputs ?? [],
    inputSet: new Set(segments[0].sources?.inputs),
    directParts: new Set(segments[0].sources?.inputs.flatMap((key) => partOfKey(key, there) ?? [])),
    covers: coversOf(segments[0]),
    absorbed: new Set(segments[0].sources?.absorbed),
    wasRead: read.has(name),
    isWhole: hasAllOutputs(segments),
    modifiedMs: Math.min(...segments.map(({ modifiedMs }) => modifiedMs)),
  }));
}

function coversOf({ info, sources }: FoundSegment): readonly IntakeRange[] {
  if (sources !== null && sources.level > 0) return sources.covers;
  const { partition, firstOffset, nextOffset } = info;
  return [{ partition, firstOffset, nextOffset }];
}

/** Whether any of `some` overlaps one of `ranges`, which are joined. */
function overlapsAny(ranges: readonly IntakeRange[], some: readonly IntakeRange[]): boolean {
  return some.some(({ partition, firstOffset, nextOffset }) => {
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = ranges[middle];
      if (range.partition < partition || (range.partition === partition && range.nextOffset <= firstOffset))
        low = middle + 1;
      else high = middle;
    }
    const range = ranges[low];
    return range !== undefined && range.partition === partition && range.firstOffset < nextOffset;
  });
}
