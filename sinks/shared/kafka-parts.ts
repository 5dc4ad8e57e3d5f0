import { WeirError } from "../../src/core/errors.ts";
import type { Refused } from "../../src/core/sink.ts";
import type { KafkaRecord } from "../../src/kafka/producer.ts";
import { PLACE } from "./template.ts";

const OF_TOPIC: ReadonlySet<string> = new Set(["kafka_no_topic", "kafka_refused"]);
const TOPIC = /^[A-Za-z0-9._-]{1,249}$/;
const WANTED = 'want 1 to 249 letters, digits, ".", "_", "-"';
/** What a record takes beside its key, value and headers, and a batch beside its records. */
const RECORD_BYTES = 64;
const BATCH_BYTES = 1024;

/** What is wrong with a topic's name, or null. */
function nameProblem(topic: string): string | null {
  if (TOPIC.test(topic) && topic !== "." && topic !== "..") return null;
  return `${JSON.stringify(topic)} is no name of a topic: ${WANTED}`;
}

/** What is wrong with a template for names of topics, whatever the records are, or null. `templateProblem` has found nothing. */
export function topicProblem(template: string): string | null {
  const plainest = template.replace(PLACE, (_, inside: string) => (inside.startsWith("+") ? inside.slice(1) : "x"));
  return nameProblem(plainest) === null ? null : `makes no names of topics: ${WANTED}, beside places like {app}`;
}

/** Records that one partition takes as one batch, in their order. */
export interface KafkaPart {
  /** `topic/partition` */
  readonly place: string;
  readonly records: readonly KafkaRecord[];
  /** Where they stand in the batch that the sink was given. */
  readonly places: readonly number[];
  /** Whether it may be refused: then it goes alone, so that nothing that was taken is sent again for its sake. */
  readonly isDoubted: boolean;
}

/** A message before its partition is chosen. */
export interface KafkaDraft extends Omit<KafkaRecord, "partition"> {
  readonly key: string | null;
}

export interface ChosenTopic {
  readonly partitions: number;
  readonly messageBytesMax: number;
  /** Whether the topic takes records with a key only. */
  readonly isCompacted: boolean;
}

/** What the sink asks of the topics that it writes to. */
export interface TopicChoice {
  /** Rejects with a WeirError: `kafka_no_topic`, and as kafkaError. */
  facts(topic: string): Promise<ChosenTopic>;
  /** The partition of a key; without one, the same for all of a request. */
  partition(topic: string, key: string | null, partitions: number): number;
  /** Begins a request: records without a key go to another partition than those of the one before. */
  turn(): void;
}

/**
 * The records by partition, in batches that the topic takes whatever compression makes of them; a record that is larger by itself
 * goes alone, since compression may make it fit. `failed` has those that have no place to go to.
 */
export async function partsOf(
  drafts: readonly KafkaDraft[],
  topics: TopicChoice,
): Promise<{ parts: KafkaPart[]; failed: Refused[] }> {
  const failed: Refused[] = [];
  const parts: { place: string; records: KafkaRecord[]; places: number[]; bytes: number; isDoubted: boolean }[] = [];
  const open = new Map<string, (typeof parts)[number]>();
  topics.turn();
  for (const [position, draft] of drafts.entries()) {
    const { topic, key } = draft;
    const problem = nameProblem(topic);
    if (problem !== null) {
      failed.push({ position, retriable: false, reason: problem });
      continue;
    }
    let facts: ChosenTopic;
    try {
      facts = await topics.facts(topic);
    } catch (error) {
      // What speaks of this topic holds up no other; what speaks of the brokers holds for all.
      if (!(error instanceof WeirError) || !OF_TOPIC.has(error.code)) throw error;
      const isRefused = error.context.type === "INVALID_TOPIC_EXCEPTION";
      failed.push({ position, retriable: !isRefused, reason: error.message });
      continue;
    }
    if (key === null && facts.isCompacted) {
      // Brokers refuse each of them, and say of none why.
      const reason = `topic ${topic} is compacted (cleanup.policy), and takes no record without a key: set \`key\``;
      failed.push({ position, retriable: false, reason });
      continue;
    }
    const partition = topics.partition(topic, key, facts.partitions);
    const place = `${topic}/${partition}`;
    const bytes = bytesOf(draft);
    const bytesMax = facts.messageBytesMax - BATCH_BYTES;
    let part = open.get(place);
    if (part === undefined || part.bytes + bytes > bytesMax) {
      part = { place, records: [], places: [], bytes: 0, isDoubted: bytes > bytesMax };
      parts.push(part);
      open.set(place, part);
    }
    part.records.push({ ...draft, partition });
    part.places.push(position);
    part.bytes += bytes;
  }
  return { parts: parts.map(({ bytes: _, ...part }) => part), failed };
}

function bytesOf({ key, value, headers }: KafkaDraft): number {
  let bytes = RECORD_BYTES + (value?.length ?? 0) + (key === null ? 0 : Buffer.byteLength(key));
  for (const [name, text] of Object.entries(headers)) bytes += 8 + name.length + Buffer.byteLength(text);
  return bytes;
}
