import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { openDiskIntake } from "../../src/intake/disk.ts";
import { MemoryIntake } from "../../src/intake/memory.ts";
import { draft, type IntakeCase, intakeContract } from "../contract/intake.ts";

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

function onDisk(tailBytes: number) {
  return async ({ partitions, minNextOffset, sizeMaxBytes, consumers }: IntakeCase) => {
    const dir = await mkdtemp(path.join(tmpdir(), "weir-intake-"));
    folders.push(dir);
    const options = { tail_bytes: tailBytes, ...(sizeMaxBytes === undefined ? {} : { size_max_bytes: sizeMaxBytes }) };
    return openDiskIntake(
      { dir, partitions, minNextOffset, consumers, options },
      { log: silentLogger, metrics: new Metrics() },
    );
  };
}

intakeContract("memory", async (what) => new MemoryIntake(what));
intakeContract("disk", onDisk(32 << 20));
intakeContract("disk, all read back from files", onDisk(0), { keepsInMemory: false });

test("the memory intake can be told to refuse", async () => {
  const log = new MemoryIntake();
  log.setTrouble("the disk is full");
  const unavailable = { code: "intake_unavailable", message: "the disk is full", retriable: true };
  await expect(log.append(0, draft("a", { dedupeKey: "k" }))).rejects.toMatchObject(unavailable);
  expect(log.status()).toMatchObject({ ready: false, reason: "the disk is full" });
  const ready = log.whenReady();
  log.setTrouble("");
  await ready;
  expect(await log.append(0, draft("a", { dedupeKey: "k" }))).toEqual({ offset: 0 });
});
