import type { EntryReader } from "../intake/intake.ts";
import type { KafkaPartition } from "../intake/kafka-partition.ts";
import type { KafkaFeed } from "../kafka/feed.ts";
import type { SinkIntake } from "./sink-runner.ts";

type Feed = Pick<KafkaFeed, "fetchOffset" | "highWatermark" | "bytesARecord">;

/**
 * A partition of the intake log in Kafka, as a sink's runner has it. How many bytes wait there nobody says: they are reckoned from the
 * offsets that wait, and the mean length of the records that were read last.
 */
export class KafkaSinkIntake implements SinkIntake {
  /** Kafka keeps what its topic's retention says, whoever still wants it: a sink that is behind holds up nobody. */
  readonly lagBytesMax = Number.POSITIVE_INFINITY;
  private readonly feed: Feed;
  private readonly log: Pick<KafkaPartition, "read" | "nextOffset">;
  /** Where the log ended when somebody looked last. */
  private end: number;
  /** Entries below were given. */
  private given = 0;
  private isDry = false;

  constructor(feed: Feed, log: Pick<KafkaPartition, "read" | "nextOffset">, end: number) {
    this.feed = feed;
    this.log = log;
    this.end = end;
  }

  read(partition: number, from: number): EntryReader {
    const reader = this.log.read(partition, from);
    this.given = from;
    this.isDry = false;
    return {
      poll: async () => {
        const entry = await reader.poll();
        this.isDry = entry === null;
        if (entry !== null) this.given = entry.offset + 1;
        return entry;
      },
      wait: () => reader.wait(),
      close: () => reader.close(),
    };
  }

  /** The position itself is kept in Kafka; nothing waits for it to be removed. */
  commit(): Promise<void> {
    return Promise.resolve();
  }

  /** Repeats at the log's end are no entries to wait for: a sink that has all before them has caught up. */
  nextOffset(_partition?: number): number {
    const { fetchOffset, highWatermark } = this.feed;
    const end = Math.max(this.end, highWatermark);
    if (this.isDry && fetchOffset >= end) return this.given;
    return Math.max(end, this.log.nextOffset());
  }

  bytesFrom(partition: number, next: number): number | null {
    const { bytesARecord } = this.feed;
    return bytesARecord === null ? null : Math.max(0, this.nextOffset(partition) - next) * bytesARecord;
  }

  /** While nothing is read because enough waits here, the log goes on all the same. */
  sawEnd(end: number): void {
    this.end = Math.max(this.end, end);
  }
}
