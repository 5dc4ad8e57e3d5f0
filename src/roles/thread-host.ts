import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker as Thread } from "node:worker_threads";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { MetricsJson } from "../core/metrics.ts";
import { sumsOf } from "../core/metrics.ts";
import { endsWithin, sleepFor } from "../core/wait.ts";
import type { IntakeLog } from "../intake/intake.ts";
import type { Catalog } from "../store/catalog.ts";
import type { CatalogEntry } from "../store/catalog-entry.ts";
import { PoolSlots } from "../store/pool-slots.ts";
import { EntryFeeder } from "./entry-feeder.ts";
import { unpackPart } from "./pack-snapshot.ts";
import type { PartState } from "./process-config.ts";
import type { Answers, FromThread, ThreadSetup, ToThread } from "./worker-messages.ts";

/** Heap of one thread. Lines and blocks are outside of it; it holds streams, labels and what is remembered of them. */
const HEAP_MB = 1024;
/** Wait before a thread that died is begun again: doubled each time, until one has lived for a while. */
const RESTART_FIRST_MS = 200;
const RESTART_LAST_MS = 30_000;
const LIVED_MS = 60_000;
/** How long a thread may take to let go, until it is ended. */
const STOP_MS = 1000;
/** How long a scrape waits for a thread that has much to do. */
const METRICS_MS = 1000;

/** What is asked of a thread. */
export type Asked<K extends keyof Answers> = Omit<Extract<ToThread, { type: K; id: number }>, "id">;

/** Blocks that came before the answer of a snapshot. */
export type Blocks = ReturnType<typeof unpackPart>;

interface Question {
  readonly blocks: { pending: Blocks["pending"]; open: Blocks["open"] };
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export interface ThreadHostDeps {
  readonly setup: ThreadSetup;
  readonly url: URL;
  readonly intake: IntakeLog;
  readonly catalog: Catalog;
  readonly log: Logger;
}

/** The built thread: beside this file in dist, or in dist when this runs from the sources; null when it was not built. */
export function threadUrl(): URL | null {
  const here = new URL(import.meta.url);
  const built = here.pathname.endsWith(".ts")
    ? new URL("../../dist/src/roles/worker-thread.js", here)
    : new URL("./worker-thread.js", here);
  return existsSync(fileURLToPath(built)) ? built : null;
}

/**
 * The main thread's end of one worker thread. A thread that dies is begun again where the chains of its partitions end, after a
 * pause; meanwhile the intake log takes entries as before. Questions that it had are rejected with `worker_away`.
 */
export class ThreadHost {
  readonly partitions: readonly number[];
  private readonly deps: ThreadHostDeps;
  private thread: Thread | null = null;
  private readonly questions = new Map<number, Question>();
  private nextQuestion = 0;
  /** By the reader's number in the thread. */
  private readonly feeders = new Map<number, EntryFeeder>();
  /** Of each partition, the end of the feeder before: only one reads at a time. */
  private readonly freed = new Map<number, Promise<void>>();
  private reason: string | null = "the worker is starting";
  private hasBegun = false;
  private deaths = 0;
  private startedMs = 0;
  private readonly stopping = new AbortController();
  private onStarted: (error: unknown) => void = () => {};
  private lastMetrics: MetricsJson = [];
  /** Sums of threads that are gone. */
  private goneMetrics: MetricsJson = [];

  constructor(deps: ThreadHostDeps) {
    this.deps = deps;
    this.partitions = deps.setup.partitions;
  }

  /** Resolves when the thread has begun. Rejects when it can't, with what it said. */
  start(): Promise<void> {
    this.spawn();
    return new Promise((resolve, reject) => {
      this.onStarted = (error) => {
        this.onStarted = () => {};
        if (error === null) resolve();
        else reject(error);
      };
    });
  }

  get state(): PartState {
    return { ready: this.reason === null, reason: this.reason ?? "" };
  }

  /** Rejects with `worker_away` while there is no thread, and when it dies before it has answered. */
  async ask<K extends keyof Answers>(question: Asked<K>): Promise<Answers[K]> {
    return (await this.askWith(question)).answer;
  }

  /** The same, with the blocks that came along. `id` is by what a tail is called later. */
  askWith<K extends keyof Answers>(question: Asked<K>): Promise<{ id: number; answer: Answers[K]; blocks: Blocks }> {
    const { thread } = this;
    if (thread === null || this.reason !== null) return Promise.reject(this.away());
    const id = this.nextQuestion++;
    const blocks: Question["blocks"] = { pending: [], open: [] };
    return new Promise((resolve, reject) => {
      // What a question is answered with is as the table of answers says.
      const done = (answer: unknown) => resolve({ id, answer: answer as Answers[K], blocks });
      this.questions.set(id, { blocks, resolve: done, reject });
      thread.postMessage({ ...question, id });
    });
  }

  /** To be called when nobody listens to the tail any more. */
  untail(tail: number): void {
    this.post({ type: "untail", tail });
  }

  /** What the thread has measured, and those before it. Of one that does not answer, what it said last. */
  async metrics(): Promise<readonly MetricsJson[]> {
    const asked = this.ask<"metrics">({ type: "metrics", ends: this.ends() }).then((metrics) => {
      this.lastMetrics = metrics;
    });
    await endsWithin(asked, METRICS_MS);
    return [this.lastMetrics, this.goneMetrics];
  }

  /** Takes all that the intake log has for these partitions, and commits it. */
  async drain(): Promise<void> {
    await this.ask<"drain">({ type: "drain", ends: this.ends() });
  }

  /** Ends the thread, whatever it has under way, within about a second. */
  async stop(): Promise<void> {
    this.stopping.abort();
    const { thread } = this;
    this.post({ type: "stop" });
    if (thread !== null) {
      const gone = new Promise((resolve) => thread.once("exit", resolve));
      if (!(await endsWithin(gone, STOP_MS))) await thread.terminate();
    }
    await this.closeFeeders();
  }

  private ends(): Record<number, number> {
    const { intake } = this.deps;
    return Object.fromEntries(this.partitions.map((partition) => [partition, intake.nextOffset(partition)]));
  }

  private away(): WeirError {
    const reason = this.reason ?? "the worker has ended";
    return new WeirError("worker_away", reason, { retriable: true, context: { partitions: this.partitions } });
  }

  private post(message: ToThread, memory: readonly ArrayBuffer[] = []): void {
    this.thread?.postMessage(message, memory);
  }

  private spawn(): void {
    const { setup, url } = this.deps;
    const thread = new Thread(url, { workerData: setup, resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } });
    let cause: unknown = null;
    this.thread = thread;
    this.startedMs = performance.now();
    thread.on("message", (message: FromThread) => {
      if (this.thread === thread) this.onMessage(message);
    });
    thread.on("error", (error) => {
      cause = error;
    });
    thread.on("exit", (code) => this.onExit(thread, cause ?? new Error(`ended with code ${code}`)));
  }

  private onMessage(message: FromThread): void {
    const { intake } = this.deps;
    switch (message.type) {
      case "started":
        this.reason = null;
        this.hasBegun = true;
        this.onStarted(null);
        return;
      case "read":
        this.feed(message.reader, message.partition, message.from);
        return;
      case "taken":
        this.feeders.get(message.reader)?.taken(message.entries, message.bytes);
        return;
      case "unread":
        this.endFeeder(message.reader);
        return;
      case "committed":
        this.learn(message.entry);
        return;
      case "done":
        intake.commit(message.partition, message.next).catch((error: unknown) => this.broken(error));
        return;
      case "part":
        this.addPart(message);
        return;
      case "answer":
        this.close(message.id)?.resolve(message.answer);
        return;
      case "refused":
        this.close(message.id)?.reject(new WeirError(message.code, message.message));
    }
  }

  /** Takes an entry into the catalog here. The thread keeps what it covers until then. */
  private learn(entry: CatalogEntry): void {
    const { catalog, log } = this.deps;
    const { partition, first } = entry;
    const known = () => this.post({ type: "known", partition, next: catalog.chainEnd(partition) });
    if (first !== catalog.chainEnd(partition) && !catalog.has(partition, first)) {
      // Entries before it have been committed by others, or by a thread that died before it could say so.
      catalog.refreshAnew().then(known, (failure: unknown) => {
        log.warn({ partition, err: failure }, `catalog: can't be read anew: ${messageOf(failure)}`);
      });
      return;
    }
    catalog.add(entry);
    known();
  }

  private addPart({ id, part }: Extract<FromThread, { type: "part" }>): void {
    const blocks = this.questions.get(id)?.blocks;
    if (blocks === undefined) return;
    const { pending, open } = unpackPart(part);
    blocks.pending.push(...pending);
    blocks.open.push(...open);
  }

  private close(id: number): Question | undefined {
    const question = this.questions.get(id);
    this.questions.delete(id);
    return question;
  }

  private feed(reader: number, partition: number, from: number): void {
    const { thread } = this;
    const begin = () => {
      if (this.thread !== thread || this.stopping.signal.aborted) return;
      const feeder = new EntryFeeder(from, {
        intake: this.deps.intake,
        partition,
        send: (entries, through, memory) => this.post({ type: "entries", reader, entries, through }, memory),
      });
      this.feeders.set(reader, feeder);
      feeder.ended().catch((error: unknown) => this.broken(error));
    };
    const freed = this.freed.get(partition) ?? Promise.resolve();
    freed.then(begin).catch((error: unknown) => this.broken(error));
  }

  private endFeeder(reader: number): void {
    const feeder = this.feeders.get(reader);
    this.feeders.delete(reader);
    if (feeder === undefined) return;
    // Whatever became of it, another may read then; its error was said when it came.
    const freed = feeder.close().then(() => feeder.ended());
    this.freed.set(
      feeder.partition,
      freed.catch(() => {}),
    );
  }

  private async closeFeeders(): Promise<void> {
    for (const reader of [...this.feeders.keys()]) this.endFeeder(reader);
    await Promise.all(this.freed.values());
  }

  /** What can't be mended here: the thread goes, and begins anew. */
  private broken(error: unknown): void {
    this.deps.log.error({ err: error, partitions: this.partitions }, `worker: ${messageOf(error)}`);
    void this.thread?.terminate();
  }

  private onExit(thread: Thread, cause: unknown): void {
    if (this.thread !== thread) return;
    this.thread = null;
    const { slots, thread: number } = this.deps.setup;
    if (slots !== null) new PoolSlots(slots, number).giveAll();
    const { log } = this.deps;
    const { partitions } = this;
    const isStopping = this.stopping.signal.aborted;
    this.reason = isStopping
      ? "the process is stopping"
      : `the worker of partition ${partitions.join(", ")} has died and begins again: ${messageOf(cause)}`;
    for (const { reject } of this.questions.values()) reject(this.away());
    this.questions.clear();
    this.onStarted(new WeirError(codeOf(cause) || "worker_failed", messageOf(cause), { cause }));
    // Whoever waits for the first start has been told.
    if (isStopping || !this.hasBegun) return;
    log.fatal({ err: cause, partitions }, `worker: ${this.reason}`);
    this.restart().catch((error: unknown) => {
      this.reason = `the worker of partition ${partitions.join(", ")} can't begin again: ${messageOf(error)}`;
      log.fatal({ err: error, partitions }, this.reason);
    });
  }

  private async restart(): Promise<void> {
    if (performance.now() - this.startedMs >= LIVED_MS) this.deaths = 0;
    const pauseMs = Math.min(RESTART_LAST_MS, RESTART_FIRST_MS * 2 ** Math.min(this.deaths++, 20));
    this.goneMetrics = await sumsOf([this.goneMetrics, this.lastMetrics]);
    this.lastMetrics = [];
    await this.closeFeeders();
    const { signal } = this.stopping;
    await sleepFor(pauseMs, signal);
    if (!signal.aborted) this.spawn();
  }
}
