import type { KafkaGroupOptions } from "../kafka/group.ts";
import type { KafkaSide } from "./kafka-side.ts";

/** Bytes of one partition in one answer of a broker: compressed, so they become ten times as many. */
const FETCH_BYTES = 1 << 20;
/** So many partitions may have `feed_bytes_max` each; of more it is less of each. In `feed_bytes_max`'s description. */
const FULL_FEEDS = 4;

type Bounds = Required<Pick<KafkaGroupOptions, "fetchBytes" | "feedBytesMax" | "feedsBytesMax" | "partitions">>;

/** How far ahead a member of a group reads the intake topic, whatever number of its partitions it has. */
export function feedBounds(kafka: Pick<KafkaSide, "offsets">, feedBytesMax: number): Bounds {
  return {
    fetchBytes: Math.min(FETCH_BYTES, feedBytesMax),
    feedBytesMax,
    feedsBytesMax: FULL_FEEDS * feedBytesMax,
    partitions: async () => (await kafka.offsets()).length,
  };
}
