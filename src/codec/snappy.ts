import snappy from "snappyjs";

/** Compresses into a snappy block. */
export function compressSnappy(bytes: Buffer): Buffer {
  return snappy.compress(bytes);
}
