import { corrupt, type Place } from "./errors.ts";
import { EMPTY_TAIL_BYTES, emptyMember, MEMBER_HEADER_BYTES, readMember } from "./member.ts";

/*
 * Footer, version 1: the empty member "WF" that ends a segment. Data, 88 bytes:
 *
 *   offset  size  field
 *        0     8  index       u64, offset of the first "WI" member from the segment's beginning
 *        8     8  index size  u64, bytes of all "WI" members
 *       16     4  check       u32, CRC-32 of the index
 *       20     4  partition   u32, of the intake log
 *       24     8  first       u64, first intake offset that the segment covers
 *       32     8  next        u64, first intake offset after it
 *       40     8  lines       u64
 *       48     8  text        u64, bytes of all blocks' text
 *       56     4  streams     u32
 *       60     4  blocks      u32
 *       64     8  min sec     i64, least time of a line
 *       72     4  min nsec    u32
 *       76     8  max sec     i64, greatest time of a line
 *       84     4  max nsec    u32
 */
const FOOTER_DATA_BYTES = 88;
export const FOOTER_BYTES: number = MEMBER_HEADER_BYTES + FOOTER_DATA_BYTES + EMPTY_TAIL_BYTES;

export interface Footer {
  readonly indexAt: number;
  readonly indexBytes: number;
  readonly check: number;
  readonly partition: number;
  readonly firstOffset: number;
  readonly nextOffset: number;
  readonly lines: number;
  readonly textBytes: number;
  readonly streams: number;
  readonly blocks: number;
  readonly minSec: number;
  readonly minNsec: number;
  readonly maxSec: number;
  readonly maxNsec: number;
}

export interface IntakeRange {
  readonly partition: number;
  readonly firstOffset: number;
  readonly nextOffset: number;
}

export function encodeFooter(footer: Footer): Buffer {
  const data = Buffer.alloc(FOOTER_DATA_BYTES);
  data.writeBigUInt64LE(BigInt(footer.indexAt), 0);
  data.writeBigUInt64LE(BigInt(footer.indexBytes), 8);
  data.writeUInt32LE(footer.check, 16);
  data.writeUInt32LE(footer.partition, 20);
  data.writeBigUInt64LE(BigInt(footer.firstOffset), 24);
  data.writeBigUInt64LE(BigInt(footer.nextOffset), 32);
  data.writeBigUInt64LE(BigInt(footer.lines), 40);
  data.writeBigUInt64LE(BigInt(footer.textBytes), 48);
  data.writeUInt32LE(footer.streams, 56);
  data.writeUInt32LE(footer.blocks, 60);
  data.writeBigInt64LE(BigInt(footer.minSec), 64);
  data.writeUInt32LE(footer.minNsec, 72);
  data.writeBigInt64LE(BigInt(footer.maxSec), 76);
  data.writeUInt32LE(footer.maxNsec, 84);
  return emptyMember("WF", data);
}

/** Reads the footer that ends `bytes`, the last bytes of a segment. Throws `segment_corrupt`. `place`: where bytes[0] stands. */
export function parseFooter(bytes: Buffer, place: Place): Footer {
  const at = bytes.length - FOOTER_BYTES;
  if (at < 0) throw corrupt("segment_corrupt", "segment, cut", bytes.length, `at least ${FOOTER_BYTES} bytes`, place);
  const member = readMember(bytes, at, place, "segment_corrupt");
  const { kind, dataStart, dataEnd, length } = member;
  if (kind !== "WF") throw corrupt("segment_corrupt", "last member's id", kind, "WF", place, at + 12);
  if (dataEnd - dataStart !== FOOTER_DATA_BYTES || length !== FOOTER_BYTES) {
    throw corrupt("segment_corrupt", "footer's length", length, FOOTER_BYTES, place, at);
  }
  const data = bytes.subarray(dataStart, dataEnd);
  const footer: Footer = {
    indexAt: Number(data.readBigUInt64LE(0)),
    indexBytes: Number(data.readBigUInt64LE(8)),
    check: data.readUInt32LE(16),
    partition: data.readUInt32LE(20),
    firstOffset: Number(data.readBigUInt64LE(24)),
    nextOffset: Number(data.readBigUInt64LE(32)),
    lines: Number(data.readBigUInt64LE(40)),
    textBytes: Number(data.readBigUInt64LE(48)),
    streams: data.readUInt32LE(56),
    blocks: data.readUInt32LE(60),
    minSec: Number(data.readBigInt64LE(64)),
    minNsec: data.readUInt32LE(72),
    maxSec: Number(data.readBigInt64LE(76)),
    maxNsec: data.readUInt32LE(84),
  };
  const footerAt = place.offset + at;
  if (footer.indexAt + footer.indexBytes !== footerAt) {
    throw corrupt(
      "segment_corrupt",
      "end of the index",
      footer.indexAt + footer.indexBytes,
      footerAt,
      place,
      dataStart,
    );
  }
  return footer;
}
