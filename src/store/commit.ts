import { createHash, randomBytes } from "node:crypto";
import { codeOf, WeirError } from "../core/errors.ts";
import type { ObjectStore } from "../objects/store.ts";
import { type CatalogEntry, encodeEntry, entryKey } from "./catalog-entry.ts";
import type { IntakeRange } from "./footer.ts";
import { describeSegment } from "./reader.ts";
import { type RetryDeps, retry } from "./retry.ts";
import type { CompressedBlock } from "./sealed-block.ts";
import { buildSegment } from "./segment.ts";
import type { SegmentInfo } from "./view.ts";

export const SEGMENTS_PREFIX = "segments/";
/** Years 1 to 9999: what a date of four digits can say. Lines outside are put under the nearest. */
const FIRST_SEC = -62_135_596_800;
const LAST_SEC = 253_402_300_799;
/** Longer tenants stand in keys by their hash: a key has 512 bytes at most. */
const TENANT_PART_MAX = 200;

/** The tenant as a part of a key: what a key does not allow as `=` and two hex digits. */
export function tenantPart(tenant: string): string {
  const part = [...Buffer.from(tenant)]
    .map((byte) => String.fromCharCode(byte))
    .map((char) =>
      /[A-Za-z0-9_-]/.test(char) ? char : `=${char.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`,
    )
    .join("");
  if (part.length > 0 && part.length <= TENANT_PART_MAX) return part;
  return `=h${createHash("sha256").update(tenant).digest("hex")}`;
}

/** segments/<tenant>/<date of the least time>/<partition>-<first offset>-<random>.gz */
function segmentKey(tenant: string, minSec: number, { partition, firstOffset }: IntakeRange): string {
  const date = new Date(Math.min(LAST_SEC, Math.max(FIRST_SEC, minSec)) * 1000).toISOString().slice(0, 10);
  const name = `${partition}-${String(firstOffset).padStart(20, "0")}-${randomBytes(6).toString("hex")}`;
  return `${SEGMENTS_PREFIX}${tenantPart(tenant)}/${date}/${name}.gz`;
}

/**
 * Writes a segment, and again after a failure that may pass: the same bytes under the same name. A segment that no
 * catalog entry names (its writer lost the race for the position, or died) is invisible and may be removed some day.
 */
export async function putSegment(
  objects: ObjectStore,
  tenant: string,
  blocks: readonly CompressedBlock[],
  covers: IntakeRange,
  signal: AbortSignal,
  deps: RetryDeps,
): Promise<SegmentInfo> {
  const { parts, footer } = buildSegment(tenant, blocks, covers);
  const key = segmentKey(tenant, footer.minSec, covers);
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  await retry(() => objects.put(key, parts), signal, deps);
  return describeSegment(key, bytes, tenant, footer);
}

/**
 * Creates the catalog entry, which is the commit. Rejects with `position_taken` when another writer has committed the
 * position. An entry that is there after a try whose answer got lost is compared: our own bytes mean that it went well.
 */
export async function putEntry(
  objects: ObjectStore,
  entry: CatalogEntry,
  signal: AbortSignal,
  deps: RetryDeps,
): Promise<void> {
  const key = entryKey(entry.partition, entry.first);
  const bytes = encodeEntry(entry);
  await retry(
    async () => {
      try {
        await objects.putIfAbsent(key, [bytes]);
      } catch (error) {
        if (codeOf(error) !== "object_exists") throw error;
        // Segments' names are random, so equal bytes cannot be another writer's, unless both entries hold no line at all;
        // then it makes no difference whose it is.
        if (bytes.equals(await objects.get(key))) return;
        throw new WeirError(
          "position_taken",
          `commit of partition ${entry.partition}: another writer has committed offset ${entry.first} (${key}); its work stands, this one's is to be dropped and the position read again`,
          { context: { key }, cause: error },
        );
      }
    },
    signal,
    deps,
  );
}
