import { codeOf, messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Counter, Metrics } from "../core/metrics.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { CatalogEntry } from "./catalog-entry.ts";
import type { CatalogReader } from "./catalog-read.ts";
import { isPageLost } from "./errors.ts";
import { cutPages, encodePage, hasRoom, pageDay } from "./manifest-page.ts";
import { encodeRoot, type Garbage, nextRoot, type PageRef, type Root, rootKey } from "./manifest-root.ts";
import type { PageReader } from "./page-reader.ts";
import { type RetryDeps, retry } from "./retry.ts";
import type { SegmentInfo } from "./view.ts";

/** A page that a change brings. */
interface NewPage {
  readonly ref: PageRef;
  readonly bytes: Buffer;
  readonly segments: readonly SegmentInfo[];
}

/** The next root, and the pages that it names and that are not written yet. */
export interface Change {
  readonly base: Root;
  readonly root: Root;
  readonly pages: readonly NewPage[];
  /** Keys of segments that no root has named so far, and no entry. */
  readonly segments: readonly string[];
}

export interface Replacement {
  readonly tenant: string;
  readonly remove: readonly string[];
  readonly add: readonly SegmentInfo[];
}

export interface ChangerDeps {
  readonly objects: ObjectStore;
  readonly pages: PageReader;
  readonly reader: CatalogReader;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly now: () => number;
  readonly retries: RetryDeps;
}

/** Makes the next root out of one, and puts it in the store unless another was quicker. */
export class CatalogChanger {
  private readonly deps: ChangerDeps;
  private readonly changes: Counter<"outcome">;
  private turn: Promise<void> = Promise.resolve();

  constructor(deps: ChangerDeps) {
    this.deps = deps;
    this.changes = deps.metrics.counter(
      "weir_store_catalog_changes_total",
      "Roots that were made for the manifest, by whether they came first (made) or another process was quicker (lost).",
      ["outcome"],
    );
  }

  /** Runs `work` after all that was handed in before: changes of one process need not race each other. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    // Whoever handed it in has its error.
    this.turn = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  retrying<T>(work: (attempt: number) => Promise<T>, signal: AbortSignal): Promise<T> {
    return retry(work, signal, this.deps.retries);
  }

  /** Whether all of some objects are there. */
  async areThere(keys: readonly string[]): Promise<boolean> {
    for (const key of keys) if ((await this.deps.objects.head(key)) === null) return false;
    return true;
  }

  /** All entries into pages. Null for none. */
  async fold(root: Root, entries: readonly CatalogEntry[]): Promise<Change | null> {
    if (entries.length === 0) return null;
    const folded = new Map(root.folded);
    for (const { partition, next } of entries) folded.set(partition, Math.max(next, folded.get(partition) ?? 0));
    const draft = new Draft(root, this.deps.pages);
    for (const { segments } of entries) for (const segment of segments) draft.add(segment);
    return this.finish(root, draft, { folded });
  }

  /** Null: something to be removed is not there. "done": that is so because this very change was made already. */
  async replace(root: Root, { tenant, remove, add }: Replacement): Promise<Change | "done" | null> {
    const draft = new Draft(root, this.deps.pages);
    const missing = await draft.remove(tenant, remove);
    if (missing) return add.length > 0 && (await this.hasAll(root, add)) ? "done" : null;
    for (const segment of add) draft.add(segment);
    return this.finish(root, draft, { garbage: remove, segments: add.map(({ key }) => key) });
  }

  /** Without the garbage that was deleted. Null when none of it is in the root. */
  forget(root: Root, gone: ReadonlySet<string>): Change | null {
    const garbage = root.garbage.filter(({ key }) => !gone.has(key));
    if (garbage.length === root.garbage.length) return null;
    return { base: root, root: nextRoot(root, this.deps.now(), { garbage }), pages: [], segments: [] };
  }

  /**
   * Writes pages and root. False when there is another root of that version; the pages are then removed. False also when something that
   * the root would name has been swept before it could be created.
   */
  async apply({ base, root, pages, segments }: Change, signal: AbortSignal): Promise<boolean> {
    const { objects } = this.deps;
    await Promise.all(pages.map(({ ref, bytes }) => this.retrying(() => objects.put(ref.key, [bytes]), signal)));
    let isWhole = true;
    const isCreated = await this.retrying(async (attempt) => {
      // Between two tries may lie hours, and what nothing names is swept one day.
      if (attempt > 0) isWhole = await this.areThere([...segments, ...pages.map(({ ref }) => ref.key)]);
      return isWhole && (await this.create(root));
    }, signal);
    // A try before may have created it all the same.
    if (!isWhole) {
      this.changes.inc({ outcome: "lost" });
      return false;
    }
    // Where it can't be told whether later roots follow from ours, they may name its pages.
    if (!isCreated) await this.discard(pages);
    const isOurs = isCreated && (await this.retrying(() => this.isNext(base, root), signal));
    this.changes.inc({ outcome: isOurs ? "made" : "lost" });
    if (isOurs) for (const { ref, segments } of pages) this.deps.pages.keep(ref, segments);
    return isOurs;
  }

  private async create(root: Root): Promise<boolean> {
    const { objects } = this.deps;
    const key = rootKey(root.version);
    const bytes = encodeRoot(root);
    try {
      await objects.putIfAbsent(key, [bytes]);
      return true;
    } catch (error) {
      if (codeOf(error) !== "object_exists") throw error;
      // After a try whose answer got lost it may be our own: a root has a random id, so equal bytes are no other's.
      return bytes.equals(await objects.get(key));
    }
  }

  /**
   * Whether the root that was just created came right after `base`. It did not when this process was asleep for so long that
   * there had been a root of that version, and it was deleted as old: then it is taken away again. Nobody takes it for the
   * newest meanwhile, because `base` is gone and there is a higher one.
   */
  private async isNext(base: Root, root: Root): Promise<boolean> {
    const { objects, reader } = this.deps;
    if (base.version > 0 && (await reader.stands(base))) return true;
    if ((await reader.highestVersion()) === root.version) return true;
    await objects.delete(rootKey(root.version));
    return false;
  }

  /** Pages that no root names. What is left of them is swept one day. */
  private async discard(pages: readonly NewPage[]): Promise<void> {
    if (pages.length === 0) return;
    try {
      await this.deps.objects.deleteMany(pages.map(({ ref }) => ref.key));
    } catch (error) {
      this.deps.log.warn(
        { pages: pages.length },
        `catalog: pages of a lost change stay for the sweep: ${messageOf(error)}`,
      );
    }
  }

  private async hasAll(root: Root, segments: readonly SegmentInfo[]): Promise<boolean> {
    const wanted = new Set(segments.map(({ key }) => key));
    for (const { key } of root.garbage) wanted.delete(key);
    const days = new Set(segments.map(pageDay));
    for (const page of root.pages) {
      if (page.tenant !== segments[0].tenant || !days.has(page.day)) continue;
      for (const { key } of await this.deps.pages.load(page)) wanted.delete(key);
    }
    return wanted.size === 0;
  }

  private async finish(
    base: Root,
    draft: Draft,
    {
      folded = base.folded,
      garbage = [],
      segments = [],
    }: { folded?: Root["folded"]; garbage?: readonly string[]; segments?: readonly string[] },
  ): Promise<Change> {
    const { kept, dropped, groups } = await draft.settle();
    const pages: NewPage[] = [];
    for (const group of groups) pages.push({ ...(await encodePage(group)), segments: group });
    const atMs = this.deps.now();
    const fresh: Garbage[] = [...garbage, ...dropped.map(({ key }) => key)].map((key) => ({ key, atMs }));
    const root = nextRoot(base, atMs, {
      folded,
      pages: [...kept, ...pages.map(({ ref }) => ref)],
      garbage: [...base.garbage, ...fresh],
    });
    return { base, root, pages, segments };
  }
}

/** What becomes of a root's pages when segments come and go. */
class Draft {
  private readonly root: Root;
  private readonly pages: PageReader;
  private readonly added = new Map<string, SegmentInfo[]>();
  private readonly removed = new Set<string>();
  private readonly touched = new Set<PageRef>();

  constructor(root: Root, pages: PageReader) {
    this.root = root;
    this.pages = pages;
  }

  add(segment: SegmentInfo): void {
    const group = groupOf(segment.tenant, pageDay(segment));
    const list = this.added.get(group);
    if (list === undefined) this.added.set(group, [segment]);
    else list.push(segment);
  }

  /** Takes segments out. True when not all of them are there. Rejects when one may be in a page that can't be read. */
  async remove(tenant: string, keys: readonly string[]): Promise<boolean> {
    const missing = new Set(keys);
    // A segment's key has the day of its page in it, so the first round finds them all, unless somebody renames things.
    const days = new Set(keys.map((key) => key.split("/")[2]));
    const own = this.root.pages.filter((page) => page.tenant === tenant);
    let lost: PageRef | null = null;
    for (const page of [...own.filter(({ day }) => days.has(day)), ...own.filter(({ day }) => !days.has(day))]) {
      if (missing.size === 0) break;
      const segments = await this.segmentsOf(page);
      if (segments === null) lost ??= page;
      for (const { key } of segments ?? []) {
        if (!missing.delete(key)) continue;
        this.removed.add(key);
        this.touched.add(page);
      }
    }
    if (missing.size > 0 && lost !== null) await this.pages.load(lost);
    return missing.size > 0;
  }

  /** Pages that stay, pages that go, and the segments of those that take their place, page by page. */
  async settle(): Promise<{ kept: PageRef[]; dropped: PageRef[]; groups: SegmentInfo[][] }> {
    const groups = new Map<string, SegmentInfo[]>(this.added);
    const dropped = new Set<PageRef>();
    for (const page of [...this.touched, ...this.roomyPages(groups)]) {
      const group = groupOf(page.tenant, page.day);
      const segments = await this.segmentsOf(page);
      if (segments === null) continue;
      dropped.add(page);
      const rest = segments.filter(({ key }) => !this.removed.has(key));
      groups.set(group, [...(groups.get(group) ?? []), ...rest]);
    }
    return {
      kept: this.root.pages.filter((page) => !dropped.has(page)),
      dropped: [...dropped],
      groups: [...groups.values()].flatMap(cutPages),
    };
  }

  /** A page with room for each group that changes: its newest, so that few pages are ever rewritten. */
  private roomyPages(groups: ReadonlyMap<string, unknown>): PageRef[] {
    const wanted = new Set(groups.keys());
    for (const { tenant, day } of this.touched) wanted.add(groupOf(tenant, day));
    const newest = new Map<string, PageRef>();
    for (const page of this.root.pages) {
      const group = groupOf(page.tenant, page.day);
      if (!wanted.has(group) || this.touched.has(page) || !hasRoom(page)) continue;
      const known = newest.get(group);
      if (known === undefined || known.timeMaxNs < page.timeMaxNs) newest.set(group, page);
    }
    return [...newest.values()];
  }

  /** Null for a page that is damaged or gone: its segments are lost to queries, which say so, and it is left for repair. */
  private async segmentsOf(page: PageRef): Promise<readonly SegmentInfo[] | null> {
    try {
      return await this.pages.load(page);
    } catch (error) {
      if (this.touched.has(page) || !isPageLost(error)) throw error;
      return null;
    }
  }
}

const groupOf = (tenant: string, day: string) => `${day} ${tenant}`;
