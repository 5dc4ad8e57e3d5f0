import { randomBytes } from "node:crypto";
import { setImmediate as tick } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { ENTRY_FORWARD, type IntakeEntry } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { EntryReader } from "../../src/intake/intake.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import type { Pipelines } from "../../src/pipeline/compile.ts";
import { Worker, type WorkerIntake } from "../../src/roles/worker.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { TestStore, testLine } from "../store/support.ts";

/** A partition's log in memory, and what was committed of it. */
class FakeLog implements WorkerIntake {
  readonly entries: IntakeEntry[] = [];
  readonly commits: number[] = [];
  private wake: () => void = () => {};

  write(...texts: string[]): void {
    for (const text of texts) {
      const offset = this.entries.length;
      const payload = Buffer.from(text);
      this.entries.push({ kind: ENTRY_FORWARD, tenant: "fake", source: "in", receivedMs: 1, payload, offset });
    }
    this.wake();
  }

  read(_partition: number, from: number): EntryReader {
    let next = from;
    return {
      poll: async () => (next < this.entries.length ? this.entries[next++] : null),
      wait: () =>
        new Promise((resolve) => {
          this.wake = resolve;
        }),
      close: async () => this.wake(),
    };
  }

  async commit(_partition: number, next: number): Promise<void> {
    this.commits.push(next);
  }

  nextOffset(): number {
    return this.entries.length;
  }
}

async function begun(
  objects: ObjectStore,
  onLine: (text: string) => void = () => {},
  options: Partial<StoreOptions> = {},
) {
  const store = await TestStore.open(objects, options);
  const metrics = new Metrics();
  const log = new FakeLog();
  // An entry is its lines, of which each takes a turn.
  const pipelines: Pipelines = {
    begin: ({ payload }) => {
      const lines = payload.toString().split("+");
      return {
        step: () => {
          const line = lines.shift() ?? "";
          store.append([testLine(line)]);
          onLine(line);
          return lines.length > 0;
        },
      };
    },
  };
  const worker = new Worker({
    ...{ partition: 0, intake: log, pipelines, writer: store.writer },
    chainEnd: async () => {
      await store.catalog.refresh();
      return store.catalog.chainEnd(0);
    },
    metrics,
    log: silentLogger,
    flushRetryMs: 20,
  });
  const stop = () => {
    worker.stop();
    store.writer.discard();
  };
  return { store, log, worker, stop, metrics };
}

async function entriesOf(objects: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list("catalog/")) keys.push(key);
  return keys;
}

const linesOf = async (objects: ObjectStore) =>
  (await (await TestStore.open(objects)).rows()).map(({ line }) => line).sort();

describe("a worker that is stopped", () => {
  test("commits nothing of what it drops, though the store comes back just then", async () => {
    const objects = new FaultyStore(new MemoryStore(), ({ op }) => (op === "put" ? { outcome: "fail" } : {}));
    const { log, worker, stop, store } = await begun(objects);
    log.write("a", "b", "c");
    await worker.start();
    const drained = worker.drain();
    await expect.poll(() => objects.calls).toBeGreaterThan(5);
    stop();
    objects.plan = () => undefined;
    await drained;
    await tick();
    expect(await entriesOf(objects)).toEqual([]);
    expect(log.commits).toEqual([]);
    expect(store.writer.memoryBytes()).toBe(0);
    // Whoever goes on finds everything.
    const next = await begun(objects);
    next.log.write("a", "b", "c");
    await next.worker.start();
    await next.worker.drain();
    expect(await linesOf(objects)).toEqual(["a", "b", "c"]);
  });

  test("commits nothing of an entry that it was at", async () => {
    const objects = new FaultyStore(new MemoryStore());
    const { log, worker, stop, store } = await begun(objects, (line) => {
      if (line === "second") stop();
      // What comes after it is old enough to be flushed at once.
      if (line === "third") store.nowMs += 1e9;
    });
    log.write("first", "second+third");
    await worker.start();
    await worker.ended();
    await tick();
    expect(await entriesOf(objects)).toEqual([]);
    expect(log.commits).toEqual([]);
    expect(store.writer.memoryBytes()).toBe(0);
  });
});

describe("who asks a worker for a flush", () => {
  test("is answered when there is no worker any more", async () => {
    const objects = new FaultyStore(new MemoryStore());
    const ended = await begun(objects);
    await ended.worker.start();
    const during = ended.worker.flush();
    ended.stop();
    await during;
    await ended.worker.ended();
    await ended.worker.flush();
    const never = await begun(objects);
    const before = never.worker.flush();
    never.stop();
    await before;
  });
});

/** A store that takes nothing, and that no new try mends, until somebody does. */
class RefusingStore extends MemoryStore {
  isMended = false;
  refused = 0;
  override async putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    if (!this.isMended) {
      this.refused++;
      throw new WeirError("store_refused", "got 501, want 200");
    }
    await super.putIfAbsent(key, parts);
  }
}

describe("a worker whose flush fails for good", () => {
  const stuck = async (metrics: Metrics) =>
    /^weir_worker_stuck\{partition="0"\} (\d)$/m.exec(await metrics.render())?.[1];

  test("tries it again without a new line, and says so meanwhile", async () => {
    const objects = new RefusingStore();
    const { store, log, worker, stop, metrics } = await begun(objects);
    log.write("a", "b");
    await worker.start();
    await expect.poll(() => store.writer.openStreams()).toBe(1);
    expect([worker.trouble, await stuck(metrics)]).toEqual(["", "0"]);
    store.nowMs += 1e9;
    await expect.poll(() => objects.refused).toBeGreaterThan(2);
    expect([worker.trouble, await stuck(metrics)]).toEqual(["got 501, want 200", "1"]);
    expect(log.commits).toEqual([]);
    objects.isMended = true;
    await expect.poll(() => log.commits).toEqual([2]);
    expect([worker.trouble, await stuck(metrics)]).toEqual(["", "0"]);
    expect(await linesOf(objects)).toEqual(["a", "b"]);
    stop();
  });

  test("takes no more than there is memory for, and all of it once somebody has mended the store", async () => {
    const objects = new RefusingStore();
    const memory_bytes = 1 << 20;
    let taken = 0;
    let most = 0;
    const onLine = () => {
      taken++;
      most = Math.max(most, store.writer.memoryBytes());
    };
    const { store, log, worker, stop } = await begun(objects, onLine, { memory_bytes });
    const lines = Array.from({ length: 400 }, (_, i) => `${1000 + i} ${randomBytes(10_000).toString("hex")}`);
    log.write(...lines);
    await worker.start();
    // Many tries, none of which may let another entry in.
    await expect.poll(() => objects.refused).toBeGreaterThan(8);
    expect(most).toBeLessThan(memory_bytes + 300_000);
    expect(taken).toBeLessThan(lines.length / 2);
    await worker.flush();
    objects.isMended = true;
    await expect.poll(() => taken).toBe(lines.length);
    await worker.drain();
    expect(log.commits.at(-1)).toBe(lines.length);
    expect(await linesOf(objects)).toEqual(lines);
    stop();
  });

  test("ends with what it could not commit when it is drained meanwhile", async () => {
    const objects = new RefusingStore();
    const { log, worker, stop } = await begun(objects, () => {}, { memory_bytes: 1 << 20 });
    const lines = Array.from({ length: 400 }, (_, i) => `${1000 + i} ${randomBytes(10_000).toString("hex")}`);
    log.write(...lines);
    await worker.start();
    await expect.poll(() => objects.refused).toBeGreaterThan(3);
    await worker.drain();
    expect(log.commits).toEqual([]);
    stop();
    objects.isMended = true;
    const next = await begun(objects);
    next.log.write(...lines);
    await next.worker.start();
    await next.worker.drain();
    expect(await linesOf(objects)).toEqual(lines);
  });
});
