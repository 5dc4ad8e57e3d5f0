import { VarintReader, writeVarint } from "../codec/varint.ts";
import { WeirError } from "../core/errors.ts";
import { BITS_MAX, bitsFor, pack, packedBytes, unpack } from "./bits.ts";
import { corrupt, type Place } from "./errors.ts";

/*
 * Values with codes, the common part of the COLUMN section (structured metadata of one name) and the SHARED section
 * (sets of metadata that many lines share). All numbers are varints unless said otherwise; strings are UTF-8.
 *
 *   COLUMN:  name length, name, then values and codes; a value is a string
 *   SHARED:  values and codes; a value is a set: pairs, and for each pair name length, name, value length, value
 *
 *   values   count, and for each its length in bytes and its bytes
 *   codes    u8 encoding, then
 *              0 packed     u8 bits, one code a row, packed: the place of its value
 *              1 optional   the same with 0 for a row without a value, and else 1 + the place
 *              2 sparse     count of rows that have a value; for each, rows since the one before (the first: since -1)
 *                           less 1, and the place of its value
 *              3 in order   row i has value i
 *              4 in order, optional   1 bit a row, packed: whether it has a value; the k-th that does has value k
 *
 *   Column "pod" with "a", "b" in rows 0 and 2 of 3  ->  03 706f64 02 01 61 01 62 01 02 21        (codes 1, 0, 2 in 2 bits)
 */
const PACKED = 0;
const OPTIONAL = 1;
const SPARSE = 2;
const IN_ORDER = 3;
const IN_ORDER_OPTIONAL = 4;
/** A sparse row takes at most this many bytes: two varints below 2^21. */
export const SPARSE_ROW_BYTES = 6;

let codeScratch = new Uint32Array(1024);

/** Codes of rows as they arrived: row rows[i] has value codes[i], the place among `values` values. Rows ascend. */
export interface Codes {
  readonly values: number;
  readonly rows: Uint32Array;
  readonly codes: Uint32Array;
  readonly count: number;
}

/** Writes the codes at `at` and returns the offset after them. `placeOf[row]` is where a row stands after sorting. */
export function encodeCodes(
  out: Uint8Array,
  at: number,
  { values, rows, codes, count }: Codes,
  placeOf: Uint32Array | null,
  blockRows: number,
): number {
  const every = count === blockRows;
  // In as many values as rows, each is its own row's; sorting would have to renumber them.
  if (values === count && placeOf === null && every && values > 1) {
    out[at++] = IN_ORDER;
    return at;
  }
  const bits = bitsFor(every ? values - 1 : values);
  const dense = packedBytes(blockRows, bits);
  if (count * SPARSE_ROW_BYTES < dense) return encodeSparse(out, at, rows, codes, count, placeOf);
  if (codeScratch.length < blockRows) codeScratch = new Uint32Array(blockRows * 2);
  if (values === count && placeOf === null && !every && bits > 1) {
    codeScratch.fill(0, 0, blockRows);
    for (let i = 0; i < count; i++) codeScratch[rows[i]] = 1;
    out[at++] = IN_ORDER_OPTIONAL;
    return pack(codeScratch, blockRows, 1, out, at);
  }
  const shift = every ? 0 : 1;
  if (!every) codeScratch.fill(0, 0, blockRows);
  for (let i = 0; i < count; i++) codeScratch[placeOf === null ? rows[i] : placeOf[rows[i]]] = codes[i] + shift;
  out[at++] = every ? PACKED : OPTIONAL;
  out[at++] = bits;
  return pack(codeScratch, blockRows, bits, out, at);
}

function encodeSparse(
  out: Uint8Array,
  at: number,
  rows: Uint32Array,
  codes: Uint32Array,
  count: number,
  placeOf: Uint32Array | null,
): number {
  const order = Array.from({ length: count }, (_, i) => i);
  const rowOf = (i: number) => (placeOf === null ? rows[i] : placeOf[rows[i]]);
  if (placeOf !== null) order.sort((a, b) => rowOf(a) - rowOf(b));
  out[at++] = SPARSE;
  at = writeVarint(out, at, count);
  let last = -1;
  for (const i of order) {
    at = writeVarint(out, at, rowOf(i) - last - 1);
    at = writeVarint(out, at, codes[i]);
    last = rowOf(i);
  }
  return at;
}

/** Bytes that `encodeCodes` takes at most. */
export function codesBytesMax(values: number, count: number, blockRows: number): number {
  const dense = packedBytes(blockRows, bitsFor(count === blockRows ? values - 1 : values));
  return 8 + Math.min(dense, count * SPARSE_ROW_BYTES);
}

/** Values and codes of a block that was read. */
export interface CodedValues {
  /** Value v is bytes[starts[v], ends[v]) of what was read. */
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  /** For each row 0 for none, or 1 + the place of its value. */
  readonly codes: Uint32Array;
}

/** A column of text: where its values stand, and those that were decoded already. */
export interface CodedTexts extends CodedValues {
  readonly name: string;
  readonly bytes: Buffer;
  readonly texts: (string | undefined)[];
}

/** Reads values and codes that take all of bytes[at, end). Throws `block_corrupt`. */
export function decodeValues(bytes: Uint8Array, at: number, end: number, rows: number, place: Place): CodedValues {
  const bad = (what: string, got: number, want: string | number) =>
    corrupt("block_corrupt", `column, ${what}`, got, want, place, at);
  const reader = new VarintReader(bytes, at, end);
  const count = reader.next();
  if (count > end - at) throw bad("values", count, `at most ${end - at}`);
  const starts = new Uint32Array(count);
  const ends = new Uint32Array(count);
  for (let v = 0; v < count; v++) {
    const length = reader.next();
    starts[v] = reader.at;
    if (length > end - reader.at) throw bad("bytes of a value", end - reader.at, length);
    reader.at += length;
    ends[v] = reader.at;
  }
  at = reader.at;
  if (at >= end) throw bad("encoding", 0, "one byte");
  const encoding = bytes[at++];
  let codes: Uint32Array;
  if (encoding === SPARSE) {
    codes = decodeSparse(bytes, at, end, rows, place);
  } else if (encoding === IN_ORDER) {
    codes = new Uint32Array(rows);
    for (let row = 0; row < rows; row++) codes[row] = row + 1;
    if (at !== end) throw bad("end", at, end);
  } else {
    const bits = encoding === IN_ORDER_OPTIONAL ? 1 : at < end ? bytes[at++] : BITS_MAX + 1;
    if (bits > BITS_MAX || encoding > IN_ORDER_OPTIONAL) throw bad("encoding or bits", encoding, "one that is known");
    if (end - at !== packedBytes(rows, bits)) throw bad("bytes of codes", end - at, packedBytes(rows, bits));
    codes = unpack(bytes, at, rows, bits);
    if (encoding === PACKED) for (let row = 0; row < rows; row++) codes[row]++;
    if (encoding === IN_ORDER_OPTIONAL) {
      let next = 0;
      for (let row = 0; row < rows; row++) if (codes[row] !== 0) codes[row] = ++next;
    }
  }
  for (let row = 0; row < rows; row++) if (codes[row] > count) throw bad("code", codes[row], `at most ${count}`);
  return { starts, ends, codes };
}

function decodeSparse(bytes: Uint8Array, at: number, end: number, rows: number, place: Place): Uint32Array {
  const codes = new Uint32Array(rows);
  const reader = new VarintReader(bytes, at, end);
  let row = -1;
  for (let left = reader.next(); left > 0; left--) {
    row += reader.next() + 1;
    if (row >= rows) throw corrupt("block_corrupt", "column, row", row, `below ${rows}`, place, reader.at);
    codes[row] = reader.next() + 1;
  }
  if (reader.at !== end) throw corrupt("block_corrupt", "column, end", reader.at, end, place, reader.at);
  return codes;
}

/** Writes a string with its length in front and returns the offset after it. */
export function writeString(out: Buffer, at: number, text: string): number {
  const bytes = Buffer.byteLength(text);
  at = writeVarint(out, at, bytes);
  out.write(text, at, "utf8");
  return at + bytes;
}

/** Reads a string with its length in front. Throws `bad_varint`, as the reader does, when it is cut. */
export function readString(reader: VarintReader): string {
  const length = reader.next();
  const { bytes, at, end } = reader;
  if (length > end - at)
    throw new WeirError("bad_varint", `string: got ${end - at} bytes, want ${length}, at byte ${at}`);
  reader.at += length;
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString("utf8");
}
