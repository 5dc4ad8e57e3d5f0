import { crc32 } from "../codec/crc32.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import { TRACE_ID } from "../core/line.ts";
import {
  BLOCK_FIXED_BYTES,
  FLAG_NEWLINES,
  FLAG_OVERFLOW,
  MAX_NSEC_AT,
  MAX_SEC_AT,
  MIN_NSEC_AT,
  MIN_SEC_AT,
  OVERFLOW_BYTES,
  ROWS_AT,
  SECTION_COLUMN,
  SECTION_FILTER,
  SECTION_HEADER_BYTES,
  SECTION_ID,
  SECTION_OVERFLOW,
  SECTION_TIMES,
  TEXT_AT,
} from "./block-format.ts";
import { corrupt, type Place } from "./errors.ts";
import { isAltColumn } from "./id-alt.ts";
import type { IdPresence } from "./id-filter.ts";
import { type Member, readMember } from "./member.ts";

/** The data of a section is bytes[at, end); `place` says where bytes[0] stands. */
export interface Section {
  readonly type: number;
  readonly bytes: Buffer;
  readonly at: number;
  readonly end: number;
  readonly place: Place;
}

/** What stands in front of a block's compressed text. */
export interface BlockHeader {
  readonly rows: number;
  readonly textBytes: number;
  readonly hasNewlines: boolean;
  readonly minSec: number;
  readonly minNsec: number;
  readonly maxSec: number;
  readonly maxNsec: number;
  /** Bytes of the whole block, continuation members included. */
  readonly length: number;
  /** Deflate data begins at this byte; it ends 8 bytes before `length`. */
  readonly deflateAt: number;
  readonly sections: readonly Section[];
}

/**
 * Reads and checks the header of the block that begins at bytes[0]; only the header has to be there.
 * Throws `block_corrupt` for bytes that are cut or damaged.
 */
export function readBlockHeader(bytes: Buffer, place: Place): BlockHeader {
  const bad = (what: string, got: string | number, want: string | number, at: number) =>
    corrupt("block_corrupt", what, got, want, place, at);
  const front: Member[] = [];
  let main = readMember(bytes, 0, place, "block_corrupt");
  while (main.kind === "WX") {
    front.push(main);
    main = readMember(bytes, main.start + main.length, place, "block_corrupt");
  }
  const { dataStart: at, dataEnd, flags, start } = main;
  if (main.kind !== "WB") throw bad("member's id", main.kind, "WB", start);
  if (dataEnd - at < BLOCK_FIXED_BYTES) throw bad("block header's data", dataEnd - at, BLOCK_FIXED_BYTES, at);
  if (flags > (FLAG_NEWLINES | FLAG_OVERFLOW)) throw bad("flags", flags, "bits 0 and 1", start + 17);
  const textBytes = bytes.readUInt32LE(at + TEXT_AT);
  const rows = bytes.readUInt32LE(at + ROWS_AT);
  // Each line has its LF.
  if (rows < 1 || rows > textBytes) throw bad("rows", rows, `1 to ${textBytes}`, at + ROWS_AT);
  const own = findSections(bytes, at + BLOCK_FIXED_BYTES, dataEnd, place);
  const sections = own.concat(overflowSections(bytes, front, own, (flags & FLAG_OVERFLOW) !== 0, place));
  const times = sections.find(({ type }) => type === SECTION_TIMES);
  // Without them nothing would bound the rows.
  if (times === undefined) throw bad("times section", "none", "one", at);
  // Its unit takes a byte, and each row but the first.
  if (rows > times.end - times.at) {
    throw bad("rows", rows, `at most ${times.end - times.at}, by their times`, at + ROWS_AT);
  }
  return {
    rows,
    textBytes,
    hasNewlines: (flags & FLAG_NEWLINES) !== 0,
    minSec: Number(bytes.readBigInt64LE(at + MIN_SEC_AT)),
    minNsec: bytes.readUInt32LE(at + MIN_NSEC_AT),
    maxSec: Number(bytes.readBigInt64LE(at + MAX_SEC_AT)),
    maxNsec: bytes.readUInt32LE(at + MAX_NSEC_AT),
    length: start + main.length,
    deflateAt: dataEnd,
    sections,
  };
}

export function findSection({ sections }: BlockHeader, type: number): Section | null {
  return sections.find((section) => section.type === type) ?? null;
}

/** Which ids the block may hold. */
export function idPresence(header: BlockHeader): IdPresence {
  let slots = 0;
  for (const section of header.sections) {
    const { type, bytes, at, end } = section;
    if (type === SECTION_ID && at < end) slots |= 1 << bytes[at];
    else if (type === SECTION_COLUMN && decodeSection(section, isAltColumn)) slots |= 1 << TRACE_ID;
  }
  const filter = findSection(header, SECTION_FILTER);
  return { slots, filter: filter === null ? null : filter.bytes.subarray(filter.at, filter.end) };
}

/** Runs a decoder of a section; a varint that is cut is corruption of its block. */
export function decodeSection<T>(section: Section, decode: (section: Section) => T): T {
  try {
    return decode(section);
  } catch (error) {
    if (codeOf(error) !== "bad_varint") throw error;
    throw corrupt("block_corrupt", "section's data", messageOf(error), "a varint", section.place, section.at);
  }
}

function findSections(bytes: Buffer, at: number, end: number, place: Place): Section[] {
  const out: Section[] = [];
  while (at < end) {
    const dataAt = at + SECTION_HEADER_BYTES;
    const dataEnd = dataAt <= end ? dataAt + bytes.readUInt32LE(at + 1) : end + 1;
    if (dataEnd > end) throw corrupt("block_corrupt", "section's end", dataEnd, `at most ${end}`, place, at);
    out.push({ type: bytes[at], bytes, at: dataAt, end: dataEnd, place });
    at = dataEnd;
  }
  return out;
}

/** The sections of the members in front of a block, which its OVERFLOW section vouches for. */
function overflowSections(
  bytes: Buffer,
  front: readonly Member[],
  sections: readonly Section[],
  wanted: boolean,
  place: Place,
): Section[] {
  const bad = (what: string, got: string | number, want: string | number) =>
    corrupt("block_corrupt", what, got, want, place);
  if (!wanted && front.length === 0) return [];
  const note = sections.find(({ type }) => type === SECTION_OVERFLOW);
  if (!wanted || note === undefined || note.end - note.at < OVERFLOW_BYTES) {
    throw bad("members in front of the block", front.length, wanted ? "an overflow section" : 0);
  }
  const count = bytes.readUInt32LE(note.at);
  if (count !== front.length) throw bad("members in front of the block", front.length, count);
  const data = Buffer.concat(front.map(({ dataStart, dataEnd }) => bytes.subarray(dataStart, dataEnd)));
  const length = bytes.readUInt32LE(note.at + 4);
  if (length !== data.length) throw bad("bytes of overflow sections", data.length, length);
  const check = bytes.readUInt32LE(note.at + 8);
  if (crc32(data) !== check) throw bad("check of overflow sections", crc32(data), check);
  return findSections(data, 0, data.length, { key: `${place.key} (overflow sections)`, offset: 0 });
}
