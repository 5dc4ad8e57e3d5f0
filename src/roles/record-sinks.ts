import path from "node:path";
import type { ParserSpec } from "../core/component.ts";
import type { Logger } from "../core/log.ts";
import { Metrics } from "../core/metrics.ts";
import type { RecordSink, RecordSinkSpec } from "../core/sink.ts";
import type { Consumers, IntakeLog } from "../intake/intake.ts";
import { compilePipelines, type PipelineConfig, type Pipelines } from "../pipeline/compile.ts";
import type { Limits } from "../pipeline/options.ts";
import { connectForward } from "./connect-forward.ts";
import { DigestCollector } from "./digest.ts";
import { SharedSink } from "./shared-sink.ts";
import { type Collector, SinkCollector } from "./sink-collector.ts";
import type { DeadLetters } from "./sink-delivery.ts";
import { type SinkMetrics, sinkMetrics } from "./sink-metrics.ts";
import { type DeliveryOptions, deliveryOptions } from "./sink-options.ts";
import { SinkPositions } from "./sink-position.ts";
import { SinkRunner, type SinkRunnerDeps } from "./sink-runner.ts";

/** A sink of the pipeline file that sends records on. */
export interface RecordSinkConfig {
  readonly name: string;
  readonly spec: RecordSinkSpec;
  /** What its schema gave: the sink's own options and DeliveryOptions. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Where the sinks of a process have come to. To be opened before the intake log, which has to know. */
export async function openPositions(
  dataDir: string,
  sinks: readonly RecordSinkConfig[],
): Promise<ReadonlyMap<string, SinkPositions>> {
  const folder = sinksFolder(dataDir);
  const opened = sinks.map(async ({ name }) => [name, await SinkPositions.open(folder, name)] as const);
  return new Map(await Promise.all(opened));
}

/**
 * A sink that has never been in a partition begins where the store is, at `from`, and that is noted at once: by the next start
 * the store may be further.
 */
export async function beginNew(
  positions: ReadonlyMap<string, SinkPositions>,
  partitions: number,
  from: (partition: number) => number,
): Promise<void> {
  const noted: Promise<void>[] = [];
  for (const places of positions.values()) {
    for (let partition = 0; partition < partitions; partition++) {
      if (places.get(partition) === null) noted.push(places.set(partition, { offset: from(partition), place: 0 }));
    }
  }
  await Promise.all(noted);
}

/** What the intake log has to keep for the sinks; of a partition in which a sink has no position, what is after `from`. */
export function consumersOf(
  positions: ReadonlyMap<string, SinkPositions>,
  from: (partition: number) => number,
): Consumers {
  return Object.fromEntries(
    [...positions].map(([name, at]) => [name, (partition: number) => at.get(partition)?.offset ?? from(partition)]),
  );
}

function sinksFolder(dataDir: string): string {
  return path.join(dataDir, "sinks");
}

/** What sinks need, wherever the intake log is. */
export interface OpenSink {
  readonly dataDir: string;
  readonly pipelines: readonly PipelineConfig[];
  readonly parsers: Readonly<Record<string, ParserSpec>>;
  readonly limits: Limits;
  readonly deadLetters: DeadLetters;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export interface StartSinks extends OpenSink {
  readonly intake: IntakeLog;
  readonly positions: ReadonlyMap<string, SinkPositions>;
}

/**
 * Makes a runner for each sink and partition, not started yet. Throws `bad_pipeline` when what a sink asks of the records can't work, and
 * `bad_sink` when the sink's own options can't.
 */
export function openSinks(sinks: readonly RecordSinkConfig[], deps: StartSinks): SinkRunner[] {
  const metricsOf = sinkMetrics(deps.metrics);
  return sinks.flatMap((config) => {
    const { name } = config;
    const positions = deps.positions.get(name);
    if (positions === undefined) throw new Error(`sink ${name}: its position was not opened`);
    const { intake } = deps;
    const sink = new OpenedSink(config, metricsOf(name), deps);
    return Array.from({ length: intake.partitions }, (_, partition) => sink.runner({ partition, intake, positions }));
  });
}

/** A sink's destination, and what makes runners for it. */
export class OpenedSink {
  private readonly config: RecordSinkConfig;
  private readonly deps: OpenSink;
  private readonly metrics: SinkMetrics;
  private readonly shared: SharedSink;
  private readonly own: Readonly<Record<string, unknown>>;
  private readonly delivery: DeliveryOptions;

  /** Throws `bad_sink`. */
  constructor(config: RecordSinkConfig, sinkMetrics: SinkMetrics, deps: OpenSink) {
    const { own, delivery } = splitOptions(config.options);
    const { name, spec } = config;
    const { metrics, log, dataDir } = deps;
    const folder = path.join(sinksFolder(dataDir), name);
    this.config = config;
    this.deps = deps;
    this.metrics = sinkMetrics;
    this.own = own;
    this.delivery = delivery;
    this.shared = new SharedSink(spec.open(own, { name, folder, connectForward, metrics, log, now: Date.now }));
  }

  /** A runner for a partition, not started yet. Throws `bad_pipeline`. */
  runner(at: Pick<SinkRunnerDeps, "partition" | "intake" | "positions" | "beginsAgain">): SinkRunner {
    const { config, own, delivery, deps, metrics } = this;
    const { deadLetters, log } = deps;
    const { collector, pipelines } = collect(config, own, delivery, at.partition, deps);
    const common = { name: config.name, deadLetters, metrics, log, now: Date.now };
    return new SinkRunner(delivery, { ...common, ...at, pipelines, collector, sink: this.shared.user() });
  }

  /** Throws `bad_pipeline` where runners would. */
  check(): void {
    collect(this.config, this.own, this.delivery, 0, this.deps);
  }

  /** Shows whether any of its runners has stopped by an error, and is not well again. */
  showStopped(isStopped: boolean): void {
    this.metrics.stopped.set(isStopped ? 1 : 0);
  }

  /** Keeps the destination open while it has no runner, until it is closed. */
  hold(): RecordSink {
    return this.shared.user();
  }
}

/** The pipelines that lead to a sink, and their end. */
function collect(
  { name, spec }: RecordSinkConfig,
  own: Readonly<Record<string, unknown>>,
  delivery: DeliveryOptions,
  partition: number,
  { pipelines, parsers, log, limits }: OpenSink,
): { collector: Collector; pipelines: Pipelines } {
  const collector = openCollector(name, spec, own, delivery, partition);
  const compiled = compilePipelines(pipelinesTo(name, delivery, pipelines), {
    parsers,
    sinks: { [name]: collector },
    // The store's worker counts the same records.
    metrics: new Metrics(),
    log,
    limits,
  });
  return { collector, pipelines: compiled };
}

function openCollector(
  name: string,
  spec: RecordSinkSpec,
  own: Readonly<Record<string, unknown>>,
  { digest, sample, fields }: DeliveryOptions,
  partition: number,
): Collector {
  if (digest !== undefined) return new DigestCollector(partition, name, digest, sample);
  const keep = fields.keep === undefined ? spec.fields?.(own) : new Set(fields.keep);
  return new SinkCollector(partition, {
    wantsJson: spec.wantsJson?.(own) ?? false,
    sample,
    ...(keep === undefined ? {} : { keep }),
  });
}

/**
 * The pipelines as one sink needs them: those that lead to it with what it asks of the records at their end, and the others
 * empty, because a record that fits one of them goes nowhere else.
 */
export function pipelinesTo(
  sink: string,
  { when, fields }: Pick<DeliveryOptions, "when" | "fields">,
  pipelines: readonly PipelineConfig[],
): PipelineConfig[] {
  const steps: PipelineConfig["steps"][number][] = [];
  if (Object.keys(when).length > 0) steps.push({ name: "drop", options: { fields: [], unless: when } });
  if (Object.keys(fields.rename).length > 0) steps.push({ name: "rename", options: fields.rename });
  if (fields.drop.length > 0) steps.push({ name: "drop", options: { fields: fields.drop } });
  return pipelines.map((pipeline) =>
    pipeline.to.includes(sink)
      ? { ...pipeline, steps: [...pipeline.steps, ...steps], to: [sink] }
      : { ...pipeline, steps: [], to: [] },
  );
}

/** The pipelines as the store's worker needs them: without the sinks that go at their own pace. */
export function pipelinesWithout(
  sinks: readonly RecordSinkConfig[],
  pipelines: readonly PipelineConfig[],
): PipelineConfig[] {
  const names = new Set(sinks.map(({ name }) => name));
  return pipelines.map((pipeline) => ({ ...pipeline, to: pipeline.to.filter((name) => !names.has(name)) }));
}

const DELIVERY_KEYS: ReadonlySet<string> = new Set(Object.keys(deliveryOptions.shape));

/** The sink's own options, and those that every sink has. */
export function splitOptions(options: Readonly<Record<string, unknown>>): {
  own: Readonly<Record<string, unknown>>;
  delivery: DeliveryOptions;
} {
  const entries = Object.entries(options);
  const delivery = deliveryOptions.parse(Object.fromEntries(entries.filter(([key]) => DELIVERY_KEYS.has(key))));
  return { own: Object.fromEntries(entries.filter(([key]) => !DELIVERY_KEYS.has(key))), delivery };
}
