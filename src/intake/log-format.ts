import { crc32 } from "../codec/crc32.ts";
import { ENTRY_FORWARD, ENTRY_PUSH, type EntryDraft, type IntakeEntry } from "../core/intake-entry.ts";

/*
 * A file of the intake log, version 1: `<folder>/<partition>/<first offset, 20 digits>.log`. Little-endian.
 *
 * File header, 32 bytes
 *   offset  size  field
 *        0     8  magic         "WEIRLOG\n"
 *        8     2  version       u16, 1
 *       10     2  flags         u16; bit 0: the file was used before, so bytes behind the last entry may be older ones
 *       12     4  partition     u32
 *       16     8  first         u64, offset of the first entry; the same as in the file's name
 *       24     4  mark          u32, drawn at random for each file; stands in each of its entries
 *       28     4  crc           u32, CRC-32 of bytes 0 to 27
 *
 * Then entries without a gap, each
 *        0     4  head_crc      u32, CRC-32 of bytes 4 to 43
 *        4     4  mark          u32, the file's
 *        8     4  length        u32, bytes of the whole entry: 44 + source + tenant + key + payload
 *       12     4  body_crc      u32, CRC-32 of bytes 44 to length - 1
 *       16     1  kind          1: a message of the forward protocol; 2: lines of a pushed body (codec/push-batch.ts)
 *       17     1  flags         bit 0: the entry has a key; bit 1: in the key's place stand ids of lines, 16 bytes each; bit 2:
 *                               the key's part before its first zero byte names a lane (EntryDraft.hasLane)
 *       18     2  source bytes  u16
 *       20     2  tenant bytes  u16
 *       22     2  reserved      zero
 *       24     4  key bytes     u32
 *       28     8  offset        u64, above that of the entry before it
 *       36     8  received      u64, milliseconds since 1970 UTC
 *       44        source, tenant, key (UTF-8), payload (as received)
 *
 * The mark lets a reader find the next entry behind bytes that went bad: payloads come from outside and could hold
 * something that looks like an entry, but not one with a number that they can't know. The header has a CRC of its own so that a
 * reader can trust `length` before it has read that far.
 * An entry counts only if its offset is below `first` of the next file: what stands behind that is left from a write
 * that failed and was never acknowledged.
 *
 * Partition 0, first 7, mark 0x61626364; one entry: source "in", tenant "fake", key "t c1", received 1, payload c0.
 *
 *   574549524c4f470a 0100 0000 00000000 0700000000000000 64636261 96af6d58
 *   bdef0e65 64636261 37000000 25aa48d6 01 01 0200 0400 0000 04000000 0700000000000000 0100000000000000
 *     696e 66616b65 74206331 c0
 */
const MAGIC = Buffer.from("WEIRLOG\n", "latin1");
const VERSION = 1;
const REUSED = 1;
const HAS_KEY = 1;
const HAS_LINE_IDS = 2;
const HAS_LANE = 4;
export const FILE_HEADER_BYTES = 32;
export const ENTRY_HEADER_BYTES = 44;
/** Places in an entry's header, and the mark's in the file header. */
export const MARK_AT = 4;
export const LENGTH_AT = 8;
export const KIND_AT = 16;
export const RESERVED_AT = 22;
export const MARK_IN_HEADER = 24;
/** Longest entry: what a Node buffer holds on every platform, with room for the header. */
export const ENTRY_BYTES_MAX = 0x7fff0000;

export interface FileHeader {
  readonly partition: number;
  readonly first: number;
  readonly mark: number;
  readonly reused: boolean;
}

export function encodeFileHeader({ partition, first, mark, reused }: FileHeader): Buffer {
  const out = Buffer.alloc(FILE_HEADER_BYTES);
  MAGIC.copy(out, 0);
  out.writeUInt16LE(VERSION, 8);
  out.writeUInt16LE(reused ? REUSED : 0, 10);
  out.writeUInt32LE(partition, 12);
  writeU64(out, first, 16);
  out.writeUInt32LE(mark, 24);
  out.writeUInt32LE(crc32(out.subarray(0, 28)), 28);
  return out;
}

/** The header at the start of `bytes`, or null when they aren't one. */
export function decodeFileHeader(bytes: Buffer): FileHeader | null {
  if (bytes.length < FILE_HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return null;
  if (bytes.readUInt16LE(8) !== VERSION || bytes.readUInt32LE(28) !== crc32(bytes.subarray(0, 28))) return null;
  const reused = (bytes.readUInt16LE(10) & REUSED) !== 0;
  return { partition: bytes.readUInt32LE(12), first: readU64(bytes, 16), mark: bytes.readUInt32LE(24), reused };
}

/** Bytes that `draft` takes in a file. */
export function entryBytes(draft: EntryDraft): number {
  const key = draft.dedupeKey === undefined ? (draft.lineIds?.length ?? 0) : Buffer.byteLength(draft.dedupeKey);
  return (
    ENTRY_HEADER_BYTES + Buffer.byteLength(draft.source) + Buffer.byteLength(draft.tenant) + key + draft.payload.length
  );
}

/** Everything of an entry before its payload, but for what is known only when it is written: see `sealEntry`. */
export function encodeEntryHead(draft: EntryDraft, length: number): Buffer {
  const head = Buffer.allocUnsafe(length - draft.payload.length);
  let at = ENTRY_HEADER_BYTES;
  const sourceBytes = head.write(draft.source, at);
  at += sourceBytes;
  const tenantBytes = head.write(draft.tenant, at);
  at += tenantBytes;
  const { dedupeKey, lineIds } = draft;
  const keyBytes = dedupeKey === undefined ? (lineIds?.copy(head, at) ?? 0) : head.write(dedupeKey, at);
  head.writeUInt32LE(length, LENGTH_AT);
  head.writeUInt32LE(crc32(draft.payload, crc32(head.subarray(ENTRY_HEADER_BYTES))), 12);
  head[16] = draft.kind;
  if (dedupeKey !== undefined) head[17] = draft.hasLane === true ? HAS_KEY | HAS_LANE : HAS_KEY;
  else head[17] = lineIds !== undefined ? HAS_LINE_IDS : 0;
  head.writeUInt16LE(sourceBytes, 18);
  head.writeUInt16LE(tenantBytes, 20);
  head.writeUInt16LE(0, 22);
  head.writeUInt32LE(keyBytes, 24);
  writeU64(head, draft.receivedMs, 36);
  return head;
}

/** Fills in the place in the log. May be done again when a write has failed. */
export function sealEntry(head: Buffer, offset: number, mark: number): void {
  head.writeUInt32LE(mark, MARK_AT);
  writeU64(head, offset, 28);
  head.writeUInt32LE(crc32(head.subarray(4, ENTRY_HEADER_BYTES)), 0);
}

export function isEntryKind(kind: number): boolean {
  return kind === ENTRY_FORWARD || kind === ENTRY_PUSH;
}

/** What an entry's header says; reused. */
export class EntryHead {
  length = 0;
  bodyCrc = 0;
  kind = 0;
  flags = 0;
  sourceBytes = 0;
  tenantBytes = 0;
  keyBytes = 0;
  offset = 0;
  receivedMs = 0;

  /** Reads the header at `at`, where ENTRY_HEADER_BYTES are. False when it isn't one of a file with this mark. */
  read(bytes: Buffer, at: number, mark: number): boolean {
    if (bytes.readUInt32LE(at + MARK_AT) !== mark) return false;
    if (bytes.readUInt32LE(at) !== crc32(bytes.subarray(at + 4, at + ENTRY_HEADER_BYTES))) return false;
    this.length = bytes.readUInt32LE(at + LENGTH_AT);
    this.bodyCrc = bytes.readUInt32LE(at + 12);
    this.kind = bytes[at + 16];
    this.flags = bytes[at + 17];
    this.sourceBytes = bytes.readUInt16LE(at + 18);
    this.tenantBytes = bytes.readUInt16LE(at + 20);
    this.keyBytes = bytes.readUInt32LE(at + 24);
    this.offset = readU64(bytes, at + 28);
    this.receivedMs = readU64(bytes, at + 36);
    return isEntryKind(this.kind) && this.length >= this.payloadAt && this.length <= ENTRY_BYTES_MAX;
  }

  /** Where the payload begins in the entry. */
  get payloadAt(): number {
    return ENTRY_HEADER_BYTES + this.sourceBytes + this.tenantBytes + this.keyBytes;
  }

  get hasKey(): boolean {
    return (this.flags & HAS_KEY) !== 0;
  }

  get hasLineIds(): boolean {
    return (this.flags & HAS_LINE_IDS) !== 0;
  }

  get hasLane(): boolean {
    return (this.flags & HAS_LANE) !== 0;
  }

  /** Whether the body at `at + ENTRY_HEADER_BYTES` is as it was written. */
  bodyFits(bytes: Buffer, at: number): boolean {
    return crc32(bytes.subarray(at + ENTRY_HEADER_BYTES, at + this.length)) === this.bodyCrc;
  }

  tenant(bytes: Buffer, at: number): string {
    const start = at + ENTRY_HEADER_BYTES + this.sourceBytes;
    return bytes.toString("utf8", start, start + this.tenantBytes);
  }

  key(bytes: Buffer, at: number): string {
    return bytes.toString("utf8", at + this.payloadAt - this.keyBytes, at + this.payloadAt);
  }

  /** The ids of the entry's lines, 16 bytes each: a view of `bytes`. */
  lineIds(bytes: Buffer, at: number): Buffer {
    return bytes.subarray(at + this.payloadAt - this.keyBytes, at + this.payloadAt);
  }

  /** The entry whose header was read last and begins at `at`. Its payload is a view of `bytes`. */
  entry(bytes: Buffer, at: number): IntakeEntry {
    const start = at + ENTRY_HEADER_BYTES;
    return {
      kind: this.kind === ENTRY_PUSH ? ENTRY_PUSH : ENTRY_FORWARD,
      offset: this.offset,
      source: bytes.toString("utf8", start, start + this.sourceBytes),
      tenant: this.tenant(bytes, at),
      receivedMs: this.receivedMs,
      payload: bytes.subarray(at + this.payloadAt, at + this.length),
      ...(this.hasKey ? { dedupeKey: this.key(bytes, at) } : {}),
    };
  }
}

/** `<first offset, 20 digits>.log`, so that names sort as offsets do. */
export function fileName(first: number): string {
  return `${String(first).padStart(20, "0")}.log`;
}

/** The first offset in a file's name, or null for a name that isn't a log file's. */
export function firstOfName(name: string): number | null {
  if (!/^\d{20}\.log$/.test(name)) return null;
  const first = Number(name.slice(0, 20));
  return Number.isSafeInteger(first) ? first : null;
}

function writeU64(out: Buffer, value: number, at: number): void {
  out.writeUInt32LE(value % 0x1_0000_0000, at);
  out.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
}
