import zlib from "node:zlib";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { type EncodedBlock, encodeBlock, finishBlock } from "./block-encode.ts";
import { Gzipper } from "./gzipper.ts";
import type { PoolSlots } from "./pool-slots.ts";
import { CompressedBlock, type SealedBlock } from "./sealed-block.ts";
import type { TextBuffers } from "./text-buffers.ts";

/** zlib fails only when memory is short, so the same block is tried again. */
const RETRY_MS = 1000;
/** Output room for one round trip through libuv's pool: log text compresses to less than half nearly always. */
const OUTPUT_PART = 2;
const OUTPUT_LEAST = 1024;

export interface CompressorOptions {
  readonly level: number;
  readonly block_bytes: number;
  readonly compress_parallel: number;
}

/**
 * Encodes and compresses sealed blocks in libuv's pool, a bounded number at once, and hands them back strictly in the
 * order in which they came, each by one call of `done`, never while `add` runs. With `slots`, which are for all threads of the
 * process: what finds no place in the pool is compressed in this thread.
 */
export class Compressor {
  private readonly options: CompressorOptions;
  private readonly log: Logger;
  private readonly done: (sealed: SealedBlock) => void;
  private readonly texts: Pick<TextBuffers, "room" | "giveBack">;
  /** Sealed and not handed back, in order; those below `started` are compressed or about to be. */
  private queue: SealedBlock[] = [];
  private started = 0;
  private running = 0;
  private generation = 0;
  private readonly slots: PoolSlots | null;
  private isHereDue = false;
  /** Those that have nothing to do; with those at work never more than `compress_parallel`. */
  private readonly idle: Gzipper[] = [];

  constructor(
    options: CompressorOptions,
    log: Logger,
    done: (sealed: SealedBlock) => void,
    texts: Pick<TextBuffers, "room" | "giveBack">,
    slots: PoolSlots | null = null,
  ) {
    this.options = options;
    this.log = log;
    this.done = done;
    this.texts = texts;
    this.slots = slots;
  }

  add(sealed: SealedBlock): void {
    this.queue.push(sealed);
    this.pump();
  }

  /** Forgets what was added; nothing of it is handed back. */
  clear(): void {
    this.generation++;
    this.queue = [];
    this.started = 0;
  }

  private pump(): void {
    while (this.running < this.options.compress_parallel && this.started < this.queue.length) {
      if (this.slots?.take() === false) {
        this.compressHereSoon();
        return;
      }
      this.running++;
      const { sealed, encoded } = this.next();
      this.compress(sealed, encoded, this.generation);
    }
  }

  private next(): { sealed: SealedBlock; encoded: EncodedBlock } {
    const sealed = this.queue[this.started++];
    if (sealed.open === null) throw new Error("a block was compressed twice");
    // The header is written when the block's turn comes, so that a flush of a thousand streams does not do it all at once.
    return { sealed, encoded: encodeBlock(sealed.open, sealed.stream.section, (bytes) => this.texts.room(bytes)) };
  }

  /** A block a turn: this thread has other things to do as well. */
  private compressHereSoon(): void {
    if (this.isHereDue) return;
    this.isHereDue = true;
    setImmediate(() => {
      this.isHereDue = false;
      if (this.started < this.queue.length && this.running < this.options.compress_parallel) this.compressHere();
    });
  }

  private compressHere(): void {
    const { sealed, encoded } = this.next();
    let gzip: Buffer;
    try {
      gzip = zlib.gzipSync(encoded.text, this.gzipOptions(encoded));
    } catch (error) {
      this.running++;
      this.tryLater(sealed, encoded, this.generation, error, false);
      return;
    }
    this.finish(sealed, encoded, gzip);
    this.handBack();
    this.pump();
  }

  private finish(sealed: SealedBlock, encoded: EncodedBlock, gzip: Buffer): void {
    sealed.finished = finished(sealed, encoded, gzip);
    this.giveBack(encoded);
  }

  private giveBack({ ownText }: EncodedBlock): void {
    if (ownText !== null) this.texts.giveBack(ownText);
  }

  private gzipOptions({ text }: EncodedBlock): zlib.ZlibOptions {
    const chunkSize = Math.max(OUTPUT_LEAST, Math.ceil(text.length / OUTPUT_PART));
    return { level: this.options.level, chunkSize };
  }

  private tryLater(
    sealed: SealedBlock,
    encoded: EncodedBlock,
    generation: number,
    error: unknown,
    hasSlot: boolean,
  ): void {
    this.log.error({ err: error }, `compressing a block: ${messageOf(error)}; trying again in ${RETRY_MS} ms`);
    setTimeout(() => this.compress(sealed, encoded, generation, hasSlot), RETRY_MS);
  }

  private compress(
    sealed: SealedBlock,
    encoded: EncodedBlock,
    generation: number,
    hasSlot = this.slots !== null,
  ): void {
    const { level, block_bytes } = this.options;
    const gzipper = this.idle.pop() ?? new Gzipper(level, block_bytes);
    gzipper.compress(encoded.text, (error, gzip) => {
      this.idle.push(gzipper);
      if (generation !== this.generation) {
        this.giveBack(encoded);
        this.leave(hasSlot);
        this.pump();
        return;
      }
      if (error !== null) {
        this.tryLater(sealed, encoded, generation, error, hasSlot);
        return;
      }
      this.leave(hasSlot);
      this.finish(sealed, encoded, gzip);
      this.handBack();
      this.pump();
    });
  }

  private leave(hasSlot: boolean): void {
    this.running--;
    if (hasSlot) this.slots?.give();
  }

  private handBack(): void {
    let ready = 0;
    while (ready < this.started && this.queue[ready].finished !== null) ready++;
    if (ready === 0) return;
    this.started -= ready;
    for (const sealed of this.queue.splice(0, ready)) this.done(sealed);
  }
}

function finished(sealed: SealedBlock, encoded: EncodedBlock, gzip: Buffer): CompressedBlock {
  return new CompressedBlock(sealed.stream, {
    bytes: finishBlock(encoded, gzip),
    rows: encoded.rows,
    textBytes: encoded.text.length,
    minSec: encoded.minSec,
    minNsec: encoded.minNsec,
    maxSec: encoded.maxSec,
    maxNsec: encoded.maxNsec,
    metadataBytes: encoded.metadataBytes,
    ids: encoded.ids,
  });
}
