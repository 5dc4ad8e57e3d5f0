import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import zlib from "node:zlib";
import { z } from "zod";
import { crc32 } from "../codec/crc32.ts";
import { messageOf } from "../core/errors.ts";
import { splitNs } from "../core/time.ts";
import { catalogCorrupt } from "./checked-json.ts";
import { dayOf, tenantPart } from "./keys.ts";
import type { PageRef } from "./manifest-root.ts";
import { segmentJson, segmentOf, segmentSchema } from "./segment-json.ts";
import { byTime } from "./segment-order.ts";
import type { SegmentInfo } from "./view.ts";

/*
 * Page of the manifest, version 1: the object pages/<tenant>/<day>/<16 random hex digits>.json.gz, gzip of
 *
 *   {"format":1,"segments":[{"key":…, … as in segment-json.ts, "partition":0,"first":120,"next":180}, …]}
 *
 * sorted by least time. Its root has its size and CRC-32, and gzip checks what is inside.
 */
const FORMAT = 1;
export const PAGES_PREFIX = "pages/";
/** Few enough that a query that needs one of them does not read much; many enough that a year needs few pages. */
const PAGE_SEGMENTS = 2000;
/** Of JSON: filters are 4 KiB at most, and then a page holds about 130 segments. */
const PAGE_BYTES = 768 * 1024;
/** Of a segment besides its key and filter. */
const SEGMENT_JSON_BYTES = 260;
/** Bounds what a damaged page may inflate to: eight times what is written. */
const PAGE_BYTES_MAX = 8 * PAGE_BYTES;
/** Below this part of both limits a page is filled up rather than another begun. */
const ROOM_PART = 0.75;
const GZIP_LEVEL = 6;

const count = z.int().nonnegative();
const pageSchema = z.object({
  format: z.literal(FORMAT),
  segments: z.array(segmentSchema.extend({ partition: count, first: count, next: count })),
});

const gzip = promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.gzip);
const gunzip = promisify<Buffer, zlib.ZlibOptions, Buffer>(zlib.gunzip);

/** The page's day of a segment. */
export function pageDay({ timeMinNs }: Pick<SegmentInfo, "timeMinNs">): string {
  return dayOf(splitNs(timeMinNs).sec);
}

/** Whether more segments go into a page before another is begun. */
export function hasRoom({ segments, bytes }: PageRef): boolean {
  // Filters do not compress, so the page's bytes tell what the JSON takes well enough.
  return segments < PAGE_SEGMENTS * ROOM_PART && bytes < PAGE_BYTES * ROOM_PART * 0.75;
}

/** Segments of one tenant and day in as many groups as pages, by time. */
export function cutPages(segments: readonly SegmentInfo[]): SegmentInfo[][] {
  const pages: SegmentInfo[][] = [];
  let bytes = 0;
  for (const segment of [...segments].sort(byTime)) {
    const size =
      SEGMENT_JSON_BYTES + segment.key.length + segment.tenant.length + ((segment.labelFilter?.length ?? 0) * 4) / 3;
    const page = pages.at(-1);
    if (page === undefined || page.length >= PAGE_SEGMENTS || bytes + size > PAGE_BYTES) {
      pages.push([segment]);
      bytes = size;
    } else {
      page.push(segment);
      bytes += size;
    }
  }
  return pages;
}

/** A new page over segments of one tenant and day, which are not none. */
export async function encodePage(segments: readonly SegmentInfo[]): Promise<{ ref: PageRef; bytes: Buffer }> {
  const json = segments.map((segment) => ({
    ...segmentJson(segment),
    partition: segment.partition,
    first: segment.firstOffset,
    next: segment.nextOffset,
  }));
  const bytes = await gzip(Buffer.from(JSON.stringify({ format: FORMAT, segments: json })), { level: GZIP_LEVEL });
  const [{ tenant, timeMinNs }] = segments;
  const day = pageDay(segments[0]);
  const ref: PageRef = {
    key: `${PAGES_PREFIX}${tenantPart(tenant)}/${day}/${randomBytes(8).toString("hex")}.json.gz`,
    tenant,
    day,
    timeMinNs,
    timeMaxNs: segments.reduce((most, { timeMaxNs }) => (timeMaxNs > most ? timeMaxNs : most), timeMinNs),
    segments: segments.length,
    lines: segments.reduce((sum, { lines }) => sum + lines, 0),
    segmentBytes: segments.reduce((sum, segment) => sum + segment.bytes, 0),
    bytes: bytes.length,
    crc: crc32(bytes),
  };
  return { ref, bytes };
}

/** Whether these are the page's bytes. */
export function isPage(bytes: Buffer, { bytes: size, crc }: Pick<PageRef, "bytes" | "crc">): boolean {
  return bytes.length === size && crc32(bytes) === crc;
}

/** The segments of a page, in order of least time. Throws `catalog_corrupt`. */
export async function decodePage(
  bytes: Buffer,
  { key, bytes: size, crc }: Pick<PageRef, "key" | "bytes" | "crc">,
): Promise<SegmentInfo[]> {
  const bad = (what: string, cause?: unknown) => catalogCorrupt("page", key, what, cause);
  if (bytes.length !== size) throw bad(`got ${bytes.length} bytes, want ${size}`);
  if (crc32(bytes) !== crc) throw bad(`got check ${crc32(bytes)}, want ${crc}`);
  let value: unknown;
  try {
    value = JSON.parse((await gunzip(bytes, { maxOutputLength: PAGE_BYTES_MAX })).toString("utf8"));
  } catch (error) {
    throw bad(messageOf(error), error);
  }
  const parsed = pageSchema.safeParse(value);
  if (!parsed.success) throw bad(z.prettifyError(parsed.error), parsed.error);
  return parsed.data.segments.map((json) =>
    segmentOf(json, { partition: json.partition, firstOffset: json.first, nextOffset: json.next }),
  );
}

/** Memory that a page's segments take, roughly. */
export function pageMemory(segments: readonly SegmentInfo[]): number {
  return segments.reduce((sum, { key, labelFilter }) => sum + 400 + key.length + (labelFilter?.length ?? 0), 0);
}
