import { WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { ObjectStore } from "../objects/store.ts";
import { CATALOG_PREFIX, type CatalogEntry, decodeEntry, entryKey, parseEntryKey } from "./catalog-entry.ts";
import type { SegmentInfo } from "./view.ts";

/** Entries that are read at once: enough to hide an object store's latency, few enough to be no burst. */
const READS_AT_ONCE = 16;

/**
 * What is in the store: the chain of committed entries of each partition. Lists and reads all of them.
 * Throws `catalog_corrupt` for an entry that is damaged, and `catalog_gap` for a chain with a hole or an overlap.
 */
export async function openCatalog(objects: ObjectStore, metrics: Metrics, log: Logger): Promise<Catalog> {
  const catalog = new Catalog(objects, metrics, log);
  await catalog.refresh();
  return catalog;
}

export class Catalog {
  private readonly objects: ObjectStore;
  private readonly log: Logger;
  /** Entries of a partition in order of their first offset. */
  private readonly chains = new Map<number, CatalogEntry[]>();
  private readonly known = new Set<string>();
  private flat: readonly SegmentInfo[] | null = null;
  private refreshing: Promise<void> | null = null;

  constructor(objects: ObjectStore, metrics: Metrics, log: Logger) {
    this.objects = objects;
    this.log = log;
    metrics.gauge("weir_store_segments", "Committed segments.", [], (gauge) => gauge.set(this.segments().length));
    metrics.gauge("weir_store_catalog_entries", "Catalog entries.", [], (gauge) => gauge.set(this.known.size));
  }

  /** The intake offset that the partition's next entry begins with; 0 when it has none. */
  chainEnd(partition: number): number {
    return this.chains.get(partition)?.at(-1)?.next ?? 0;
  }

  has(partition: number, first: number): boolean {
    return this.known.has(entryKey(partition, first));
  }

  /** All committed segments by partition and first offset. The array is never changed; a later call may give another. */
  segments(): readonly SegmentInfo[] {
    this.flat ??= [...this.chains.keys()]
      .sort((a, b) => a - b)
      .flatMap((partition) => this.chains.get(partition) ?? [])
      .flatMap(({ segments }) => segments);
    return this.flat;
  }

  /** Takes in an entry that has just been committed. One that is known already is left alone. */
  add(entry: CatalogEntry): void {
    const key = entryKey(entry.partition, entry.first);
    if (this.known.has(key)) return;
    const chain = this.chains.get(entry.partition) ?? [];
    const end = chain.at(-1);
    if (end !== undefined && entry.first !== end.next) throw chainError(end, entry);
    this.known.add(key);
    this.chains.set(entry.partition, [...chain, entry]);
    this.flat = null;
  }

  /** Reads the entries that other processes have committed since. Calls at the same time share one reading. */
  refresh(): Promise<void> {
    this.refreshing ??= this.load().finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  private async load(): Promise<void> {
    const keys: string[] = [];
    for await (const { key } of this.objects.list(CATALOG_PREFIX)) {
      if (this.known.has(key)) continue;
      if (parseEntryKey(key) === null)
        this.log.warn({ key }, "catalog: an object that is no catalog entry; left alone");
      else keys.push(key);
    }
    const entries: CatalogEntry[] = [];
    for (let at = 0; at < keys.length; at += READS_AT_ONCE) {
      const some = keys.slice(at, at + READS_AT_ONCE);
      entries.push(...(await Promise.all(some.map(async (key) => decodeEntry(key, await this.objects.get(key))))));
    }
    // Keys are in order of offset within a partition, because offsets have a fixed number of digits.
    for (const entry of entries) this.add(entry);
  }
}

function chainError(end: CatalogEntry, entry: CatalogEntry): WeirError {
  const what =
    entry.first > end.next
      ? `nothing covers intake offsets ${end.next} to ${entry.first - 1}`
      : `intake offsets from ${entry.first} to ${Math.min(end.next, entry.next) - 1} are covered twice`;
  const after = entryKey(end.partition, end.first);
  const key = entryKey(entry.partition, entry.first);
  return new WeirError(
    "catalog_gap",
    `catalog of partition ${entry.partition}: ${what}, between ${after} and ${key}; restore what was removed, or remove what does not belong there`,
    { context: { partition: entry.partition, after, key } },
  );
}
