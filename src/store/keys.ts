import { createHash, randomBytes } from "node:crypto";
import type { IntakeRange } from "./footer.ts";
import type { SegmentSources } from "./sources.ts";

export const SEGMENTS_PREFIX = "segments/";
/**
 * In front of a segment's key: a rebuild could not read it, and no sweep is to take it for a leftover. The object's text is for people;
 * it may be removed when nobody wants the segment any more.
 */
export const DAMAGED_PREFIX = "damaged/";
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

/** The UTC day of a time in seconds, yyyy-mm-dd, as it stands in keys. */
export function dayOf(sec: number): string {
  return new Date(Math.min(LAST_SEC, Math.max(FIRST_SEC, sec)) * 1000).toISOString().slice(0, 10);
}

/** segments/<tenant>/<date of the least time>/<partition>-<first offset>-<random>.gz */
export function segmentKey(tenant: string, minSec: number, { partition, firstOffset }: IntakeRange): string {
  const name = `${partition}-${String(firstOffset).padStart(20, "0")}-${randomBytes(6).toString("hex")}`;
  return `${SEGMENTS_PREFIX}${tenantPart(tenant)}/${dayOf(minSec)}/${name}.gz`;
}

/**
 * The key of a segment that compaction wrote: the compaction's name in place of the random part, and the number of the
 * output. So, in order of keys, the outputs of one compaction stand in order.
 */
export function compactedKey(
  tenant: string,
  minSec: number,
  { partition, firstOffset }: IntakeRange,
  { merge, output }: Pick<SegmentSources, "merge" | "output">,
): string {
  const name = `${partition}-${String(firstOffset).padStart(20, "0")}-${merge}${String(output).padStart(4, "0")}`;
  return `${SEGMENTS_PREFIX}${tenantPart(tenant)}/${dayOf(minSec)}/${name}.gz`;
}

/** What `segmentKey` and `compactedKey` put behind the tenant. */
const AFTER_TENANT = /^\d{4}-\d\d-\d\d\/\d{1,10}-\d{20}-(?:[0-9a-f]{12}|[0-9a-f]{16})\.gz$/;

/** Whether `key` can be that of a segment with the tenant's lines. */
export function isSegmentKeyOf(tenant: string, key: string): boolean {
  const folder = `${SEGMENTS_PREFIX}${tenantPart(tenant)}/`;
  return key.startsWith(folder) && AFTER_TENANT.test(key.slice(folder.length));
}
