import { setImmediate as tick } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { ENTRY_FORWARD, type IntakeEntry } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { EntryReader } from "../../src/intake/intake.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { Pipelines } from "../../src/pipeline/compile.ts";
import { Worker, type WorkerIntake } from "../../src/roles/worker.ts";
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

async function begun(objects: FaultyStore, onLine: (text: string) => void = () => {}) {
  const store = await TestStore.open(objects);
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
    metrics: new Metrics(),
    log: silentLogger,
  });
  const stop = () => {
    worker.stop();
    store.writer.discard();
  };
  return { store, log, worker, stop };
}

async function entriesOf(objects: FaultyStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list("catalog/")) keys.push(key);
  return keys;
}

const linesOf = async (objects: FaultyStore) =>
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
