import { parsers } from "../../parsers/index.ts";
import { messageOf } from "../core/errors.ts";
import { Metrics } from "../core/metrics.ts";
import { type KafkaReadMetrics, kafkaReadMetrics } from "../intake/kafka-read-metrics.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { Catalog } from "../store/catalog.ts";
import { DeadLetterStore } from "./dead-letters.ts";
import type { KafkaSide } from "./kafka-side.ts";
import { KafkaSink } from "./kafka-sink.ts";
import { windowStore } from "./kafka-windows.ts";
import type { PartDeps, ProcessConfig } from "./process-config.ts";
import { OpenedSink, type OpenSink } from "./record-sinks.ts";
import { sinkMetrics } from "./sink-metrics.ts";
import { recordSinksOf } from "./sink-specs.ts";

export interface KafkaSinksDeps extends PartDeps {
  readonly kafka: KafkaSide;
  readonly objects: ObjectStore;
  readonly catalog: Catalog;
}

/** The sinks beside the store where the intake log is in Kafka: each a consumer group of its own. */
export class KafkaSinks {
  private readonly sinks: readonly KafkaSink[];

  /** Nothing is read or sent yet. Throws `bad_pipeline` and `bad_sink`. */
  constructor(config: ProcessConfig, dataDir: string, deps: KafkaSinksDeps) {
    const { kafka, objects, catalog, metrics, log } = deps;
    const { sections, pipelines } = config;
    const configs = recordSinksOf(config.sinks);
    const deadLetters = new DeadLetterStore(sections.dead_letters, { objects, metrics, log, now: Date.now });
    if (configs.length > 0) {
      deadLetters
        .look()
        .catch((error: unknown) =>
          log.warn({ reason: messageOf(error) }, "dead letters: can't look how much there is"),
        );
    }
    const metricsOf = sinkMetrics(metrics);
    const shared: OpenSink = { dataDir, pipelines, parsers, limits: sections.limits, deadLetters, metrics, log };
    const windows = windowStore(objects);
    this.sinks = configs.map((one) => {
      const sink = new OpenedSink(one, metricsOf(one.name), shared);
      sink.check();
      return new KafkaSink(one.name, sink, {
        kafka,
        catalog,
        windows,
        readMetrics: readMetrics(metrics, one.name),
        log,
      });
    });
    if (configs.length === 0) return;
    metrics.gauge(
      "weir_sink_partitions",
      "Partitions of the intake topic that a sink sends from here.",
      ["sink"],
      (gauge) => {
        for (const [i, { name }] of configs.entries()) gauge.set({ sink: name }, this.sinks[i].partitions);
      },
    );
  }

  start(): void {
    for (const sink of this.sinks) sink.start();
  }

  /** Why sinks send nothing, or "". It keeps nobody from storing and asking. */
  get failure(): string {
    return this.sinks.flatMap(({ failure }) => (failure === "" ? [] : [failure])).join("; ");
  }

  /** Ends requests under way, within some seconds. */
  async stop(): Promise<void> {
    await Promise.all(this.sinks.map((sink) => sink.stop()));
  }
}

/** The worker counts what the topic has; of a sink only what it will never see is news. */
function readMetrics(metrics: Metrics, sink: string): KafkaReadMetrics {
  const lost = metrics.counter(
    "weir_sink_lost_entries_total",
    "Offsets of the intake topic that Kafka has thrown away before a sink has read them. Each gap is logged with its place.",
    ["sink"],
  );
  const lostEntries = lost.labels({ sink });
  return { ...kafkaReadMetrics(new Metrics()), lostEntries };
}
