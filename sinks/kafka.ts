import { z } from "zod";
import { WeirError } from "../src/core/errors.ts";
import type { Logger } from "../src/core/log.ts";
import { defineRecordSink, type Refused, type SinkRecord, type WriteResult } from "../src/core/sink.ts";
import { endsWithin, TIMER_MS_MAX, unlessAborted } from "../src/core/wait.ts";
import { kafkaCompression, kafkaConnectionShape } from "../src/kafka/options.ts";
import { encodeMessage, FORMS } from "./shared/encode.ts";
import { type KafkaPart, partsOf, topicProblem } from "./shared/kafka-parts.ts";
import { KafkaTopics } from "./shared/kafka-topics.ts";
import { compileTemplate, template, templateProblem } from "./shared/template.ts";

/** How long a stop waits for a request that is under way. */
const CLOSE_MS = 2000;
/** What the protocol has no name for in a header. */
const HEADER = /^[\x20-\x7e]{1,255}$/;
/** Refusals of what stands in a batch, by the protocol's names; everything else speaks of the cluster, and is tried again. */
const REFUSALS: ReadonlySet<string> = new Set([
  "MESSAGE_TOO_LARGE",
  "RECORD_LIST_TOO_LARGE",
  "INVALID_TIMESTAMP",
  "INVALID_RECORD",
  "INVALID_TOPIC_EXCEPTION",
]);

const options = z.strictObject({
  ...kafkaConnectionShape,
  topic: template
    .min(1)
    .superRefine((text, context) => {
      const problem = text === "" || templateProblem(text) !== null ? null : topicProblem(text);
      if (problem !== null) context.addIssue({ code: "custom", message: problem });
    })
    .describe(
      "Topic that a record goes to; `{name}` is the label of that name, `{tenant}` its tenant, `{+yyyy-MM-dd}` its time. What a topic's name can't have in what comes from a label becomes `_`.",
    ),
  key: template
    .default("")
    .describe(
      "Key of the message, by which Kafka chooses the partition: records with one key stay in order, and Kafka's own clients choose the same. Empty: no key, and each request goes to one partition after the other.",
    ),
  headers: z
    .record(z.string().regex(HEADER, "want a header's name: up to 255 printable ASCII characters"), template)
    .default({})
    .describe("Headers of the message: name, and a text with the same places as `topic`. None by default."),
  id_header: z
    .string()
    .regex(HEADER, "want a header's name")
    .or(z.literal(""))
    .default("weir_id")
    .describe(
      "Header with the record's id, which is the same on every try: by it a reader knows what comes twice. Empty: none.",
    ),
  form: z
    .enum(FORMS)
    .default("json")
    .describe(
      "What stands in a message. `json`: an object with id, time, tenant, labels, metadata and line; `record`: the record's own fields as an object; `line`: the line's bytes.",
    ),
  timestamp: z
    .enum(["now", "record"])
    .default("now")
    .describe(
      "Timestamp of the message. Kafka keeps messages by it (`retention.ms`), and may refuse one far from the present; so it is the time of sending, unless `record` asks for the record's own.",
    ),
  compression: kafkaCompression,
  timeout_ms: z
    .int()
    .min(1)
    .max(TIMER_MS_MAX)
    .default(30_000)
    .describe("How long the brokers may take until all replicas in sync have a request."),
});

export default defineRecordSink({
  name: "kafka",
  summary:
    "Writes records to Kafka, a message each, with acks=all and an idempotent producer. What a broker refuses for itself (too large, a topic's name that is none, a timestamp) goes to the dead letters with the broker's reason; everything else is tried again: brokers that are away, a topic that is not there, a right that is missing.",
  options,
  wantsJson: ({ form }) => form === "record",
  open: (own, { log, name, now }) => {
    const topicOf = compileTemplate(own.topic, (value) => value.replace(/[^A-Za-z0-9._-]/g, "_"));
    const keyOf = compileTemplate(own.key);
    const headersOf = Object.entries(own.headers).map(([header, text]) => [header, compileTemplate(text)] as const);
    // Only a sink that sends needs the library: those that `weir check` looks at don't load it.
    let opened: ReturnType<typeof connect> | null = null;
    const connection = () => {
      opened ??= connect(own, log).catch((error: unknown) => {
        opened = null;
        throw error;
      });
      return opened;
    };

    const draftOf = (record: SinkRecord) => ({
      topic: topicOf(record),
      key: own.key === "" ? null : keyOf(record),
      value: encodeMessage(record, own.form),
      headers: {
        ...Object.fromEntries(headersOf.map(([header, text]) => [header, text(record)])),
        ...(own.id_header === "" ? {} : { [own.id_header]: record.id }),
      },
      timestampMs: own.timestamp === "now" ? now() : record.sec * 1000 + Math.floor(record.nsec / 1e6),
    });

    return {
      async write(batch, signal): Promise<WriteResult> {
        signal.throwIfAborted();
        if (batch.length === 0) return { failed: [] };
        const { producer, topics } = await unlessAborted(connection(), signal);
        const drafts = batch.map(draftOf);
        const { parts, failed } = await unlessAborted(partsOf(drafts, topics), signal);
        // A part is what one partition takes as one batch. All of a round go out as one request.
        const todo = [...parts];
        for (let round = nextRound(todo); round.length > 0; round = nextRound(todo)) {
          try {
            await unlessAborted(producer.send(round.flatMap(({ records }) => records)), signal);
          } catch (error) {
            signal.throwIfAborted();
            if (!(error instanceof WeirError)) throw error;
            const isRefusal = REFUSALS.has(String(error.context.type));
            if (isRefusal || error.code === "kafka_refused") {
              todo.unshift(...refuse(round, error, isRefusal, failed));
              continue;
            }
            topics.forget();
            // What was taken before stays taken; the others come again.
            for (const { places } of [...round, ...todo])
              for (const position of places) failed.push({ position, retriable: true, reason: error.message });
            break;
          }
        }
        return { failed };
      },
      async close() {
        const closing = opened;
        opened = null;
        if (closing === null) return;
        const end = async () => {
          const { producer, topics } = await closing;
          await Promise.all([producer.close(), topics.close()]);
        };
        if (!(await endsWithin(end(), CLOSE_MS)))
          log.debug({ sink: name }, `sink ${name}: a request is still under way`);
      },
    };
  },
});

type Own = z.output<typeof options>;

async function connect(own: Own, log: Logger) {
  const [{ openKafkaClient }, { KafkaProducer, partitionOfKey }, { KafkaAdmin }] = await Promise.all([
    import("../src/kafka/client.ts"),
    import("../src/kafka/producer.ts"),
    import("../src/kafka/admin.ts"),
  ]);
  const client = await openKafkaClient(own, log);
  return {
    producer: new KafkaProducer({ client, compression: own.compression, timeoutMs: own.timeout_ms, log }),
    topics: new KafkaTopics(new KafkaAdmin(client), partitionOfKey, log),
  };
}

/** Takes the next part of each partition that has one which goes with others, or else one that goes alone. */
function nextRound(todo: KafkaPart[]): KafkaPart[] {
  const seen = new Set<string>();
  const round: KafkaPart[] = [];
  let alone = -1;
  for (let i = 0; i < todo.length; ) {
    const { place, isDoubted } = todo[i];
    const isNext = !seen.has(place);
    seen.add(place);
    if (isNext && !isDoubted) {
      round.push(...todo.splice(i, 1));
      continue;
    }
    if (isNext && alone === -1) alone = i;
    i++;
  }
  return round.length === 0 && alone !== -1 ? todo.splice(alone, 1) : round;
}

/** What is to be sent again of a round that was refused. What was refused alone is named in `failed`. */
function refuse(round: readonly KafkaPart[], error: WeirError, isOfRecord: boolean, failed: Refused[]): KafkaPart[] {
  if (round.length > 1) return round.map((part) => ({ ...part, isDoubted: true }));
  const [{ records, places, place }] = round;
  if (records.length === 1 || !isOfRecord) {
    for (const position of places) failed.push({ position, retriable: !isOfRecord, reason: error.message });
    return [];
  }
  const middle = records.length >>> 1;
  return [
    { place, isDoubted: true, records: records.slice(0, middle), places: places.slice(0, middle) },
    { place, isDoubted: true, records: records.slice(middle), places: places.slice(middle) },
  ];
}
