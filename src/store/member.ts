import { crc32 } from "../codec/crc32.ts";
import { type CorruptCode, corrupt, type Place } from "./errors.ts";

/*
 * What every gzip member (RFC 1952, 2.3) of a segment begins with, version 1. Little-endian, as gzip is.
 *
 *   offset  size  field
 *        0    10  gzip header   1f 8b 08 04 00000000 00 ff: deflate, FEXTRA alone, no time, no system
 *       10     2  XLEN          u16, bytes of the extra field: 16 + data
 *       12     2  id            "WB" block, "WX" sections of a block that do not fit, "WI" index, "WF" footer
 *       14     2  length        u16, XLEN - 4
 *       16     1  version       1
 *       17     1  flags         of a "WB", zero for the others; a reader refuses bits that it does not know
 *       18     2  reserved      zero; a reader refuses anything else
 *       20     4  member        u32, bytes of the whole member, so that members are walked without inflating
 *       24     4  check         u32, CRC-32 of bytes 0 to 23 and of the data
 *       28     n  data          of the kind, at most 65,519 bytes
 *    28 + n       deflate data, CRC-32 and length of what is inflated, as gzip has them
 *
 * All kinds but "WB" are empty members: after the data comes 03 00 and eight zero bytes.
 */
export const MEMBER_HEADER_BYTES = 28;
export const MEMBER_DATA_MAX = 65_535 - 16;
export const MEMBER_VERSION = 1;
/** CRC-32 and length, after the deflate data. */
export const TRAILER_BYTES = 8;

const EXTRA_AT = 12;
const CHECK_AT = 24;
const GZIP_HEADER = Buffer.from("1f8b08040000000000ff", "hex");
const EMPTY_TAIL = Buffer.from("03000000000000000000", "hex");
export const EMPTY_TAIL_BYTES: number = EMPTY_TAIL.length;

export type MemberKind = "WB" | "WX" | "WI" | "WF";
const KINDS: readonly string[] = ["WB", "WX", "WI", "WF"] satisfies MemberKind[];

export interface Member {
  readonly kind: MemberKind;
  readonly flags: number;
  /** Where the member begins in the bytes that were read. */
  readonly start: number;
  /** Bytes of the whole member. */
  readonly length: number;
  /** The kind's own data is bytes[dataStart, dataEnd); deflate data begins at `dataEnd`. */
  readonly dataStart: number;
  readonly dataEnd: number;
}

/** Writes everything before the data at `at`; `sealMember` must follow once the data is in place. Returns where the data goes. */
export function beginMember(out: Buffer, at: number, kind: MemberKind, flags: number, dataBytes: number): number {
  GZIP_HEADER.copy(out, at);
  out.writeUInt16LE(dataBytes + 16, at + 10);
  out.write(kind, at + EXTRA_AT, "latin1");
  out.writeUInt16LE(dataBytes + 12, at + 14);
  out[at + 16] = MEMBER_VERSION;
  out[at + 17] = flags;
  out.writeUInt16LE(0, at + 18);
  return at + MEMBER_HEADER_BYTES;
}

/** Fills in the member's length and the check of a header whose data is in place. */
export function sealMember(out: Buffer, at: number, memberBytes: number): void {
  out.writeUInt32LE(memberBytes, at + 20);
  const end = at + EXTRA_AT + out.readUInt16LE(at + 10);
  out.writeUInt32LE(checkOf(out, at, end), at + CHECK_AT);
}

function checkOf(bytes: Buffer, at: number, end: number): number {
  return crc32(bytes.subarray(at + MEMBER_HEADER_BYTES, end), crc32(bytes.subarray(at, at + CHECK_AT)));
}

/** A whole member that inflates to nothing. */
export function emptyMember(kind: MemberKind, data: Uint8Array): Buffer {
  const out = Buffer.alloc(MEMBER_HEADER_BYTES + data.length + EMPTY_TAIL_BYTES);
  const dataAt = beginMember(out, 0, kind, 0, data.length);
  out.set(data, dataAt);
  out.set(EMPTY_TAIL, dataAt + data.length);
  sealMember(out, 0, out.length);
  return out;
}

/** `data` cut into as many empty members as it takes. */
export function emptyMembers(kind: MemberKind, data: Uint8Array): Buffer[] {
  const out: Buffer[] = [];
  for (let at = 0; at < data.length; at += MEMBER_DATA_MAX) {
    out.push(emptyMember(kind, data.subarray(at, at + MEMBER_DATA_MAX)));
  }
  return out;
}

/**
 * Reads and checks the header of the member at `at`. Only the header has to be there; `place` says where bytes[0] stands.
 * Throws `code` when the bytes are cut, are no member of Weir's, or fail their check.
 */
export function readMember(bytes: Buffer, at: number, place: Place, code: CorruptCode): Member {
  const left = bytes.length - at;
  if (left < MEMBER_HEADER_BYTES) throw corrupt(code, "member header, cut", left, MEMBER_HEADER_BYTES, place, at);
  if (bytes.compare(GZIP_HEADER, 0, GZIP_HEADER.length, at, at + GZIP_HEADER.length) !== 0) {
    const got = bytes.toString("hex", at, at + GZIP_HEADER.length);
    throw corrupt(code, "gzip header", got, GZIP_HEADER.toString("hex"), place, at);
  }
  const extra = bytes.readUInt16LE(at + 10);
  const end = at + EXTRA_AT + extra;
  if (extra < 16) throw corrupt(code, "extra field's length", extra, "at least 16", place, at + 10);
  if (end > bytes.length) throw corrupt(code, "member header, cut", left, end - at, place, at);
  const check = bytes.readUInt32LE(at + CHECK_AT);
  const computed = checkOf(bytes, at, end);
  if (check !== computed) throw corrupt(code, "check of a member's header", computed, check, place, at);
  // From here on the bytes are what a writer wrote; only another version's writer can surprise.
  const kind = bytes.toString("latin1", at + EXTRA_AT, at + 14);
  const length = bytes.readUInt32LE(at + 20);
  if (!isKind(kind)) throw corrupt(code, "member's id", kind, KINDS.join(" or "), place, at + EXTRA_AT);
  if (bytes.readUInt16LE(at + 14) !== extra - 4) {
    throw corrupt(code, "subfield's length", bytes.readUInt16LE(at + 14), extra - 4, place, at + 14);
  }
  if (bytes[at + 16] !== MEMBER_VERSION) {
    throw corrupt(code, "format version", bytes[at + 16], MEMBER_VERSION, place, at + 16);
  }
  if (bytes.readUInt16LE(at + 18) !== 0) {
    throw corrupt(code, "reserved bytes", bytes.readUInt16LE(at + 18), 0, place, at + 18);
  }
  if (kind !== "WB" && bytes[at + 17] !== 0) {
    throw corrupt(code, `flags of a "${kind}" member`, bytes[at + 17], 0, place, at + 17);
  }
  if (length < end - at + EMPTY_TAIL_BYTES) {
    throw corrupt(code, "member's length", length, `at least ${end - at + EMPTY_TAIL_BYTES}`, place, at + 20);
  }
  return {
    kind,
    flags: bytes[at + 17],
    start: at,
    length,
    dataStart: at + MEMBER_HEADER_BYTES,
    dataEnd: end,
  };
}

function isKind(text: string): text is MemberKind {
  return KINDS.includes(text);
}
