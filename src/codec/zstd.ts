import { Decompress } from "fzstd";
import { messageOf } from "../core/errors.ts";
import { badMessage } from "./forward-error.ts";

/*
 * zstd frames, inflated block by block. Node 20 has no zstd, so a library inflates; what it leaves unchecked is
 * checked here: the window that a frame asks for (it would be allocated unseen), the size that the frame claims, and
 * how much comes out. Source: RFC 8878, "Zstandard Frames" and "Blocks".
 *
 *   frame    magic 28 b5 2f fd, descriptor 1, window 0-1, dictionary id 0-4, content size 0-8, blocks, checksum 0 or 4
 *   block    3 bytes little-endian: last (1 bit), type (2), size (21); content: raw and compressed `size` bytes, RLE 1
 */
const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50; // and the 15 after it
const BLOCK_BYTES_MAX = 128 << 10;

/**
 * The window that RFC 8878 wants every decoder to support, and no more: the library moves the whole window once a
 * block. zstd asks for at most this at its levels 1 to 19; log agents use the lowest.
 */
const WINDOW_BYTES_MAX = 8 << 20;

interface Frame {
  /** Offset of the first block. */
  readonly blocksAt: number;
  readonly hasChecksum: boolean;
  /** -1 where the frame doesn't say. */
  readonly contentBytes: number;
}

/** Yields the content of all frames of `bytes`, at most 128 KiB at a time. Throws `bad_message`. */
export function* zstdBlocks(bytes: Buffer, limitBytes: number): Generator<Uint8Array> {
  let at = 0;
  let total = 0;
  if (bytes.length === 0) throw bad("got no bytes, want a frame", 0);
  while (at < bytes.length) {
    if (bytes.length - at < 8) throw bad("frame is cut", at);
    const magic = bytes.readUInt32LE(at);
    if ((magic & ~0xf) >>> 0 === SKIPPABLE_MAGIC) {
      at += 8 + bytes.readUInt32LE(at + 4);
      if (at > bytes.length) throw bad("skippable frame is cut", bytes.length);
      continue;
    }
    const frame = readFrame(bytes, at);
    if (frame.contentBytes > limitBytes - total) throw tooLong(limitBytes);
    const before = total;
    const inflater = new FrameInflater();
    let blockAt = frame.blocksAt;
    let from = at;
    for (let isLast = false; !isLast; ) {
      const block = readBlock(bytes, blockAt);
      isLast = block.isLast;
      // The library wants the checksum along with the last block; it is not verified, nor does any log agent send one.
      const next = block.next + (isLast && frame.hasChecksum ? 4 : 0);
      if (next > bytes.length) throw bad("checksum is cut", bytes.length);
      for (const piece of inflater.push(bytes.subarray(from, next), isLast, from)) {
        total += piece.length;
        if (total > limitBytes) throw tooLong(limitBytes);
        yield piece;
      }
      from = blockAt = next;
    }
    if (frame.contentBytes !== -1 && total - before !== frame.contentBytes) {
      throw bad(`got ${total - before} bytes out of a frame, want ${frame.contentBytes}`, at);
    }
    at = blockAt;
  }
}

/** One frame in the library, which is given whole blocks. */
class FrameInflater {
  private out: Uint8Array[] = [];
  private readonly inflater = new Decompress((piece) => {
    if (piece.length > 0) this.out.push(piece);
  });

  push(bytes: Uint8Array, isLast: boolean, at: number): Uint8Array[] {
    this.out = [];
    try {
      this.inflater.push(bytes, isLast);
    } catch (error) {
      throw badMessage("inflate", `zstd: ${messageOf(error)}`, at, "message", error);
    }
    return this.out;
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
  return { blocksAt, hasChecksum: (descriptor & 0x04) !== 0, contentBytes };
}

function windowOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function readBlock(bytes: Buffer, at: number): { next: number; isLast: boolean } {
  if (at + 3 > bytes.length) throw bad("block is cut", at);
  const head = bytes.readUIntLE(at, 3);
  const type = (head >> 1) & 3;
  const size = head >> 3;
  if (type === 3) throw bad("got a block of the reserved type", at);
  if (size > BLOCK_BYTES_MAX) throw bad(`got a block of ${size} bytes, want at most ${BLOCK_BYTES_MAX}`, at);
  const next = at + 3 + (type === 1 ? 1 : size);
  if (next > bytes.length) throw bad("block is cut", at);
  return { next, isLast: (head & 1) === 1 };
}

function bad(what: string, at: number): Error {
  return badMessage("inflate", `zstd: ${what}`, at);
}

function tooLong(limitBytes: number): Error {
  return badMessage("inflated_too_long", `entries inflate to more than ${limitBytes} bytes`, 0);
}
