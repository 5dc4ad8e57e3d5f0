import { Decompress } from "fzstd";
import { messageOf } from "../core/errors.ts";
import { badMessage } from "./forward-error.ts";
import { Xxh64 } from "./xxh64.ts";

/*
 * zstd frames, inflated block by block. Node 20 has no zstd, so a library inflates; what it leaves unchecked is
 * checked here: the window that a frame asks for (it would be allocated unseen), the size that the frame claims, how
 * much comes out, whether that has the checksum that the frame says, and how much work it is. Source: RFC 8878, "Zstandard Frames" and "Blocks".
 *
 *   frame    magic 28 b5 2f fd, descriptor 1, window 0-1, dictionary id 0-4, content size 0-8, blocks, checksum 0 or 4
 *   block    3 bytes little-endian: last (1 bit), type (2), size (21); content: raw and compressed `size` bytes, RLE 1
 */
const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50; // and the 15 after it
const CHECKSUM_BYTES = 4;
const BLOCK_BYTES_MAX = 128 << 10;
const RLE = 1;
const COMPRESSED = 2;

/**
 * The window that RFC 8878 wants every decoder to support, and no more. zstd asks for at most this at its levels 1 to
 * 19; log agents use the lowest.
 */
const WINDOW_BYTES_MAX = 8 << 20;
/** Blocks in one message: 64 MiB have 512 full ones. Each can cost some 20 microseconds, whatever comes out. */
const BLOCKS_MAX = 65_536;
/** The library moves its whole window once a block. This many bytes take about a second. */
const MOVED_BYTES_MAX = 8 * 1024 ** 3;

interface Frame {
  /** Offset of the first block. */
  readonly blocksAt: number;
  readonly hasChecksum: boolean;
  readonly windowBytes: number;
  /** -1 where the frame doesn't say. */
  readonly contentBytes: number;
}

interface Block {
  readonly next: number;
  readonly isLast: boolean;
  /** The most that can come out. */
  readonly contentBytesMax: number;
}

/**
 * Yields the content of all frames of `bytes`, block by block, at most 128 KiB at a time and perhaps nothing.
 * Throws `bad_message`.
 */
export function* zstdBlocks(bytes: Buffer, limitBytes: number): Generator<Uint8Array> {
  let at = 0;
  let total = 0;
  let blocks = 0;
  let moved = 0;
  if (bytes.length === 0) throw bad("got no bytes, want a frame", 0);
  while (at < bytes.length) {
    if (bytes.length - at < 8) throw bad("frame is cut", at);
    const magic = bytes.readUInt32LE(at);
    if ((magic & ~0xf) >>> 0 === SKIPPABLE_MAGIC) {
      at += 8 + bytes.readUInt32LE(at + 4);
      if (at > bytes.length) throw bad("skippable frame is cut", bytes.length);
      if (++blocks > BLOCKS_MAX) throw bad(`more than ${BLOCKS_MAX} blocks`, at);
      continue;
    }
    const frame = readFrame(bytes, at);
    if (frame.contentBytes > limitBytes - total) throw tooLong(limitBytes);
    const contentMax = mostContent(bytes, frame);
    const windowBytes = Math.min(frame.windowBytes, contentMax);
    const before = total;
    const inflater = new FrameInflater();
    const hash = frame.hasChecksum ? new Xxh64() : null;
    let head: Uint8Array = frameHead(windowBytes);
    let blockAt = frame.blocksAt;
    for (let isLast = false; !isLast; ) {
      const block = readBlock(bytes, blockAt, frame);
      isLast = block.isLast;
      moved += windowBytes;
      if (++blocks > BLOCKS_MAX) throw bad(`more than ${BLOCKS_MAX} blocks`, blockAt);
      if (moved > MOVED_BYTES_MAX) throw bad("blocks are too small for their window", blockAt);
      const piece = inflater.push(Buffer.concat([head, bytes.subarray(blockAt, block.next)]), isLast, blockAt);
      total += piece.length;
      if (total > limitBytes) throw tooLong(limitBytes);
      hash?.update(piece);
      yield piece;
      head = NOTHING;
      blockAt = block.next;
    }
    if (frame.contentBytes !== -1 && total - before !== frame.contentBytes) {
      throw bad(`got ${total - before} bytes out of a frame, want ${frame.contentBytes}`, at);
    }
    at = blockAt;
    if (hash !== null) {
      checkHash(bytes.readUInt32LE(at), hash, at);
      at += CHECKSUM_BYTES;
    }
  }
}

/** A frame ends with the low 4 bytes of the XXH64 of its content. */
function checkHash(want: number, hash: Xxh64, at: number): void {
  const got = Number(BigInt.asUintN(32, hash.digest()));
  if (got !== want) throw bad(`content's checksum is ${hex(got)}, want ${hex(want)}`, at);
}

const hex = (value: number) => value.toString(16).padStart(8, "0");

const NOTHING = new Uint8Array(0);

/** One frame in the library, which is given its head with the first block, and then one whole block a time. */
class FrameInflater {
  private out: Uint8Array[] = [];
  private readonly inflater = new Decompress((piece) => {
    this.out.push(piece);
  });

  push(bytes: Uint8Array, isLast: boolean, at: number): Uint8Array {
    this.out = [];
    try {
      this.inflater.push(bytes, isLast);
    } catch (error) {
      throw badMessage("inflate", `zstd: ${messageOf(error)}`, at, "message", error);
    }
    const pieces = this.out.filter((piece) => piece.length > 0);
    return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
  }
}

function readFrame(bytes: Buffer, at: number): Frame {
  if (bytes.readUInt32LE(at) !== MAGIC) throw bad("want a frame, which begins with 28 b5 2f fd", at);
  const descriptor = bytes[at + 4];
  const isSingleSegment = (descriptor & 0x20) !== 0;
  if ((descriptor & 0x08) !== 0) throw bad("reserved bit is set in a frame's descriptor", at + 4);
  if ((descriptor & 0x03) !== 0) throw bad("frame wants a dictionary; there is none", at + 4);
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeFlag;
  const sizeAt = at + 5 + (isSingleSegment ? 0 : 1);
  const blocksAt = sizeAt + sizeBytes;
  if (blocksAt > bytes.length) throw bad("frame's head is cut", at);
  let contentBytes = -1;
  if (sizeBytes === 1) contentBytes = bytes[sizeAt];
  if (sizeBytes === 2) contentBytes = bytes.readUInt16LE(sizeAt) + 256;
  if (sizeBytes === 4) contentBytes = bytes.readUInt32LE(sizeAt);
  if (sizeBytes === 8) contentBytes = Number(bytes.readBigUInt64LE(sizeAt));
  const windowBytes = isSingleSegment ? contentBytes : windowOf(bytes[at + 5]);
  if (windowBytes > WINDOW_BYTES_MAX) {
    throw bad(`frame wants a window of ${windowBytes} bytes, want at most ${WINDOW_BYTES_MAX}`, at);
  }
  return { blocksAt, hasChecksum: (descriptor & 0x04) !== 0, windowBytes, contentBytes };
}

function windowOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

/** The most that can come out of a frame's blocks: a bound for its window, whatever its head says. */
function mostContent(bytes: Buffer, frame: Frame): number {
  let at = frame.blocksAt;
  let most = 0;
  for (;;) {
    const { next, isLast, contentBytesMax } = readBlock(bytes, at, frame);
    most += contentBytesMax;
    if (isLast || most >= WINDOW_BYTES_MAX) return most;
    at = next;
  }
}

function readBlock(bytes: Buffer, at: number, frame: Frame): Block {
  if (at + 3 > bytes.length) throw bad("block is cut", at);
  const head = bytes.readUIntLE(at, 3);
  const isLast = (head & 1) === 1;
  const type = (head >> 1) & 3;
  const size = head >> 3;
  const sizeMax = Math.min(BLOCK_BYTES_MAX, frame.windowBytes);
  if (type === 3) throw bad("got a block of the reserved type", at);
  if (size > sizeMax) throw bad(`got a block of ${size} bytes, want at most ${sizeMax}`, at);
  const next = at + 3 + (type === RLE ? 1 : size);
  if (next + (isLast && frame.hasChecksum ? CHECKSUM_BYTES : 0) > bytes.length) throw bad("block is cut", at);
  return { next, isLast, contentBytesMax: type === COMPRESSED ? sizeMax : size };
}

/**
 * The head that the library gets to see: a single segment of as many bytes as the window needs. Many small frames, as
 * they come from senders that compress what they append, would else cost the usual window of 2 MiB each.
 */
function frameHead(windowBytes: number): Uint8Array {
  const head = Buffer.alloc(9);
  head.writeUInt32LE(MAGIC, 0);
  head[4] = 0x80 | 0x20; // Content size in four bytes, single segment, no checksum: that is seen to here.
  head.writeUInt32LE(windowBytes, 5);
  return head;
}

function bad(what: string, at: number): Error {
  return badMessage("inflate", `zstd: ${what}`, at);
}

function tooLong(limitBytes: number): Error {
  return badMessage("inflated_too_long", `entries inflate to more than ${limitBytes} bytes`, 0);
}
