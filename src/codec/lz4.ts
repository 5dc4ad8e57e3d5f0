import lz4js from "lz4js";
import { messageOf, WeirError } from "../core/errors.ts";

/*
 * One LZ4 frame. Source: "LZ4 Frame Format Description", version 1.6.
 *
 *   magic 04 22 4d 18, flags 1, block descriptor 1, content size 8 if flag 3, dictionary id 4 if flag 0, header checksum 1,
 *   blocks: u32 little-endian, its top bit set for stored bytes; the bytes. A block of 0 ends the frame; what follows may be
 *   a checksum of the content.
 */
const MAGIC = 0x184d2204;
const VERSION_MASK = 0xc0;
const VERSION = 0x40;
const BLOCK_CHECKSUM = 0x10;
const CONTENT_SIZE = 0x08;
const DICTIONARY = 0x01;
const STORED = 0x8000_0000;
/** By the block descriptor's bits 4 to 6, from 4 on. */
const BLOCK_BYTES = [64 << 10, 256 << 10, 1 << 20, 4 << 20];

/** Inflates the one frame that `frame` is, to at most `bytesMax`. Throws `bad_lz4`: the library itself checks no length. */
export function uncompressLz4(frame: Buffer, bytesMax: number): Buffer {
  const most = mostContent(frame);
  if (most > bytesMax) throw bad(`may hold ${most} bytes, want at most ${bytesMax}`, 0);
  let out: Uint8Array;
  try {
    out = lz4js.decompress(frame, most);
  } catch (error) {
    throw bad(messageOf(error), 0);
  }
  if (out.length > most) throw bad(`got more than the ${most} bytes of its blocks`, 0);
  return Buffer.from(out.buffer, out.byteOffset, out.byteLength);
}

/** The most that can come out, once every block is known to lie within the frame. */
function mostContent(frame: Buffer): number {
  if (frame.length < 7 || frame.readUInt32LE(0) !== MAGIC) throw bad("got no frame", 0);
  const flags = frame[4];
  if ((flags & VERSION_MASK) !== VERSION) throw bad("got a frame of another version", 4);
  if ((flags & DICTIONARY) !== 0) throw bad("the frame wants a dictionary", 4);
  // The library looks for them in the wrong place. No Kafka client writes them.
  if ((flags & BLOCK_CHECKSUM) !== 0) throw bad("the frame has checksums of its blocks, which can't be read", 4);
  const blockBytes = BLOCK_BYTES[((frame[5] >> 4) & 7) - 4];
  if (blockBytes === undefined) throw bad(`got block descriptor ${frame[5]}`, 5);
  let at = (flags & CONTENT_SIZE) === 0 ? 7 : 15;
  let most = 0;
  for (;;) {
    if (at + 4 > frame.length) throw bad("frame is cut", at);
    const head = frame.readUInt32LE(at);
    if (head === 0) return most;
    const isStored = (head & STORED) !== 0;
    const length = head & ~STORED;
    if (length > blockBytes) throw bad(`got a block of ${length} bytes`, at);
    most += isStored ? length : blockBytes;
    at += 4 + length;
  }
}

function bad(what: string, at: number): WeirError {
  return new WeirError("bad_lz4", `lz4: ${what}, at byte ${at}`);
}
