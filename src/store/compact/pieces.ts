import type { SegmentInput } from "./segment-input.ts";

/** A block of one stream that compaction has to place. */
export interface StreamBlock {
  readonly input: SegmentInput;
  /** Its number in the input's index. */
  readonly block: number;
  readonly rows: number;
  readonly textBytes: number;
  /** Bytes of the whole block. */
  readonly length: number;
  readonly minSec: number;
  readonly minNsec: number;
  readonly maxSec: number;
  readonly maxNsec: number;
  /** Rows to be left out are those with 1 in it; null when all stay. */
  readonly drops: Uint8Array | null;
}

/**
 * What becomes of some blocks: one is copied as it is, or the rows of some are written anew. Each group of `rows` is to be
 * sorted by time; the groups follow each other in time.
 */
export type Piece =
  | { readonly kind: "copy"; readonly block: StreamBlock }
  | {
      readonly kind: "rows";
      readonly groups: StreamBlock[][];
      /** Takes no further group: what comes next in time must not be sorted into its blocks. */
      readonly closed?: boolean;
    };

export interface PieceOptions {
  /** A block with as much text is full. */
  readonly fullTextBytes: number;
  /** A block that takes as many bytes is full whatever its text: its header may have no room for more rows. */
  readonly fullBytes: number;
  /** Bounds what is in memory at once: text and rows of the blocks whose times overlap and that are sorted together. */
  readonly groupTextBytes: number;
  readonly groupRows: number;
}

/** Blocks whose times overlap, directly or by way of others of them. */
interface Cluster {
  readonly blocks: StreamBlock[];
  maxSec: number;
  maxNsec: number;
  /** Latest arrival among the blocks that end at that time. */
  arrival: number;
}

/**
 * How the blocks of one stream, given in order of arrival, become blocks in order of time. Full blocks that overlap no
 * other are copied; neighbours of the small ones, and those that overlap, are merged. Whatever happens, rows of equal time
 * keep their order of arrival, in a block or from block to block.
 */
export function planPieces(blocks: readonly StreamBlock[], options: PieceOptions): Piece[] {
  const pieces: Piece[] = [];
  for (const { blocks: cluster } of clusters(blocks)) {
    if (cluster.length === 1) placeOne(pieces, cluster[0], options);
    else if (fits(cluster, options)) addGroup(pieces, cluster);
    else placeByArrival(pieces, cluster, options);
  }
  return pieces.map((piece) => (piece.kind === "rows" && isAlone(piece.groups) ? copyOf(piece.groups[0][0]) : piece));
}

/** A small block with nothing beside it to be merged with. */
function isAlone([first, second]: readonly StreamBlock[][]): boolean {
  return second === undefined && first.length === 1 && first[0].drops === null;
}

const copyOf = (block: StreamBlock): Piece => ({ kind: "copy", block });

function clusters(blocks: readonly StreamBlock[]): Cluster[] {
  const places = blocks.map((_, i) => i);
  places.sort(
    (a, b) => compareTimes(blocks[a].minSec, blocks[a].minNsec, blocks[b].minSec, blocks[b].minNsec) || a - b,
  );
  const out: Cluster[] = [];
  let last: Cluster | null = null;
  for (const place of places) {
    const block = blocks[place];
    const { minSec, minNsec, maxSec, maxNsec } = block;
    const gap: number = last === null ? 1 : compareTimes(minSec, minNsec, last.maxSec, last.maxNsec);
    if (last === null || gap > 0 || (gap === 0 && place > last.arrival)) {
      last = { blocks: [block], maxSec, maxNsec, arrival: place };
      out.push(last);
      continue;
    }
    last.blocks.push(block);
    const longer = compareTimes(maxSec, maxNsec, last.maxSec, last.maxNsec);
    if (longer > 0) Object.assign(last, { maxSec, maxNsec, arrival: place });
    else if (longer === 0) last.arrival = Math.max(last.arrival, place);
  }
  const arrivals = new Map(blocks.map((block, i) => [block, i]));
  for (const { blocks: some } of out) some.sort((a, b) => (arrivals.get(a) ?? 0) - (arrivals.get(b) ?? 0));
  return out;
}

function compareTimes(sec: number, nsec: number, otherSec: number, otherNsec: number): number {
  return sec < otherSec ? -1 : sec > otherSec ? 1 : nsec - otherNsec;
}

function isFull({ textBytes, length, drops }: StreamBlock, { fullTextBytes, fullBytes }: PieceOptions): boolean {
  return drops === null && (textBytes >= fullTextBytes || length >= fullBytes);
}

function fits(blocks: readonly StreamBlock[], { groupTextBytes, groupRows }: PieceOptions): boolean {
  let text = 0;
  let rows = 0;
  for (const block of blocks) {
    text += block.textBytes;
    rows += block.rows;
  }
  return text <= groupTextBytes && rows <= groupRows;
}

function placeOne(pieces: Piece[], block: StreamBlock, options: PieceOptions): void {
  if (isFull(block, options)) pieces.push(copyOf(block));
  else addGroup(pieces, [block]);
}

/** A group that comes after all before it in time. */
function addGroup(pieces: Piece[], group: StreamBlock[]): void {
  const last = pieces.at(-1);
  if (last?.kind === "rows" && last.closed !== true) last.groups.push(group);
  else pieces.push({ kind: "rows", groups: [group] });
}

/**
 * More overlapping blocks than may be in memory at once (an agent without a clock gives all its lines one time): they stay
 * in order of arrival, full ones as they are, and small ones in as many pieces as it takes.
 */
function placeByArrival(pieces: Piece[], cluster: readonly StreamBlock[], options: PieceOptions): void {
  let small: StreamBlock[] = [];
  let text = 0;
  let rows = 0;
  const close = () => {
    if (small.length > 0) pieces.push({ kind: "rows", groups: [small], closed: true });
    small = [];
    text = 0;
    rows = 0;
  };
  for (const block of cluster) {
    const full = isFull(block, options);
    text += block.textBytes;
    rows += block.rows;
    if (full || text > options.groupTextBytes || rows > options.groupRows) {
      close();
      text = block.textBytes;
      rows = block.rows;
    }
    if (full) {
      pieces.push(copyOf(block));
      close();
    } else small.push(block);
  }
  close();
}
