import type { Snapshots } from "../query/snapshots.ts";
import type { Catalog } from "../store/catalog.ts";
import { takeSnapshot } from "../store/snapshot.ts";
import type { KafkaSide } from "./kafka-side.ts";
import type { KafkaTails } from "./kafka-tail.ts";

/** Age of what is known of the catalog beyond which a query has it read again. */
const FRESH_MS = 1000;

/**
 * What queries see where workers are other processes: all that is committed, at most a second old. What workers have in memory
 * nobody sees; they commit every few seconds. Live tails go on from there with what is in Kafka.
 */
export function kafkaSnapshots(deps: {
  readonly catalog: Catalog;
  readonly kafka: KafkaSide;
  readonly tails: KafkaTails;
}): Snapshots & { refresh(maxAgeMs: number): Promise<void> } {
  const { catalog, kafka, tails } = deps;
  let refreshedMs = Number.NEGATIVE_INFINITY;
  const refresh = async (maxAgeMs: number) => {
    const now = performance.now();
    if (now - refreshedMs <= maxAgeMs) return;
    await catalog.refresh();
    refreshedMs = now;
  };
  return {
    refresh,
    take: async () => {
      await refresh(FRESH_MS);
      return takeSnapshot(catalog, []);
    },
    tail: async (wanted) => {
      const offsets = await kafka.offsets();
      await refresh(FRESH_MS);
      // In one tick: what is in the snapshot is history, and all that comes after it is read from Kafka.
      const snapshot = takeSnapshot(catalog, []);
      const from = new Map(
        offsets.map(({ partition, low }) => [partition, Math.max(low, catalog.chainEnd(partition))] as const),
      );
      const tail = tails.open(wanted, from);
      return { snapshot, take: async (delayMs) => tail.live.take(delayMs), close: () => tail.close() };
    },
  };
}
