import { WeirError } from "../core/errors.ts";

/*
 * MessagePack as a cursor over bytes: nothing is decoded until somebody asks.
 * Source: the MessagePack specification, "Formats". Lengths and numbers are big-endian.
 *
 * Functions that take (bytes, at, end) read the value that begins at `at` and never look at or past `end`.
 */

/** What a value is, whatever its width on the wire. */
export type MsgpackKind = "nil" | "bool" | "uint" | "int" | "float" | "str" | "bin" | "array" | "map" | "ext";

/** `skip` met the end of the bytes before the end of the value. */
export const CUT = -1;

/**
 * The offset after the value at `at`, or CUT. Does not check nesting depth: it keeps a count instead of a stack, so
 * depth costs nothing. Throws `bad_msgpack` for the one byte that begins no value, 0xc1.
 */
export function skip(bytes: Uint8Array, at: number, end: number): number {
  let todo = 1;
  while (todo > 0) {
    if (at >= end) return CUT;
    todo--;
    const c = bytes[at];
    if (c < 0x80 || c >= 0xe0) {
      at += 1;
    } else if (c < 0x90) {
      todo += (c & 0x0f) << 1;
      at += 1;
    } else if (c < 0xa0) {
      todo += c & 0x0f;
      at += 1;
    } else if (c < 0xc0) {
      at += 1 + (c & 0x1f);
    } else {
      const head = HEAD_BYTES[c - 0xc0];
      if (head === 0) throw badByte(at);
      if (at + head > end) return CUT;
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
          at += head; // Fixed size: nil, booleans, numbers, fixext.
      }
    }
  }
  return at <= end ? at : CUT;
}

/**
 * Bytes of format, length and fixed payload of the formats 0xc0 to 0xdf; for those with a length, of the part before
 * the content. 0 marks the format that does not exist.
 */
export const HEAD_BYTES: Uint8Array = Uint8Array.of(
  1,
  0,
  1,
  1,
  2,
  3,
  5,
  3,
  4,
  6,
  5,
  9,
  2,
  3,
  5,
  9, // c0 to cf
  2,
  3,
  5,
  9,
  3,
  4,
  6,
  10,
  18,
  2,
  3,
  5,
  3,
  5,
  3,
  5, // d0 to df
);

function badByte(at: number): WeirError {
  return new WeirError("bad_msgpack", `MessagePack: got byte 0xc1, which begins no value, at byte ${at}`, {
    context: { at },
  });
}

export function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function u32(bytes: Uint8Array, at: number): number {
  return bytes[at] * 0x1000000 + ((bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]);
}

export function kindAt(bytes: Uint8Array, at: number): MsgpackKind {
  const c = bytes[at];
  if (c < 0x80) return "uint";
  if (c >= 0xe0) return "int";
  if (c < 0x90) return "map";
  if (c < 0xa0) return "array";
  if (c < 0xc0) return "str";
  if (c === 0xc0) return "nil";
  if (c === 0xc1) throw badByte(at);
  if (c <= 0xc3) return "bool";
  if (c <= 0xc6) return "bin";
  if (c <= 0xc9) return "ext";
  if (c <= 0xcb) return "float";
  if (c <= 0xcf) return "uint";
  if (c <= 0xd3) return "int";
  if (c <= 0xd8) return "ext";
  if (c <= 0xdb) return "str";
  return c <= 0xdd ? "array" : "map";
}

/** Bytes before the content of the str or bin at `at` (1, 2, 3 or 5), or 0 when it is neither. */
export function textHead(c: number): number {
  if (c >= 0xa0 && c < 0xc0) return 1;
  switch (c) {
    case 0xc4:
    case 0xd9:
      return 2;
    case 0xc5:
    case 0xda:
      return 3;
    case 0xc6:
    case 0xdb:
      return 5;
    default:
      return 0;
  }
}

/** Length of the content of the str or bin at `at`; the caller knows that it is one, and that its head is there. */
export function textLength(bytes: Uint8Array, at: number): number {
  const c = bytes[at];
  if (c < 0xc0) return c & 0x1f;
  if (c === 0xc4 || c === 0xd9) return bytes[at + 1];
  if (c === 0xc5 || c === 0xda) return u16(bytes, at + 1);
  return u32(bytes, at + 1);
}

/** Number of elements of the array, or pairs of the map, at `at`, or -1 when it is neither. The head must be there. */
export function itemCount(bytes: Uint8Array, at: number): number {
  const c = bytes[at];
  if (c >= 0x80 && c < 0xa0) return c & 0x0f;
  if (c === 0xdc || c === 0xde) return u16(bytes, at + 1);
  if (c === 0xdd || c === 0xdf) return u32(bytes, at + 1);
  return -1;
}

/** Bytes before the first element of the array or map at `at` (1, 3 or 5), or 0 when it is neither. */
export function itemHead(c: number): number {
  if (c >= 0x80 && c < 0xa0) return 1;
  if (c === 0xdc || c === 0xde) return 3;
  if (c === 0xdd || c === 0xdf) return 5;
  return 0;
}

/** The integer at `at` as a number where that is exact, else as a bigint; null when the value is no integer. */
export function readInteger(bytes: Uint8Array, at: number): number | bigint | null {
  const c = bytes[at];
  if (c < 0x80) return c;
  if (c >= 0xe0) return c - 0x100;
  switch (c) {
    case 0xcc:
      return bytes[at + 1];
    case 0xcd:
      return u16(bytes, at + 1);
    case 0xce:
      return u32(bytes, at + 1);
    case 0xcf:
      return exact((BigInt(u32(bytes, at + 1)) << 32n) | BigInt(u32(bytes, at + 5)));
    case 0xd0:
      return (bytes[at + 1] << 24) >> 24;
    case 0xd1:
      return (u16(bytes, at + 1) << 16) >> 16;
    case 0xd2:
      return u32(bytes, at + 1) | 0;
    case 0xd3:
      return exact(BigInt.asIntN(64, (BigInt(u32(bytes, at + 1)) << 32n) | BigInt(u32(bytes, at + 5))));
    default:
      return null;
  }
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** The float at `at`, or null when the value is none. */
export function readFloat(bytes: Buffer, at: number): number | null {
  if (bytes[at] === 0xca) return bytes.readFloatBE(at + 1);
  if (bytes[at] === 0xcb) return bytes.readDoubleBE(at + 1);
  return null;
}

/** A whole value as JavaScript has it: maps as arrays of pairs, since keys may repeat or be no text. */
export type MsgpackValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Buffer
  | { ext: number; data: Buffer }
  | MsgpackValue[]
  | MsgpackMap;

export class MsgpackMap {
  readonly pairs: [MsgpackValue, MsgpackValue][];
  constructor(pairs: [MsgpackValue, MsgpackValue][]) {
    this.pairs = pairs;
  }

  /** The value of the last pair with this text as key, as every JSON reader has it; undefined without one. */
  get(key: string): MsgpackValue | undefined {
    for (let i = this.pairs.length - 1; i >= 0; i--) if (this.pairs[i][0] === key) return this.pairs[i][1];
    return undefined;
  }
}

/**
 * Decodes the whole value at `at`: str as UTF-8 text with U+FFFD for what is none, bin as a Buffer over the same
 * memory. Slow, for handshakes, options and steps that need a record as a whole.
 * Throws `bad_msgpack` when it is cut, or nested deeper than `depth`.
 */
export function decode(bytes: Buffer, at: number, end: number, depth = 64): { value: MsgpackValue; next: number } {
  if (at >= end) throw new WeirError("bad_msgpack", `MessagePack: value cut at byte ${at}`, { context: { at } });
  const c = bytes[at];
  const isContainer = itemHead(c) > 0;
  if (!isContainer) {
    const next = skip(bytes, at, end);
    if (next === CUT) throw new WeirError("bad_msgpack", `MessagePack: value cut at byte ${at}`, { context: { at } });
    return { value: scalar(bytes, at, next), next };
  }
  if (depth === 0) {
    throw new WeirError("bad_msgpack", `MessagePack: nested too deep at byte ${at}`, { context: { at } });
  }
  const head = itemHead(c);
  if (at + head > end) throw new WeirError("bad_msgpack", `MessagePack: value cut at byte ${at}`, { context: { at } });
  const count = itemCount(bytes, at);
  let cursor = at + head;
  const read = (): MsgpackValue => {
    const item = decode(bytes, cursor, end, depth - 1);
    cursor = item.next;
    return item.value;
  };
  if (kindAt(bytes, at) === "array") {
    const items: MsgpackValue[] = [];
    for (let i = 0; i < count; i++) items.push(read());
    return { value: items, next: cursor };
  }
  const pairs: [MsgpackValue, MsgpackValue][] = [];
  for (let i = 0; i < count; i++) pairs.push([read(), read()]);
  return { value: new MsgpackMap(pairs), next: cursor };
}

function scalar(bytes: Buffer, at: number, next: number): MsgpackValue {
  const c = bytes[at];
  switch (kindAt(bytes, at)) {
    case "nil":
      return null;
    case "bool":
      return c === 0xc3;
    case "uint":
    case "int":
      return readInteger(bytes, at);
    case "float":
      return readFloat(bytes, at);
    case "str":
      return bytes.toString("utf8", at + textHead(c), next);
    case "bin":
      return bytes.subarray(at + textHead(c), next);
    default: {
      const head = c >= 0xd4 && c <= 0xd8 ? 2 : c === 0xc7 ? 3 : c === 0xc8 ? 4 : 6;
      return { ext: (bytes[at + head - 1] << 24) >> 24, data: bytes.subarray(at + head, next) };
    }
  }
}

/** Values that `encode` takes. Objects become maps in the order of their keys; Map allows any key. */
export type Encodable =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | { ext: number; data: Uint8Array }
  | readonly Encodable[]
  | ReadonlyMap<Encodable, Encodable>
  | { readonly [key: string]: Encodable };

/** MessagePack bytes of a value, each in its shortest form. For handshakes, acks and `weir send`; not a hot path. */
export function encode(value: Encodable): Buffer {
  const parts: Uint8Array[] = [];
  encodeInto(value, parts);
  return Buffer.concat(parts);
}

function encodeInto(value: Encodable, parts: Uint8Array[]): void {
  if (value === null) parts.push(Buffer.of(0xc0));
  else if (typeof value === "boolean") parts.push(Buffer.of(value ? 0xc3 : 0xc2));
  else if (typeof value === "number" || typeof value === "bigint") parts.push(encodeNumber(value));
  else if (typeof value === "string") {
    const text = Buffer.from(value, "utf8");
    parts.push(lengthHead(text.length, 0xa0, 32, [0xd9, 0xda, 0xdb]), text);
  } else if (value instanceof Uint8Array) {
    parts.push(lengthHead(value.length, 0, 0, [0xc4, 0xc5, 0xc6]), value);
  } else if (Array.isArray(value)) {
    parts.push(lengthHead(value.length, 0x90, 16, [0, 0xdc, 0xdd]));
    for (const item of value) encodeInto(item, parts);
  } else if (value instanceof Map) {
    parts.push(lengthHead(value.size, 0x80, 16, [0, 0xde, 0xdf]));
    for (const [key, item] of value) {
      encodeInto(key, parts);
      encodeInto(item, parts);
    }
  } else if (isExt(value)) {
    const fixed = [1, 2, 4, 8, 16].indexOf(value.data.length);
    parts.push(
      fixed >= 0 ? Buffer.of(0xd4 + fixed) : lengthHead(value.data.length, 0, 0, [0xc7, 0xc8, 0xc9]),
      Buffer.of(value.ext & 0xff),
      value.data,
    );
  } else {
    const entries = Object.entries(value as { readonly [key: string]: Encodable });
    parts.push(lengthHead(entries.length, 0x80, 16, [0, 0xde, 0xdf]));
    for (const [key, item] of entries) {
      encodeInto(key, parts);
      encodeInto(item, parts);
    }
  }
}

function isExt(value: object): value is { ext: number; data: Uint8Array } {
  return "ext" in value && "data" in value && typeof value.ext === "number" && value.data instanceof Uint8Array;
}

/** The head for `length` items or bytes: one byte `fix + length` below `fixLimit`, else 8, 16 or 32 bits of length. */
function lengthHead(length: number, fix: number, fixLimit: number, formats: readonly [number, number, number]): Buffer {
  if (length < fixLimit) return Buffer.of(fix + length);
  if (length < 0x100 && formats[0] !== 0) return Buffer.of(formats[0], length);
  if (length < 0x10000) return Buffer.of(formats[1], length >> 8, length & 0xff);
  const head = Buffer.alloc(5);
  head[0] = formats[2];
  head.writeUInt32BE(length, 1);
  return head;
}

function encodeNumber(value: number | bigint): Buffer {
  // A number beyond 2^53 is a double that happens to be whole; integers of that size are bigints.
  if (typeof value === "number" && (!Number.isSafeInteger(value) || Object.is(value, -0))) {
    const out = Buffer.alloc(9);
    out[0] = 0xcb;
    out.writeDoubleBE(value, 1);
    return out;
  }
  const n = BigInt(value);
  if (n >= 0n && n < 0x80n) return Buffer.of(Number(n));
  if (n < 0n && n >= -32n) return Buffer.of(Number(n) + 0x100);
  if (n >= 0n && n < 0x100n) return Buffer.of(0xcc, Number(n));
  if (n >= 0n && n < 0x10000n) return Buffer.of(0xcd, Number(n) >> 8, Number(n) & 0xff);
  if (n >= 0n && n < 0x1_0000_0000n) {
    const out = Buffer.alloc(5);
    out[0] = 0xce;
    out.writeUInt32BE(Number(n), 1);
    return out;
  }
  if (n >= -(1n << 63n) && n < 1n << 64n) {
    const out = Buffer.alloc(9);
    out[0] = n >= 0n ? 0xcf : 0xd3;
    if (n >= 0n) out.writeBigUInt64BE(n, 1);
    else out.writeBigInt64BE(n, 1);
    return out;
  }
  throw new WeirError("bad_msgpack", `MessagePack: ${n} does not fit in 64 bits`);
}
