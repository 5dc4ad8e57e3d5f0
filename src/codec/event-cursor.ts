import { WeirError } from "../core/errors.ts";
import { inflateBoundedSync } from "./bounded-inflate.ts";
import { badMessage, type FaultPlace } from "./forward-error.ts";
import type { ForwardMessage } from "./forward-message.ts";
import { CUT, itemCount, itemHead, kindAt, readFloat, readInteger, skip, u32 } from "./msgpack.ts";
import { skipNested, TOO_DEEP } from "./nesting.ts";
import { RecordWalk } from "./record-walk.ts";

/** What a group start marker said of the events that follow it (OTLP resource and scope). One object a group. */
export interface EventGroup {
  /** MessagePack maps in `EventCursor.bytes`. */
  readonly metadataStart: number;
  readonly metadataEnd: number;
  readonly attributesStart: number;
  readonly attributesEnd: number;
}

/** First second that a time in nanoseconds no longer fits into 63 bits: in the year 2262. */
const SECONDS_END = 9_223_372_036;

/** EventTime seconds of the two markers among entries, with no nanoseconds. */
const GROUP_START = 0xffffffff;
const GROUP_END = 0xfffffffe;

/** Entries that nobody inflated yet come from the intake log: they were checked against the real limit before. */
const INFLATED_AGAIN_BYTES_MAX = 0x40000000;

/**
 * Walks the events of a message. Fields say where the present event stands; markers are consumed, not events.
 * One cursor serves message after message, and allocates nothing per event.
 */
export class EventCursor {
  bytes: Buffer = Buffer.alloc(0);
  /** Seconds since 1970 UTC and nanoseconds. */
  sec = 0;
  nsec = 0;
  /** The record: a MessagePack map at bytes[recordStart, recordEnd). */
  recordStart = 0;
  recordEnd = 0;
  /** The metadata map, or -1 where the event has none. */
  metadataStart = -1;
  metadataEnd = -1;
  /** The group that the event is in, or null. */
  group: EventGroup | null = null;
  /** Entries consumed so far, markers included. */
  entries = 0;
  /** Where the next entry begins: how far the walk has come. */
  at = 0;
  /** How deep a record and its metadata may be nested; 0 checks nothing, for payloads that were checked before. */
  nestingMax = 0;
  /** Says which map of the record is the same as in an earlier one of the message (RecordWalk). */
  readonly records: RecordWalk = new RecordWalk();

  private end = 0;
  /** Entries left, or -1 where they go on until `end`. */
  private left = 0;
  private isMessageMode = false;
  private message: ForwardMessage | null = null;
  private place: FaultPlace = "message";

  /**
   * Begins a message. `inflated`: the entries of a compressed message, when somebody inflated them already; else they
   * are inflated here, which takes its time.
   */
  open(payload: Buffer, message: ForwardMessage, inflated?: Buffer): void {
    this.message = message;
    this.group = null;
    this.entries = 0;
    this.isMessageMode = message.mode === "message";
    if (message.mode === "compressed") {
      this.bytes = inflated ?? inflateEntries(payload, message);
      this.at = 0;
      this.end = this.bytes.length;
      this.left = -1;
      this.place = "inflated entries";
      this.records.open(this.bytes);
      return;
    }
    this.bytes = payload;
    this.records.open(payload);
    this.at = message.entriesStart;
    // In forward mode the count says where to stop, so the end of the entries is not asked for: it costs a walk.
    this.end = message.mode === "forward" ? payload.length : message.entriesEnd;
    this.left = message.entryCount;
    this.place = "message";
  }

  /** Moves to the next event; false at the end. Throws WeirError `bad_message` with the byte offset. */
  next(): boolean {
    if (this.isMessageMode) return this.nextOfMessage();
    const { bytes, end } = this;
    while (this.left !== 0) {
      let at = this.at;
      if (at >= end) {
        if (this.left < 0) return false;
        throw this.bad("cut", `${this.left} more entries wanted`, at);
      }
      at = bytes[at] === 0x92 ? at + 1 : this.pairHead(at, "an entry, which is [time, record]");
      const c = bytes[at];
      const timeAt =
        c === 0x92 ? at + 1 : c >= 0x90 && (c < 0xa0 || c === 0xdc || c === 0xdd) ? this.innerHead(at) : at;
      const isWrapped = timeAt !== at;
      at = this.readTime(timeAt);
      if (isWrapped) {
        this.metadataStart = at;
        // Fluent Bit sends an empty map where an event has no metadata: nearly always.
        at = bytes[at] === 0x80 && at < end ? at + 1 : this.mapEnd(at, "metadata");
        this.metadataEnd = at;
      } else {
        this.metadataStart = -1;
        this.metadataEnd = -1;
      }
      this.recordStart = at;
      at = this.recordEndOf(at);
      this.recordEnd = at;
      this.at = at;
      this.entries++;
      if (this.left > 0) this.left--;
      if (isWrapped && this.sec >= GROUP_END && this.isMarker(timeAt)) continue;
      return true;
    }
    return false;
  }

  private nextOfMessage(): boolean {
    if (this.left === 0 || this.message === null) return false;
    this.left = 0;
    this.entries = 1;
    this.metadataStart = this.message.metadataStart;
    this.metadataEnd = this.message.metadataEnd;
    if (this.metadataStart !== -1 && this.nestingMax > 0) {
      const { end } = this;
      this.end = this.metadataEnd;
      this.mapEnd(this.metadataStart, "metadata");
      this.end = end;
    }
    this.recordStart = this.readTime(this.at);
    this.recordEnd = this.recordEndOf(this.recordStart);
    this.at = this.recordEnd;
    return true;
  }

  /** Whether the entry just read, whose time stands at `timeAt`, is a group marker; if so, the group has changed. */
  private isMarker(timeAt: number): boolean {
    const c = this.bytes[timeAt];
    if (this.nsec !== 0 || (c !== 0xd7 && c !== 0xc7)) return false;
    this.group =
      this.sec === GROUP_START
        ? {
            metadataStart: this.metadataStart,
            metadataEnd: this.metadataEnd,
            attributesStart: this.recordStart,
            attributesEnd: this.recordEnd,
          }
        : null;
    return true;
  }

  /** Offset after the head of an array of two in one of its long forms. */
  private pairHead(at: number, what: string): number {
    const { bytes, end } = this;
    if (at >= end) throw this.bad("cut", `entries are cut, want ${what}`, at);
    const c = bytes[at];
    if (c === 0xc1) throw this.bad("not_msgpack", "got byte 0xc1, which begins no value", at);
    const kind = kindAt(bytes, at);
    if (kind !== "array") throw this.bad("shape", `got ${kind}, want ${what}`, at);
    const head = itemHead(c);
    if (at + head > end) throw this.bad("cut", `entries are cut, want ${what}`, at);
    const count = itemCount(bytes, at);
    if (count !== 2) throw this.bad("shape", `got an array of ${count}, want ${what}`, at);
    return at + head;
  }

  private innerHead(at: number): number {
    return this.pairHead(at, "[time, metadata]");
  }

  /** Reads the time at `at` into `sec` and `nsec` and returns the offset after it. */
  private readTime(at: number): number {
    const { bytes, end } = this;
    if (bytes[at] === 0xd7 && bytes[at + 1] === 0 && at + 10 <= end) {
      this.sec = u32(bytes, at + 2);
      this.nsec = u32(bytes, at + 6);
      if (this.nsec >= 1e9) throw this.bad("time", `event time: got ${this.nsec} ns, want under 1e9`, at);
      return at + 10;
    }
    return this.readOddTime(at);
  }

  /** EventTime as ext8, integer seconds of any width, and float seconds, which some old clients send. */
  private readOddTime(at: number): number {
    const { bytes, end } = this;
    const next = this.valueEnd(at, "a time");
    const kind = kindAt(bytes, at);
    if (kind === "ext") {
      const isEventTime = bytes[at] === 0xc7 && bytes[at + 1] === 8 && bytes[at + 2] === 0 && at + 11 <= end;
      if (!isEventTime) throw this.bad("time", "time: want an EventTime, which is ext type 0 with 8 bytes", at);
      this.sec = u32(bytes, at + 3);
      this.nsec = u32(bytes, at + 7);
      if (this.nsec >= 1e9) throw this.bad("time", `event time: got ${this.nsec} ns, want under 1e9`, at);
      return next;
    }
    const value = readInteger(bytes, at) ?? readFloat(bytes, at);
    if (value === null) throw this.bad("time", `time: got ${kind}, want an EventTime or seconds`, at);
    // Comparing this way round also refuses NaN. A time in milliseconds, which some loggers send when told to, is too
    // large; it is not guessed to be one, as other receivers take it for seconds too.
    if (!(value >= 0 && value < SECONDS_END)) {
      const hint = value >= 1e11 ? " (milliseconds? set the sender to seconds or EventTime)" : "";
      throw this.bad("time", `time: got ${value}${hint}, want seconds since 1970, below ${SECONDS_END}`, at);
    }
    this.sec = Math.floor(Number(value));
    this.nsec = Math.min(Math.round((Number(value) - this.sec) * 1e9), 999_999_999);
    return next;
  }

  /** Forgets the bytes of the message. */
  close(): void {
    this.bytes = NO_BYTES;
    this.records.close();
  }

  /** Offset after the map at `at`. */
  private mapEnd(at: number, what: string): number {
    this.wantMap(at, what);
    return this.valueEnd(at, what);
  }

  private recordEndOf(at: number): number {
    const what = "a record";
    this.wantMap(at, what);
    try {
      return this.ended(this.records.recordEnd(at, this.end, this.nestingMax), what, at);
    } catch (error) {
      throw this.orBadByte(error, what, at);
    }
  }

  private wantMap(at: number, what: string): void {
    const c = this.bytes[at];
    if (at >= this.end) throw this.bad("cut", `entries are cut, want ${what}`, at);
    if ((c & 0xf0) !== 0x80 && c !== 0xde && c !== 0xdf) {
      if (c === 0xc1) throw this.bad("not_msgpack", "got byte 0xc1, which begins no value", at);
      throw this.bad("shape", `got ${kindAt(this.bytes, at)}, want ${what}, which is a map`, at);
    }
  }

  /** Offset after the value at `at`, which is checked for depth if anybody cares. */
  private valueEnd(at: number, what: string): number {
    const { bytes, end, nestingMax } = this;
    try {
      return this.ended(nestingMax > 0 ? skipNested(bytes, at, end, nestingMax) : skip(bytes, at, end), what, at);
    } catch (error) {
      throw this.orBadByte(error, what, at);
    }
  }

  private ended(next: number, what: string, at: number): number {
    if (next === CUT) throw this.bad("cut", `${what} is cut`, at);
    if (next === TOO_DEEP) throw this.bad("too_deep", `${what} is nested deeper than ${this.nestingMax}`, at);
    return next;
  }

  /** The error of a walk as one of the message. */
  private orBadByte(error: unknown, what: string, at: number): unknown {
    if (error instanceof WeirError && error.code === "bad_message") return error;
    return badMessage("not_msgpack", `got byte 0xc1 inside ${what}`, at, this.place, error);
  }

  private bad(reason: Parameters<typeof badMessage>[0], what: string, at: number): Error {
    return badMessage(reason, what, at, this.place);
  }
}

const NO_BYTES = Buffer.alloc(0);

function inflateEntries(payload: Buffer, message: ForwardMessage): Buffer {
  const packed = payload.subarray(message.entriesStart, message.entriesEnd);
  if (message.compression === "none") return packed;
  return inflateBoundedSync(packed, message.compression, INFLATED_AGAIN_BYTES_MAX);
}
