import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { ObjectStore } from "../objects/store.ts";
import { CATALOG_PREFIX, type CatalogEntry, decodeEntry, parseEntryKey } from "./catalog-entry.ts";
import { CatalogReader } from "./catalog-read.ts";
import { eachAtOnce } from "./each.ts";
import { DAMAGED_PREFIX, SEGMENTS_PREFIX } from "./keys.ts";
import { cutPages, encodePage, PAGES_PREFIX, pageDay } from "./manifest-page.ts";
import { encodeRoot, NO_ROOT, nextRoot, type PageRef, rootKey } from "./manifest-root.ts";
import { SegmentReader } from "./reader.ts";
import { chooseSegments, type FoundSegment } from "./rebuild-choice.ts";
import type { SegmentSources } from "./sources.ts";
import type { SegmentInfo } from "./view.ts";

const READS_AT_ONCE = 8;
/** A store that something was written to so recently is taken to be in use: longer than a writer waits with a flush. */
const IN_USE_MS = 600_000;

export interface RebuildOptions {
  /** Says what would be done, and changes nothing. */
  readonly dryRun: boolean;
  /** Goes on although the store seems to be in use. */
  readonly force: boolean;
  readonly now: () => number;
  /** Told of each segment that was read, and of how many there are. */
  readonly onProgress?: (done: number, of: number) => void;
}

export interface RebuildReport {
  /** Segments that were found, and those that the new catalog names. */
  readonly found: number;
  readonly segments: number;
  readonly lines: number;
  readonly pages: number;
  /** The new root; null after a dry run. */
  readonly root: string | null;
  /** Segments whose lines are elsewhere, or that were never committed: garbage now. */
  readonly leftOut: readonly string[];
  /** Segments that can't be read, each with the reason. They are left where they are. */
  readonly damaged: readonly string[];
  /** Entries that were in the way, because they are damaged or follow from nothing, each with the reason. */
  readonly entries: readonly string[];
}

/**
 * Makes a new catalog out of what the segments say of themselves, whatever is there of the old one. Nothing else may use the store
 * meanwhile: a commit that is under way could lose its lines. Throws `store_in_use`, and the store's errors.
 */
export async function rebuildCatalog(objects: ObjectStore, options: RebuildOptions): Promise<RebuildReport> {
  const { found, damaged } = await findSegments(objects, options);
  const segments = chooseSegments(found);
  const chosen = new Set(segments.map(({ key }) => key));
  const leftOut = found.map(({ info }) => info.key).filter((key) => !chosen.has(key));
  const { folded, inTheWay } = await foldedBy(objects, found, chosen);
  const groups = pagesOf(segments);
  const report = {
    found: found.length + damaged.size,
    segments: segments.length,
    lines: segments.reduce((sum, { lines }) => sum + lines, 0),
    pages: groups.length,
    leftOut,
    damaged: [...damaged].map(([key, reason]) => `${key}: ${reason}`),
    entries: inTheWay.map(({ reason }) => reason),
  };
  if (options.dryRun) return { ...report, root: null };
  await noteDamaged(objects, damaged);
  const pages: PageRef[] = [];
  const garbage = [...leftOut];
  for await (const { key } of objects.list(PAGES_PREFIX)) garbage.push(key);
  for (const group of groups) {
    const { ref, bytes } = await encodePage(group);
    await objects.put(ref.key, [bytes]);
    pages.push(ref);
  }
  const version = await new CatalogReader(objects, null).highestVersion();
  const atMs = options.now();
  const root = nextRoot({ ...NO_ROOT, version }, atMs, {
    folded,
    pages,
    garbage: garbage.map((key) => ({ key, atMs })),
  });
  const key = rootKey(root.version);
  await objects.putIfAbsent(key, [encodeRoot(root)]);
  // Only now: without the new root they are all there is.
  await objects.deleteMany(inTheWay.map((entry) => entry.key));
  return { ...report, root: key };
}

async function findSegments(
  objects: ObjectStore,
  { force, now, onProgress }: RebuildOptions,
): Promise<{ found: FoundSegment[]; damaged: ReadonlyMap<string, string> }> {
  const keys: { key: string; modifiedMs: number }[] = [];
  for (const prefix of [SEGMENTS_PREFIX, CATALOG_PREFIX]) {
    for await (const { key, modifiedMs } of objects.list(prefix)) {
      if (!force && now() - modifiedMs < IN_USE_MS) throw inUse(key, now() - modifiedMs);
      if (prefix === SEGMENTS_PREFIX) keys.push({ key, modifiedMs });
    }
  }
  const reader = new SegmentReader(objects, { cacheBytes: 0 });
  const found: FoundSegment[] = [];
  const damaged: [key: string, reason: string][] = [];
  const known = new Map<string, SegmentSources>();
  let done = 0;
  await eachAtOnce(READS_AT_ONCE, keys, async ({ key, modifiedMs }) => {
    try {
      const { info, index } = await reader.inspect(key);
      found.push({ info, sources: sharing(index.sources, known), modifiedMs });
    } catch (error) {
      if (!["segment_corrupt", "block_corrupt", "object_missing"].includes(codeOf(error))) throw error;
      damaged.push([key, messageOf(error)]);
    }
    onProgress?.(++done, keys.length);
  });
  // They were read in any order, and what is chosen is not to depend on that.
  found.sort((a, b) => (a.info.key < b.info.key ? -1 : 1));
  return { found, damaged: new Map(damaged.sort(([a], [b]) => (a < b ? -1 : 1))) };
}

/** Segments of one compaction say the same of what came into it, which may be a hundred thousand ranges: they are held once. */
function sharing(sources: SegmentSources | null, known: Map<string, SegmentSources>): SegmentSources | null {
  if (sources === null || sources.level === 0) return sources;
  const first = known.get(sources.merge);
  if (first === undefined) known.set(sources.merge, sources);
  const isSame = first?.covers.length === sources.covers.length && first.inputs.length === sources.inputs.length;
  return isSame ? { ...sources, inputs: first.inputs, covers: first.covers, absorbed: first.absorbed } : sources;
}

/** Notes which segments can't be read, so that no sweep deletes what may still be repaired; removes notes of others. */
async function noteDamaged(objects: ObjectStore, damaged: ReadonlyMap<string, string>): Promise<void> {
  for (const [key, reason] of damaged) await objects.put(DAMAGED_PREFIX + key, [Buffer.from(`${reason}\n`)]);
  const old: string[] = [];
  for await (const { key } of objects.list(DAMAGED_PREFIX)) {
    if (!damaged.has(key.slice(DAMAGED_PREFIX.length))) old.push(key);
  }
  await objects.deleteMany(old);
}

function inUse(key: string, ageMs: number): WeirError {
  return new WeirError(
    "store_in_use",
    `the store seems to be in use: ${key} was written ${Math.max(0, Math.round(ageMs / 1000))} s ago; stop everything that writes to it, then wait ${IN_USE_MS / 60_000} minutes or say --force`,
    { context: { key } },
  );
}

/**
 * How far each partition's intake offsets are in the new catalog: as far as segments reach, and entries without lines
 * that follow. Entries that neither lie below nor follow stand in the way of opening the catalog.
 */
async function foldedBy(
  objects: ObjectStore,
  found: readonly FoundSegment[],
  chosen: ReadonlySet<string>,
): Promise<{ folded: Map<number, number>; inTheWay: { key: string; reason: string }[] }> {
  const folded = new Map<number, number>();
  const reach = (partition: number, next: number) => folded.set(partition, Math.max(next, folded.get(partition) ?? 0));
  for (const { info, sources } of found) {
    if (!chosen.has(info.key)) continue;
    const covers = sources !== null && sources.level > 0 ? sources.covers : [info];
    for (const { partition, nextOffset } of covers) reach(partition, nextOffset);
  }
  const inTheWay: { key: string; reason: string }[] = [];
  for await (const { key } of objects.list(CATALOG_PREFIX)) {
    const place = parseEntryKey(key);
    if (place === null || place.first < (folded.get(place.partition) ?? 0)) continue;
    const entry = await readEntry(objects, key);
    if (typeof entry === "string") inTheWay.push({ key, reason: entry });
    else if (entry.first === (folded.get(entry.partition) ?? entry.first)) reach(entry.partition, entry.next);
    else inTheWay.push({ key, reason: `${key}: nothing covers the intake offsets in front of it` });
  }
  return { folded, inTheWay };
}

async function readEntry(objects: ObjectStore, key: string): Promise<CatalogEntry | string> {
  try {
    return decodeEntry(key, await objects.get(key));
  } catch (error) {
    if (codeOf(error) !== "catalog_corrupt") throw error;
    return messageOf(error);
  }
}

function pagesOf(segments: readonly SegmentInfo[]): SegmentInfo[][] {
  const groups = new Map<string, SegmentInfo[]>();
  for (const segment of segments) {
    const group = `${pageDay(segment)} ${segment.tenant}`;
    const list = groups.get(group);
    if (list === undefined) groups.set(group, [segment]);
    else list.push(segment);
  }
  return [...groups.values()].flatMap(cutPages);
}
