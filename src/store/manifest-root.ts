import { randomBytes } from "node:crypto";
import { z } from "zod";
import { offsetText } from "./catalog-entry.ts";
import { catalogCorrupt, decodeCheckedJson, encodeCheckedJson } from "./checked-json.ts";

/*
 * Root of the manifest, version 1: the object manifest/<version, 20 digits>.json, JSON with a check (checked-json.ts).
 * Root n + 1 follows from root n, and creating it, which can be done once, is the change. The highest there is counts.
 *
 *   {"format":1,"version":7,"id":"9f…","created_ms":1714554000000,"folded":[[0,180]],
 *    "pages":[{"key":"pages/fake/2024-05-01/3f….json.gz","tenant":"fake","day":"2024-05-01",
 *      "time_min_ns":"1714554000000000000","time_max_ns":"1714554060000000000","segments":2,"lines":9,
 *      "segment_bytes":1000,"bytes":300,"crc":305419896}],
 *    "garbage":[{"key":"segments/fake/…","at_ms":1714554000000}],"crc32":"0123abcd"}
 */
const FORMAT = 1;
export const MANIFEST_PREFIX = "manifest/";

/** Segments of one tenant whose least time is on one UTC day, in an object of their own (manifest-page.ts). */
export interface PageRef {
  readonly key: string;
  readonly tenant: string;
  /** yyyy-mm-dd */
  readonly day: string;
  /** No segment of the page reaches further. */
  readonly timeMinNs: bigint;
  readonly timeMaxNs: bigint;
  readonly segments: number;
  readonly lines: number;
  /** Bytes of the page's segments together, and of the page. */
  readonly segmentBytes: number;
  readonly bytes: number;
  /** CRC-32 of the page's bytes. */
  readonly crc: number;
}

/** An object that this and later roots no longer need. */
export interface Garbage {
  readonly key: string;
  /** When it was replaced, milliseconds since 1970. */
  readonly atMs: number;
}

export interface Root {
  /** 0 for the root that a store has before anything was folded. */
  readonly version: number;
  /** Random: tells two roots apart that were made for the same version. */
  readonly id: string;
  readonly createdMs: number;
  /** For each partition the end of the entries that are in the pages: those with a lesser first offset count no more. */
  readonly folded: ReadonlyMap<number, number>;
  readonly pages: readonly PageRef[];
  readonly garbage: readonly Garbage[];
}

export const NO_ROOT: Root = { version: 0, id: "", createdMs: 0, folded: new Map(), pages: [], garbage: [] };

const decimal = z.string().regex(/^-?\d{1,30}$/);
const count = z.int().nonnegative();
const rootSchema = z.object({
  format: z.literal(FORMAT),
  version: z.int().positive(),
  id: z.string(),
  created_ms: count,
  folded: z.array(z.tuple([count, count])),
  pages: z.array(
    z.object({
      key: z.string().min(1),
      tenant: z.string(),
      day: z.string(),
      time_min_ns: decimal,
      time_max_ns: decimal,
      segments: count,
      lines: count,
      segment_bytes: count,
      bytes: count,
      crc: count,
    }),
  ),
  garbage: z.array(z.object({ key: z.string().min(1), at_ms: count })),
});

export function rootKey(version: number): string {
  return `${MANIFEST_PREFIX}${offsetText(version)}.json`;
}

/** The version of a root by its key, or null for any other object. */
export function parseRootKey(key: string): number | null {
  const match = /^manifest\/(\d{20})\.json$/.exec(key);
  return match === null ? null : Number(match[1]);
}

/** The root after `base`, with what changes. */
export function nextRoot(
  base: Root,
  createdMs: number,
  change: Partial<Pick<Root, "folded" | "pages" | "garbage">>,
): Root {
  return { ...base, ...change, version: base.version + 1, id: randomBytes(8).toString("hex"), createdMs };
}

export function encodeRoot({ version, id, createdMs, folded, pages, garbage }: Root): Buffer {
  return encodeCheckedJson({
    format: FORMAT,
    version,
    id,
    created_ms: createdMs,
    folded: [...folded].sort(([a], [b]) => a - b),
    pages: pages.map((page) => ({
      key: page.key,
      tenant: page.tenant,
      day: page.day,
      time_min_ns: page.timeMinNs.toString(),
      time_max_ns: page.timeMaxNs.toString(),
      segments: page.segments,
      lines: page.lines,
      segment_bytes: page.segmentBytes,
      bytes: page.bytes,
      crc: page.crc,
    })),
    garbage: garbage.map(({ key, atMs }) => ({ key, at_ms: atMs })),
  });
}

/** Throws `catalog_corrupt`, which names the object. */
export function decodeRoot(key: string, bytes: Buffer): Root {
  const bad = (what: string, cause?: unknown) => catalogCorrupt("root", key, what, cause);
  const parsed = rootSchema.safeParse(decodeCheckedJson(bytes, bad));
  if (!parsed.success) throw bad(z.prettifyError(parsed.error), parsed.error);
  const { version, id, created_ms: createdMs, folded, pages, garbage } = parsed.data;
  if (key !== rootKey(version)) throw bad(`it says version ${version}, which is another object`);
  return {
    version,
    id,
    createdMs,
    folded: new Map(folded),
    pages: pages.map((page) => ({
      key: page.key,
      tenant: page.tenant,
      day: page.day,
      timeMinNs: BigInt(page.time_min_ns),
      timeMaxNs: BigInt(page.time_max_ns),
      segments: page.segments,
      lines: page.lines,
      segmentBytes: page.segment_bytes,
      bytes: page.bytes,
      crc: page.crc,
    })),
    garbage: garbage.map(({ key: name, at_ms: atMs }) => ({ key: name, atMs })),
  };
}
