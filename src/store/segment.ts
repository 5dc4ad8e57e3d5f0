import zlib from "node:zlib";
import { crc32 } from "../codec/crc32.ts";
import { VarintReader, writeVarint, writeVarintBig } from "../codec/varint.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Labels } from "../core/labels.ts";
import { NS_PER_SECOND } from "../core/time.ts";
import { parseLabels } from "./block-view.ts";
import { corrupt, type Place } from "./errors.ts";
import { encodeFooter, type Footer, type IntakeRange } from "./footer.ts";
import { type IdPresence, mayHoldId } from "./id-filter.ts";
import { emptyMembers, readMember } from "./member.ts";
import { readString, writeString } from "./text-column.ts";
import type { BlockInfo, SegmentIndex } from "./view.ts";

/*
 * Segment, version 1: blocks ("WX"* "WB" members), then the index ("WI" members), then one footer (footer.ts) of 126
 * bytes. Blocks of a stream follow each other, in order of arrival. All are of one tenant.
 *
 * The data of the "WI" members, put together, is the index: sections, each a type (u8), flags (u8, bit 0: the bytes are
 * raw deflate data, and begin with a u32, their inflated length), a length (u32), and that many bytes. A reader skips
 * types that it does not know. Numbers are varints unless said otherwise.
 *
 *   1 TENANT   its UTF-8 bytes
 *   2 STREAMS  count, and for each its labels (JSON with sorted keys), with its length in bytes in front
 *   3 BLOCKS   count, and for each: places of streams since the block before (the first: since 0), bytes between the
 *              block before and this one, its bytes ("WX" included), rows, text bytes, seconds of its least time since
 *              the segment's, nanoseconds of its least time, seconds from its least to its greatest time, nanoseconds of
 *              its greatest time, u8 slots: bit s is set when some line has an id in slot s
 *   4 FILTERS  for each block the bytes of its FILTER section with their length in front; 0 for a block without one
 */
const INDEX_TENANT = 1;
const INDEX_STREAMS = 2;
const INDEX_BLOCKS = 3;
const INDEX_FILTERS = 4;
const INDEX_SECTION_BYTES = 6;
const DEFLATED = 1;
const DEFLATE_LEVEL = 6;
/** A section shorter than this is not worth deflating. */
const DEFLATE_LEAST_BYTES = 128;
/** Bounds what a damaged index may ask for: a segment with a million blocks has 100 MB. */
const INDEX_BYTES_MAX = 1 << 28;

/** A finished block on its way into a segment. */
export interface SegmentBlock {
  readonly canonical: string;
  /** The whole block. */
  readonly bytes: Buffer;
  readonly rows: number;
  readonly textBytes: number;
  readonly minSec: number;
  readonly minNsec: number;
  readonly maxSec: number;
  readonly maxNsec: number;
  readonly ids: IdPresence;
}

/**
 * The parts of a segment object, in order, and its footer. Blocks must not be empty and must stand in order of streams;
 * `covers` says which intake offsets the segment's catalog entry covers.
 */
export function buildSegment(
  tenant: string,
  blocks: readonly SegmentBlock[],
  covers: IntakeRange,
): { parts: Buffer[]; footer: Footer } {
  const totals = totalsOf(blocks);
  const index = encodeIndex(tenant, blocks, totals);
  const members = emptyMembers("WI", index);
  const footer: Footer = {
    ...totals,
    ...covers,
    indexAt: blocks.reduce((sum, { bytes }) => sum + bytes.length, 0),
    indexBytes: members.reduce((sum, { length }) => sum + length, 0),
    check: crc32(index),
  };
  return { parts: [...blocks.map(({ bytes }) => bytes), ...members, encodeFooter(footer)], footer };
}

type Totals = Omit<Footer, keyof IntakeRange | "indexAt" | "indexBytes" | "check">;

function totalsOf(blocks: readonly SegmentBlock[]): Totals {
  let [first] = blocks;
  let last = first;
  let lines = 0;
  let textBytes = 0;
  for (const block of blocks) {
    lines += block.rows;
    textBytes += block.textBytes;
    if (isBefore(block.minSec, block.minNsec, first.minSec, first.minNsec)) first = block;
    if (isBefore(last.maxSec, last.maxNsec, block.maxSec, block.maxNsec)) last = block;
  }
  const { minSec, minNsec } = first;
  const { maxSec, maxNsec } = last;
  const streams = new Set(blocks.map(({ canonical }) => canonical)).size;
  return { lines, textBytes, streams, blocks: blocks.length, minSec, minNsec, maxSec, maxNsec };
}

function isBefore(sec: number, nsec: number, otherSec: number, otherNsec: number): boolean {
  return sec < otherSec || (sec === otherSec && nsec < otherNsec);
}

function encodeIndex(tenant: string, blocks: readonly SegmentBlock[], { minSec }: Totals): Buffer {
  const streams = [...new Set(blocks.map(({ canonical }) => canonical))];
  const places = new Map(streams.map((canonical, i) => [canonical, i]));
  const streamBytes = Buffer.allocUnsafe(streams.reduce((sum, text) => sum + Buffer.byteLength(text) + 5, 10));
  let at = writeVarint(streamBytes, 0, streams.length);
  for (const canonical of streams) at = writeString(streamBytes, at, canonical);

  const table = Buffer.allocUnsafe(10 + blocks.length * 60);
  let end = writeVarint(table, 0, blocks.length);
  let lastStream = 0;
  for (const block of blocks) {
    const stream = places.get(block.canonical) ?? 0;
    end = writeVarint(table, end, stream - lastStream);
    lastStream = stream;
    end = writeVarint(table, end, 0);
    end = writeVarint(table, end, block.bytes.length);
    end = writeVarint(table, end, block.rows);
    end = writeVarint(table, end, block.textBytes);
    end = writeVarintBig(table, end, BigInt(block.minSec) - BigInt(minSec));
    end = writeVarint(table, end, block.minNsec);
    end = writeVarintBig(table, end, BigInt(block.maxSec) - BigInt(block.minSec));
    end = writeVarint(table, end, block.maxNsec);
    table[end++] = block.ids.slots;
  }

  const filterSizes = blocks.reduce((sum, { ids }) => sum + (ids.filter?.length ?? 0) + 5, 0);
  const filters = Buffer.allocUnsafe(filterSizes);
  let filterEnd = 0;
  for (const { ids } of blocks) {
    filterEnd = writeVarint(filters, filterEnd, ids.filter?.length ?? 0);
    if (ids.filter !== null) {
      filters.set(ids.filter, filterEnd);
      filterEnd += ids.filter.length;
    }
  }
  return Buffer.concat([
    ...indexSection(INDEX_TENANT, Buffer.from(tenant), false),
    ...indexSection(INDEX_STREAMS, streamBytes.subarray(0, at), true),
    ...indexSection(INDEX_BLOCKS, table.subarray(0, end), true),
    // Half of a filter's bits are set: nothing that deflate could take away.
    ...indexSection(INDEX_FILTERS, filters.subarray(0, filterEnd), false),
  ]);
}

function indexSection(type: number, data: Buffer, deflate: boolean): Buffer[] {
  const head = Buffer.alloc(INDEX_SECTION_BYTES);
  head[0] = type;
  let parts = [data];
  if (deflate && data.length >= DEFLATE_LEAST_BYTES) {
    head[1] = DEFLATED;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(data.length);
    parts = [length, zlib.deflateRawSync(data, { level: DEFLATE_LEVEL })];
  }
  head.writeUInt32LE(
    parts.reduce((sum, part) => sum + part.length, 0),
    2,
  );
  return [head, ...parts];
}

/** A segment's index, read. */
export class StoredIndex implements SegmentIndex {
  readonly tenant: string;
  readonly streams: readonly { readonly labels: Labels; readonly canonical: string }[];
  readonly blocks: readonly BlockInfo[];
  /** Bytes of memory that the index keeps, roughly. */
  readonly memoryBytes: number;
  private readonly presence: readonly IdPresence[];

  constructor(
    tenant: string,
    streams: StoredIndex["streams"],
    blocks: BlockInfo[],
    presence: IdPresence[],
    bytes: number,
  ) {
    this.tenant = tenant;
    this.streams = streams;
    this.blocks = blocks;
    this.presence = presence;
    this.memoryBytes =
      bytes + blocks.length * 256 + streams.reduce((sum, { canonical }) => sum + canonical.length * 6, 0);
  }

  mayHoldId(block: number, slot: number, low8: Uint8Array): boolean {
    return mayHoldId(this.presence[block], slot, low8);
  }
}

/**
 * Reads the index from `members`, the bytes of all "WI" members, as the footer describes them.
 * Throws `segment_corrupt`. `place` says where members[0] stands.
 */
export function parseIndex(members: Buffer, footer: Footer, place: Place): StoredIndex {
  const bad = (what: string, got: string | number, want: string | number, at = 0) =>
    corrupt("segment_corrupt", what, got, want, place, at);
  if (members.length !== footer.indexBytes) throw bad("bytes of the index", members.length, footer.indexBytes);
  const pieces: Buffer[] = [];
  for (let at = 0; at < members.length; ) {
    const member = readMember(members, at, place, "segment_corrupt");
    if (member.kind !== "WI") throw bad("member's id", member.kind, "WI", at + 12);
    pieces.push(members.subarray(member.dataStart, member.dataEnd));
    at += member.length;
  }
  const index = Buffer.concat(pieces);
  if (crc32(index) !== footer.check) throw bad("check of the index", crc32(index), footer.check);
  try {
    return decodeIndex(index, footer, place);
  } catch (error) {
    if (codeOf(error) !== "bad_varint") throw error;
    throw bad("index", messageOf(error), "varints");
  }
}

function decodeIndex(index: Buffer, footer: Footer, place: Place): StoredIndex {
  const sections = readSections(index, place);
  const section = (type: number, name: string): Buffer => {
    const data = sections.get(type);
    if (data === undefined) throw corrupt("segment_corrupt", `index, section ${name}`, "none", "one", place);
    return data;
  };
  const streamReader = new VarintReader(section(INDEX_STREAMS, "streams"));
  const streams = Array.from({ length: counted(streamReader, footer.streams, "streams", place) }, () => {
    const canonical = readString(streamReader);
    return { canonical, labels: parseLabels(canonical, place, "segment_corrupt") };
  });
  const blockReader = new VarintReader(section(INDEX_BLOCKS, "blocks"));
  const filterReader = new VarintReader(section(INDEX_FILTERS, "filters"));
  const presence: IdPresence[] = [];
  let stream = 0;
  let end = 0;
  const blocks = Array.from({ length: counted(blockReader, footer.blocks, "blocks", place) }, (): BlockInfo => {
    stream += blockReader.next();
    const offset = end + blockReader.next();
    const length = blockReader.next();
    end = offset + length;
    const rows = blockReader.next();
    const textBytes = blockReader.next();
    const minSec = BigInt(footer.minSec) + blockReader.nextBig();
    const timeMinNs = minSec * NS_PER_SECOND + BigInt(blockReader.next());
    const maxSec = minSec + blockReader.nextBig();
    const timeMaxNs = maxSec * NS_PER_SECOND + BigInt(blockReader.next());
    const slots = blockReader.next();
    const filterLength = filterReader.next();
    const filter =
      filterLength === 0 ? null : filterReader.bytes.subarray(filterReader.at, filterReader.at + filterLength);
    filterReader.at += filterLength;
    presence.push({ slots, filter });
    return { stream, offset, length, rows, textBytes, timeMinNs, timeMaxNs };
  });
  if (end > footer.indexAt) throw corrupt("segment_corrupt", "end of the blocks", end, footer.indexAt, place);
  const tenant = section(INDEX_TENANT, "tenant").toString("utf8");
  return new StoredIndex(tenant, streams, blocks, presence, index.length);
}

function counted(reader: VarintReader, want: number, name: string, place: Place): number {
  const got = reader.next();
  if (got !== want) throw corrupt("segment_corrupt", `index, ${name}`, got, want, place);
  return got;
}

function readSections(index: Buffer, place: Place): Map<number, Buffer> {
  const out = new Map<number, Buffer>();
  for (let at = 0; at < index.length; ) {
    const start = at + INDEX_SECTION_BYTES;
    const end = start <= index.length ? start + index.readUInt32LE(at + 2) : index.length + 1;
    if (end > index.length) throw corrupt("segment_corrupt", "index, section's end", end, index.length, place);
    const data = index.subarray(start, end);
    out.set(index[at], (index[at + 1] & DEFLATED) === 0 ? data : inflateSection(data, place));
    at = end;
  }
  return out;
}

function inflateSection(data: Buffer, place: Place): Buffer {
  const length = data.length < 4 ? INDEX_BYTES_MAX + 1 : data.readUInt32LE(0);
  if (length > INDEX_BYTES_MAX)
    throw corrupt("segment_corrupt", "index, section's length", length, INDEX_BYTES_MAX, place);
  try {
    const out = zlib.inflateRawSync(data.subarray(4), { maxOutputLength: Math.max(64, length) });
    if (out.length === length) return out;
    throw corrupt("segment_corrupt", "index, section's length", out.length, length, place);
  } catch (error) {
    if (codeOf(error) === "segment_corrupt") throw error;
    throw corrupt("segment_corrupt", "index, section", messageOf(error), "deflate data", place);
  }
}
