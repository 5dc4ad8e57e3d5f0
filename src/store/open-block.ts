import { ID_ABSENT, ID_BYTES, ID_ELSEWHERE, ID_SLOTS, type Line, type SharedMetadata } from "../core/line.ts";
import { bitsFor, packedBytes } from "./bits.ts";
import type { ByteCopier } from "./byte-copier.ts";
import { ID_TEXT_BYTES, type IdRows } from "./id-column.ts";
import { FILTERED_SLOTS, filterBytes } from "./id-filter.ts";
import { MEMBER_DATA_MAX } from "./member.ts";
import { OpenColumn } from "./open-column.ts";
import { SPARSE_ROW_BYTES } from "./text-column.ts";
import { SHORT_DELTA_BYTES, SHORT_DELTA_SEC, TIME_BYTES_MAX } from "./times.ts";

/** Text of a block's first buffer: a stream that says little costs little. */
const FIRST_TEXT_BYTES = 4096;
const FIRST_ROWS = 16;
/** Four steps from the first buffer to a full one. Rows double once there are many: nobody knows how many there will be. */
const GROWTH = 4;
const FEW_ROWS = 256;
/** Bytes of a line's length as a varint: below 2^21 in any block with more than one row. */
const LENGTH_BYTES = 3;
const CODE_BYTES = 3;
/** What a row costs in the header at most, beside its time, ids and metadata: length, kinds of four ids, shared set. */
const ROW_BYTES = LENGTH_BYTES + 1 + CODE_BYTES;
/** What an id costs beside its raw bytes: filter bits, and rounding. */
const ID_EXTRA_BYTES = 3;
/** Offset of an id in its line, 20 bits at most in any block with more than one row. */
const ID_OFFSET_BYTES = 3;
/** Fixed fields, section headers, and the rounding of each packed run. */
const FIXED_BYTES = 256;
/** A block whose header has less room left is closed: asking again and again what fits would cost more than it gains. */
const LEAST_ROOM = MEMBER_DATA_MAX / 32;
/** UTF-8 bytes of a UTF-16 unit at most. */
const UTF8_MAX = 3;
const LF = 0x0a;

export const LEVEL_NAME = "detected_level";

/** Where open blocks get their full-size text buffers from, and give them back. */
export interface TextPool {
  /** Size of a block's text at most, but for a block of a single longer line. */
  readonly textMax: number;
  readonly copier: ByteCopier;
  take(): Buffer;
}

/**
 * Lines of one stream that are still growing into a block. `append` is the hot path of the store: it copies the line's
 * bytes, times and ids into flat arrays, and bounds what the block's header will take (MEMBER_DATA_MAX bytes) by adding
 * up worst cases, which are replaced by a closer count whenever they run out.
 *
 * What was written once never changes, and arrays that grow are replaced: a view of the first n rows stays valid.
 */
export class OpenBlock {
  text: Buffer;
  textBytes = 0;
  rows = 0;
  sec: Float64Array<ArrayBuffer>;
  nsec: Uint32Array<ArrayBuffer>;
  /** Line r is text[starts[r], starts[r + 1] - 1). */
  starts: Uint32Array<ArrayBuffer>;
  sorted = true;
  readonly ids: (IdRows | null)[] = new Array<IdRows | null>(ID_SLOTS).fill(null);
  readonly sharedSets: SharedMetadata[] = [];
  /** The set of each row, or null while all rows have the first. */
  sharedCodes: Uint32Array<ArrayBuffer> | null = null;
  readonly columns: OpenColumn[] = [];
  /** Bytes of memory that the block keeps from the collector, roughly. */
  memoryBytes: number;
  /** Somebody holds a view: the text buffer must not be used again. */
  viewed = false;

  private textView: DataView;
  private readonly pool: TextPool;
  private readonly streamBytes: number;
  private capacity: number;
  /** Room in the header that is left for certain. */
  private room: number;
  private maxSec = Number.NEGATIVE_INFINITY;
  private maxNsec = 0;
  private minSec = Number.POSITIVE_INFINITY;
  private timeBytes = 0;
  private readonly idBytes = new Array<number>(ID_SLOTS).fill(0);
  private readonly idCounts = new Array<number>(ID_SLOTS).fill(0);
  private lastShared: SharedMetadata | null = null;
  private lastSharedCode = 0;
  private sharedPlaces: Map<SharedMetadata, number> | null = null;
  private sharedBytes = 0;
  private level: OpenColumn | null = null;
  private columnPlaces: Map<string, OpenColumn[]> | null = null;
  private scannedRows = 0;
  private newlineSeen = false;
  private idWords: Uint32Array = EMPTY_WORDS;
  private idSource: Uint8Array | null = null;

  /** `streamBytes`: bytes that tenant and labels take in the header. `rowsHint`: rows of a full block if one is to be expected, 0 otherwise. */
  constructor(pool: TextPool, streamBytes: number, rowsHint: number) {
    this.pool = pool;
    this.streamBytes = streamBytes;
    this.text = rowsHint > 0 ? pool.take() : EMPTY_TEXT;
    this.textView = viewOf(this.text);
    this.capacity = rowsHint > 0 ? rowsHint + (rowsHint >>> 3) : FIRST_ROWS;
    this.sec = new Float64Array(this.capacity);
    this.nsec = new Uint32Array(this.capacity);
    this.starts = new Uint32Array(this.capacity + 1);
    this.room = MEMBER_DATA_MAX - FIXED_BYTES - streamBytes;
    this.memoryBytes = this.text.length + this.capacity * 16 + 1024;
  }

  /** False, and nothing has changed, when the line has no room: then the block is to be closed and another begun. A first line always fits. */
  append(line: Line): boolean {
    const { sec, nsec, start, end } = line;
    const length = end - start;
    const row = this.rows;
    if (row > 0 && this.textBytes + length >= this.pool.textMax) return false;
    const timeCost = this.timeCost(sec, nsec);
    const cost = ROW_BYTES + timeCost + this.metadataCost(line);
    if (cost > this.room && row > 0 && !this.findRoom(cost)) return false;
    this.room -= cost;
    this.timeBytes += timeCost;

    if (row === this.capacity) this.growRows();
    this.copyText(line.bytes, start, end);
    this.sec[row] = sec;
    this.nsec[row] = nsec;
    this.starts[row + 1] = this.textBytes;
    if (sec > this.maxSec || (sec === this.maxSec && nsec >= this.maxNsec)) {
      this.maxSec = sec;
      this.maxNsec = nsec;
    } else this.sorted = false;
    if (sec < this.minSec) this.minSec = sec;

    const idAt = line.idAt;
    for (let slot = 0; slot < ID_SLOTS; slot++) {
      if (idAt[slot] !== ID_ABSENT) this.addId(row, slot, line, length);
      else {
        const ids = this.ids[slot];
        if (ids !== null) ids.at[row] = ID_ABSENT;
      }
    }
    if (line.shared !== this.lastShared) this.changeShared(row, line.shared);
    if (this.sharedCodes !== null) this.sharedCodes[row] = this.lastSharedCode;
    if (line.level !== "") {
      // Where one line has a level, all do: as large as the block from the start, it need not grow with each doubling.
      if (this.level === null) this.level = this.columnFor(row, LEVEL_NAME, this.capacity);
      this.memoryBytes += this.level.add(row, line.level);
    }
    for (let i = 0; i < line.extraCount; i++) {
      this.memoryBytes += this.columnFor(row, line.extraNames[i]).add(row, line.extraValues[i]);
    }
    this.rows = row + 1;
    return true;
  }

  /** Whether some line holds a newline, so that newlines do not tell lines apart. Looks at each row once. */
  hasNewlines(): boolean {
    const { text, starts } = this;
    while (!this.newlineSeen && this.scannedRows < this.rows) {
      const row = this.scannedRows++;
      // The text after the last line may be anything, but each line's own LF stands before it.
      this.newlineSeen = text.indexOf(LF, starts[row]) !== starts[row + 1] - 1;
    }
    return this.newlineSeen;
  }

  /** Bytes that the header's data takes at most. Costs time in proportion to the number of columns. */
  headerBytesMax(): number {
    const { rows } = this;
    let bytes = FIXED_BYTES + this.streamBytes + this.timeBytes;
    if (this.hasNewlines()) bytes += rows * (LENGTH_BYTES + 1);
    let filtered = 0;
    for (let slot = 0; slot < ID_SLOTS; slot++) {
      if (this.ids[slot] === null) continue;
      bytes += packedBytes(rows, 2) + this.idBytes[slot] + 16;
      if (FILTERED_SLOTS.includes(slot)) filtered += this.idCounts[slot];
    }
    bytes += filterBytes(filtered) + this.sharedBytes + packedBytes(rows, bitsFor(this.sharedSets.length));
    for (const column of this.columns) bytes += column.bytesMax(rows);
    return bytes;
  }

  /** Replaces the worst cases added up so far by a closer count, and says whether `cost` more bytes fit. */
  private findRoom(cost: number): boolean {
    this.room = MEMBER_DATA_MAX - this.headerBytesMax();
    return this.room >= cost && this.room >= LEAST_ROOM;
  }

  /**
   * Bytes that a time adds to the deltas between sorted times at most. A time after all others adds one delta; one in
   * between splits a delta in two that are no longer; one before all others adds one no longer than the span.
   */
  private timeCost(sec: number, nsec: number): number {
    if (this.rows === 0) return 0;
    if (sec < this.maxSec || (sec === this.maxSec && nsec < this.maxNsec)) {
      return this.maxSec - Math.min(sec, this.minSec) < SHORT_DELTA_SEC ? SHORT_DELTA_BYTES : TIME_BYTES_MAX;
    }
    const seconds = sec - this.maxSec;
    return seconds < SHORT_DELTA_SEC ? shortDeltaBytes(seconds * 1e9 + nsec - this.maxNsec) : TIME_BYTES_MAX;
  }

  private metadataCost(line: Line): number {
    let cost = 0;
    for (let slot = 0; slot < ID_SLOTS; slot++) {
      if (line.idAt[slot] !== ID_ABSENT) cost += ID_BYTES[slot] + ID_EXTRA_BYTES;
    }
    if (line.shared !== this.lastShared) cost += setBytesMax(line.shared);
    const level = line.level;
    if (level !== "") {
      cost += SPARSE_ROW_BYTES;
      if (this.level === null || level !== this.level.lastValue) cost += UTF8_MAX * level.length + 5;
      if (this.level === null) cost += COLUMN_BYTES + LEVEL_NAME.length;
    }
    for (let i = 0; i < line.extraCount; i++) {
      const chars = line.extraNames[i].length + line.extraValues[i].length;
      cost += COLUMN_BYTES + SPARSE_ROW_BYTES + 5 + UTF8_MAX * chars;
    }
    return cost;
  }

  private copyText(bytes: Buffer, start: number, end: number): void {
    const at = this.textBytes;
    const after = at + end - start + 1;
    if (after > this.text.length) this.growText(after);
    this.pool.copier.copy(bytes, start, end, this.text, this.textView, at);
    this.text[after - 1] = LF;
    this.textBytes = after;
  }

  private growText(needed: number): void {
    const { textMax } = this.pool;
    let size = Math.max(FIRST_TEXT_BYTES, this.text.length * GROWTH);
    while (size < needed) size *= GROWTH;
    const text =
      needed > textMax
        ? Buffer.allocUnsafeSlow(needed)
        : size >= textMax
          ? this.pool.take()
          : Buffer.allocUnsafeSlow(size);
    this.text.copy(text, 0, 0, this.textBytes);
    this.memoryBytes += text.length - this.text.length;
    this.text = text;
    this.textView = viewOf(text);
  }

  private growRows(): void {
    const capacity = this.capacity * (this.capacity < FEW_ROWS ? GROWTH : 2);
    const added = capacity - this.capacity;
    this.sec = copyOf(new Float64Array(capacity), this.sec);
    this.nsec = copyOf(new Uint32Array(capacity), this.nsec);
    this.starts = copyOf(new Uint32Array(capacity + 1), this.starts);
    this.memoryBytes += added * 16;
    for (let slot = 0; slot < ID_SLOTS; slot++) {
      const ids = this.ids[slot];
      if (ids === null) continue;
      // A new object: whoever holds a view keeps the arrays of its rows.
      this.ids[slot] = {
        at: copyOf(new Int32Array(capacity), ids.at),
        words: copyOf(new Uint32Array((capacity * ID_BYTES[slot]) / 4), ids.words),
      };
      this.memoryBytes += added * (4 + ID_BYTES[slot]);
    }
    if (this.sharedCodes !== null) {
      this.sharedCodes = copyOf(new Uint32Array(capacity), this.sharedCodes);
      this.memoryBytes += added * 4;
    }
    this.capacity = capacity;
  }

  private addId(row: number, slot: number, line: Line, length: number): void {
    let ids = this.ids[slot];
    if (ids === null) {
      ids = {
        at: new Int32Array(this.capacity).fill(ID_ABSENT, 0, row),
        words: new Uint32Array((this.capacity * ID_BYTES[slot]) / 4),
      };
      this.ids[slot] = ids;
      this.memoryBytes += this.capacity * (4 + ID_BYTES[slot]);
    }
    const at = line.idAt[slot];
    // An offset whose text would reach past the line is no offset: the raw id is always right.
    const inLine = at >= 0 && at + ID_TEXT_BYTES[slot] <= length;
    ids.at[row] = inLine ? at : ID_ELSEWHERE;
    this.idBytes[slot] += inLine ? ID_OFFSET_BYTES : ID_BYTES[slot];
    this.idCounts[slot]++;
    if (this.idSource !== line.ids) {
      this.idSource = line.ids;
      this.idWords = new Uint32Array(line.ids.buffer, line.ids.byteOffset, ID_SLOTS * 4);
    }
    const from = slot * 4;
    if (ID_BYTES[slot] === 16) {
      const to = row * 4;
      ids.words[to] = this.idWords[from];
      ids.words[to + 1] = this.idWords[from + 1];
      ids.words[to + 2] = this.idWords[from + 2];
      ids.words[to + 3] = this.idWords[from + 3];
    } else {
      ids.words[row * 2] = this.idWords[from];
      ids.words[row * 2 + 1] = this.idWords[from + 1];
    }
  }

  private changeShared(row: number, shared: SharedMetadata): void {
    this.lastShared = shared;
    let place = this.sharedPlaces === null ? this.sharedSets.indexOf(shared) : (this.sharedPlaces.get(shared) ?? -1);
    if (place < 0) {
      place = this.sharedSets.length;
      this.sharedSets.push(shared);
      this.sharedBytes += setBytes(shared);
      this.memoryBytes += 64;
      if (this.sharedPlaces !== null) this.sharedPlaces.set(shared, place);
      else if (place === 8) this.sharedPlaces = new Map(this.sharedSets.map((set, i) => [set, i]));
    }
    this.lastSharedCode = place;
    if (place > 0 && this.sharedCodes === null) {
      this.sharedCodes = new Uint32Array(this.capacity);
      this.memoryBytes += this.capacity * 4;
    }
    if (this.sharedCodes !== null) this.sharedCodes[row] = place;
  }

  /** The column for a further value of `name` in this row: a second one of the same name when the row has a value in the first. */
  private columnFor(row: number, name: string, rowsHint?: number): OpenColumn {
    if (this.columnPlaces === null) this.columnPlaces = new Map();
    const known = this.columnPlaces.get(name);
    if (known !== undefined) {
      for (const column of known) if (column.lastRow !== row) return column;
    }
    const column = new OpenColumn(name, rowsHint);
    this.columns.push(column);
    this.memoryBytes += column.memoryBytes;
    if (known === undefined) this.columnPlaces.set(name, [column]);
    else known.push(column);
    return column;
  }
}

/** Section header, lengths and rounding of a column. */
const COLUMN_BYTES = 32;
const EMPTY_TEXT = Buffer.alloc(0);
const EMPTY_WORDS = new Uint32Array(ID_SLOTS * 4);

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function copyOf<T extends { set(from: ArrayLike<number>): void }>(to: T, from: ArrayLike<number>): T {
  to.set(from);
  return to;
}

/** Bytes of a varint below 2^35. */
function shortDeltaBytes(delta: number): number {
  if (delta < 0x4000) return delta < 0x80 ? 1 : 2;
  if (delta < 0x1000_0000) return delta < 0x20_0000 ? 3 : 4;
  return SHORT_DELTA_BYTES;
}

/** Room for the lengths in front of a set, and of each name and value in it. */
const SET_BYTES = 8;
const PAIR_BYTES = 8;

/** Bytes of a set of metadata at most; quick, and up to three times what it is. */
function setBytesMax({ pairs }: SharedMetadata): number {
  let chars = 0;
  for (const [name, value] of pairs) chars += name.length + value.length;
  return SET_BYTES + pairs.length * PAIR_BYTES + UTF8_MAX * chars;
}

function setBytes({ pairs }: SharedMetadata): number {
  let bytes = SET_BYTES + pairs.length * PAIR_BYTES;
  for (const [name, value] of pairs) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}
