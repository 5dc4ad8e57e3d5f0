import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { IntakeLog } from "../../src/intake/intake.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { ThreadHost } from "../../src/roles/thread-host.ts";
import type { ThreadSetup } from "../../src/roles/worker-messages.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { type CatalogEntry, encodeEntry, entryKey } from "../../src/store/catalog-entry.ts";
import { until } from "../cli/harness.ts";

/** Begins, tells of what it has committed, and sends back what it is told. */
const SCRIPT = `
import { parentPort, workerData } from "node:worker_threads";
parentPort.postMessage({ type: "started" });
parentPort.postMessage({ type: "committed", entry: workerData.entry });
parentPort.on("message", ({ type }) => { if (type === "stop") process.exit(0); });
`;

const entryOf = (first: number, next: number): CatalogEntry => ({ partition: 0, first, next, segments: [] });

describe("the host of a worker thread", () => {
  test.each([
    { name: "the first of a partition", there: [], entry: entryOf(0, 5) },
    {
      name: "one behind another that a thread died over before it could tell",
      there: [entryOf(0, 5)],
      entry: entryOf(5, 9),
    },
    { name: "one behind several such", there: [entryOf(0, 5), entryOf(5, 7)], entry: entryOf(7, 9) },
  ])("takes an entry that the thread has committed into its catalog: $name", async ({ there, entry }) => {
    const objects = new MemoryStore();
    const catalog = await openCatalog(objects, new Metrics(), silentLogger);
    for (const one of [...there, entry]) await objects.put(entryKey(0, one.first), [encodeEntry(one)]);
    // Of the setup, a thread of the test's own looks at nothing but the entry.
    const setup = { partitions: [0], slots: null, thread: 0, entry } as unknown as ThreadSetup;
    const url = new URL(`data:text/javascript,${encodeURIComponent(SCRIPT)}`);
    const host = new ThreadHost({ setup, url, intake: {} as IntakeLog, catalog, log: silentLogger });
    await host.start();
    try {
      await until(() => catalog.chainEnd(0) === entry.next);
      for (const { first } of [...there, entry]) expect(catalog.has(0, first), `${first}`).toBe(true);
    } finally {
      await host.stop();
    }
  });
});
