import { crc32 } from "../codec/crc32.ts";
import { VarintReader } from "../codec/varint.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Labels } from "../core/labels.ts";
import { Slices } from "../core/slices.ts";
import { NS_PER_SECOND } from "../core/time.ts";
import { parseLabels } from "./block-view.ts";
import { corrupt, type Place } from "./errors.ts";
import { encodeFooter, type Footer, type IntakeRange } from "./footer.ts";
import { type IdPresence, mayHoldId } from "./id-filter.ts";
import {
  INDEX_BLOCKS,
  INDEX_FILTERS,
  INDEX_METADATA,
  INDEX_SOURCES,
  INDEX_STREAMS,
  INDEX_TENANT,
  indexSection,
  indexSectionAsync,
  indexTables,
  inflateSection,
  readIndexSections,
} from "./index-tables.ts";
import { emptyMembers, readMember } from "./member.ts";
import { decodeSources, type SegmentSources } from "./sources.ts";
import { readString } from "./text-column.ts";
import type { BlockInfo, SegmentIndex } from "./view.ts";

/*
 * Segment, version 1: blocks ("WX"* "WB" members), then the index ("WI" members, whose data put together is described in
 * index-tables.ts), then one footer (footer.ts) of 126 bytes. Blocks of a stream follow each other, equal times in order
 * of arrival. All are of one tenant.
 */

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
  /** As in BlockInfo. */
  readonly metadataBytes: number;
  readonly ids: IdPresence;
}

/**
 * The parts of a segment object, in order, and its footer. Blocks must not be empty and must stand in order of streams;
 * `covers` says which intake offsets the segment's catalog entry covers, `sources` how it came to be.
 */
export function buildSegment(
  tenant: string,
  blocks: readonly SegmentBlock[],
  covers: IntakeRange,
  sources: SegmentSources | null = null,
): { parts: Buffer[]; footer: Footer } {
  const totals = totalsOf(blocks);
  const sections = [...indexTables(tenant, blocks, totals.minSec, sources)].flatMap(indexSection);
  return assemble(blocks, totals, covers, sections);
}

/** The same for a segment of compaction, which may be large: compresses the index in libuv's pool, with turns between. */
export async function buildCompactedSegment(
  tenant: string,
  blocks: readonly SegmentBlock[],
  covers: IntakeRange,
  sources: SegmentSources,
  turn: () => Promise<void>,
): Promise<{ parts: Buffer[]; footer: Footer }> {
  const totals = totalsOf(blocks);
  const sections: Buffer[] = [];
  for (const table of indexTables(tenant, blocks, totals.minSec, sources)) {
    sections.push(...(await indexSectionAsync(table)));
    await turn();
  }
  return assemble(blocks, totals, covers, sections);
}

function assemble(
  blocks: readonly SegmentBlock[],
  totals: Totals,
  covers: IntakeRange,
  sections: readonly Buffer[],
): { parts: Buffer[]; footer: Footer } {
  const index = Buffer.concat(sections);
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

/** A segment's index, read. */
export class StoredIndex implements SegmentIndex {
  readonly tenant: string;
  readonly streams: readonly { readonly labels: Labels; readonly canonical: string }[];
  readonly blocks: readonly BlockInfo[];
  /** Bytes of memory that the index keeps, roughly. */
  readonly memoryBytes: number;
  private readonly presence: readonly IdPresence[];
  private readonly readSources: () => SegmentSources | null;

  constructor(
    tenant: string,
    streams: StoredIndex["streams"],
    blocks: BlockInfo[],
    presence: IdPresence[],
    readSources: () => SegmentSources | null,
    bytes: number,
  ) {
    this.tenant = tenant;
    this.streams = streams;
    this.blocks = blocks;
    this.presence = presence;
    this.readSources = readSources;
    this.memoryBytes =
      bytes + blocks.length * 256 + streams.reduce((sum, { canonical }) => sum + canonical.length * 6, 0);
  }

  /**
   * How the segment came to be. Read anew each time: queries never ask, and it may be many times as large as all the rest. Throws
   * `segment_corrupt`.
   */
  get sources(): SegmentSources | null {
    return this.readSources();
  }

  mayHoldId(block: number, slot: number, low8: Uint8Array): boolean {
    return mayHoldId(this.presence[block], slot, low8);
  }
}

/** Streams or blocks that are read before it is asked whether others should have a turn: some 200 us of work. */
const ENTRIES_A_LOOK = 64;

/**
 * Reads the index from `members`, the bytes of all "WI" members, as the footer describes them; a large one in slices.
 * Throws `segment_corrupt`. `place` says where members[0] stands.
 */
export async function parseIndex(members: Buffer, footer: Footer, place: Place): Promise<StoredIndex> {
  const index = joinIndex(members, footer, place);
  try {
    return await decodeIndex(index, footer, place);
  } catch (error) {
    if (codeOf(error) !== "bad_varint") throw error;
    throw corrupt("segment_corrupt", "index", messageOf(error), "varints", place);
  }
}

/** The data of all "WI" members, put together and checked against the footer. Throws `segment_corrupt`. */
export function joinIndex(members: Buffer, footer: Footer, place: Place): Buffer {
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
  return index;
}

async function decodeIndex(index: Buffer, footer: Footer, place: Place): Promise<StoredIndex> {
  const sections = readIndexSections(index, place);
  const section = (type: number, name: string): Buffer => {
    const raw = sections.get(type);
    if (raw === undefined) throw corrupt("segment_corrupt", `index, section ${name}`, "none", "one", place);
    return inflateSection(raw, place);
  };
  const streamReader = new VarintReader(section(INDEX_STREAMS, "streams"));
  const slices = new Slices();
  const streams: { readonly canonical: string; readonly labels: Labels }[] = [];
  for (let left = counted(streamReader, footer.streams, "streams", place); left > 0; left--) {
    const canonical = readString(streamReader);
    streams.push({ canonical, labels: parseLabels(canonical, place, "segment_corrupt") });
    if (left % ENTRIES_A_LOOK === 0) await slices.turn();
  }
  const blockReader = new VarintReader(section(INDEX_BLOCKS, "blocks"));
  const filterReader = new VarintReader(section(INDEX_FILTERS, "filters"));
  const metadataTable = sections.get(INDEX_METADATA);
  const metadataReader = metadataTable === undefined ? null : new VarintReader(inflateSection(metadataTable, place));
  const presence: IdPresence[] = [];
  let stream = 0;
  let end = 0;
  const blocks: BlockInfo[] = [];
  for (let left = counted(blockReader, footer.blocks, "blocks", place); left > 0; left--) {
    stream += blockReader.next();
    if (stream >= streams.length)
      throw corrupt("segment_corrupt", "index, stream", stream, `below ${streams.length}`, place);
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
    const metadataBytes = metadataReader?.next() ?? 0;
    blocks.push({ stream, offset, length, rows, textBytes, metadataBytes, timeMinNs, timeMaxNs });
    if (left % ENTRIES_A_LOOK === 0) await slices.turn();
  }
  if (end > footer.indexAt) throw corrupt("segment_corrupt", "end of the blocks", end, footer.indexAt, place);
  const tenant = section(INDEX_TENANT, "tenant").toString("utf8");
  const raw = sections.get(INDEX_SOURCES);
  const readSources = () => (raw === undefined ? null : decodeSources(inflateSection(raw, place), place));
  return new StoredIndex(tenant, streams, blocks, presence, readSources, index.length);
}

/** Reads how many streams or blocks follow. Throws `segment_corrupt` unless it is what the footer says, and can be. */
export function counted(reader: VarintReader, want: number, name: string, place: Place): number {
  const got = reader.next();
  if (got !== want) throw corrupt("segment_corrupt", `index, ${name}`, got, want, place);
  // Each takes a byte at least; nothing is allocated on a lie.
  const most = reader.end - reader.at;
  if (got > most) throw corrupt("segment_corrupt", `index, ${name}`, got, `at most ${most}`, place);
  return got;
}
