import { WeirError } from "../core/errors.ts";

/** A message that is not of the format that its topic has. Not retriable: the same bytes fail the same way. */
export function unreadable(what: string, cause?: unknown): WeirError {
  return new WeirError("topic_unreadable", what, { cause });
}
