import { crc32 } from "../codec/crc32.ts";
import { inflate } from "../codec/inflate.ts";
import { VarintReader } from "../codec/varint.ts";
import { codeOf, messageOf, type WeirError } from "../core/errors.ts";
import type { Labels } from "../core/labels.ts";
import { ID_ABSENT, ID_BYTES, ID_ELSEWHERE, ID_NAMES } from "../core/line.ts";
import { joinNs } from "../core/time.ts";
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
import { corrupt, NOWHERE, type Place } from "./errors.ts";
import { decodeIds, ID_TEXT_BYTES, type IdColumn, idTail, idText } from "./id-column.ts";
import { type IdPresence, mayHoldId } from "./id-filter.ts";
import { type Member, readMember, TRAILER_BYTES } from "./member.ts";
import { type CodedValues, decodeValues, readString } from "./text-column.ts";
import { decodeTimes, type Times } from "./times.ts";
import type { BlockView } from "./view.ts";

const LF = 0x0a;
/** Lines shorter than this on average are told apart faster by a loop over bytes than by a native search a line. */
const SHORT_LINE_BYTES = 48;

interface Section {
  readonly type: number;
  readonly bytes: Buffer;
  readonly at: number;
  readonly end: number;
}

/**
 * Reads the block that begins at bytes[0]. Only its header has to be there and is checked at once; columns and text are
 * decoded when they are asked for. `place` says where the bytes stand, for messages.
 * Throws `block_corrupt` (as do all members of what it returns) for bytes that are cut or damaged.
 */
export function parseBlock(bytes: Buffer, place: Place = NOWHERE): StoredBlock {
  return new StoredBlock(bytes, place);
}

/** A block that was read. Needs nothing but its bytes, so it can be made in any thread. */
export class StoredBlock implements BlockView {
  readonly rows: number;
  readonly textBytes: number;
  readonly hasNewlines: boolean;
  readonly sorted = true;
  readonly minSec: number;
  readonly minNsec: number;
  readonly maxSec: number;
  readonly maxNsec: number;
  /** Bytes of the whole block, continuation members included. */
  readonly length: number;
  private readonly bytes: Buffer;
  private readonly place: Place;
  private readonly main: Member;
  private readonly sections: Section[] = [];
  private streamCache: { tenant: string; canonical: string; labels: Labels } | null = null;
  private timesCache: Times | null = null;
  private textCache: Buffer | null = null;
  private startsCache: Uint32Array | null = null;
  private idsCache: IdColumn[] | null = null;
  private columnsCache: { name: string; values: CodedValues; bytes: Buffer }[] | null = null;
  private sharedCache: { codes: Uint32Array; sets: [string, string][][] } | null | undefined;

  constructor(bytes: Buffer, place: Place) {
    this.bytes = bytes;
    this.place = place;
    const front: Member[] = [];
    let member = readMember(bytes, 0, place, "block_corrupt");
    while (member.kind === "WX") {
      front.push(member);
      member = readMember(bytes, member.start + member.length, place, "block_corrupt");
    }
    if (member.kind !== "WB") throw this.bad("member's id", member.kind, "WB", member.start);
    this.main = member;
    this.length = member.start + member.length;
    const { dataStart: at, dataEnd, flags } = member;
    if (dataEnd - at < BLOCK_FIXED_BYTES) throw this.bad("block header's data", dataEnd - at, BLOCK_FIXED_BYTES, at);
    if (flags > (FLAG_NEWLINES | FLAG_OVERFLOW)) throw this.bad("flags", flags, "bits 0 and 1", member.start + 17);
    this.hasNewlines = (flags & FLAG_NEWLINES) !== 0;
    this.textBytes = bytes.readUInt32LE(at + TEXT_AT);
    this.rows = bytes.readUInt32LE(at + ROWS_AT);
    this.minSec = this.seconds(at + MIN_SEC_AT);
    this.minNsec = bytes.readUInt32LE(at + MIN_NSEC_AT);
    this.maxSec = this.seconds(at + MAX_SEC_AT);
    this.maxNsec = bytes.readUInt32LE(at + MAX_NSEC_AT);
    // Each line has its LF, so rows are bounded by what was written; nothing is allocated on a lie.
    if (this.rows < 1 || this.rows > this.textBytes)
      throw this.bad("rows", this.rows, `1 to ${this.textBytes}`, at + ROWS_AT);
    this.findSections(bytes, at + BLOCK_FIXED_BYTES, dataEnd);
    this.findOverflow(front, (flags & FLAG_OVERFLOW) !== 0);
  }

  get timeMinNs(): bigint {
    return joinNs(this.minSec, this.minNsec);
  }

  get timeMaxNs(): bigint {
    return joinNs(this.maxSec, this.maxNsec);
  }

  get tenant(): string {
    return this.stream().tenant;
  }

  get canonical(): string {
    return this.stream().canonical;
  }

  get labels(): Labels {
    return this.stream().labels;
  }

  get sec(): Float64Array {
    return this.times().sec;
  }

  get nsec(): Uint32Array {
    return this.times().nsec;
  }

  get text(): Buffer {
    this.textCache ??= this.inflate();
    return this.textCache;
  }

  get lineStarts(): Uint32Array {
    this.startsCache ??= this.findLines();
    return this.startsCache;
  }

  /** Which ids the block may hold. */
  get ids(): IdPresence {
    const filter = this.section(SECTION_FILTER);
    let slots = 0;
    for (const { type, bytes, at, end } of this.sections) if (type === SECTION_ID && at < end) slots |= 1 << bytes[at];
    return { slots, filter: filter === null ? null : filter.bytes.subarray(filter.at, filter.end) };
  }

  metadata(row: number): [string, string][] {
    const out: [string, string][] = [];
    for (const column of this.idColumns()) {
      const text = this.idOf(column, row);
      if (text !== null) out.push([ID_NAMES[column.slot], text]);
    }
    const shared = this.shared();
    if (shared !== null && shared.codes[row] > 0) out.push(...shared.sets[shared.codes[row] - 1]);
    for (const { name, values, bytes } of this.columns()) {
      const code = values.codes[row];
      if (code > 0) out.push([name, bytes.toString("utf8", values.starts[code - 1], values.ends[code - 1])]);
    }
    return out;
  }

  rowsWithId(slot: number, low8: Uint8Array): number[] {
    if (!mayHoldId(this.ids, slot, low8)) return [];
    const out: number[] = [];
    const column = this.idColumns().find((ids) => ids.slot === slot);
    if (column === undefined) return out;
    if (column.raw.length > 0) this.addRawRows(out, column, low8);
    if (column.raw.length < this.rows * ID_BYTES[slot]) this.addInLineRows(out, column, low8);
    return out.sort((a, b) => a - b);
  }

  private addRawRows(out: number[], { slot, at, raw, rawIndex }: IdColumn, low8: Uint8Array): void {
    const size = ID_BYTES[slot];
    const low = Buffer.from(low8.buffer, low8.byteOffset, 8);
    for (let row = 0; row < this.rows; row++) {
      if (at[row] !== ID_ELSEWHERE) continue;
      const end = (rawIndex[row] + 1) * size;
      if (low.equals(raw.subarray(end - 8, end))) out.push(row);
    }
  }

  /** Searches the whole text for the id's end, then looks whether the place is where the row says that its id stands. */
  private addInLineRows(out: number[], column: IdColumn, low8: Uint8Array): void {
    const { text, lineStarts: starts, rows } = this;
    const tail = idTail(column.slot, low8);
    const needle = Buffer.from(tail.text, "latin1");
    let row = 0;
    for (let hit = text.indexOf(needle); hit !== -1; hit = text.indexOf(needle, hit + 1)) {
      row = rowAt(starts, row, rows, hit);
      const offset = this.offsetOf(column, row);
      if (offset >= 0 && starts[row] + offset + tail.before === hit) out.push(row);
    }
  }

  /** Offset of a row's id in its line, negative where it has none there. */
  private offsetOf(column: IdColumn, row: number): number {
    const at = column.at[row];
    if (at < 0 || !column.fromEnd) return at;
    const starts = this.lineStarts;
    return starts[row + 1] - starts[row] - 1 - at;
  }

  private idOf(column: IdColumn, row: number): string | null {
    const { slot, at, raw, rawIndex } = column;
    if (at[row] === ID_ABSENT) return null;
    if (at[row] === ID_ELSEWHERE) {
      const start = rawIndex[row] * ID_BYTES[slot];
      return idText(slot, raw.subarray(start, start + ID_BYTES[slot]));
    }
    const start = this.lineStarts[row] + this.offsetOf(column, row);
    return this.text.toString("latin1", start, start + ID_TEXT_BYTES[slot]);
  }

  private bad(what: string, got: string | number, want: string | number, at: number): WeirError {
    return corrupt("block_corrupt", what, got, want, this.place, at);
  }

  private seconds(at: number): number {
    return Number(this.bytes.readBigInt64LE(at));
  }

  private findSections(bytes: Buffer, at: number, end: number): void {
    while (at < end) {
      const dataAt = at + SECTION_HEADER_BYTES;
      const dataEnd = dataAt <= end ? dataAt + bytes.readUInt32LE(at + 1) : end + 1;
      if (dataEnd > end) throw this.bad("section's end", dataEnd, `at most ${end}`, at);
      this.sections.push({ type: bytes[at], bytes, at: dataAt, end: dataEnd });
      at = dataEnd;
    }
  }

  private findOverflow(front: readonly Member[], wanted: boolean): void {
    const note = this.section(SECTION_OVERFLOW);
    if (!wanted) {
      if (front.length > 0) throw this.bad("members in front of the block", front.length, 0, 0);
      return;
    }
    if (note === null || note.end - note.at < OVERFLOW_BYTES) throw this.bad("overflow section", "none", "one", 0);
    const count = note.bytes.readUInt32LE(note.at);
    if (count !== front.length) throw this.bad("members in front of the block", front.length, count, 0);
    const data = Buffer.concat(front.map(({ dataStart, dataEnd }) => this.bytes.subarray(dataStart, dataEnd)));
    const length = note.bytes.readUInt32LE(note.at + 4);
    if (length !== data.length) throw this.bad("bytes of overflow sections", data.length, length, 0);
    const check = note.bytes.readUInt32LE(note.at + 8);
    if (crc32(data) !== check) throw this.bad("check of overflow sections", crc32(data), check, 0);
    this.findSections(data, 0, data.length);
  }

  private section(type: number): Section | null {
    return this.sections.find((section) => section.type === type) ?? null;
  }

  private needed(type: number, name: string): Section {
    const section = this.section(type);
    if (section === null) throw this.bad(`${name} section`, "none", "one", this.main.start);
    return section;
  }

  /** Runs a decoder of `section`; a varint that is cut is corruption of this block. */
  private decoding<T>(section: Section, decode: (place: Place) => T): T {
    const place = section.bytes === this.bytes ? this.place : { key: `${this.place.key} (overflow)`, offset: 0 };
    try {
      return decode(place);
    } catch (error) {
      if (codeOf(error) !== "bad_varint") throw error;
      throw corrupt("block_corrupt", "section's data", messageOf(error), "a varint", place, section.at);
    }
  }

  private stream(): { tenant: string; canonical: string; labels: Labels } {
    if (this.streamCache !== null) return this.streamCache;
    const section = this.needed(SECTION_STREAM, "stream");
    const { bytes, at, end } = section;
    this.streamCache = this.decoding(section, () => {
      const reader = new VarintReader(bytes, at, end);
      const tenant = readString(reader);
      const canonical = bytes.toString("utf8", reader.at, end);
      return { tenant, canonical, labels: parseLabels(canonical, this.place, "block_corrupt") };
    });
    return this.streamCache;
  }

  private times(): Times {
    if (this.timesCache !== null) return this.timesCache;
    const section = this.needed(SECTION_TIMES, "times");
    const { rows, minSec, minNsec, maxSec, maxNsec } = this;
    const times = this.decoding(section, (place) =>
      decodeTimes(section.bytes, section.at, section.end, rows, minSec, minNsec, place),
    );
    if (times.sec[rows - 1] !== maxSec || times.nsec[rows - 1] !== maxNsec) {
      throw this.bad("last time's second", times.sec[rows - 1], maxSec, section.at);
    }
    this.timesCache = times;
    return times;
  }

  private inflate(): Buffer {
    const { bytes, main, textBytes } = this;
    if (bytes.length < this.length) throw this.bad("block, cut", bytes.length, this.length, bytes.length);
    const trailer = this.length - TRAILER_BYTES;
    if (bytes.readUInt32LE(trailer + 4) !== textBytes) {
      throw this.bad("length in gzip's trailer", bytes.readUInt32LE(trailer + 4), textBytes, trailer + 4);
    }
    let text: Buffer;
    try {
      text = inflate(bytes.subarray(main.dataEnd, trailer), textBytes);
    } catch (error) {
      if (codeOf(error) !== "bad_deflate") throw error;
      throw this.bad("text", messageOf(error), `${textBytes} bytes of deflate data`, main.dataEnd);
    }
    const check = bytes.readUInt32LE(trailer);
    const computed = crc32(text);
    if (computed !== check) throw this.bad("check of the text", computed, check, main.dataEnd);
    return text;
  }

  private findLines(): Uint32Array {
    const starts = new Uint32Array(this.rows + 1);
    const found = this.hasNewlines ? this.linesByLength(starts) : linesByNewline(this.text, starts, this.rows);
    if (found !== this.textBytes) throw this.bad("end of the last line", found, this.textBytes, this.main.dataEnd);
    return starts;
  }

  private linesByLength(starts: Uint32Array): number {
    const section = this.needed(SECTION_LENGTHS, "line lengths");
    const { text, rows } = this;
    return this.decoding(section, () => {
      const reader = new VarintReader(section.bytes, section.at, section.end);
      let at = 0;
      for (let row = 0; row < rows; row++) {
        at += reader.next() + 1;
        if (text[at - 1] !== LF) return -1;
        starts[row + 1] = at;
      }
      return at;
    });
  }

  private idColumns(): IdColumn[] {
    this.idsCache ??= this.sections
      .filter(({ type }) => type === SECTION_ID)
      .map((section) =>
        this.decoding(section, (place) => decodeIds(section.bytes, section.at, section.end, this.rows, place)),
      );
    return this.idsCache;
  }

  private columns(): { name: string; values: CodedValues; bytes: Buffer }[] {
    this.columnsCache ??= this.sections
      .filter(({ type }) => type === SECTION_COLUMN)
      .map((section) =>
        this.decoding(section, (place) => {
          const reader = new VarintReader(section.bytes, section.at, section.end);
          const name = readString(reader);
          const values = decodeValues(section.bytes, reader.at, section.end, this.rows, place);
          return { name, values, bytes: section.bytes };
        }),
      );
    return this.columnsCache;
  }

  private shared(): { codes: Uint32Array; sets: [string, string][][] } | null {
    if (this.sharedCache !== undefined) return this.sharedCache;
    const section = this.section(SECTION_SHARED);
    this.sharedCache =
      section === null
        ? null
        : this.decoding(section, (place) => {
            const { starts, ends, codes } = decodeValues(section.bytes, section.at, section.end, this.rows, place);
            const sets = Array.from(starts, (start, v) => readPairs(new VarintReader(section.bytes, start, ends[v])));
            return { codes, sets };
          });
    return this.sharedCache;
  }
}

function readPairs(reader: VarintReader): [string, string][] {
  const out: [string, string][] = [];
  for (let left = reader.next(); left > 0; left--) out.push([readString(reader), readString(reader)]);
  return out;
}

/** Labels of their canonical text. */
export function parseLabels(canonical: string, place: Place, code: "block_corrupt" | "segment_corrupt"): Labels {
  let value: unknown;
  try {
    value = JSON.parse(canonical);
  } catch (error) {
    throw corrupt(code, "labels", messageOf(error), "JSON", place);
  }
  if (typeof value !== "object" || value === null) throw corrupt(code, "labels", canonical, "a JSON object", place);
  // Written by `canonicalLabels`, under a check that held.
  return value as Labels;
}

/** Fills in the line starts of text without newlines in lines; gives where the last line ends, or -1 when lines are missing. */
function linesByNewline(text: Buffer, starts: Uint32Array, rows: number): number {
  if (text.length < rows * SHORT_LINE_BYTES) {
    let row = 0;
    for (let at = 0; at < text.length; at++) {
      if (text[at] === LF && row < rows) starts[++row] = at + 1;
    }
    return row === rows ? starts[rows] : -1;
  }
  let at = 0;
  for (let row = 1; row <= rows; row++) {
    at = text.indexOf(LF, at) + 1;
    if (at === 0) return -1;
    starts[row] = at;
  }
  return at;
}

/** The row whose line holds byte `at`, which is not before row `from`'s line. */
function rowAt(starts: Uint32Array, from: number, rows: number, at: number): number {
  let low = from;
  let high = rows - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (starts[middle] <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}
