import { crc32 } from "../codec/crc32.ts";
import type { EntryDraft } from "../core/intake-entry.ts";

/**
 * The partition of an entry: by where it comes from, so that all of one source is in one partition and in order, and many
 * sources are spread evenly.
 */
export function partitionOf({ tenant, origin }: Pick<EntryDraft, "tenant" | "origin">, partitions: number): number {
  if (partitions === 1) return 0;
  return crc32(Buffer.from(`${tenant}\0${origin ?? ""}`)) % partitions;
}
