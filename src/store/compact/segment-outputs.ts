import type { Labels } from "../../core/labels.ts";
import type { ObjectStore } from "../../objects/store.ts";
import type { IntakeRange } from "../footer.ts";
import { compactedKey } from "../keys.ts";
import { describeSegment } from "../reader.ts";
import { buildCompactedSegment, type SegmentBlock } from "../segment.ts";
import type { SegmentSources } from "../sources.ts";
import type { SegmentInfo } from "../view.ts";
import type { MergedStream } from "./block-maker.ts";
import type { Pace } from "./pace.ts";

/** A segment ends at a stream's end once it is as large as wanted; a stream that goes on and on is cut at this part of it. */
const CUT_PART = 1.5;
/** And at this part even between two lines of one time, whose order then is that of the segments' names. */
const CUT_ANYWHERE_PART = 2;
/** Blocks of one segment at most: bounds the index, and the time that it takes to write it. */
const BLOCKS_MAX = 32_768;
/** Blocks that may be under compression while others are placed. */
const WAITING_MAX = 3;

export interface OutputOptions {
  /** Compressed bytes of a segment. */
  readonly segmentBytes: number;
}

export interface OutputDeps {
  readonly objects: ObjectStore;
  readonly pace: Pace;
  /** Called before each segment is written. */
  readonly onOutput?: (key: string) => void;
}

/** Collects the blocks of a compaction, and writes a segment whenever there are enough. Holds one segment in memory. */
export class SegmentOutputs {
  readonly segments: SegmentInfo[] = [];
  bytes = 0;
  lines = 0;
  private readonly options: OutputOptions;
  private readonly deps: OutputDeps;
  private readonly tenant: string;
  private readonly covers: IntakeRange;
  private readonly sources: SegmentSources;
  private blocks: SegmentBlock[] = [];
  private blockBytes = 0;
  private streams: { readonly labels: Labels }[] = [];
  private lastStream: MergedStream | null = null;
  private cutWanted = false;
  private waiting: { readonly stream: MergedStream; readonly block: Promise<SegmentBlock> }[] = [];

  constructor(tenant: string, covers: IntakeRange, sources: SegmentSources, options: OutputOptions, deps: OutputDeps) {
    this.tenant = tenant;
    this.covers = covers;
    this.sources = sources;
    this.options = options;
    this.deps = deps;
  }

  /** Takes the next block of a stream, which may still be under compression. Streams come one after the other. */
  async add(stream: MergedStream, block: SegmentBlock | Promise<SegmentBlock>): Promise<void> {
    const promise = Promise.resolve(block);
    // Whoever waits for its turn has the error; another block may fail first.
    promise.catch(() => undefined);
    this.waiting.push({ stream, block: promise });
    while (this.waiting.length > WAITING_MAX) await this.placeFirst();
  }

  /** Ends the present segment: the next block begins another. */
  async cut(): Promise<void> {
    while (this.waiting.length > 0) await this.placeFirst();
    this.cutWanted = true;
  }

  /** Writes what is left. `segments` has them all then. */
  async end(): Promise<void> {
    while (this.waiting.length > 0) await this.placeFirst();
    if (this.blocks.length > 0) await this.write(true);
  }

  private async placeFirst(): Promise<void> {
    const first = this.waiting.shift();
    if (first === undefined) return;
    const { stream } = first;
    const block = await this.deps.pace.wait(first.block);
    if (this.blocks.length > 0 && this.isDue(stream, block)) await this.write(false);
    this.cutWanted = false;
    if (stream !== this.lastStream) this.streams.push({ labels: stream.labels });
    this.lastStream = stream;
    this.blocks.push(block);
    this.blockBytes += block.bytes.length;
  }

  private isDue(stream: MergedStream, next: SegmentBlock): boolean {
    if (this.cutWanted || this.blocks.length >= BLOCKS_MAX) return true;
    const full = this.blockBytes / this.options.segmentBytes;
    if (stream !== this.lastStream) return full >= 1;
    return full >= CUT_ANYWHERE_PART || (full >= CUT_PART && isAfter(next, this.blocks[this.blocks.length - 1]));
  }

  private async write(last: boolean): Promise<void> {
    const { tenant, covers, blocks, streams } = this;
    const { objects, pace } = this.deps;
    const sources = { ...this.sources, output: this.segments.length, last };
    this.blocks = [];
    this.streams = [];
    this.blockBytes = 0;
    this.lastStream = null;
    const { parts, footer } = await buildCompactedSegment(tenant, blocks, covers, sources, pace.turn);
    const key = compactedKey(tenant, footer.minSec, covers, sources);
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    this.deps.onOutput?.(key);
    await pace.wait(objects.put(key, parts));
    this.segments.push(describeSegment(key, bytes, { tenant, streams, sources }, footer));
    this.bytes += bytes;
    this.lines += footer.lines;
  }
}

/** Whether all lines of a block are later than those of another. */
function isAfter({ minSec, minNsec }: SegmentBlock, { maxSec, maxNsec }: SegmentBlock): boolean {
  return minSec > maxSec || (minSec === maxSec && minNsec > maxNsec);
}
