import { codeOf } from "../core/errors.ts";
import type { ObjectStore } from "../objects/store.ts";
import { CATALOG_PREFIX, parseEntryKey } from "./catalog-entry.ts";
import { DAMAGED_PREFIX, SEGMENTS_PREFIX } from "./keys.ts";
import { PAGES_PREFIX } from "./manifest-page.ts";
import { decodeRoot, MANIFEST_PREFIX, parseRootKey, type Root, rootKey } from "./manifest-root.ts";

const DELETES_AT_ONCE = 1000;

/**
 * Deletes what `root`, the newest, and those before it have replaced: old roots, then entries that the oldest root that is left
 * has folded, then garbage. In this order: who holds an old root sees by its absence that entries may be missing.
 */
export async function collectGarbage(
  objects: ObjectStore,
  root: Root,
  graceMs: number,
  nowMs: number,
): Promise<{ deleted: number; gone: ReadonlySet<string> }> {
  let deleted = 0;
  const roots: { version: number; modifiedMs: number }[] = [];
  for await (const { key, modifiedMs } of objects.list(MANIFEST_PREFIX)) {
    const version = parseRootKey(key);
    if (version !== null) roots.push({ version, modifiedMs });
  }
  let oldest = 0;
  // The next root's time is when one was replaced. One after the other: a root is gone only if all before it are.
  while (oldest + 1 < roots.length && nowMs - roots[oldest + 1].modifiedMs >= graceMs) {
    await objects.delete(rootKey(roots[oldest].version));
    oldest++;
    deleted++;
  }
  const left = roots[oldest];
  // Before root 1 there is a state as well, that of a store without any.
  const isFirst = left?.version === 1 && nowMs - left.modifiedMs < graceMs;
  const folded: Root["folded"] =
    left === undefined || isFirst ? new Map() : await foldedOf(objects, root, left.version);
  const entries: string[] = [];
  for await (const { key } of objects.list(CATALOG_PREFIX)) {
    const place = parseEntryKey(key);
    if (place !== null && place.first < (folded.get(place.partition) ?? 0)) entries.push(key);
  }
  deleted += await deleteAll(objects, entries);
  const gone = root.garbage.filter(({ atMs }) => nowMs - atMs >= graceMs).map(({ key }) => key);
  deleted += await deleteAll(objects, gone);
  return { deleted, gone: new Set(gone) };
}

/** What the root has folded; nothing for one that is damaged, or that another process has just deleted at this very work. */
async function foldedOf(objects: ObjectStore, root: Root, version: number): Promise<Root["folded"]> {
  if (version === root.version) return root.folded;
  const key = rootKey(version);
  try {
    return decodeRoot(key, await objects.get(key)).folded;
  } catch (error) {
    if (!["object_missing", "catalog_corrupt"].includes(codeOf(error))) throw error;
    return new Map();
  }
}

/** Deletes segments and pages that were written more than `graceMs` ago and that `named`, which is asked afterwards, lacks. Those that a rebuild could not read stay. */
export async function sweepOrphans(
  objects: ObjectStore,
  graceMs: number,
  nowMs: number,
  named: () => Promise<ReadonlySet<string>>,
): Promise<{ deleted: number; bytes: number }> {
  const old = new Map<string, number>();
  for (const prefix of [SEGMENTS_PREFIX, PAGES_PREFIX]) {
    for await (const { key, size, modifiedMs } of objects.list(prefix)) {
      if (nowMs - modifiedMs >= graceMs) old.set(key, size);
    }
  }
  // Asked after the listing: what was named since then is named.
  for await (const { key } of objects.list(DAMAGED_PREFIX)) old.delete(key.slice(DAMAGED_PREFIX.length));
  // On a disk that takes `A` and `a` for one name, two tenants may share a folder, and a listing says the name that came first. The
  // rest of a key is random, so nothing else is spared for that.
  const caseless = new Set<string>();
  for (const key of await named()) caseless.add(key.toLowerCase());
  for (const key of [...old.keys()]) if (caseless.has(key.toLowerCase())) old.delete(key);
  const bytes = [...old.values()].reduce((sum, size) => sum + size, 0);
  return { deleted: await deleteAll(objects, [...old.keys()]), bytes };
}

async function deleteAll(objects: ObjectStore, keys: readonly string[]): Promise<number> {
  for (let at = 0; at < keys.length; at += DELETES_AT_ONCE)
    await objects.deleteMany(keys.slice(at, at + DELETES_AT_ONCE));
  return keys.length;
}
