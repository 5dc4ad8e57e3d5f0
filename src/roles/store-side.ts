import { messageOf } from "../core/errors.ts";
import { removeLeftovers } from "../objects/leftovers.ts";
import { openObjectStore } from "../objects/open.ts";
import { withS3Options } from "../objects/s3-url.ts";
import type { ObjectStore } from "../objects/store.ts";
import { type Catalog, openCatalog } from "../store/catalog.ts";
import { SegmentReader } from "../store/reader.ts";
import { allOrNothing } from "./all-or-nothing.ts";
import { catalogPages } from "./catalog-cache.ts";
import { CompactorRole } from "./compactor.ts";
import { type Forgetting, openForgetting } from "./forget.ts";
import type { PartDeps, ProcessPlaces, ProcessSections } from "./process-config.ts";

export interface StoreSideDeps extends PartDeps {
  /** Instead of the object store at `storeUrl`, for tests. */
  readonly objects?: ObjectStore;
  /** By partition, the offset that the next entry of the intake log gets; rejects where that can't be known. */
  readonly intakeEnds: () => Promise<Readonly<Record<string, number>>>;
  /** False: others compact this store, whatever the file says. */
  readonly compacts?: boolean;
}

/** What a process has of the store beside writing lines to it: the objects, their catalog, what is to be forgotten, and compaction. */
export class StoreSide {
  readonly objects: ObjectStore;
  /** Where threads find the objects. */
  readonly objectsUrl: string;
  readonly catalog: Catalog;
  readonly reader: SegmentReader;
  readonly forgetting: Forgetting;
  private readonly compactor: CompactorRole | null;
  private readonly stopping = new AbortController();

  private constructor(parts: {
    objects: ObjectStore;
    objectsUrl: string;
    catalog: Catalog;
    reader: SegmentReader;
    forgetting: Forgetting;
    compactor: CompactorRole | null;
  }) {
    this.objects = parts.objects;
    this.objectsUrl = parts.objectsUrl;
    this.catalog = parts.catalog;
    this.reader = parts.reader;
    this.forgetting = parts.forgetting;
    this.compactor = parts.compactor;
  }

  /** Reads the catalog and the deletion requests. Rejects with the object store's errors, and leaves nothing open. */
  static open(
    sections: Pick<ProcessSections, "store" | "compactor" | "retention" | "s3">,
    places: ProcessPlaces,
    deps: StoreSideDeps,
  ): Promise<StoreSide> {
    const { metrics, log, intakeEnds, compacts = true } = deps;
    return allOrNothing(async (onFailure) => {
      const objectsUrl = withS3Options(places.storeUrl, sections.s3);
      const objects = deps.objects ?? (await openObjectStore(objectsUrl, { metrics }));
      onFailure(() => objects.close());
      const pages = await catalogPages(sections.store, places, log);
      const catalog = await openCatalog(objects, metrics, log, { pages });
      const common = { objects, catalog, metrics, log };
      const forgetting = await openForgetting(sections.retention, { ...common, intakeEnds, now: Date.now });
      const { removals } = forgetting;
      const blockBytes = sections.store.block_bytes;
      const compactor =
        compacts && sections.compactor.enabled
          ? new CompactorRole(sections.compactor, { ...common, blockBytes, removals })
          : null;
      const reader = new SegmentReader(objects, { cacheBytes: sections.store.index_cache_bytes });
      endLeftovers(objects, log);
      return new StoreSide({ objects, objectsUrl, catalog, reader, forgetting, compactor });
    });
  }

  /** Begins with compaction, or with looking for what others have changed. */
  start(): void {
    if (this.compactor === null) this.forgetting.watch(this.stopping.signal);
    else this.compactor.start();
  }

  /** Gives up compaction under way, within 2 s. The objects can still be read and written. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.compactor?.stop();
  }

  /** To be called last: nobody reads or writes objects any more. */
  close(): Promise<void> {
    return this.objects.close();
  }
}

/** Ends uploads that a crash has left, while everything else goes on. */
function endLeftovers(objects: ObjectStore, log: PartDeps["log"]): void {
  removeLeftovers(objects, Date.now()).then(
    (count) => count > 0 && log.info({ count }, "store: ended uploads that were never finished"),
    (error: unknown) =>
      log.warn({ reason: messageOf(error) }, "store: can't look for uploads that were never finished"),
  );
}
