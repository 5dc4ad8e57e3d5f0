import type { EntryDraft } from "../core/intake-entry.ts";
import type { ForwardOptions } from "../forward/options.ts";
import { type ForwardServer, startForward } from "../forward/server.ts";
import type { LineClaim } from "../intake/intake.ts";
import { Ingest } from "../push/ingest.ts";
import type { PushReceiver } from "../push/receivers.ts";
import type { TopicReceiver } from "../topics/receiver.ts";
import type { PartDeps, ProcessConfig } from "./process-config.ts";
import { openPushReceivers } from "./push-receivers.ts";
import { startTopicReceivers } from "./topic-receivers.ts";

/** Where receivers put what they have received: an intake log that chooses the partition by itself. */
export interface ReceiverIntake {
  append(draft: EntryDraft): Promise<{ offset: number | null }>;
  claimLines(ids: Buffer): Promise<LineClaim>;
  whenReady(): Promise<void>;
}

type ReceiverConfig = Pick<ProcessConfig, "receivers" | "pipelines"> & {
  readonly sections: Pick<ProcessConfig["sections"], "ingest">;
};

/**
 * All receivers of a pipeline file. Those of pushes stand behind the HTTP server, those of the forward protocol listen themselves,
 * and those of topics ask Kafka.
 */
export class Receivers {
  /** For the HTTP server. */
  readonly pushes: readonly PushReceiver[];
  private readonly config: ReceiverConfig;
  private readonly deps: PartDeps & { readonly intake: ReceiverIntake };
  private readonly servers: ForwardServer[] = [];
  private topics: readonly TopicReceiver[] = [];

  /** Listens nowhere yet. Throws `bad_receivers`. */
  constructor(config: ReceiverConfig, deps: PartDeps & { readonly intake: ReceiverIntake }) {
    const { intake, metrics, log } = deps;
    this.config = config;
    this.deps = deps;
    const ingest = new Ingest(config.sections.ingest, { intake, metrics, now: Date.now });
    this.pushes = openPushReceivers(config.receivers, { pipelines: config.pipelines, ingest, log });
  }

  /** Rejects with `listen_failed`, `bad_certificate` or `kafka_options`; `stop` closes what listens already. */
  async listen(): Promise<void> {
    const { intake, metrics, log } = this.deps;
    for (const { name, type, options } of this.config.receivers) {
      if (type !== "forward") continue;
      const forward = options as ForwardOptions; // What the schema of the type gave.
      this.servers.push(
        await startForward(forward, {
          ...{ name, tenant: forward.tenant, metrics, log },
          append: (draft) => intake.append(draft),
          whenWritable: () => intake.whenReady(),
        }),
      );
    }
    this.topics = await startTopicReceivers(this.config, this.deps);
  }

  /** Why a receiver gets nothing now although it is to fetch it, in one sentence each; "" when all do. */
  get trouble(): string {
    return this.topics.flatMap(({ trouble }) => (trouble === "" ? [] : [trouble])).join("; ");
  }

  /** URLs that the forward protocol is listened for on. */
  get addresses(): readonly string[] {
    return this.servers.flatMap(({ addresses }) => addresses);
  }

  /** Reads nothing more; resolves when what has come is stored and acknowledged, or after 4 s. */
  async stop(): Promise<void> {
    await Promise.all([...this.servers, ...this.topics].map((receiver) => receiver.close()));
  }
}
