import path from "node:path";
import { parsers } from "../../parsers/index.ts";
import { lineSinks } from "../../sinks/index.ts";
import type { ProcessInfo } from "../api/info-routes.ts";
import type { HttpOptions } from "../api/options.ts";
import { type HttpServer, startHttp } from "../api/server.ts";
import type { Config } from "../config/config.ts";
import { describeConfig, withoutSecrets } from "../config/describe-config.ts";
import type { SinkSpec } from "../core/component.ts";
import { messageOf } from "../core/errors.ts";
import type { FileOps } from "../core/files.ts";
import type { LineSink } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { endsWithin } from "../core/wait.ts";
import type { ForwardOptions } from "../forward/options.ts";
import { type ForwardServer, startForward } from "../forward/server.ts";
import { openDiskIntake } from "../intake/disk.ts";
import type { IntakeLog } from "../intake/intake.ts";
import type { DiskIntakeOptions } from "../intake/options.ts";
import { removeLeftovers } from "../objects/leftovers.ts";
import { openObjectStore } from "../objects/open.ts";
import type { S3Options } from "../objects/options.ts";
import { withS3Options } from "../objects/s3-url.ts";
import type { ObjectStore } from "../objects/store.ts";
import { compilePipelines } from "../pipeline/compile.ts";
import type { Limits } from "../pipeline/options.ts";
import { Ingest } from "../push/ingest.ts";
import { type IngestOptions, tenantIngestLimits } from "../push/options.ts";
import type { PushReceiver } from "../push/receivers.ts";
import { createEngine } from "../query/create.ts";
import type { Engine } from "../query/engine.ts";
import type { QueryOptions } from "../query/options.ts";
import { openCatalog } from "../store/catalog.ts";
import type { CompactorOptions } from "../store/compact/options.ts";
import type { StoreOptions } from "../store/options.ts";
import { SegmentReader } from "../store/reader.ts";
import type { RetentionOptions } from "../store/retention-options.ts";
import { takeSnapshot } from "../store/snapshot.ts";
import { openStreamWriter, type StreamWriter } from "../store/writer.ts";
import { catalogPages } from "./catalog-cache.ts";
import { CompactorRole } from "./compactor.ts";
import type { DeadLetterOptions } from "./dead-letter-options.ts";
import { DeadLetterStore } from "./dead-letters.ts";
import { type Forgetting, openForgetting } from "./forget.ts";
import { openPushReceivers } from "./push-receivers.ts";
import { consumersOf, openPositions, openSinks, pipelinesWithout } from "./record-sinks.ts";
import type { SinkRunner } from "./sink-runner.ts";
import { recordSinksOf } from "./sink-specs.ts";
import { Worker } from "./worker.ts";

/** The one partition of a single process. */
const PARTITION = 0;
/** How long a stop may take until it goes on without what is missing: the promise is 10 s in all. */
const DRAIN_MS = 7000;

/** And how long sinks may take after that: they begin to stop at the same time, and what they have not sent waits. */
const SINK_STOP_MS = 1000;

/** A checked pipeline file with the sections that a process needs. */
export type ProcessConfig = Config<{
  readonly store: StoreOptions;
  readonly compactor: CompactorOptions;
  readonly retention: RetentionOptions;
  readonly s3: S3Options;
  readonly dead_letters: DeadLetterOptions;
  readonly intake: DiskIntakeOptions;
  readonly ingest: IngestOptions;
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
  private readonly forgetting: Forgetting;
  private readonly compactor: CompactorRole | null;
  private readonly pushReceivers: readonly PushReceiver[];
  private readonly sinks: readonly SinkRunner[];
  private readonly stopping = new AbortController();
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
    pushReceivers: readonly PushReceiver[];
    sinks: readonly SinkRunner[];
    forgetting: Forgetting;
    compactor: CompactorRole | null;
  }) {
    this.log = parts.log;
    this.intake = parts.intake;
    this.worker = parts.worker;
    this.writer = parts.writer;
    this.objects = parts.objects;
    this.engine = parts.engine;
    this.pushReceivers = parts.pushReceivers;
    this.sinks = parts.sinks;
    this.forgetting = parts.forgetting;
    this.compactor = parts.compactor;
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
    const objectsUrl = withS3Options(places.storeUrl, sections.s3);
    const objects = deps.objects ?? (await openObjectStore(objectsUrl, { metrics }));
    removeLeftovers(objects, Date.now()).then(
      (count) => count > 0 && log.info({ count }, "store: ended uploads that were never finished"),
      (error: unknown) =>
        log.warn({ reason: messageOf(error) }, "store: can't look for uploads that were never finished"),
    );
    const pages = await catalogPages(sections.store, places, log);
    const catalog = await openCatalog(objects, metrics, log, { pages });
    const recordSinks = recordSinksOf(config.sinks);
    const positions = await openPositions(places.dataDir, recordSinks, {
      partition: PARTITION,
      from: catalog.chainEnd(PARTITION),
    });
    const intake = await openDiskIntake(
      {
        dir: path.join(places.dataDir, "intake"),
        minNextOffset: (partition) => catalog.chainEnd(partition),
        consumers: consumersOf(positions, (partition) => catalog.chainEnd(partition)),
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
      // For ages alone: a wall clock that is set back by an hour would keep lines from being flushed for that long.
      now: () => performance.now(),
    });
    const sinks: Record<string, LineSink> = {};
    for (const { name, type, options } of config.sinks) {
      const spec: SinkSpec | undefined = lineSinks[type as keyof typeof lineSinks];
      if (spec !== undefined) sinks[name] = spec.create(options, { metrics, store: writer });
    }
    const { limits } = sections;
    const ownPipelines = pipelinesWithout(recordSinks, config.pipelines);
    const pipelines = compilePipelines(ownPipelines, { parsers, sinks, metrics, log, limits });
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
    const forgetting = await openForgetting(sections.retention, {
      objects,
      catalog,
      intakeEnds: async () => ({ [PARTITION]: intake.nextOffset(PARTITION) }),
      metrics,
      log,
      now: Date.now,
    });
    const deadLetters = new DeadLetterStore(sections.dead_letters, { objects, metrics, log, now: Date.now });
    if (recordSinks.length > 0) {
      deadLetters
        .look()
        .catch((error: unknown) =>
          log.warn({ reason: messageOf(error) }, "dead letters: can't look how much there is"),
        );
    }
    const runners = openSinks(recordSinks, {
      dataDir: places.dataDir,
      partition: PARTITION,
      intake,
      pipelines: config.pipelines,
      parsers,
      limits,
      positions,
      from: catalog.chainEnd(PARTITION),
      deadLetters,
      metrics,
      log,
    });
    const { removals } = forgetting;
    const blockBytes = sections.store.block_bytes;
    const compactor = sections.compactor.enabled
      ? new CompactorRole(sections.compactor, { objects, catalog, blockBytes, removals, metrics, log })
      : null;
    const reader = new SegmentReader(objects, { cacheBytes: sections.store.index_cache_bytes });
    const engine = createEngine(sections.query, {
      snapshot: (wanted) => takeSnapshot(catalog, [writer], wanted),
      hidden: forgetting.hidden,
      taps: writer.taps,
      reader,
      objectsUrl,
      metrics,
      log,
    });
    const ingest = new Ingest(sections.ingest, {
      intake: {
        append: (draft) => intake.append(PARTITION, draft),
        claimLines: (ids) => intake.claimLines(ids),
      },
      metrics,
      now: Date.now,
    });
    const pushReceivers = openPushReceivers(config.receivers, { pipelines, ingest, log });
    return new WeirProcess({
      log,
      intake,
      worker,
      writer,
      objects,
      engine,
      pushReceivers,
      sinks: runners,
      forgetting,
      compactor,
    });
  }

  private async listen(config: ProcessConfig, { metrics, log, version }: ProcessDeps): Promise<void> {
    await this.worker.start();
    for (const sink of this.sinks) sink.start();
    this.compactor?.start();
    if (this.compactor === null) this.forgetting.watch(this.stopping.signal);
    this.worker.ended().catch((error: unknown) => {
      this.failure = `the worker has stopped: ${messageOf(error)}`;
    });
    this.http = await startHttp(config.sections.http, {
      engine: this.engine,
      deletes: this.forgetting.service,
      ready: () => this.ready(),
      metrics,
      log,
      version,
      push: {
        receivers: this.pushReceivers,
        bodyBytesMax: config.sections.ingest.body_bytes_max,
        memoryBytesMax: config.sections.ingest.memory_bytes_max,
      },
      info: this.infoOf(config),
    });
    for (const { name, type, options } of config.receivers) {
      if (type !== "forward") continue;
      const forward = options as ForwardOptions;
      this.receivers.push(
        await startForward(forward, {
          name,
          tenant: forward.tenant,
          append: (draft) => this.intake.append(PARTITION, draft),
          whenWritable: () => this.intake.whenReady(),
          metrics,
          log,
        }),
      );
    }
  }

  private infoOf(config: ProcessConfig): ProcessInfo {
    const { ingest } = config.sections;
    return {
      services: () => {
        const worker = this.failure === null ? "Running" : "Failed";
        const intake = this.intake.status().ready ? "Running" : "Stalled";
        return { server: "Running", intake, worker, store: "Running", querier: "Running" };
      },
      config: describeConfig(config),
      defaults: withoutSecrets(config.defaults),
      ingestLimits: (tenant) => tenantIngestLimits(ingest, tenant),
      flush: () => this.worker.flush(),
    };
  }

  /** Whether logs are accepted and queries answered now, and if not, why. */
  ready(): { ready: boolean; reason: string } {
    if (this.failure !== null) return { ready: false, reason: this.failure };
    const { ready, reason } = this.intake.status();
    if (!ready) return { ready, reason };
    // A sink that has stopped keeps nobody from storing and asking.
    return { ready, reason: this.sinks.flatMap(({ failure }) => failure ?? []).join("; ") };
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
    await Promise.all([...this.receivers.map((receiver) => receiver.close()), this.http?.stopPushes()]);
    const sinks = Promise.all(this.sinks.map((sink) => sink.stop()));
    const drained = await endsWithin(this.worker.drain(), drainMs);
    if (!(await endsWithin(sinks, SINK_STOP_MS)))
      this.log.warn("stop: a sink did not end in time; it goes on at the next start");
    if (!drained) {
      this.log.warn(
        "stop: the store did not take everything in time; the rest stays in the intake log for the next start",
      );
      this.worker.stop();
    }
    await this.http?.close();
    await this.engine.close();
    await this.compactor?.stop();
    this.stopping.abort();
    this.writer.discard();
    await this.intake.close();
    await this.objects.close();
  }
}
