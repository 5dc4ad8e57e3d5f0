import type { PipelineConfig } from "../pipeline/compile.ts";
import { takes } from "../pipeline/takes.ts";
import { type IngestOptions, limitsOf } from "../push/options.ts";
import type { TopicOptions } from "../topics/options.ts";
import type { TopicReceiver } from "../topics/receiver.ts";
import { tagOf } from "../topics/tag.ts";
import type { PartDeps } from "./process-config.ts";
import type { ReceiverIntake } from "./receivers.ts";

interface TopicConfig {
  readonly receivers: readonly { readonly name: string; readonly type: string; readonly options: unknown }[];
  readonly pipelines: readonly PipelineConfig[];
  readonly sections: { readonly ingest: IngestOptions };
}

/**
 * Starts the receivers of type `kafka`. A topic that no pipeline takes is left where it is, so that nothing is committed to Kafka
 * and then dropped. Rejects with `kafka_options`, and closes those that were started.
 */
export async function startTopicReceivers(
  { receivers, pipelines, sections }: TopicConfig,
  { intake, metrics, log }: PartDeps & { readonly intake: ReceiverIntake },
): Promise<TopicReceiver[]> {
  const started: TopicReceiver[] = [];
  for (const { name, type, options } of receivers) {
    if (type !== "kafka") continue;
    const given = options as TopicOptions; // What the schema of the type gave.
    const topics = given.topics.filter((topic) => takes(pipelines, name, tagOf(given.tag, topic, 0)));
    for (const topic of given.topics.filter((one) => !topics.includes(one)))
      log.warn({ receiver: name, topic }, `kafka: no pipeline takes topic ${topic} by its tag, so it is not read`);
    if (topics.length === 0) continue;
    try {
      // Its library is loaded where it is wanted, which spares all others its time.
      const { startTopics } = await import("../topics/receiver.ts");
      started.push(
        await startTopics(
          { ...given, topics },
          {
            ...{ name, metrics, log },
            intake: { append: (draft) => intake.append(draft), whenWritable: () => intake.whenReady() },
            limits: limitsOf(sections.ingest, given.tenant),
          },
        ),
      );
    } catch (error) {
      await Promise.all(started.map((receiver) => receiver.close()));
      throw error;
    }
  }
  return started;
}
