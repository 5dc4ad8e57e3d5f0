import { encode } from "./msgpack.ts";

const FIRST_BYTES = 64 * 1024;
/** UTF-8 bytes of a UTF-16 unit at most. */
const UTF8_MAX = 3;
const HEAD_BYTES_MAX = 5;

/**
 * Writes MessagePack into one buffer that grows: records go out by the thousand, and `encode` makes a Buffer for every value.
 * bench/sinks.ts: half the CPU for lines, three quarters for whole records.
 */
export class Packer {
  private buffer: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  private at = 0;

  /** What was written since the last call, as a copy. */
  take(): Buffer {
    const bytes = Buffer.from(this.buffer.subarray(0, this.at));
    this.at = 0;
    return bytes;
  }

  /** Bytes since the last `take`. */
  get length(): number {
    return this.at;
  }

  /** Goes on writing at `to`, over what stands there; also back to where it was before. */
  rewind(to: number): void {
    this.at = to;
  }

  /** MessagePack that is there already. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  byte(value: number): void {
    this.reserve(1);
    this.buffer[this.at++] = value;
  }

  /** An EventTime: extension type 0, seconds and nanoseconds. */
  time(sec: number, nsec: number): void {
    this.reserve(10);
    this.buffer[this.at] = 0xd7;
    this.buffer[this.at + 1] = 0;
    this.buffer.writeUInt32BE(sec, this.at + 2);
    this.buffer.writeUInt32BE(nsec, this.at + 6);
    this.at += 10;
  }

  text(value: string): void {
    const most = value.length * UTF8_MAX;
    this.reserve(HEAD_BYTES_MAX + most);
    // The head by what the text may take: a byte or two more than the shortest now and then.
    const head = most < 32 ? 1 : most < 0x100 ? 2 : most < 0x1_0000 ? 3 : 5;
    const length = this.buffer.write(value, this.at + head);
    this.textHead(length, head);
    this.at += head + length;
  }

  /** Any bytes as a str: that is what agents make of a line, and receivers store it as it is. */
  line(bytes: Uint8Array): void {
    this.reserve(HEAD_BYTES_MAX + bytes.length);
    this.textHead(bytes.length, HEAD_BYTES_MAX);
    this.buffer.set(bytes, this.at + HEAD_BYTES_MAX);
    this.at += HEAD_BYTES_MAX + bytes.length;
  }

  number(value: number | bigint): void {
    if (typeof value === "number" && value >= 0 && value < 0x80 && Number.isInteger(value) && !Object.is(value, -0)) {
      this.byte(value);
      return;
    }
    const bytes = encode(value);
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** Names and texts, as a map. */
  texts(pairs: readonly (readonly [name: string, value: string])[]): void {
    const map = this.begin("map");
    for (const [name, value] of pairs) {
      this.text(name);
      this.text(value);
    }
    this.end(map, pairs.length);
  }

  /** Begins a map or an array whose size `end` is told; gives what to tell `end` with. */
  begin(kind: "map" | "array"): number {
    this.reserve(HEAD_BYTES_MAX);
    const place = this.at;
    this.buffer[place] = kind === "map" ? 0xdf : 0xdd;
    this.at += HEAD_BYTES_MAX;
    return place;
  }

  end(place: number, count: number): void {
    this.buffer.writeUInt32BE(count, place + 1);
  }

  private textHead(length: number, head: number): void {
    const { buffer, at } = this;
    if (head === 1) buffer[at] = 0xa0 | length;
    else if (head === 2) {
      buffer[at] = 0xd9;
      buffer[at + 1] = length;
    } else if (head === 3) {
      buffer[at] = 0xda;
      buffer.writeUInt16BE(length, at + 1);
    } else {
      buffer[at] = 0xdb;
      buffer.writeUInt32BE(length, at + 1);
    }
  }

  private reserve(bytes: number): void {
    const { at, buffer } = this;
    if (at + bytes <= buffer.length) return;
    this.buffer = Buffer.allocUnsafe(Math.max(buffer.length * 2, at + bytes));
    buffer.copy(this.buffer, 0, 0, at);
  }
}
