import type { Labels } from "../../core/labels.ts";
import { Line } from "../../core/line.ts";
import { encodeBlock, encodeStream, finishBlock } from "../block-encode.ts";
import { Gzipper } from "../gzipper.ts";
import { OpenBlock } from "../open-block.ts";
import type { SegmentBlock } from "../segment.ts";
import { TextBuffers } from "../text-buffers.ts";
import type { Pace } from "./pace.ts";
import type { StreamBlock } from "./pieces.ts";
import { orderRows } from "./row-order.ts";
import { RowSource, SharedSetTable } from "./row-source.ts";
import { readStreamBlock } from "./stream-block.ts";

/** Rows that are written before others get a turn: some 100 us of work. */
const ROWS_A_TURN = 256;

export interface BlockMakerOptions {
  readonly level: number;
  /** Text of a block at most. */
  readonly blockBytes: number;
}

/** What a stream is to the blocks that are made for it. */
export interface MergedStream {
  readonly tenant: string;
  readonly labels: Labels;
  readonly canonical: string;
  /** `encodeStream` of it. */
  readonly section: Buffer;
}

export function mergedStream(tenant: string, labels: Labels, canonical: string): MergedStream {
  return { tenant, labels, canonical, section: encodeStream({ tenant, labels, canonical }) };
}

/** Takes blocks, which may not be there yet, in the order in which they are to stand. */
export type EmitBlock = (block: SegmentBlock | Promise<SegmentBlock>) => Promise<void>;

/** Writes rows of blocks into new blocks. */
export class BlockMaker {
  /** Bytes of text that were compressed anew. */
  textBytes = 0;
  private readonly options: BlockMakerOptions;
  private readonly pace: Pace;
  private readonly buffers: TextBuffers;
  private readonly line = new Line();
  /** Those that have nothing to do; never more than blocks that `emit` lets wait. */
  private readonly idle: Gzipper[] = [];

  constructor(options: BlockMakerOptions, pace: Pace) {
    this.options = options;
    this.pace = pace;
    this.buffers = new TextBuffers(options.blockBytes);
  }

  /** Writes the rows of `groups`, each sorted by time, one group after the other, into as few blocks as they need. */
  async make(stream: MergedStream, groups: readonly (readonly StreamBlock[])[], emit: EmitBlock): Promise<void> {
    const table = new SharedSetTable();
    let open = this.begin(stream, groups);
    for (const group of groups) {
      const sources: RowSource[] = [];
      for (const block of group) {
        const bytes = await this.pace.wait(block.input.block(block.block));
        sources.push(new RowSource(readStreamBlock(bytes, block, stream), table));
        await this.pace.turn();
      }
      const order = orderRows(group, sources);
      await this.pace.turn();
      for (let i = 0; i < order.count; i++) {
        sources[order.sources[i]].fill(this.line, order.rows[i]);
        if (!open.append(this.line)) {
          await emit(this.seal(stream, open));
          open = this.begin(stream, groups);
          open.append(this.line);
        }
        if (i % ROWS_A_TURN === ROWS_A_TURN - 1) await this.pace.turn();
      }
    }
    if (open.rows > 0) await emit(this.seal(stream, open));
  }

  private begin({ section }: MergedStream, groups: readonly (readonly StreamBlock[])[]): OpenBlock {
    const { blockBytes } = this.options;
    let text = 0;
    let rows = 0;
    for (const group of groups) {
      for (const block of group) {
        text += block.textBytes;
        rows += block.rows;
      }
    }
    // A block that will be filled gets its full buffers at once.
    const hint = text < blockBytes / 2 ? 0 : Math.ceil(rows * Math.min(1, blockBytes / text));
    return new OpenBlock(this.buffers, section.length, hint);
  }

  private async seal({ canonical, section }: MergedStream, open: OpenBlock): Promise<SegmentBlock> {
    const { text, ownText, ...encoded } = encodeBlock(open, section, (bytes) => this.buffers.room(bytes));
    this.textBytes += text.length;
    const gzipper = this.idle.pop() ?? new Gzipper(this.options.level, this.options.blockBytes);
    const began = performance.now();
    const gzip = await new Promise<Buffer>((resolve, reject) => {
      gzipper.compress(text, (error, out) => (error ? reject(error) : resolve(out)));
    });
    this.idle.push(gzipper);
    this.pace.worked(performance.now() - began);
    const bytes = finishBlock(encoded, gzip);
    this.buffers.giveBack(open.text);
    if (ownText !== null) this.buffers.giveBack(ownText);
    return { canonical, bytes, textBytes: text.length, ...encoded };
  }
}

/** A block that is copied as it is. Throws `block_corrupt` when its header is not what the index says. */
export function copyBlock(bytes: Buffer, block: StreamBlock, stream: MergedStream): SegmentBlock {
  // A copy, so that what was read together with it can go.
  const own = Buffer.from(bytes);
  const { rows, textBytes, ids } = readStreamBlock(own, block, stream);
  const { minSec, minNsec, maxSec, maxNsec } = block;
  const metadataBytes = block.input.index.metadataBytes[block.block];
  const { canonical } = stream;
  return { canonical, bytes: own, rows, textBytes, metadataBytes, minSec, minNsec, maxSec, maxNsec, ids };
}
