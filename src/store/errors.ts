import { codeOf, WeirError } from "../core/errors.ts";

/** Where bytes under examination stand: the object's key, and the offset in it of their first byte. */
export interface Place {
  readonly key: string;
  readonly offset: number;
}

export const NOWHERE: Place = { key: "(memory)", offset: 0 };

export type CorruptCode = "block_corrupt" | "segment_corrupt";

/** Stored bytes that cannot be what they should be. Not retriable: the same bytes fail the same way. */
export function corrupt(
  code: CorruptCode,
  what: string,
  got: string | number | bigint,
  want: string | number | bigint,
  place: Place,
  at = 0,
): WeirError {
  const offset = place.offset + at;
  return new WeirError(code, `${what}: got ${got}, want ${want}, at byte ${offset} of ${place.key}`, {
    retriable: false,
    context: { key: place.key, offset, got: String(got), want: String(want) },
  });
}

/** Whether an error says that a page of the catalog is damaged or gone: that costs its own segments only. */
export function isPageLost(error: unknown): boolean {
  return ["catalog_corrupt", "object_missing"].includes(codeOf(error));
}
