import type { Labels } from "../core/labels.ts";
import type { BlockView, PendingBlock, SegmentIndex, SegmentInfo, StoreSnapshot } from "../store/view.ts";
import { Slices } from "./slices.ts";

/** Blocks of one segment that an order number has room for. A segment of 64 MiB text has some hundreds. */
const BLOCKS_A_SEGMENT = 2 ** 22;
/** Segment indexes that are read at one time at most. */
const INDEXES_AT_ONCE = 16;

/** One block that a query has to look at. Exactly one of `segment`, `pending` and `open` is set. */
export interface PlannedBlock {
  /** Its place in order of arrival over the whole snapshot. */
  readonly order: number;
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
  readonly rows: number;
  readonly textBytes: number;
  /** Bytes of the gzip member; 0 for an open block. */
  readonly length: number;
  readonly offset: number;
  readonly segment: SegmentInfo | null;
  readonly pending: PendingBlock | null;
  readonly open: BlockView | null;
}

export interface PlanRequest {
  readonly tenant: string;
  /** Lines at `startNs` up to, not including, `endNs`. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly backward: boolean;
  /** Whether a stream can hold a wanted line. */
  readonly wantsStream: (canonical: string, labels: Labels) => boolean;
  /** Whether a block can, by its filter over ids. Absent: all can. */
  readonly wantsBlock?: (mayHoldId: (slot: number, low8: Uint8Array) => boolean) => boolean;
}

export interface PlanDeps {
  readonly index: (info: SegmentInfo) => Promise<SegmentIndex>;
  /** Told of a segment whose index can't be read; its lines are left out. */
  readonly onLost: (info: SegmentInfo, error: unknown) => void;
}

/**
 * The blocks that a query has to look at, best first: backward by latest time, forward by earliest, equal times by
 * order of arrival (backward: its reverse). Once one of them can't hold a line that is still wanted, none of the
 * later ones can. Indexes are read only as far as the caller iterates: the newest lines of a year are in few segments.
 */
export class BlockPlan {
  private readonly snapshot: StoreSnapshot;
  private readonly request: PlanRequest;
  private readonly deps: PlanDeps;
  /** Segments within the time range, the one to be opened next last. */
  private readonly ahead: { info: SegmentInfo; rank: number }[];
  /** Opened blocks, sorted with the best last. */
  private ready: PlannedBlock[];
  /** Segments to open at one time even if the first may do: more as the query goes on, to hide a far store's latency. */
  private prefetch = 1;
  private readonly wanted = new Map<string, boolean>();
  private readonly slices = new Slices();

  constructor(snapshot: StoreSnapshot, request: PlanRequest, deps: PlanDeps) {
    this.snapshot = snapshot;
    this.request = request;
    this.deps = deps;
    const { tenant, startNs, endNs } = request;
    this.ahead = arrivalOrder(snapshot.segments)
      .map((info, rank) => ({ info, rank }))
      .filter(({ info }) => info.tenant === tenant && info.timeMaxNs >= startNs && info.timeMinNs < endNs)
      .sort((a, b) => this.compare(a.info, b.info) || this.sign * (b.rank - a.rank))
      .reverse();
    this.ready = [...this.pendingBlocks(), ...this.openBlocks()];
    this.ready.sort((a, b) => this.compareBlocks(b, a));
  }

  /** The next block, or null at the end. Rejects only when an abort or a bug does. */
  async next(): Promise<PlannedBlock | null> {
    while (this.ahead.length > 0 && !this.readyIsBest()) await this.openSegments();
    return this.ready.pop() ?? null;
  }

  private get sign(): number {
    return this.request.backward ? 1 : -1;
  }

  /** Below zero when `a` reaches further in the query's direction than `b`. */
  private compare(a: TimeSpan, b: TimeSpan): number {
    const [x, y] = this.request.backward ? [b.timeMaxNs, a.timeMaxNs] : [a.timeMinNs, b.timeMinNs];
    return x < y ? -1 : x > y ? 1 : 0;
  }

  private compareBlocks(a: PlannedBlock, b: PlannedBlock): number {
    return this.compare(a, b) || this.sign * (b.order - a.order);
  }

  /** Whether the best opened block comes before all that the unopened segments can hold. */
  private readyIsBest(): boolean {
    const best = this.ready.at(-1);
    const next = this.ahead.at(-1);
    return best !== undefined && next !== undefined && this.compare(best, next.info) < 0;
  }

  private async openSegments(): Promise<void> {
    const opening: { info: SegmentInfo; rank: number }[] = [];
    for (
      let next = this.ahead.at(-1);
      next !== undefined && opening.length < INDEXES_AT_ONCE;
      next = this.ahead.at(-1)
    ) {
      const isNeeded = opening.length === 0 || overlap(opening[0].info, next.info);
      if (!isNeeded && opening.length >= this.prefetch) break;
      opening.push(next);
      this.ahead.pop();
    }
    this.prefetch = Math.min(this.prefetch * 2, INDEXES_AT_ONCE);
    const opened = await Promise.all(opening.map((it) => this.openSegment(it.info, it.rank)));
    const fresh = opened.flat().sort((a, b) => this.compareBlocks(b, a));
    this.ready = mergeSorted(this.ready, fresh, (a, b) => this.compareBlocks(b, a));
    await this.slices.turn();
  }

  /** Whether the stream is wanted: asked once for each, however many segments it is in. */
  private wantsStream(canonical: string, labels: Labels): boolean {
    let wanted = this.wanted.get(canonical);
    if (wanted === undefined) {
      wanted = this.request.wantsStream(canonical, labels);
      this.wanted.set(canonical, wanted);
    }
    return wanted;
  }

  private async openSegment(info: SegmentInfo, rank: number): Promise<PlannedBlock[]> {
    let index: SegmentIndex;
    try {
      index = await this.deps.index(info);
    } catch (error) {
      this.deps.onLost(info, error);
      return [];
    }
    const { request } = this;
    const wanted = index.streams.map(({ canonical, labels }) => this.wantsStream(canonical, labels));
    const found: PlannedBlock[] = [];
    for (let b = 0; b < index.blocks.length; b++) {
      const block = index.blocks[b];
      if (!wanted[block.stream] || block.timeMaxNs < request.startNs || block.timeMinNs >= request.endNs) continue;
      if (request.wantsBlock?.((slot, low8) => index.mayHoldId(b, slot, low8)) === false) continue;
      const { timeMinNs, timeMaxNs, rows, textBytes, length, offset } = block;
      const order = rank * BLOCKS_A_SEGMENT + b;
      found.push({
        order,
        timeMinNs,
        timeMaxNs,
        rows,
        textBytes,
        length,
        offset,
        segment: info,
        pending: null,
        open: null,
      });
    }
    return found;
  }

  private pendingBlocks(): PlannedBlock[] {
    const { request } = this;
    const rank = this.snapshot.segments.length;
    return this.snapshot.pending.flatMap((pending, i) => {
      const { timeMinNs, timeMaxNs, rows, textBytes } = pending.info;
      if (timeMaxNs < request.startNs || timeMinNs >= request.endNs) return [];
      if (!this.wantsStream(pending.canonical, pending.labels)) return [];
      if (request.wantsBlock?.((slot, low8) => pending.mayHoldId(slot, low8)) === false) return [];
      const order = rank * BLOCKS_A_SEGMENT + i;
      const length = pending.bytes.length;
      return [{ order, timeMinNs, timeMaxNs, rows, textBytes, length, offset: 0, segment: null, pending, open: null }];
    });
  }

  private openBlocks(): PlannedBlock[] {
    const { request } = this;
    const rank = this.snapshot.segments.length + 1;
    return this.snapshot.open.flatMap((open, i) => {
      if (open.rows === 0 || open.tenant !== request.tenant || !this.wantsStream(open.canonical, open.labels))
        return [];
      const { timeMinNs, timeMaxNs } = timeSpanOf(open);
      if (timeMaxNs < request.startNs || timeMinNs >= request.endNs) return [];
      const order = rank * BLOCKS_A_SEGMENT + i;
      const { rows, textBytes } = open;
      return [
        { order, timeMinNs, timeMaxNs, rows, textBytes, length: 0, offset: 0, segment: null, pending: null, open },
      ];
    });
  }
}

interface TimeSpan {
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
}

/** Segments in order of arrival: by partition, then by first offset. */
export function arrivalOrder(segments: readonly SegmentInfo[]): SegmentInfo[] {
  return [...segments].sort((a, b) => a.partition - b.partition || a.firstOffset - b.firstOffset);
}

/** The times of a block's first and last row in time. */
export function timeSpanOf(view: BlockView): TimeSpan {
  const { sec, nsec, rows } = view;
  let min = 0;
  let max = rows - 1;
  if (!view.sorted) {
    max = 0;
    for (let row = 1; row < rows; row++) {
      if (sec[row] < sec[min] || (sec[row] === sec[min] && nsec[row] < nsec[min])) min = row;
      if (sec[row] > sec[max] || (sec[row] === sec[max] && nsec[row] > nsec[max])) max = row;
    }
  }
  const ns = (row: number) => BigInt(sec[row]) * 1_000_000_000n + BigInt(nsec[row]);
  return { timeMinNs: ns(min), timeMaxNs: ns(max) };
}

function overlap(a: TimeSpan, b: TimeSpan): boolean {
  return a.timeMinNs <= b.timeMaxNs && b.timeMinNs <= a.timeMaxNs;
}

function mergeSorted<T>(a: readonly T[], b: readonly T[], compare: (a: T, b: T) => number): T[] {
  if (a.length === 0) return [...b];
  const out: T[] = [];
  let i = 0;
  for (const item of b) {
    while (i < a.length && compare(a[i], item) <= 0) out.push(a[i++]);
    out.push(item);
  }
  while (i < a.length) out.push(a[i++]);
  return out;
}
