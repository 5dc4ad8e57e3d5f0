import type { HttpOptions } from "../api/options.ts";
import type { Config } from "../config/config.ts";
import type { FileOps } from "../core/files.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { IntakeOptions } from "../intake/intake-options.ts";
import type { S3Options } from "../objects/options.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { Limits } from "../pipeline/options.ts";
import type { IngestOptions } from "../push/options.ts";
import type { QueryOptions } from "../query/options.ts";
import type { CompactorOptions } from "../store/compact/options.ts";
import type { StoreOptions } from "../store/options.ts";
import type { RetentionOptions } from "../store/retention-options.ts";
import type { DeadLetterOptions } from "./dead-letter-options.ts";
import type { WorkerOptions } from "./worker-options.ts";

/** The sections of a pipeline file that a process needs. */
export type ProcessSections = {
  readonly store: StoreOptions;
  readonly compactor: CompactorOptions;
  readonly retention: RetentionOptions;
  readonly s3: S3Options;
  readonly dead_letters: DeadLetterOptions;
  readonly intake: IntakeOptions;
  readonly ingest: IngestOptions;
  readonly limits: Limits;
  readonly query: QueryOptions;
  readonly http: HttpOptions;
  readonly workers: WorkerOptions;
};

/** A checked pipeline file with the sections that a process needs. */
export type ProcessConfig = Config<ProcessSections>;

/** What all parts of a process share. */
export interface PartDeps {
  readonly metrics: Metrics;
  readonly log: Logger;
}

export interface ProcessDeps extends PartDeps {
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

/** Whether a part does its work now, and if not, why: a sentence. */
export interface PartState {
  readonly ready: boolean;
  readonly reason: string;
}
