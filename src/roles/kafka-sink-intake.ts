import type { EntryReader } from "../intake/intake.ts";
import type { KafkaPartition } from "../intake/kafka-partition.ts";
import type { KafkaFeed } from "../kafka/feed.ts";
import type { SinkIntake } from "./sink-runner.ts";

/**
 * A partition of the intake log in Kafka, as a sink's runner has it. How many bytes wait there nobody says, so a sink is behind by
 * entries and by their age.
 */
export class KafkaSinkIntake implements SinkIntake {
  private readonly feed: Pick<KafkaFeed, "fetchOffset" | "highWatermark">;
  private readonly log: Pick<KafkaPartition, "read" | "nextOffset">;
  /** Where the log ended when it was looked at last. */
  private readonly end: number;
  /** Entries below were given. */
  private given = 0;
  private isDry = false;

  constructor(
    feed: Pick<KafkaFeed, "fetchOffset" | "highWatermark">,
    log: Pick<KafkaPartition, "read" | "nextOffset">,
    end: number,
  ) {
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
  nextOffset(): number {
    const { fetchOffset, highWatermark } = this.feed;
    const end = Math.max(this.end, highWatermark);
    if (this.isDry && fetchOffset >= end) return this.given;
    return Math.max(end, this.log.nextOffset());
  }

  bytesFrom(): null {
    return null;
  }
}
