import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { sleepFor } from "../core/wait.ts";
import type { ObjectStore } from "../objects/store.ts";
import { byPartition, joinChain, mayLackEntries, upTo } from "./catalog-chain.ts";
import { CatalogChanger, type Change } from "./catalog-change.ts";
import { collectGarbage, sweepOrphans } from "./catalog-collect.ts";
import { type CatalogEntry, entryKey } from "./catalog-entry.ts";
import { CatalogReader } from "./catalog-read.ts";
import { CatalogView } from "./catalog-view.ts";
import { NO_ROOT, type Root } from "./manifest-root.ts";
import { PageReader, type PageReaderOptions } from "./page-reader.ts";
import type { RetryDeps } from "./retry.ts";
import type { SegmentInfo } from "./view.ts";

/** A reading of the catalog begins again when the store changes under it so much that something was deleted. */
const TRIES = 8;
/** Entries after the root that make a fold worth its while, and the age of the oldest. */
const FOLD_ENTRIES = 64;
const FOLD_AGE_MS = 300_000;
const PAGE_MEMORY_BYTES = 64 * 1024 * 1024;
const NEVER = new AbortController().signal;

export interface CatalogDeps {
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** For tests; timers and Math.random otherwise. */
  readonly sleep?: RetryDeps["sleep"];
  readonly random?: () => number;
  readonly pages?: Partial<PageReaderOptions>;
}

/**
 * What is in the store: the newest root of the manifest, and each partition's chain of entries after it. Reads the root and
 * those entries. Throws `catalog_corrupt` for one that is damaged, and `catalog_gap` for a chain with a hole or an overlap.
 */
export async function openCatalog(
  objects: ObjectStore,
  metrics: Metrics,
  log: Logger,
  deps: CatalogDeps = {},
): Promise<Catalog> {
  const catalog = new Catalog(objects, metrics, log, deps);
  await catalog.refresh();
  return catalog;
}

/**
 * The catalog as this process knows it. Which segments there are is always the same as in the store at some moment since the
 * last `refresh`; own commits are added at once.
 */
export class Catalog {
  private readonly objects: ObjectStore;
  private readonly log: Logger;
  private readonly now: () => number;
  private readonly reader: CatalogReader;
  private readonly pages: PageReader;
  private readonly changer: CatalogChanger;
  private root: Root = NO_ROOT;
  /** Entries of a partition after the root, in order of their first offset. */
  private readonly chains = new Map<number, readonly CatalogEntry[]>();
  private readonly known = new Set<string>();
  /** When this process first saw the oldest of them, or null. */
  private tailSinceMs: number | null = null;
  private current: CatalogView | null = null;
  private refreshing: Promise<void> | null = null;

  constructor(objects: ObjectStore, metrics: Metrics, log: Logger, deps: CatalogDeps = {}) {
    const { now = Date.now, sleep = sleepFor, random = Math.random } = deps;
    this.objects = objects;
    this.log = log;
    this.now = now;
    this.reader = new CatalogReader(objects, log);
    this.pages = new PageReader(objects, metrics, { memoryBytes: PAGE_MEMORY_BYTES, disk: null, ...deps.pages });
    const retries: RetryDeps = {
      sleep,
      random,
      onRetry: ({ message, code }, attempt, waitMs) =>
        log.warn({ attempt, code }, `catalog: ${message}; trying again in ${Math.round(waitMs)} ms`),
    };
    this.changer = new CatalogChanger({ objects, pages: this.pages, reader: this.reader, metrics, log, now, retries });
    metrics.gauge("weir_store_segments", "Committed segments.", [], (gauge) =>
      gauge.set(this.root.pages.reduce((sum, { segments }) => sum + segments, this.view().tail.length)),
    );
    metrics.gauge(
      "weir_store_catalog_entries",
      "Catalog entries that are not in the manifest's pages yet.",
      [],
      (gauge) => gauge.set(this.known.size),
    );
    metrics.gauge("weir_store_catalog_pages", "Pages of the manifest.", [], (gauge) =>
      gauge.set(this.root.pages.length),
    );
  }

  /** The committed segments as this process knows them now. The view never changes; a later call may give another. */
  view(): CatalogView {
    this.current ??= new CatalogView(this.root, this.segmentsAfterRoot(), this.pages, (root) => this.isOutdated(root));
    return this.current;
  }

  /** Segments of the entries that are not in the manifest's pages yet, by partition and first offset. */
  tail(): readonly SegmentInfo[] {
    return this.view().tail;
  }

  /** The intake offset that the partition's next entry begins with; 0 when it has none. */
  chainEnd(partition: number): number {
    return this.chains.get(partition)?.at(-1)?.next ?? this.root.folded.get(partition) ?? 0;
  }

  /** Whether the segments of the entry that begins there are in `view`. */
  has(partition: number, first: number): boolean {
    return this.isFolded(partition, first) || this.known.has(entryKey(partition, first));
  }

  /** Takes in an entry that has just been committed. One that is known already is left alone. */
  add(entry: CatalogEntry): void {
    this.takeIn([entry]);
  }

  /** Takes in what other processes have changed since. Calls at the same time share one reading. */
  refresh(): Promise<void> {
    this.refreshing ??= this.load().finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  /** As `refresh`, by a reading that begins after this call: one that is under way may have passed by what is looked for. */
  async refreshAnew(): Promise<void> {
    await this.refreshing?.catch(() => {}); // Whoever began it hears of its error.
    await this.refresh();
  }

  /**
   * Looks whether an entry that was just created counts: `position_taken` is thrown when the manifest already reaches beyond
   * its first offset. Then another worker had that offset, its entry was folded and deleted, and this worker has been asleep; or
   * a fold was quick to take this very entry. Either way what is committed stands, and the worker goes on at `chainEnd`.
   */
  async confirm(partition: number, first: number): Promise<void> {
    this.adopt(await this.reader.newestRoot(this.root));
    if (!this.isFolded(partition, first)) return;
    throw new WeirError(
      "position_taken",
      `commit of partition ${partition}: the manifest holds offset ${first} already; what is committed stands, and the position is to be read again`,
      { context: { partition, first } },
    );
  }

  /** Whether enough entries have gathered, or one has waited long enough, for a `fold`. */
  foldIsDue(): boolean {
    if (this.tailSinceMs === null) return false;
    return this.known.size >= FOLD_ENTRIES || this.now() - this.tailSinceMs >= FOLD_AGE_MS;
  }

  /** Moves all entries there are into pages of the manifest. False when there are none. Tries on while the store is unavailable. */
  fold(signal: AbortSignal = NEVER): Promise<boolean> {
    return this.change(() => this.changer.fold(this.root, this.entries()), signal);
  }

  /**
   * Puts `add` in the place of the segments `remove`, in one step for everyone. False when one of those is gone: another has
   * replaced it, and what was made from it is to be dropped. Afterwards the removed ones are garbage, deleted by `collect`.
   * Tries on while the store is unavailable; throws `aborted` with `signal`, and then it may have happened or not.
   */
  async replace(
    { tenant, remove, add }: { tenant: string; remove: readonly string[]; add: readonly SegmentInfo[] },
    signal: AbortSignal = NEVER,
  ): Promise<boolean> {
    const removed = new Set(remove);
    for (;;) {
      let done = false;
      let isFresh = false;
      await this.change(async () => {
        isFresh = this.tail().some(({ key }) => removed.has(key));
        if (isFresh) return null;
        const change = await this.changer.replace(this.root, { tenant, remove, add });
        // A new segment that is not there would be a hole: one that was written long ago may have been swept.
        const isHole = change !== null && change !== "done" && !(await this.changer.areThere(change.segments));
        done = change !== null && !isHole;
        return change === "done" || isHole ? null : change;
      }, signal);
      if (!isFresh) return done;
      // Segments are replaced in pages: those of fresh entries go there first.
      await this.fold(signal);
    }
  }

  /**
   * Deletes what was replaced more than `graceMs` ago: segments, pages, old roots, and entries that are in pages. A query that
   * runs longer has to begin again. Gives how many objects went.
   */
  async collect(graceMs: number, signal: AbortSignal = NEVER): Promise<number> {
    await this.refresh();
    const { deleted, gone } = await collectGarbage(this.objects, this.root, graceMs, this.now());
    if (gone.size > 0) {
      await this.change(async () => this.changer.forget(this.root, gone), signal);
    }
    return deleted;
  }

  /**
   * Deletes segments and pages that nothing names and that were written more than `graceMs` ago: leftovers of crashes and
   * lost races. `graceMs` has to be longer than any writer takes from a segment to its entry, or a compaction to its `replace`.
   */
  sweep(graceMs: number): Promise<{ deleted: number; bytes: number }> {
    return sweepOrphans(this.objects, graceMs, this.now(), async () => {
      await this.refreshAnew();
      return this.namedKeys();
    });
  }

  /** Keys of all segments and pages that the catalog names, garbage included. Rejects when a page can't be read. */
  async namedKeys(): Promise<Set<string>> {
    const { root, tail } = this.view();
    const named = new Set([...tail.map(({ key }) => key), ...root.garbage.map(({ key }) => key)]);
    for (const page of root.pages) {
      named.add(page.key);
      for (const { key } of await this.pages.load(page)) named.add(key);
    }
    return named;
  }

  private segmentsAfterRoot(): SegmentInfo[] {
    return [...this.chains.keys()]
      .sort((a, b) => a - b)
      .flatMap((partition) => this.chains.get(partition) ?? [])
      .flatMap(({ segments }) => segments);
  }

  private entries(): CatalogEntry[] {
    return [...this.chains.values()].flat();
  }

  private isFolded(partition: number, first: number): boolean {
    return first < (this.root.folded.get(partition) ?? 0);
  }

  private async isOutdated(root: Root): Promise<boolean> {
    try {
      return await this.hasChangedSince(root);
    } catch (error) {
      this.log.warn({ err: error }, `catalog: cannot be read anew: ${messageOf(error)}`);
      return false;
    }
  }

  private async hasChangedSince(root: Root): Promise<boolean> {
    await this.refresh();
    return this.root.version !== root.version;
  }

  /** Applies what `next` makes of the newest state, again and again until nobody else was quicker. False when it makes nothing. */
  private change(next: () => Promise<Change | null>, signal: AbortSignal): Promise<boolean> {
    return this.changer.inTurn(async () => {
      for (;;) {
        await this.changer.retrying(() => this.refresh(), signal);
        const { root } = this;
        let change: Change | null;
        try {
          change = await this.changer.retrying(next, signal);
        } catch (error) {
          // A page of a root that is no longer the newest may be gone.
          if (codeOf(error) === "object_missing" && (await this.hasChangedSince(root))) continue;
          throw error;
        }
        if (change === null) return false;
        if (!(await this.changer.apply(change, signal))) continue;
        this.adopt(change.root);
        return true;
      }
    });
  }

  private async load(): Promise<void> {
    for (let tries = 0; tries < TRIES; tries++) {
      this.adopt(await this.reader.newestRoot(this.root));
      const { root } = this;
      try {
        const fresh = await this.entriesAfter(root);
        // Entries are deleted only after the roots that need them: while ours is there, no entry was missing.
        if (!(await this.reader.stands(root))) continue;
        this.takeIn(fresh);
        return;
      } catch (error) {
        if (codeOf(error) !== "object_missing" && codeOf(error) !== "catalog_gap") throw error;
        if (await this.reader.stands(root)) throw error;
      }
    }
    throw new WeirError("store_unavailable", `catalog: it changed ${TRIES} times while it was read`, {
      retriable: true,
    });
  }

  /** The entries that `root` has not folded and that are not known, without a hole that is there only because the listing took its time. */
  private async entriesAfter(root: Root): Promise<readonly CatalogEntry[]> {
    const read = () => this.reader.entriesAfter(root, (key) => this.known.has(key));
    const entries = await read();
    const fresh = byPartition(entries);
    if (!mayLackEntries(fresh, (partition) => this.chains.get(partition) ?? [], root.folded)) return entries;
    // What stands before an entry was created before it, so a listing that begins now has it.
    return upTo(fresh, await read());
  }

  /** Takes in entries that are not known yet. Throws `catalog_gap` when one does not follow; those before it stay. */
  private takeIn(entries: readonly CatalogEntry[]): void {
    const fresh = entries.filter(({ partition, first }) => !this.has(partition, first));
    for (const [partition, some] of byPartition(fresh)) {
      const known = this.chains.get(partition) ?? [];
      const { chain, broken } = joinChain(known, some, this.root.folded.get(partition));
      if (chain.length > known.length) {
        this.chains.set(partition, chain);
        const last = chain[chain.length - 1].first;
        for (const { first } of some) if (first <= last) this.known.add(entryKey(partition, first));
        this.tailSinceMs ??= this.now();
        this.current = null;
      }
      if (broken !== null) throw broken;
    }
  }

  /** Makes a newer root the one that counts: what it has folded leaves the tail in the same tick. */
  private adopt(root: Root): void {
    if (root.version <= this.root.version) return;
    this.root = root;
    for (const [partition, chain] of this.chains) {
      const rest = chain.filter(({ first }) => !this.isFolded(partition, first));
      for (const { first } of chain) if (this.isFolded(partition, first)) this.known.delete(entryKey(partition, first));
      if (rest.length === 0) this.chains.delete(partition);
      else this.chains.set(partition, rest);
    }
    this.tailSinceMs = this.known.size === 0 ? null : this.now();
    this.current = null;
    this.log.debug({ version: root.version, pages: root.pages.length }, "catalog: new root");
  }
}
