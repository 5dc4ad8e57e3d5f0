import snappy from "snappyjs";

/** Compresses into a snappy block. */
export function compressSnappy(bytes: Buffer): Buffer {
  return snappy.compress(bytes);
}

/** The library's own way back: throws for a block of more than `bytesMax`, and trusts the lengths within it. */
export function uncompressSnappy(block: Buffer, bytesMax: number): Buffer {
  return snappy.uncompress(block, bytesMax);
}
