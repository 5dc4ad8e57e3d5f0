import { isWholeSnappy, snappyLength, uncompressSnappy } from "../codec/snappy.ts";
import { messageOf } from "../core/errors.ts";
import { PushError } from "./stream.ts";

/**
 * Inflates a snappy block (a length, then literals and copies), to at most `bytesMax`. Throws PushError: 413 for a body that says
 * it is longer, 400 for one that is cut, or does not become what it says. All of it is checked before a byte is inflated: the
 * library trusts the lengths of its input.
 */
export function inflateSnappy(body: Buffer, bytesMax: number): Buffer {
  const head = snappyLength(body);
  if (head === null) throw corrupt();
  const { length, at } = head;
  if (length > bytesMax) throw new PushError(413, `request body too large: got ${length} bytes, limit ${bytesMax}`);
  if (!isWholeSnappy(body, at, length)) throw corrupt();
  try {
    return uncompressSnappy(body, bytesMax);
  } catch (error) {
    throw corrupt(messageOf(error));
  }
}

function corrupt(why?: string): PushError {
  return new PushError(400, "snappy: corrupt input", why);
}
