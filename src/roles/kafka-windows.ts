import { codeOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { KafkaIntakeOptions } from "../intake/kafka-options.ts";
import type { WindowStore } from "../intake/kafka-partition.ts";
import type { KafkaReadMetrics } from "../intake/kafka-read-metrics.ts";
import { WindowRoom } from "../intake/window-room.ts";
import type { ObjectStore } from "../objects/store.ts";

/** Windows of a partition that are kept, of those that the store has reached: one may be removed while somebody is about to read it. */
const KEPT = 2;

/*
 * Beside the segments, `windows/<partition>/<next offset, 20 digits>`: intake/partition-window.ts has the bytes. Any of them, and
 * all, may be removed: a start then reads more of the log.
 */
export function windowStore(objects: ObjectStore): WindowStore {
  return {
    async load(partition, next) {
      // Newest first: one that is removed meanwhile is as good as none.
      for (const key of (await keysOf(objects, partition)).reverse()) {
        if (nextOf(key) > next) continue;
        try {
          return await objects.get(key);
        } catch (error) {
          if (codeOf(error) !== "object_missing") throw error;
        }
      }
      return null;
    },
    async save(partition, next, window, stored) {
      await objects.put(`${prefixOf(partition)}${String(next).padStart(20, "0")}`, [window]);
      // Those ahead of the store are of use to nobody yet, and never will be where their worker did not come to commit.
      const keys = (await keysOf(objects, partition)).filter((key) => nextOf(key) <= stored);
      if (keys.length > KEPT) await objects.deleteMany(keys.slice(0, -KEPT));
    },
  };
}

/** The room for the windows of all partitions that `reader` has. */
export function windowRoom(
  { repeat_windows_bytes_max }: Pick<KafkaIntakeOptions, "repeat_windows_bytes_max">,
  reader: string,
  { forgotten }: Pick<KafkaReadMetrics, "forgotten">,
  log: Logger,
): WindowRoom {
  return new WindowRoom(repeat_windows_bytes_max, forgotten, () =>
    log.warn(
      { repeat_windows_bytes_max },
      `${reader}: the windows of repeats of all partitions are as large as they may be together; what was seen longest ago is forgotten early; raise intake.repeat_windows_bytes_max`,
    ),
  );
}

const prefixOf = (partition: number) => `windows/${partition}/`;

const nextOf = (key: string) => Number(key.slice(key.lastIndexOf("/") + 1));

async function keysOf(objects: ObjectStore, partition: number): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list(prefixOf(partition))) if (/\/\d{20}$/.test(key)) keys.push(key);
  return keys;
}
