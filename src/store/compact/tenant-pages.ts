import type { Catalog } from "../catalog.ts";
import { isPageLost } from "../errors.ts";
import type { PageRef } from "../manifest-root.ts";
import type { SegmentInfo, SegmentPart } from "../view.ts";

/** Segments that are planned at once: some 20 ms of work. A backlog beyond them waits for its turn. */
const SEGMENTS_MAX = 10_000;
const DAY_SEC = 86_400;
/** Before and after all times there are. */
const FOREVER = { startNs: -(10n ** 30n), endNs: 10n ** 30n };

/** A page that can't be read, because it is damaged or gone. */
export interface LostPage {
  readonly page: PageRef;
  readonly error: unknown;
}

/** What of a tenant's segments is worth a look. */
export interface TenantSegments {
  readonly segments: readonly SegmentInfo[];
  /** Pages that were not read for the first time. */
  readonly newlyLost: readonly LostPage[];
  /**
   * Whether lines of a lost page may be of the segment's times. Nobody knows where in the order of arrival those are, and the page may
   * be repaired one day, so such a segment must not be merged with others.
   */
  mayOverlapLost(info: Span): boolean;
  /**
   * Says that there is nothing to do among them: they are not looked at again until they change, or their day settles. Beside a lost
   * page that holds until the next pass.
   */
  markDone(): void;
}

/**
 * The pages of the manifest, tenant by tenant, without the days at which there was nothing to do last time: most of a year
 * never changes, and need not be read again.
 */
export class TenantPages {
  private readonly catalog: Catalog;
  /** By tenant and day, the keys of the pages at which there was nothing to do. */
  private done = new Map<string, string>();
  /** The same for this pass alone. */
  private readonly passed = new Map<string, string>();
  private readonly lost = new Map<string, PageRef>();

  constructor(catalog: Catalog) {
    this.catalog = catalog;
  }

  /** Pages that could not be read when they were looked at last. */
  lostPages(): string[] {
    return [...this.lost.keys()];
  }

  /** Begins to look again at what stands beside lost pages, and forgets those that the catalog no longer names. */
  beginPass(): void {
    this.passed.clear();
    const named = new Set(this.catalog.view().root.pages.map(({ key }) => key));
    for (const key of this.lostPages()) if (!named.has(key)) this.lost.delete(key);
  }

  /** Tenants with days that are worth a look. Forgets days that are gone. */
  tenants(settled: (day: number) => boolean): string[] {
    const { pages } = this.catalog.view().root;
    const known = new Map<string, string>();
    const out = new Set<string>();
    for (const [group, { tenant, state }] of groupsOf(pages, settled)) {
      if (this.done.get(group) === state) known.set(group, state);
      else if (this.passed.get(group) !== state) out.add(tenant);
    }
    this.done = known;
    return [...out];
  }

  /**
   * The tenant's segments that are worth a look, and others that overlap them in time. A page that is damaged or gone costs its own
   * segments only. Rejects with the store's errors.
   */
  async load(tenant: string, settled: (day: number) => boolean): Promise<TenantSegments> {
    const view = this.catalog.view();
    const own = view.root.pages.filter((page) => page.tenant === tenant);
    const groups = groupsOf(own, settled);
    const fresh: { readonly group: string; readonly state: string; readonly pages: readonly PageRef[] }[] = [];
    let count = 0;
    for (const [group, { state, pages }] of [...groups].sort(([, a], [, b]) => (a.day < b.day ? -1 : 1))) {
      if (this.done.get(group) === state || this.passed.get(group) === state) continue;
      const segments = pages.reduce((sum, page) => sum + page.segments, 0);
      if (fresh.length > 0 && count + segments > SEGMENTS_MAX) break;
      fresh.push({ group, state, pages });
      count += segments;
    }
    const chosen = fresh.flatMap(({ pages }) => pages);
    const wanted = own.filter((page) => chosen.some((other) => overlap(page, other)));
    const parts = new Map(view.parts({ tenant, ...FOREVER }).map((part) => [part.key, part]));
    const loaded = await Promise.all(wanted.map((page) => this.read(page, parts.get(page.key))));
    const lost = loaded.filter((read): read is LostPage => !Array.isArray(read));
    const newlyLost = lost.filter(({ page }) => !this.lost.has(page.key));
    for (const { key } of wanted) this.lost.delete(key);
    for (const { page } of lost) this.lost.set(page.key, page);
    return {
      segments: loaded.flatMap((read) => (Array.isArray(read) ? read : [])),
      newlyLost,
      mayOverlapLost: (info) => lost.some(({ page }) => overlap(page, info)),
      markDone: () => {
        const marks = lost.length === 0 ? this.done : this.passed;
        for (const { group, state } of fresh) marks.set(group, state);
      },
    };
  }

  private async read(page: PageRef, part: SegmentPart | undefined): Promise<SegmentInfo[] | LostPage> {
    try {
      return part === undefined ? [] : [...(await part.load())];
    } catch (error) {
      // One that was replaced meanwhile is not lost, only old.
      if (!isPageLost(error) || !(await this.isNamed(page))) throw error;
      return { page, error };
    }
  }

  private async isNamed({ key }: PageRef): Promise<boolean> {
    await this.catalog.refreshAnew();
    return this.catalog.view().root.pages.some((page) => page.key === key);
  }
}

interface Group {
  readonly tenant: string;
  readonly day: string;
  readonly pages: PageRef[];
  state: string;
}

function groupsOf(pages: readonly PageRef[], settled: (day: number) => boolean): Map<string, Group> {
  const groups = new Map<string, Group>();
  for (const page of pages) {
    const { tenant, day } = page;
    const name = `${day} ${tenant}`;
    const known = groups.get(name);
    if (known === undefined) groups.set(name, { tenant, day, pages: [page], state: "" });
    else known.pages.push(page);
  }
  for (const group of groups.values()) {
    const keys = group.pages.map(({ key }) => key).sort();
    group.state = [String(settled(dayNumber(group.day))), ...keys].join(" ");
  }
  return groups;
}

/** Days since 1970 of a day as pages have it. */
function dayNumber(day: string): number {
  return Math.floor(Date.parse(`${day}T00:00:00Z`) / 1000 / DAY_SEC);
}

type Span = Pick<PageRef, "timeMinNs" | "timeMaxNs">;

function overlap(a: Span, b: Span): boolean {
  return a.timeMinNs <= b.timeMaxNs && b.timeMinNs <= a.timeMaxNs;
}
