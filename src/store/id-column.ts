import { VarintReader, writeVarint } from "../codec/varint.ts";
import { ID_ABSENT, ID_BYTES, ID_ELSEWHERE, ID_SLOTS, REQUEST_ID } from "../core/line.ts";
import { BITS_MAX, bitsFor, pack, packedBytes, unpack } from "./bits.ts";
import { corrupt, type Place } from "./errors.ts";

/*
 * ID section: one slot's ids of a block. A row has no id, or one whose text stands in the line (then only its offset is
 * kept, as a rule the same for all lines of a stream), or one that is kept as 16 or 8 raw bytes.
 *
 *   offset  size  field
 *        0     1  slot       0 trace_id, 1 span_id, 2 parent_span_id, 3 request_id
 *        1     1  flags      bit 0: some row has none, bit 1: some row's is in its line, bit 2: some row's is raw,
 *                            bit 3: offsets count back from the line's end
 *        2        kinds      when more than one of bits 0 to 2 is set: packed, for each row which of the set bits it is,
 *                            counted among the set ones: 1 bit a row for two kinds, 2 bits for three
 *                 offsets    with bit 1: varint least offset, u8 bits, and for each row in line (offset - least), packed
 *                 ids        with bit 2: the raw ids of 16 (slots 0 and 3) or 8 bytes, one after the other
 *
 *   Two rows, trace id at byte 10 of both lines  ->  00 02 0a 00
 */
const SOME_ABSENT = 1;
const SOME_IN_LINE = 2;
const SOME_RAW = 4;
const FROM_END = 8;

const ABSENT = 0;
const IN_LINE = 1;
const RAW = 2;

/** Characters of an id's text in a line: hex digits, and for a request id a UUID with its dashes. */
export const ID_TEXT_BYTES: readonly number[] = ID_BYTES.map((bytes, slot) => (slot === REQUEST_ID ? 36 : bytes * 2));

/** Ids of one slot as rows arrive. */
export interface IdRows {
  /** For each row ID_ABSENT, ID_ELSEWHERE, or the offset in the line. */
  at: Int32Array;
  /** The ids themselves, ID_BYTES / 4 words a row, in the machine's byte order as they stood in memory. */
  words: Uint32Array;
}

let kindScratch = new Uint32Array(1024);
let offsetScratch = new Uint32Array(1024);

/** Writes the section's data at `at` and returns the offset after it. Line r has starts[r + 1] - starts[r] - 1 bytes. */
export function encodeIds(
  out: Uint8Array,
  at: number,
  slot: number,
  ids: IdRows,
  starts: Uint32Array,
  order: Uint32Array | null,
  rows: number,
): number {
  if (kindScratch.length < rows) {
    kindScratch = new Uint32Array(rows * 2);
    offsetScratch = new Uint32Array(rows * 2);
  }
  let flags = 0;
  let leastFront = Number.POSITIVE_INFINITY;
  let mostFront = 0;
  let leastBack = Number.POSITIVE_INFINITY;
  let mostBack = 0;
  for (let row = 0; row < rows; row++) {
    const offset = ids.at[row];
    if (offset === ID_ABSENT) flags |= SOME_ABSENT;
    else if (offset === ID_ELSEWHERE) flags |= SOME_RAW;
    else {
      flags |= SOME_IN_LINE;
      const back = starts[row + 1] - starts[row] - 1 - offset;
      if (offset < leastFront) leastFront = offset;
      if (offset > mostFront) mostFront = offset;
      if (back < leastBack) leastBack = back;
      if (back > mostBack) mostBack = back;
    }
  }
  const fromEnd = mostBack - leastBack < mostFront - leastFront;
  if (fromEnd) flags |= FROM_END;
  const least = fromEnd ? leastBack : leastFront;
  out[at++] = slot;
  out[at++] = flags;
  let inLine = 0;
  const kinds = kindsOf(flags);
  const [absent, inLineKind, raw] = [ABSENT, IN_LINE, RAW].map((kind) => kinds.indexOf(kind));
  for (let i = 0; i < rows; i++) {
    const row = order === null ? i : order[i];
    const offset = ids.at[row];
    if (offset >= 0) {
      const length = starts[row + 1] - starts[row] - 1;
      offsetScratch[inLine++] = (fromEnd ? length - offset : offset) - least;
    }
    kindScratch[i] = offset >= 0 ? inLineKind : offset === ID_ABSENT ? absent : raw;
  }
  at = pack(kindScratch, rows, bitsFor(kinds.length - 1), out, at);
  if ((flags & SOME_IN_LINE) !== 0) {
    const bits = bitsFor(fromEnd ? mostBack - leastBack : mostFront - leastFront);
    at = writeVarint(out, at, least);
    out[at++] = bits;
    at = pack(offsetScratch, inLine, bits, out, at);
  }
  if ((flags & SOME_RAW) !== 0) {
    const size = ID_BYTES[slot];
    const bytes = new Uint8Array(ids.words.buffer, ids.words.byteOffset, rows * size);
    for (let i = 0; i < rows; i++) {
      const row = order === null ? i : order[i];
      if (ids.at[row] !== ID_ELSEWHERE) continue;
      for (let b = row * size; b < (row + 1) * size; b++) out[at++] = bytes[b];
    }
  }
  return at;
}

/** The kinds that rows have, in the order of their bits. */
function kindsOf(flags: number): number[] {
  return [ABSENT, IN_LINE, RAW].filter((kind) => (flags & (1 << kind)) !== 0);
}

/** One slot's ids of a block that was read. */
export interface IdColumn {
  readonly slot: number;
  /** For each row ID_ABSENT, ID_ELSEWHERE, or the offset in the line, from its end when `fromEnd`. */
  readonly at: Int32Array;
  readonly fromEnd: boolean;
  /** Raw ids one after the other; row r's is number rawIndex[r]. */
  readonly raw: Uint8Array;
  readonly rawIndex: Uint32Array;
}

/** Reads the data bytes[at, end). Throws `block_corrupt`. */
export function decodeIds(bytes: Uint8Array, at: number, end: number, rows: number, place: Place): IdColumn {
  const bad = (what: string, got: number, want: string | number) =>
    corrupt("block_corrupt", `ids, ${what}`, got, want, place, at);
  if (end - at < 2) throw bad("length", end - at, "at least 2");
  const slot = bytes[at++];
  const flags = bytes[at++];
  if (slot >= ID_SLOTS) throw bad("slot", slot, `below ${ID_SLOTS}`);
  if ((flags & 7) === 0 || flags > 15) throw bad("flags", flags, "bits 0 to 3, one of 0 to 2 at least");
  const kinds = kindsOf(flags);
  const kindBits = bitsFor(kinds.length - 1);
  if (end - at < packedBytes(rows, kindBits)) throw bad("bytes of kinds", end - at, packedBytes(rows, kindBits));
  const kindOf = unpack(bytes, at, rows, kindBits);
  at += packedBytes(rows, kindBits);
  const places = new Int32Array(rows).fill(ID_ABSENT);
  const rawIndex = new Uint32Array((flags & SOME_RAW) === 0 ? 0 : rows);
  let inLine = 0;
  let raws = 0;
  for (let row = 0; row < rows; row++) {
    const kind = kinds[kindOf[row]];
    if (kind === IN_LINE) places[row] = inLine++;
    else if (kind === RAW) {
      places[row] = ID_ELSEWHERE;
      rawIndex[row] = raws++;
    } else if (kind === undefined) throw bad("kind", kindOf[row], `below ${kinds.length}`);
  }
  if ((flags & SOME_IN_LINE) !== 0) {
    const reader = new VarintReader(bytes, at, end);
    const least = reader.next();
    at = reader.at;
    const bits = at < end ? bytes[at++] : BITS_MAX + 1;
    if (bits > BITS_MAX) throw bad("bits of an offset", bits, `at most ${BITS_MAX}`);
    if (end - at < packedBytes(inLine, bits)) throw bad("bytes of offsets", end - at, packedBytes(inLine, bits));
    const offsets = unpack(bytes, at, inLine, bits);
    at += packedBytes(inLine, bits);
    for (let row = 0; row < rows; row++) if (places[row] >= 0) places[row] = least + offsets[places[row]];
  }
  if (end - at !== raws * ID_BYTES[slot]) throw bad("bytes of raw ids", end - at, raws * ID_BYTES[slot]);
  return { slot, at: places, fromEnd: (flags & FROM_END) !== 0, raw: bytes.subarray(at, end), rawIndex };
}

/** The end of an id's canonical text that its low 8 bytes make, and how many characters stand before it. */
export function idTail(slot: number, low8: Uint8Array): { text: string; before: number } {
  const hex = Buffer.from(low8.buffer, low8.byteOffset, 8).toString("hex");
  const text = slot === REQUEST_ID ? `${hex.slice(0, 4)}-${hex.slice(4)}` : hex;
  return { text, before: ID_TEXT_BYTES[slot] - text.length };
}
