import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { silentLogger } from "../../../src/core/log.ts";
import { ScanPool } from "../../../src/query/pool.ts";

/** A worker that leaves a file when it starts, and ends at once where its folder says so. */
const WORKER = `
import { writeFileSync } from "node:fs";
import { parentPort, threadId, workerData } from "node:worker_threads";
writeFileSync(workerData.objectsUrl + "/started-" + threadId, "");
if (workerData.objectsUrl.endsWith("dies")) process.exit(1);
parentPort.on("message", () => undefined);
`;

describe("the pool before its first query", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "weir-remote-pool-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** Workers that were started within a second after all that are wanted. */
  async function started(threads: number, objectsUrl: string, isRemote: boolean): Promise<number> {
    const file = path.join(folder, "worker.mjs");
    await writeFile(file, WORKER);
    const count = async () => (await readdir(objectsUrl)).filter((name) => name.startsWith("started-")).length;
    const pool = new ScanPool(threads, pathToFileURL(file), { objectsUrl, isRemote }, silentLogger);
    try {
      const deadline = Date.now() + 120_000;
      while (isRemote && (await count()) < threads && Date.now() < deadline) await sleep(20);
      await sleep(500);
      return await count();
    } finally {
      await pool.close();
    }
  }

  test("starts its workers over a remote store", async () => {
    expect(await started(3, folder, true)).toBe(3);
  });

  test("starts none over a folder", async () => {
    expect(await started(3, folder, false)).toBe(0);
  });

  test("does not start workers that die again and again while nobody asks for anything", async () => {
    const place = path.join(folder, "dies");
    await mkdir(place);
    expect(await started(2, place, true)).toBe(2);
  });
});
