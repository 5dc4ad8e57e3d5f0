import { VarintReader } from "../../codec/varint.ts";
import { codeOf, messageOf } from "../../core/errors.ts";
import type { ObjectStore } from "../../objects/store.ts";
import { corrupt, type Place } from "../errors.ts";
import { FOOTER_BYTES, type Footer, parseFooter } from "../footer.ts";
import {
  INDEX_BLOCKS,
  INDEX_METADATA,
  INDEX_SOURCES,
  INDEX_STREAMS,
  INDEX_TENANT,
  inflateSection,
  inflateSectionAsync,
  readIndexSections,
} from "../index-tables.ts";
import { counted, joinIndex } from "../segment.ts";
import { decodeSources, type SegmentSources } from "../sources.ts";

/** One read of a segment's end gets footer and, for most segments, the whole index. */
const SUFFIX_BYTES = 256 * 1024;
/** Streams or blocks that are decoded before others get a turn: about a millisecond. */
const STEP = 2048;
/** Bytes of a varint that is certainly below 2^53. */
const SHORT_VARINT = 7;

/** Gives others a turn when it is time. */
export type Turn = () => Promise<void>;

/**
 * A segment's index in flat arrays: what compaction needs of it, at about 60 bytes a block and the bytes of the labels.
 * Reading it as queries do would take four times as much, and compaction holds dozens.
 */
export interface PackedIndex {
  readonly tenant: string;
  readonly footer: Footer;
  /** How the segment came to be; null for one that says nothing of it, which a writer made. Read anew each time. Throws `segment_corrupt`. */
  readonly readSources: () => SegmentSources | null;
  /** The labels of stream s are streamBytes[streamStarts[s], streamEnds[s]). */
  readonly streamBytes: Buffer;
  readonly streamStarts: Uint32Array;
  readonly streamEnds: Uint32Array;
  /** Streams in order of their labels' bytes. */
  readonly order: Uint32Array;
  /** The blocks of stream s are firstBlocks[s] up to firstBlocks[s + 1]. */
  readonly firstBlocks: Uint32Array;
  readonly offsets: Float64Array;
  readonly lengths: Uint32Array;
  readonly rows: Uint32Array;
  readonly textBytes: Uint32Array;
  /** As in BlockInfo. */
  readonly metadataBytes: Float64Array;
  readonly minSec: Float64Array;
  readonly minNsec: Uint32Array;
  readonly maxSec: Float64Array;
  readonly maxNsec: Uint32Array;
  readonly memoryBytes: number;
}

/** Reads the index of a segment. Errors are those of the object store and `segment_corrupt`. */
export async function readPackedIndex(objects: ObjectStore, key: string, turn: Turn): Promise<PackedIndex> {
  const { bytes, size } = await objects.getSuffix(key, SUFFIX_BYTES);
  const start = size - bytes.length;
  const footer = parseFooter(bytes, { key, offset: start });
  const { indexAt, indexBytes } = footer;
  const members =
    indexAt >= start
      ? bytes.subarray(indexAt - start, bytes.length - FOOTER_BYTES)
      : await objects.getRange(key, indexAt, indexBytes);
  const place = { key, offset: indexAt };
  const sections = readIndexSections(joinIndex(members, footer, place), place);
  await turn();
  const section = (type: number, name: string) => {
    const raw = sections.get(type);
    if (raw === undefined) throw corrupt("segment_corrupt", `index, section ${name}`, "none", "one", place);
    return raw;
  };
  const tenant = inflateSection(section(INDEX_TENANT, "tenant"), place).toString("utf8");
  const streamBytes = await inflateSectionAsync(section(INDEX_STREAMS, "streams"), place);
  const blockBytes = await inflateSectionAsync(section(INDEX_BLOCKS, "blocks"), place);
  const metadata = sections.get(INDEX_METADATA);
  const metadataTable = metadata === undefined ? null : await inflateSectionAsync(metadata, place);
  const found = sections.get(INDEX_SOURCES);
  // A copy, so that the rest of the index can go.
  const raw = found === undefined ? undefined : { ...found, data: Buffer.from(found.data) };
  const readSources = () => (raw === undefined ? null : decodeSources(inflateSection(raw, place), place));
  try {
    const streams = await readStreams(streamBytes, footer, place, turn);
    const blocks = await readBlocks(blockBytes, footer, place, turn);
    const metadataBytes = await readMetadataBytes(metadataTable, footer.blocks, turn);
    const memoryBytes = streamBytes.length + footer.streams * 16 + footer.blocks * 52 + (raw?.data.length ?? 0);
    return { tenant, footer, readSources, streamBytes, ...streams, ...blocks, metadataBytes, memoryBytes };
  } catch (error) {
    if (codeOf(error) !== "bad_varint") throw error;
    throw corrupt("segment_corrupt", "index", messageOf(error), "varints", place);
  }
}

async function readStreams(bytes: Buffer, { streams }: Footer, place: Place, turn: Turn) {
  const reader = new VarintReader(bytes);
  counted(reader, streams, "streams", place);
  const streamStarts = new Uint32Array(streams);
  const streamEnds = new Uint32Array(streams);
  const order = new Uint32Array(streams);
  let sorted = true;
  for (let s = 0; s < streams; s++) {
    const length = reader.next();
    if (length > bytes.length - reader.at) {
      throw corrupt("segment_corrupt", "index, bytes of labels", bytes.length - reader.at, length, place);
    }
    streamStarts[s] = reader.at;
    reader.at += length;
    streamEnds[s] = reader.at;
    order[s] = s;
    if (s > 0 && compareLabels(bytes, streamStarts, streamEnds, s - 1, s) > 0) sorted = false;
    if (s % STEP === STEP - 1) await turn();
  }
  // Writers sort them, by UTF-16 units: that differs for few texts, if any.
  if (!sorted) order.sort((a, b) => compareLabels(bytes, streamStarts, streamEnds, a, b));
  return { streamStarts, streamEnds, order };
}

function compareLabels(bytes: Buffer, starts: Uint32Array, ends: Uint32Array, a: number, b: number): number {
  return bytes.compare(bytes, starts[b], ends[b], starts[a], ends[a]);
}

async function readBlocks(bytes: Buffer, footer: Footer, place: Place, turn: Turn) {
  const { blocks, streams } = footer;
  const reader = new VarintReader(bytes);
  counted(reader, blocks, "blocks", place);
  const firstBlocks = new Uint32Array(streams + 1);
  const offsets = new Float64Array(blocks);
  const lengths = new Uint32Array(blocks);
  const rows = new Uint32Array(blocks);
  const textBytes = new Uint32Array(blocks);
  const minSec = new Float64Array(blocks);
  const minNsec = new Uint32Array(blocks);
  const maxSec = new Float64Array(blocks);
  const maxNsec = new Uint32Array(blocks);
  let stream = 0;
  let end = 0;
  for (let b = 0; b < blocks; b++) {
    const skip = reader.next();
    if (skip >= streams - stream)
      throw corrupt("segment_corrupt", "index, stream", stream + skip, `below ${streams}`, place);
    for (let i = 0; i < skip; i++) firstBlocks[++stream] = b;
    offsets[b] = end + reader.next();
    lengths[b] = reader.next();
    end = offsets[b] + lengths[b];
    rows[b] = reader.next();
    textBytes[b] = reader.next();
    minSec[b] = addDelta(reader, footer.minSec);
    minNsec[b] = reader.next();
    maxSec[b] = addDelta(reader, minSec[b]);
    maxNsec[b] = reader.next();
    reader.next();
    if (b % STEP === STEP - 1) await turn();
  }
  while (stream < streams) firstBlocks[++stream] = blocks;
  if (end > footer.indexAt) throw corrupt("segment_corrupt", "end of the blocks", end, footer.indexAt, place);
  return { firstBlocks, offsets, lengths, rows, textBytes, minSec, minNsec, maxSec, maxNsec };
}

async function readMetadataBytes(bytes: Buffer | null, blocks: number, turn: Turn): Promise<Float64Array> {
  const metadataBytes = new Float64Array(blocks);
  if (bytes === null) return metadataBytes;
  const reader = new VarintReader(bytes);
  for (let b = 0; b < blocks; b++) {
    metadataBytes[b] = reader.next();
    if (b % STEP === STEP - 1) await turn();
  }
  return metadataBytes;
}

/** A time that many seconds after another; the number of seconds may be more than a double holds exactly. */
function addDelta(reader: VarintReader, sec: number): number {
  let end = reader.at;
  while (end < reader.end && reader.bytes[end] >= 0x80) end++;
  if (end - reader.at < SHORT_VARINT) return sec + reader.next();
  return Number(BigInt(sec) + reader.nextBig());
}
