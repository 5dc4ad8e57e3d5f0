import { setTimeout as sleep } from "node:timers/promises";
import { WeirError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { kafkaReadMetrics } from "../../src/intake/kafka-read-metrics.ts";
import { encodeHeaders } from "../../src/intake/kafka-record.ts";
import { WindowRoom } from "../../src/intake/window-room.ts";
import { KafkaFeed } from "../../src/kafka/feed.ts";
import type { KafkaGroup } from "../../src/kafka/group.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { ObjectInfo, ObjectStore } from "../../src/objects/store.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import { KafkaMember } from "../../src/roles/kafka-member.ts";
import type { KafkaSide } from "../../src/roles/kafka-side.ts";
import { windowStore } from "../../src/roles/kafka-windows.ts";
import type { WorkerConfig } from "../../src/roles/partition-worker.ts";
import { type Catalog, openCatalog } from "../../src/store/catalog.ts";
import { defaultStoreOptions } from "../../src/store/options.ts";
import type { Random } from "../random.ts";
import { chunk } from "./sink-harness.ts";

type Messages = Parameters<KafkaFeed["push"]>[0];

/** How far back a record's repeat may stand. */
const REACH = 40;
/** How long Kafka keeps a record that is stored. */
const RETENTION_MS = 800;
const NEVER = new Promise<never>(() => {});

const CONFIG: WorkerConfig = {
  pipelines: [{ name: "all", from: ["in"], match: ["**"], line: ["log"], steps: [], to: ["store"] }],
  sinks: [{ name: "store", type: "store", options: {} }],
  sections: {
    store: { ...defaultStoreOptions, level: 1, flush_age_ms: 60 },
    limits: limitsOptions.parse({}),
  },
};

/** One process: what it sends to the store takes effect some time, whatever becomes of it meanwhile. */
class Process implements ObjectStore {
  readonly id: string;
  readonly metrics = new Metrics();
  isDead = false;
  /** Of 100 requests so many fail, and of as many the answer gets lost. */
  faults = 4;
  private readonly inner: ObjectStore;
  private readonly random: Random;
  private asleep: Promise<unknown> = Promise.resolve();

  constructor(id: string, inner: ObjectStore, random: Random) {
    this.id = id;
    this.inner = inner;
    this.random = random;
  }

  /** Does nothing for so long, as under SIGSTOP. */
  freeze(ms: number): void {
    this.asleep = sleep(ms);
  }

  put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return this.call(() => this.inner.put(key, parts));
  }
  putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return this.call(() => this.inner.putIfAbsent(key, parts));
  }
  get(key: string): Promise<Buffer> {
    return this.call(() => this.inner.get(key));
  }
  getRange(key: string, start: number, length: number): Promise<Buffer> {
    return this.call(() => this.inner.getRange(key, start, length));
  }
  getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }> {
    return this.call(() => this.inner.getSuffix(key, length));
  }
  head(key: string): Promise<ObjectInfo | null> {
    return this.call(() => this.inner.head(key));
  }
  delete(key: string): Promise<void> {
    return this.call(() => this.inner.delete(key));
  }
  deleteMany(keys: readonly string[]): Promise<void> {
    return this.call(() => this.inner.deleteMany(keys));
  }
  async *list(prefix: string, after?: string): AsyncIterable<ObjectInfo> {
    const found = await this.call(async () => {
      const all: ObjectInfo[] = [];
      for await (const info of this.inner.list(prefix, after)) all.push(info);
      return all;
    });
    yield* found;
  }
  async close(): Promise<void> {}

  private async call<T>(act: () => Promise<T>): Promise<T> {
    const { random } = this;
    const refuse = () => new WeirError("store_unavailable", "told to fail", { retriable: true });
    await this.lives();
    // On its way now, and once in a while for long.
    await sleep(random.below(12) === 0 ? random.below(150) : random.below(3));
    if (random.below(100) < this.faults) throw refuse();
    const [settled] = await Promise.allSettled([act()]);
    await this.lives();
    if (random.below(100) < this.faults) throw refuse();
    if (settled.status === "rejected") throw settled.reason;
    return settled.value;
  }

  private async lives(): Promise<void> {
    await this.asleep;
    if (this.isDead) await NEVER;
  }
}

/** A partition while a process has it, or believes so. */
interface Holder {
  readonly process: Process;
  readonly feed: KafkaFeed;
  member: KafkaMember | null;
}

/** One partition of an intake topic, the processes that work on it, and a store; what happens is drawn at random. */
export class KafkaModel {
  readonly objects: MemoryStore = new MemoryStore();
  /** Every line that was written, once. */
  readonly lines: string[] = [];
  /** Offsets that somebody took for lost. */
  lost = 0;
  private readonly random: Random;
  private readonly log: Messages[number][] = [];
  private readonly catalogs = new Map<Process, Catalog>();
  private readonly holders: Holder[] = [];
  private readonly keeper: Process;
  private low = 0;
  private processes = 0;
  private isOver = false;

  constructor(random: Random) {
    this.random = random;
    this.keeper = new Process("keeper", this.objects, random);
  }

  async run(steps: number): Promise<void> {
    this.take();
    for (let step = 0; step < steps; step++) {
      await sleep(this.random.below(40));
      this.step();
    }
    for (const holder of [...this.holders]) this.end(holder, this.random.below(3));
    const last = this.take();
    last.process.faults = 0;
    const catalog = await openCatalog(this.objects, new Metrics(), silentLogger);
    for (let tries = 0; catalog.chainEnd(0) < this.log.length; tries++) {
      if (tries > 4000) throw new Error(`the store has come to ${catalog.chainEnd(0)} of ${this.log.length}`);
      await sleep(50);
      await catalog.refresh();
    }
    this.end(last, 0);
    this.isOver = true;
  }

  private step(): void {
    const { random, holders } = this;
    const holder = holders[random.below(holders.length)];
    switch (random.below(12)) {
      case 0:
        // The one before is released, killed, or does not know of it for a while.
        if (random.below(3) > 0) for (const one of [...holders]) this.end(one, random.below(3));
        this.take();
        return;
      case 1:
        holder?.process.freeze(random.below(400));
        return;
      case 2:
        void holder?.member?.flush();
        return;
      case 3:
        this.keep().catch(() => {}); // It fails as any process does, and is tried again another time.
        return;
      case 4:
        if (holders.length > 1) this.end(holders[0], random.below(3));
        return;
      default:
        this.write(1 + random.below(8));
    }
  }

  private write(count: number): void {
    const { random, log } = this;
    for (let i = 0; i < count; i++) {
      if (log.length > 0 && random.below(5) === 0) {
        const back = 1 + random.below(Math.min(log.length, REACH));
        log.push({ ...log[log.length - back], offset: String(log.length) });
        continue;
      }
      const texts = Array.from({ length: 1 + random.below(3) }, (_, line) => `${log.length}.${line}`);
      const draft = chunk(texts);
      const keyed = random.below(2) === 0 ? draft : { ...draft, dedupeKey: `app\0${log.length}` };
      const headers = { ...encodeHeaders(keyed, keyed.payload, null) };
      log.push({ key: null, value: keyed.payload, timestamp: "1", attributes: 0, offset: String(log.length), headers });
      this.lines.push(...texts);
    }
  }

  /** What a compactor does with entries, and Kafka with records that are stored. */
  private async keep(): Promise<void> {
    const catalog = await this.catalogOf(this.keeper);
    if (this.random.below(2) === 0) await catalog.fold();
    else await catalog.collect(30);
    const low = catalog.chainEnd(0) - 3 * REACH;
    // Kafka keeps records for longer than anybody sleeps who has looked where to go on.
    setTimeout(() => {
      this.low = Math.max(this.low, low);
    }, RETENTION_MS);
  }

  private async catalogOf(process: Process): Promise<Catalog> {
    const known = this.catalogs.get(process);
    if (known !== undefined) return known;
    const catalog = await openCatalog(process, process.metrics, silentLogger);
    this.catalogs.set(process, catalog);
    return catalog;
  }

  /** Gives the partition to a new process, or to one that has another feed of it still. */
  private take(): Holder {
    const { random, holders } = this;
    const again = random.below(3) === 0 ? holders.at(-1)?.process : undefined;
    const process = again ?? new Process(`p${this.processes++}`, this.objects, random);
    const feed = new KafkaFeed("t", 0, { bytesMax: 4000, sought: () => {}, turned: () => {} });
    const holder: Holder = { process, feed, member: null };
    holders.push(holder);
    void this.answer(feed);
    void this.work(holder);
    return holder;
  }

  private end(holder: Holder, how: number): void {
    const { feed, member, process } = holder;
    this.holders.splice(this.holders.indexOf(holder), 1);
    feed.lose();
    if (how === 0) {
      process.isDead = true;
      member?.drop();
    } else void member?.release(this.random.below(300));
  }

  /** As KafkaWorkers does, with shorter pauses. */
  private async work(holder: Holder): Promise<void> {
    const { process, feed } = holder;
    while (!feed.isLost && !this.isOver) {
      let member: KafkaMember | null = null;
      try {
        const catalog = await this.catalogOf(process);
        if (feed.isLost) return;
        member = this.memberOf(process, feed, catalog);
        holder.member = member;
        await member.run();
        return;
      } catch (error) {
        if (!(error instanceof WeirError)) throw error;
        member?.drop();
        holder.member = null;
        await sleep(20);
      }
    }
  }

  private memberOf(process: Process, feed: KafkaFeed, catalog: Catalog): KafkaMember {
    const options = { repeat_window_entries: REACH, repeat_window_lines: 100 };
    const offsets = async () => [{ partition: 0, low: this.low, high: this.log.length }];
    const readMetrics = kafkaReadMetrics(new Metrics());
    const lostEntries = {
      inc: (by = 1) => {
        this.lost += by;
      },
    };
    return new KafkaMember(CONFIG, feed, {
      // Of Kafka and the group what a member asks of them.
      kafka: { options, offsets } as unknown as KafkaSide,
      group: { memberId: process.id, commit: async () => {} } as unknown as KafkaGroup,
      windows: windowStore(process),
      room: new WindowRoom(1 << 20, readMetrics.forgotten),
      readMetrics: { ...readMetrics, lostEntries },
      objects: process,
      catalog,
      metrics: process.metrics,
      log: silentLogger,
    });
  }

  /** Brokers: each answer takes a while, in which the feed may be sent elsewhere, and some come long after. */
  private async answer(feed: KafkaFeed): Promise<void> {
    const { random, log } = this;
    const late = new Map<number, Messages>();
    while (!feed.isLost && !this.isOver) {
      await sleep(1 + random.below(5));
      if (!feed.wantsMore) continue;
      const from = Math.max(feed.fetchOffset, this.low);
      const begin = Math.max(this.low, from - random.below(3));
      const messages = log.slice(begin, from + 1 + random.below(20));
      if (from >= log.length) continue;
      if (random.below(10) === 0) late.set(from, messages);
      await sleep(random.below(5));
      feed.push(messages, log.length, from);
      for (const [at, some] of late) {
        if (random.below(30) > 0) continue;
        late.delete(at);
        feed.push(some, log.length, at);
      }
    }
  }
}
