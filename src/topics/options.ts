import { z } from "zod";
import { DEFAULT_TENANT } from "../core/labels.ts";
import { TIME_FORMATS } from "../core/read-time.ts";
import { tenantName } from "../core/tenant.ts";
import { kafkaConnectionShape } from "../kafka/options.ts";
import { tagProblem } from "./tag.ts";

const MIB = 1 << 20;

/** What stands in a message. */
export const MESSAGE_FORMATS = ["json", "msgpack", "line", "otlp_proto", "otlp_json"] as const;

/** What of a message beside its value becomes metadata of its records. */
export const MESSAGE_FACTS = ["topic", "partition", "offset", "key", "headers", "timestamp"] as const;
export type MessageFact = (typeof MESSAGE_FACTS)[number];

const tag = z.string().superRefine((text, context) => {
  const problem = tagProblem(text);
  if (problem !== null) context.addIssue({ code: "custom", message: problem });
});

/** A receiver of type `kafka`: topics that others write. */
export const topicOptions = z.strictObject({
  ...kafkaConnectionShape,
  topics: z
    .array(z.string().regex(/^[A-Za-z0-9._-]{1,249}$/, "want a topic's name: 1 to 249 letters, digits, `.`, `_`, `-`"))
    .min(1)
    .describe("Topics to read, by name. They have to be there: Weir creates none."),
  group: z
    .string()
    .min(1)
    .max(255)
    .default("weir-receiver")
    .describe(
      "Consumer group. Processes with the same group share the partitions; two receivers that shall both get everything need two groups, and so do those that read different topics of one cluster.",
    ),
  start: z
    .enum(["earliest", "latest"])
    .default("earliest")
    .describe("Where a group begins that has not read a partition yet: at its oldest message, or behind its newest."),
  format: z
    .enum(MESSAGE_FORMATS)
    .default("json")
    .describe(
      "What stands in a message. `json`: an object, a list of objects, or one object a line, as Fluent Bit, Filebeat, Logstash and Vector write them; `msgpack`: maps, as Fluent Bit's kafka output writes them; `line`: text, one line a message; `otlp_proto`, `otlp_json`: OpenTelemetry's logs (ExportLogsServiceRequest), as collectors' Kafka exporter writes them.",
    ),
  tag: tag
    .default("{topic}")
    .describe(
      "Tag by which pipelines are chosen (`match`) and which they see as `$tag`; {topic} and {partition} stand for the message's.",
    ),
  tenant: tenantName.default(DEFAULT_TENANT).describe("Tenant that everything coming here belongs to."),
  metadata: z
    .array(z.enum(MESSAGE_FACTS))
    .default(["topic", "partition", "key", "headers"])
    .describe(
      "What of a message becomes metadata of its records: `kafka_topic`, `kafka_partition`, `kafka_offset`, `kafka_key`, `kafka_timestamp` (milliseconds since 1970) and `kafka_header_NAME`. Pipelines see it as `$metadata.kafka_key`, and it is stored as structured metadata unless a step drops it. A key or header that is no UTF-8 is given as base64. `[]`: nothing.",
    ),
  time_keys: z
    .array(z.string().min(1))
    .default(["@timestamp"])
    .describe(
      "For json and msgpack: fields at the top of a record that may hold its time; the first that is there and can be read counts. Without one it is the message's own timestamp. The default is the name that Fluent Bit, Filebeat and Logstash use; for Vector say `[timestamp]`.",
    ),
  time_format: z
    .enum(TIME_FORMATS)
    .default("auto")
    .describe(
      "What stands in that field. `auto` takes RFC 3339 text, and numbers by their size: below 1e11 seconds, below 1e14 ms, below 1e17 us, else ns.",
    ),
  time_key_keep: z
    .boolean()
    .default(false)
    .describe("Whether the field that the time was taken from stays in the record. It is the record's time anyway."),
  line_key: z
    .string()
    .min(1)
    .default("log")
    .describe(
      "Field that holds the text of a message where the format is `line`, and that of a message which is not of the format. Pipelines take `log` for the line by default.",
    ),
  message_bytes_max: z
    .int()
    .min(1024)
    .max(256 * MIB)
    .default(8 * MIB)
    .describe(
      "Longest message. A longer one is not stored, but logged with its place and counted (`weir_topic_messages_total`, result too_large). Kafka takes 1 MiB, unless somebody has raised that.",
    ),
  batch_messages_max: z
    .int()
    .min(1)
    .max(100_000)
    .default(10_000)
    .describe("Messages of one partition that become one entry of the intake log, at most."),
  batch_bytes_max: z
    .int()
    .min(1024)
    .max(64 * MIB)
    .default(4 * MIB)
    .describe("Bytes of the messages of one entry, at most; one longer message goes alone."),
  linger_ms: z
    .int()
    .min(0)
    .max(60_000)
    .default(200)
    .describe(
      "How long the first message of a batch waits for others. Each batch costs a write to the intake log and a commit to Kafka.",
    ),
  memory_bytes_max: z
    .int()
    .min(MIB)
    .default(128 * MIB)
    .describe(
      "Memory for batches on their way to the intake log. Beyond it further partitions wait for their turn. What waits to be read comes on top: `partition_bytes_max` for each partition.",
    ),
  partition_bytes_max: z
    .int()
    .min(64 * 1024)
    .default(2 * MIB)
    .describe(
      "Messages of one partition that wait in memory; above it the partition is not read until they are taken. Half of it is what one answer of a broker brings of a partition.",
    ),
  session_timeout_ms: z
    .int()
    .min(1000)
    .max(1_800_000)
    .default(15_000)
    .describe(
      "After so much silence the group gives this process's partitions to others. Brokers take 6 s to 30 min unless told otherwise.",
    ),
  rebalance_timeout_ms: z
    .int()
    .min(1000)
    .max(3_600_000)
    .default(30_000)
    .describe("How long the members of the group may take to come together again."),
});

export type TopicOptions = z.output<typeof topicOptions>;
