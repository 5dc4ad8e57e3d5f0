import os from "node:os";
import { WeirError } from "../core/errors.ts";
import type { IntakeLog } from "../intake/intake.ts";
import type { StoreOptions } from "../store/options.ts";
import { LocalWorkers } from "./local-workers.ts";
import type { WorkerConfig } from "./partition-worker.ts";
import type { PartDeps } from "./process-config.ts";
import type { StoreSide } from "./store-side.ts";
import { threadUrl } from "./thread-host.ts";
import { ThreadWorkers } from "./thread-workers.ts";
import { withoutRecordSinks } from "./worker-config.ts";
import type { WorkerOptions } from "./worker-options.ts";
import type { Workers } from "./workers.ts";

/** What a partition's open and pending blocks get at least, however many partitions there are. */
const MEMORY_BYTES_MIN = 1024 * 1024;

/** How many threads a process has for its workers; 0: they run in the main thread. */
export function workerThreads({ threads }: WorkerOptions): number {
  if (threads !== "auto") return threads;
  // A thread runs what was built. From the sources, as tests run them, only who asks for threads gets the built ones.
  if (import.meta.url.endsWith(".ts")) return 0;
  return Math.max(1, os.availableParallelism() - 1);
}

export interface OpenWorkers extends PartDeps {
  readonly intake: IntakeLog;
  readonly store: Pick<StoreSide, "objects" | "objectsUrl" | "catalog">;
  /** Partitions that new entries go to. There may be more, which an earlier start has left. */
  readonly written: number;
}

/**
 * The workers of all partitions of an intake log, not started yet: in so many threads, or in this one. Throws `bad_pipeline`, and
 * `bad_setting` for threads over a store in memory, or where they were not built.
 */
export function openWorkers(config: WorkerConfig, threads: number, deps: OpenWorkers): Workers {
  const { intake, store, metrics, log, written } = deps;
  const { objects, objectsUrl, catalog } = store;
  const partitions = Array.from({ length: intake.partitions }, (_, partition) => partition);
  const busy = partitions.filter((partition) => {
    return partition < written || intake.nextOffset(partition) > catalog.chainEnd(partition);
  });
  const own = withShare(withoutRecordSinks(config), busy.length);
  if (threads === 0) return new LocalWorkers(own, partitions, { intake, objects, catalog, metrics, log });
  const url = threadUrl();
  if (url === null) throw new WeirError("bad_setting", "workers: there are no built threads to run; build, or set 0");
  const shares = Array.from({ length: threads }, (_, thread) =>
    partitions.filter((partition) => partition % threads === thread),
  );
  return new ThreadWorkers(own, shares, { url, objectsUrl, intake, catalog, metrics, log });
}

/** What is meant for the whole process is divided among those of its partitions that have something to do. */
function withShare({ pipelines, sinks, sections }: WorkerConfig, parts: number): WorkerConfig {
  const { store, limits } = sections;
  const memory_bytes = Math.max(MEMORY_BYTES_MIN, Math.floor(store.memory_bytes / Math.max(1, parts)));
  const share: StoreOptions = { ...store, memory_bytes };
  return { pipelines, sinks, sections: { store: share, limits } };
}
