import zlib from "node:zlib";

/*
 * Takes a segment apart byte by byte, from the text of docs/format.md alone: it shares no code with the reader, so the page,
 * the reader and the writer can't all be wrong in the same way. Covers what the page's example uses.
 */

const KINDS: Record<string, string> = { WB: "block", WX: "overflow sections", WI: "index", WF: "footer" };
const SECTIONS = ["", "STREAM", "TIMES", "LENGTHS", "SHARED", "ID", "COLUMN", "FILTER", "OVERFLOW"];
const INDEX_SECTIONS = ["", "TENANT", "STREAMS", "BLOCKS", "FILTERS"];
const BYTES_A_LINE = 16;

class Cursor {
  readonly bytes: Buffer;
  at = 0;
  readonly lines: string[] = [];

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Takes bytes and says what they are. */
  take(length: number, meaning: string | ((bytes: Buffer) => string)): Buffer {
    const bytes = this.bytes.subarray(this.at, this.at + length);
    if (bytes.length !== length) throw new Error(`cut at ${this.at}`);
    for (let from = 0; from < length; from += BYTES_A_LINE) {
      const some = bytes.subarray(from, from + BYTES_A_LINE);
      const text = from > 0 ? "" : typeof meaning === "string" ? meaning : meaning(bytes);
      const offset = (this.at + from).toString(16).padStart(4, "0");
      this.lines.push(`${offset}  ${some.toString("hex").padEnd(BYTES_A_LINE * 2)}  ${text}`.trimEnd());
    }
    this.at += length;
    return bytes;
  }

  u8(name: string): number {
    return this.take(1, (b) => `${name}: ${b[0]}`)[0];
  }

  u16(name: string): number {
    return this.take(2, (b) => `${name}: ${b.readUInt16LE()}`).readUInt16LE();
  }

  u32(name: string): number {
    return this.take(4, (b) => `${name}: ${b.readUInt32LE()}`).readUInt32LE();
  }

  u64(name: string): bigint {
    return this.take(8, (b) => `${name}: ${b.readBigInt64LE()}`).readBigInt64LE();
  }

  check(name: string): void {
    this.take(4, (b) => `${name}: 0x${b.readUInt32LE().toString(16).padStart(8, "0")}`);
  }

  varint(name: string): number {
    let length = 1;
    while (this.bytes[this.at + length - 1] >= 0x80) length++;
    let value = 0;
    for (let i = length - 1; i >= 0; i--) value = value * 128 + (this.bytes[this.at + i] & 0x7f);
    this.take(length, `${name}: ${value}`);
    return value;
  }

  text(length: number, name: string): string {
    return this.take(length, (b) => `${name}: ${b.toString("utf8")}`).toString("utf8");
  }

  string(name: string): string {
    return this.text(this.varint(`length of ${name}`), name);
  }
}

export function explain(bytes: Buffer): string {
  const cursor = new Cursor(bytes);
  while (cursor.at < bytes.length) member(cursor);
  return `${cursor.lines.join("\n")}\n`;
}

function member(c: Cursor): void {
  const start = c.at;
  const kind = c.bytes.toString("latin1", start + 12, start + 14);
  c.lines.push(`      ---- ${KINDS[kind]} ----`);
  c.take(10, "gzip: deflate, FEXTRA, no time, system unknown");
  const end = start + 12 + c.u16("XLEN");
  c.take(2, `"${kind}"`);
  c.u16("bytes that follow");
  c.u8("version");
  c.u8("flags");
  c.u16("reserved");
  const next = start + c.u32("bytes of the member");
  c.check("CRC-32 of the header");
  if (kind === "WB") block(c, end);
  else if (kind === "WI") index(c, end);
  else footer(c);
  c.take(next - 8 - c.at, (b) => `deflate data: ${JSON.stringify(zlib.inflateRawSync(b).toString())}`);
  c.check("gzip: CRC-32 of the text");
  c.u32("gzip: bytes of the text");
}

function block(c: Cursor, end: number): void {
  c.u32("bytes of the text");
  const rows = c.u32("rows");
  c.u64("least time, seconds");
  c.u32("least time, nanoseconds");
  c.u64("greatest time, seconds");
  c.u32("greatest time, nanoseconds");
  while (c.at < end) {
    const type = c.take(1, (b) => `section ${b[0]}, ${SECTIONS[b[0]]}`)[0];
    const sectionEnd = c.u32("bytes of the section") + c.at;
    section(c, type, sectionEnd, rows);
    if (c.at !== sectionEnd) throw new Error(`section ${type} ends at ${c.at}, not at ${sectionEnd}`);
  }
}

function section(c: Cursor, type: number, end: number, rows: number): void {
  if (type === 1) {
    c.string("the tenant");
    c.text(end - c.at, "labels");
  } else if (type === 2) {
    c.u8("unit (0 ns, 1 us, 2 ms, 3 s)");
    for (let row = 1; row < rows; row++) c.varint(`row ${row}, units since the row before`);
  } else if (type === 3) {
    for (let row = 0; row < rows; row++) c.varint(`bytes of line ${row}`);
  } else if (type === 4) {
    for (let sets = c.varint("sets"); sets > 0; sets--) {
      c.varint("bytes of the set");
      for (let pairs = c.varint("pairs"); pairs > 0; pairs--) {
        c.string("the name");
        c.string("the value");
      }
    }
    codes(c);
  } else if (type === 5) {
    c.u8("slot (0 trace_id, 1 span_id, 2 parent_span_id, 3 request_id)");
    const flags = c.u8("flags (1 some absent, 2 some in line, 4 some raw, 8 offsets from the end)");
    if (flags === 1 || flags === 2 || flags === 4) throw new Error("the example mixes kinds");
    c.take(
      Math.ceil(rows / 8),
      (b) =>
        `1 bit a row: ${Array.from({ length: rows }, (_, row) => (b[row >> 3] >> (row & 7)) & 1).join(" ")} (0 absent, 1 in line)`,
    );
    c.varint("least offset");
    c.u8("bits of an offset beyond the least");
  } else if (type === 6) {
    c.string("the name");
    for (let values = c.varint("values"); values > 0; values--) c.string("the value");
    codes(c);
  } else {
    c.u8("probes");
    c.take(end - c.at, "Bloom filter");
  }
}

function codes(c: Cursor): void {
  const encoding = c.u8("encoding of codes (0 packed, 1 optional, 2 sparse, 3 in order, 4 in order and optional)");
  if (encoding === 4) c.take(1, "1 bit a row: whether it has a value");
  else if (encoding !== 3) {
    const bits = c.u8("bits of a code");
    if (bits > 0) c.take(1, "codes, one a row from the lowest bit up");
  }
}

function index(c: Cursor, end: number): void {
  while (c.at < end) {
    const type = c.take(1, (b) => `index section ${b[0]}, ${INDEX_SECTIONS[b[0]]}`)[0];
    const flags = c.u8("flags (1 deflated)");
    const length = c.u32("bytes of the section");
    const sectionEnd = c.at + length;
    if (flags !== 0) throw new Error("the example's index is too short to deflate");
    if (type === 1) c.text(length, "tenant");
    else if (type === 2) {
      for (let streams = c.varint("streams"); streams > 0; streams--) c.string("the labels");
    } else if (type === 3) {
      for (let blocks = c.varint("blocks"); blocks > 0; blocks--) {
        c.varint("places of streams since the block before");
        c.varint("bytes between the block before and this one");
        c.varint("bytes of the block");
        c.varint("rows");
        c.varint("bytes of the text");
        c.varint("least time, seconds since the segment's");
        c.varint("least time, nanoseconds");
        c.varint("seconds from the least to the greatest time");
        c.varint("greatest time, nanoseconds");
        c.u8("slots (bit s: ids in slot s)");
      }
    } else {
      c.take(c.varint("bytes of the filter"), "the block's filter");
    }
    if (c.at !== sectionEnd) throw new Error(`index section ${type} ends at ${c.at}, not at ${sectionEnd}`);
  }
}

function footer(c: Cursor): void {
  c.u64("offset of the index");
  c.u64("bytes of the index's members");
  c.check("CRC-32 of the index");
  c.u32("partition");
  c.u64("first intake offset");
  c.u64("next intake offset");
  c.u64("lines");
  c.u64("bytes of all texts");
  c.u32("streams");
  c.u32("blocks");
  c.u64("least time, seconds");
  c.u32("least time, nanoseconds");
  c.u64("greatest time, seconds");
  c.u32("greatest time, nanoseconds");
}
