import { byArrival } from "../store/segment-order.ts";
import type { SegmentInfo } from "../store/view.ts";

/** Ranks there are. Times the blocks of a segment they are whole numbers below 2^53. */
export const RANKS: number = 2 ** 31;
/** So many segments of a partition may come to light on either side of the first before their ranks get closer. */
const SEGMENTS_A_SIDE = 2 ** 17;

interface Ranked {
  readonly info: SegmentInfo;
  readonly rank: number;
}

/**
 * Numbers segments in order of arrival (partition, first offset, key) while they come to light in any order, a page of the
 * catalog at a time: a number once given stays. Each partition has a band of numbers; what comes before or after all that is
 * known goes on outwards from its middle, and what comes in between shares the gap. Where a gap is used up (a thousand pages
 * that interleave like cards), the nearest free number is taken: still unique, out of order by as little as can be.
 */
export class ArrivalRanks {
  private readonly width: number;
  /** Between neighbours, so that what comes to light later finds room between them. */
  private readonly step: number;
  private readonly bands: ReadonlyMap<number, number>;
  /** Known segments of a band in order of their ranks. */
  private readonly known = new Map<number, Ranked[]>();
  private readonly taken = new Set<number>();

  /** `partitions`: all that a segment may be of, ascending. */
  constructor(partitions: readonly number[]) {
    this.width = Math.floor(RANKS / Math.max(1, partitions.length));
    this.step = Math.max(1, Math.floor(this.width / 2 / SEGMENTS_A_SIDE));
    this.bands = new Map(partitions.map((partition, band) => [partition, band]));
  }

  /** The ranks of new segments, in the order given: whole numbers from 0 to below RANKS. */
  add(segments: readonly SegmentInfo[]): number[] {
    const ranks = new Map<SegmentInfo, number>();
    const order = [...segments].sort(byArrival);
    for (let at = 0; at < order.length; ) {
      const band = this.bands.get(order[at].partition) ?? 0;
      const known = this.known.get(band) ?? [];
      this.known.set(band, known);
      const place = placeOf(known, order[at]);
      const next = known[place];
      // All that goes in before the same neighbour.
      let end = at + 1;
      while (end < order.length && order[end].partition === order[at].partition && isBefore(order[end], next)) end++;
      this.insert(known, band, place, order.slice(at, end), ranks);
      at = end;
    }
    return segments.map((info) => ranks.get(info) ?? 0);
  }

  /** Gives ranks to segments that stand between known[place - 1] and known[place]. */
  private insert(
    known: Ranked[],
    band: number,
    place: number,
    segments: readonly SegmentInfo[],
    ranks: Map<SegmentInfo, number>,
  ): void {
    const first = band * this.width;
    const before = known[place - 1]?.rank ?? first - 1;
    const after = known[place]?.rank ?? first + this.width;
    const even = (after - before) / (segments.length + 1);
    // At an end of the known ones room is left beyond.
    const gap = place > 0 && place < known.length ? even : Math.min(even, this.step);
    let start = before;
    if (known.length === 0) start = (before + after - gap * (segments.length + 1)) / 2;
    else if (place === 0) start = after - gap * (segments.length + 1);
    const fresh = segments.map((info, i): Ranked => {
      const rank = this.nearestFree(Math.floor(start + gap * (i + 1)), first);
      this.taken.add(rank);
      ranks.set(info, rank);
      return { info, rank };
    });
    known.splice(place, 0, ...fresh);
  }

  private nearestFree(wanted: number, first: number): number {
    for (let away = 0; away < this.width; away++) {
      for (const rank of [wanted + away, wanted - away]) {
        if (rank >= first && rank < first + this.width && !this.taken.has(rank)) return rank;
      }
    }
    throw new Error(`a partition has more segments than the ${this.width} that a query can number`);
  }
}

/** The first of the known ones that comes after `info`. */
function placeOf(known: readonly Ranked[], info: SegmentInfo): number {
  let low = 0;
  let high = known.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (byArrival(known[middle].info, info) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

const isBefore = (info: SegmentInfo, next: Ranked | undefined): boolean =>
  next === undefined || byArrival(info, next.info) < 0;
