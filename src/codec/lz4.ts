import lz4 from "lz4js";
import { badMessage } from "./forward-error.ts";
import { Xxh32, xxh32 } from "./xxh32.ts";

/*
 * LZ4 frames, inflated in steps. A library inflates the sequences of a block; what it trusts is checked here before: the lengths and
 * offsets of each sequence, the sizes that frame and blocks claim, how much comes out, and all checksums.
 * Source: "LZ4 Frame Format Description" 1.6, "LZ4 Block Format Description".
 *
 *   frame     magic 04 22 4d 18, FLG, BD, content size 0 or 8, dictionary id 0 or 4, HC, blocks, 0 as u32, checksum 0 or 4
 *   FLG       bits 7-6 version (1), 5 independent blocks, 4 block checksums, 3 content size, 2 content checksum, 0 dictionary id
 *   BD        bits 6-4 largest block: 4 for 64 KiB, 5 for 256 KiB, 6 for 1 MiB, 7 for 4 MiB
 *   HC        second byte of the XXH32 of the descriptor, from FLG to before HC
 *   block     u32 size (highest bit: not compressed), bytes, checksum 0 or 4
 *   sequence  token (literals in the upper four bits, match - 4 in the lower), more of the length, literals, offset u16, more of the
 *             match's length; the last one of a block ends behind its literals
 */
const MAGIC = 0x184d2204;
const SKIPPABLE_MAGIC = 0x184d2a50; // and the 15 after it
const HEAD_BYTES_MIN = 7;
const BLOCK_BYTES_MAX = [0, 0, 0, 0, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
const STORED = 0x8000_0000;
const MATCH_MIN = 4;
/** How far back an offset reaches. */
const HISTORY_BYTES = 64 << 10;
/** Sequences are inflated when they make this many bytes, or their block ends. */
const SPAN_BYTES = 128 << 10;
/** Output is given away in pieces of about this size. */
const PIECE_BYTES = 1 << 20;
/** Blocks, frames and spans between two chances for others. */
const STEPS_A_SLICE = 256;

interface Frame {
  /** Offset of the first block. */
  readonly blocksAt: number;
  readonly hasBlockSums: boolean;
  readonly hasSum: boolean;
  readonly isLinked: boolean;
  readonly blockBytesMax: number;
  /** -1 where the frame doesn't say. */
  readonly contentBytes: number;
}

/**
 * Yields the content of all frames of `bytes` in pieces, perhaps empty ones, so that a caller can let others have a turn. Throws
 * `bad_message`: `inflated_too_long` above `limitBytes`, `inflate` for bytes that are cut or damaged.
 */
export function* lz4Pieces(bytes: Buffer, limitBytes: number): Generator<Uint8Array> {
  if (bytes.length === 0) throw bad("got no bytes, want a frame", 0);
  const out = new Output(limitBytes);
  let steps = 0;
  for (let at = 0; at < bytes.length; ) {
    if (++steps % STEPS_A_SLICE === 0) yield NOTHING;
    if (bytes.length - at < HEAD_BYTES_MIN) throw bad("frame is cut", at);
    if ((bytes.readUInt32LE(at) & ~0xf) >>> 0 === SKIPPABLE_MAGIC) {
      at = skipped(bytes, at);
      continue;
    }
    const frame = readFrame(bytes, at);
    if (frame.contentBytes > limitBytes - out.total) throw tooLong(limitBytes);
    out.begin(frame.hasSum);
    const before = out.total;
    let blockAt = frame.blocksAt;
    for (;;) {
      if (++steps % STEPS_A_SLICE === 0) yield NOTHING;
      const size = u32(bytes, blockAt);
      blockAt += 4;
      if (size === 0) break;
      const length = size % STORED;
      const end = blockAt + length;
      if (length > frame.blockBytesMax) {
        throw bad(`got a block of ${length} bytes, want at most ${frame.blockBytesMax}`, blockAt - 4);
      }
      if (end > bytes.length) throw bad("block is cut", blockAt - 4);
      if (frame.hasBlockSums) check(u32(bytes, end), xxh32(bytes.subarray(blockAt, end)), end);
      if (!frame.isLinked) out.forget();
      if (size >= STORED) yield* out.add(bytes.subarray(blockAt, end));
      else yield* inflateBlock(bytes, blockAt, end, frame.blockBytesMax, out);
      blockAt = end + (frame.hasBlockSums ? 4 : 0);
    }
    if (frame.contentBytes !== -1 && out.total - before !== frame.contentBytes) {
      throw bad(`got ${out.total - before} bytes out of a frame, want ${frame.contentBytes}`, at);
    }
    if (frame.hasSum) {
      check(u32(bytes, blockAt), out.digest(), blockAt);
      blockAt += 4;
    }
    at = blockAt;
  }
  yield out.rest();
}

const NOTHING = new Uint8Array(0);

/** Looks through the sequences of a block in spans, and has each span inflated once it is known to be whole. */
function* inflateBlock(bytes: Buffer, start: number, end: number, most: number, out: Output): Generator<Uint8Array> {
  const history = out.history;
  let made = 0;
  for (let at = start; at < end; ) {
    const spanAt = at;
    let span = 0;
    let isLast = false;
    while (!isLast && span < SPAN_BYTES) {
      if (at >= end) throw bad("block ends in a sequence", at);
      const token = bytes[at++];
      let literals = token >>> 4;
      if (literals === 15) {
        for (let more = 255; more === 255; literals += more) {
          if (at >= end) throw bad("block ends in a sequence", at);
          more = bytes[at++];
        }
      }
      at += literals;
      span += literals;
      if (at > end) throw bad("literals go beyond their block", at);
      isLast = at === end;
      if (!isLast) {
        if (at + 2 > end) throw bad("block ends in a sequence", at);
        const offset = bytes[at] | (bytes[at + 1] << 8);
        if (offset === 0 || offset > history + made + span) throw bad(`got an offset of ${offset}`, at);
        at += 2;
        let match = (token & 15) + MATCH_MIN;
        if (match === 15 + MATCH_MIN) {
          for (let more = 255; more === 255; match += more) {
            if (at >= end) throw bad("block ends in a sequence", at);
            more = bytes[at++];
          }
        }
        span += match;
      }
      if (made + span > most) throw bad(`a block makes more than ${most} bytes`, at);
    }
    made += span;
    yield* out.inflate(bytes, spanAt, at, span);
  }
}

/** What came out so far: a piece that is being filled, with the end of the one before it in front of it for offsets to reach. */
class Output {
  total = 0;
  private readonly limitBytes: number;
  private room = Buffer.alloc(0);
  /** Within the room: where the piece begins and ends. */
  private from = 0;
  private to = 0;
  /** How far back the present frame, or an independent block, may reach. */
  private reach = 0;
  private hash: Xxh32 | null = null;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get history(): number {
    return Math.min(this.reach, HISTORY_BYTES);
  }

  begin(hasSum: boolean): void {
    this.hash = hasSum ? new Xxh32() : null;
    this.reach = 0;
  }

  forget(): void {
    this.reach = 0;
  }

  digest(): number {
    return this.hash?.digest() ?? 0;
  }

  /** Bytes as they are. */
  *add(bytes: Uint8Array): Generator<Uint8Array> {
    yield* this.make(bytes.length);
    this.room.set(bytes, this.to);
    this.made(bytes.length);
  }

  /** Whole sequences, bytes[start, end), that make `length` bytes. */
  *inflate(bytes: Buffer, start: number, end: number, length: number): Generator<Uint8Array> {
    yield* this.make(length);
    lz4.decompressBlock(bytes, this.room, start, end - start, this.to);
    this.made(length);
  }

  /** The piece that was not given away yet. */
  rest(): Uint8Array {
    const piece = this.room.subarray(this.from, this.to);
    this.from = this.to;
    return piece;
  }

  /** Sees to room for `length` bytes more. */
  private *make(length: number): Generator<Uint8Array> {
    if (this.total + length > this.limitBytes) throw tooLong(this.limitBytes);
    if (this.to + length <= this.room.length) return;
    const history = this.room.subarray(Math.max(0, this.to - HISTORY_BYTES), this.to);
    yield this.rest();
    const room = Buffer.allocUnsafeSlow(HISTORY_BYTES + Math.max(PIECE_BYTES, length));
    room.set(history);
    this.room = room;
    this.from = history.length;
    this.to = history.length;
  }

  private made(length: number): void {
    this.hash?.update(this.room.subarray(this.to, this.to + length));
    this.to += length;
    this.total += length;
    this.reach += length;
  }
}

function readFrame(bytes: Buffer, at: number): Frame {
  if (bytes.readUInt32LE(at) !== MAGIC) throw bad("want a frame, which begins with 04 22 4d 18", at);
  const flags = bytes[at + 4];
  const sizes = bytes[at + 5];
  if (flags >>> 6 !== 1) throw bad(`got version ${flags >>> 6} of the frame format, want 1`, at + 4);
  if ((flags & 0x02) !== 0 || (sizes & 0x8f) !== 0) throw bad("a reserved bit is set in a frame's descriptor", at + 4);
  if ((flags & 0x01) !== 0) throw bad("frame wants a dictionary; there is none", at + 4);
  const blockBytesMax = BLOCK_BYTES_MAX[sizes >>> 4];
  if (blockBytesMax === 0) throw bad(`got ${sizes >>> 4} for the size of blocks, want 4 to 7`, at + 5);
  const hasSize = (flags & 0x08) !== 0;
  const sumAt = at + 6 + (hasSize ? 8 : 0);
  if (sumAt >= bytes.length) throw bad("frame's head is cut", at);
  const want = (xxh32(bytes.subarray(at + 4, sumAt)) >>> 8) & 0xff;
  if (bytes[sumAt] !== want) throw bad("the checksum of a frame's head is not that of its bytes", sumAt);
  return {
    blocksAt: sumAt + 1,
    hasBlockSums: (flags & 0x10) !== 0,
    hasSum: (flags & 0x04) !== 0,
    isLinked: (flags & 0x20) === 0,
    blockBytesMax,
    contentBytes: hasSize ? Number(bytes.readBigUInt64LE(at + 6)) : -1,
  };
}

function skipped(bytes: Buffer, at: number): number {
  const end = at + 8 + u32(bytes, at + 4);
  if (end > bytes.length) throw bad("skippable frame is cut", bytes.length);
  return end;
}

function u32(bytes: Buffer, at: number): number {
  if (at + 4 > bytes.length) throw bad("frame is cut", at);
  return bytes.readUInt32LE(at);
}

function check(got: number, want: number, at: number): void {
  if (got !== want) throw bad(`got a checksum of ${hex(got)}, want ${hex(want)}`, at);
}

const hex = (value: number) => value.toString(16).padStart(8, "0");

function bad(what: string, at: number): Error {
  return badMessage("inflate", `lz4: ${what}`, at);
}

function tooLong(limitBytes: number): Error {
  return badMessage("inflated_too_long", `entries inflate to more than ${limitBytes} bytes`, 0);
}
