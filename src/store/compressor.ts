import zlib from "node:zlib";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { type EncodedBlock, encodeBlock, finishBlock } from "./block-encode.ts";
import { CompressedBlock, type SealedBlock } from "./sealed-block.ts";

/** zlib fails only when memory is short, so the same block is tried again. */
const RETRY_MS = 1000;
/** Output room for one round trip through libuv's pool: log text compresses to less than half nearly always. */
const OUTPUT_PART = 2;
const OUTPUT_LEAST = 1024;

export interface CompressorOptions {
  readonly level: number;
  readonly compress_parallel: number;
}

/**
 * Encodes and compresses sealed blocks in libuv's pool, a bounded number at once, and hands them back strictly in the
 * order in which they came, each by one call of `done`, never while `add` runs.
 */
export class Compressor {
  private readonly options: CompressorOptions;
  private readonly log: Logger;
  private readonly done: (sealed: SealedBlock) => void;
  /** Sealed and not handed back, in order; those below `started` are compressed or about to be. */
  private queue: SealedBlock[] = [];
  private started = 0;
  private running = 0;
  private generation = 0;

  constructor(options: CompressorOptions, log: Logger, done: (sealed: SealedBlock) => void) {
    this.options = options;
    this.log = log;
    this.done = done;
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
      const sealed = this.queue[this.started++];
      if (sealed.open === null) throw new Error("a block was compressed twice");
      this.running++;
      // The header is written when the block's turn comes, so that a flush of a thousand streams does not do it all at once.
      this.compress(sealed, encodeBlock(sealed.open, sealed.stream.section), this.generation);
    }
  }

  private compress(sealed: SealedBlock, encoded: EncodedBlock, generation: number): void {
    const { text } = encoded;
    const chunkSize = Math.max(OUTPUT_LEAST, Math.ceil(text.length / OUTPUT_PART));
    zlib.gzip(text, { level: this.options.level, chunkSize }, (error, gzip) => {
      if (generation !== this.generation) {
        this.running--;
        this.pump();
        return;
      }
      if (error !== null) {
        this.log.error({ err: error }, `compressing a block: ${messageOf(error)}; trying again in ${RETRY_MS} ms`);
        setTimeout(() => this.compress(sealed, encoded, generation), RETRY_MS);
        return;
      }
      this.running--;
      sealed.finished = new CompressedBlock(sealed.stream, {
        bytes: finishBlock(encoded, gzip),
        rows: encoded.rows,
        textBytes: text.length,
        minSec: encoded.minSec,
        minNsec: encoded.minNsec,
        maxSec: encoded.maxSec,
        maxNsec: encoded.maxNsec,
        ids: encoded.ids,
      });
      this.handBack();
      this.pump();
    });
  }

  private handBack(): void {
    let ready = 0;
    while (ready < this.started && this.queue[ready].finished !== null) ready++;
    if (ready === 0) return;
    this.started -= ready;
    for (const sealed of this.queue.splice(0, ready)) this.done(sealed);
  }
}
