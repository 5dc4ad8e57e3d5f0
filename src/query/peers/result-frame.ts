import { crc32 } from "../../codec/crc32.ts";
import { VarintReader, writeVarint } from "../../codec/varint.ts";
import { codeOf, WeirError } from "../../core/errors.ts";
import type { PackedEntries } from "../entries.ts";
import type { PackedCells, PackedSamples } from "../metric/cells.ts";
import type { MetricPartial } from "../metric/scanner.ts";
import { type BatchResult, emptyStats, type ScanStats } from "../scan-job.ts";

/*
 * What a batch gave, as one querier sends it to another. Version 1, all numbers little-endian; "varint" is unsigned
 * LEB128 (codec/varint.ts), "text" a varint with a length in bytes and so much UTF-8, "u32[n]" and "f64[n]" are n
 * numbers of 4 and 8 bytes, not aligned.
 *
 *   offset  size  field
 *        0     4  magic     "WSCN"
 *        4     1  version   1
 *        5     1  flags     bit 0: entries follow, bit 1: metric partials follow; a reader refuses others
 *        6     2  reserved  zero; a reader refuses anything else
 *        8        stats     8 varints: blocks, lines, textBytes, readBytes, matched, prunedByMetadata, headersOnly,
 *                           prunedByLiteral
 *                 lost      varint n, then n times: varint order, text reason
 *                 entries   with bit 0: varint n, sec f64[n], nsec u32[n], block f64[n], row u32[n], group u32[n],
 *                           detail u32[n], lineEnds u32[n], the lines; varint t, textEnds u32[t], the texts. There are
 *                           as many bytes of lines and texts as the last of their ends says
 *                 partials  with bit 1: a byte, 1 when a text with the error follows, else 0; varint number of leaves,
 *                           then each leaf
 *   end - 4    4  crc32     of all bytes before
 *
 * A leaf: a byte with what there is of it (0 nothing, 1 cells, 2 and values, 3 and values with their places). Then, unless 0:
 * varint t and t texts (the series); varint n, series u32[n], interval u32[n]; varint m, states f64[m]. With 2 and 3:
 * varint k, cell u32[k], value f64[k]; with 3 also sec f64[k], nsec u32[k], order f64[k], row u32[k].
 *
 *   5753434e 01 00 0000 01 02 03 04 05 06 07 08 01 09 02 6e6f e2601e46    stats 1 to 8, block 9 was lost: "no"
 */
const MAGIC = "WSCN";
export const FRAME_VERSION = 1;
const HEADER_BYTES = 8;
const CRC_BYTES = 4;
const VARINT_BYTES = 8;
const HAS_ENTRIES = 1;
const HAS_PARTIAL = 2;
/** Characters of a reason: those of object stores can be pages. */
const REASON_CHARS_MAX = 1000;
const NO_CELLS = 0;
const CELLS = 1;
const CELLS_AND_VALUES = 2;
const CELLS_AND_PLACES = 3;

const STATS: readonly (keyof ScanStats)[] = [
  "blocks",
  "lines",
  "textBytes",
  "readBytes",
  "matched",
  "prunedByMetadata",
  "headersOnly",
  "prunedByLiteral",
];

type Numbers = Uint32Array<ArrayBufferLike> | Float64Array<ArrayBufferLike>;

/** Typed arrays have the machine's byte order; the frame has one. */
const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

export function encodeResult({ entries, partial, stats, lost }: BatchResult): Buffer {
  const out = new FrameWriter();
  const flags = (entries === null ? 0 : HAS_ENTRIES) | (partial === null ? 0 : HAS_PARTIAL);
  out.bytes(Buffer.from([...Buffer.from(MAGIC, "latin1"), FRAME_VERSION, flags, 0, 0]));
  for (const name of STATS) out.varint(stats[name]);
  out.varint(lost.length);
  for (const { order, reason } of lost) {
    out.varint(order);
    out.text(reason.slice(0, REASON_CHARS_MAX));
  }
  if (entries !== null) writeEntries(out, entries);
  if (partial !== null) writePartial(out, partial);
  return out.finish();
}

/**
 * The result in `frame`, in memory of its own. Errors: `bad_scan_result` for whatever is not a whole frame of this version; it
 * is checked that every number of an array's place lies in that array, not that the result fits a query (`fits.ts`).
 */
export function decodeResult(frame: Buffer): BatchResult {
  const end = frame.length - CRC_BYTES;
  if (end < HEADER_BYTES) throw bad(`${frame.length} bytes`, "a header and a checksum", 0);
  if (frame.toString("latin1", 0, 4) !== MAGIC) throw bad("other bytes", MAGIC, 0);
  if (frame[4] !== FRAME_VERSION) throw bad(`version ${frame[4]}`, `version ${FRAME_VERSION}`, 4);
  const sum = crc32(frame.subarray(0, end));
  const wanted = frame.readUInt32LE(end);
  if (sum !== wanted) throw bad(`checksum ${sum}`, String(wanted), end);
  const flags = frame[5];
  if ((flags & ~(HAS_ENTRIES | HAS_PARTIAL)) !== 0) throw bad(`flags ${flags}`, "none but the two lowest", 5);
  if (frame.readUInt16LE(6) !== 0) throw bad("something", "zero", 6);
  const from = new FrameReader(frame, HEADER_BYTES, end);
  const stats = emptyStats();
  for (const name of STATS) stats[name] = from.varint();
  const lost: { order: number; reason: string }[] = [];
  for (let left = from.count(2); left > 0; left--) lost.push({ order: from.varint(), reason: from.text() });
  const entries = (flags & HAS_ENTRIES) === 0 ? null : readEntries(from);
  const partial = (flags & HAS_PARTIAL) === 0 ? null : readPartial(from);
  if (!from.isAtEnd) throw from.bad("more bytes", "the end");
  return { entries, partial, stats, lost };
}

function writeEntries(out: FrameWriter, entries: PackedEntries): void {
  const { count, sec, nsec, block, row, group, detail, lineEnds, lines, textEnds, texts } = entries;
  out.varint(count);
  for (const numbers of [sec, nsec, block, row, group, detail, lineEnds]) out.numbers(numbers);
  out.bytes(lines);
  out.varint(textEnds.length);
  out.numbers(textEnds);
  out.bytes(texts);
}

function readEntries(from: FrameReader): PackedEntries {
  const count = from.count(36);
  const sec = from.f64(count);
  const nsec = from.u32(count);
  const block = from.f64(count);
  const row = from.u32(count);
  const group = from.u32(count);
  const detail = from.u32(count);
  const lineEnds = from.ends(count);
  const lines = from.bytes(lineEnds.at(-1) ?? 0);
  const texts = from.count(4);
  const textEnds = from.ends(texts);
  const all = from.bytes(textEnds.at(-1) ?? 0);
  from.checkBelow(group, texts);
  from.checkBelow(detail, texts);
  return { count, sec, nsec, block, row, group, detail, lineEnds, lines, textEnds, texts: all };
}

function writePartial(out: FrameWriter, { leaves, error }: MetricPartial): void {
  out.bytes(Buffer.from([error === null ? 0 : 1]));
  if (error !== null) out.text(error);
  out.varint(leaves.length);
  for (const cells of leaves) writeCells(out, cells);
}

function readPartial(from: FrameReader): MetricPartial {
  const error = from.byte(1) === 0 ? null : from.text();
  const leaves = Array.from({ length: from.count(1) }, () => readCells(from));
  return { leaves, error };
}

function writeCells(out: FrameWriter, cells: PackedCells | null): void {
  if (cells === null) {
    out.bytes(Buffer.from([NO_CELLS]));
    return;
  }
  const { texts, series, interval, states, kept } = cells;
  const isTimed = kept !== null && kept.sec.length > 0;
  out.bytes(Buffer.from([kept === null ? CELLS : isTimed ? CELLS_AND_PLACES : CELLS_AND_VALUES]));
  out.varint(texts.length);
  for (const text of texts) out.text(text);
  out.varint(series.length);
  out.numbers(series);
  out.numbers(interval);
  out.varint(states.length);
  out.numbers(states);
  if (kept === null) return;
  out.varint(kept.cell.length);
  out.numbers(kept.cell);
  out.numbers(kept.value);
  if (isTimed) for (const numbers of [kept.sec, kept.nsec, kept.order, kept.row]) out.numbers(numbers);
}

function readCells(from: FrameReader): PackedCells | null {
  const kind = from.byte(CELLS_AND_PLACES);
  if (kind === NO_CELLS) return null;
  const texts = Array.from({ length: from.count(1) }, () => from.text());
  const count = from.count(8);
  const series = from.u32(count);
  const interval = from.u32(count);
  from.checkBelow(series, texts.length);
  const states = from.f64(from.count(8));
  return { texts, series, interval, states, kept: kind === CELLS ? null : readSamples(from, kind, count) };
}

function readSamples(from: FrameReader, kind: number, cells: number): PackedSamples {
  const isTimed = kind === CELLS_AND_PLACES;
  const count = from.count(isTimed ? 36 : 12);
  const places = isTimed ? count : 0;
  const cell = from.u32(count);
  from.checkBelow(cell, cells);
  const value = from.f64(count);
  return { cell, value, sec: from.f64(places), nsec: from.u32(places), order: from.f64(places), row: from.u32(places) };
}

/** Gathers parts, which are copied once, at the end. */
class FrameWriter {
  private readonly parts: Uint8Array[] = [];

  varint(value: number): void {
    const bytes = Buffer.alloc(VARINT_BYTES);
    this.parts.push(bytes.subarray(0, writeVarint(bytes, 0, value)));
  }

  text(text: string): void {
    const bytes = Buffer.from(text, "utf8");
    this.varint(bytes.length);
    this.parts.push(bytes);
  }

  bytes(bytes: Uint8Array): void {
    this.parts.push(bytes);
  }

  numbers(numbers: Numbers): void {
    const bytes = Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    this.parts.push(IS_LITTLE_ENDIAN ? bytes : swapped(Buffer.from(bytes), numbers.BYTES_PER_ELEMENT));
  }

  finish(): Buffer {
    const crc = Buffer.alloc(CRC_BYTES);
    const all = Buffer.concat([...this.parts, crc]);
    all.writeUInt32LE(crc32(all.subarray(0, -CRC_BYTES)), all.length - CRC_BYTES);
    return all;
  }
}

class FrameReader {
  private readonly frame: Buffer;
  private readonly varints: VarintReader;

  constructor(frame: Buffer, at: number, end: number) {
    this.frame = frame;
    this.varints = new VarintReader(frame, at, end);
  }

  get isAtEnd(): boolean {
    return this.varints.at === this.varints.end;
  }

  varint(): number {
    try {
      return this.varints.next();
    } catch (error) {
      if (codeOf(error) !== "bad_varint") throw error;
      throw this.bad("no number", "a varint");
    }
  }

  /** A number of things that take at least `size` bytes each, and so can be there. */
  count(size: number): number {
    const count = this.varint();
    if (count * size > this.left) throw this.bad(`${count} of at least ${size} bytes`, `what ${this.left} bytes hold`);
    return count;
  }

  byte(most: number): number {
    const byte = this.bytes(1)[0];
    if (byte > most) throw this.bad(`a byte of ${byte}`, `at most ${most}`);
    return byte;
  }

  text(): string {
    const bytes = this.take(this.varint());
    return bytes.toString("utf8");
  }

  /** In memory of its own. */
  bytes(length: number): Uint8Array {
    return new Uint8Array(this.take(length));
  }

  u32(count: number): Uint32Array<ArrayBuffer> {
    return new Uint32Array(this.copy(count, 4));
  }

  f64(count: number): Float64Array<ArrayBuffer> {
    return new Float64Array(this.copy(count, 8));
  }

  /** Ends of parts that follow each other. */
  ends(count: number): Uint32Array<ArrayBuffer> {
    const ends = this.u32(count);
    for (let i = 1; i < count; i++) {
      if (ends[i] < ends[i - 1]) throw this.bad(`an end of ${ends[i]}`, `at least ${ends[i - 1]}`);
    }
    return ends;
  }

  checkBelow(places: Uint32Array, count: number): void {
    for (const place of places) if (place >= count) throw this.bad(`a place of ${place}`, `below ${count}`);
  }

  bad(got: string, want: string): WeirError {
    return bad(got, want, this.varints.at);
  }

  private get left(): number {
    return this.varints.end - this.varints.at;
  }

  /** A view. */
  private take(length: number): Buffer {
    if (length > this.left) throw this.bad(`${this.left} bytes`, String(length));
    const at = this.varints.at;
    this.varints.at = at + length;
    return this.frame.subarray(at, at + length);
  }

  private copy(count: number, size: number): ArrayBuffer {
    const bytes = this.bytes(count * size);
    if (!IS_LITTLE_ENDIAN) swapped(Buffer.from(bytes.buffer), size);
    return bytes.buffer as ArrayBuffer; // Its own, from its begin to its end.
  }
}

function swapped(bytes: Buffer, size: number): Buffer {
  return size === 4 ? bytes.swap32() : bytes.swap64();
}

function bad(got: string, want: string, at: number): WeirError {
  return new WeirError("bad_scan_result", `result of a scan: got ${got}, want ${want}, at byte ${at}`, {
    retriable: true,
    context: { at },
  });
}
