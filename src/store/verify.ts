import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { ObjectStore } from "../objects/store.ts";
import { parseBlock } from "./block-view.ts";
import { CATALOG_PREFIX, type CatalogEntry, decodeEntry, parseEntryKey } from "./catalog-entry.ts";
import { CatalogReader } from "./catalog-read.ts";
import { DELETES_PREFIX, decodeDelete } from "./deletes-object.ts";
import { eachAtOnce } from "./each.ts";
import { isPageLost } from "./errors.ts";
import { SEGMENTS_PREFIX } from "./keys.ts";
import { decodePage, PAGES_PREFIX, pageDay } from "./manifest-page.ts";
import { NO_ROOT, type PageRef, type Root } from "./manifest-root.ts";
import { SegmentReader } from "./reader.ts";
import type { StoredIndex } from "./segment.ts";
import type { BlockInfo, SegmentInfo } from "./view.ts";

const READS_AT_ONCE = 4;
/** Of a catalog that changes all the time, and has other problems each time it is read. */
const CATALOG_READINGS = 5;
/** Compressed bytes of blocks that are read, and held, together. */
const BATCH_BYTES = 4 * 1024 * 1024;

export interface VerifyOptions {
  /** Reads catalog and indexes, and no block. */
  readonly indexOnly: boolean;
  /** Told of everything that is wrong, in a sentence that names object and byte. */
  readonly onProblem: (problem: string) => void;
  readonly onProgress?: (done: number, of: number) => void;
}

export interface VerifyReport {
  /** Version of the root; 0 for none. */
  root: number;
  pages: number;
  /** Entries that are not in pages. */
  entries: number;
  /** Segments that the catalog names. */
  named: number;
  segments: number;
  blocks: number;
  lines: number;
  textBytes: number;
  bytes: number;
  /** Segments and pages that nothing names, and replaced ones that wait for their end. */
  leftovers: string[];
  leftoverBytes: number;
  garbage: number;
  problems: number;
}

/** Walks a whole store and checks everything in it that has a check. May run while the store is in use. Rejects with the store's errors. */
export async function verifyStore(objects: ObjectStore, options: VerifyOptions): Promise<VerifyReport> {
  const run = new Verification(objects, options);
  await run.catalog();
  await run.segments();
  await run.deletes();
  return run.report;
}

class Verification {
  readonly report: VerifyReport = {
    root: 0,
    pages: 0,
    entries: 0,
    named: 0,
    segments: 0,
    blocks: 0,
    lines: 0,
    textBytes: 0,
    bytes: 0,
    leftovers: [],
    leftoverBytes: 0,
    garbage: 0,
    problems: 0,
  };
  private readonly objects: ObjectStore;
  private readonly options: VerifyOptions;
  private readonly reader: SegmentReader;
  private readonly catalogReader: CatalogReader;
  /** What the catalog says of segments. */
  private readonly named = new Map<string, SegmentInfo>();
  private readonly pages = new Set<string>();
  private readonly garbage = new Set<string>();
  /** Problems that are not told yet, while the catalog is read. */
  private held: string[] | null = null;

  constructor(objects: ObjectStore, options: VerifyOptions) {
    this.objects = objects;
    this.options = options;
    this.reader = new SegmentReader(objects, { cacheBytes: 0 });
    this.catalogReader = new CatalogReader(objects, null);
  }

  /**
   * Root, pages, entries; and that each names what is there, once. While the store is in use entries are folded and deleted, and a
   * listing may pass some by: only what two readings, one after the other, find wrong is wrong.
   */
  async catalog(): Promise<void> {
    let before: readonly string[] = [];
    for (let reading = 1; reading <= CATALOG_READINGS; reading++) {
      const found: string[] = [];
      this.held = found;
      await this.readCatalog();
      const isSettled = found.length === 0 || found.join("\n") === before.join("\n");
      before = found;
      if (isSettled) break;
    }
    this.held = null;
    for (const problem of before) this.problem(problem);
  }

  private async readCatalog(): Promise<void> {
    Object.assign(this.report, { pages: 0, entries: 0, named: 0 });
    for (const known of [this.named, this.pages, this.garbage]) known.clear();
    let root = NO_ROOT;
    await this.checking(async () => {
      root = await this.catalogReader.newestRoot(NO_ROOT);
    });
    this.report.root = root.version;
    for (const { key } of root.garbage) this.garbage.add(key);
    for (const page of root.pages) {
      this.pages.add(page.key);
      await this.checking(async () => {
        const segments = await decodePage(await this.objects.get(page.key), page);
        this.report.pages++;
        for (const segment of segments) {
          if (segment.tenant !== page.tenant || pageDay(segment) !== page.day)
            this.problem(
              `catalog page ${page.key}: ${segment.key} is of tenant ${segment.tenant}, ${pageDay(segment)}`,
            );
          this.name(segment, page.key);
        }
      });
    }
    await this.entries(root);
  }

  /** Segments: index, blocks, and what the catalog says of them. */
  async segments(): Promise<void> {
    const found = new Map<string, number>();
    for await (const { key, size } of this.objects.list(SEGMENTS_PREFIX)) found.set(key, size);
    const missing = [...this.named.keys()].filter((key) => !found.has(key));
    const keys = [...found.keys()];
    let done = 0;
    await eachAtOnce(READS_AT_ONCE, keys, async (key) => {
      await this.checking(() => this.segment(key, found.get(key) ?? 0), key);
      this.options.onProgress?.(++done, keys.length);
    });
    for (const key of missing) {
      const { lines } = this.named.get(key) ?? { lines: 0 };
      await this.checking(async () => {
        throw new WeirError("object_missing", `segment ${key} is missing, and with it ${lines} lines`);
      }, key);
    }
    for (const [key, size] of found) if (!this.named.has(key)) this.leftover(key, size);
    for await (const { key, size } of this.objects.list(PAGES_PREFIX))
      if (!this.pages.has(key)) this.leftover(key, size);
  }

  /** Deletion requests: one that is damaged hides and removes nothing. */
  async deletes(): Promise<void> {
    for await (const { key } of this.objects.list(DELETES_PREFIX)) {
      await this.checking(async () => {
        decodeDelete(key, await this.objects.get(key));
      }, key);
    }
  }

  private async entries({ folded }: Root): Promise<void> {
    const ends = new Map<number, number>();
    for await (const { key } of this.objects.list(CATALOG_PREFIX)) {
      const place = parseEntryKey(key);
      if (place === null) this.problem(`${key} is no catalog entry`);
      else if (place.first >= (folded.get(place.partition) ?? 0)) {
        await this.checking(async () => {
          const entry = decodeEntry(key, await this.objects.get(key));
          this.report.entries++;
          this.follow(entry, ends.get(entry.partition) ?? folded.get(entry.partition), key);
          ends.set(entry.partition, entry.next);
          for (const segment of entry.segments) this.name(segment, key);
        });
      }
    }
  }

  private follow({ partition, first }: CatalogEntry, end: number | undefined, key: string): void {
    if (end === undefined || end === first) return;
    const what = end < first ? `nothing covers offsets ${end} to ${first - 1}` : `offset ${first} is covered twice`;
    this.problem(`catalog entry ${key}: ${what} of partition ${partition}`);
  }

  private name(segment: SegmentInfo, by: string): void {
    if (this.named.has(segment.key)) this.problem(`${by}: ${segment.key} is named twice`);
    this.named.set(segment.key, segment);
    this.report.named++;
  }

  private async segment(key: string, size: number): Promise<void> {
    const { info, index } = await this.reader.inspect(key);
    this.report.segments++;
    this.report.bytes += size;
    const named = this.named.get(key);
    if (named !== undefined) this.compare(named, info);
    let lines = 0;
    let textBytes = 0;
    for (const batch of batchesOf(index.blocks)) {
      const bytes = this.options.indexOnly ? [] : await this.reader.readBlocks({ key }, batch);
      batch.forEach((block, i) => {
        lines += block.rows;
        textBytes += block.textBytes;
        if (!this.options.indexOnly) this.block(key, index, block, bytes[i]);
      });
      // Inflating takes the thread: others get their turn between batches.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.report.blocks += index.blocks.length;
    this.report.lines += lines;
    this.report.textBytes += textBytes;
    if (lines !== info.lines) this.problem(`${key}: its blocks have ${lines} lines, its footer says ${info.lines}`);
  }

  private block(key: string, index: StoredIndex, block: BlockInfo, bytes: Buffer): void {
    try {
      const view = parseBlock(bytes, { key, offset: block.offset });
      const { canonical } = index.streams[block.stream];
      // Inflates the text, which checks it, and counts its lines.
      const lines = view.lineStarts.length - 1;
      const differs =
        view.canonical !== canonical ||
        view.rows !== block.rows ||
        view.textBytes !== block.textBytes ||
        view.timeMinNs !== block.timeMinNs ||
        view.timeMaxNs !== block.timeMaxNs ||
        lines !== block.rows;
      if (differs) this.problem(`${key}: the block at byte ${block.offset} is not what the index says of it`);
    } catch (error) {
      if (!(error instanceof WeirError)) throw error;
      this.problem(`${error.message}; ${block.rows} lines`);
    }
  }

  private compare(named: SegmentInfo, info: SegmentInfo): void {
    const facts = ({ bytes, tenant, lines, textBytes, streams, timeMinNs, timeMaxNs }: SegmentInfo) =>
      [bytes, JSON.stringify(tenant), lines, textBytes, streams, timeMinNs, timeMaxNs].join(", ");
    if (facts(named) === facts(info)) return;
    this.problem(`${info.key}: the catalog says (${facts(named)}), the segment is (${facts(info)})`);
  }

  private leftover(key: string, size: number): void {
    if (this.garbage.has(key)) this.report.garbage++;
    else this.report.leftovers.push(key);
    this.report.leftoverBytes += size;
  }

  private problem(text: string): void {
    if (this.held !== null) {
      this.held.push(text);
      return;
    }
    this.report.problems++;
    this.options.onProblem(text);
  }

  /** What is wrong with the store is the result, but for a store that can't be asked. `key`: the segment that it is about. */
  private async checking(work: () => Promise<void>, key?: string): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof WeirError) || error.retriable) throw error;
      // While the store is in use, what the catalog named at first may be replaced and gone by now.
      if (codeOf(error) === "object_missing" && key !== undefined && !(await this.isStillNamed(key))) return;
      this.problem(messageOf(error));
    }
  }

  private async isStillNamed(key: string): Promise<boolean> {
    if (!this.named.has(key)) return false;
    // Without a catalog that can be read nothing can have been replaced.
    if (this.report.root === 0) return true;
    const root = await this.catalogReader.newestRoot(NO_ROOT);
    if (root.version === this.report.root) return true;
    const { partition, firstOffset } = this.named.get(key) ?? { partition: 0, firstOffset: 0 };
    // What an entry named that is in no page yet can't have been replaced.
    if (firstOffset >= (root.folded.get(partition) ?? 0)) return true;
    for (const page of root.pages) if (await this.names(page, key)) return true;
    return false;
  }

  /** Whether a page names a segment. What one that can't be read names is not known, and that it can't is told elsewhere. */
  private async names(page: PageRef, key: string): Promise<boolean> {
    try {
      const segments = await decodePage(await this.objects.get(page.key), page);
      return segments.some((segment) => segment.key === key);
    } catch (error) {
      if (!isPageLost(error)) throw error;
      return false;
    }
  }
}

function* batchesOf(blocks: readonly BlockInfo[]): Generator<BlockInfo[]> {
  let batch: BlockInfo[] = [];
  let bytes = 0;
  for (const block of blocks) {
    batch.push(block);
    bytes += block.length;
    if (bytes < BATCH_BYTES) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}
