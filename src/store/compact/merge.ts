import type { ObjectStore } from "../../objects/store.ts";
import { parseLabels } from "../block-view.ts";
import { MEMBER_DATA_MAX } from "../member.ts";
import { envelopeOf, newMerge, type SegmentSources } from "../sources.ts";
import type { SegmentInfo } from "../view.ts";
import { applyDays, applyFilter } from "./apply-filter.ts";
import { BlockMaker, copyBlock, type MergedStream, mergedStream } from "./block-maker.ts";
import { type DayTest, dayPasses, mayTakeBlock } from "./days.ts";
import type { Pace } from "./pace.ts";
import { readPackedIndex } from "./packed-index.ts";
import { type PieceOptions, planPieces, type StreamBlock } from "./pieces.ts";
import { type RemovedBy, RemovedCounts, type RowFilter } from "./removals.ts";
import { SegmentInput } from "./segment-input.ts";
import { SegmentOutputs } from "./segment-outputs.ts";
import { StreamOrder, type StreamPart } from "./stream-order.ts";

/** A block's header holds at most MEMBER_DATA_MAX bytes; one that takes so much in all may have no room for more rows. */
const FULL_BYTES = Math.floor((MEMBER_DATA_MAX * 3) / 4);
/** Blocks that overlap in time and are sorted together: text of 16 full blocks, and rows that a millisecond or two sort. */
const GROUP_BLOCKS = 16;
const GROUP_ROWS = 65_535;
const WINDOW_MIN_BYTES = 64 * 1024;
const WINDOW_MAX_BYTES = 4 * 1024 * 1024;
/** Each input holds what is looked at and what is read ahead. */
const WINDOWS = 2;

export interface MergeOptions {
  /** gzip level of blocks that are written anew. */
  readonly level: number;
  /** Text of a block at most. */
  readonly blockBytes: number;
  /** Compressed bytes of a segment. */
  readonly segmentBytes: number;
  /** A block with at least this part of `blockBytes` is copied as it is. */
  readonly fullPart: number;
  /** Memory for the indexes of the inputs. */
  readonly indexMemoryBytes: number;
  /** Memory for what is read from the inputs. */
  readonly readMemoryBytes: number;
}

export interface MergeDeps {
  readonly objects: ObjectStore;
  readonly pace: Pace;
  readonly filter: RowFilter;
  /** Called before each segment is written: from then on there is an object that nobody names. */
  readonly onOutput?: (key: string) => void;
}

export interface MergeStats {
  lines: number;
  bytesRead: number;
  bytesWritten: number;
  blocksRead: number;
  blocksCopied: number;
  bytesCopied: number;
  /** Bytes of text that were compressed anew. */
  textBytesRewritten: number;
}

export interface MergeResult {
  /** What was merged: the first of the segments that were given, as many as memory allowed. */
  readonly inputs: readonly SegmentInfo[];
  /** Written, and named by nobody yet. Empty when no line was left. */
  readonly outputs: readonly SegmentInfo[];
  readonly removed: RemovedBy;
  readonly stats: MergeStats;
}

/**
 * Merges segments of one tenant, given in order of arrival, into new ones: ordered by stream, then by time, cut where they are
 * large enough, none with lines of several days. Full blocks are copied, small ones merged. Holds the indexes, one segment
 * under construction, and some reads in memory. Errors: those of the object store, and `segment_corrupt` or
 * `block_corrupt`, which name the input; then nothing of the result may be used.
 */
export async function mergeSegments(
  segments: readonly SegmentInfo[],
  options: MergeOptions,
  deps: MergeDeps,
): Promise<MergeResult> {
  const inputs = await openInputs(segments, options, deps);
  const merged = segments.slice(0, inputs.length);
  const sources = newMerge(merged.map((info, i) => ({ ...info, readSources: inputs[i].index.readSources })));
  const merge = new Merge(segments[0].tenant, inputs, sources, options, deps);
  for (const takesDay of dayPasses(inputs)) await merge.pass(takesDay);
  const { outputs, removed, stats } = await merge.end();
  return { inputs: merged, outputs, removed, stats };
}

/**
 * The inputs whose indexes fit into memory, from the first on; two at least, if there are. Segments of one compaction, which
 * have the same first offset, stay together: their order among each other is by their numbers.
 */
async function openInputs(
  segments: readonly SegmentInfo[],
  { indexMemoryBytes, readMemoryBytes }: MergeOptions,
  { objects, pace }: MergeDeps,
): Promise<SegmentInput[]> {
  // Outputs of one compaction have one stream after the other, so they are read one after the other too.
  const units = new Set(segments.map(({ partition, firstOffset }) => `${partition} ${firstOffset}`)).size;
  const wanted = readMemoryBytes / units / WINDOWS;
  const windowBytes = Math.min(WINDOW_MAX_BYTES, Math.max(WINDOW_MIN_BYTES, wanted));
  const inputs: SegmentInput[] = [];
  let memory = 0;
  for (const [i, { key, partition, firstOffset }] of segments.entries()) {
    const last = segments[i - 1];
    const isNext = last?.partition !== partition || last.firstOffset !== firstOffset;
    if (isNext && memory > indexMemoryBytes && inputs.length >= 2) break;
    const index = await pace.wait(readPackedIndex(objects, key, pace.turn));
    memory += index.memoryBytes;
    inputs.push(new SegmentInput(objects, key, index, inputs.length, windowBytes));
  }
  return inputs;
}

class Merge {
  private readonly tenant: string;
  private readonly inputs: readonly SegmentInput[];
  private readonly deps: MergeDeps;
  private readonly pieces: PieceOptions;
  private readonly maker: BlockMaker;
  private readonly outputs: SegmentOutputs;
  private readonly counts = new RemovedCounts();
  private blocksRead = 0;
  private linesRead = 0;
  private blocksCopied = 0;
  private bytesCopied = 0;

  constructor(
    tenant: string,
    inputs: readonly SegmentInput[],
    sources: SegmentSources,
    options: MergeOptions,
    deps: MergeDeps,
  ) {
    this.tenant = tenant;
    this.inputs = inputs;
    this.deps = deps;
    this.pieces = {
      fullTextBytes: options.blockBytes * options.fullPart,
      fullBytes: FULL_BYTES,
      groupTextBytes: options.blockBytes * GROUP_BLOCKS,
      groupRows: GROUP_ROWS,
    };
    this.maker = new BlockMaker(options, deps.pace);
    this.outputs = new SegmentOutputs(tenant, envelopeOf(sources.covers), sources, options, deps);
  }

  /** Merges the lines of the pass's days. */
  async pass(takesDay: DayTest): Promise<void> {
    await this.outputs.cut();
    const order = new StreamOrder(this.inputs);
    for (let parts = order.next(); parts !== null; parts = order.next()) {
      const blocks = blocksOf(parts, takesDay);
      if (blocks.length > 0) await this.stream(parts[0], blocks, takesDay);
      await this.deps.pace.turn();
    }
    for (const input of this.inputs) input.release();
  }

  async end() {
    await this.outputs.end();
    const { lines, bytes, segments } = this.outputs;
    let removed = 0;
    for (const { lines: gone } of this.counts.byId.values()) removed += gone;
    // The inputs are about to be deleted for the outputs' sake.
    if (lines + removed !== this.linesRead) {
      throw new Error(`compaction: ${lines} lines written and ${removed} removed of ${this.linesRead}`);
    }
    const stats: MergeStats = {
      lines,
      bytesRead: this.inputs.reduce((sum, input) => sum + input.bytesRead, 0),
      bytesWritten: bytes,
      blocksRead: this.blocksRead,
      blocksCopied: this.blocksCopied,
      bytesCopied: this.bytesCopied,
      textBytesRewritten: this.maker.textBytes,
    };
    return { outputs: segments, removed: this.counts.byId, stats };
  }

  private async stream(
    { input, stream: place }: StreamPart,
    all: readonly StreamBlock[],
    takesDay: DayTest,
  ): Promise<void> {
    const { filter, pace } = this.deps;
    const { streamBytes, streamStarts, streamEnds } = input.index;
    const canonical = streamBytes.toString("utf8", streamStarts[place], streamEnds[place]);
    const labels = parseLabels(canonical, { key: input.key, offset: 0 }, "segment_corrupt");
    const stream = mergedStream(this.tenant, labels, canonical);
    let blocks: StreamBlock[] = [];
    for (const block of all) {
      const taken = await applyDays(block, stream, takesDay, pace);
      if (taken === null) continue;
      blocks.push(taken);
      this.linesRead += rowsLeft(taken);
    }
    this.blocksRead += blocks.length;
    const streamFilter = filter(this.tenant, labels, canonical);
    if (streamFilter !== null) blocks = await applyFilter(blocks, stream, streamFilter, pace, this.counts);
    for (const piece of planPieces(blocks, this.pieces)) {
      if (piece.kind === "copy") await this.copy(stream, piece.block);
      else await this.maker.make(stream, piece.groups, (block) => this.outputs.add(stream, block));
    }
  }

  private async copy(stream: MergedStream, block: StreamBlock): Promise<void> {
    const bytes = await this.deps.pace.wait(block.input.block(block.block));
    await this.outputs.add(stream, copyBlock(bytes, block, stream));
    this.blocksCopied++;
    this.bytesCopied += bytes.length;
  }
}

function rowsLeft({ rows, drops }: StreamBlock): number {
  let left = rows;
  if (drops !== null) for (let row = 0; row < rows; row++) left -= drops[row];
  return left;
}

/** The blocks of a stream that may have lines of the pass's days, in order of arrival. */
export function blocksOf(parts: readonly StreamPart[], takesDay: DayTest): StreamBlock[] {
  const out: StreamBlock[] = [];
  for (const { input, stream } of parts) {
    const { firstBlocks, rows, textBytes, lengths, minSec, minNsec, maxSec, maxNsec } = input.index;
    for (let block = firstBlocks[stream]; block < firstBlocks[stream + 1]; block++) {
      if (!mayTakeBlock(takesDay, minSec[block], maxSec[block])) continue;
      out.push({
        input,
        block,
        rows: rows[block],
        textBytes: textBytes[block],
        length: lengths[block],
        minSec: minSec[block],
        minNsec: minNsec[block],
        maxSec: maxSec[block],
        maxNsec: maxNsec[block],
        drops: null,
      });
    }
  }
  return out;
}
