import type { DeleteService } from "../api/delete-routes.ts";
import type { QuerierServer } from "../api/querier-server.ts";
import type { HttpServer } from "../api/server.ts";
import { WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { countdown, endsWithin } from "../core/wait.ts";
import { KafkaAppender } from "../intake/kafka-append.ts";
import type { KafkaIntakeOptions } from "../intake/kafka-options.ts";
import { KafkaProducer } from "../kafka/producer.ts";
import type { Engine } from "../query/engine.ts";
import { allOrNothing } from "./all-or-nothing.ts";
import { Freshness } from "./freshness.ts";
import { openHttpSide } from "./http-side.ts";
import { KafkaSide } from "./kafka-side.ts";
import { KafkaSinks } from "./kafka-sinks.ts";
import { kafkaSnapshots } from "./kafka-snapshots.ts";
import { KafkaTails } from "./kafka-tail.ts";
import { windowStore } from "./kafka-windows.ts";
import { KafkaWorkers } from "./kafka-workers.ts";
import { noEngine } from "./no-engine.ts";
import type { PartState, ProcessConfig, ProcessDeps, ProcessPlaces } from "./process-config.ts";
import { openForQueriers, openQuerySide } from "./query-side.ts";
import { Receivers } from "./receivers.ts";
import { doesPart, type Role } from "./role.ts";
import { StoreSide } from "./store-side.ts";

/** How long a stop may take for what is not written or committed, and until it cuts answers off: the promise is 10 s in all. */
const DRAIN_MS = 6000;
const ANSWERS_MS = 8000;
const KAFKA_CLOSE_MS = 1000;
/** Age of what is known of the catalog at which the metrics have it read anew. */
const FRESHNESS_MS = 500;

/** What a process with a role has; null is what others do. */
interface Parts {
  readonly role: Role;
  readonly kafka: KafkaSide | null;
  readonly store: StoreSide | null;
  readonly appender: KafkaAppender | null;
  readonly receivers: Receivers | null;
  readonly workers: KafkaWorkers | null;
  /** Beside the store; workers have them. */
  readonly sinks: KafkaSinks | null;
  readonly queries: Queries | null;
}

interface Queries {
  readonly engine: Engine;
  readonly tails: KafkaTails;
  readonly freshness: Freshness;
}

/** One process of several that share an intake log in Kafka and a store; or all of their work in one (architecture, D6). */
export class KafkaProcess {
  private readonly parts: Parts;
  private readonly log: Logger;
  private readonly stopping = new AbortController();
  private http: HttpServer | null = null;
  private queriers: QuerierServer | null = null;

  private constructor(parts: Parts, log: Logger) {
    this.parts = parts;
    this.log = log;
  }

  /** Opens what the role needs, then listens. Rejects with one clear sentence, and leaves nothing open. */
  static async start(
    role: Role,
    config: ProcessConfig,
    places: ProcessPlaces,
    deps: ProcessDeps,
  ): Promise<KafkaProcess> {
    const process = new KafkaProcess(await openParts(role, config, places, deps), deps.log);
    try {
      await process.begin(config, deps);
      return process;
    } catch (error) {
      await process.stop(0);
      throw error;
    }
  }

  private async begin(config: ProcessConfig, { metrics, log, version }: ProcessDeps): Promise<void> {
    const { role, store, receivers, workers, sinks, queries } = this.parts;
    await workers?.start();
    sinks?.start();
    store?.start();
    const freshness = queries?.freshness.watch(this.stopping.signal);
    freshness?.catch((error: unknown) => log.fatal({ err: error }, "querier: no longer looks how far it is behind"));
    this.http = await openHttpSide(config, {
      ...{ metrics, log, version },
      engine: queries?.engine ?? noEngine(config.sections.query, role),
      ...(queries === null ? {} : deletesOf(store)),
      pushes: receivers?.pushes ?? [],
      ready: () => this.ready(),
      services: () => this.services(),
      flush: async () => workers?.flush(),
    });
    if (queries !== null) this.queriers = await openForQueriers(config.sections.query, queries.engine, log);
    await receivers?.listen();
  }

  /** Whether the process does its part now, and if not, why. */
  ready(): PartState {
    const { appender, workers, receivers, sinks } = this.parts;
    for (const part of [appender?.status(), workers?.state()]) {
      if (part !== undefined && !part.ready) return { ready: false, reason: part.reason };
    }
    // Topics of others that can't be read now keep nobody else from being received, and sinks nobody from storing.
    const troubles = [receivers?.trouble ?? "", sinks?.failure ?? ""];
    return { ready: true, reason: troubles.filter((one) => one !== "").join("; ") };
  }

  private services(): Readonly<Record<string, string>> {
    const { role, appender, workers, queries } = this.parts;
    return {
      server: "Running",
      ...(appender === null ? {} : { intake: appender.status().ready ? "Running" : "Stalled" }),
      ...(workers === null ? {} : { worker: workers.state().ready ? "Running" : "Failed" }),
      ...(queries === null ? {} : { querier: "Running" }),
      ...(doesPart(role, "compactor") ? { compactor: "Running" } : {}),
    };
  }

  get httpAddress(): string {
    return this.http?.address ?? "";
  }

  get querierAddress(): string {
    return this.queriers?.address ?? "";
  }

  get forwardAddresses(): readonly string[] {
    return this.parts.receivers?.addresses ?? [];
  }

  /** Stops reading, has Kafka take what has come, commits what was read from it, and closes everything. */
  async stop(drainMs: number = DRAIN_MS): Promise<void> {
    const { kafka, store, appender, receivers, workers, sinks, queries } = this.parts;
    const drainLeft = countdown(drainMs);
    const answersLeft = countdown(ANSWERS_MS);
    this.stopping.abort();
    const sinksStopped = sinks?.stop();
    await Promise.all([receivers?.stop(), this.http?.stopPushes()]);
    await appender?.close();
    if (workers !== null && !(await workers.drain(drainLeft()))) {
      this.log.warn("stop: the store did not take everything in time; the next worker reads the rest again");
    }
    await sinksStopped;
    await this.http?.close(answersLeft());
    await this.queriers?.close();
    if (queries !== null) await endsWithin(queries.tails.close(), KAFKA_CLOSE_MS);
    await queries?.engine.close();
    await store?.stop();
    await workers?.stop();
    if (kafka !== null) await endsWithin(kafka.close(), KAFKA_CLOSE_MS);
    await store?.close();
  }
}

function deletesOf(store: StoreSide | null): { readonly deletes: DeleteService } | Record<string, never> {
  return store === null ? {} : { deletes: store.forgetting.service };
}

function openParts(role: Role, config: ProcessConfig, places: ProcessPlaces, deps: ProcessDeps): Promise<Parts> {
  const { sections } = config;
  return allOrNothing(async (onFailure) => {
    const kafka = await openKafka(role, sections.intake, deps.log);
    if (kafka !== null) onFailure(() => kafka.close());
    const store = await openStore(role, config, places, { ...deps, kafka });
    if (store !== null) onFailure(() => store.close());
    const appender = kafka !== null && doesPart(role, "receiver") ? await openAppender(kafka, deps) : null;
    if (appender !== null) onFailure(() => appender.close());
    const receivers = appender === null ? null : new Receivers(config, { ...deps, intake: appender });
    const shared = kafka === null || store === null ? null : { kafka, store };
    const works = shared !== null && doesPart(role, "worker");
    const working = works
      ? { ...deps, kafka: shared.kafka, objects: shared.store.objects, catalog: shared.store.catalog }
      : null;
    const workers = working === null ? null : new KafkaWorkers(config, working);
    const sinks = working === null ? null : new KafkaSinks(config, places.dataDir, working);
    const queries = shared !== null && doesPart(role, "querier") ? openQueries(config, shared, deps) : null;
    return { role, kafka, store, appender, receivers, workers, sinks, queries };
  });
}

async function openKafka(
  role: Role,
  intake: ProcessConfig["sections"]["intake"],
  log: Logger,
): Promise<KafkaSide | null> {
  if (role === "compactor") return null;
  if (intake.type !== "kafka") throw new Error(`a ${role} over an intake log on disk: checkRole refuses that`);
  return KafkaSide.open(intake, log);
}

/** What a receiver has no use for. Only one with the compactor's part compacts. */
async function openStore(
  role: Role,
  { sections }: ProcessConfig,
  places: ProcessPlaces,
  deps: ProcessDeps & { readonly kafka: KafkaSide | null },
): Promise<StoreSide | null> {
  if (role === "receiver") return null;
  const { kafka } = deps;
  const intakeEnds = () =>
    kafka === null
      ? Promise.reject(new WeirError("no_intake", "a compactor takes no deletion requests; send them to a querier"))
      : kafka.ends();
  return StoreSide.open(sections, places, { ...deps, intakeEnds, compacts: doesPart(role, "compactor") });
}

function openAppender({ options, admin, client }: KafkaSide, { metrics, log }: ProcessDeps): Promise<KafkaAppender> {
  const producer = new KafkaProducer({ client, log, ...producerOptions(options) });
  return KafkaAppender.open(options, { producer, admin, metrics, log });
}

function producerOptions({ compression, request_timeout_ms }: KafkaIntakeOptions) {
  return { compression, timeoutMs: request_timeout_ms };
}

function openQueries(
  config: ProcessConfig,
  { kafka, store }: { readonly kafka: KafkaSide; readonly store: StoreSide },
  { metrics, log, version }: ProcessDeps,
): Queries {
  const { catalog, objects } = store;
  const tails = new KafkaTails(config, { kafka, windows: windowStore(objects), metrics, log });
  const snapshots = kafkaSnapshots({ catalog, kafka, tails });
  const freshness = new Freshness({
    ...{ metrics, log, now: () => performance.now() },
    offsets: () => kafka.offsets(),
    refresh: () => snapshots.refresh(FRESHNESS_MS),
    chainEnd: (partition) => catalog.chainEnd(partition),
  });
  return {
    engine: openQuerySide(config.sections.query, store, snapshots, { metrics, log, version }),
    tails,
    freshness,
  };
}
