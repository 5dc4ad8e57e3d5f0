import { inflateBounded, inflateInPool } from "../codec/bounded-inflate.ts";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { PushError } from "./stream.ts";

/** Names in Content-Encoding of what can be inflated here. */
export type Encoding = "gzip" | "deflate" | "zstd" | "lz4";

/**
 * Inflates a body to at most `bytesMax`, counted as it comes out. Rejects with PushError: 413 above that, 400 for bytes that are cut
 * or damaged. `deflate` is raw as Loki reads it, or with zlib's head as RFC 9110 has it.
 */
export async function inflateBody(body: Buffer, encoding: Encoding, bytesMax: number): Promise<Buffer> {
  try {
    return encoding === "deflate" ? await undeflate(body, bytesMax) : await inflateBounded(body, encoding, bytesMax);
  } catch (error) {
    const tooLong =
      codeOf(error) === "ERR_BUFFER_TOO_LARGE" ||
      (error instanceof WeirError && error.context.reason === "inflated_too_long");
    if (tooLong) throw new PushError(413, `request body too large: it inflates to more than ${bytesMax} bytes`, error);
    // These decoders are the forward receiver's, too, and say so.
    const why = messageOf(error)
      .replace(/^forward: /, "")
      .replace(/ of the message$/, " of the body");
    throw new PushError(400, `couldn't inflate the ${encoding} body: ${why}`, error);
  }
}

async function undeflate(body: Buffer, bytesMax: number): Promise<Buffer> {
  // RFC 1950: method 8, and the first two bytes are a multiple of 31. Raw deflate may look so by chance, once in a thousand.
  const hasHead = body.length >= 2 && (body[0] & 0x0f) === 8 && body.readUInt16BE(0) % 31 === 0;
  if (!hasHead) return inflateInPool("raw", body, bytesMax);
  try {
    return await inflateInPool("zlib", body, bytesMax);
  } catch (error) {
    if (codeOf(error) === "ERR_BUFFER_TOO_LARGE") throw error;
    return inflateInPool("raw", body, bytesMax);
  }
}
