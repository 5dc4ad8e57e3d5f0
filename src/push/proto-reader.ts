import { PbfReader } from "../codec/protobuf.ts";
import type { ItemBudget } from "./item-budget.ts";
import { PushError } from "./stream.ts";

export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

/** Fields that may be read between two turns of others, those that are skipped too: some ten milliseconds. */
const FIELDS_AT_ONCE_MAX = 262_144;

/** A message's bytes within the body: `[start, end)`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Protobuf from outside. The library trusts lengths; here every field has to end within its message, and to have the type that
 * the schema gives it. Throws PushError 400.
 */
export class ProtoReader {
  readonly bytes: Buffer;
  /** Counts what is decoded, for decoders that have no place of their own to. */
  readonly items: ItemBudget | null;
  private readonly pbf: PbfReader;
  private fields = 0;

  constructor(bytes: Buffer, items: ItemBudget | null = null) {
    this.bytes = bytes;
    this.items = items;
    this.pbf = new PbfReader(bytes);
  }

  /** Where reading goes on. */
  get at(): number {
    return this.pbf.pos;
  }

  /** Whether the present field is length-delimited. */
  get isBytes(): boolean {
    return this.pbf.type === BYTES;
  }

  /** Whether so many fields were read that others should have a turn before further ones; they are counted anew then. */
  isDue(): boolean {
    if (this.fields < FIELDS_AT_ONCE_MAX / 2) return false;
    this.fields = 0;
    return true;
  }

  /** Begins to read the fields of a message. */
  enter({ start }: Span): void {
    this.pbf.pos = start;
    // A value that was not read would else be skipped once more.
    this.pbf._valueStart = -1;
  }

  /** The number of the next field of the message that ends at `end`; 0 at its end. What was not read of the one before is skipped. */
  next(end: number): number {
    const { pbf } = this;
    if (++this.fields > FIELDS_AT_ONCE_MAX) throw this.bad(`more than ${FIELDS_AT_ONCE_MAX} fields at one place`);
    const field = this.guard(() => pbf.nextField(end));
    if (pbf.pos > end || (field === 0 && pbf.pos !== end)) throw this.bad("a field goes beyond its message");
    return field;
  }

  /** The place of a length-delimited value: text, bytes, a message. Goes behind it. */
  span(end: number): Span {
    const { pbf } = this;
    this.want(BYTES);
    const length = this.guard(() => pbf.readVarint());
    const start = pbf.pos;
    if (!(length >= 0) || start + length > end) throw this.bad("a field goes beyond its message");
    pbf.pos = start + length;
    return { start, end: start + length };
  }

  text(end: number): string {
    const span = this.span(end);
    this.items?.takeText(span.end - span.start);
    return this.bytes.toString("utf8", span.start, span.end);
  }

  view(end: number): Buffer {
    const span = this.span(end);
    return this.bytes.subarray(span.start, span.end);
  }

  /** An int32 or int64; beyond 2^53 its last digits are lost. */
  integer(end: number): number {
    const { pbf } = this;
    this.want(VARINT);
    const value = this.guard(() => pbf.readVarint(true));
    this.within(end);
    return value;
  }

  /** An int64 with all its digits. */
  bigInteger(end: number): bigint {
    this.want(VARINT);
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      if (this.pbf.pos >= end || shift > 63n) throw this.bad("a number does not end");
      const byte = this.bytes[this.pbf.pos++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
  }

  fixed32(end: number): number {
    this.want(FIXED32);
    const at = this.take(4, end);
    return this.bytes.readUInt32LE(at);
  }

  fixed64(end: number): bigint {
    this.want(FIXED64);
    const at = this.take(8, end);
    return this.bytes.readBigUInt64LE(at);
  }

  double(end: number): number {
    this.want(FIXED64);
    const at = this.take(8, end);
    return this.bytes.readDoubleLE(at);
  }

  bad(what: string): PushError {
    return new PushError(400, `couldn't read the protobuf body: ${what}, at byte ${this.pbf.pos}`);
  }

  private take(bytes: number, end: number): number {
    const at = this.pbf.pos;
    this.pbf.pos += bytes;
    this.within(end);
    return at;
  }

  private within(end: number): void {
    if (this.pbf.pos > end) throw this.bad("a field goes beyond its message");
  }

  private want(type: number): void {
    if (this.pbf.type !== type) throw this.bad(`got wire type ${this.pbf.type}, want ${type}`);
  }

  /** The library's own errors: a number that does not end, an unknown wire type. */
  private guard<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw new PushError(
        400,
        `couldn't read the protobuf body: ${error instanceof Error ? error.message : error}`,
        error,
      );
    }
  }
}
