import type { Labels } from "../core/labels.ts";
import { Slices } from "../core/slices.ts";
import type {
  BlockView,
  LabelValues,
  PendingBlock,
  SegmentIndex,
  SegmentInfo,
  SegmentPart,
  StoreSnapshot,
} from "../store/view.ts";
import { ArrivalRanks, RANKS } from "./arrival-ranks.ts";
import type { BlockHide, HiddenLines } from "./deletes-hide.ts";

/** Blocks of one segment that an order number has room for, so that it stays below 2^53. 128 MiB hold some thousands. */
const BLOCKS_A_SEGMENT = 2 ** 21;
/** Ranks of what is in memory: after all segments. */
const PENDING_RANK = RANKS;
const OPEN_RANK = RANKS + 1;
/** Pages of the catalog that are read at one time at most. */
const PARTS_AT_ONCE = 4;
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
  /** Bytes of its lines' metadata, as in BlockInfo; 0 for an open block, which says it itself. */
  readonly metadataBytes: number;
  /** Bytes of the gzip member; 0 for an open block. */
  readonly length: number;
  readonly offset: number;
  readonly segment: SegmentInfo | null;
  readonly pending: PendingBlock | null;
  readonly open: BlockView | null;
  /** The stream whose lines it holds. */
  readonly stream: { readonly labels: Labels; readonly canonical: string };
  /** What of it must not be seen; null for nothing. Only then may anything be concluded from its row count. */
  readonly hide: BlockHide | null;
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
  /** What `wantsStream` asks of labels' values, where it can be told so: segments without such a stream are passed over. */
  readonly labels?: readonly LabelValues[];
  /** What is expired or deleted. Absent or null: nothing. */
  readonly hidden?: HiddenLines | null;
}

export interface PlanDeps {
  readonly index: (info: SegmentInfo) => Promise<SegmentIndex>;
  /** Told of a segment whose index can't be read; its lines are left out. */
  readonly onLost: (info: SegmentInfo, error: unknown) => void;
  /** The same of a part of the catalog, with all its segments. */
  readonly onLostPart: (part: SegmentPart, error: unknown) => void;
  /** Counts what is looked at and passed over. */
  readonly counts: PlanCounts;
}

/** What a plan has looked at so far, and how many blocks it passed over by which test. */
export interface PlanCounts {
  /** Parts of the catalog that were read. */
  parts: number;
  /** Segments whose index was read, and blocks that they and the memory hold. */
  segments: number;
  blocks: number;
  readonly pruned: { labels: number; time: number; ids: number; hidden: number };
}

export function noPlanCounts(): PlanCounts {
  return { parts: 0, segments: 0, blocks: 0, pruned: { labels: 0, time: 0, ids: 0, hidden: 0 } };
}

/**
 * The blocks that a query has to look at, best first: backward by latest time, forward by earliest, equal times by
 * order of arrival (backward: its reverse). Once one of them can't hold a line that is still wanted, none of the
 * later ones can. Pages of the catalog and indexes are read only as far as the caller iterates: the newest lines of a year are
 * in few segments.
 */
export class BlockPlan {
  private readonly snapshot: StoreSnapshot;
  private readonly request: PlanRequest;
  private readonly deps: PlanDeps;
  /** Parts of the catalog within the time range, the one to be read next last. */
  private readonly unread: SegmentPart[];
  /** Segments of those that were read, the one to be opened next last. */
  private ahead: RankedSegment[] = [];
  private readonly ranks: ArrivalRanks;
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
    const { tenant, startNs, endNs, labels = [], hidden } = request;
    this.ranks = new ArrivalRanks(snapshot.segments.partitions);
    this.unread = snapshot.segments
      .parts({ tenant, startNs, endNs, labels })
      .filter(({ timeMaxNs }) => hidden?.isPast(timeMaxNs) !== true)
      .sort((a, b) => this.compare(b, a));
    this.ready = [...this.pendingBlocks(), ...this.openBlocks()];
    this.ready.sort((a, b) => this.compareBlocks(b, a));
  }

  /** Whose blocks they are. */
  get tenant(): string {
    return this.request.tenant;
  }

  /** The next block, or null at the end. Rejects only when an abort or a bug does. */
  async next(): Promise<PlannedBlock | null> {
    for (;;) {
      const block = this.ready.at(-1);
      const segment = this.ahead.at(-1)?.info;
      const part = this.unread.at(-1);
      // At equal times it takes the order of arrival, which shows when both are known.
      if (part !== undefined && !this.isBefore(block, part) && !this.isBefore(segment, part)) await this.readParts();
      else if (segment !== undefined && !this.isBefore(block, segment)) await this.openSegments();
      else return this.ready.pop() ?? null;
    }
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

  /** Whether all of `a` comes before all that `b` can hold. */
  private isBefore(a: TimeSpan | undefined, b: TimeSpan): boolean {
    return a !== undefined && this.compare(a, b) < 0;
  }

  private async readParts(): Promise<void> {
    const reading: SegmentPart[] = [];
    for (
      let next = this.unread.at(-1);
      next !== undefined && reading.length < PARTS_AT_ONCE;
      next = this.unread.at(-1)
    ) {
      if (reading.length > 0 && !overlap(reading[0], next)) break;
      reading.push(next);
      this.unread.pop();
    }
    this.deps.counts.parts += reading.length;
    const read = await Promise.all(reading.map((part) => this.readPart(part)));
    const infos = read.flat();
    const ranks = this.ranks.add(infos);
    const fresh = infos.map((info, i) => ({ info, rank: ranks[i] }));
    const inOrder = (a: RankedSegment, b: RankedSegment) => this.compareSegments(b, a);
    this.ahead = mergeSorted(this.ahead, fresh.sort(inOrder), inOrder);
    await this.slices.turn();
  }

  private async readPart(part: SegmentPart): Promise<SegmentInfo[]> {
    try {
      const segments = await part.load();
      return segments.filter(({ timeMaxNs }) => this.request.hidden?.isPast(timeMaxNs) !== true);
    } catch (error) {
      this.deps.onLostPart(part, error);
      return [];
    }
  }

  private compareSegments(a: RankedSegment, b: RankedSegment): number {
    return this.compare(a.info, b.info) || this.sign * (b.rank - a.rank);
  }

  private async openSegments(): Promise<void> {
    const opening: RankedSegment[] = [];
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
    const { pruned } = this.deps.counts;
    this.deps.counts.segments++;
    this.deps.counts.blocks += index.blocks.length;
    const wanted = index.streams.map(({ canonical, labels }) => this.wantsStream(canonical, labels));
    const found: PlannedBlock[] = [];
    for (let b = 0; b < index.blocks.length; b++) {
      const block = index.blocks[b];
      if (!wanted[block.stream]) {
        pruned.labels++;
        continue;
      }
      if (block.timeMaxNs < request.startNs || block.timeMinNs >= request.endNs) {
        pruned.time++;
        continue;
      }
      if (request.wantsBlock?.((slot, low8) => index.mayHoldId(b, slot, low8)) === false) {
        pruned.ids++;
        continue;
      }
      const { timeMinNs, timeMaxNs, rows, textBytes, metadataBytes, length, offset } = block;
      const { canonical, labels } = index.streams[block.stream];
      const hide = this.hideOf(canonical, labels, block);
      if (hide === "all") {
        pruned.hidden++;
        continue;
      }
      const order = rank * BLOCKS_A_SEGMENT + b;
      found.push({
        order,
        timeMinNs,
        timeMaxNs,
        rows,
        textBytes,
        metadataBytes,
        length,
        offset,
        segment: info,
        pending: null,
        open: null,
        stream: index.streams[block.stream],
        hide,
      });
    }
    return found;
  }

  private pendingBlocks(): PlannedBlock[] {
    this.deps.counts.blocks += this.snapshot.pending.length + this.snapshot.open.length;
    return this.snapshot.pending.flatMap((pending, i) => {
      const { info, bytes } = pending;
      if (!this.isInRange(info) || !this.wantsOf(pending)) return [];
      if (this.request.wantsBlock?.((slot, low8) => pending.mayHoldId(slot, low8)) === false) return [];
      const { rows, textBytes, metadataBytes } = info;
      const order = PENDING_RANK * BLOCKS_A_SEGMENT + i;
      const sizes = { rows, textBytes, metadataBytes, length: bytes.length };
      return this.inMemory({ order, ...sizes, pending, open: null }, pending, info);
    });
  }

  private openBlocks(): PlannedBlock[] {
    return this.snapshot.open.flatMap((open, i) => {
      if (open.rows === 0 || !this.wantsOf(open)) return [];
      const span = timeSpanOf(open);
      if (!this.isInRange(span)) return [];
      const { rows, textBytes } = open;
      const order = OPEN_RANK * BLOCKS_A_SEGMENT + i;
      const sizes = { rows, textBytes, metadataBytes: 0, length: 0 };
      return this.inMemory({ order, ...sizes, pending: null, open }, open, span);
    });
  }

  /** A block that is in no segment yet, unless nothing of it may be seen. */
  private inMemory(
    block: Pick<PlannedBlock, "order" | "rows" | "textBytes" | "metadataBytes" | "length" | "pending" | "open">,
    stream: PlannedBlock["stream"],
    { timeMinNs, timeMaxNs }: TimeSpan,
  ): PlannedBlock[] {
    const hide = this.hideOf(stream.canonical, stream.labels, { timeMinNs, timeMaxNs });
    return hide === "all" ? [] : [{ ...block, timeMinNs, timeMaxNs, offset: 0, segment: null, stream, hide }];
  }

  private isInRange({ timeMinNs, timeMaxNs }: TimeSpan): boolean {
    return timeMaxNs >= this.request.startNs && timeMinNs < this.request.endNs;
  }

  private wantsOf({ tenant, canonical, labels }: { tenant: string; canonical: string; labels: Labels }): boolean {
    return tenant === this.request.tenant && this.wantsStream(canonical, labels);
  }

  private hideOf(canonical: string, labels: Labels, { timeMinNs, timeMaxNs }: TimeSpan): BlockHide | null | "all" {
    return this.request.hidden?.blockHide(canonical, labels, timeMinNs, timeMaxNs) ?? null;
  }
}

interface RankedSegment {
  readonly info: SegmentInfo;
  /** Its place in order of arrival. */
  readonly rank: number;
}

interface TimeSpan {
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
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
