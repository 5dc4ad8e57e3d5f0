import { setImmediate as nextTurn } from "node:timers/promises";
import { constants, gunzip, gunzipSync } from "node:zlib";
import { codeOf, messageOf, type WeirError } from "../core/errors.ts";
import { badMessage } from "./forward-error.ts";
import { lz4Pieces } from "./lz4.ts";
import { zstdBlocks } from "./zstd.ts";

/*
 * Inflating what agents send. The output is counted while it comes out, so a few bytes that would become gigabytes
 * stop at the limit and cost no more memory than the limit.
 */

export type Compression = "gzip" | "zstd" | "lz4";

/** Deflate never makes more than 1,032 bytes out of one (258 from 2 bits). */
const GZIP_RATIO_MAX = 1032;
/** Bounds of one piece of output: below, calls cost more than they bring; above, a lie about the size costs memory. */
const PIECE_BYTES_MIN = 4 << 10;
const PIECE_BYTES_MAX = 4 << 20;
/** The event loop gets a turn after this long. */
const SLICE_MS = 5;

/**
 * Inflates `bytes`, gzip in one or many members (in libuv's pool), or zstd or lz4 in one or many frames (in slices on this
 * thread), to at most `limitBytes`. Rejects with `bad_message`: `inflated_too_long` above the limit, `inflate` for
 * bytes that are cut, damaged, or followed by something else.
 */
export async function inflateBounded(bytes: Buffer, compression: Compression, limitBytes: number): Promise<Buffer> {
  if (compression === "gzip") {
    return new Promise((resolve, reject) => {
      gunzip(bytes, gzipOptions(bytes, limitBytes), (error, out) => {
        if (error === null) resolve(out);
        else reject(gzipError(error, limitBytes));
      });
    });
  }
  const pieces: Uint8Array[] = [];
  let sliceStart = performance.now();
  for (const piece of compression === "zstd" ? zstdBlocks(bytes, limitBytes) : lz4Pieces(bytes, limitBytes)) {
    pieces.push(piece);
    if (performance.now() - sliceStart < SLICE_MS) continue;
    await nextTurn();
    sliceStart = performance.now();
  }
  return Buffer.concat(pieces);
}

/** The same at once, for entries that come back from the intake log after a restart. Throws instead of rejecting. */
export function inflateBoundedSync(bytes: Buffer, compression: Compression, limitBytes: number): Buffer {
  if (compression === "zstd") return Buffer.concat([...zstdBlocks(bytes, limitBytes)]);
  if (compression === "lz4") return Buffer.concat([...lz4Pieces(bytes, limitBytes)]);
  try {
    return gunzipSync(bytes, gzipOptions(bytes, limitBytes));
  } catch (error) {
    throw gzipError(error, limitBytes);
  }
}

function gzipOptions(bytes: Buffer, limitBytes: number): { maxOutputLength: number; chunkSize: number; flush: number } {
  // The last four bytes of a member are its size. It is only a hint for the piece size: one piece saves a copy.
  const hint = bytes.length >= 18 ? bytes.readUInt32LE(bytes.length - 4) : 0;
  const believed = Math.min(hint + 1, bytes.length * GZIP_RATIO_MAX, limitBytes + 1, PIECE_BYTES_MAX);
  return {
    maxOutputLength: limitBytes,
    chunkSize: Math.max(believed, PIECE_BYTES_MIN),
    flush: constants.Z_NO_FLUSH,
  };
}

function gzipError(error: unknown, limitBytes: number): WeirError {
  if (codeOf(error) === "ERR_BUFFER_TOO_LARGE") return tooLong(limitBytes);
  return badMessage("inflate", `gzip: ${messageOf(error)}`, 0, "message", error);
}

function tooLong(limitBytes: number): WeirError {
  return badMessage("inflated_too_long", `entries inflate to more than ${limitBytes} bytes`, 0);
}
