import { setTimeout as sleep } from "node:timers/promises";
import { silentLogger } from "../../src/core/log.ts";
import { openKafkaClient } from "../../src/kafka/client.ts";
import { kafkaConnection } from "../../src/kafka/options.ts";
import { KafkaProducer } from "../../src/kafka/producer.ts";

/** What a program writes to its topic. */
export interface MessageFormat {
  /** Option `format` of a `kafka` receiver. */
  readonly format: string;
  /** The message that holds `line`, with the time `ms` (milliseconds since 1970). */
  readonly value: (line: string, ms: number) => Buffer;
}

/** After a request without an answer nobody knows what is in the topic: no machine may be too slow for this. */
const REQUEST_MS = 120_000;
/** Messages of one send. */
const MESSAGES_A_SEND = 200;

/** Writes numbered lines to a topic, to its partitions by turns; each is written once. */
export class TopicWriter {
  readonly lines: string[] = [];
  private readonly topic: string;
  private readonly partitions: number;
  private readonly format: MessageFormat;
  private readonly producer: KafkaProducer;
  private flowing: Promise<void> | null = null;
  private isFlowing = false;

  private constructor(topic: string, partitions: number, format: MessageFormat, producer: KafkaProducer) {
    this.topic = topic;
    this.partitions = partitions;
    this.format = format;
    this.producer = producer;
  }

  static async open(
    brokers: readonly string[],
    topic: string,
    partitions: number,
    format: MessageFormat,
  ): Promise<TopicWriter> {
    const connection = kafkaConnection.parse({ brokers, request_timeout_ms: REQUEST_MS, connect_timeout_ms: 60_000 });
    const client = await openKafkaClient(connection, silentLogger);
    const producer = new KafkaProducer({ client, compression: "gzip", timeoutMs: REQUEST_MS, log: silentLogger });
    return new TopicWriter(topic, partitions, format, producer);
  }

  /** Resolves when Kafka has them. Rejects when that is not known: then nobody can say any more what is in the topic. */
  async write(count: number, textOf: (n: number) => string = (n) => `${this.topic} line ${n}`): Promise<void> {
    for (let left = count; left > 0; left -= MESSAGES_A_SEND) {
      const some = Array.from({ length: Math.min(left, MESSAGES_A_SEND) }, (_, i) => textOf(this.lines.length + i));
      await this.producer.send(
        some.map((line, i) => ({
          ...{ topic: this.topic, partition: (this.lines.length + i) % this.partitions, key: null },
          ...{ headers: { place: `${this.lines.length + i}` }, value: this.format.value(line, Date.now()) },
        })),
      );
      this.lines.push(...some);
    }
  }

  /** Writes `count` every `ms` until `pause`. */
  flow(count: number, ms: number): void {
    this.isFlowing = true;
    this.flowing = (async () => {
      while (this.isFlowing) {
        await this.write(count);
        await sleep(ms);
      }
    })();
    this.flowing.catch(() => {}); // Said by `pause`.
  }

  async pause(): Promise<void> {
    this.isFlowing = false;
    await this.flowing;
  }

  close(): Promise<void> {
    return this.producer.close();
  }
}
