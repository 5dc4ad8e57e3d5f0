import { createRequire } from "node:module";
import zlib from "node:zlib";
import { messageOf, WeirError } from "../core/errors.ts";

/** Inflates raw deflate data whose inflated size is known. Throws `bad_deflate` when it is broken or has another size. */
export type Inflate = (deflated: Uint8Array, size: number) => Buffer;

/** Deflate cannot make more than 1,032 bytes of one (a run of 258 in 2 bits), so a larger claim is a lie. */
const EXPANSION_MAX = 1032;

function badDeflate(what: string, cause?: unknown): WeirError {
  return new WeirError("bad_deflate", `deflate data: ${what}`, { cause });
}

function checkClaim(deflated: Uint8Array, size: number): void {
  if (size > deflated.length * EXPANSION_MAX) {
    throw badDeflate(`got ${deflated.length} bytes, which cannot inflate to ${size}`);
  }
}

/** With `node:zlib`. */
export const inflateWithNode: Inflate = (deflated, size) => {
  checkClaim(deflated, size);
  let out: Buffer;
  try {
    // One byte of room more than needed: a chunk that comes back full makes zlib ask for another.
    const chunkSize = Math.max(64, size + 1);
    out = zlib.inflateRawSync(deflated, { chunkSize, maxOutputLength: chunkSize });
  } catch (error) {
    throw badDeflate(messageOf(error), error);
  }
  if (out.length !== size) throw badDeflate(`got ${out.length} bytes, want ${size}`);
  return out;
};

interface ZlibSync {
  readonly Inflate: new (options: {
    windowBits: number;
    chunkSize: number;
  }) => {
    push(bytes: Buffer, flush: number): void;
    readonly err: number;
    readonly msg: string | null;
    readonly result: Buffer | string | null;
  };
  readonly Z_FINISH: number;
  readonly Z_STREAM_END: number;
}

/** zlib-sync is native and optional: null where it could not be built. */
function loadZlibSync(): ZlibSync | null {
  try {
    // The package is CommonJS with `zlib-sync`'s own types; only the few members above are used.
    return createRequire(import.meta.url)("zlib-sync") as ZlibSync;
  } catch {
    return null;
  }
}

function makeZlibSyncInflate(zlibSync: ZlibSync): Inflate {
  return (deflated, size) => {
    checkClaim(deflated, size);
    const inflate = new zlibSync.Inflate({ windowBits: -15, chunkSize: Math.max(64, size + 1) });
    const bytes = Buffer.isBuffer(deflated)
      ? deflated
      : Buffer.from(deflated.buffer, deflated.byteOffset, deflated.byteLength);
    // Only Z_FINISH makes it report a stream that is cut.
    inflate.push(bytes, zlibSync.Z_FINISH);
    if (inflate.err !== zlibSync.Z_STREAM_END) throw badDeflate(inflate.msg ?? "cut");
    const out = inflate.result;
    if (!Buffer.isBuffer(out) || out.length !== size) throw badDeflate(`got ${out?.length} bytes, want ${size}`);
    return out;
  };
}

const zlibSync = loadZlibSync();

/** With zlib-sync, or null where that package is not there. */
export const inflateWithZlibSync: Inflate | null = zlibSync === null ? null : makeZlibSyncInflate(zlibSync);

/** The ways that `WEIR_INFLATE` names. */
export const INFLATE_WAYS = ["auto", "node", "zlib-sync"] as const;

/**
 * The way of that name; none, or an empty one, means `auto`, which is `node:zlib`: with room for one byte more than the text has, it
 * took less CPU time at all sizes and levels that were measured (bench/inflate.ts), and zlib-sync keeps its buffers
 * outside of what the collector knows (150 MB resident against 88 after 1 GB). A machine may differ, so it can be chosen.
 * Throws `bad_setting` for another name, and where zlib-sync is wanted and isn't there.
 */
export function inflateBy(way = ""): Inflate {
  switch (way) {
    case "":
    case "auto":
    case "node":
      return inflateWithNode;
    case "zlib-sync":
      if (inflateWithZlibSync !== null) return inflateWithZlibSync;
      throw new WeirError(
        "bad_setting",
        "WEIR_INFLATE wants zlib-sync, which could not be built here; want auto or node",
      );
    default:
      throw new WeirError("bad_setting", `WEIR_INFLATE: got ${JSON.stringify(way)}, want ${INFLATE_WAYS.join(", ")}`);
  }
}

let chosen: Inflate | null = null;

/** The way that blocks are read, in every thread: as the environment says, which threads have from the one that made them. */
export const inflate: Inflate = (deflated, size) => {
  chosen ??= inflateBy(process.env.WEIR_INFLATE);
  return chosen(deflated, size);
};
