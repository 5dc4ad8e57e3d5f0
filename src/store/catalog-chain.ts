import { WeirError } from "../core/errors.ts";
import { type CatalogEntry, entryKey } from "./catalog-entry.ts";

/** Entries by partition, in the order in which they come. */
export function byPartition(entries: readonly CatalogEntry[]): Map<number, CatalogEntry[]> {
  const out = new Map<number, CatalogEntry[]>();
  for (const entry of entries) {
    const known = out.get(entry.partition);
    if (known === undefined) out.set(entry.partition, [entry]);
    else known.push(entry);
  }
  return out;
}

/**
 * A partition's chain with more entries, in order of their offsets. `folded` is where the manifest ends, undefined where it holds nothing
 * of the partition: then a chain may begin anywhere, as the intake log may have done. With a gap or an overlap, which `broken` tells, it is
 * what comes before that; nothing of the chain that was there is left out.
 */
export function joinChain(
  chain: readonly CatalogEntry[],
  entries: readonly CatalogEntry[],
  folded: number | undefined,
): { readonly chain: readonly CatalogEntry[]; readonly broken: WeirError | null } {
  const joined = [...chain, ...entries].sort((a, b) => a.first - b.first);
  let end = folded;
  for (const [i, entry] of joined.entries()) {
    if (end !== undefined && entry.first !== end) {
      const isBehind = entry.first > (chain.at(-1)?.first ?? -1);
      return { chain: isBehind ? joined.slice(0, i) : chain, broken: chainError(entry, end, joined[i - 1]) };
    }
    end = entry.next;
  }
  return { chain: joined, broken: null };
}

/**
 * Whether a listing may have passed by entries that stand before some that it has: a listing that goes on while entries are created
 * need not show the older of two. A gap says so; before the first entry of a partition that nobody knew there may be one unless
 * it begins with the first offset there is.
 */
export function mayLackEntries(
  fresh: ReadonlyMap<number, readonly CatalogEntry[]>,
  chainOf: (partition: number) => readonly CatalogEntry[],
  folded: ReadonlyMap<number, number>,
): boolean {
  for (const [partition, entries] of fresh) {
    const known = chainOf(partition);
    const end = folded.get(partition);
    const { chain, broken } = joinChain(known, entries, end);
    if (broken !== null || (end === undefined && known.length === 0 && chain[0].first > 0)) return true;
  }
  return false;
}

/** Those of `again`, a listing that began when the one of `seen` was over, that `seen` has or should have had. */
export function upTo(
  seen: ReadonlyMap<number, readonly CatalogEntry[]>,
  again: readonly CatalogEntry[],
): readonly CatalogEntry[] {
  return again.filter(({ partition, first }) => first <= (seen.get(partition)?.at(-1)?.first ?? -1));
}

function chainError(entry: CatalogEntry, end: number, last: CatalogEntry | undefined): WeirError {
  const what =
    entry.first > end
      ? `nothing covers intake offsets ${end} to ${entry.first - 1}`
      : `intake offsets from ${entry.first} to ${Math.min(end, entry.next) - 1} are covered twice`;
  const after = last === undefined ? "the manifest" : entryKey(last.partition, last.first);
  const key = entryKey(entry.partition, entry.first);
  return new WeirError(
    "catalog_gap",
    `catalog of partition ${entry.partition}: ${what}, between ${after} and ${key}; restore what was removed, remove what does not belong there, or rebuild the catalog from the segments (weir rebuild)`,
    { context: { partition: entry.partition, after, key } },
  );
}
