import type { SegmentInput } from "./segment-input.ts";

const DAY_SEC = 86_400;
/** Days that get segments of their own from one compaction; lines of any further days share one. */
const DAYS_MAX = 8;

/** Whether a pass of a compaction takes the lines of a day (days since 1970). */
export type DayTest = (day: number) => boolean;

export const dayOfSec = (sec: number): number => Math.floor(sec / DAY_SEC);

/**
 * The passes that a compaction makes, one for each UTC day that it has lines of, so that no segment holds lines of several
 * days for the sake of a few late ones. An agent with a broken clock may name thousands of days: those with the least bytes
 * go together.
 */
export function dayPasses(inputs: readonly SegmentInput[]): DayTest[] {
  const bytes = new Map<number, number>();
  let between = false;
  for (const { index } of inputs) {
    for (let b = 0; b < index.lengths.length; b++) {
      const first = dayOfSec(index.minSec[b]);
      const last = dayOfSec(index.maxSec[b]);
      bytes.set(first, (bytes.get(first) ?? 0) + index.lengths[b]);
      if (last > first) bytes.set(last, bytes.get(last) ?? 0);
      if (last > first + 1) between = true;
    }
  }
  const days = [...bytes.keys()].sort((a, b) => (bytes.get(b) ?? 0) - (bytes.get(a) ?? 0));
  const own = new Set(days.slice(0, days.length > DAYS_MAX ? DAYS_MAX - 1 : DAYS_MAX));
  const passes = [...own]
    .sort((a, b) => a - b)
    .map(
      (day): DayTest =>
        (other) =>
          other === day,
    );
  if (between || days.length > own.size) passes.push((day) => !own.has(day));
  return passes;
}

/** Whether some line of a block may be of one of the pass's days. */
export function mayTakeBlock(takesDay: DayTest, minSec: number, maxSec: number): boolean {
  const first = dayOfSec(minSec);
  const last = dayOfSec(maxSec);
  // Few blocks span more than two days, and looking into one costs little.
  return takesDay(first) || (last > first && (last > first + 1 || takesDay(last)));
}
