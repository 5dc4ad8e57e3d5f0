import type { Admin } from "kafkajs";
import { WeirError } from "../core/errors.ts";
import { endsWithin } from "../core/wait.ts";
import type { KafkaClient } from "./client.ts";
import { kafkaError } from "./errors.ts";
import { ConfigResourceTypes, Partitioners } from "./vendor.ts";

/** How long a connection that is given up may take to say goodbye. */
const GOODBYE_MS = 2000;
/** What Kafka takes where nobody has set `max.message.bytes`, and what is assumed where the setting can't be asked for. */
export const MESSAGE_BYTES_DEFAULT = 1_048_588;

/**
 * What the library commits in the place of a position that the log does not have any more, without asking: wherever the log begins. It
 * stands until the member commits again.
 */
export const OFFSET_EARLIEST = -2;

export interface TopicFacts {
  readonly partitions: number;
  /** Largest batch of records, compressed, that the topic takes; null where brokers don't tell. */
  readonly messageBytesMax: number | null;
  /** Whether records are thrown away by key (`cleanup.policy` has `compact`). */
  readonly isCompacted: boolean;
}

/** Of one partition: [low, high) are the offsets that are there, once gaps are left aside. */
export interface PartitionOffsets {
  readonly partition: number;
  readonly low: number;
  readonly high: number;
}

export interface CommittedOffset {
  readonly partition: number;
  /** null: none was committed. OFFSET_EARLIEST: what was is gone from the log. */
  readonly offset: number | null;
  readonly metadata: string;
}

/** Asks brokers about topics and groups, over one connection that is opened anew when it breaks. Errors as kafkaError. */
export class KafkaAdmin {
  private readonly client: KafkaClient;
  private admin: Promise<Admin> | null = null;

  constructor(client: KafkaClient) {
    this.client = client;
  }

  /** Rejects with `kafka_no_topic` when the topic is not there. */
  async topic(topic: string): Promise<TopicFacts> {
    const { topics } = await this.ask(`look up topic ${topic}`, (admin) =>
      admin.fetchTopicMetadata({ topics: [topic] }),
    ).catch((error: unknown) => {
      throw isUnknownTopic(error) ? noTopic(topic, error) : error;
    });
    const found = topics.find(({ name }) => name === topic);
    if (found === undefined || found.partitions.length === 0) throw noTopic(topic);
    return { partitions: found.partitions.length, ...(await this.limits(topic)) };
  }

  /**
   * Asks brokers for a topic that may not be there, as a writer does: where they make topics by themselves
   * (`auto.create.topics.enable`), it is there soon.
   */
  async wantTopic(topic: string): Promise<void> {
    // Nobody but a writer's request has a topic made.
    const producer = this.client.producer({
      allowAutoTopicCreation: true,
      createPartitioner: Partitioners.DefaultPartitioner,
      retry: { retries: 0 },
    });
    try {
      await producer.connect();
      await producer.sendBatch({ topicMessages: [{ topic, messages: [] }] });
    } catch (error) {
      if (!isUnknownTopic(kafkaError("ask for a topic", error))) throw kafkaError(`ask for topic ${topic}`, error);
    } finally {
      await endsWithin(producer.disconnect(), GOODBYE_MS);
    }
  }

  private async limits(topic: string): Promise<{ messageBytesMax: number | null; isCompacted: boolean }> {
    try {
      const { resources } = await this.ask(`look up the settings of topic ${topic}`, (admin) =>
        admin.describeConfigs({
          includeSynonyms: false,
          resources: [
            {
              type: ConfigResourceTypes.TOPIC,
              name: topic,
              configNames: ["max.message.bytes", "cleanup.policy"],
            },
          ],
        }),
      );
      const entries = resources.flatMap(({ configEntries }) => configEntries);
      const settingOf = (name: string) => entries.find(({ configName }) => configName === name)?.configValue ?? "";
      const bytes = Number(settingOf("max.message.bytes"));
      return {
        messageBytesMax: Number.isSafeInteger(bytes) && bytes > 0 ? bytes : null,
        isCompacted: settingOf("cleanup.policy").includes("compact"),
      };
    } catch (error) {
      // A user may be allowed to write to a topic and not to see its settings.
      if (error instanceof WeirError && error.code === "kafka_refused")
        return { messageBytesMax: null, isCompacted: false };
      throw error;
    }
  }

  async offsets(topic: string): Promise<readonly PartitionOffsets[]> {
    const found = await this.ask(`look up offsets of topic ${topic}`, (admin) => admin.fetchTopicOffsets(topic));
    return found
      .map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }))
      .sort((a, b) => a.partition - b.partition);
  }

  async committed(group: string, topic: string): Promise<readonly CommittedOffset[]> {
    const found = await this.ask(`look up offsets of group ${group}`, (admin) =>
      admin.fetchOffsets({ groupId: group, topics: [topic] }),
    );
    return found
      .flatMap(({ topic: name, partitions }) => (name === topic ? partitions : []))
      .map(({ partition, offset, metadata }) => ({
        partition,
        offset: Number(offset) < 0 && Number(offset) !== OFFSET_EARLIEST ? null : Number(offset),
        metadata: metadata ?? "",
      }));
  }

  /** Ids of the members that the group has now. */
  async members(group: string): Promise<ReadonlySet<string>> {
    const { groups } = await this.ask(`look up group ${group}`, (admin) => admin.describeGroups([group]));
    return new Set(groups.flatMap(({ members }) => members.map(({ memberId }) => memberId)));
  }

  async close(): Promise<void> {
    const { admin } = this;
    this.admin = null;
    // One that could not be opened has been said.
    if (admin !== null) await goodbye(await admin.catch(() => null));
  }

  private async ask<T>(what: string, question: (admin: Admin) => Promise<T>): Promise<T> {
    this.admin ??= this.open();
    const used = this.admin;
    try {
      return await question(await used);
    } catch (error) {
      // A broken connection is not told from a refusal by the library's errors; a new one costs little.
      if (this.admin === used) await this.close();
      throw kafkaError(what, error);
    }
  }

  private async open(): Promise<Admin> {
    const admin = this.client.admin();
    try {
      await admin.connect();
      return admin;
    } catch (error) {
      await goodbye(admin);
      throw error;
    }
  }
}

async function goodbye(admin: Admin | null): Promise<void> {
  if (admin !== null) await endsWithin(admin.disconnect(), GOODBYE_MS);
}

function isUnknownTopic(error: unknown): boolean {
  return error instanceof WeirError && error.context.type === "UNKNOWN_TOPIC_OR_PARTITION";
}

function noTopic(topic: string, cause?: unknown): WeirError {
  return new WeirError("kafka_no_topic", `kafka: there is no topic ${topic}: create it, or correct its name`, {
    retriable: true,
    cause,
  });
}
