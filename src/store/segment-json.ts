import { z } from "zod";
import type { SegmentInfo } from "./view.ts";

/*
 * A segment as the catalog's objects name it. Times are decimal text, because nanoseconds exceed what JSON readers keep
 * exact. "level" is left out when it is 0, "label_filter" (base64, label-filter.ts) when it is not known.
 */
const decimal = z.string().regex(/^-?\d{1,30}$/);
const count = z.int().nonnegative();

export const segmentSchema = z.object({
  key: z.string().min(1),
  bytes: count,
  tenant: z.string(),
  time_min_ns: decimal,
  time_max_ns: decimal,
  lines: count,
  text_bytes: count,
  streams: count,
  level: count.default(0),
  label_filter: z.base64().optional(),
});

/** What JSON says of a segment, but for the intake offsets, which stand elsewhere in a catalog entry. */
export type SegmentJson = z.output<typeof segmentSchema>;

export function segmentJson(segment: SegmentInfo): z.input<typeof segmentSchema> {
  const { level, labelFilter } = segment;
  return {
    key: segment.key,
    bytes: segment.bytes,
    tenant: segment.tenant,
    time_min_ns: segment.timeMinNs.toString(),
    time_max_ns: segment.timeMaxNs.toString(),
    lines: segment.lines,
    text_bytes: segment.textBytes,
    streams: segment.streams,
    ...(level === 0 ? {} : { level }),
    ...(labelFilter === null ? {} : { label_filter: Buffer.from(labelFilter).toString("base64") }),
  };
}

export function segmentOf(
  json: SegmentJson,
  place: Pick<SegmentInfo, "partition" | "firstOffset" | "nextOffset">,
): SegmentInfo {
  return {
    key: json.key,
    bytes: json.bytes,
    tenant: json.tenant,
    partition: place.partition,
    firstOffset: place.firstOffset,
    nextOffset: place.nextOffset,
    timeMinNs: BigInt(json.time_min_ns),
    timeMaxNs: BigInt(json.time_max_ns),
    lines: json.lines,
    textBytes: json.text_bytes,
    streams: json.streams,
    level: json.level,
    labelFilter: json.label_filter === undefined ? null : Buffer.from(json.label_filter, "base64"),
  };
}
