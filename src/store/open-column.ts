import { ALT_NAME, altFilterBytesMax } from "./id-alt.ts";
import { codesBytesMax } from "./text-column.ts";

/** Up to so many values a scan over them beats a map: most columns are levels and the like. */
const SCAN_VALUES = 8;
/** Rough cost of a string that a column keeps, beside its characters. */
const STRING_MEMORY = 64;
const FIRST_ROWS = 8;
/** Of a column itself, without its rows. */
const COLUMN_MEMORY = 192;

/** Structured metadata of one name in an open block: which rows have which of its values. Rows only ever get appended. */
export class OpenColumn {
  readonly name: string;
  readonly nameBytes: number;
  readonly values: string[] = [];
  /** Row rows[i] has value values[codes[i]], for i below `count`. */
  rows: Uint32Array<ArrayBuffer>;
  codes: Uint32Array<ArrayBuffer>;
  count = 0;
  lastValue = "";
  lastRow = -1;
  /** UTF-8 bytes of the values with room for their lengths. */
  private valueBytes = 0;
  private lastCode = -1;
  private places: Map<string, number> | null = null;

  /** `rowsHint`: how many rows will have a value, if that is known. */
  constructor(name: string, rowsHint: number = FIRST_ROWS) {
    this.rows = new Uint32Array(rowsHint);
    this.codes = new Uint32Array(rowsHint);
    this.name = name;
    this.nameBytes = Buffer.byteLength(name);
  }

  /** Bytes of memory that a new column keeps, roughly. */
  get memoryBytes(): number {
    return COLUMN_MEMORY + this.rows.byteLength * 2;
  }

  /** Returns the bytes of memory by which the column grew. */
  add(row: number, value: string): number {
    let memory = 0;
    if (this.count === this.rows.length) {
      memory += this.rows.byteLength * 2;
      this.rows = doubled(this.rows);
      this.codes = doubled(this.codes);
    }
    if (this.lastCode < 0 || value !== this.lastValue) {
      const known = this.values.length;
      this.lastCode = this.codeOf(value);
      this.lastValue = value;
      if (this.lastCode === known) memory += STRING_MEMORY + value.length;
    }
    this.rows[this.count] = row;
    this.codes[this.count] = this.lastCode;
    this.count++;
    this.lastRow = row;
    return memory;
  }

  private codeOf(value: string): number {
    if (this.places === null) {
      const place = this.values.indexOf(value);
      if (place >= 0) return place;
    } else {
      const place = this.places.get(value);
      if (place !== undefined) return place;
    }
    const place = this.values.length;
    this.values.push(value);
    this.valueBytes += Buffer.byteLength(value) + 5;
    if (this.places !== null) this.places.set(value, place);
    else if (place + 1 > SCAN_VALUES) this.places = new Map(this.values.map((text, i) => [text, i]));
    return place;
  }

  /** Bytes at most of the column's section, in a block of so many rows, and of what its ids take in the filter. */
  bytesMax(blockRows: number): number {
    const filterBytes = this.name === ALT_NAME ? altFilterBytesMax(this.valueBytes) : 0;
    const codesBytes = codesBytesMax(this.values.length, this.count, blockRows);
    return this.nameBytes + 15 + this.valueBytes + codesBytes + filterBytes;
  }

  /** The value of a row among the first `count` entries, or null. */
  static valueAt(rows: Uint32Array, codes: Uint32Array, count: number, values: string[], row: number): string | null {
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (rows[middle] < row) low = middle + 1;
      else high = middle;
    }
    return low < count && rows[low] === row ? values[codes[low]] : null;
  }
}

function doubled(array: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(array.length * 2);
  out.set(array);
  return out;
}
