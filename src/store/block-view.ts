import { crc32 } from "../codec/crc32.ts";
import { inflate } from "../codec/inflate.ts";
import { VarintReader } from "../codec/varint.ts";
import { codeOf, messageOf, type WeirError } from "../core/errors.ts";
import type { Labels } from "../core/labels.ts";
import { ID_ABSENT, ID_BYTES, ID_ELSEWHERE, ID_NAMES, idText, TRACE_ID } from "../core/line.ts";
import { joinNs } from "../core/time.ts";
import {
  SECTION_COLUMN,
  SECTION_ID,
  SECTION_LENGTHS,
  SECTION_SHARED,
  SECTION_STREAM,
  SECTION_TIMES,
} from "./block-format.ts";
import {
  type BlockHeader,
  decodeSection,
  findSection,
  idPresence,
  readBlockHeader,
  type Section,
} from "./block-header.ts";
import { corrupt, NOWHERE, type Place } from "./errors.ts";
import { ALT_NAME, altTest, isAltColumn, mergeRows } from "./id-alt.ts";
import { decodeIds, ID_TEXT_BYTES, type IdColumn, idTail } from "./id-column.ts";
import { type IdPresence, mayHoldId } from "./id-filter.ts";
import { linesByLength, linesByNewline, rowAt } from "./line-starts.ts";
import { TRAILER_BYTES } from "./member.ts";
import { type CodedPart, combineParts, type MetadataCodes, setsPart } from "./metadata-codes.ts";
import { type CodedTexts, decodeValues, readString } from "./text-column.ts";
import { decodeTimes, type Times, TimesWalk, WALK_SEC_MAX } from "./times.ts";
import type { BlockView } from "./view.ts";

/**
 * Reads the block that begins at bytes[0]. Only its header has to be there and is checked at once; columns and text are
 * decoded when they are asked for. `place` says where the bytes stand, for messages.
 * Throws `block_corrupt` (as do all members of what it returns) for bytes that are cut or damaged.
 */
export function parseBlock(bytes: Buffer, place: Place = NOWHERE): StoredBlock {
  return new StoredBlock(bytes, place);
}

interface StreamSection {
  readonly tenant: string;
  readonly canonical: string;
  readonly labels: Labels;
}

export interface SharedSets {
  /** For each row 0 for none, or 1 + the place of its set. */
  readonly codes: Uint32Array;
  readonly sets: readonly [string, string][][];
}

/** The same, each set as it is written, for whoever knows sets by their bytes. */
export interface WrittenSets {
  readonly codes: Uint32Array;
  readonly count: number;
  /** The bytes of set i, as latin1. */
  written(i: number): string;
  pairs(i: number): [string, string][];
}

/** Structured metadata as it stands in a block. */
export interface BlockColumns {
  readonly ids: readonly IdColumn[];
  readonly shared: WrittenSets | null;
  readonly texts: readonly CodedTexts[];
}

/** A block that was read. Needs nothing but its bytes, so it can be made in any thread. */
export class StoredBlock implements BlockView {
  readonly sorted = true;
  private readonly bytes: Buffer;
  private readonly place: Place;
  private readonly header: BlockHeader;
  private streamCache: StreamSection | null = null;
  private timesCache: Times | null = null;
  private textCache: Buffer | null = null;
  private startsCache: Uint32Array | null = null;
  private idsCache: IdColumn[] | null = null;
  private columnsCache: CodedTexts[] | null = null;
  private sharedCache: SharedSets | null | undefined;

  constructor(bytes: Buffer, place: Place) {
    this.bytes = bytes;
    this.place = place;
    this.header = readBlockHeader(bytes, place);
  }

  get rows(): number {
    return this.header.rows;
  }

  get metadataBytes(): null {
    return null;
  }

  get textBytes(): number {
    return this.header.textBytes;
  }

  get hasNewlines(): boolean {
    return this.header.hasNewlines;
  }

  /** Bytes of the whole block, continuation members included. */
  get length(): number {
    return this.header.length;
  }

  get timeMinNs(): bigint {
    return joinNs(this.header.minSec, this.header.minNsec);
  }

  get timeMaxNs(): bigint {
    return joinNs(this.header.maxSec, this.header.maxNsec);
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

  /** Whether the block is of the stream whose section, as `encodeStream` makes it, these bytes are: without decoding it. */
  isOf(stream: Uint8Array): boolean {
    const { bytes, at, end } = this.needed(SECTION_STREAM, "stream");
    return bytes.compare(stream, 0, stream.length, at, end) === 0;
  }

  get sec(): Float64Array {
    return this.times().sec;
  }

  get nsec(): Uint32Array {
    return this.times().nsec;
  }

  walkTimes(): TimesWalk | null {
    const { minSec, maxSec, rows } = this.header;
    if (maxSec - minSec >= WALK_SEC_MAX) return null;
    const { bytes, at, end, place } = this.needed(SECTION_TIMES, "times");
    return new TimesWalk(bytes, at, end, rows, place);
  }

  get text(): Buffer {
    this.textCache ??= this.inflate();
    return this.textCache;
  }

  get inflated(): boolean {
    return this.textCache !== null;
  }

  get lineStarts(): Uint32Array {
    this.startsCache ??= this.findLines();
    return this.startsCache;
  }

  /** Which ids the block may hold. */
  get ids(): IdPresence {
    return idPresence(this.header);
  }

  metadata(row: number): [string, string][] {
    const out: [string, string][] = [];
    for (const column of this.idColumns()) {
      const text = this.idOf(column, row);
      if (text !== null) out.push([ID_NAMES[column.slot], text]);
    }
    const shared = this.shared();
    if (shared !== null && shared.codes[row] > 0) {
      for (const [name, value] of shared.sets[shared.codes[row] - 1]) out.push([name, value]);
    }
    for (const column of this.columns()) {
      const code = column.codes[row];
      if (code > 0) out.push([column.name, textOf(column, code - 1)]);
    }
    return out;
  }

  /** All columns as they stand, for whoever writes the rows anew. */
  get metadataColumns(): BlockColumns {
    return { ids: this.idColumns(), shared: this.writtenSets(), texts: this.columns() };
  }

  metadataCodes(names: ReadonlySet<string> | null): MetadataCodes | null {
    if (names?.size === 0) return combineParts(this.rows, []);
    const wants = (name: string) => names === null || names.has(name);
    for (const { bytes, at } of this.sectionsOf(SECTION_ID)) if (wants(ID_NAMES[bytes[at]] ?? "")) return null;
    const parts: CodedPart[] = [];
    const shared = this.shared();
    if (shared !== null) parts.push(setsPart(this.rows, shared.codes, [[], ...shared.sets], wants));
    for (const section of this.sectionsOf(SECTION_COLUMN)) {
      if (wants(decodeSection(section, columnName)))
        parts.push(columnPart(decodeSection(section, (it) => this.column(it))));
    }
    return combineParts(this.rows, parts);
  }

  rowsWithId(slot: number, low8: Uint8Array): number[] {
    if (!mayHoldId(this.ids, slot, low8)) return [];
    const own = this.rowsWithOwnId(slot, low8);
    const further = slot === TRACE_ID ? this.rowsWithAltId(low8) : [];
    return further.length === 0 ? own : mergeRows(own, further);
  }

  private rowsWithAltId(low8: Uint8Array): number[] {
    // Other columns are decoded with these, so not unless there is one.
    if (!this.sectionsOf(SECTION_COLUMN).some((section) => decodeSection(section, isAltColumn))) return [];
    const test = altTest(low8);
    const out: number[] = [];
    for (const column of this.columns()) {
      if (column.name !== ALT_NAME) continue;
      const wanted = Array.from(column.starts, (_, place) => test(textOf(column, place)));
      for (let row = 0; row < this.rows; row++)
        if (column.codes[row] > 0 && wanted[column.codes[row] - 1]) out.push(row);
    }
    return out;
  }

  private rowsWithOwnId(slot: number, low8: Uint8Array): number[] {
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
  offsetOf(column: IdColumn, row: number): number {
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

  private needed(type: number, name: string): Section {
    const section = findSection(this.header, type);
    if (section === null) throw this.bad(`${name} section`, "none", "one", 0);
    return section;
  }

  private stream(): StreamSection {
    this.streamCache ??= decodeSection(this.needed(SECTION_STREAM, "stream"), ({ bytes, at, end, place }) => {
      const reader = new VarintReader(bytes, at, end);
      const tenant = readString(reader);
      const canonical = bytes.toString("utf8", reader.at, end);
      return { tenant, canonical, labels: parseLabels(canonical, place, "block_corrupt") };
    });
    return this.streamCache;
  }

  private times(): Times {
    if (this.timesCache !== null) return this.timesCache;
    const { rows, minSec, minNsec, maxSec, maxNsec } = this.header;
    const section = this.needed(SECTION_TIMES, "times");
    const times = decodeTimes(section.bytes, section.at, section.end, rows, minSec, minNsec, section.place);
    if (times.sec[rows - 1] !== maxSec || times.nsec[rows - 1] !== maxNsec) {
      throw this.bad("last time's second", times.sec[rows - 1], maxSec, section.at);
    }
    this.timesCache = times;
    return times;
  }

  private inflate(): Buffer {
    const { bytes } = this;
    const { textBytes, length, deflateAt } = this.header;
    if (bytes.length < length) throw this.bad("block, cut", bytes.length, length, bytes.length);
    const trailer = length - TRAILER_BYTES;
    if (bytes.readUInt32LE(trailer + 4) !== textBytes) {
      throw this.bad("length in gzip's trailer", bytes.readUInt32LE(trailer + 4), textBytes, trailer + 4);
    }
    let text: Buffer;
    try {
      text = inflate(bytes.subarray(deflateAt, trailer), textBytes);
    } catch (error) {
      if (codeOf(error) !== "bad_deflate") throw error;
      throw this.bad("text", messageOf(error), `${textBytes} bytes of deflate data`, deflateAt);
    }
    const check = bytes.readUInt32LE(trailer);
    const computed = crc32(text);
    if (computed !== check) throw this.bad("check of the text", computed, check, deflateAt);
    return text;
  }

  private findLines(): Uint32Array {
    const { rows, textBytes, hasNewlines, deflateAt } = this.header;
    const starts = new Uint32Array(rows + 1);
    const found = hasNewlines
      ? decodeSection(this.needed(SECTION_LENGTHS, "line lengths"), ({ bytes, at, end }) =>
          linesByLength(new VarintReader(bytes, at, end), this.text, starts),
        )
      : linesByNewline(this.text, starts);
    if (found !== textBytes) throw this.bad("end of the last line", found, textBytes, deflateAt);
    return starts;
  }

  private sectionsOf(type: number): readonly Section[] {
    return this.header.sections.filter((section) => section.type === type);
  }

  private idColumns(): IdColumn[] {
    this.idsCache ??= this.sectionsOf(SECTION_ID).map((section) =>
      decodeSection(section, ({ bytes, at, end, place }) => decodeIds(bytes, at, end, this.rows, place)),
    );
    return this.idsCache;
  }

  private columns(): CodedTexts[] {
    this.columnsCache ??= this.sectionsOf(SECTION_COLUMN).map((section) =>
      decodeSection(section, (it) => this.column(it)),
    );
    return this.columnsCache;
  }

  private column({ bytes, at, end, place }: Section): CodedTexts {
    const reader = new VarintReader(bytes, at, end);
    const name = readString(reader);
    const values = decodeValues(bytes, reader.at, end, this.rows, place);
    const { starts, ends, codes } = values;
    return { starts, ends, codes, name, bytes, texts: new Array<string | undefined>(starts.length).fill(undefined) };
  }

  private shared(): SharedSets | null {
    if (this.sharedCache !== undefined) return this.sharedCache;
    const written = this.writtenSets();
    this.sharedCache =
      written === null
        ? null
        : { codes: written.codes, sets: Array.from({ length: written.count }, (_, i) => written.pairs(i)) };
    return this.sharedCache;
  }

  private writtenSets(): WrittenSets | null {
    const section = findSection(this.header, SECTION_SHARED);
    if (section === null) return null;
    return decodeSection(section, ({ bytes, at, end, place }) => {
      const { starts, ends, codes } = decodeValues(bytes, at, end, this.rows, place);
      return {
        codes,
        count: starts.length,
        written: (i) => bytes.toString("latin1", starts[i], ends[i]),
        pairs: (i) => decodeSection(section, () => readSet(bytes, starts[i], ends[i])),
      };
    });
  }
}

function columnName({ bytes, at, end }: Section): string {
  return readString(new VarintReader(bytes, at, end));
}

function columnPart(column: CodedTexts): CodedPart {
  const { codes, texts, name } = column;
  return {
    codes,
    count: texts.length + 1,
    pairs: (code) => (code === 0 ? [] : [[name, textOf(column, code - 1)]]),
  };
}

/** A value's text, decoded at the first use: most columns have few values in many rows. */
export function textOf({ texts, bytes, starts, ends }: CodedTexts, place: number): string {
  const known = texts[place];
  if (known !== undefined) return known;
  const text = bytes.toString("utf8", starts[place], ends[place]);
  texts[place] = text;
  return text;
}

function readSet(bytes: Buffer, start: number, end: number): [string, string][] {
  const reader = new VarintReader(bytes, start, end);
  const pairs: [string, string][] = [];
  for (let left = reader.next(); left > 0; left--) pairs.push([readString(reader), readString(reader)]);
  return pairs;
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
