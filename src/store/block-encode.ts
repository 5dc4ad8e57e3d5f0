import { crc32 } from "../codec/crc32.ts";
import { writeVarint } from "../codec/varint.ts";
import { ID_ABSENT, ID_BYTES, ID_SLOTS, NO_METADATA, type StreamHandle, TRACE_ID } from "../core/line.ts";
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
  SECTION_LENGTHS,
  SECTION_OVERFLOW,
  SECTION_SHARED,
  SECTION_STREAM,
  SECTION_TIMES,
  TEXT_AT,
} from "./block-format.ts";
import { ByteCopier } from "./byte-copier.ts";
import { ALT_NAME, addAltIds } from "./id-alt.ts";
import { encodeIds } from "./id-column.ts";
import { FILTERED_SLOTS, IdFilterBuilder, type IdPresence } from "./id-filter.ts";
import { beginMember, emptyMembers, MEMBER_DATA_MAX, MEMBER_HEADER_BYTES, sealMember } from "./member.ts";
import { metadataBytes } from "./metadata-bytes.ts";
import type { OpenBlock } from "./open-block.ts";
import { sortRows } from "./sort-rows.ts";
import { encodeCodes, writeString } from "./text-column.ts";
import { encodeTimes } from "./times.ts";

/** A block whose header is written; what it lacks is the compressed text. */
export interface EncodedBlock {
  /** "WX" members and the "WB" member up to its deflate data; length and check are not in yet. */
  readonly head: Buffer;
  /** Where the "WB" member begins in `head`. */
  readonly mainAt: number;
  /** The lines in order of time. */
  readonly text: Buffer;
  /** What `roomFor` gave for the lines, when they had to be put in order: whoever has compressed `text` may use it again. */
  readonly ownText: Buffer | null;
  readonly rows: number;
  readonly minSec: number;
  readonly minNsec: number;
  readonly maxSec: number;
  readonly maxNsec: number;
  /** Of all rows' names and values. */
  readonly metadataBytes: number;
  readonly ids: IdPresence;
}

const SCRATCH_SLACK = 4096;
let scratch = Buffer.allocUnsafeSlow(MEMBER_DATA_MAX + SCRATCH_SLACK);
let identity = new Uint32Array(0);
const filterBuilder = new IdFilterBuilder();
const copier = new ByteCopier();

/** What a stream takes in each of its blocks' headers. */
export function encodeStream({ tenant, canonical }: StreamHandle): Buffer {
  const out = Buffer.allocUnsafe(Buffer.byteLength(tenant) + Buffer.byteLength(canonical) + 5);
  const at = writeString(out, 0, tenant);
  return out.subarray(0, at + out.write(canonical, at, "utf8"));
}

/**
 * Writes the header of a block that is closed. `stream` is what `encodeStream` made. The block is not changed. `roomFor` is asked for
 * memory of so many bytes or more.
 */
export function encodeBlock(
  block: OpenBlock,
  stream: Buffer,
  roomFor: (bytes: number) => Buffer = Buffer.allocUnsafeSlow,
): EncodedBlock {
  const { rows, sec, nsec, starts } = block;
  const bound = block.headerBytesMax() + SCRATCH_SLACK;
  if (scratch.length < bound) scratch = Buffer.allocUnsafeSlow(bound);
  const order = block.sorted ? null : sortRows(sec, nsec, rows);
  const placeOf = order === null ? null : inverse(order);
  const out = new Sections(scratch);

  out.begin(SECTION_STREAM);
  out.at += stream.copy(scratch, out.at);
  out.begin(SECTION_TIMES);
  out.at = encodeTimes(scratch, out.at, sec, nsec, order, rows);
  const newlines = block.hasNewlines();
  if (newlines) {
    out.begin(SECTION_LENGTHS);
    for (let i = 0; i < rows; i++) {
      const row = order === null ? i : order[i];
      out.at = writeVarint(scratch, out.at, starts[row + 1] - starts[row] - 1);
    }
  }
  encodeShared(out, block, placeOf);
  let slots = 0;
  for (let slot = 0; slot < ID_SLOTS; slot++) {
    const ids = block.ids[slot];
    if (ids === null) continue;
    slots |= 1 << slot;
    out.begin(SECTION_ID);
    out.at = encodeIds(scratch, out.at, slot, ids, starts, order, rows);
  }
  for (const column of block.columns) {
    if (column.name === ALT_NAME) slots |= 1 << TRACE_ID;
    out.begin(SECTION_COLUMN);
    out.at = writeString(scratch, out.at, column.name);
    out.at = writeVarint(scratch, out.at, column.values.length);
    for (const value of column.values) out.at = writeString(scratch, out.at, value);
    const { rows: columnRows, codes, count, values } = column;
    out.at = encodeCodes(scratch, out.at, { values: values.length, rows: columnRows, codes, count }, placeOf, rows);
  }
  const filter = encodeFilter(out, block);
  out.end();

  const first = order === null ? 0 : order[0];
  const last = order === null ? rows - 1 : order[rows - 1];
  const ownText = order === null ? null : roomFor(block.textBytes);
  if (ownText !== null && order !== null) putInOrder(block, order, ownText);
  const encoded = {
    text: (ownText ?? block.text).subarray(0, block.textBytes),
    ownText,
    rows,
    minSec: sec[first],
    minNsec: nsec[first],
    maxSec: sec[last],
    maxNsec: nsec[last],
    metadataBytes: metadataBytes(block),
    ids: { slots, filter },
  };
  return { ...encoded, ...assembleHead(out, encoded, newlines ? FLAG_NEWLINES : 0) };
}

/** The block's bytes, once its text is compressed. `gzip` is what zlib made of it, a gzip member of its own. */
export function finishBlock({ head, mainAt }: Pick<EncodedBlock, "head" | "mainAt">, gzip: Buffer): Buffer {
  // zlib's own header is 10 bytes and says nothing; ours takes its place. Trailer (CRC-32, length) and data stay.
  const out = Buffer.allocUnsafeSlow(head.length + gzip.length - 10);
  head.copy(out);
  gzip.copy(out, head.length, 10);
  sealMember(out, mainAt, out.length - mainAt);
  return out;
}

/** Sections under construction. */
class Sections {
  readonly out: Buffer;
  at = 0;
  /** Where each section begins. */
  readonly starts: number[] = [];

  constructor(out: Buffer) {
    this.out = out;
  }

  begin(type: number): void {
    this.end();
    this.starts.push(this.at);
    this.out[this.at] = type;
    this.at += SECTION_HEADER_BYTES;
  }

  /** Fills in the length of the section before. */
  end(): void {
    const start = this.starts.at(-1);
    if (start === undefined) return;
    // Writes past the end of a buffer vanish silently, so a wrong bound must be noticed here.
    if (this.at > this.out.length) throw new Error(`block header: ${this.at} bytes, bound was ${this.out.length}`);
    this.out.writeUInt32LE(this.at - start - SECTION_HEADER_BYTES, start + 1);
  }
}

function inverse(order: Uint32Array): Uint32Array {
  const out = new Uint32Array(order.length);
  for (let i = 0; i < order.length; i++) out[order[i]] = i;
  return out;
}

function encodeShared(out: Sections, block: OpenBlock, placeOf: Uint32Array | null): void {
  const { sharedSets, sharedCodes, rows } = block;
  if (sharedSets.every((set) => set === NO_METADATA || set.pairs.length === 0)) return;
  out.begin(SECTION_SHARED);
  out.at = writeVarint(scratch, out.at, sharedSets.length);
  for (const { pairs } of sharedSets) {
    let bytes = varintBytes(pairs.length);
    for (const [name, value] of pairs) bytes += stringBytes(name) + stringBytes(value);
    out.at = writeVarint(scratch, out.at, bytes);
    out.at = writeVarint(scratch, out.at, pairs.length);
    for (const [name, value] of pairs) {
      out.at = writeString(scratch, out.at, name);
      out.at = writeString(scratch, out.at, value);
    }
  }
  if (identity.length < rows) identity = Uint32Array.from({ length: rows * 2 }, (_, i) => i);
  const codes = sharedCodes ?? new Uint32Array(rows);
  out.at = encodeCodes(
    scratch,
    out.at,
    { values: sharedSets.length, rows: identity, codes, count: rows },
    placeOf,
    rows,
  );
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

function stringBytes(text: string): number {
  const bytes = Buffer.byteLength(text);
  return varintBytes(bytes) + bytes;
}

function encodeFilter(out: Sections, block: OpenBlock): Buffer | null {
  const used = FILTERED_SLOTS.filter((slot) => block.ids[slot] !== null);
  const further = block.columns.filter(({ name }) => name === ALT_NAME);
  if (used.length === 0 && further.length === 0) return null;
  filterBuilder.clear();
  for (const slot of used) {
    const ids = block.ids[slot]!;
    const words = ids.words;
    const stride = ID_BYTES[slot] / 4;
    for (let row = 0; row < block.rows; row++) {
      if (ids.at[row] === ID_ABSENT) continue;
      const low = (row + 1) * stride - 2;
      filterBuilder.add(slot, littleEndian(words[low]), littleEndian(words[low + 1]));
    }
  }
  for (const { values } of further) for (const value of values) addAltIds(filterBuilder, value);
  out.begin(SECTION_FILTER);
  const start = out.at;
  out.at = filterBuilder.write(scratch, start);
  return Buffer.from(scratch.subarray(start, out.at));
}

const BIG_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 0;

/** Four bytes in memory, read as the machine does, as a little-endian number. */
function littleEndian(word: number): number {
  if (!BIG_ENDIAN) return word;
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

function putInOrder({ text, starts, rows }: OpenBlock, order: Uint32Array, out: Buffer): void {
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  let at = 0;
  for (let i = 0; i < rows; ) {
    // Lines that agents sent in order stay together, and are copied together.
    const first = order[i];
    let after = first + 1;
    while (++i < rows && order[i] === after) after++;
    copier.copy(text, starts[first], starts[after], out, view, at);
    at += starts[after] - starts[first];
  }
}

type Fixed = Pick<EncodedBlock, "text" | "rows" | "minSec" | "minNsec" | "maxSec" | "maxNsec">;

/** Puts fixed fields and sections into a member's header; the longest sections go into members in front if they must. */
function assembleHead(out: Sections, fixed: Fixed, flags: number): { head: Buffer; mainAt: number } {
  let front: Buffer[] = [];
  let sections: Buffer = scratch.subarray(0, out.at);
  if (BLOCK_FIXED_BYTES + sections.length > MEMBER_DATA_MAX) {
    flags |= FLAG_OVERFLOW;
    ({ front, sections } = overflow(out));
  }
  const mainAt = front.reduce((sum, member) => sum + member.length, 0);
  const dataBytes = BLOCK_FIXED_BYTES + sections.length;
  const head = Buffer.allocUnsafe(mainAt + MEMBER_HEADER_BYTES + dataBytes);
  let at = 0;
  for (const member of front) at += member.copy(head, at);
  at = beginMember(head, at, "WB", flags, dataBytes);
  head.writeUInt32LE(fixed.text.length, at + TEXT_AT);
  head.writeUInt32LE(fixed.rows, at + ROWS_AT);
  head.writeBigInt64LE(BigInt(fixed.minSec), at + MIN_SEC_AT);
  head.writeUInt32LE(fixed.minNsec, at + MIN_NSEC_AT);
  head.writeBigInt64LE(BigInt(fixed.maxSec), at + MAX_SEC_AT);
  head.writeUInt32LE(fixed.maxNsec, at + MAX_NSEC_AT);
  sections.copy(head, at + BLOCK_FIXED_BYTES);
  return { head, mainAt };
}

/** Splits sections: the longest ones into "WX" members until the others fit beside an OVERFLOW section. */
function overflow(out: Sections): { front: Buffer[]; sections: Buffer } {
  const all = out.starts.map((start, i) => scratch.subarray(start, out.starts[i + 1] ?? out.at));
  const room = MEMBER_DATA_MAX - BLOCK_FIXED_BYTES - SECTION_HEADER_BYTES - OVERFLOW_BYTES;
  let kept = out.at;
  const moved = new Set<Buffer>();
  for (const section of [...all].sort((a, b) => b.length - a.length)) {
    if (kept <= room) break;
    moved.add(section);
    kept -= section.length;
  }
  const data = Buffer.concat(all.filter((section) => moved.has(section)));
  const front = emptyMembers("WX", data);
  const note = Buffer.alloc(SECTION_HEADER_BYTES + OVERFLOW_BYTES);
  note[0] = SECTION_OVERFLOW;
  note.writeUInt32LE(OVERFLOW_BYTES, 1);
  note.writeUInt32LE(front.length, SECTION_HEADER_BYTES);
  note.writeUInt32LE(data.length, SECTION_HEADER_BYTES + 4);
  note.writeUInt32LE(crc32(data), SECTION_HEADER_BYTES + 8);
  return { front, sections: Buffer.concat([note, ...all.filter((section) => !moved.has(section))]) };
}
