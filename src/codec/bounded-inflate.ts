import { setImmediate as nextTurn } from "node:timers/promises";
import { constants, createGunzip, createInflate, createInflateRaw, gunzipSync } from "node:zlib";
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
    try {
      return await inflateInPool("gzip", bytes, limitBytes, gzipPieceBytes(bytes, limitBytes));
    } catch (error) {
      throw gzipError(error, limitBytes);
    }
  }
  const pieces: Uint8Array[] = [];
  let length = 0;
  let sliceStart = performance.now();
  for (const piece of compression === "zstd" ? zstdBlocks(bytes, limitBytes) : lz4Pieces(bytes, limitBytes)) {
    pieces.push(piece);
    length += piece.length;
    if (performance.now() - sliceStart < SLICE_MS) continue;
    await nextTurn();
    sliceStart = performance.now();
  }
  return joined(pieces, length);
}

const ENGINES = { gzip: createGunzip, zlib: createInflate, raw: createInflateRaw };

/**
 * Inflates in libuv's pool. Node's own `gunzip` and the like copy all pieces into one at the end, which holds the event loop for some 50 ms
 * where they are 60 MB; this one copies them in slices. Rejects with zlib's errors, and with `ERR_BUFFER_TOO_LARGE` above `limitBytes`.
 */
export async function inflateInPool(
  format: keyof typeof ENGINES,
  bytes: Buffer,
  limitBytes: number,
  pieceBytes = Math.min(Math.max(bytes.length, PIECE_BYTES_MIN), PIECE_BYTES_MAX),
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  await new Promise<void>((resolve, reject) => {
    const engine = ENGINES[format]({ chunkSize: pieceBytes, flush: constants.Z_NO_FLUSH });
    engine.once("error", reject);
    engine.once("end", resolve);
    engine.on("data", (piece: Buffer) => {
      length += piece.length;
      pieces.push(piece);
      if (length > limitBytes) {
        engine.destroy(Object.assign(new Error(`more than ${limitBytes} bytes`), { code: "ERR_BUFFER_TOO_LARGE" }));
      }
    });
    engine.end(bytes);
  });
  return pieces.length === 1 ? pieces[0] : joined(pieces, length);
}

async function joined(pieces: readonly Uint8Array[], length: number): Promise<Buffer> {
  const whole = Buffer.allocUnsafe(length);
  let at = 0;
  let sliceStart = performance.now();
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
    if (performance.now() - sliceStart < SLICE_MS) continue;
    await nextTurn();
    sliceStart = performance.now();
  }
  return whole;
}

/** The same at once, for entries that come back from the intake log after a restart. Throws instead of rejecting. */
export function inflateBoundedSync(bytes: Buffer, compression: Compression, limitBytes: number): Buffer {
  if (compression === "zstd") return Buffer.concat([...zstdBlocks(bytes, limitBytes)]);
  if (compression === "lz4") return Buffer.concat([...lz4Pieces(bytes, limitBytes)]);
  try {
    const chunkSize = gzipPieceBytes(bytes, limitBytes);
    return gunzipSync(bytes, { maxOutputLength: limitBytes, chunkSize, flush: constants.Z_NO_FLUSH });
  } catch (error) {
    throw gzipError(error, limitBytes);
  }
}

function gzipPieceBytes(bytes: Buffer, limitBytes: number): number {
  // The last four bytes of a member are its size. It is only a hint for the piece size: one piece saves a copy.
  const hint = bytes.length >= 18 ? bytes.readUInt32LE(bytes.length - 4) : 0;
  const believed = Math.min(hint + 1, bytes.length * GZIP_RATIO_MAX, limitBytes + 1, PIECE_BYTES_MAX);
  return Math.max(believed, PIECE_BYTES_MIN);
}

function gzipError(error: unknown, limitBytes: number): WeirError {
  if (codeOf(error) === "ERR_BUFFER_TOO_LARGE") return tooLong(limitBytes);
  return badMessage("inflate", `gzip: ${messageOf(error)}`, 0, "message", error);
}

function tooLong(limitBytes: number): WeirError {
  return badMessage("inflated_too_long", `entries inflate to more than ${limitBytes} bytes`, 0);
}
