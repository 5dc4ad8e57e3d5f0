import type { Labels } from "../core/labels.ts";
import { joinNs } from "../core/time.ts";
import type { ObjectStore } from "../objects/store.ts";
import { type BlockRange, runsOf } from "./block-runs.ts";
import { parseBlock, type StoredBlock } from "./block-view.ts";
import { corrupt } from "./errors.ts";
import { type Footer, parseFooter } from "./footer.ts";
import { labelFilter } from "./label-filter.ts";
import { type BlockPlace, prefetchBlocks, type ReadBlock } from "./prefetch.ts";
import { parseIndex, type StoredIndex } from "./segment.ts";
import type { SegmentInfo } from "./view.ts";

/** One read of a segment's end gets footer and, for nearly all segments, the whole index. */
const SUFFIX_BYTES = 512 * 1024;

export interface ReaderOptions {
  /** Bytes of indexes that are kept. */
  readonly cacheBytes: number;
}

/**
 * Reads segments. Errors: those of the object store, `segment_corrupt` and `block_corrupt`, which name key and byte.
 */
export class SegmentReader {
  private readonly objects: ObjectStore;
  private readonly cacheBytes: number;
  /** Least recently used first. */
  private readonly cache = new Map<string, StoredIndex>();
  private cachedBytes = 0;
  private readonly loading = new Map<string, Promise<StoredIndex>>();

  constructor(objects: ObjectStore, { cacheBytes }: ReaderOptions) {
    this.objects = objects;
    this.cacheBytes = cacheBytes;
  }

  /** The index of a segment, from memory where it can. Calls at the same time share one read. */
  async index({ key }: Pick<SegmentInfo, "key">): Promise<StoredIndex> {
    const cached = this.cache.get(key);
    if (cached !== undefined) {
      this.cache.delete(key);
      this.cache.set(key, cached);
      return cached;
    }
    let load = this.loading.get(key);
    if (load === undefined) {
      load = this.load(key)
        .then(({ index }) => {
          this.keep(key, index);
          return index;
        })
        .finally(() => this.loading.delete(key));
      this.loading.set(key, load);
    }
    return load;
  }

  /** What the catalog should say of a segment, from the segment alone. */
  async describe(key: string): Promise<SegmentInfo> {
    return (await this.inspect(key)).info;
  }

  /** The same together with the index, past the cache. */
  async inspect(key: string): Promise<{ info: SegmentInfo; index: StoredIndex }> {
    const { index, footer, size } = await this.load(key);
    return { info: describeSegment(key, size, index, footer), index };
  }

  /** The bytes of one block. */
  async readBlock(segment: Pick<SegmentInfo, "key">, block: BlockRange): Promise<Buffer> {
    const [bytes] = await this.readBlocks(segment, [block]);
    return bytes;
  }

  /**
   * The bytes of blocks in order of their offsets, in as few reads as is sensible. All are held at once, so ask for
   * some megabytes at a time.
   */
  async readBlocks({ key }: Pick<SegmentInfo, "key">, blocks: readonly BlockRange[]): Promise<Buffer[]> {
    const runs = await Promise.all(
      runsOf(blocks).map(async ({ start, end, blocks: some }) => {
        const bytes = await this.objects.getRange(key, start, end - start);
        if (bytes.length !== end - start) {
          throw corrupt("segment_corrupt", "bytes of a range", bytes.length, end - start, { key, offset: start });
        }
        return some.map(({ offset, length }) => bytes.subarray(offset - start, offset - start + length));
      }),
    );
    return runs.flat();
  }

  /** Begins to read blocks of any segments, and gives how to take each one. */
  prefetch(places: readonly BlockPlace[]): ReadBlock {
    return prefetchBlocks(this.objects, places);
  }

  /** Reads and checks a block's header; lines and columns follow when they are asked for. */
  async openBlock(segment: Pick<SegmentInfo, "key">, block: BlockRange): Promise<StoredBlock> {
    return parseBlock(await this.readBlock(segment, block), { key: segment.key, offset: block.offset });
  }

  private async load(key: string): Promise<{ index: StoredIndex; footer: Footer; size: number }> {
    const { bytes, size } = await this.objects.getSuffix(key, SUFFIX_BYTES);
    const start = size - bytes.length;
    const footer = parseFooter(bytes, { key, offset: start });
    const { indexAt, indexBytes } = footer;
    const members =
      indexAt >= start
        ? bytes.subarray(indexAt - start, indexAt - start + indexBytes)
        : await this.objects.getRange(key, indexAt, indexBytes);
    return { index: await parseIndex(members, footer, { key, offset: indexAt }), footer, size };
  }

  private keep(key: string, index: StoredIndex): void {
    if (index.memoryBytes > this.cacheBytes) return;
    this.cache.set(key, index);
    this.cachedBytes += index.memoryBytes;
    for (const [oldKey, old] of this.cache) {
      if (this.cachedBytes <= this.cacheBytes) break;
      this.cache.delete(oldKey);
      this.cachedBytes -= old.memoryBytes;
    }
  }
}

/** What the catalog says of a segment that was just built, or read: `index` is what stands in its index. */
export function describeSegment(
  key: string,
  bytes: number,
  {
    tenant,
    streams,
    sources,
  }: Pick<StoredIndex, "tenant" | "sources"> & { readonly streams: Iterable<{ readonly labels: Labels }> },
  footer: Footer,
): SegmentInfo {
  const { partition, firstOffset, nextOffset, lines, textBytes } = footer;
  return {
    key,
    bytes,
    tenant,
    partition,
    firstOffset,
    nextOffset,
    timeMinNs: joinNs(footer.minSec, footer.minNsec),
    timeMaxNs: joinNs(footer.maxSec, footer.maxNsec),
    lines,
    textBytes,
    streams: footer.streams,
    level: sources?.level ?? 0,
    labelFilter: labelFilter(streams),
  };
}
