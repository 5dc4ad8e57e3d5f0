import { z } from "zod";
import { kafkaCompression, kafkaConnectionShape } from "../kafka/options.ts";

const MIB = 1 << 20;

/** An intake log in a Kafka topic: what receivers, workers and queriers have to agree on, and what is each one's own. */
export const kafkaIntakeOptions = z.strictObject({
  type: z.literal("kafka").describe("The intake log is a Kafka topic."),
  ...kafkaConnectionShape,
  topic: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,249}$/, "want 1 to 249 of A-Z a-z 0-9 . _ -")
    .describe(
      "Topic of the intake log, which nobody else writes to. It has to be there: docs/kafka.md has its settings.",
    ),
  group: z
    .string()
    .min(1)
    .max(200)
    .default("weir")
    .describe(
      "Consumer group of the workers. Their offsets are kept in it for tools that show lag; nobody goes by them. A sink beside the store has a group of its own, `GROUP-sink-NAME`, whose offsets are its position.",
    ),
  partition_by: z
    .enum(["source", "tag", "chunk"])
    .default("source")
    .describe(
      "What has to be the same for chunks of the forward protocol to go to the same partition. source: sender's address and tag, so that the lines of one agent stay in order; tag: for agents whose address changes between two tries, as behind some load balancers; chunk: the chunk's id, which spreads any load evenly and gives up the order. A chunk that is sent again is recognised in its partition alone. Pushed lines go by their stream.",
    ),
  compression: kafkaCompression,
  batch_bytes_max: z
    .int()
    .min(16 * 1024)
    .max(64 * MIB)
    .default(8 * MIB)
    .describe(
      "Most bytes of one write to Kafka, over all partitions. Of one partition it takes no more than the topic's max.message.bytes.",
    ),
  batch_entries_max: z
    .int()
    .min(1)
    .max(1 << 20)
    .default(4096)
    .describe("Most entries of one write to Kafka."),
  linger_ms: z
    .int()
    .min(0)
    .max(1000)
    .default(5)
    .describe(
      "How long the first entry of a write waits for others. Entries that arrive during a write share the next one in any case.",
    ),
  queue_bytes_max: z
    .int()
    .min(MIB)
    .default(64 * MIB)
    .describe("Entries that may wait in memory for being written. Beyond it agents have to wait."),
  session_timeout_ms: z
    .int()
    .min(1000)
    .max(1_800_000)
    .default(30_000)
    .describe(
      "After so much silence of a worker its partitions are given to others. Kafka allows 6 s to 30 min, where nobody has set that otherwise.",
    ),
  handover_timeout_ms: z
    .int()
    .min(0)
    .max(600_000)
    .default(20_000)
    .describe(
      "How long a worker that gives up a partition may take to commit what it has of it, while the next one waits. What it does not manage is read again.",
    ),
  feed_bytes_max: z
    .int()
    .min(MIB)
    .default(16 * MIB)
    .describe(
      "Entries of each partition that a worker reads ahead, for the store and for each sink beside it. Of more than four partitions it is less of each, so that all together are four times as much, and as much again for what answers of brokers bring beyond that.",
    ),
  repeat_window_entries: z
    .int()
    .min(1)
    .max(1 << 22)
    .default(65_536)
    .describe(
      "A chunk is a repeat when the same one stands at most this many entries before it in its partition: at 100 chunks a second and partition the last 11 minutes. 200 bytes of memory each.",
    ),
  repeat_window_lines: z
    .int()
    .min(1)
    .max(1 << 24)
    .default(65_536)
    .describe(
      "A pushed line is a repeat when the same one is among the last so many different pushed lines of its partition, and within repeat_window_entries. 200 bytes of memory each.",
    ),
  repeat_windows_bytes_max: z
    .int()
    .min(MIB)
    .default(256 * MIB)
    .describe(
      "Memory for that of all partitions that a worker has, for the store and for each sink beside it; for live tails too. Beyond it the partition that remembers most forgets what it saw longest ago, and knows repeats less far back than the two above say.",
    ),
});

export type KafkaIntakeOptions = z.output<typeof kafkaIntakeOptions>;
