import { isUtf8 } from "node:buffer";
import type { KafkaMessage } from "../kafka/feed.ts";
import type { MessageFact } from "./options.ts";

export type Pair = readonly [name: string, value: string];

/** A message with its place. */
export interface TopicMessage extends KafkaMessage {
  readonly topic: string;
  readonly partition: number;
}

/** What of a message becomes metadata of its records, by names that a user sees. */
export function factsOf(message: TopicMessage, wanted: readonly MessageFact[]): Pair[] {
  return wanted.flatMap((fact): Pair[] => {
    switch (fact) {
      case "topic":
        return [["kafka_topic", message.topic]];
      case "partition":
        return [["kafka_partition", String(message.partition)]];
      case "offset":
        return [["kafka_offset", String(message.offset)]];
      case "timestamp":
        return [["kafka_timestamp", String(message.timestampMs)]];
      case "key":
        return message.key === null ? [] : [["kafka_key", textOf(message.key)]];
      default:
        return Object.entries(message.headers).map(([name, value]): Pair => [`kafka_header_${name}`, textOf(value)]);
    }
  });
}

const textOf = (bytes: Buffer): string => (isUtf8(bytes) ? bytes.toString() : bytes.toString("base64"));
