/** The part of the library that is used; it has no types of its own. */
declare module "lz4js" {
  const lz4: {
    /** Inflates whole sequences of a block into `to`, from `toAt` on; gives the place behind them. Trusts their lengths and offsets. */
    decompressBlock(from: Uint8Array, to: Uint8Array, at: number, length: number, toAt: number): number;
    /** A frame with independent blocks of at most 4 MiB, without checksums. */
    compress(bytes: Uint8Array): Uint8Array;
  };
  export default lz4;
}
