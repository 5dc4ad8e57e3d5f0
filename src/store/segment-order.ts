import type { SegmentInfo } from "./view.ts";

/** By partition and first offset, then (outputs of one compaction) by key: the order in which lines arrived. */
export function byArrival(a: SegmentInfo, b: SegmentInfo): number {
  return a.partition - b.partition || a.firstOffset - b.firstOffset || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}

/** In order of least time, then of arrival. */
export function byTime(a: SegmentInfo, b: SegmentInfo): number {
  if (a.timeMinNs !== b.timeMinNs) return a.timeMinNs < b.timeMinNs ? -1 : 1;
  return byArrival(a, b);
}
