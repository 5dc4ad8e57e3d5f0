import { WeirError } from "../../src/core/errors.ts";
import type { ObjectInfo, ObjectStore } from "../../src/objects/store.ts";
import type { Random } from "../random.ts";

interface Waiting {
  readonly actor: string;
  readonly go: () => void;
}

/**
 * Runs actors over one store so that their calls interleave at random but the same for a seed: each call waits until it is
 * drawn, and so does its answer. Time passes with each draw.
 */
export class Interleaver {
  nowMs = 1_700_000_000_000;
  private readonly random: Random;
  private readonly inner: ObjectStore;
  private waiting: Waiting[] = [];
  private readonly asleep = new Map<string, number>();

  constructor(random: Random, inner: (nowMs: () => number) => ObjectStore) {
    this.random = random;
    this.inner = inner(() => this.nowMs);
  }

  /** The store as one actor sees it. `fate` decides about each of its calls. */
  storeOf(actor: string, fate: () => "ok" | "fail" | "lost_answer" | "crash" = () => "ok"): ObjectStore {
    return new ActorStore(
      this.inner,
      (call) => this.run(actor, fate(), call),
      () => this.turn(actor),
    );
  }

  /** The store without anything in between. */
  get plain(): ObjectStore {
    return this.inner;
  }

  /** The actor's calls wait for as long. */
  sleep(actor: string, ms: number): void {
    this.asleep.set(actor, this.nowMs + ms);
  }

  turn(actor: string): Promise<void> {
    return new Promise((go) => {
      this.waiting.push({ actor, go });
    });
  }

  /** Draws until all of `actors` have ended. Rejects as the first of them that does. */
  async drive(actors: readonly Promise<void>[]): Promise<void> {
    let ended = false;
    const all = Promise.all(actors).finally(() => {
      ended = true;
    });
    // Its error is given by the last line; until then it is not unhandled.
    all.catch(() => {});
    while (!ended) {
      await new Promise((resolve) => setImmediate(resolve));
      this.nowMs += 1 + this.random.below(20);
      const awake = this.waiting.filter(({ actor }) => (this.asleep.get(actor) ?? 0) <= this.nowMs);
      if (awake.length === 0) continue;
      const drawn = this.random.pick(awake);
      this.waiting = this.waiting.filter((one) => one !== drawn);
      drawn.go();
    }
    await all;
  }

  private async run<T>(actor: string, fate: string, call: () => Promise<T>): Promise<T> {
    await this.turn(actor);
    if (fate === "crash") throw new Crash();
    if (fate === "fail") throw unavailable();
    const result = await call();
    await this.turn(actor);
    if (fate === "lost_answer") throw unavailable();
    return result;
  }
}

/** The process is gone: not retriable, and nobody catches it but the test. */
export class Crash extends Error {}

const unavailable = () => new WeirError("store_unavailable", "told to fail", { retriable: true });

class ActorStore implements ObjectStore {
  private readonly inner: ObjectStore;
  private readonly run: <T>(call: () => Promise<T>) => Promise<T>;
  private readonly turn: () => Promise<void>;

  constructor(inner: ObjectStore, run: <T>(call: () => Promise<T>) => Promise<T>, turn: () => Promise<void>) {
    this.inner = inner;
    this.run = run;
    this.turn = turn;
  }

  put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return this.run(() => this.inner.put(key, parts));
  }

  putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return this.run(() => this.inner.putIfAbsent(key, parts));
  }

  get(key: string): Promise<Buffer> {
    return this.run(() => this.inner.get(key));
  }

  getRange(key: string, start: number, length: number): Promise<Buffer> {
    return this.run(() => this.inner.getRange(key, start, length));
  }

  getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }> {
    return this.run(() => this.inner.getSuffix(key, length));
  }

  head(key: string): Promise<ObjectInfo | null> {
    return this.run(() => this.inner.head(key));
  }

  /** Page after page, as from a store that lists 1000 at a time: what changes between two is seen or not. */
  async *list(prefix: string, after?: string): AsyncIterable<ObjectInfo> {
    await this.run(async () => {});
    let n = 0;
    for await (const info of this.inner.list(prefix, after)) {
      yield info;
      if (++n % 5 === 0) await this.turn();
    }
  }

  delete(key: string): Promise<void> {
    return this.run(() => this.inner.delete(key));
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.delete(key);
  }

  async close(): Promise<void> {}
}
