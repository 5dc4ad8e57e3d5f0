import { createRequire } from "node:module";
import zlib from "node:zlib";

/*
 * CRC-32 as gzip has it (RFC 1952, 8). Three ways, the fastest that there is. Node 20 on two shared cores, 256 KiB, GB of bytes a CPU second
 * (bench/inflate.ts): the package @node-rs/crc32, which multiplies without carries where the processor can, 15; `zlib.crc32`, which Node has
 * from 20.15 on and whose zlib is built without that, 2 to 4; a table 0.3. Every block that is inflated is checked, so
 * the first saves a tenth of the CPU time of a query that searches everything.
 */
export type Crc32 = (bytes: Uint8Array, seed?: number) => number;

const TABLE = new Int32Array(256).map((_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** Always there. */
export const crc32ByTable: Crc32 = (bytes, seed = 0) => {
  let c = ~seed;
  for (let i = 0; i < bytes.length; i++) c = TABLE[(c ^ bytes[i]) & 0xff] ^ (c >>> 8);
  return ~c >>> 0;
};

// `crc32` is missing from the type of older Node versions, so it is looked up by name.
const ofNode: unknown = Reflect.get(zlib, "crc32");

/** Node's own, or null where it has none. */
export const crc32ByNode: Crc32 | null = typeof ofNode === "function" ? (ofNode as Crc32) : null;

/** The package is native and optional: null where there is no build of it for the platform, or where that does not work. */
export const crc32ByPackage: Crc32 | null = loadPackage();

function loadPackage(): Crc32 | null {
  try {
    const loaded: unknown = createRequire(import.meta.url)("@node-rs/crc32");
    const found: unknown = typeof loaded === "object" && loaded !== null ? Reflect.get(loaded, "crc32") : null;
    return typeof found === "function" && isRight(found as Crc32) ? (found as Crc32) : null;
  } catch {
    return null;
  }
}

/** Whether it gives the check value of the catalogue of CRC algorithms, at once and in two pieces. */
function isRight(crc: Crc32): boolean {
  const bytes = Buffer.from("123456789");
  return crc(bytes) === 0xcbf43926 && crc(bytes.subarray(4), crc(bytes.subarray(0, 4))) === 0xcbf43926;
}

/** CRC-32 of `bytes`, continuing from `seed` (the CRC of what came before). An unsigned 32-bit number. */
export const crc32: Crc32 = crc32ByPackage ?? crc32ByNode ?? crc32ByTable;
