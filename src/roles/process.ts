import type { QuerierServer } from "../api/querier-server.ts";
import type { HttpServer } from "../api/server.ts";
import type { Logger } from "../core/log.ts";
import { countdown } from "../core/wait.ts";
import type { Engine } from "../query/engine.ts";
import { allOrNothing } from "./all-or-nothing.ts";
import { openHttpSide } from "./http-side.ts";
import { DiskIntakeSide } from "./intake-side.ts";
import { openWorkers, workerThreads } from "./open-workers.ts";
import type { PartState, ProcessConfig, ProcessDeps, ProcessPlaces } from "./process-config.ts";
import { openForQueriers, openQuerySide } from "./query-side.ts";
import { Receivers } from "./receivers.ts";
import { SinkPlaces, SinksSide } from "./sinks-side.ts";
import { StoreSide } from "./store-side.ts";
import type { Workers } from "./workers.ts";

/**
 * How long a stop may take until it goes on without what is missing, what receivers have on its way first among it, and until it cuts
 * answers off: the promise is 10 s in all.
 */
const DRAIN_MS = 7000;
const ANSWERS_MS = 8000;

interface Parts {
  readonly store: StoreSide;
  readonly intake: DiskIntakeSide;
  readonly workers: Workers;
  readonly sinks: SinksSide;
  readonly receivers: Receivers;
  readonly engine: Engine;
}

/** Everything in one process: receivers, intake log, workers, store, and the API (architecture, D6). */
export class WeirProcess {
  private readonly parts: Parts;
  private readonly log: Logger;
  private http: HttpServer | null = null;
  private queriers: QuerierServer | null = null;

  private constructor(parts: Parts, log: Logger) {
    this.parts = parts;
    this.log = log;
  }

  /** Opens what is on disk, then listens. Rejects with one clear sentence, and leaves nothing open. */
  static async start(config: ProcessConfig, places: ProcessPlaces, deps: ProcessDeps): Promise<WeirProcess> {
    const process = new WeirProcess(await openParts(config, places, deps), deps.log);
    try {
      await process.begin(config, deps);
      return process;
    } catch (error) {
      await process.stop();
      throw error;
    }
  }

  private async begin(config: ProcessConfig, { metrics, log, version }: ProcessDeps): Promise<void> {
    const { store, intake, workers, sinks, receivers, engine } = this.parts;
    await workers.start();
    sinks.start();
    store.start();
    this.http = await openHttpSide(config, {
      ...{ metrics, log, version, engine },
      deletes: store.forgetting.service,
      pushes: receivers.pushes,
      ready: () => this.ready(),
      services: () => {
        const worker = workers.state().ready ? "Running" : "Failed";
        const received = intake.intake.status().ready ? "Running" : "Stalled";
        return { server: "Running", intake: received, worker, store: "Running", querier: "Running" };
      },
      flush: () => workers.flush(),
    });
    this.queriers = await openForQueriers(config.sections.query, engine, log);
    await receivers.listen();
  }

  /** Whether logs are accepted and queries answered now, and if not, why. */
  ready(): PartState {
    const { workers, intake, sinks, receivers } = this.parts;
    const working = workers.state();
    if (!working.ready) return working;
    const { ready, reason } = intake.intake.status();
    // A topic that can't be read now keeps nobody else from being heard.
    const others = [sinks.failure, receivers.trouble].filter((one) => one !== "").join("; ");
    return ready ? { ready, reason: others } : { ready, reason };
  }

  get httpAddress(): string {
    return this.http?.address ?? "";
  }

  /** Where other queriers ask; "" for nowhere. */
  get querierAddress(): string {
    return this.queriers?.address ?? "";
  }

  /** URLs that the receivers listen on. */
  get forwardAddresses(): readonly string[] {
    return this.parts.receivers.addresses;
  }

  /**
   * Stops reading, takes what is in the intake log, commits it, and closes everything. What cannot be committed in time
   * stays in the intake log for the next start; with `drainMs` 0 that is everything not committed yet.
   */
  async stop(drainMs: number = DRAIN_MS): Promise<void> {
    const { store, intake, workers, sinks, receivers, engine } = this.parts;
    const drainLeft = countdown(drainMs);
    const answersLeft = countdown(ANSWERS_MS);
    await Promise.all([receivers.stop(), this.http?.stopPushes()]);
    const sinksStopped = sinks.stop();
    if (!(await workers.drain(drainLeft()))) {
      this.log.warn(
        "stop: the store did not take everything in time; the rest stays in the intake log for the next start",
      );
    }
    await sinksStopped;
    await this.http?.close(answersLeft());
    await this.queriers?.close();
    await engine.close();
    await store.stop();
    await workers.stop();
    await intake.intake.close();
    await store.close();
  }
}

function openParts(config: ProcessConfig, places: ProcessPlaces, deps: ProcessDeps): Promise<Parts> {
  const { metrics, log } = deps;
  const { dataDir } = places;
  const { sections } = config;
  return allOrNothing(async (onFailure) => {
    // Requests to delete come by HTTP, which is opened last of all.
    const intakeEnds = async () => intake.ends();
    const store = await StoreSide.open(sections, places, { ...deps, intakeEnds });
    onFailure(() => store.close());
    const { catalog, objects } = store;
    const chainEnd = (partition: number) => catalog.chainEnd(partition);
    const sinkPlaces = await SinkPlaces.open(config, dataDir, chainEnd);
    if (sections.intake.type === "kafka") throw new Error("the intake log is in Kafka: KafkaProcess is for that");
    // What a test injects is in this thread alone.
    const isInjected = deps.objects !== undefined || deps.files !== undefined;
    const threads = isInjected ? 0 : workerThreads(sections.workers);
    const written = Math.max(1, threads);
    const wanted = { dataDir, partitions: written, chainEnd, places: sinkPlaces };
    const intake = await DiskIntakeSide.open(sections.intake, wanted, deps);
    onFailure(() => intake.intake.close());
    const parts = { intake: intake.intake, objects, catalog, metrics, log };
    const workers = openWorkers(config, threads, { intake: intake.intake, store, written, metrics, log });
    const sinks = new SinksSide(config, dataDir, sinkPlaces, parts);
    const receivers = new Receivers(config, { intake: intake.receiving, metrics, log });
    const engine = openQuerySide(sections.query, store, workers.snapshots, deps);
    return { store, intake, workers, sinks, receivers, engine };
  });
}
