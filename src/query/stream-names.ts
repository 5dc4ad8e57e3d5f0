import type { Labels } from "../core/labels.ts";
import type { SegmentIndex, SegmentInfo, StoreSnapshot } from "../store/view.ts";
import { timeSpanOf } from "./plan.ts";
import { Slices } from "./slices.ts";

export interface StreamsWanted {
  readonly tenant: string;
  /** Inclusive, exclusive. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly accepts: (labels: Labels) => boolean;
}

/**
 * The labels of all streams that have lines in a time range, as fine as segments are: a segment that reaches into the
 * range counts with all its streams. A segment whose index can't be read is passed over, and `onLost` told.
 */
export async function streamsIn(
  snapshot: StoreSnapshot,
  wanted: StreamsWanted,
  index: (info: SegmentInfo) => Promise<SegmentIndex>,
  onLost: (info: SegmentInfo, error: unknown) => void,
): Promise<Labels[]> {
  const { tenant, startNs, endNs, accepts } = wanted;
  // By canonical text, so that a stream in a hundred segments is looked at once.
  const found = new Map<string, Labels | null>();
  const add = (canonical: string, labels: Labels): void => {
    if (!found.has(canonical)) found.set(canonical, accepts(labels) ? labels : null);
  };
  const slices = new Slices();
  for (const info of snapshot.segments) {
    if (info.tenant !== tenant || info.timeMaxNs < startNs || info.timeMinNs >= endNs) continue;
    try {
      for (const { canonical, labels } of (await index(info)).streams) add(canonical, labels);
    } catch (error) {
      onLost(info, error);
    }
    await slices.turn();
  }
  for (const { canonical, labels, info } of snapshot.pending) {
    if (info.timeMaxNs >= startNs && info.timeMinNs < endNs) add(canonical, labels);
  }
  for (const view of snapshot.open) {
    if (view.tenant !== tenant || view.rows === 0) continue;
    const { timeMinNs, timeMaxNs } = timeSpanOf(view);
    if (timeMaxNs >= startNs && timeMinNs < endNs) add(view.canonical, view.labels);
  }
  return [...found.values()].filter((labels) => labels !== null);
}
