import zlib from "node:zlib";
import { writeVarint, writeVarintBig } from "../codec/varint.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import { corrupt, type Place } from "./errors.ts";
import type { SegmentBlock } from "./segment.ts";
import { encodeSources, type SegmentSources } from "./sources.ts";
import { writeString } from "./text-column.ts";

/*
 * The index of a segment, version 1: sections, each a type (u8), flags (u8, bit 0: the bytes are raw deflate data, and
 * begin with a u32, their inflated length), a length (u32), and that many bytes. A reader skips types that it does not
 * know. Numbers are varints unless said otherwise.
 *
 *   1 TENANT   its UTF-8 bytes
 *   2 STREAMS  count, and for each its labels (JSON with sorted keys), with its length in bytes in front
 *   3 BLOCKS   count, and for each: places of streams since the block before (the first: since 0), bytes between the
 *              block before and this one, its bytes ("WX" included), rows, text bytes, seconds of its least time since
 *              the segment's, nanoseconds of its least time, seconds from its least to its greatest time, nanoseconds of
 *              its greatest time, u8 slots: bit s is set when some line has an id in slot s
 *   4 FILTERS  for each block the bytes of its FILTER section with their length in front; 0 for a block without one
 *   5 SOURCES  how the segment came to be, as JSON (sources.ts): {"level": how many compactions its lines went through,
 *              "merge": a name that all segments of one compaction share, "output": its number among them from 0,
 *              "last": whether it is the last, "inputs": keys of the segments that it was made from, "covers":
 *              [partition, first offset, next offset] of all level 0 segments in it, "absorbed": "<merge>.<output>" of
 *              all compacted segments in it}. Absent: level 0, and the only segment of its commit
 *   6 METADATA for each block the bytes of its lines' metadata, names and values as text, each counted with each line that has it; 0
 *              also where that is not known. Absent: 0 of all blocks
 */
export const INDEX_TENANT = 1;
export const INDEX_STREAMS = 2;
export const INDEX_BLOCKS = 3;
export const INDEX_FILTERS = 4;
export const INDEX_SOURCES = 5;
export const INDEX_METADATA = 6;
const SECTION_BYTES = 6;
const DEFLATED = 1;
const DEFLATE_LEVEL = 6;
/** A section shorter than this is not worth deflating. */
const DEFLATE_LEAST_BYTES = 128;
/** Bounds what a damaged index may ask for: a segment with a million blocks has 100 MB. */
const INDEX_BYTES_MAX = 1 << 28;

/** A section on its way into an index. */
export interface IndexTable {
  readonly type: number;
  readonly data: Buffer;
  readonly deflate: boolean;
}

/** The tables of a segment's index, one after the other, so that a caller may pause between them. */
export function* indexTables(
  tenant: string,
  blocks: readonly SegmentBlock[],
  minSec: number,
  sources: SegmentSources | null,
): Generator<IndexTable> {
  yield { type: INDEX_TENANT, data: Buffer.from(tenant), deflate: false };
  const streams = [...new Set(blocks.map(({ canonical }) => canonical))];
  yield { type: INDEX_STREAMS, data: streamTable(streams), deflate: true };
  yield { type: INDEX_BLOCKS, data: blockTable(blocks, streams, minSec), deflate: true };
  // Half of a filter's bits are set: nothing that deflate could take away.
  yield { type: INDEX_FILTERS, data: filterTable(blocks), deflate: false };
  if (blocks.some(({ metadataBytes }) => metadataBytes > 0)) {
    yield { type: INDEX_METADATA, data: metadataTable(blocks), deflate: true };
  }
  if (sources !== null) yield { type: INDEX_SOURCES, data: encodeSources(sources), deflate: true };
}

function streamTable(streams: readonly string[]): Buffer {
  const out = Buffer.allocUnsafe(streams.reduce((sum, text) => sum + Buffer.byteLength(text) + 5, 10));
  let at = writeVarint(out, 0, streams.length);
  for (const canonical of streams) at = writeString(out, at, canonical);
  return out.subarray(0, at);
}

function blockTable(blocks: readonly SegmentBlock[], streams: readonly string[], minSec: number): Buffer {
  const places = new Map(streams.map((canonical, i) => [canonical, i]));
  const out = Buffer.allocUnsafe(10 + blocks.length * 60);
  let at = writeVarint(out, 0, blocks.length);
  let lastStream = 0;
  for (const block of blocks) {
    const stream = places.get(block.canonical) ?? 0;
    at = writeVarint(out, at, stream - lastStream);
    lastStream = stream;
    at = writeVarint(out, at, 0);
    at = writeVarint(out, at, block.bytes.length);
    at = writeVarint(out, at, block.rows);
    at = writeVarint(out, at, block.textBytes);
    at = writeDelta(out, at, minSec, block.minSec);
    at = writeVarint(out, at, block.minNsec);
    at = writeDelta(out, at, block.minSec, block.maxSec);
    at = writeVarint(out, at, block.maxNsec);
    out[at++] = block.ids.slots;
  }
  return out.subarray(0, at);
}

/** Seconds from one time to a later one, which may be more than a double holds exactly. */
function writeDelta(out: Uint8Array, at: number, from: number, to: number): number {
  const delta = to - from;
  return delta <= Number.MAX_SAFE_INTEGER
    ? writeVarint(out, at, delta)
    : writeVarintBig(out, at, BigInt(to) - BigInt(from));
}

function filterTable(blocks: readonly SegmentBlock[]): Buffer {
  const out = Buffer.allocUnsafe(blocks.reduce((sum, { ids }) => sum + (ids.filter?.length ?? 0) + 5, 0));
  let at = 0;
  for (const { ids } of blocks) {
    at = writeVarint(out, at, ids.filter?.length ?? 0);
    if (ids.filter !== null) {
      out.set(ids.filter, at);
      at += ids.filter.length;
    }
  }
  return out.subarray(0, at);
}

function metadataTable(blocks: readonly SegmentBlock[]): Buffer {
  const out = Buffer.allocUnsafe(blocks.length * 8);
  let at = 0;
  for (const { metadataBytes } of blocks) at = writeVarint(out, at, metadataBytes);
  return out.subarray(0, at);
}

const worthDeflating = ({ data, deflate }: IndexTable) => deflate && data.length >= DEFLATE_LEAST_BYTES;

/** The bytes of a table's section. */
export function indexSection(table: IndexTable): Buffer[] {
  const deflated = worthDeflating(table) ? zlib.deflateRawSync(table.data, { level: DEFLATE_LEVEL }) : null;
  return framed(table, deflated);
}

/** The same, deflated in libuv's pool. */
export async function indexSectionAsync(table: IndexTable): Promise<Buffer[]> {
  if (!worthDeflating(table)) return framed(table, null);
  const deflated = await new Promise<Buffer>((resolve, reject) => {
    zlib.deflateRaw(table.data, { level: DEFLATE_LEVEL }, (error, out) => (error ? reject(error) : resolve(out)));
  });
  return framed(table, deflated);
}

function framed({ type, data }: IndexTable, deflated: Buffer | null): Buffer[] {
  const head = Buffer.alloc(SECTION_BYTES);
  head[0] = type;
  let parts = [data];
  if (deflated !== null) {
    head[1] = DEFLATED;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(data.length);
    parts = [length, deflated];
  }
  head.writeUInt32LE(
    parts.reduce((sum, part) => sum + part.length, 0),
    2,
  );
  return [head, ...parts];
}

/** A section of an index that was read, not inflated yet. */
export interface RawSection {
  readonly data: Buffer;
  readonly deflated: boolean;
}

/** The sections of an index by type. Throws `segment_corrupt`. */
export function readIndexSections(index: Buffer, place: Place): Map<number, RawSection> {
  const out = new Map<number, RawSection>();
  for (let at = 0; at < index.length; ) {
    const start = at + SECTION_BYTES;
    const end = start <= index.length ? start + index.readUInt32LE(at + 2) : index.length + 1;
    if (end > index.length) throw corrupt("segment_corrupt", "index, section's end", end, index.length, place);
    out.set(index[at], { data: index.subarray(start, end), deflated: (index[at + 1] & DEFLATED) !== 0 });
    at = end;
  }
  return out;
}

/** The data of a section. Throws `segment_corrupt`. */
export function inflateSection({ data, deflated }: RawSection, place: Place): Buffer {
  if (!deflated) return data;
  const length = claimedLength(data, place);
  try {
    const out = zlib.inflateRawSync(data.subarray(4), { maxOutputLength: Math.max(64, length) });
    return checkedLength(out, length, place);
  } catch (error) {
    throw inflateError(error, place);
  }
}

/** The same, inflated in libuv's pool. */
export async function inflateSectionAsync({ data, deflated }: RawSection, place: Place): Promise<Buffer> {
  if (!deflated) return data;
  const length = claimedLength(data, place);
  try {
    const out = await new Promise<Buffer>((resolve, reject) => {
      zlib.inflateRaw(data.subarray(4), { maxOutputLength: Math.max(64, length) }, (error, inflated) =>
        error ? reject(error) : resolve(inflated),
      );
    });
    return checkedLength(out, length, place);
  } catch (error) {
    throw inflateError(error, place);
  }
}

function claimedLength(data: Buffer, place: Place): number {
  const length = data.length < 4 ? INDEX_BYTES_MAX + 1 : data.readUInt32LE(0);
  if (length <= INDEX_BYTES_MAX) return length;
  throw corrupt("segment_corrupt", "index, section's length", length, INDEX_BYTES_MAX, place);
}

function checkedLength(out: Buffer, length: number, place: Place): Buffer {
  if (out.length === length) return out;
  throw corrupt("segment_corrupt", "index, section's length", out.length, length, place);
}

function inflateError(error: unknown, place: Place): unknown {
  if (codeOf(error) === "segment_corrupt") return error;
  return corrupt("segment_corrupt", "index, section", messageOf(error), "deflate data", place);
}
