import { WeirError } from "../core/errors.ts";

/** Why a message was refused, for a counter's label: few, stable words. */
export type BadMessageReason =
  | "not_msgpack"
  | "cut"
  | "shape"
  | "time"
  | "options"
  | "compression"
  | "inflate"
  | "inflated_too_long"
  | "too_long"
  | "too_deep"
  | "too_many_entries"
  | "handshake";

/** Where the offset of a fault points: into the message, or into its entries after inflating. */
export type FaultPlace = "message" | "inflated entries";

/**
 * A message that the forward protocol does not allow. Not retriable: the same bytes fail the same way.
 * `what` says what was found and what was wanted; `at` is the byte offset.
 */
export function badMessage(
  reason: BadMessageReason,
  what: string,
  at: number,
  place: FaultPlace = "message",
  cause?: unknown,
): WeirError {
  return new WeirError("bad_message", `forward: ${what}, at byte ${at} of the ${place}`, {
    context: { reason, at, place },
    cause,
  });
}
