import { uncompressSnappy } from "../codec/snappy.ts";
import { messageOf } from "../core/errors.ts";
import { PushError } from "./stream.ts";

/** A byte of the block format never becomes more than this many (a copy of 64 in 3 bytes, and the literals between). */
const LENGTH_BYTES_MAX = 5;

/**
 * Inflates a snappy block (a length, then literals and copies), to at most `bytesMax`. Throws PushError: 413 for a body that says
 * it is longer, 400 for one that is cut, or does not become what it says. All of it is checked before a byte is inflated: the
 * library trusts the lengths of its input.
 */
export function inflateSnappy(body: Buffer, bytesMax: number): Buffer {
  const { length, at } = readLength(body);
  if (length > bytesMax) throw new PushError(413, `request body too large: got ${length} bytes, limit ${bytesMax}`);
  if (!isWhole(body, at, length)) throw corrupt();
  try {
    return uncompressSnappy(body, bytesMax);
  } catch (error) {
    throw corrupt(messageOf(error));
  }
}

function corrupt(why?: string): PushError {
  return new PushError(400, "snappy: corrupt input", why);
}

function readLength(body: Buffer): { length: number; at: number } {
  let length = 0;
  for (let at = 0; at < LENGTH_BYTES_MAX && at < body.length; at++) {
    length += (body[at] & 0x7f) * 2 ** (7 * at);
    if (body[at] < 0x80) {
      if (length > 0xffff_ffff) break;
      return { length, at: at + 1 };
    }
  }
  throw corrupt();
}

/** Whether literals and copies lie within the body, copies within what is there by then, and together they make `length` bytes. */
function isWhole(body: Buffer, start: number, length: number): boolean {
  const end = body.length;
  let made = 0;
  for (let at = start; at < end; ) {
    const tag = body[at++];
    const kind = tag & 3;
    if (kind === 0) {
      let size = (tag >>> 2) + 1;
      if (size > 60) {
        const bytes = size - 60;
        if (at + bytes > end) return false;
        size = body.readUIntLE(at, bytes) + 1;
        at += bytes;
        // The library reads four bytes whatever the length's own number of them, and refuses where they are not there.
      }
      if (at + size > end) return false;
      at += size;
      made += size;
    } else {
      const bytes = kind === 1 ? 1 : kind === 2 ? 2 : 4;
      if (at + bytes > end) return false;
      const offset = kind === 1 ? body[at] + ((tag >>> 5) << 8) : body.readUIntLE(at, bytes);
      if (offset === 0 || offset > made) return false;
      made += kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1;
      at += bytes;
    }
    if (made > length) return false;
  }
  return made === length;
}
