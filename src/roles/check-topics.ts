import { WeirError } from "../core/errors.ts";
import type { TopicOptions } from "../topics/options.ts";
import type { ProcessConfig } from "./process-config.ts";

/** A member of a consumer group that a configuration makes. */
interface Reader {
  /** Where it stands in the file. */
  readonly at: string;
  readonly brokers: readonly string[];
  readonly group: string;
  readonly topics: readonly string[];
}

type Checked = Pick<ProcessConfig, "receivers"> & { readonly sections: Pick<ProcessConfig["sections"], "intake"> };

/**
 * Throws `bad_receivers` when receivers of type `kafka` are in the way of each other or of the intake log: readers of different topics
 * in one consumer group, where each would be given partitions of the other's topics, or one that reads what Weir writes itself.
 */
export function checkTopics({ receivers, sections: { intake } }: Checked): void {
  const readers: Reader[] = receivers.flatMap(({ name, type, options }) => {
    if (type !== "kafka") return [];
    const { brokers, group, topics } = options as TopicOptions; // What the schema of the type gave.
    return [{ at: `receivers.${name}`, brokers, group, topics: topics.toSorted() }];
  });
  if (intake.type === "kafka") {
    const { brokers, group, topic } = intake;
    const log: Reader = { at: "intake", brokers, group, topics: [topic] };
    for (const reader of readers) {
      if (meets(reader, log) && reader.topics.includes(topic))
        throw bad(
          `${reader.at} reads the topic ${topic}, which is the intake log: it would receive what Weir itself writes, again and again`,
        );
    }
    readers.push(log);
  }
  for (const [i, one] of readers.entries()) {
    for (const other of readers.slice(i + 1)) {
      if (one.group !== other.group || !meets(one, other) || one.topics.join() === other.topics.join()) continue;
      throw bad(
        `${one.at} and ${other.at} read different topics (${one.topics.join(", ")}; ${other.topics.join(", ")}) in the same consumer group, "${one.group}", so each would be given the other's partitions; give one of them another group`,
      );
    }
  }
}

/** Whether they are of the same cluster, as far as addresses say. */
function meets(a: Reader, b: Reader): boolean {
  return a.brokers.some((one) => b.brokers.includes(one));
}

function bad(what: string): WeirError {
  return new WeirError("bad_receivers", what);
}
