import { codeOf, WeirError } from "../core/errors.ts";
import type { ObjectStore } from "../objects/store.ts";
import { type CatalogEntry, encodeEntry, entryKey } from "./catalog-entry.ts";
import type { IntakeRange } from "./footer.ts";
import { segmentKey } from "./keys.ts";
import { describeSegment } from "./reader.ts";
import { type RetryDeps, retry } from "./retry.ts";
import type { CompressedBlock } from "./sealed-block.ts";
import { buildSegment } from "./segment.ts";
import type { SegmentSources } from "./sources.ts";
import type { SegmentInfo } from "./view.ts";

/**
 * Writes a segment, and again after a failure that may pass: the same bytes under the same name. A segment that no
 * catalog entry names (its writer lost the race for the position, or died) is invisible and may be removed some day. `known`: its name, if it has one already.
 */
export async function putSegment(
  objects: ObjectStore,
  tenant: string,
  blocks: readonly CompressedBlock[],
  covers: IntakeRange,
  signal: AbortSignal,
  deps: RetryDeps,
  sources: SegmentSources | null = null,
  known: string | null = null,
): Promise<SegmentInfo> {
  const { parts, footer } = buildSegment(tenant, blocks, covers, sources);
  const key = known ?? segmentKey(tenant, footer.minSec, covers);
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  await retry(() => objects.put(key, parts), signal, deps);
  return describeSegment(key, bytes, { tenant, streams: blocks, sources }, footer);
}

/** What a segment of a commit says of its sources: nothing, unless several were written for several tenants. */
export function commitSources(output: number, of: number): SegmentSources | null {
  if (of === 1) return null;
  return { level: 0, merge: "", output, last: output === of - 1, inputs: [], covers: [], absorbed: [] };
}

/**
 * Creates the catalog entry, which is the commit. Rejects with `position_taken` when another writer has committed the
 * position. An entry that is there after a try whose answer got lost is compared: our own bytes mean that it went well.
 */
export async function putEntry(objects: ObjectStore, entry: CatalogEntry): Promise<void> {
  const key = entryKey(entry.partition, entry.first);
  const bytes = encodeEntry(entry);
  try {
    await objects.putIfAbsent(key, [bytes]);
  } catch (error) {
    if (codeOf(error) !== "object_exists") throw error;
    // Segments' names are random, so equal bytes cannot be another writer's, unless both entries hold no line at all;
    // then it makes no difference whose it is.
    if (bytes.equals(await entryBytes(objects, key))) return;
    throw new WeirError(
      "position_taken",
      `commit of partition ${entry.partition}: another writer has committed offset ${entry.first} (${key}); its work stands, this one's is to be dropped and the position read again`,
      { context: { key }, cause: error },
    );
  }
}

/** Nothing for an entry that is in the manifest by now, and was deleted. */
async function entryBytes(objects: ObjectStore, key: string): Promise<Buffer> {
  try {
    return await objects.get(key);
  } catch (error) {
    if (codeOf(error) !== "object_missing") throw error;
    return Buffer.alloc(0);
  }
}
