import snappy from "snappyjs";

/** A byte of the block format never becomes more than this many (a copy of 64 in 3 bytes, and the literals between). */
const LENGTH_BYTES_MAX = 5;

/** Compresses into a snappy block. */
export function compressSnappy(bytes: Buffer): Buffer {
  return snappy.compress(bytes);
}

/** The library's own way back: throws for a block of more than `bytesMax`, and trusts the lengths within it. */
export function uncompressSnappy(block: Buffer, bytesMax: number): Buffer {
  return snappy.uncompress(block, bytesMax);
}

/** How many bytes a snappy block says that it becomes, and where its items begin; null where that can't be read. */
export function snappyLength(block: Buffer): { length: number; at: number } | null {
  let length = 0;
  for (let at = 0; at < LENGTH_BYTES_MAX && at < block.length; at++) {
    length += (block[at] & 0x7f) * 2 ** (7 * at);
    if (block[at] < 0x80) {
      if (length > 0xffff_ffff) break;
      return { length, at: at + 1 };
    }
  }
  return null;
}

/**
 * Whether literals and copies lie within the block from `start` on, copies within what is there by then, and together they
 * make `length` bytes. To be asked before the library inflates it.
 */
export function isWholeSnappy(block: Buffer, start: number, length: number): boolean {
  const end = block.length;
  let made = 0;
  for (let at = start; at < end; ) {
    const tag = block[at++];
    const kind = tag & 3;
    if (kind === 0) {
      let size = (tag >>> 2) + 1;
      if (size > 60) {
        const bytes = size - 60;
        if (at + bytes > end) return false;
        size = block.readUIntLE(at, bytes) + 1;
        at += bytes;
        // The library reads four bytes whatever the length's own number of them, and refuses where they are not there.
      }
      if (at + size > end) return false;
      at += size;
      made += size;
    } else {
      const bytes = kind === 1 ? 1 : kind === 2 ? 2 : 4;
      if (at + bytes > end) return false;
      const offset = kind === 1 ? block[at] + ((tag >>> 5) << 8) : block.readUIntLE(at, bytes);
      if (offset === 0 || offset > made) return false;
      made += kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1;
      at += bytes;
    }
    if (made > length) return false;
  }
  return made === length;
}
