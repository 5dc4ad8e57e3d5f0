import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { Pipelines } from "../../src/pipeline/compile.ts";
import { Worker, type WorkerDeps } from "../../src/roles/worker.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { defaultStoreOptions } from "../../src/store/options.ts";
import { openStreamWriter } from "../../src/store/writer.ts";

type Reader = ReturnType<WorkerDeps["intake"]["read"]>;

/** A worker on a reader that never has an entry. */
async function workerOn(reader: Reader): Promise<Worker> {
  const metrics = new Metrics();
  const objects = new MemoryStore();
  const catalog = await openCatalog(objects, metrics, silentLogger);
  const common = { partition: 0, metrics, log: silentLogger };
  const writer = openStreamWriter(defaultStoreOptions, { ...common, objects, catalog, now: () => performance.now() });
  const pipelines: Pick<Pipelines, "begin"> = {
    begin: () => {
      throw new Error("there is no entry");
    },
  };
  const worker = new Worker({
    ...common,
    intake: { read: () => reader, commit: async () => {}, nextOffset: () => 0 },
    // Of the pipelines it is never asked for more.
    pipelines: pipelines as Pipelines,
    writer,
    chainEnd: async () => 0,
  });
  await worker.start();
  return worker;
}

describe("a worker that has nothing to do", () => {
  test("asks its reader once to say when there is an entry, and not anew at every turn", async () => {
    let polls = 0;
    let waits = 0;
    let fourth = () => {};
    const polled = new Promise<void>((resolve) => {
      fourth = resolve;
    });
    const worker = await workerOn({
      poll: async () => {
        if (++polls === 4) fourth();
        return null;
      },
      wait: () => {
        waits++;
        return new Promise(() => {});
      },
      close: async () => {},
    });
    await polled;
    expect(waits).toBe(1);
    worker.stop();
    await worker.ended();
  });

  test("ends with the error of a reader that can't wait", async () => {
    const worker = await workerOn({
      poll: async () => null,
      wait: () => Promise.reject(new Error("the reader is broken")),
      close: async () => {},
    });
    await expect(worker.ended()).rejects.toThrow("the reader is broken");
  });
});
