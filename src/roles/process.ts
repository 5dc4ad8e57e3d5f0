import path from "node:path";
import { parsers } from "../../parsers/index.ts";
import { sinks as sinkSpecs } from "../../sinks/index.ts";
import type { HttpOptions } from "../api/options.ts";
import { type HttpServer, startHttp } from "../api/server.ts";
import type { Config } from "../config/config.ts";
import type { SinkSpec } from "../core/component.ts";
import { messageOf } from "../core/errors.ts";
import type { FileOps } from "../core/files.ts";
import { DEFAULT_TENANT } from "../core/labels.ts";
import type { LineSink } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { endsWithin } from "../core/wait.ts";
import type { ForwardOptions } from "../forward/options.ts";
import { type ForwardServer, startForward } from "../forward/server.ts";
import { openDiskIntake } from "../intake/disk.ts";
import type { IntakeLog } from "../intake/intake.ts";
import type { DiskIntakeOptions } from "../intake/options.ts";
import { openObjectStore } from "../objects/open.ts";
import type { ObjectStore } from "../objects/store.ts";
import { compilePipelines } from "../pipeline/compile.ts";
import type { Limits } from "../pipeline/options.ts";
import { createEngine } from "../query/create.ts";
import type { Engine } from "../query/engine.ts";
import type { QueryOptions } from "../query/options.ts";
import { openCatalog } from "../store/catalog.ts";
import type { StoreOptions } from "../store/options.ts";
import { SegmentReader } from "../store/reader.ts";
import { takeSnapshot } from "../store/snapshot.ts";
import { openStreamWriter, type StreamWriter } from "../store/writer.ts";
import { Worker } from "./worker.ts";

/** The one partition of a single process. */
const PARTITION = 0;
/** How long a stop may take until it goes on without what is missing: the promise is 10 s in all. */
const DRAIN_MS = 7000;

/** A checked pipeline file with the sections that a process needs. */
export type ProcessConfig = Config<{
  readonly store: StoreOptions;
  readonly intake: DiskIntakeOptions;
  readonly limits: Limits;
  readonly query: QueryOptions;
  readonly http: HttpOptions;
}>;

export interface ProcessDeps {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly version: string;
  /** Below the intake log; the real file system unless a test injects faults. */
  readonly files?: FileOps;
  /** Instead of the object store at `storeUrl`, for tests. */
  readonly objects?: ObjectStore;
}

export interface ProcessPlaces {
  readonly dataDir: string;
  /** Folder or URL of the object store. */
  readonly storeUrl: string;
}

/** Everything in one process: receivers, intake log, worker, store, and the API (architecture, D6). */
export class WeirProcess {
  private readonly log: Logger;
  private readonly intake: IntakeLog;
  private readonly worker: Worker;
  private readonly writer: StreamWriter;
  private readonly objects: ObjectStore;
  private readonly engine: Engine;
  private http: HttpServer | null = null;
  private readonly receivers: ForwardServer[] = [];
  private failure: string | null = null;

  private constructor(parts: {
    log: Logger;
    intake: IntakeLog;
    worker: Worker;
    writer: StreamWriter;
    objects: ObjectStore;
    engine: Engine;
  }) {
    this.log = parts.log;
    this.intake = parts.intake;
    this.worker = parts.worker;
    this.writer = parts.writer;
    this.objects = parts.objects;
    this.engine = parts.engine;
  }

  /** Opens what is on disk, then listens. Rejects with one clear sentence, and leaves nothing open. */
  static async start(config: ProcessConfig, places: ProcessPlaces, deps: ProcessDeps): Promise<WeirProcess> {
    const process = await WeirProcess.open(config, places, deps);
    try {
      await process.listen(config, deps);
      return process;
    } catch (error) {
      await process.stop();
      throw error;
    }
  }

  private static async open(config: ProcessConfig, places: ProcessPlaces, deps: ProcessDeps): Promise<WeirProcess> {
    const { metrics, log } = deps;
    const { sections } = config;
    const objects = deps.objects ?? (await openObjectStore(places.storeUrl));
    const catalog = await openCatalog(objects, metrics, log);
    const intake = await openDiskIntake(
      {
        dir: path.join(places.dataDir, "intake"),
        minNextOffset: (partition) => catalog.chainEnd(partition),
        options: sections.intake,
      },
      { log, metrics, ...(deps.files === undefined ? {} : { files: deps.files }) },
    );
    const writer = openStreamWriter(sections.store, {
      objects,
      catalog,
      metrics,
      log,
      partition: PARTITION,
      now: Date.now,
    });
    const sinks: Record<string, LineSink> = {};
    for (const { name, type, options } of config.sinks) {
      const spec: SinkSpec | undefined = sinkSpecs[type as keyof typeof sinkSpecs];
      sinks[name] = spec.create(options, { metrics, store: writer });
    }
    const pipelines = compilePipelines(config.pipelines, { parsers, sinks, metrics, log, limits: sections.limits });
    const worker = new Worker({
      partition: PARTITION,
      intake,
      pipelines,
      writer,
      chainEnd: async () => {
        await catalog.refresh();
        return catalog.chainEnd(PARTITION);
      },
      metrics,
      log,
    });
    const reader = new SegmentReader(objects, { cacheBytes: sections.store.index_cache_bytes });
    const engine = createEngine(sections.query, {
      snapshot: (wanted) => takeSnapshot(catalog, [writer], wanted),
      taps: writer.taps,
      reader,
      objectsUrl: places.storeUrl,
      metrics,
      log,
    });
    return new WeirProcess({ log, intake, worker, writer, objects, engine });
  }

  private async listen(config: ProcessConfig, { metrics, log, version }: ProcessDeps): Promise<void> {
    await this.worker.start();
    this.worker.ended().catch((error: unknown) => {
      this.failure = `the worker has stopped: ${messageOf(error)}`;
    });
    this.http = await startHttp(config.sections.http, {
      engine: this.engine,
      ready: () => this.ready(),
      metrics,
      log,
      version,
    });
    for (const { name, options } of config.receivers) {
      this.receivers.push(
        await startForward(options as ForwardOptions, {
          name,
          tenant: DEFAULT_TENANT,
          append: (draft) => this.intake.append(PARTITION, draft),
          whenWritable: () => this.intake.whenReady(),
          metrics,
          log,
        }),
      );
    }
  }

  /** Whether logs are accepted and queries answered now, and if not, why. */
  ready(): { ready: boolean; reason: string } {
    if (this.failure !== null) return { ready: false, reason: this.failure };
    return this.intake.status();
  }

  get httpAddress(): string {
    return this.http?.address ?? "";
  }

  /** URLs that the receivers listen on. */
  get forwardAddresses(): readonly string[] {
    return this.receivers.flatMap((receiver) => receiver.addresses);
  }

  /**
   * Stops reading, takes what is in the intake log, commits it, and closes everything. What cannot be committed in time
   * stays in the intake log for the next start; with `drainMs` 0 that is everything not committed yet.
   */
  async stop(drainMs: number = DRAIN_MS): Promise<void> {
    await Promise.all(this.receivers.map((receiver) => receiver.close()));
    if (!(await endsWithin(this.worker.drain(), drainMs))) {
      this.log.warn(
        "stop: the store did not take everything in time; the rest stays in the intake log for the next start",
      );
      this.worker.stop();
    }
    await this.http?.close();
    await this.engine.close();
    this.writer.discard();
    await this.intake.close();
    await this.objects.close();
  }
}
