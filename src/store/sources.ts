import { randomBytes } from "node:crypto";
import { z } from "zod";
import { messageOf } from "../core/errors.ts";
import { corrupt, type Place } from "./errors.ts";
import type { IntakeRange } from "./footer.ts";

/**
 * How a segment came to be, so that a catalog can be rebuilt from segments alone and no line is shown twice: the index's
 * section SOURCES. A segment without one is of level 0 and the only one of its commit.
 */
export interface SegmentSources {
  /** 0: written by a writer. A compaction's result is one above the highest of its inputs. */
  readonly level: number;
  /** The compaction's random name, 12 hex digits, which all its segments share; "" at level 0. */
  readonly merge: string;
  /** The segment's number among those of its compaction, or of its commit, from 0. */
  readonly output: number;
  /** Whether it is the last of them. Only all of them together replace the inputs. */
  readonly last: boolean;
  /** Keys of the segments that the compaction read. */
  readonly inputs: readonly string[];
  /** The intake offsets of all level 0 segments that came into the compaction, directly or not, in order; none at level 0. */
  readonly covers: readonly IntakeRange[];
  /** `<merge>.<output>` of every compacted segment that came into it, directly or not. */
  readonly absorbed: readonly string[];
}

/** What a compaction knows of an input: its SegmentInfo, and its index's `sources`, of which only one is in memory at a time. */
export interface MergeInput extends IntakeRange {
  readonly key: string;
  readonly readSources: () => SegmentSources | null;
}

/**
 * The sources of the first segment of a new compaction over `inputs`; the others are
 * `{ ...sources, output: i, last: … }`. The footer of each of them has `envelopeOf(sources.covers)`.
 */
export function newMerge(inputs: readonly MergeInput[]): SegmentSources {
  const absorbed = new Set<string>();
  const seen = new Set<string>();
  const covers: IntakeRange[] = [];
  let level = 0;
  for (const { partition, firstOffset, nextOffset, readSources } of inputs) {
    const sources = readSources();
    if (sources === null || sources.level === 0) {
      covers.push({ partition, firstOffset, nextOffset });
      continue;
    }
    level = Math.max(level, sources.level);
    absorbed.add(partName(sources));
    // Segments of one compaction say the same of what came into it.
    if (seen.has(sources.merge)) continue;
    seen.add(sources.merge);
    // A day of several partitions, flushed every few seconds, has more of them than a call takes arguments.
    for (const range of sources.covers) covers.push(range);
    for (const name of sources.absorbed) absorbed.add(name);
  }
  return {
    level: level + 1,
    merge: randomBytes(6).toString("hex"),
    output: 0,
    last: false,
    inputs: inputs.map(({ key }) => key),
    covers: sortRanges(covers),
    absorbed: [...absorbed],
  };
}

export const partName = ({ merge, output }: Pick<SegmentSources, "merge" | "output">): string => `${merge}.${output}`;

/** What one range says of several: the least partition, from its first to its last offset. */
export function envelopeOf(covers: readonly IntakeRange[]): IntakeRange {
  const { partition } = covers[0];
  let { firstOffset, nextOffset } = covers[0];
  for (const range of covers) {
    if (range.partition !== partition) continue;
    firstOffset = Math.min(firstOffset, range.firstOffset);
    nextOffset = Math.max(nextOffset, range.nextOffset);
  }
  return { partition, firstOffset, nextOffset };
}

/** Ranges in order, each once. They are not joined: where each commit began and ended tells what else was never committed. */
function sortRanges(ranges: readonly IntakeRange[]): IntakeRange[] {
  const byName = new Map(ranges.map((range) => [rangeName(range), range]));
  return [...byName.values()].sort((a, b) => a.partition - b.partition || a.firstOffset - b.firstOffset);
}

export const rangeName = ({ partition, firstOffset, nextOffset }: IntakeRange): string =>
  `${partition} ${firstOffset} ${nextOffset}`;

/** Ranges in order, those that touch or overlap joined. */
export function joinRanges(ranges: readonly IntakeRange[]): IntakeRange[] {
  const out: IntakeRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.partition - b.partition || a.firstOffset - b.firstOffset)) {
    const last = out.at(-1);
    if (last === undefined || last.partition !== range.partition || last.nextOffset < range.firstOffset)
      out.push(range);
    else if (last.nextOffset < range.nextOffset) out[out.length - 1] = { ...last, nextOffset: range.nextOffset };
  }
  return out;
}

const count = z.int().nonnegative();
const schema = z.object({
  level: count,
  merge: z.string(),
  output: count,
  last: z.boolean(),
  inputs: z.array(z.string()),
  // Looked at one by one below: there may be a hundred thousand, which zod takes most of a second for.
  covers: z.custom<unknown[]>(Array.isArray, "want an array"),
  absorbed: z.array(z.string()),
});

export function encodeSources(sources: SegmentSources): Buffer {
  const covers = sources.covers.map(({ partition, firstOffset, nextOffset }) => [partition, firstOffset, nextOffset]);
  return Buffer.from(JSON.stringify({ ...sources, covers }));
}

/** Throws `segment_corrupt`. */
export function decodeSources(bytes: Buffer, place: Place): SegmentSources {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw corrupt("segment_corrupt", "index, section sources", messageOf(error), "JSON", place);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    throw corrupt("segment_corrupt", "index, section sources", z.prettifyError(parsed.error), "its members", place);
  }
  const covers = parsed.data.covers.map((range, i) => {
    if (!isRange(range)) {
      const got = JSON.stringify(range);
      throw corrupt("segment_corrupt", `index, section sources, covers[${i}]`, got, "[partition, first, next]", place);
    }
    const [partition, firstOffset, nextOffset] = range;
    return { partition, firstOffset, nextOffset };
  });
  return { ...parsed.data, covers };
}

function isRange(value: unknown): value is [number, number, number] {
  return Array.isArray(value) && value.length === 3 && value.every((one) => Number.isSafeInteger(one) && one >= 0);
}
