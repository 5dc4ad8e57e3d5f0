import type { Counter, Metrics } from "../core/metrics.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { DiskCache } from "./disk-cache.ts";
import { decodePage, isPage, pageMemory } from "./manifest-page.ts";
import type { PageRef } from "./manifest-root.ts";
import type { SegmentInfo } from "./view.ts";

export interface PageReaderOptions {
  /** Bytes of pages that are kept in memory, as memory counts them. */
  readonly memoryBytes: number;
  /** Copies of pages near by; null when the store is near itself. */
  readonly disk: DiskCache | null;
}

/** Reads pages of the manifest: from memory, from the disk cache, from the store. All are checked. */
export class PageReader {
  private readonly objects: ObjectStore;
  private readonly memoryBytes: number;
  private readonly disk: DiskCache | null;
  /** Least recently used first. */
  private readonly pages = new Map<string, { segments: readonly SegmentInfo[]; bytes: number }>();
  private readonly loading = new Map<string, Promise<readonly SegmentInfo[]>>();
  private readonly reads: Counter<"from">;
  private readonly readBytes: Counter<"from">;
  private held = 0;

  constructor(objects: ObjectStore, metrics: Metrics, { memoryBytes, disk }: PageReaderOptions) {
    this.objects = objects;
    this.memoryBytes = memoryBytes;
    this.disk = disk;
    this.reads = metrics.counter("weir_store_catalog_page_reads_total", "Pages of the manifest that were read.", [
      "from",
    ]);
    this.readBytes = metrics.counter("weir_store_catalog_page_read_bytes_total", "Bytes of pages that were read.", [
      "from",
    ]);
    metrics.gauge("weir_store_catalog_page_memory_bytes", "Memory of pages that are kept.", [], (gauge) =>
      gauge.set(this.held),
    );
  }

  /** The page's segments. Rejects with `object_missing`, `catalog_corrupt`, or the store's error. */
  async load(ref: PageRef): Promise<readonly SegmentInfo[]> {
    const known = this.pages.get(ref.key);
    if (known !== undefined) {
      this.pages.delete(ref.key);
      this.pages.set(ref.key, known);
      return known.segments;
    }
    let load = this.loading.get(ref.key);
    if (load === undefined) {
      load = this.read(ref).finally(() => this.loading.delete(ref.key));
      this.loading.set(ref.key, load);
    }
    return load;
  }

  /** Keeps a page that was just written. */
  keep(ref: PageRef, segments: readonly SegmentInfo[]): void {
    const bytes = pageMemory(segments);
    if (bytes > this.memoryBytes || this.pages.has(ref.key)) return;
    this.pages.set(ref.key, { segments, bytes });
    this.held += bytes;
    for (const [key, page] of this.pages) {
      if (this.held <= this.memoryBytes) break;
      this.pages.delete(key);
      this.held -= page.bytes;
    }
  }

  private async read(ref: PageRef): Promise<readonly SegmentInfo[]> {
    const segments = await decodePage(await this.bytesOf(ref), ref);
    this.keep(ref, segments);
    return segments;
  }

  private async bytesOf(ref: PageRef): Promise<Buffer> {
    // The last part of a key is random, and so are no two alike.
    const name = ref.key.split("/").slice(-2).join("-");
    const near = (await this.disk?.get(name)) ?? null;
    if (near !== null && isPage(near, ref)) {
      this.count("disk", near);
      return near;
    }
    const bytes = await this.objects.get(ref.key);
    this.count("store", bytes);
    if (isPage(bytes, ref)) await this.disk?.put(name, bytes);
    return bytes;
  }

  private count(from: string, { length }: Buffer): void {
    this.reads.inc({ from });
    this.readBytes.inc({ from }, length);
  }
}
