import type { ObjectStore } from "../../objects/store.ts";
import { parseLabels } from "../block-view.ts";
import type { SegmentInfo } from "../view.ts";
import { applyFilter } from "./apply-filter.ts";
import { mergedStream } from "./block-maker.ts";
import { blocksOf } from "./merge.ts";
import type { Pace } from "./pace.ts";
import { readPackedIndex } from "./packed-index.ts";
import { RemovedCounts, type RowFilter } from "./removals.ts";
import { SegmentInput } from "./segment-input.ts";
import { StreamOrder } from "./stream-order.ts";

export interface CheckDeps {
  readonly objects: ObjectStore;
  readonly pace: Pace;
  readonly filter: RowFilter;
}

/** Blocks are looked at here and there, so little is read ahead. */
const WINDOW_BYTES = 256 * 1024;

/** Whether the filter takes any line of the segment. Reads its index, and of the blocks as few as it takes. */
export async function holdsRemovable(info: SegmentInfo, { objects, pace, filter }: CheckDeps): Promise<boolean> {
  const { key, tenant } = info;
  const index = await pace.wait(readPackedIndex(objects, key, pace.turn));
  const input = new SegmentInput(objects, key, index, 0, WINDOW_BYTES);
  const order = new StreamOrder([input]);
  for (let parts = order.next(); parts !== null; parts = order.next()) {
    const [{ stream: place }] = parts;
    const canonical = index.streamBytes.toString("utf8", index.streamStarts[place], index.streamEnds[place]);
    const labels = parseLabels(canonical, { key, offset: 0 }, "segment_corrupt");
    const streamFilter = filter(tenant, labels, canonical);
    await pace.turn();
    if (streamFilter === null) continue;
    const stream = mergedStream(tenant, labels, canonical);
    const counts = new RemovedCounts();
    for (const block of blocksOf(parts, () => true)) {
      await applyFilter([block], stream, streamFilter, pace, counts);
      if (counts.byId.size > 0) return true;
    }
  }
  return false;
}
