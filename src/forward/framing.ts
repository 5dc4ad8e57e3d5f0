import { badMessage } from "../codec/forward-error.ts";
import { HEAD_BYTES, itemCount, itemHead, textHead, textLength, u16, u32 } from "../codec/msgpack.ts";

/** Elements of the longest message of the protocol, PING. */
const ELEMENTS_MAX = 6;
/** Least step in which bytes are added to an unfinished message. */
const STEP_BYTES = 4 << 10;
/** What follows the entries of a message as a rule: options of less than this. */
const OPTIONS_BYTES = 512;

/**
 * Cuts a stream of bytes into whole messages, whatever pieces the bytes arrive in. Every byte is looked at once: the
 * walk stops where the bytes end and goes on from there, so a message of 2 MB in 64 KiB pieces costs one walk.
 *
 * A message that lies in one piece is handed out as part of that piece; one that began in an earlier piece is put
 * together in a buffer of its own. In both cases nobody else writes to the bytes, and what a message keeps alive is at
 * most about twice what was received along with it.
 */
export class Framer {
  /** Longest message accepted. May change between messages: a handshake needs little. */
  messageBytesMax: number;
  /** Offset in the stream of the message that is being read, or that `next` gave last. */
  streamOffset = 0;
  /** Offset of the third element in the message that `next` gave last, or its length where there is none. */
  thirdAt = 0;

  /** Whether the message that `next` gave last lies in memory of its own. */
  isAlone = false;

  /** Bytes that are not part of a message yet; `chunkAt` is where they begin. */
  private chunk: Buffer | null = null;
  private chunkAt = 0;
  /** Of `chunk`, the part that belonged to a message begun before it. */
  private chunkTaken = 0;
  /** The unfinished message: the first `pendingLength` bytes count. */
  private pending: Buffer | null = null;
  private pendingLength = 0;
  private lastLength = 0;
  private nextStreamOffset = 0;

  /*
   * The walk. `at` is the offset in the message of the value that comes next; it lies beyond the bytes at hand while
   * the content of a str is still on its way. `todo` values belong to the present element of the message, which is
   * number `element` of `elements`; `elements` is 0 before the message has begun. A count takes the place of a stack.
   */
  private at = 0;
  private todo = 0;
  private element = 0;
  private elements = 0;
  private third = 0;

  constructor(messageBytesMax: number) {
    this.messageBytesMax = messageBytesMax;
  }

  /** Whether a message has begun and not ended. */
  get isPartial(): boolean {
    return this.pending !== null;
  }

  /** Bytes of the unfinished message that are here. */
  get partialBytes(): number {
    return this.pendingLength;
  }

  /** Bytes of memory held, other than by messages handed out. */
  get heldBytes(): number {
    return (this.pending?.length ?? 0) + (this.chunk === null ? 0 : this.chunk.length - this.chunkAt);
  }

  /** Takes the next bytes of the stream, and owns them from now on. Then call `next` until it gives null. */
  push(chunk: Buffer): void {
    if (this.chunk === null) this.chunk = chunk;
    else this.chunk = Buffer.concat([this.chunk.subarray(this.chunkAt), chunk]);
    this.chunkAt = 0;
    this.chunkTaken = 0;
  }

  /**
   * The next whole message, or null when more bytes are needed. nil between messages, which the protocol has for
   * heartbeats, is skipped. Throws `bad_message` for what can't become a message; the stream is then of no use any more.
   */
  next(): Buffer | null {
    while (this.chunk !== null && this.chunkAt < this.chunk.length) {
      const { chunk } = this;
      if (this.pending !== null) {
        const whole = this.addToPending(this.pending, chunk);
        if (whole !== null) return whole;
        continue;
      }
      if (chunk[this.chunkAt] === 0xc0) {
        this.chunkAt++;
        this.nextStreamOffset++;
        continue;
      }
      this.streamOffset = this.nextStreamOffset;
      this.startWalk();
      if (this.walk(chunk, this.chunkAt, chunk.length)) return this.takeFrom(chunk);
      this.startPending(chunk);
    }
    this.chunk = null;
    return null;
  }

  /** The tag of the unfinished message, or "" when it isn't here: for a log line about that message. */
  partialTag(): string {
    const bytes = this.pending ?? this.chunk?.subarray(this.chunkAt) ?? Buffer.alloc(0);
    const end = this.pending === null ? bytes.length : this.pendingLength;
    const at = end === 0 ? 0 : itemHead(bytes[0]);
    if (at === 0 || at + 5 > end || textHead(bytes[at]) === 0) return "";
    const start = at + textHead(bytes[at]);
    return bytes.toString("utf8", start, Math.min(start + textLength(bytes, at), end, start + 256));
  }

  private startWalk(): void {
    this.at = 0;
    this.todo = 0;
    this.element = 0;
    this.elements = 0;
    this.third = 0;
  }

  /** The message at the present place of `chunk`, which lies in it whole. */
  private takeFrom(chunk: Buffer): Buffer {
    const start = this.chunkAt;
    const end = start + this.at;
    this.ended();
    this.isAlone = false;
    this.chunkAt = end;
    // Where most of the piece went to an earlier message, a small one must not keep all of it alive.
    if (this.chunkTaken * 2 > chunk.length) return copyOf(chunk, start, end);
    return chunk.subarray(start, end);
  }

  /** Counts the message that `at` is the length of as done. */
  private ended(): void {
    this.thirdAt = this.third;
    this.lastLength = this.at;
    this.nextStreamOffset = this.streamOffset + this.at;
  }

  private startPending(chunk: Buffer): void {
    const rest = chunk.length - this.chunkAt;
    this.pending = Buffer.allocUnsafeSlow(this.roomFor(rest));
    chunk.copy(this.pending, 0, this.chunkAt);
    this.pendingLength = rest;
    this.chunkAt = chunk.length;
  }

  /**
   * Bytes to make room for when `atLeast` must fit. An announced length is believed only up to twice what is here or
   * what the last message had: it costs the sender nothing, and counts against everybody's memory.
   */
  private roomFor(atLeast: number): number {
    const believed = Math.max(atLeast * 2, this.lastLength + (this.lastLength >> 3), STEP_BYTES);
    const needed = this.at > atLeast ? this.at + OPTIONS_BYTES : believed;
    return Math.max(atLeast, Math.min(needed, believed, this.messageBytesMax + OPTIONS_BYTES));
  }

  /** Moves bytes from the chunk to the unfinished message; the message once it is whole. */
  private addToPending(pending: Buffer, chunk: Buffer): Buffer | null {
    // As much as is surely part of it, and beyond that not more than it already has: what turns out to be part of the
    // next message was copied for nothing.
    const wanted = Math.max(this.at - this.pendingLength, STEP_BYTES, this.pendingLength);
    const taken = Math.min(wanted, chunk.length - this.chunkAt);
    const length = this.pendingLength + taken;
    let target = pending;
    if (length > pending.length) {
      target = Buffer.allocUnsafeSlow(this.roomFor(length));
      pending.copy(target, 0, 0, this.pendingLength);
      this.pending = target;
    }
    chunk.copy(target, this.pendingLength, this.chunkAt, this.chunkAt + taken);
    this.chunkAt += taken;
    this.pendingLength = length;
    if (!this.walk(target, 0, length)) return null;

    const end = this.at;
    this.chunkAt -= length - end;
    this.chunkTaken = this.chunkAt;
    this.pending = null;
    this.pendingLength = 0;
    this.ended();
    this.isAlone = true;
    return target.length - end > end >> 3 ? copyOf(target, 0, end) : target.subarray(0, end);
  }

  /**
   * Goes on walking the message that begins at `base`, as far as the bytes before `end` allow; true when it is whole.
   */
  private walk(bytes: Buffer, base: number, end: number): boolean {
    let at = base + this.at;
    let todo = this.todo;
    if (this.element > 0 && this.element === this.elements) return at <= end; // Only content of its last str was missing.
    if (this.elements === 0) {
      const head = this.readOuterHead(bytes, base, end);
      if (head === 0) return false;
      at = base + head;
      todo = 1;
    }
    walking: for (;;) {
      while (todo > 0) {
        if (at >= end) break walking;
        const c = bytes[at];
        if (c < 0x80 || c >= 0xe0) {
          at += 1;
        } else if (c >= 0xa0 && c < 0xc0) {
          at += c - 0x9f;
        } else if (c < 0x90) {
          todo += (c & 0x0f) << 1;
          at += 1;
        } else if (c < 0xa0) {
          todo += c & 0x0f;
          at += 1;
        } else {
          const head = HEAD_BYTES[c - 0xc0];
          if (head === 0) throw badMessage("not_msgpack", "got byte 0xc1, which begins no value", at - base);
          if (at + head > end) break walking;
          switch (c) {
            case 0xc4:
            case 0xd9:
              at += 2 + bytes[at + 1];
              break;
            case 0xc5:
            case 0xda:
              at += 3 + u16(bytes, at + 1);
              break;
            case 0xc6:
            case 0xdb:
              at += 5 + u32(bytes, at + 1);
              break;
            case 0xc7:
              at += 3 + bytes[at + 1];
              break;
            case 0xc8:
              at += 4 + u16(bytes, at + 1);
              break;
            case 0xc9:
              at += 6 + u32(bytes, at + 1);
              break;
            case 0xdc:
              todo += u16(bytes, at + 1);
              at += 3;
              break;
            case 0xdd:
              todo += u32(bytes, at + 1);
              at += 5;
              break;
            case 0xde:
              todo += u16(bytes, at + 1) * 2;
              at += 3;
              break;
            case 0xdf:
              todo += u32(bytes, at + 1) * 2;
              at += 5;
              break;
            default:
              at += head;
          }
        }
        todo--;
      }
      this.element++;
      if (this.element === 2) this.third = at - base;
      if (this.element === this.elements) break;
      todo = 1;
    }
    this.at = at - base;
    this.todo = todo;
    // Each value that is still wanted takes a byte at least, so a message that must become too long is seen at once.
    if (this.at + todo + Math.max(this.elements - this.element - 1, 0) > this.messageBytesMax) {
      throw badMessage("too_long", `message is longer than ${this.messageBytesMax} bytes`, this.at);
    }
    return this.element === this.elements && at <= end;
  }

  /** Reads the head of the message's array into `elements`; its length, or 0 when it is cut. */
  private readOuterHead(bytes: Buffer, base: number, end: number): number {
    const c = bytes[base];
    const head = itemHead(c);
    if (head === 0 || (c >= 0x80 && c < 0x90) || c >= 0xde) {
      throw badMessage("not_msgpack", `got byte 0x${c.toString(16).padStart(2, "0")}${hintAt(c)}, want an array`, 0);
    }
    if (base + head > end) return 0;
    const count = itemCount(bytes, base);
    if (count < 2 || count > ELEMENTS_MAX) {
      throw badMessage("shape", `got an array of ${count}, want a message of 2 to ${ELEMENTS_MAX} elements`, 0);
    }
    this.elements = count;
    return head;
  }
}

function copyOf(bytes: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(end - start);
  bytes.copy(copy, 0, start, end);
  return copy;
}

/** What a first byte that begins no message most likely is, for the user who pointed the wrong client here. */
function hintAt(c: number): string {
  if (c === 0x16) return " (TLS? this listener is plain)";
  if (c === 0x47 || c === 0x50 || c === 0x48) return " (HTTP?)";
  if (c === 0x7b || c === 0x5b) return " (JSON?)";
  return "";
}
