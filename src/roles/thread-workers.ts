import { messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { endsWithin } from "../core/wait.ts";
import type { IntakeLog } from "../intake/intake.ts";
import type { Snapshots, TailSource, TailWanted, TakenLines, WantedLines } from "../query/snapshots.ts";
import type { Catalog } from "../store/catalog.ts";
import { PoolSlots } from "../store/pool-slots.ts";
import type { StoreSnapshot } from "../store/view.ts";
import type { WorkerConfig } from "./partition-worker.ts";
import type { PartState } from "./process-config.ts";
import { type Blocks, ThreadHost } from "./thread-host.ts";
import type { Offsets, ThreadSetup } from "./worker-messages.ts";
import type { Workers } from "./workers.ts";

/** How often a snapshot is taken anew because a worker has come further than the catalog is known here. */
const TRIES = 3;

export interface ThreadWorkersDeps {
  /** The built thread. */
  readonly url: URL;
  readonly objectsUrl: string;
  readonly intake: IntakeLog;
  readonly catalog: Catalog;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Threads of libuv's pool unless the environment says another number, and those that compression leaves alone. */
const POOL_THREADS = 4;
const POOL_THREADS_LEFT = 2;

/** One thread's part of a tail. */
interface ThreadTail {
  readonly host: ThreadHost;
  /** By what its tail is called. */
  readonly id: number;
}

/** What one thread has said to a question about its blocks. */
interface Heard extends ThreadTail {
  readonly blocks: Blocks;
  readonly from: Offsets;
}

/**
 * Workers in threads of their own, each with some partitions.
 *
 * How a line is in exactly one place of a snapshot: the view of the catalog is taken first, together with how far it reaches in each
 * partition, and the threads are asked for all that comes after. A thread keeps what it has committed until this side says that its
 * catalog has it (`known`), so what the view lacks is still there. A live tail begins in the tick in which its thread takes the
 * snapshot.
 */
export class ThreadWorkers implements Workers {
  readonly snapshots: Snapshots = {
    take: async (wanted) => (await this.look((host, inCatalog) => askSnapshot(host, wanted, inCatalog))).snapshot,
    tail: (tail, wanted) => this.tail(tail, wanted),
  };
  private readonly hosts: readonly ThreadHost[];
  private readonly catalog: Catalog;
  private readonly partitions: readonly number[];

  constructor(config: WorkerConfig, shares: readonly (readonly number[])[], deps: ThreadWorkersDeps) {
    const { url, objectsUrl, intake, catalog, metrics, log } = deps;
    // What pino takes for a level is one of ours: the logger was made with it.
    const logLevel = log.level as ThreadSetup["logLevel"];
    this.catalog = catalog;
    this.partitions = shares.flat();
    const slots = shares.length === 1 ? null : PoolSlots.create(poolPlaces(process.env), shares.length);
    this.hosts = shares.map((partitions, thread) => {
      const setup = { config, objectsUrl, partitions, logLevel, thread, slots };
      return new ThreadHost({ setup, url, intake, catalog, log });
    });
    metrics.addSource(async () => (await Promise.all(this.hosts.map((host) => host.metrics()))).flat());
  }

  async start(): Promise<void> {
    await Promise.all(this.hosts.map((host) => host.start()));
  }

  state(): PartState {
    const reasons = this.hosts.flatMap(({ state }) => (state.ready ? [] : [state.reason]));
    return { ready: reasons.length === 0, reason: reasons.join("; ") };
  }

  async flush(): Promise<void> {
    await Promise.all(this.hosts.map((host) => host.ask<"flush">({ type: "flush" })));
  }

  async drain(ms: number): Promise<boolean> {
    const drained = Promise.all(this.hosts.map((host) => host.drain()));
    let isDone = false;
    // One that is away drains nothing: the rest stays in the intake log.
    drained.then(
      () => {
        isDone = true;
      },
      () => {},
    );
    await endsWithin(drained, ms);
    return isDone;
  }

  async stop(): Promise<void> {
    await Promise.all(this.hosts.map((host) => host.stop()));
  }

  private async tail(tail: TailWanted, wanted: WantedLines): Promise<TailSource> {
    const queueBytes = Math.ceil(tail.queueBytes / this.hosts.length);
    const { snapshot, heard } = await this.look((host, inCatalog) =>
      askTail(host, { ...tail, queueBytes }, wanted, inCatalog),
    );
    // Not the blocks: a tail lasts long.
    const tails = heard.map(({ host, id }) => ({ host, id }));
    const close = () => closeTails(tails);
    // A tail that leaves out what a worker has would be no tail.
    if (snapshot.missing !== undefined && snapshot.missing.length > 0) {
      close();
      throw new WeirError("worker_away", snapshot.missing.join("; "), { retriable: true });
    }
    return { snapshot, close, take: (delayMs) => takeLines(tails, delayMs) };
  }

  /** Asks all threads for what the catalog's view of this moment lacks. */
  private async look(
    ask: (host: ThreadHost, inCatalog: Offsets) => Promise<Heard>,
  ): Promise<{ snapshot: StoreSnapshot; heard: readonly Heard[] }> {
    for (let tries = 1; ; tries++) {
      const segments = this.catalog.view();
      const inCatalog = this.reach();
      const settled = await Promise.allSettled(this.hosts.map((host) => ask(host, inCatalog)));
      const heard = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
      const missing = settled.flatMap((one) =>
        one.status === "rejected"
          ? [`lines that are not in the store yet may be missing: ${messageOf(one.reason)}`]
          : [],
      );
      // Another process, or a thread that died just then, has committed what is not known here.
      const isBehind = heard.some(({ from }) =>
        Object.entries(from).some(([partition, first]) => first > (inCatalog[Number(partition)] ?? 0)),
      );
      if (!isBehind || tries === TRIES) {
        const pending = heard.flatMap(({ blocks }) => blocks.pending);
        const open = heard.flatMap(({ blocks }) => blocks.open);
        return { snapshot: { segments, pending, open, missing }, heard };
      }
      closeTails(heard);
      await this.catalog.refreshAnew();
    }
  }

  private reach(): Offsets {
    return Object.fromEntries(this.partitions.map((partition) => [partition, this.catalog.chainEnd(partition)]));
  }
}

/** Blocks that may be in libuv's pool at one time, so that the intake log's writes have threads of it for themselves. */
function poolPlaces({ UV_THREADPOOL_SIZE: size }: NodeJS.ProcessEnv): number {
  const threads = Number(size);
  return Math.max(1, (threads > 0 ? threads : POOL_THREADS) - POOL_THREADS_LEFT);
}

async function askSnapshot(host: ThreadHost, wanted: WantedLines, inCatalog: Offsets): Promise<Heard> {
  const { id, blocks, answer } = await host.askWith<"snapshot">({ type: "snapshot", wanted, inCatalog });
  return { host, id, blocks, from: answer.from };
}

async function askTail(host: ThreadHost, tail: TailWanted, wanted: WantedLines, inCatalog: Offsets): Promise<Heard> {
  const { id, blocks, answer } = await host.askWith<"tail">({ type: "tail", tail, wanted, inCatalog });
  return { host, id, blocks, from: answer.from };
}

function closeTails(heard: readonly ThreadTail[]): void {
  for (const { host, id } of heard) host.untail(id);
}

/** New lines of all threads, oldest first. Rejects with `worker_away` where one died: what it had is not lost, but tailed anew. */
async function takeLines(heard: readonly ThreadTail[], delayMs: number): Promise<TakenLines> {
  const taken = await Promise.all(heard.map(({ host, id }) => host.ask<"take">({ type: "take", tail: id, delayMs })));
  const entries = taken.flatMap((one) => one.entries.map((entry) => ({ ...entry, line: bufferOf(entry.line) })));
  if (taken.length > 1) entries.sort((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
  return { entries, dropped: taken.flatMap(({ dropped }) => dropped) };
}

/** What was a Buffer in the thread. */
function bufferOf(line: Uint8Array): Buffer {
  return Buffer.from(line.buffer, line.byteOffset, line.length);
}
