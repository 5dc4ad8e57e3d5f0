import type { Catalog } from "../store/catalog.ts";
import { takeSnapshot } from "../store/snapshot.ts";
import type { StreamWriter } from "../store/writer.ts";
import { LiveTail } from "./live-tail.ts";
import { type Snapshots, streamTest } from "./snapshots.ts";

/** Snapshots where all writers are in this thread: one tick shows everything. */
export function localSnapshots(catalog: Catalog, writers: readonly StreamWriter[]): Snapshots {
  return {
    take: async (wanted) => takeSnapshot(catalog, writers, streamTest(wanted)),
    tail: async (tail, wanted) => {
      const live = new LiveTail(tail);
      // In one tick: what is in the snapshot is history, and all that comes after it goes through the tap.
      const snapshot = takeSnapshot(catalog, writers, streamTest(wanted));
      for (const { taps } of writers) taps.add(live.tap);
      return {
        snapshot,
        take: async (delayMs) => live.take(delayMs),
        close() {
          for (const { taps } of writers) taps.delete(live.tap);
        },
      };
    },
  };
}
