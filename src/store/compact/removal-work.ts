import type { CatalogView } from "../catalog-view.ts";
import { isPageLost } from "../errors.ts";
import type { SegmentInfo } from "../view.ts";
import type { Turn } from "./packed-index.ts";
import type { Removals } from "./removals.ts";

/** Segments that are judged before others get a turn. */
const JUDGED_A_TURN = 500;

/** What removals make necessary. */
export interface RemovalWork {
  /** By tenant, segments of which every line goes, and on whose account. */
  readonly whole: Map<string, { readonly info: SegmentInfo; readonly id: string }[]>;
  /** Segments to look into. */
  readonly parts: SegmentInfo[];
  /** Whether there is such a segment among those that are not in the manifest yet. */
  readonly inTail: boolean;
  /** Pages that could not be read: their segments were not judged. */
  readonly lost: readonly { readonly key: string; readonly error: unknown }[];
}

/** What a page of the catalog is judged as: a segment that may hold any stream. */
const ANY_SEGMENT = {
  bytes: 0,
  partition: 0,
  firstOffset: 0,
  nextOffset: 0,
  textBytes: 0,
  streams: 0,
  level: 0,
  labelFilter: null,
} as const;

/** Judges all segments of a view; reads only those pages of the catalog of which something may go. One that is damaged or gone costs its own segments only. */
export async function findRemovals(view: CatalogView, removals: Removals, turn: Turn): Promise<RemovalWork> {
  const whole: RemovalWork["whole"] = new Map();
  const parts: SegmentInfo[] = [];
  const lost: { readonly key: string; readonly error: unknown }[] = [];
  for (const { key, tenant, timeMinNs, timeMaxNs, lines } of view.root.pages) {
    if (removals.judge({ ...ANY_SEGMENT, key, tenant, timeMinNs, timeMaxNs, lines }) === "keep") continue;
    const page = view.parts({ tenant, startNs: timeMinNs, endNs: timeMaxNs + 1n }).find((part) => part.key === key);
    let segments: readonly SegmentInfo[];
    try {
      segments = page === undefined ? [] : await page.load();
    } catch (error) {
      if (!isPageLost(error)) throw error;
      lost.push({ key, error });
      continue;
    }
    for (const [i, info] of segments.entries()) {
      const verdict = removals.judge(info);
      if (verdict === "check") parts.push(info);
      else if (verdict !== "keep") {
        const known = whole.get(tenant);
        if (known === undefined) whole.set(tenant, [{ info, id: verdict.all }]);
        else known.push({ info, id: verdict.all });
      }
      if (i % JUDGED_A_TURN === JUDGED_A_TURN - 1) await turn();
    }
  }
  return { whole, parts, inTail: view.tail.some((info) => removals.judge(info) !== "keep"), lost };
}
