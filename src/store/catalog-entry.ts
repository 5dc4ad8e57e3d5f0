import { z } from "zod";
import { crc32 } from "../codec/crc32.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import type { SegmentInfo } from "./view.ts";

/*
 * Catalog entry, version 1: the object catalog/<partition>/<first offset, 20 digits>.json. Creating it commits its
 * segments. One JSON object in UTF-8 whose last member is "crc32": eight hex digits, the CRC-32 of all bytes before the
 * comma in front of that member. Times are decimal text, because nanoseconds exceed what JSON readers keep exact.
 *
 *   {"version":1,"partition":0,"first":120,"next":180,"segments":[{"key":"segments/fake/2024-05-01/0-…120-3f….gz",
 *    "bytes":1000,"tenant":"fake","time_min_ns":"1714554000000000000","time_max_ns":"1714554060000000000",
 *    "lines":9,"text_bytes":2000,"streams":2}],"crc32":"0123abcd"}
 */
const VERSION = 1;
const CRC_TAIL = /,"crc32":"([0-9a-f]{8})"\}\s*$/;
export const CATALOG_PREFIX = "catalog/";

const decimal = z.string().regex(/^-?\d{1,30}$/);
const count = z.int().nonnegative();
const entrySchema = z.object({
  version: z.literal(VERSION),
  partition: count,
  first: count,
  next: count,
  segments: z.array(
    z.object({
      key: z.string().min(1),
      bytes: count,
      tenant: z.string(),
      time_min_ns: decimal,
      time_max_ns: decimal,
      lines: count,
      text_bytes: count,
      streams: count,
    }),
  ),
});

/** What one flush of one partition committed: intake offsets [first, next) and the segments with their lines, if any. */
export interface CatalogEntry {
  readonly partition: number;
  readonly first: number;
  readonly next: number;
  readonly segments: readonly SegmentInfo[];
}

const offsetText = (offset: number) => String(offset).padStart(20, "0");

export function entryKey(partition: number, first: number): string {
  return `${CATALOG_PREFIX}${partition}/${offsetText(first)}.json`;
}

/** The intake position of a key in the catalog, or null for any other object there. */
export function parseEntryKey(key: string): { partition: number; first: number } | null {
  const match = /^catalog\/(\d{1,10})\/(\d{20})\.json$/.exec(key);
  return match === null ? null : { partition: Number(match[1]), first: Number(match[2]) };
}

export function encodeEntry({ partition, first, next, segments }: CatalogEntry): Buffer {
  const text = JSON.stringify({
    version: VERSION,
    partition,
    first,
    next,
    segments: segments.map((segment) => ({
      key: segment.key,
      bytes: segment.bytes,
      tenant: segment.tenant,
      time_min_ns: segment.timeMinNs.toString(),
      time_max_ns: segment.timeMaxNs.toString(),
      lines: segment.lines,
      text_bytes: segment.textBytes,
      streams: segment.streams,
    })),
  });
  const body = text.slice(0, -1);
  return Buffer.from(`${body},"crc32":"${crc32(Buffer.from(body)).toString(16).padStart(8, "0")}"}\n`);
}

/** Reads an entry. Throws `catalog_corrupt`, which names the object, for anything that `encodeEntry` did not write. */
export function decodeEntry(key: string, bytes: Buffer): CatalogEntry {
  const bad = (what: string, cause?: unknown) =>
    new WeirError(
      "catalog_corrupt",
      `catalog entry ${key}: ${what}; restore the object, or rebuild it from its segments' footers`,
      {
        context: { key },
        cause,
      },
    );
  const text = bytes.toString("utf8");
  const tail = CRC_TAIL.exec(text);
  if (tail === null) throw bad(`got ${bytes.length} bytes without a "crc32" at the end, want one`);
  const computed = crc32(Buffer.from(text.slice(0, tail.index)))
    .toString(16)
    .padStart(8, "0");
  if (computed !== tail[1]) throw bad(`got check ${computed}, want ${tail[1]}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw bad(messageOf(error), error);
  }
  const parsed = entrySchema.safeParse(value);
  if (!parsed.success) throw bad(z.prettifyError(parsed.error), parsed.error);
  const { partition, first, next, segments } = parsed.data;
  if (key !== entryKey(partition, first))
    throw bad(`it says partition ${partition}, offset ${first}, which is another object`);
  if (next <= first) throw bad(`got offsets ${first} to ${next}, want at least one`);
  return {
    partition,
    first,
    next,
    segments: segments.map((segment) => ({
      key: segment.key,
      bytes: segment.bytes,
      tenant: segment.tenant,
      partition,
      firstOffset: first,
      nextOffset: next,
      timeMinNs: BigInt(segment.time_min_ns),
      timeMaxNs: BigInt(segment.time_max_ns),
      lines: segment.lines,
      textBytes: segment.text_bytes,
      streams: segment.streams,
    })),
  };
}
