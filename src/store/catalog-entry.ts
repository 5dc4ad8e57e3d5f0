import { z } from "zod";
import { catalogCorrupt, decodeCheckedJson, encodeCheckedJson } from "./checked-json.ts";
import { segmentJson, segmentOf, segmentSchema } from "./segment-json.ts";
import type { SegmentInfo } from "./view.ts";

/*
 * Catalog entry, version 1: the object catalog/<partition>/<first offset, 20 digits>.json. Creating it commits its
 * segments. JSON with a check (checked-json.ts); segments as in segment-json.ts.
 *
 *   {"version":1,"partition":0,"first":120,"next":180,"segments":[{"key":"segments/fake/2024-05-01/0-…120-3f….gz",
 *    "bytes":1000,"tenant":"fake","time_min_ns":"1714554000000000000","time_max_ns":"1714554060000000000",
 *    "lines":9,"text_bytes":2000,"streams":2,"label_filter":"Bw…"}],"crc32":"0123abcd"}
 */
const VERSION = 1;
export const CATALOG_PREFIX = "catalog/";

const count = z.int().nonnegative();
const entrySchema = z.object({
  version: z.literal(VERSION),
  partition: count,
  first: count,
  next: count,
  segments: z.array(segmentSchema),
});

/** What one flush of one partition committed: intake offsets [first, next) and the segments with their lines, if any. */
export interface CatalogEntry {
  readonly partition: number;
  readonly first: number;
  readonly next: number;
  readonly segments: readonly SegmentInfo[];
}

export const offsetText = (offset: number) => String(offset).padStart(20, "0");

export function entryKey(partition: number, first: number): string {
  return `${CATALOG_PREFIX}${partition}/${offsetText(first)}.json`;
}

/** The intake position of a key in the catalog, or null for any other object there. */
export function parseEntryKey(key: string): { partition: number; first: number } | null {
  const match = /^catalog\/(\d{1,10})\/(\d{20})\.json$/.exec(key);
  return match === null ? null : { partition: Number(match[1]), first: Number(match[2]) };
}

export function encodeEntry({ partition, first, next, segments }: CatalogEntry): Buffer {
  return encodeCheckedJson({ version: VERSION, partition, first, next, segments: segments.map(segmentJson) });
}

/** Reads an entry. Throws `catalog_corrupt`, which names the object, for anything that `encodeEntry` did not write. */
export function decodeEntry(key: string, bytes: Buffer): CatalogEntry {
  const bad = (what: string, cause?: unknown) => catalogCorrupt("entry", key, what, cause);
  const parsed = entrySchema.safeParse(decodeCheckedJson(bytes, bad));
  if (!parsed.success) throw bad(z.prettifyError(parsed.error), parsed.error);
  const { partition, first, next, segments } = parsed.data;
  if (key !== entryKey(partition, first))
    throw bad(`it says partition ${partition}, offset ${first}, which is another object`);
  if (next <= first) throw bad(`got offsets ${first} to ${next}, want at least one`);
  const place = { partition, firstOffset: first, nextOffset: next };
  return { partition, first, next, segments: segments.map((json) => segmentOf(json, place)) };
}
