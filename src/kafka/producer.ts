import type { Message, Producer, RecordMetadata } from "kafkajs";
import { WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { endsWithin } from "../core/wait.ts";
import type { KafkaClient } from "./client.ts";
import { compressionType, type KafkaCompression } from "./compression.ts";
import { kafkaError } from "./errors.ts";
import { Partitioners } from "./vendor.ts";

/** How long a producer that is given up may take to say goodbye; its sockets are closed by then or by the broker. */
const GOODBYE_MS = 2000;

/** One message, with the partition that it goes to. */
export interface KafkaRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: Buffer | string | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer | string>>;
  /** Milliseconds since 1970. Absent: now. */
  readonly timestampMs?: number;
}

export interface KafkaProducerDeps {
  readonly client: KafkaClient;
  readonly compression: KafkaCompression;
  /** How long the brokers may take to have it on all replicas that are in sync. */
  readonly timeoutMs: number;
  readonly log: Logger;
}

/**
 * Writes to Kafka with acks=all and idempotence, one request at a time.
 *
 * The library gives a failed batch's sequence numbers to whatever it sends next, and a broker then takes a new batch for the
 * old one and drops it as a repeat, with success: a lost batch that was acknowledged. It also counts a batch as sent when the
 * leaders of its partitions changed places between two tries. So nothing is ever sent beside or after something that failed:
 * there is one request at a time, which alone is tried again, its answer must name every partition, and after a failure the
 * producer is thrown away with its id. What is then sent again may stand in the log twice; whoever needs it once puts an id
 * into the message.
 */
export class KafkaProducer {
  private readonly deps: KafkaProducerDeps;
  private producer: Producer | null = null;
  private last: Promise<unknown> = Promise.resolve();
  private isClosed = false;

  constructor(deps: KafkaProducerDeps) {
    this.deps = deps;
  }

  /**
   * Resolves when all of it is durable, to the offset of the first record of each partition, by `topic/partition`. Rejects
   * with a WeirError, and then some of it, all or nothing may be in the log: `kafka_too_large`, `kafka_login`, `kafka_refused`,
   * `kafka_unavailable`, `kafka_closed`. Sends are made in the order of the calls.
   */
  send(records: readonly KafkaRecord[]): Promise<ReadonlyMap<string, number>> {
    const sent = this.last.then(() => this.sendNow(records));
    this.last = sent.catch(() => {}); // Whoever has sent it hears of it.
    return sent;
  }

  /** Lets what is under way end, if that is soon, and says goodbye. */
  async close(): Promise<void> {
    this.isClosed = true;
    await endsWithin(this.last, GOODBYE_MS);
    await this.drop();
  }

  private async sendNow(records: readonly KafkaRecord[]): Promise<ReadonlyMap<string, number>> {
    if (this.isClosed) throw new WeirError("kafka_closed", "kafka: the producer is closed");
    if (records.length === 0) return new Map();
    const { compression, timeoutMs } = this.deps;
    try {
      const producer = await this.open();
      const answers = await producer.sendBatch({
        acks: -1,
        timeout: timeoutMs,
        compression: compressionType(compression),
        topicMessages: byTopic(records),
      });
      return offsetsOf(records, answers);
    } catch (error) {
      await this.drop();
      throw kafkaError("write", error, "Write");
    }
  }

  private async open(): Promise<Producer> {
    if (this.producer !== null) return this.producer;
    const producer = this.deps.client.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: Partitioners.DefaultPartitioner,
      // The library wants one at least where ids of its own are used.
      retry: { retries: 1 },
    });
    try {
      await producer.connect();
    } catch (error) {
      await goodbye(producer);
      throw error;
    }
    this.producer = producer;
    return producer;
  }

  private async drop(): Promise<void> {
    const { producer } = this;
    this.producer = null;
    if (producer !== null) await goodbye(producer);
  }
}

async function goodbye(producer: Producer): Promise<void> {
  // It may be broken in any way: all that matters is that it is not used again.
  await endsWithin(producer.disconnect(), GOODBYE_MS);
}

function byTopic(records: readonly KafkaRecord[]): { topic: string; messages: Message[] }[] {
  const topics = new Map<string, Message[]>();
  for (const { topic, partition, key, value, headers, timestampMs } of records) {
    let messages = topics.get(topic);
    if (messages === undefined) {
      messages = [];
      topics.set(topic, messages);
    }
    messages.push({
      partition,
      key,
      value,
      headers: { ...headers },
      ...(timestampMs === undefined ? {} : { timestamp: String(timestampMs) }),
    });
  }
  return [...topics].map(([topic, messages]) => ({ topic, messages }));
}

function offsetsOf(records: readonly KafkaRecord[], answers: readonly RecordMetadata[]): Map<string, number> {
  const offsets = new Map<string, number>();
  for (const { topicName, partition, errorCode, baseOffset } of answers) {
    if (errorCode === 0 && baseOffset !== undefined) offsets.set(`${topicName}/${partition}`, Number(baseOffset));
  }
  for (const { topic, partition } of records) {
    if (!offsets.has(`${topic}/${partition}`)) {
      throw new WeirError("kafka_unavailable", `kafka: write: got no answer for partition ${partition} of ${topic}`, {
        retriable: true,
      });
    }
  }
  return offsets;
}

/** The partition of `count` that a key belongs to: the choice of Kafka's own clients (murmur2), so that others agree. */
export function partitionOfKey(key: Buffer | string, count: number): number {
  return choose({ topic: "", partitionMetadata: partitionsUpTo(count), message: { key, value: null } });
}

const choose = Partitioners.DefaultPartitioner();
const partitionLists = new Map<number, Parameters<typeof choose>[0]["partitionMetadata"]>();

function partitionsUpTo(count: number): Parameters<typeof choose>[0]["partitionMetadata"] {
  let list = partitionLists.get(count);
  if (list === undefined) {
    list = Array.from({ length: count }, (_, partitionId) => ({
      partitionErrorCode: 0,
      partitionId,
      leader: 0,
      replicas: [],
      isr: [],
    }));
    partitionLists.set(count, list);
  }
  return list;
}
