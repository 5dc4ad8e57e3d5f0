import { codeOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { ObjectStore } from "../objects/store.ts";
import { CATALOG_PREFIX, type CatalogEntry, decodeEntry, parseEntryKey } from "./catalog-entry.ts";
import { decodeRoot, MANIFEST_PREFIX, NO_ROOT, parseRootKey, type Root, rootKey } from "./manifest-root.ts";

/** Entries that are read at once: enough to hide an object store's latency, few enough to be no burst. */
const READS_AT_ONCE = 16;

/** Reads roots of the manifest and entries from the store. */
export class CatalogReader {
  private readonly objects: ObjectStore;
  private readonly log: Logger | null;
  /** When the root that was looked at last was written. */
  private stamp: { readonly version: number; readonly modifiedMs: number } | null = null;

  /** `log` is told of objects that do not belong where they are. */
  constructor(objects: ObjectStore, log: Logger | null) {
    this.objects = objects;
    this.log = log;
  }

  /**
   * The newest root there is; `known` is the newest that is known, and is given back when there is no later one. Throws
   * `catalog_corrupt`.
   */
  async newestRoot(known: Root): Promise<Root> {
    let root = known.version === 0 ? await this.listedRoot(known) : known;
    if (root.version === 0) return root;
    for (;;) {
      const next = await this.rootOf(root.version + 1);
      // Old roots are deleted in order of their versions: while this one is there, no later one has been, and neither has a
      // creator that slept through it all put another in its place.
      if (!(await this.stands(root))) root = await this.listedRoot(root);
      else if (next === null) return root;
      else root = next;
    }
  }

  /** Whether the root has not been deleted, and so neither has anything that it names as current. */
  async stands({ version }: Root): Promise<boolean> {
    if (version === 0) return (await this.highestVersion()) === 0;
    const info = await this.objects.head(rootKey(version));
    if (info === null) return false;
    // One that was made again is younger.
    if (this.stamp?.version !== version) this.stamp = { version, modifiedMs: info.modifiedMs };
    return this.stamp.modifiedMs === info.modifiedMs;
  }

  /** The version of the newest root in the store; 0 for none. */
  async highestVersion(): Promise<number> {
    let highest = 0;
    for await (const { key } of this.objects.list(MANIFEST_PREFIX)) highest = Math.max(highest, parseRootKey(key) ?? 0);
    return highest;
  }

  /** The entries that `root` has not folded and that are not known, those of a partition in order. */
  async entriesAfter({ folded }: Root, isKnown: (key: string) => boolean): Promise<CatalogEntry[]> {
    const keys: string[] = [];
    for await (const { key } of this.objects.list(CATALOG_PREFIX)) {
      if (isKnown(key)) continue;
      const place = parseEntryKey(key);
      if (place === null) this.log?.warn({ key }, "catalog: an object that is no catalog entry; left alone");
      else if (place.first >= (folded.get(place.partition) ?? 0)) keys.push(key);
    }
    const entries: CatalogEntry[] = [];
    for (let at = 0; at < keys.length; at += READS_AT_ONCE) {
      const some = keys.slice(at, at + READS_AT_ONCE);
      entries.push(...(await Promise.all(some.map(async (key) => decodeEntry(key, await this.objects.get(key))))));
    }
    // Keys are in order of offset within a partition, because offsets have a fixed number of digits.
    return entries;
  }

  private async listedRoot(known: Root): Promise<Root> {
    for (;;) {
      const highest = await this.highestVersion();
      if (highest === 0 && known.version === 0) return NO_ROOT;
      if (highest < known.version) {
        throw new WeirError(
          "catalog_corrupt",
          `catalog root ${rootKey(known.version)} is gone and there is no later one; restore it, or rebuild the catalog from the segments (weir rebuild)`,
          { context: { key: rootKey(known.version) } },
        );
      }
      const root = await this.rootOf(highest);
      // The newest one is never deleted, so if it is gone there is a newer one.
      if (root !== null) return root;
    }
  }

  private async rootOf(version: number): Promise<Root | null> {
    const key = rootKey(version);
    try {
      return decodeRoot(key, await this.objects.get(key));
    } catch (error) {
      if (codeOf(error) === "object_missing") return null;
      throw error;
    }
  }
}
