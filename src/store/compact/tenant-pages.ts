import type { Catalog } from "../catalog.ts";
import type { PageRef } from "../manifest-root.ts";
import type { SegmentInfo, SegmentPart } from "../view.ts";

/** Segments that are planned at once: some 20 ms of work. A backlog beyond them waits for its turn. */
const SEGMENTS_MAX = 10_000;
const DAY_SEC = 86_400;
/** Before and after all times there are. */
const FOREVER = { startNs: -(10n ** 30n), endNs: 10n ** 30n };

/** What of a tenant's segments is worth a look. */
export interface TenantSegments {
  readonly segments: readonly SegmentInfo[];
  /** Says that there is nothing to do among them: they are not looked at again until they change, or their day settles. */
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

  constructor(catalog: Catalog) {
    this.catalog = catalog;
  }

  /** Tenants with days that are worth a look. Forgets days that are gone. */
  tenants(settled: (day: number) => boolean): string[] {
    const { pages } = this.catalog.view().root;
    const known = new Map<string, string>();
    const out = new Set<string>();
    for (const [group, { tenant, state }] of groupsOf(pages, settled)) {
      if (this.done.get(group) === state) known.set(group, state);
      else out.add(tenant);
    }
    this.done = known;
    return [...out];
  }

  /** The tenant's segments that are worth a look, and others that overlap them in time. Rejects when a page can't be read. */
  async load(tenant: string, settled: (day: number) => boolean): Promise<TenantSegments> {
    const view = this.catalog.view();
    const own = view.root.pages.filter((page) => page.tenant === tenant);
    const groups = groupsOf(own, settled);
    const fresh: { readonly group: string; readonly state: string; readonly pages: readonly PageRef[] }[] = [];
    let count = 0;
    for (const [group, { state, pages }] of [...groups].sort(([, a], [, b]) => (a.day < b.day ? -1 : 1))) {
      if (this.done.get(group) === state) continue;
      const segments = pages.reduce((sum, page) => sum + page.segments, 0);
      if (fresh.length > 0 && count + segments > SEGMENTS_MAX) break;
      fresh.push({ group, state, pages });
      count += segments;
    }
    const chosen = fresh.flatMap(({ pages }) => pages);
    const wanted = own.filter((page) => chosen.some((other) => overlap(page, other)));
    const keys = new Set(wanted.map(({ key }) => key));
    const parts = view.parts({ tenant, ...FOREVER }).filter(({ key }) => keys.has(key));
    const segments = (await Promise.all(parts.map((part: SegmentPart) => part.load()))).flat();
    return {
      segments,
      markDone: () => {
        for (const { group, state } of fresh) this.done.set(group, state);
      },
    };
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
