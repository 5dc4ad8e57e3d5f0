import { mayHoldLabels } from "./label-filter.ts";
import type { PageRef, Root } from "./manifest-root.ts";
import type { PageReader } from "./page-reader.ts";
import type { SegmentInfo, SegmentPart, SegmentQuery, SegmentView } from "./view.ts";

/** The parts of it that are no object are called so. */
const TAIL = "the newest catalog entries";
/** Pages that are read at one time where all are wanted. */
const READS_AT_ONCE = 8;

/** One root of the manifest, and the entries after it. */
export class CatalogView implements SegmentView {
  readonly root: Root;
  /** Segments of the entries that are not in the root's pages. */
  readonly tail: readonly SegmentInfo[];
  readonly partitions: readonly number[];
  readonly tenants: readonly string[];
  private readonly pages: PageReader;
  private readonly hasChanged: (root: Root) => Promise<boolean>;

  constructor(
    root: Root,
    tail: readonly SegmentInfo[],
    pages: PageReader,
    hasChanged: (root: Root) => Promise<boolean>,
  ) {
    this.root = root;
    this.tail = tail;
    this.pages = pages;
    this.hasChanged = hasChanged;
    this.partitions = sortedNumbers([...root.folded.keys(), ...tail.map(({ partition }) => partition)]);
    this.tenants = sortedTexts([...root.pages, ...tail].map(({ tenant }) => tenant));
  }

  parts(query: SegmentQuery): SegmentPart[] {
    const parts: SegmentPart[] = this.root.pages
      .filter((page) => page.tenant === query.tenant && reaches(page, query))
      .map((page) => this.pagePart(page, query));
    const tail = partOf(TAIL, this.tail, query);
    return tail === null ? parts : [...parts, tail];
  }

  segments(query: SegmentQuery, onLost?: (part: SegmentPart, error: unknown) => void): Promise<SegmentInfo[]> {
    return loadAll(this.parts(query), onLost);
  }

  isOutdated(): Promise<boolean> {
    return this.hasChanged(this.root);
  }

  private pagePart(page: PageRef, query: SegmentQuery): SegmentPart {
    const { key, timeMinNs, timeMaxNs, lines } = page;
    const load = async () => wantedOf(await this.pages.load(page), query);
    return { key, timeMinNs, timeMaxNs, lines, load };
  }
}

/** A view of segments that are known already. */
export function viewOf(segments: readonly SegmentInfo[]): SegmentView {
  const parts = (query: SegmentQuery) => {
    const part = partOf("segments", segments, query);
    return part === null ? [] : [part];
  };
  return {
    partitions: sortedNumbers(segments.map(({ partition }) => partition)),
    tenants: sortedTexts(segments.map(({ tenant }) => tenant)),
    parts,
    segments: (query, onLost) => loadAll(parts(query), onLost),
    isOutdated: async () => false,
  };
}

const sortedNumbers = (values: readonly number[]) => [...new Set(values)].sort((a, b) => a - b);
const sortedTexts = (values: readonly string[]) => [...new Set(values)].sort();

type Span = Pick<SegmentInfo, "timeMinNs" | "timeMaxNs">;

function reaches({ timeMinNs, timeMaxNs }: Span, { startNs, endNs }: SegmentQuery): boolean {
  return timeMaxNs >= startNs && timeMinNs < endNs;
}

function wantedOf(segments: readonly SegmentInfo[], query: SegmentQuery): SegmentInfo[] {
  const { tenant, labels = [] } = query;
  return segments.filter(
    (info) => info.tenant === tenant && reaches(info, query) && mayHoldLabels(info.labelFilter, labels),
  );
}

/** A part over segments that need not be read; null for none. */
function partOf(key: string, segments: readonly SegmentInfo[], query: SegmentQuery): SegmentPart | null {
  const wanted = wantedOf(segments, query);
  if (wanted.length === 0) return null;
  let [{ timeMinNs, timeMaxNs }] = wanted;
  for (const info of wanted) {
    if (info.timeMinNs < timeMinNs) timeMinNs = info.timeMinNs;
    if (info.timeMaxNs > timeMaxNs) timeMaxNs = info.timeMaxNs;
  }
  const lines = wanted.reduce((sum, info) => sum + info.lines, 0);
  return { key, timeMinNs, timeMaxNs, lines, load: async () => wanted };
}

async function loadAll(
  parts: readonly SegmentPart[],
  onLost?: (part: SegmentPart, error: unknown) => void,
): Promise<SegmentInfo[]> {
  const found: SegmentInfo[] = [];
  for (let at = 0; at < parts.length; at += READS_AT_ONCE) {
    const some = parts.slice(at, at + READS_AT_ONCE).map(async (part) => {
      try {
        return await part.load();
      } catch (error) {
        if (onLost === undefined) throw error;
        onLost(part, error);
        return [];
      }
    });
    for (const segments of await Promise.all(some)) for (const info of segments) found.push(info);
  }
  return found;
}
