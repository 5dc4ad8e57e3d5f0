import { codeOf } from "../core/errors.ts";
import type { ObjectStore } from "../objects/store.ts";
import { runsOf } from "./block-runs.ts";
import type { SegmentInfo } from "./view.ts";

/** Bytes between two blocks that are read along: what a store over the network gives in the time of one more request, about. */
const GAP_BYTES = 256 * 1024;

export interface BlockPlace extends Pick<SegmentInfo, "key"> {
  readonly offset: number;
  readonly length: number;
}

/** The bytes of one block. They are valid until the next call. Errors are those of the object store. */
export type ReadBlock = (place: BlockPlace) => Buffer | Promise<Buffer>;

/**
 * Begins to read all of `places` at once, neighbours with one request, and gives how to take each one. For a store whose answers take
 * long: while the first block is scanned the others are on their way. All of them are held, so ask for some megabytes at a time.
 */
export function prefetchBlocks(objects: ObjectStore, places: readonly BlockPlace[]): ReadBlock {
  const reads = new Map<string, Promise<Buffer>>();
  for (const [key, blocks] of byKey(places)) {
    for (const { start, end, blocks: some } of runsOf(blocks, GAP_BYTES)) {
      const run = objects.getRange(key, start, end - start);
      // A block that nobody comes to ask for may fail unheard.
      run.catch(() => undefined);
      for (const { offset, length } of some) {
        const read = run.then(
          (bytes) => bytes.subarray(offset - start, offset - start + length),
          (error: unknown) => {
            // A segment that was cut off: the blocks before its end are still there.
            if (codeOf(error) === "object_range" && some.length > 1) return objects.getRange(key, offset, length);
            throw error;
          },
        );
        read.catch(() => undefined);
        reads.set(nameOf({ key, offset }), read);
      }
    }
  }
  return (place) => reads.get(nameOf(place)) ?? objects.getRange(place.key, place.offset, place.length);
}

/** The places of each object, in order of their offsets, each once. */
function byKey(places: readonly BlockPlace[]): Map<string, BlockPlace[]> {
  const found = new Map<string, BlockPlace[]>();
  for (const place of places) {
    const same = found.get(place.key);
    if (same === undefined) found.set(place.key, [place]);
    else same.push(place);
  }
  for (const [key, same] of found) {
    same.sort((a, b) => a.offset - b.offset);
    found.set(
      key,
      same.filter(({ offset }, i) => i === 0 || same[i - 1].offset !== offset),
    );
  }
  return found;
}

const nameOf = ({ key, offset }: Pick<BlockPlace, "key" | "offset">) => `${offset} ${key}`;
