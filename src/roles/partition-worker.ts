import { parsers } from "../../parsers/index.ts";
import { lineSinks } from "../../sinks/line-sinks.ts";
import type { SinkSpec } from "../core/component.ts";
import type { LineSink } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { ObjectStore } from "../objects/store.ts";
import { compilePipelines, type PipelineConfig } from "../pipeline/compile.ts";
import type { Catalog } from "../store/catalog.ts";
import type { CatalogEntry } from "../store/catalog-entry.ts";
import type { PoolSlots } from "../store/pool-slots.ts";
import { openStreamWriter, type StreamWriter } from "../store/writer.ts";
import type { ProcessConfig } from "./process-config.ts";
import { Worker, type WorkerIntake } from "./worker.ts";

/**
 * Of a configuration, what a worker goes by: of sinks those that get lines as they are made, and no others in the pipelines.
 * Plain data, so that a thread can be given it.
 */
export interface WorkerConfig extends Pick<ProcessConfig, "sinks"> {
  readonly pipelines: readonly PipelineConfig[];
  readonly sections: Pick<ProcessConfig["sections"], "store" | "limits">;
}

export interface PartitionWorkerDeps {
  /** As the worker has it. */
  readonly commitAgeMs?: number;
  readonly intake: WorkerIntake;
  readonly objects: ObjectStore;
  readonly catalog: Catalog;
  /** For snapshots that another thread asks for: see the writer's. */
  readonly onCommitted?: (entry: CatalogEntry) => void;
  readonly slots?: PoolSlots | null;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** One partition from its intake entries to its segments: the pipelines, the writer of streams, and the worker that runs them. */
export class PartitionWorker {
  readonly partition: number;
  readonly writer: StreamWriter;
  readonly worker: Worker;

  /** Nothing is read or started yet. Throws `bad_pipeline` when a pipeline can't work. */
  constructor(config: WorkerConfig, partition: number, deps: PartitionWorkerDeps) {
    const { intake, objects, catalog, onCommitted, slots = null, metrics, log } = deps;
    const { store, limits } = config.sections;
    this.partition = partition;
    this.writer = openStreamWriter(store, {
      ...{ objects, catalog, slots, metrics, log, partition },
      // For ages alone: a wall clock that is set back by an hour would keep lines from being flushed for that long.
      now: () => performance.now(),
      ...(onCommitted === undefined ? {} : { onCommitted }),
    });
    const sinks = lineSinksOf(config, this.writer, metrics);
    const pipelines = compilePipelines(config.pipelines, { parsers, sinks, metrics, log, limits });
    this.worker = new Worker({
      ...{ partition, intake, pipelines, metrics, log },
      writer: this.writer,
      ...(deps.commitAgeMs === undefined ? {} : { commitAgeMs: deps.commitAgeMs }),
      chainEnd: async () => {
        await catalog.refreshAnew();
        return catalog.chainEnd(partition);
      },
    });
  }
}

/** The sinks of the pipeline file that get lines as they are made, by name. */
function lineSinksOf(config: WorkerConfig, store: StreamWriter, metrics: Metrics): Record<string, LineSink> {
  const sinks: Record<string, LineSink> = {};
  for (const { name, type, options } of config.sinks) {
    const spec: SinkSpec | undefined = lineSinks[type as keyof typeof lineSinks];
    if (spec !== undefined) sinks[name] = spec.create(options, { metrics, store });
  }
  return sinks;
}
