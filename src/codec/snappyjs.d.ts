/** The part of the library that is used; it has no types of its own. */
declare module "snappyjs" {
  const snappy: {
    /** Throws for a block that declares more than `maxLength` bytes, or is corrupt. */
    uncompress(compressed: Buffer, maxLength: number): Buffer;
    compress(bytes: Buffer): Buffer;
  };
  export default snappy;
}
