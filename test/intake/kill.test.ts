import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { draft, drain, textOf } from "../contract/intake.ts";
import { Random, SEED } from "../random.ts";
import { built, isBuilt, newFolder, openLog } from "./support.ts";

/** Appends numbered entries from several places at once and prints `<number> <offset>` for each that was answered. */
const CHILD = `
  const dist = process.argv[1];
  const { openDiskIntake } = await import(dist + "/intake/disk.js");
  const { silentLogger } = await import(dist + "/core/log.js");
  const { Metrics } = await import(dist + "/core/metrics.js");
  const dir = process.argv[2];
  let n = Number(process.argv[3]);
  const options = { file_bytes: 256 * 1024 };
  const log = await openDiskIntake({ dir, options }, { log: silentLogger, metrics: new Metrics() });
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (;;) {
      const number = n++;
      const payload = Buffer.from(number + " " + "x".repeat(number * 7919 % 20000));
      const draft = { kind: 1, tenant: "fake", source: "in", receivedMs: 0, payload, dedupeKey: "k" + number };
      const { offset } = await log.append(0, draft);
      process.stdout.write(number + " " + offset + "\\n");
    }
  }));
`;

describe.skipIf(!isBuilt)("kill -9 (needs npm run build)", () => {
  test("in 20 rounds, every entry that was answered is there, with its offset, once and in order", {
    timeout: 600_000,
  }, async () => {
    const random = new Random(SEED);
    const dir = await newFolder();
    const answered = new Map<number, number>();
    let start = 0;
    // More where the disk is so slow that there are few answers in each.
    for (let round = 0; round < 20 || answered.size <= 100; round++) {
      const dist = path.dirname(path.dirname(built));
      const child = spawn(process.execPath, ["--input-type=module", "-e", CHILD, dist, dir, String(start)]);
      let out = "";
      let trouble = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        out += text;
      });
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        trouble += text;
      });
      const ended = once(child, "close");
      await Promise.race([once(child.stdout, "data"), ended]);
      expect(trouble).toBe("");
      await new Promise((resolve) => setTimeout(resolve, random.below(80)));
      child.kill("SIGKILL");
      await ended;
      for (const line of out.slice(0, out.lastIndexOf("\n")).split("\n")) {
        const [number, offset] = line.split(" ").map(Number);
        answered.set(number, offset);
      }
      start = Math.max(...answered.keys()) + 1000; // Numbers that were under way are not used again.
    }
    const log = await openLog({ dir, options: { tail_bytes: 0 } });
    const entries = await drain(log.read(0, 0));
    const note = `WEIR_TEST_SEED=${SEED}`;
    expect(
      entries.map(({ offset }) => offset),
      note,
    ).toEqual(entries.map((_, i) => i));
    const numbers = entries.map((entry) => Number.parseInt(textOf(entry), 10));
    expect(new Set(numbers).size, note).toBe(numbers.length);
    for (const [number, offset] of answered) {
      expect(numbers[offset], `${note}: entry ${number}`).toBe(number);
      expect(entries[offset].payload.length).toBe(String(number).length + 1 + ((number * 7919) % 20000));
      expect(await log.append(0, draft("again", { dedupeKey: `k${number}` }))).toEqual({ offset: null });
    }
    await log.close();
  });
});
