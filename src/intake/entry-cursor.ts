import { type FileOps, readAll } from "../core/files.ts";
import { ENTRY_HEADER_BYTES, EntryHead, MARK_AT } from "./log-format.ts";

const EMPTY = Buffer.alloc(0);
const PAGE_BYTES = 4096;

export interface CursorPlace {
  readonly fd: number;
  readonly mark: number;
  /** Where to begin, the start of an entry if all is well. */
  readonly position: number;
  /** Bytes of the file that count. */
  readonly limit: number;
  /** Entries from this offset on end the file: they are in the next one, or were never acknowledged. */
  readonly below: number;
  /** Bytes to read at once. */
  readonly chunkBytes: number;
  /** Whether one buffer serves all reads, so that views of it are valid up to the next call only. */
  readonly reuse?: boolean;
}

/**
 * Walks the entries of one log file. What can't be read as an entry is passed over up to the next header that is
 * whole, and counted in `skippedBytes`. A read error leaves the cursor where it was, so the call can be repeated.
 */
export class EntryCursor {
  /** Header of the entry that `next` found. */
  readonly head = new EntryHead();
  /** Place of that entry in the file. */
  position: number;
  limit: number;
  /** Bytes passed over between the entry before and this one (or the end). */
  skippedBytes = 0;
  private readonly files: FileOps;
  private readonly place: CursorPlace;
  private readonly markBytes = Buffer.alloc(4);
  private window: Buffer = EMPTY;
  /** The memory that `window` is the beginning of, if it is used again. */
  private room: Buffer = EMPTY;
  private windowStart = 0;
  /** Where the next entry should begin. */
  private from: number;
  private unreadableBytes = 0;
  private lastOffset = -1;

  constructor(files: FileOps, place: CursorPlace) {
    this.files = files;
    this.place = place;
    this.position = place.position;
    this.from = place.position;
    this.limit = place.limit;
    this.markBytes.writeUInt32LE(place.mark);
  }

  /** Goes to the next entry whose header is whole. False at the end; the body isn't looked at yet. */
  async next(): Promise<boolean> {
    const { from } = this;
    let at = from;
    let found = await this.headerAt(at);
    while (!found && at < this.limit) {
      at = await this.markFrom(at + 1);
      found = await this.headerAt(at);
    }
    if (found && this.head.offset >= this.place.below) {
      found = false;
      at = from;
    }
    this.skippedBytes = at - from + this.unreadableBytes;
    this.unreadableBytes = 0;
    this.position = at;
    this.from = at;
    if (found) {
      this.from = at + this.head.length;
      this.lastOffset = this.head.offset;
    }
    return found;
  }

  /** Loads the rest of the entry. False when its bytes aren't those that were written. After a throw `next` finds it again. */
  async load(): Promise<boolean> {
    try {
      if (!(await this.has(this.position, this.head.length))) return false;
    } catch (error) {
      this.seek(this.position);
      throw error;
    }
    return this.head.bodyFits(this.window, this.at);
  }

  /** Loads the entry's header and strings, without its payload. */
  loadStrings(): Promise<boolean> {
    return this.has(this.position, this.head.payloadAt);
  }

  /** Holds the entry at `at`. Without `reuse` each read fills a new buffer, so views of it stay valid. */
  get bytes(): Buffer {
    return this.window;
  }

  get at(): number {
    return this.position - this.windowStart;
  }

  /** Goes on at `position` of the file, which is the start of an entry. */
  seek(position: number): void {
    this.position = position;
    this.from = position;
    this.lastOffset = -1;
  }

  /**
   * After a read error that won't go away: goes behind the entry, or where not even its header can be read, behind the
   * pages. `next` then counts their bytes as skipped.
   */
  async passOver(): Promise<void> {
    const start = this.from;
    const found = await this.next().catch(() => null);
    if (found === null) {
      this.from = await this.behindBadPages(start);
    } else if (found) {
      const end = this.from;
      const works = await this.load().then(
        () => true,
        () => false,
      );
      this.from = works ? this.position : end;
      this.lastOffset = -1;
    }
    this.unreadableBytes += this.from - start;
  }

  private async behindBadPages(start: number): Promise<number> {
    const page = Buffer.allocUnsafe(PAGE_BYTES);
    let wasBad = false;
    for (let at = Math.floor(start / PAGE_BYTES) * PAGE_BYTES; at < this.limit; at += PAGE_BYTES) {
      const good = await this.files.read(this.place.fd, page, at).then(
        () => true,
        () => false,
      );
      if (wasBad && good) return at;
      if (!good) wasBad = true;
    }
    return wasBad ? this.limit : start;
  }

  private async headerAt(at: number): Promise<boolean> {
    if (!(await this.has(at, ENTRY_HEADER_BYTES))) return false;
    const head = this.head;
    return (
      head.read(this.window, at - this.windowStart, this.place.mark) &&
      at + head.length <= this.limit &&
      head.offset > this.lastOffset
    );
  }

  /** The next place at or after `start` where an entry with the file's mark could begin; the limit if none. */
  private async markFrom(start: number): Promise<number> {
    let at = start;
    while (await this.has(at, ENTRY_HEADER_BYTES)) {
      const hit = this.window.indexOf(this.markBytes, at - this.windowStart + MARK_AT);
      if (hit !== -1) return this.windowStart + hit - MARK_AT;
      at = Math.max(at + 1, this.windowStart + this.window.length - MARK_AT - 3);
    }
    return this.limit;
  }

  /** Whether `length` bytes at `at` are within the limit; if so they are in the window afterwards. */
  private async has(at: number, length: number): Promise<boolean> {
    if (at + length > this.limit) return false;
    const windowEnd = this.windowStart + this.window.length;
    if (at >= this.windowStart && at + length <= windowEnd) return true;
    const size = Math.min(Math.max(length, this.place.chunkBytes), this.limit - at);
    try {
      await this.fill(at, size);
    } catch (error) {
      // What can't be read may lie behind what is wanted now.
      if (size === length) throw error;
      await this.fill(at, length);
    }
    return at + length <= this.limit;
  }

  private async fill(at: number, size: number): Promise<void> {
    const fresh = this.roomFor(size);
    const windowEnd = this.windowStart + this.window.length;
    const kept = at >= this.windowStart && at < windowEnd ? this.window.copy(fresh, 0, at - this.windowStart) : 0;
    this.window = EMPTY; // Its bytes may have moved; after an error they are read again.
    const got = kept + (await readAll(this.files, this.place.fd, fresh.subarray(kept), at + kept));
    this.window = fresh.subarray(0, got);
    this.windowStart = at;
    if (got < size) this.limit = at + got; // The file is shorter than it should be.
  }

  private roomFor(size: number): Buffer {
    if (this.place.reuse !== true) return Buffer.allocUnsafeSlow(size);
    // Room for one large entry is not kept for the many small ones behind it.
    const tooLarge = this.room.length > 4 * Math.max(size, this.place.chunkBytes);
    if (size > this.room.length || tooLarge) this.room = Buffer.allocUnsafeSlow(Math.max(size, this.place.chunkBytes));
    return this.room.subarray(0, size);
  }
}
