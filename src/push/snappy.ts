import { snappySteps } from "../codec/snappy.ts";
import { WeirError } from "../core/errors.ts";
import { PushError, type Sliced } from "./stream.ts";

/** Inflates a pushed snappy block to at most `bytesMax`. Throws PushError: 413 for one that says it is longer, 400 for a broken one. */
export function* inflateSnappy(body: Buffer, bytesMax: number): Sliced<Buffer> {
  try {
    return yield* snappySteps(body, bytesMax);
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    const status = error.context.reason === "inflated_too_long" ? 413 : 400;
    throw new PushError(status, status === 413 ? `request body too large: ${error.message}` : error.message, error);
  }
}
