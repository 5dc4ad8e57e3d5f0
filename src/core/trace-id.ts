/*
 * Trace ids in their written forms, and hex digits as bytes. Shared by the pipeline, which finds ids in logs, and by
 * the query side, which is asked for one in whatever form somebody copied.
 *
 * The canonical id is 16 bytes (32 lower-case hex digits); an id of a system that knows 64 bits fills the low half.
 */

/** What a byte is worth as a hex digit, either case; NO_HEX for every other byte. */
export const HEX_VALUE: Uint8Array = new Uint8Array(256).fill(0xff);
export const NO_HEX = 0xff;
for (let i = 0; i < 10; i++) HEX_VALUE[0x30 + i] = i;
for (let i = 0; i < 6; i++) {
  HEX_VALUE[0x41 + i] = 10 + i;
  HEX_VALUE[0x61 + i] = 10 + i;
}

/** Writes `digits` hex digits (an even number) at `at` as bytes into `out`. False when one is no hex digit. */
export function readHex(bytes: Uint8Array, at: number, digits: number, out: Uint8Array, outAt: number): boolean {
  for (let i = 0; i < digits; i += 2) {
    const high = HEX_VALUE[bytes[at + i]];
    const low = HEX_VALUE[bytes[at + i + 1]];
    if ((high | low) > 15) return false;
    out[outAt++] = (high << 4) | low;
  }
  return true;
}

/** Lower-case hex digits of `length` bytes. */
export function hexText(bytes: Uint8Array, at: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString("hex");
}

export function isZero(bytes: Uint8Array, at: number, length: number): boolean {
  for (let i = at; i < at + length; i++) if (bytes[i] !== 0) return false;
  return true;
}

const U64_MAX = 0xffff_ffff_ffff_ffffn;

/** The 8 big-endian bytes of an unsigned decimal number of at most 20 digits, or null above 2^64-1. */
export function decimalBytes(text: string): Buffer | null {
  if (!/^\d{1,20}$/.test(text)) return null;
  const value = BigInt(text);
  if (value > U64_MAX) return null;
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(value);
  return out;
}

const SKYWALKING = /^([0-9a-f]{32})\.(\d+)\.(\d+)$/i;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const HEX32 = /^[0-9a-f]{32}$/i;

/**
 * The 16 bytes of a SkyWalking id: `<32 hex>.<thread>.<number>`, or a UUID with or without dashes; null for others.
 * The 32 hex digits of the dotted form name the process, so both numbers are worked in, the way in which the
 * OpenTelemetry Collector's SkyWalking receiver does it. `word0` is XORed into the first four bytes as well.
 */
export function skyWalkingBytes(id: string, word0 = 0): Buffer | null {
  const dotted = SKYWALKING.exec(id);
  if (dotted === null) {
    const hex = UUID.test(id) ? id.replaceAll("-", "") : id;
    if (!HEX32.test(hex)) return null;
    return Buffer.from(hex, "hex");
  }
  const out = Buffer.from(dotted[1], "hex");
  if (word0 !== 0) out.writeUInt32LE((out.readUInt32LE(0) ^ word0) >>> 0, 0);
  const thread = Number(BigInt.asUintN(32, BigInt(dotted[2])));
  out.writeUInt32LE((out.readUInt32LE(4) ^ thread) >>> 0, 4);
  out.writeBigUInt64LE(out.readBigUInt64LE(8) ^ BigInt.asUintN(64, BigInt(dotted[3])), 8);
  return out;
}

/** The 8 bytes of a SkyWalking span: number `span` of the segment `segment`; null when the segment id has no such shape. */
export function skyWalkingSpanBytes(segment: string, span: number): Buffer | null {
  const unit = skyWalkingBytes(segment, span >>> 0);
  if (unit === null) return null;
  const out = Buffer.alloc(8);
  for (let i = 0; i < 8; i++) out[i] = unit[i] ^ unit[i + 8];
  return out;
}

/**
 * An id to look for. Everything with the low half `low8` is a candidate; where `exact16` is given, a stored id fits
 * when it has these 16 bytes, or when its high half is zero because its writer knew 64 bits only.
 */
export interface TraceIdCandidate {
  readonly low8: Buffer;
  readonly exact16?: Buffer;
}

/**
 * What may be meant by `text`: 1 to 32 hex digits, a decimal number up to 2^64-1, `1-8-24` (X-Ray, with or without
 * `Root=`), a UUID, a raw SkyWalking id, or a whole `traceparent`. A text such as `1234567890123456` has two readings, so there
 * may be several; none for what is no id, all zeros included.
 */
export function parseTraceIdQuery(text: string): TraceIdCandidate[] {
  const id = text.trim().toLowerCase();
  if (id.length > 2048) return [];
  const found: TraceIdCandidate[] = [];
  const add = (bytes: Buffer | null) => {
    if (bytes === null) return;
    const low8 = bytes.subarray(bytes.length - 8);
    const isWide = bytes.length === 16 && !isZero(bytes, 0, 8);
    if (!isWide && isZero(low8, 0, 8)) return;
    if (found.some((other) => other.low8.equals(low8) && other.exact16 === undefined)) return;
    found.push(isWide ? { low8, exact16: bytes } : { low8 });
  };
  if (/^[0-9a-f]{1,32}$/.test(id)) add(Buffer.from(id.padStart(32, "0"), "hex"));
  add(decimalBytes(id));
  const xray = /^(?:root=)?1-([0-9a-f]{8})-([0-9a-f]{24})$/.exec(id);
  if (xray !== null) add(Buffer.from(xray[1] + xray[2], "hex"));
  const parent = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/.exec(id);
  if (parent !== null) add(Buffer.from(parent[1], "hex"));
  if (UUID.test(id) || SKYWALKING.test(id)) add(skyWalkingBytes(id));
  return found;
}
