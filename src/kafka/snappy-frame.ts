import { compressSnappy, uncompressSnappy } from "../codec/snappy.ts";
import { WeirError } from "../core/errors.ts";

/*
 * Snappy as Kafka's Java clients frame it (snappy-java's SnappyOutputStream). Big-endian.
 *
 *   offset  size  field
 *        0     8  magic       82 53 4e 41 50 50 59 00
 *        8     4  version     1
 *       12     4  compatible  1: the least version of a reader
 *       16        blocks, each u32 length and a snappy block
 *
 * Others (some of kafkajs' codecs, old clients) write one block without any frame, and every reader takes that too.
 */
const MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);
const HEAD_BYTES = 16;
/** What snappy-java takes into one block. */
const BLOCK_BYTES = 32 * 1024;

export function frameSnappy(bytes: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  MAGIC.copy(head);
  head.writeUInt32BE(1, 8);
  head.writeUInt32BE(1, 12);
  const parts: Buffer[] = [head];
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const block = compressSnappy(bytes.subarray(at, at + BLOCK_BYTES));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(block.length);
    parts.push(length, block);
  }
  return Buffer.concat(parts);
}

/** Inflates a framed or plain block to at most `bytesMax` in all. Throws `bad_snappy`. */
export function unframeSnappy(bytes: Buffer, bytesMax: number): Buffer {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return uncompressSnappy(bytes, bytesMax);
  if (bytes.length < HEAD_BYTES) throw bad("frame is cut", bytes.length);
  const parts: Buffer[] = [];
  let left = bytesMax;
  for (let at = HEAD_BYTES; at < bytes.length; ) {
    if (at + 4 > bytes.length) throw bad("frame is cut", at);
    const length = bytes.readUInt32BE(at);
    at += 4;
    if (length > bytes.length - at) throw bad(`got a block of ${length} bytes`, at);
    const part = uncompressSnappy(bytes.subarray(at, at + length), left);
    left -= part.length;
    parts.push(part);
    at += length;
  }
  return Buffer.concat(parts);
}

function bad(what: string, at: number): WeirError {
  return new WeirError("bad_snappy", `snappy: ${what}, at byte ${at}`);
}
