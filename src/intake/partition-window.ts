import { crc32 } from "../codec/crc32.ts";
import { WeirError } from "../core/errors.ts";
import { ENTRY_PUSH } from "../core/intake-entry.ts";
import type { RecordHead } from "./kafka-record.ts";
import { LastKeys } from "./last-keys.ts";
import { RepeatWindow, SEEN_BYTES } from "./repeat-window.ts";
import { digestOf } from "./seen-keys.ts";
import type { WindowRoom } from "./window-room.ts";

/*
 * What a worker keeps of a partition beside its segments, so that a start need not read the log again for it. Version 2,
 * little-endian (version 1 had no lanes):
 *
 *   offset  size  field
 *        0     8  magic     "WEIRPWIN"
 *        8     2  version   2
 *       10     2            zero
 *       12     4  chunks    u32, things in the window of chunks
 *       16     4  lines     u32, things in the window of lines
 *       20     4  crc       u32, CRC-32 of bytes 0 to 19 and of all from 24 on
 *       24     8  next      u64, all entries below this offset, and none else, have been seen
 *       32     4  lanes     u32, lanes
 *       36     4            zero
 *       40        chunks, then lines, each 16 bytes and an offset as u64, by offset
 *                 lanes, each 16 bytes for the lane and 16 for its last key, idlest first
 */
const MAGIC = Buffer.from("WEIRPWIN", "latin1");
const VERSION = 2;
const HEAD_BYTES = 40;
const ITEM_BYTES = SEEN_BYTES + 8;
const LANE_BYTES = 2 * SEEN_BYTES;

export interface PartitionWindowBounds {
  readonly entries: number;
  readonly lines: number;
}

export type Verdict =
  | { readonly repeat: true }
  /** `isNew`: for a push of which some lines are repeats, 1 for each line that is none. */
  | { readonly repeat: false; readonly isNew: Uint8Array | null; readonly lines: number };

/**
 * Which entries of a partition are repeats of others before them: whole chunks and doubled records, and single pushed lines. The
 * last entry of each lane (EntryDraft.hasLane) is known for good, however long ago it was: a lane goes on where it was when its
 * process comes back, be that tomorrow.
 */
export class PartitionWindow {
  private readonly chunks: RepeatWindow;
  private readonly lines: RepeatWindow;
  private lanes = new LastKeys();

  /** `room`: what it shares with the windows of other partitions; absent: as much as `bounds` allow. */
  constructor({ entries, lines }: PartitionWindowBounds, room: WindowRoom | null = null) {
    this.chunks = new RepeatWindow({ entries, max: entries + 1 }, room);
    this.lines = new RepeatWindow({ entries, max: lines }, room);
  }

  /** Notes the record at `offset`, and says whether it was there before. To be asked for every record, in order. */
  see(head: RecordHead, offset: number): Verdict {
    const { kind, lineIds } = head;
    if (kind === ENTRY_PUSH && lineIds !== null && lineIds.length > 0) return this.seeLines(lineIds, offset);
    const lane = laneKeyOf(head);
    const isLast = lane !== null && this.lanes.has(head.tenant, lane);
    if (this.chunks.see(identityOf(head), offset) || isLast) return { repeat: true };
    // Not for a repeat: a write that was made again may come a second time when the lane is further already.
    if (lane !== null) this.lanes.add(head.tenant, lane);
    return { repeat: false, isNew: null, lines: 0 };
  }

  private seeLines(ids: Buffer, offset: number): Verdict {
    const count = ids.length / SEEN_BYTES;
    const isNew = new Uint8Array(count);
    let lines = 0;
    for (let i = 0; i < count; i++) {
      if (this.lines.see(ids.subarray(i * SEEN_BYTES, (i + 1) * SEEN_BYTES), offset)) continue;
      isNew[i] = 1;
      lines++;
    }
    if (lines === 0) return { repeat: true };
    return { repeat: false, isNew: lines === count ? null : isNew, lines };
  }

  /** The window as it is when all entries below `next` have been seen. */
  encode(next: number): Buffer {
    const chunks = this.chunks.dump();
    const lines = this.lines.dump();
    const lanes = this.lanes.dump();
    const head = Buffer.alloc(HEAD_BYTES);
    MAGIC.copy(head);
    head.writeUInt16LE(VERSION, 8);
    head.writeUInt32LE(chunks.length / ITEM_BYTES, 12);
    head.writeUInt32LE(lines.length / ITEM_BYTES, 16);
    head.writeBigUInt64LE(BigInt(next), 24);
    head.writeUInt32LE(lanes.length / LANE_BYTES, 32);
    const out = Buffer.concat([head, chunks, lines, lanes]);
    out.writeUInt32LE(crcOf(out), 20);
    return out;
  }

  /** Takes in an encoded window in place of what is there; gives its `next`. Throws `repeat_window`. */
  decode(bytes: Buffer): number {
    if (bytes.length < HEAD_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) throw bad("got other bytes");
    if (bytes.readUInt16LE(8) !== VERSION) throw bad(`got version ${bytes.readUInt16LE(8)}, want ${VERSION}`);
    const chunksEnd = HEAD_BYTES + bytes.readUInt32LE(12) * ITEM_BYTES;
    const linesEnd = chunksEnd + bytes.readUInt32LE(16) * ITEM_BYTES;
    const want = linesEnd + bytes.readUInt32LE(32) * LANE_BYTES;
    if (bytes.length !== want) throw bad(`got ${bytes.length} bytes, want ${want}`);
    if (bytes.readUInt32LE(20) !== crcOf(bytes)) throw bad("its CRC-32 does not fit");
    this.clear();
    this.chunks.load(bytes.subarray(HEAD_BYTES, chunksEnd));
    this.lines.load(bytes.subarray(chunksEnd, linesEnd));
    this.lanes.load(digestsOf(bytes.subarray(linesEnd)));
    return Number(bytes.readBigUInt64LE(24));
  }

  /** Takes no more of the room: it sees nothing any more. */
  leaveRoom(): void {
    this.chunks.leaveRoom();
    this.lines.leaveRoom();
  }

  clear(): void {
    this.chunks.clear();
    this.lines.clear();
    this.lanes = new LastKeys();
  }
}

/** What a lane's last entry is known by. Each part of a split one is a lane by itself, since only some may be there. */
function laneKeyOf({ hasLane, dedupeKey, part }: RecordHead): string | null {
  if (!hasLane || dedupeKey === null) return null;
  return part === null ? dedupeKey : `${part.number}/${part.of} ${dedupeKey}`;
}

/** What makes a chunk the same chunk; without a key, what makes a record the same append. */
function identityOf({ tenant, dedupeKey, part, uid }: RecordHead): Buffer {
  if (dedupeKey === null) return uid;
  return digestOf(tenant, part === null ? dedupeKey : `${dedupeKey}\0${part.number}/${part.of}`);
}

function digestsOf(bytes: Buffer): Buffer[] {
  const count = bytes.length / SEEN_BYTES;
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * SEEN_BYTES, (i + 1) * SEEN_BYTES));
}

function crcOf(bytes: Buffer): number {
  return crc32(bytes.subarray(24), crc32(bytes.subarray(0, 20)));
}

function bad(what: string): WeirError {
  return new WeirError("repeat_window", `window of repeats: ${what}`);
}
