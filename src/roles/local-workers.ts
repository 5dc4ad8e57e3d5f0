import { messageOf } from "../core/errors.ts";
import { endsWithin } from "../core/wait.ts";
import { localSnapshots } from "../query/local-snapshots.ts";
import type { Snapshots } from "../query/snapshots.ts";
import { PartitionWorker, type PartitionWorkerDeps, type WorkerConfig } from "./partition-worker.ts";
import type { PartState } from "./process-config.ts";
import type { Workers } from "./workers.ts";

/** Workers in this thread, one for each of some partitions. */
export class LocalWorkers implements Workers {
  readonly snapshots: Snapshots;
  private readonly members: readonly PartitionWorker[];
  private failure: string | null = null;

  /** Throws `bad_pipeline`. */
  constructor(config: WorkerConfig, partitions: readonly number[], deps: PartitionWorkerDeps) {
    this.members = partitions.map((partition) => new PartitionWorker(config, partition, deps));
    this.snapshots = localSnapshots(
      deps.catalog,
      this.members.map(({ writer }) => writer),
    );
  }

  async start(): Promise<void> {
    for (const { worker } of this.members) {
      await worker.start();
      worker.ended().catch((error: unknown) => {
        this.failure ??= `the worker has stopped: ${messageOf(error)}`;
      });
    }
  }

  state(): PartState {
    return { ready: this.failure === null, reason: this.failure ?? "" };
  }

  async flush(): Promise<void> {
    await Promise.all(this.members.map(({ worker }) => worker.flush()));
  }

  drain(ms: number): Promise<boolean> {
    return endsWithin(Promise.all(this.members.map(({ worker }) => worker.drain())), ms);
  }

  async stop(): Promise<void> {
    for (const { worker, writer } of this.members) {
      worker.stop();
      writer.discard();
    }
  }
}
