import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import {
  type BatchBlock,
  type BatchResult,
  emptyResult,
  ScanControl,
  type ScanExecutor,
  type ScanJob,
} from "./scan-job.ts";

/** Batches that a worker holds at one time: one under way, and the next, so that it never waits for the main thread. */
const BATCHES_HELD = 2;
/** The same where blocks come over the network: 5 MiB on their way while one is scanned, which is 10 ms, hide some 50 ms of waiting. */
const BATCHES_HELD_REMOTE = 6;
/** Heap of one worker. Blocks are outside of it; what a query builds from lines is bounded by its limit. */
const WORKER_HEAP_MB = 512;
/** How long a worker may go on with a block after its query was stopped, before it is taken for stuck and replaced. */
const STUCK_MS = 10_000;

/** Main thread to worker. */
export type ToWorker =
  | { readonly type: "job"; readonly job: ScanJob }
  | { readonly type: "batch"; readonly job: number; readonly batch: number; readonly blocks: readonly BatchBlock[] }
  | { readonly type: "end"; readonly job: number };

/** Worker to main thread: a batch is done, or its query can't be run. */
export type FromWorker =
  | { readonly batch: number; readonly result: BatchResult }
  | { readonly batch: number; readonly error: { readonly code: string; readonly message: string } };

export interface WorkerSetup {
  /** Where the object store is: workers open it themselves. */
  readonly objectsUrl: string;
  /** Whether it is reached over the network. */
  readonly isRemote?: boolean;
}

interface Task {
  readonly number: number;
  readonly job: ScanJob;
  readonly blocks: readonly BatchBlock[];
  readonly resolve: (result: BatchResult) => void;
  readonly reject: (error: unknown) => void;
}

interface Member {
  readonly worker: Worker;
  readonly jobs: Set<number>;
  readonly tasks: Map<number, Task>;
}

/** The built worker: beside this file in dist, or in dist when this runs from the sources; null when it was not built. */
export function workerUrl(): URL | null {
  const here = new URL(import.meta.url);
  const built = here.pathname.endsWith(".ts")
    ? new URL("../../dist/src/query/scan-worker.js", here)
    : new URL("./scan-worker.js", here);
  return existsSync(fileURLToPath(built)) ? built : null;
}

/**
 * Worker threads that scan blocks. They are started at the first query (over a remote store at once) and kept. Batches of different queries take
 * turns, so that a small query does not wait for a big one to end. A worker that dies fails the queries whose
 * batches it held (`query_worker_failed`) and is replaced.
 */
export class ScanPool implements ScanExecutor {
  readonly parallel: number;
  readonly ahead: number;
  private readonly held: number;
  private readonly url: URL;
  private readonly setup: WorkerSetup;
  private readonly log: Logger;
  private readonly members = new Set<Member>();
  /** Batches that wait, by query; the queries take turns in the order of the map. */
  private readonly waiting = new Map<number, Task[]>();
  private nextBatch = 0;
  private closed = false;
  private isStarting = false;
  /** Workers that are still to be started before there is a query. */
  private toWarm = 0;

  constructor(threads: number, url: URL, setup: WorkerSetup, log: Logger) {
    this.parallel = threads;
    this.held = setup.isRemote === true ? BATCHES_HELD_REMOTE : BATCHES_HELD;
    // One more for each worker, to be handed out at once when it is done with another.
    this.ahead = threads * (this.held + 1);
    this.url = url;
    this.setup = setup;
    this.log = log;
    // A remote store's library takes some 0.3 s to load: not at the first query's expense.
    if (setup.isRemote === true) this.toWarm = threads;
    this.startNext();
  }

  run(job: ScanJob, blocks: readonly BatchBlock[]): Promise<BatchResult> {
    if (this.closed) return Promise.reject(new WeirError("query_closed", "queries: the process is stopping"));
    return new Promise((resolve, reject) => {
      const task: Task = { number: this.nextBatch++, job, blocks, resolve, reject };
      const queue = this.waiting.get(job.id);
      if (queue === undefined) this.waiting.set(job.id, [task]);
      else queue.push(task);
      this.fill();
    });
  }

  /** The workers see the control by themselves, and those that don't are stuck. What waits need not be begun. */
  stop(job: ScanJob): void {
    for (const task of this.waiting.get(job.id) ?? []) task.resolve(emptyResult());
    this.waiting.delete(job.id);
    for (const member of this.members) this.watchStopped(member, job);
  }

  end(job: ScanJob): void {
    for (const task of this.waiting.get(job.id) ?? []) task.reject(stopped());
    this.waiting.delete(job.id);
    for (const member of this.members) {
      if (member.jobs.delete(job.id)) member.worker.postMessage({ type: "end", job: job.id } satisfies ToWorker);
      this.watchStopped(member, job);
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const queue of this.waiting.values()) for (const task of queue) task.reject(stopped());
    this.waiting.clear();
    await Promise.all([...this.members].map(({ worker }) => worker.terminate()));
  }

  private fill(): void {
    this.startNext();
    for (let ahead = 0; ahead < this.held; ahead++) {
      for (const member of this.members) if (member.tasks.size === ahead) this.give(member);
    }
  }

  private give(member: Member): void {
    const next = this.waiting.entries().next();
    if (next.done === true) return;
    const [id, queue] = next.value;
    const task = queue.shift();
    this.waiting.delete(id);
    if (queue.length > 0) this.waiting.set(id, queue);
    if (task === undefined) return;
    if (!member.jobs.has(id)) {
      member.jobs.add(id);
      member.worker.postMessage({ type: "job", job: task.job } satisfies ToWorker);
    }
    member.tasks.set(task.number, task);
    const message: ToWorker = { type: "batch", job: id, batch: task.number, blocks: task.blocks };
    member.worker.postMessage(message, transferable(task.blocks));
  }

  /**
   * Starts the workers that are missing, as soon as there is something to do: the next batches are about to come. One in a
   * turn of the event loop, because each start holds it for some 10 ms.
   */
  private startNext(): void {
    const isWanted = this.waiting.size > 0 || this.toWarm > 0;
    if (this.isStarting || this.closed || !isWanted || this.members.size >= this.parallel) return;
    this.toWarm = Math.max(0, this.toWarm - 1);
    this.start();
    this.isStarting = true;
    setImmediate(() => {
      this.isStarting = false;
      this.fill();
    });
  }

  private start(): void {
    const worker = new Worker(this.url, {
      workerData: this.setup,
      resourceLimits: { maxOldGenerationSizeMb: WORKER_HEAP_MB },
    });
    worker.unref();
    const member: Member = { worker, jobs: new Set(), tasks: new Map() };
    this.members.add(member);
    worker.on("message", (message: FromWorker) => this.onMessage(member, message));
    worker.on("error", (error) => this.onGone(member, messageOf(error)));
    worker.on("exit", (code) => this.onGone(member, `ended with code ${code}`));
  }

  private onMessage(member: Member, message: FromWorker): void {
    const task = member.tasks.get(message.batch);
    member.tasks.delete(message.batch);
    // The worker's next batch goes out before the answer is looked at: that is what keeps it busy.
    this.fill();
    if (task === undefined) return;
    if ("result" in message) task.resolve(message.result);
    else task.reject(new WeirError(message.error.code, message.error.message));
  }

  private onGone(member: Member, reason: string): void {
    if (!this.members.delete(member)) return;
    if (!this.closed) this.log.error({ reason }, "query: a scan worker died; it is replaced");
    for (const task of member.tasks.values()) {
      task.reject(
        new WeirError("query_worker_failed", `a scan worker died while it read for this query (${reason}); try again`, {
          retriable: true,
        }),
      );
    }
    member.tasks.clear();
    if (!this.closed) this.fill();
  }

  /** Replaces a worker that does not come back from a query that was stopped. */
  private watchStopped(member: Member, job: ScanJob): void {
    const held = [...member.tasks.values()].filter((task) => task.job.id === job.id);
    if (held.length === 0) return;
    new ScanControl(job.control, job.backward).stop();
    const timer = setTimeout(() => {
      if (!held.some((task) => member.tasks.has(task.number))) return;
      this.log.error({ query: job.query }, "query: a scan worker is stuck; it is replaced");
      void member.worker.terminate();
    }, STUCK_MS);
    timer.unref();
  }
}

function stopped(): WeirError {
  return new WeirError("query_cancelled", "the request was cancelled by the client");
}

/** Members that are not in the store yet were copied for the worker (`PlannedBlock` to `BatchBlock`): hand them over. */
function transferable(blocks: readonly BatchBlock[]): ArrayBuffer[] {
  return blocks.flatMap(({ bytes }) => (bytes === null ? [] : [bytes.buffer as ArrayBuffer]));
}
