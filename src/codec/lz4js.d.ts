/** The part of the library that is used; it has no types of its own. */
declare module "lz4js" {
  const lz4: {
    /** Inflates one frame into at most `maxSize` bytes: what is beyond is dropped. */
    decompress(frame: Uint8Array, maxSize: number): Uint8Array;
    compress(bytes: Uint8Array): Uint8Array;
  };
  export default lz4;
}
