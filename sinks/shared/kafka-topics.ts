import { codeOf, WeirError } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import type { KafkaAdmin, TopicFacts } from "../../src/kafka/admin.ts";
import type { ChosenTopic, TopicChoice } from "./kafka-parts.ts";

/** Kafka's own, where the brokers don't tell. */
const MESSAGE_BYTES_DEFAULT = 1_048_588;
/** After so long a topic is asked for anew: it may have got partitions. */
const KNOWN_MS = 300_000;
/** And so long one is not asked for again that is not there, or that is such that it may have to be changed. */
const ABSENT_MS = 5000;
/** Topics that are remembered; a template may make many. */
const TOPICS_MAX = 10_000;

interface Known {
  readonly untilMs: number;
  readonly facts: Promise<ChosenTopic>;
}

/** What is known of the topics that a sink writes to. */
export class KafkaTopics implements TopicChoice {
  private readonly admin: KafkaAdmin;
  private readonly ofKey: (key: string, count: number) => number;
  private readonly log: Logger;
  private readonly known = new Map<string, Known>();
  private turns = Math.floor(Math.random() * 1024);

  constructor(admin: KafkaAdmin, ofKey: (key: string, count: number) => number, log: Logger) {
    this.admin = admin;
    this.ofKey = ofKey;
    this.log = log;
  }

  facts(topic: string): Known["facts"] {
    const now = performance.now();
    let known = this.known.get(topic);
    if (known === undefined || known.untilMs < now) {
      if (this.known.size >= TOPICS_MAX) this.known.clear();
      const facts = this.ask(topic);
      known = { untilMs: now + KNOWN_MS, facts };
      this.known.set(topic, known);
      const knowBriefly = () => this.known.set(topic, { untilMs: performance.now() + ABSENT_MS, facts });
      facts.then(
        ({ isCompacted }) => {
          if (isCompacted) knowBriefly();
        },
        (error: unknown) => {
          // One that is not there is waited for; what else failed is asked for again at once.
          if (codeOf(error) === "kafka_no_topic") knowBriefly();
          else this.known.delete(topic);
        },
      );
    }
    return known.facts;
  }

  partition(_topic: string, key: string | null, partitions: number): number {
    return key === null ? this.turns % partitions : this.ofKey(key, partitions);
  }

  turn(): void {
    this.turns++;
  }

  /** Asks for all topics anew: a request has failed, and they may have changed. */
  forget(): void {
    this.known.clear();
  }

  close(): Promise<void> {
    return this.admin.close();
  }

  private async ask(topic: string): Known["facts"] {
    try {
      return bounded(await this.admin.topic(topic));
    } catch (error) {
      if (codeOf(error) !== "kafka_no_topic") throw error;
    }
    this.log.warn(
      { topic },
      `kafka: there is no topic ${topic}: asks the brokers for it, who may make it by themselves`,
    );
    await this.admin.wantTopic(topic);
    try {
      return bounded(await this.admin.topic(topic));
    } catch (error) {
      if (!(error instanceof WeirError)) throw error;
      this.log.warn({ topic }, `${error.message}; records for it wait`);
      throw error;
    }
  }
}

function bounded({ messageBytesMax, ...facts }: TopicFacts): ChosenTopic {
  return { ...facts, messageBytesMax: messageBytesMax ?? MESSAGE_BYTES_DEFAULT };
}
