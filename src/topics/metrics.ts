import type { Counter, Gauge, Metrics } from "../core/metrics.ts";

export type MessageResult = "stored" | "unreadable" | "too_large" | "empty";

export interface TopicMetrics {
  readonly messages: Counter<"receiver" | "topic" | "result">;
  readonly bytes: Counter<"receiver" | "topic">;
  readonly batches: Counter<"receiver" | "topic" | "result">;
  readonly lost: Counter<"receiver" | "topic">;
  readonly lag: Gauge<"receiver" | "topic" | "partition">;
  readonly up: Gauge<"receiver">;
}

export function topicMetrics(metrics: Metrics): TopicMetrics {
  return {
    messages: metrics.counter(
      "weir_topic_messages_total",
      "Messages that `kafka` receivers have taken from topics: stored; unreadable, stored as text with the reason; too_large or empty, not stored.",
      ["receiver", "topic", "result"],
    ),
    bytes: metrics.counter("weir_topic_bytes_total", "Bytes of the values of those messages.", ["receiver", "topic"]),
    batches: metrics.counter(
      "weir_topic_batches_total",
      "Batches of messages that were put into the intake log: stored, or repeat where it had them already.",
      ["receiver", "topic", "result"],
    ),
    lost: metrics.counter(
      "weir_topic_lost_messages_total",
      "Messages that Kafka had removed before they were read. Each loss is logged with its place.",
      ["receiver", "topic"],
    ),
    lag: metrics.gauge("weir_topic_lag_messages", "Messages of a partition that are not in the intake log yet.", [
      "receiver",
      "topic",
      "partition",
    ]),
    up: metrics.gauge("weir_topic_up", "1 while the receiver is a member of its group.", ["receiver"]),
  };
}
